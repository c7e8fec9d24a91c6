//! Bytes between operator and sidecar: bodies of calls, messages, names of pods and revisions.
#![no_main]

#[path = "../../crates/control/tests/support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::control(data));
