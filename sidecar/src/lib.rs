//! The sidecar: every connection of an agent ends here, becomes operations, and each operation passes the one gate.

pub mod admin;
pub mod channel_binding;
pub mod config;
pub mod control;
pub mod core;
pub mod destinations;
pub mod dns;
pub mod drain;
mod failpoint;
pub mod fence;
pub mod gate;
pub mod ledger;
pub mod limits;
pub mod listen;
pub mod log;
pub mod metrics;
mod objects;
pub mod outside;
pub mod outward;
pub mod protocol;
pub mod recorder;
pub mod secret;
mod socket;
pub mod standalone;
pub mod tls;
pub mod upstream;
mod vital;
