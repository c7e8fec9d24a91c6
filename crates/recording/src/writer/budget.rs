//! How much may still be written: the bound on the recording and the floor of free space.
//!
//! Invariant: whatever admitted intent is open, its outcome fits; so an intent is refused while an outcome is not.

use std::collections::BTreeSet;

use super::{WriteError, WriterConfig};
use crate::entry::Body;

/// No outcome is longer: its texts are bounded by two of `MAX_ID`, and ids by two more.
const OUTCOME: u64 = 2 * 1024;
/// Kept for checkpoints, markers, closes and a header that says as much as it may.
const HOUSEKEEPING: u64 = 128 * 1024;

/// What an entry may draw on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Refused at the limits; sets its outcome's space aside.
    Intent,
    /// Uses what its intent set aside.
    Outcome,
    /// Refused at the limits.
    Ordinary,
    /// Ends something that was admitted, or is our own.
    Always,
}

impl Class {
    pub(super) fn of(body: &Body) -> Self {
        match body {
            Body::Intent(_) => Self::Intent,
            Body::Outcome(_) => Self::Outcome,
            Body::Header(_) | Body::Checkpoint(_) | Body::Close(_) => Self::Always,
            Body::Open(_) | Body::Refusal(_) | Body::Approval(_) | Body::Data(_) | Body::Marker(_) => Self::Ordinary,
        }
    }
}

/// Session and operation.
pub(super) type OpKey = (String, String);

#[derive(Debug)]
pub(super) struct Budget {
    max: u64,
    floor: u64,
    used: u64,
    /// As last measured, less what was written since.
    free: u64,
    since_measured: u64,
    /// Intents whose outcome is not written yet.
    open: BTreeSet<OpKey>,
    refused: bool,
}

impl Budget {
    pub(super) fn new(config: &WriterConfig, used: u64, free: u64) -> Self {
        let (max, floor) = (config.max_bytes, config.free_floor);
        Self { max, floor, used, free, since_measured: 0, open: BTreeSet::new(), refused: false }
    }

    /// Whether a line of `bytes` may be written.
    pub(super) fn admit(&mut self, class: Class, bytes: u64) -> Result<(), WriteError> {
        let own = match class {
            Class::Always | Class::Outcome => return Ok(()),
            Class::Intent => bytes.saturating_add(OUTCOME),
            Class::Ordinary => bytes,
        };
        let open = u64::try_from(self.open.len()).unwrap_or(u64::MAX);
        let needed = own.saturating_add(open.saturating_mul(OUTCOME));
        let housekeeping = HOUSEKEEPING.min(self.max / 16);
        if self.used.saturating_add(needed).saturating_add(housekeeping) > self.max {
            self.refused = true;
            return Err(WriteError::Full { bytes: self.used, max: self.max });
        }
        if self.free < self.floor.saturating_add(needed) {
            self.refused = true;
            return Err(WriteError::NoSpace { free: self.free, floor: self.floor });
        }
        Ok(())
    }

    pub(super) fn written(&mut self, bytes: u64) {
        self.used = self.used.saturating_add(bytes);
        self.free = self.free.saturating_sub(bytes);
        self.since_measured = self.since_measured.saturating_add(bytes);
    }

    /// Segments of so many bytes are gone.
    pub(super) fn freed(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// Bytes of all segments, and how many they may be.
    pub(super) fn usage(&self) -> (u64, u64) {
        (self.used, self.max)
    }

    pub(super) fn opened(&mut self, op: OpKey) {
        self.open.insert(op);
    }

    pub(super) fn closed(&mut self, op: &OpKey) {
        self.open.remove(op);
    }

    /// What a session left open when it closed needs no space any more.
    pub(super) fn session_closed(&mut self, session: &str) {
        self.open.retain(|(of, _)| of != session);
    }

    /// So much was written that the measurement is stale.
    pub(super) fn stale(&self) -> bool {
        self.since_measured > 4 << 20
    }

    /// Whether the files are to be counted again: people prune them beside us, and what they removed must not be what the
    /// next intent is refused for. Below half of the bound it makes no difference.
    pub(super) fn uncertain(&self) -> bool {
        self.refused || self.used > self.max / 2
    }

    pub(super) fn measured(&mut self, free: u64, used: Option<u64>) {
        self.free = free;
        self.since_measured = 0;
        if let Some(used) = used {
            self.used = used;
            self.refused = false;
        }
    }
}
