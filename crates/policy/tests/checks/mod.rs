//! What the fuzz targets `decide` and `policy_compile` check, for any bytes. The corpus is replayed through the same
//! functions on the stable compiler.
#![expect(clippy::expect_used, reason = "a check fails by panicking")]

mod dice;
pub(crate) mod laws;
pub(crate) mod manifest;
