//! `Permit`: proof that exactly these bytes were decided, approved where required, and recorded.
//!
//! Only the gate makes one (its constructor is visible to `gate` alone), `Upstream::send` consumes it, and it is
//! neither `Clone` nor `Copy`: an operation without a permit, or a second one under the same permit, does not compile.

use policy::operation::{Digest, Operation, PayloadHash, Revision};
use policy::verdict::Obligations;

use super::running::Running;
use crate::recorder::OpRef;

#[must_use = "an operation that was permitted and recorded has to be sent"]
#[derive(Debug)]
pub struct Permit {
    payload: PayloadHash,
    digest: Digest,
    obligations: Obligations,
    running: Running,
    released: Option<Box<Released>>,
}

/// That an approval was used up for one operation. Only the gate makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    request: String,
    digest: Digest,
    revision: Revision,
    rollback_above: Option<u64>,
}

impl Released {
    pub(super) fn new(request: String, op: &Operation, rollback_above: Option<u64>) -> Self {
        Self { request, digest: op.digest, revision: op.planned, rollback_above }
    }

    /// If it changes more rows than this, it has to be rolled back.
    pub fn rollback_above(&self) -> Option<u64> {
        self.rollback_above
    }

    /// Whether this is the same operation, parameters included, under the same policy.
    pub(super) fn covers(&self, op: &Operation) -> bool {
        self.digest == op.digest && self.revision == op.planned
    }

    pub(crate) fn request(&self) -> &str {
        &self.request
    }
}

impl Permit {
    pub(super) fn new(payload: PayloadHash, digest: Digest, obligations: Obligations, running: Running) -> Self {
        Self { payload, digest, obligations, running, released: None }
    }

    pub(super) fn released(self, released: Released) -> Self {
        Self { released: Some(Box::new(released)), ..self }
    }

    pub(crate) fn op(&self) -> &OpRef {
        self.running.op()
    }

    /// The approval that released it, for the operations that continue it.
    pub fn approval(&self) -> Option<&Released> {
        self.released.as_deref()
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
