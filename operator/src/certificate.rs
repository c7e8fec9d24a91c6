//! The certificates of the installation: one CA, for each replica a leaf of a week that never leaves its memory, and
//! for each sidecar a certificate of an hour.
//!
//! All replicas sign with the CA of one Secret, which the leader alone writes; the API server trusts what the leader
//! puts into `caBundle`, sidecars what they are told. Invariant: nobody signs with a CA that these do not know yet. Ages
//! are compared with the clock on the wall, so that a suspended machine does not wake up with an expired leaf that it
//! believes to be young.

mod authority;
pub mod bundle;
pub mod keeper;
pub mod profile;
pub mod replica;
mod roots;
pub mod store;

pub use self::authority::{Authority, CertificateError, Client, ClientKey, Leaf, NotARequest};
pub use self::replica::{Authorities, Current};

/// Seconds since 1970. A clock before that counts as 1970: then everything has yet to begin, and nothing is trusted.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
}
