//! The recording on the disk of this pod, as it goes out: read and removed on threads that may block.

use std::sync::Arc;

use control::LINE_HASHES;
use parking_lot::Mutex;
use recording::outgoing::{Outgoing, Proof};
use recording::{Storage, Writer};

use super::calls::segment_limit;
use super::failed::Failed;
use crate::vital;

/// Most segments that stay here although they are stored: each costs a look at every start.
const SEGMENTS: usize = 256;

pub(super) struct Spool {
    outgoing: Arc<Mutex<Outgoing>>,
    writer: Writer,
    /// What was removed last ends here.
    removed: u64,
}

impl Spool {
    pub(super) fn new(storage: Arc<dyn Storage>, writer: Writer) -> Self {
        Self { outgoing: Arc::new(Mutex::new(Outgoing::new(storage))), writer, removed: 0 }
    }

    pub(super) async fn proof(&self, from: u64, told: u64) -> Result<Option<Proof>, Failed> {
        let outgoing = Arc::clone(&self.outgoing);
        let proof = move || outgoing.lock().proof(from, told, LINE_HASHES);
        Ok(vital::blocking("shipping", proof).await?)
    }

    /// The sealed segment that begins with this entry.
    pub(super) async fn sealed(&self, from: u64, closed: bool) -> Result<Option<Vec<u8>>, Failed> {
        let outgoing = Arc::clone(&self.outgoing);
        let read = move || {
            let outgoing = outgoing.lock();
            let sealed = outgoing.sealed(from, closed)?;
            sealed.map(|sealed| outgoing.read(&sealed, segment_limit())).transpose()
        };
        Ok(vital::blocking("shipping", read).await?)
    }

    /// Removes what is stored, once the spool is more than half full.
    pub(super) async fn make_room(&mut self, stored: u64) -> Result<(), Failed> {
        if stored <= self.removed {
            return Ok(());
        }
        let (outgoing, writer) = (Arc::clone(&self.outgoing), self.writer.clone());
        let remove = move || -> Result<bool, Failed> {
            let (used, max) = writer.usage();
            if used <= max / 2 && outgoing.lock().segments()? <= SEGMENTS {
                return Ok(false);
            }
            let removed = writer.remove_stored(stored)?;
            let (segments, bytes) = (removed.segments, removed.bytes);
            tracing::info!(event = "spool_freed", segments, bytes, stored);
            Ok(true)
        };
        if vital::blocking("shipping", remove).await? {
            self.removed = stored;
        }
        Ok(())
    }
}
