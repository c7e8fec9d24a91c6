//! Bytes of an upstream: framing and decoding, and what decodes encodes to the same.
#![no_main]

#[path = "../../crates/pgcodec/tests/support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::checks::backend(data));
