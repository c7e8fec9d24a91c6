//! `Permit`: proof that exactly these bytes were decided, approved where required, and recorded.
//!
//! Only the gate makes one (its constructor is visible to `gate` alone), `Upstream::send` consumes it, and it is
//! neither `Clone` nor `Copy`: an operation without a permit, or a second one under the same permit, does not compile.

use policy::operation::{Digest, PayloadHash};
use policy::verdict::Obligations;

use super::running::Running;

#[must_use = "an operation that was permitted and recorded has to be sent"]
#[derive(Debug)]
pub struct Permit {
    payload: PayloadHash,
    digest: Digest,
    obligations: Obligations,
    running: Running,
}

impl Permit {
    pub(super) fn new(payload: PayloadHash, digest: Digest, obligations: Obligations, running: Running) -> Self {
        Self { payload, digest, obligations, running }
    }

    /// SHA-256 of the only bytes it lets out.
    pub fn payload(&self) -> PayloadHash {
        self.payload
    }

    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub fn obligations(&self) -> &Obligations {
        &self.obligations
    }

    /// Used up: what is left is the operation under way, which owes an outcome.
    pub(crate) fn spend(self) -> (Obligations, Running) {
        (self.obligations, self.running.mark_sent())
    }
}
