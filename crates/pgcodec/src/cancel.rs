//! Cancel keys that we mint for the agent, and the request that we send upstream with the real one.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;

use crate::ProtocolVersion;
use crate::backend::{Backend, KeyData};

/// A (process id, key) pair of ours. `Debug` never shows the key.
#[derive(Debug, Clone)]
pub struct CancelKey {
    data: KeyData,
}

impl CancelKey {
    /// Makes a key from random bytes: the first 4 for protocol 3.0, all 32 for 3.2. `random` must come from a
    /// cryptographic source and be used once.
    pub fn mint(version: ProtocolVersion, pid: u32, random: &[u8; 32]) -> Self {
        let length = match version {
            ProtocolVersion::V3_0 => 4,
            ProtocolVersion::V3_2 => 32,
        };
        let key: Bytes = random.iter().copied().take(length).collect();
        Self { data: KeyData { pid, key } }
    }

    /// The process id, for a map of keys. It is no secret.
    pub fn pid(&self) -> u32 {
        self.data.pid
    }

    /// The message that gives the key to the agent.
    pub fn message(&self) -> Backend {
        Backend::BackendKeyData(self.data.clone())
    }

    /// Whether a cancel request shows this key. The time does not depend on where the keys differ.
    pub fn matches(&self, shown: &KeyData) -> bool {
        let same = verify_slices_are_equal(&self.data.key, &shown.key).is_ok();
        (self.data.pid == shown.pid) & same
    }
}
