//! A permit cannot be made outside the gate: its constructor is private to it.
use sidecar::gate::{Permit, Running};

fn forge(running: Running) -> Permit {
    Permit::new(
        policy::operation::PayloadHash([0; 32]),
        policy::operation::Digest([0; 32]),
        policy::verdict::Obligations::default(),
        running,
    )
}

fn main() {
    let _ = forge;
}
