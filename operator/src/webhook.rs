//! The admission webhook: `/inject`, over HTTPS.
//!
//! It has no side effects, so a dry run needs nothing special. What it cannot read, judge or write is not admitted.

pub mod review;
pub mod serve;
