//! The operator's side of `control`: who a sidecar is, what counts for it, and its questions to humans.
//!
//! Refused: whoever shows neither a pod's token nor a certificate that was issued for one. Invariant: what a sidecar is
//! told is of the pod that its certificate names, whatever the request says.

mod ask;
pub mod enrol;
pub mod follow;
pub mod identity;
pub(crate) mod places;
mod said;
pub mod serve;
pub mod service;
pub mod tls;
