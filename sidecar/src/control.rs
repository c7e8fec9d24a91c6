//! In a pod: the interfaces of `outside` fed from the operator, over `control`.
//!
//! Nothing here widens anything: without a word from the operator the last snapshot counts until it is too old, and
//! then everything is denied.

pub mod approvals;
pub mod feed;
pub mod snapshot;
