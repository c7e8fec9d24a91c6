//! The catalog as the session's own open transaction has changed it, which nobody else sees before COMMIT.
//!
//! It is read on the agent's own connection, inside its transaction, by constant texts under a name that no agent can use;
//! each is an operation of ours. Invariants: it is read only while nothing is under way; only at READ COMMITTED, where a
//! text sees what others have committed meanwhile; and until two readings in a row are alike, since each text sees another
//! moment. It is forgotten when the transaction ends, is sent back to a savepoint, or has changed the catalog again. Where it
//! cannot be read like this, what others see is what names mean, and a table that is new is not found.
//!
//! That is so only behind what adds names. From the moment at which something is sent that may give another meaning to one that
//! is there, or takes such a change back, nothing that goes by names is taken until the catalog was read again
//! (`names_moved`, see `state`): in the same batch it cannot be, and where the transaction sees the past it never can.

use std::sync::Arc;
use std::time::Instant;

use pgcodec::TxState;
use tokio::time::timeout;

use super::internal::{Asker, MOST_BYTES};
use super::snapshot::{DEADLINE, Loaded, SnapshotError, read_beside};
use super::{End, Session, catalog_not_read};

/// Readings of which two in a row have to be alike.
const READINGS: usize = 4;

/// What the open transaction has done to the catalog.
#[derive(Debug, Default)]
pub(super) enum Uncommitted {
    #[default]
    Nothing,
    /// It changed, and was not read since.
    Unread,
    /// And how many changes of others were known by then.
    Read(Arc<Loaded>, u64),
    /// It changed, and cannot be read as it has to be.
    Unreadable,
}

impl Uncommitted {
    /// The transaction changed the catalog.
    pub(super) fn changed(&mut self) {
        if !matches!(self, Self::Unreadable) {
            *self = Self::Unread;
        }
    }

    /// The transaction is sent back to a savepoint.
    pub(super) fn rolled_back(&mut self) {
        if matches!(self, Self::Read(..)) {
            *self = Self::Unread;
        }
    }

    pub(super) fn is_read(&self) -> bool {
        matches!(self, Self::Read(..))
    }

    /// The transaction has changed the catalog.
    pub(super) fn has_changed(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// The transaction is over; whether it changed the catalog.
    pub(super) fn ended(&mut self) -> bool {
        !matches!(std::mem::take(self), Self::Nothing)
    }
}

impl Session {
    /// The catalog of the open transaction, as recent as `enough` asks; `None` where that of everybody counts.
    pub(super) async fn uncommitted_catalog(
        &mut self,
        enough: fn(&Loaded) -> bool,
    ) -> Result<Option<Arc<Loaded>>, End> {
        match &self.uncommitted {
            Uncommitted::Nothing | Uncommitted::Unreadable => return Ok(None),
            Uncommitted::Read(loaded, changes) if enough(loaded) && *changes == self.catalog.changes() => {
                return Ok(Some(Arc::clone(loaded)));
            }
            Uncommitted::Unread | Uncommitted::Read(..) => {}
        }
        let waits = self.machine.in_flight() == 0 && !self.machine.unsynced() && self.upstream.waiting() == 0;
        if !waits || self.machine.tx_state() != TxState::Transaction || self.guard.is_some() {
            return Ok(None);
        }
        self.settle_cancelling().await;
        let changes = self.catalog.changes();
        let (read, unasked) = Box::pin(self.read_uncommitted()).await;
        unasked.into_iter().try_for_each(|message| self.feed(message))?;
        let loaded = read.map_err(catalog_not_read)?;
        self.uncommitted = match &loaded {
            Some(loaded) => {
                self.names_moved = false;
                Uncommitted::Read(Arc::clone(loaded), changes)
            }
            None => Uncommitted::Unreadable,
        };
        Ok(loaded)
    }

    async fn read_uncommitted(&mut self) -> (Result<Option<Arc<Loaded>>, SnapshotError>, Vec<pgcodec::Backend>) {
        let mut desk = self.core.gate.internal_desk(self.desk.target());
        let mut asker = Asker {
            upstream: &mut self.upstream,
            framer: &mut self.upstream_framer,
            desk: &mut desk,
            key: &self.core.digest_key,
            database: &self.database,
            most: MOST_BYTES,
            unasked: Vec::new(),
        };
        let read = timeout(DEADLINE, alike(&mut asker)).await.unwrap_or(Err(SnapshotError::Timeout));
        (read, asker.unasked)
    }
}

/// The first of two readings that are alike; `None` where the transaction would not see what others commit, or they never are.
async fn alike(asker: &mut Asker<'_>) -> Result<Option<Arc<Loaded>>, SnapshotError> {
    let level = asker.ask_beside("isolation of an open transaction", "SHOW transaction_isolation").await?;
    if level.first().and_then(|row| row.first()?.as_deref()) != Some(b"read committed".as_slice()) {
        return Ok(None);
    }
    let mut before: Option<Loaded> = None;
    for _ in 0..READINGS {
        let at = Instant::now();
        let catalog = read_beside(asker).await?;
        match before.take() {
            Some(before) if before.catalog.revision == catalog.revision => return Ok(Some(Arc::new(before))),
            _ => before = Some(Loaded::since(at, catalog)),
        }
    }
    Ok(None)
}
