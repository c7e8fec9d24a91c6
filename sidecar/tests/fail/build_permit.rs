//! Nor can one be put together from its fields.
use sidecar::gate::{Permit, Running};

fn forge(running: Running) -> Permit {
    Permit {
        payload: policy::operation::PayloadHash([0; 32]),
        digest: policy::operation::Digest([0; 32]),
        obligations: policy::verdict::Obligations::default(),
        running,
    }
}

fn main() {
    let _ = forge;
}
