//! The program as people run it: what it prints and the status it ends with.
#![expect(clippy::unwrap_used, reason = "test helpers")]

mod approvals;
mod cases;
mod check;
mod cluster;
mod common;
mod export;
mod face;
mod lint;
mod pods;
mod replay;
mod simulate;
mod store;
mod suggest;
mod verify;
