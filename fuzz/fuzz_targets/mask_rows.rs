//! Rows of a result in text and binary form: what is found in them is covered, and they keep their form.
#![no_main]

#[path = "../../sidecar/tests/rows/mod.rs"]
mod rows;

libfuzzer_sys::fuzz_target!(|data: &[u8]| rows::mask_rows(data));
