//! `send` takes the permit by value.
use sidecar::gate::Permit;
use sidecar::upstream::Upstream;

fn twice(upstream: &mut Upstream, permit: Permit, frames: &[u8]) {
    let _ = upstream.send(permit, frames);
    let _ = upstream.send(permit, frames);
}

fn main() {
    let _ = twice;
}
