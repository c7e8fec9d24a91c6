//! The decision core: pure, total, deterministic. It has no clock, no randomness, no IO and no logging.
//!
//! What cannot be compiled is an error with a field path; what cannot be evaluated is denied; what no rule matches is
//! denied. See `decide` for the laws.

pub mod operation;
pub mod redact;
pub mod subject;
pub mod verdict;
