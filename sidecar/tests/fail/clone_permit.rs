//! A permit is not `Clone`.
use sidecar::gate::Permit;

fn double(permit: Permit) -> (Permit, Permit) {
    (permit.clone(), permit)
}

fn main() {
    let _ = double;
}
