//! A set of policies and an operation: the laws of `decide`.
#![no_main]

#[path = "../../crates/policy/tests/checks/mod.rs"]
#[expect(dead_code, reason = "another target has the rest")]
mod checks;
#[path = "../../crates/policy/tests/world/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod world;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::laws::decide(data));
