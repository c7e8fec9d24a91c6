//! The operator of agentaccess: it puts the sidecar into every pod of the namespaces that ask for it.

pub mod certificate;
pub mod inject;
pub mod webhook;
