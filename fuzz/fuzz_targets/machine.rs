//! A session between an agent and a small server, honest or hostile; see `checks::machine` for the bytes.
#![no_main]

#[path = "../../crates/pgcodec/tests/support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::checks::machine(data));
