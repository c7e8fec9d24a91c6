//! What a server keeps of a password.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};

/// Salt, iterations and the two keys of RFC 5802 section 3. `Debug` shows none of them.
#[derive(Clone)]
pub struct Verifier {
    pub(super) salt: Vec<u8>,
    pub(super) iterations: NonZeroU32,
    pub(super) stored_key: [u8; 32],
    pub(super) server_key: [u8; 32],
    /// False for the stand-in of a user who does not exist: its exchange always fails.
    pub(super) real: bool,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(<secret>)")
    }
}

impl Verifier {
    /// Derives the keys from a password. Costs `iterations` rounds of HMAC: do it once, not for each login.
    ///
    /// The password's bytes are used as they are. For ASCII without control characters that is what SASLprep gives; other
    /// passwords are what PostgreSQL falls back to when SASLprep fails. A client that normalises a password with, for
    /// example, non-ASCII spaces or compatibility characters does not match: use ASCII.
    ///
    /// `salt` should have 16 random bytes. 0 iterations are taken as 1.
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        let mut salted = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password, &mut salted);
        let client_key = mac(&salted, b"Client Key");
        let server_key = mac(&salted, b"Server Key");
        Self { salt: salt.to_vec(), iterations, stored_key: hash(&client_key), server_key, real: true }
    }

    /// The stand-in for a user who does not exist: the same user gets the same salt each time, so that a probe sees nothing.
    /// `key` is a secret of this process, `iterations` that of the real verifiers.
    pub fn mock(key: &[u8; 32], user: &str, iterations: u32) -> Self {
        let salt = mac(key, &[b"salt\0", user.as_bytes()].concat()).iter().copied().take(16).collect();
        let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        let stored_key = mac(key, &[b"stored\0", user.as_bytes()].concat());
        let server_key = mac(key, &[b"server\0", user.as_bytes()].concat());
        Self { salt, iterations, stored_key, server_key, real: false }
    }
}

pub(super) fn mac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data);
    // An HMAC-SHA-256 tag has 32 bytes.
    let mut out = [0; 32];
    out.iter_mut().zip(tag.as_ref()).for_each(|(out, byte)| *out = *byte);
    out
}

pub(super) fn hash(data: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, data);
    let mut out = [0; 32];
    out.iter_mut().zip(digest.as_ref()).for_each(|(out, byte)| *out = *byte);
    out
}
