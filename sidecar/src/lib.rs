//! The sidecar: every connection of an agent ends here, becomes operations, and each operation passes the one gate.

pub mod admin;
pub mod config;
pub mod core;
pub mod drain;
pub mod limits;
pub mod listen;
pub mod metrics;
pub mod outside;
pub mod secret;
pub mod standalone;
pub mod tls;
