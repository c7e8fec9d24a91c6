//! Standalone mode: the five interfaces of `outside` fed from a directory of files and a local socket.

pub mod approvals;
pub mod check;
mod discard;
pub mod folder;
pub mod policies;
mod preflight;
pub mod run;
