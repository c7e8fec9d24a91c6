//! What standalone mode puts on record: approvals, reloads and attempts that were refused.

use recording::entry::{Approval, What};

use crate::outside::Answer;

/// The recording, as far as approvals and policies need it. Tests give one of memory.
pub trait Ledger: Send + Sync {
    /// Durable before it answers `Ok`; whoever gets an error lets nothing happen.
    fn approval(&self, approval: Approval) -> Answer<'_, Result<(), NotRecorded>>;
    /// Never waits.
    fn marker(&self, what: What, detail: String);
}

/// Why it is not on record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotRecorded(pub String);
