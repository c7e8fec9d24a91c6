//! crates/recording
