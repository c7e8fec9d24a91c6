//! crates/pgcodec
