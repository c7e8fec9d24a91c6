//! The admission webhooks: `/inject`, `/approvals` and `/policies`, over HTTPS.
//!
//! They have no side effects, so a dry run needs nothing special. What they cannot read, judge or write is not admitted.

pub mod policies;
pub(crate) mod request;
pub mod review;
pub mod serve;
