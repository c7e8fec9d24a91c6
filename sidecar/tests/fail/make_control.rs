//! A control message is made by the state machine only.
use pgcodec::Control;
use sidecar::upstream::Upstream;

fn around(upstream: &mut Upstream) {
    upstream.control(&Control::new(loop {}));
}

fn main() {
    let _ = around;
}
