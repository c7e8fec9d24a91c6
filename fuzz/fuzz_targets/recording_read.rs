//! Changes of a good recording, or any bytes as one: nothing that was changed is called intact.
#![no_main]

#[path = "../../crates/recording/tests/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::recording_read(data));
