//! Retention: whole segments go, oldest first, and what `verify` needs to call them expired stays.
//!
//! What stays is a note, signed by the witness, with the state of the chain at the cut, and checkpoints of what was
//! removed. It is written before anything is removed. Invariants: the numbers of segments that went are never used again;
//! what the witness signs for follows from lines that verify, since whoever can write to the store can change an index.

use std::collections::BTreeMap;

use jiff::Timestamp;
use recording::SigningKey;
use recording::chain::Chain;
use recording::prune::{expired_at, witnessed_note};
use serde::{Deserialize, Serialize};

use super::{End, Shelf};
use crate::error::{ShelfError, StoreError};
use crate::head::ChainText;
use crate::index::{Session, Summary};
use crate::meta::{VERSION, newer};

/// The newest thousands of checkpoints that were removed.
const MAX_CHECKPOINTS: usize = 2_000;
const MAX_EXPIRY: u64 = 4 << 20;
/// Most segments that go in one call.
const MAX_REMOVED: u64 = 1_000;

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    pub segments: u64,
    pub entries: u64,
    /// Bytes of lines, before they were compressed.
    pub bytes: u64,
}

/// What is known of the segments that went.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Expiry {
    version: u8,
    /// The first segment that is left.
    pub(crate) next: u64,
    chain: ChainText,
    /// Of the witness, over the chain.
    pub(crate) note: String,
    /// Last checkpoint of each segment that went, oldest first.
    pub(crate) checkpoints: Vec<String>,
    sessions: BTreeMap<String, Session>,
}

impl Expiry {
    /// Entries that went.
    pub(crate) fn size(&self) -> u64 {
        self.chain.size
    }
}

/// Where the segments that are left begin.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub(super) next: u64,
    pub(super) chain: Chain,
    pub(super) sessions: BTreeMap<String, Session>,
}

impl Shelf {
    /// Removes every leading segment whose latest entry is older than `before`, at most a thousand of them.
    ///
    /// # Errors
    /// When the store fails, or a segment is not what was recorded: then it stays, for people to look at. What went is
    /// told by the note nevertheless, and the next call goes on.
    pub async fn expire(&self, before: Timestamp, witness: &SigningKey) -> Result<Expired, ShelfError> {
        let meta = self.meta().await?;
        let (newest, base) = (self.newest_expiry().await?, self.base().await?);
        let vouched = newest.as_ref().and_then(|(_, old)| expired_at(&old.note, &meta.key, Some(witness.public())));
        if vouched.is_some_and(|chain| chain == base.chain) {
            self.remove_below(base.next).await?;
        }
        let (number, mut checkpoints) = newest.map_or((0, Vec::new()), |(number, expiry)| (number, expiry.checkpoints));
        // What a kept segment holds is gone already, but for what could not be removed then.
        let tails = self.tails.all().await?;
        if !tails.is_empty() {
            self.clear_tails(&tails, self.end().await?.chain.size()).await?;
        }
        let mut expired = Expired::default();
        let mut cut: Option<(u64, Summary)> = None;
        let last = self.newest_segment(base.next).await?.unwrap_or(0);
        let mut end = End::at(base.clone());
        for number in (base.next..=last).take(usize::try_from(MAX_REMOVED).unwrap_or(usize::MAX)) {
            // The index says cheaply what is young; what is old it does not prove.
            if !is_older(&self.summary(&base, number).await?, before) {
                break;
            }
            let summary = self.proven(&end).await?;
            if !is_older(&summary, before) {
                break;
            }
            expired.segments += 1;
            expired.entries = summary.end.size.saturating_sub(base.chain.size());
            expired.bytes = expired.bytes.saturating_add(summary.bytes);
            checkpoints.extend(summary.checkpoint.clone());
            end = End::after(number, summary.clone(), self.indexes.path(number).as_ref())?;
            cut = Some((end.next, summary));
        }
        let Some((next, summary)) = cut else { return Ok(expired) };
        let note = witnessed_note(&end.chain, &meta.key, witness);
        checkpoints.drain(..checkpoints.len().saturating_sub(MAX_CHECKPOINTS));
        let expiry =
            Expiry { version: VERSION, next, chain: summary.end, note, checkpoints, sessions: summary.sessions };
        let text = serde_json::to_vec(&expiry).map_err(|error| ShelfError::Refused(error.to_string()))?;
        if !self.expiries.create(number.saturating_add(1), text.into()).await? {
            return Err(StoreError::Away("somebody else removes expired segments: ask again".to_owned()).into());
        }
        self.remove_below(next).await?;
        for old in self.expiries.all().await?.into_iter().filter(|old| *old <= number) {
            self.expiries.remove(old).await?;
        }
        Ok(expired)
    }

    /// The newest note about what expired.
    pub(crate) async fn newest_expiry(&self) -> Result<Option<(u64, Expiry)>, StoreError> {
        let Some(newest) = self.expiries.all().await?.last().copied() else { return Ok(None) };
        let object = self.expiries.path(newest).to_string();
        let damaged = |what: String| StoreError::Damaged { object: object.clone(), what };
        let bytes = self.expiries.get(newest, MAX_EXPIRY).await?;
        let bytes = bytes.ok_or_else(|| StoreError::Away(format!("`{object}` went meanwhile: ask again")))?;
        let expiry: Expiry = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if expiry.version != VERSION {
            return Err(newer(&object, expiry.version));
        }
        Ok(Some((newest, expiry)))
    }

    pub(super) async fn base(&self) -> Result<Base, StoreError> {
        let Some((number, expiry)) = self.newest_expiry().await? else {
            return Ok(Base { next: 1, chain: Chain::default(), sessions: BTreeMap::new() });
        };
        let object = self.expiries.path(number).to_string();
        let what = "its frontier does not fit its size".to_owned();
        let chain = expiry.chain.chain().ok_or(StoreError::Damaged { object, what })?;
        Ok(Base { next: expiry.next, chain, sessions: expiry.sessions })
    }

    /// Removes what expired. Upwards, so that what a crash leaves is found by going down from `next`.
    async fn remove_below(&self, next: u64) -> Result<(), StoreError> {
        let mut lowest = next;
        while let Some(below) = lowest.checked_sub(1).filter(|below| *below > 0)
            && self.segments.exists(below).await?
        {
            lowest = below;
        }
        for number in lowest..next {
            self.indexes.remove(number).await?;
            self.segments.remove(number).await?;
        }
        Ok(())
    }
}

/// A time that is none stays for people to look at.
fn is_older(summary: &Summary, before: Timestamp) -> bool {
    summary.until.parse::<Timestamp>().is_ok_and(|until| until < before)
}
