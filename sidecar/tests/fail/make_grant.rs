//! A stream is granted by a permitted operation only.
use sidecar::upstream::{StreamGrant, Upstream};

fn around(upstream: &mut Upstream, hash: aws_lc_rs::digest::Context) {
    let mut grant = StreamGrant { left: u64::MAX, hash };
    let _ = upstream.stream(&mut grant, b"DROP", b"DROP");
}

fn main() {
    let _ = around;
}
