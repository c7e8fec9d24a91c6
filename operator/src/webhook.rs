//! The admission webhooks: `/inject` and `/approvals`, over HTTPS.
//!
//! They have no side effects, so a dry run needs nothing special. What they cannot read, judge or write is not admitted.

pub mod review;
pub mod serve;
