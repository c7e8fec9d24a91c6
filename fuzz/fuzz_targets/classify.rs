//! Any text as a statement: what is planned is read again, as what it says of itself.
#![no_main]

#[path = "../../crates/pgsql/tests/checks/mod.rs"]
#[allow(dead_code, reason = "another target has the rest")]
mod checks;
#[path = "../../crates/pgsql/tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod support;

#[path = "../strlcpy.rs"]
mod strlcpy;

// A hook that ends the process would end it at what is contained.
libfuzzer_sys::fuzz_target!(
    init: checks::watch(),
    |data: &[u8]| checks::classify(data)
);
