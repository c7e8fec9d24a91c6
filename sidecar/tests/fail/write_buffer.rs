//! Nor puts bytes into the buffer that waits for it.
use sidecar::upstream::Upstream;

fn around(upstream: &mut Upstream) {
    let (_, writer) = upstream.halves();
    writer.out.extend_from_slice(b"DROP");
}

fn main() {
    let _ = around;
}
