//! The fence of an agent's pod: netfilter rules after which nothing leaves the pod but through the sidecar.
//!
//! Refused is, by the kernel: every packet that is neither the sidecar's, nor inside the pod, nor an answer to a
//! connection that was let in on a declared port. TCP and DNS of everybody else is redirected to the sidecar. Invariant:
//! the whole ruleset is in force or none of it, and then [`install`](install::install) is an error and no container of
//! the pod starts.

mod attribute;
mod batch;
mod expression;
pub mod install;
pub mod probe;
pub mod ruleset;
pub mod verify;
