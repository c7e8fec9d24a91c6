//! The certificates of our webhooks: one CA for the installation, and for each replica a leaf of a week that never
//! leaves its memory.
//!
//! All replicas sign with the CA of one Secret, which the leader alone writes; the API server trusts what the leader
//! puts into `caBundle`. Invariant: nobody signs with a CA that is not in that bundle yet. Ages are compared with the
//! clock on the wall, so that a suspended machine does not wake up with an expired leaf that it believes to be young.

mod authority;
pub mod bundle;
pub mod keeper;
pub mod replica;
pub mod store;

pub use self::authority::{Authority, CertificateError, Leaf};
pub use self::replica::Current;

/// Seconds since 1970. A clock before that counts as 1970: then everything has yet to begin, and nothing is trusted.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
}
