//! crates/pgsql
