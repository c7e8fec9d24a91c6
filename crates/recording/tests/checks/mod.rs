//! What the fuzz target `recording_read` checks, for any bytes. The corpus is replayed through the same functions on the
//! stable compiler.
#![expect(clippy::expect_used, reason = "a check fails by panicking")]

mod good;
mod read;

pub(crate) use read::recording_read;
