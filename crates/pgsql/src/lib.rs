//! PostgreSQL statements: parse, visit, compare and render them, without IO.
//!
//! The PostgreSQL grammar itself (18.4, through `pg_raw_parse`) is the only authority. What it cannot parse, what the
//! reviewed field table of [`visit`] does not know and what does not survive a render-and-parse round trip is refused.

pub mod compare;
pub mod parse;
pub mod refused;
pub mod render;
pub mod visit;

pub use parse::{Limits, Parsed, parse};
pub use refused::Refused;
