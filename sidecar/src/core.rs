//! What every session shares.
