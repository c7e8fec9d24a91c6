//! The server half of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677; channel binding `tls-server-end-point` of
//! RFC 5929), as PostgreSQL speaks it: the user name inside the messages is ignored, the one of the startup message counts.
//!
//! What is refused: a mechanism that was not offered, a downgrade (the client supports channel binding, we offered it, and it
//! says that we did not), an authorization identity, mandatory extensions, every attribute out of its order, a nonce that is
//! not ours, channel data that are not ours, and a wrong proof. A wrong user costs the same work as a wrong password.
//!
//! Nonce and salt are passed in: this module has no randomness.

mod exchange;
mod verifier;

pub use self::exchange::{Binding, Scram, ScramError};
pub use self::verifier::Verifier;

/// The mechanism without channel binding.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// The mechanism with channel binding.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// Iterations that PostgreSQL uses and that we use for verifiers of our own.
pub const ITERATIONS: u32 = 4096;
