//! The operator of agentaccess: it puts the sidecar into every pod of the namespaces that ask for it.

pub mod approvals;
pub mod certificate;
pub mod config;
pub mod control;
pub mod index;
pub mod inject;
mod leader;
pub mod log;
pub mod metrics;
pub mod recordings;
pub mod run;
pub mod status;
mod ungoverned;
pub mod webhook;
