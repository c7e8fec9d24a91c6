//! One approval request, wherever it is kept.

use crate::rules::{Digest, Revision};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u16);

/// As the tally says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    Pending,
    Approved,
    Denied,
    Revoked,
    Withdrawn,
    Expired,
    Used,
}

impl Standing {
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Approved)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    pub digest: Digest,
    pub revision: Revision,
    /// The life of the process whose key made the digest.
    pub life: u8,
    pub standing: Standing,
    /// Whether people ever said yes. Only promises look at it.
    pub granted: bool,
    /// How often it was taken. Only promises look at it.
    pub uses: u8,
    /// Whether it was taken when it was not approved, or not any more. Only promises look at it.
    pub stolen: bool,
}

impl Request {
    pub(crate) fn new(digest: Digest, revision: Revision, life: u8) -> Self {
        Self { digest, revision, life, standing: Standing::Pending, granted: false, uses: 0, stolen: false }
    }
}
