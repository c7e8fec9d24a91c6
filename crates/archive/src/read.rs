//! A kept recording as the `recording` crate reads one: its segments by name, what came before it was sealed as the
//! segments that it would have become, and the note about those that expired.
//!
//! Refused: every write. It shows what was there when it was opened. It blocks the thread that reads, so it belongs on
//! one that is not the runtime's.

use std::collections::VecDeque;
use std::io::{self, Cursor, Read};
use std::sync::Arc;

use parking_lot::Mutex;
use recording::prune::{CHECKPOINTS, NOTE};
use recording::reader::segment_name;
use recording::spool::{FileInfo, ReadOnly};
use serde::Deserialize;
use tokio::runtime::Handle;

use crate::error::{ShelfError, StoreError};
use crate::shelf::{Shelf, Unsealed};

/// Segments that stay in memory: readers look at the header of the next while they read one.
const KEPT: usize = 2;
/// How often it is looked at again where segments are kept meanwhile.
const ATTEMPTS: usize = 8;

/// The segments of a shelf.
#[derive(Debug)]
pub struct Stored {
    shelf: Shelf,
    runtime: Handle,
    segments: Vec<u64>,
    /// What follows them, each under the number after the last.
    unsealed: Vec<Unsealed>,
    /// Number of the newest segment that expired.
    before: u64,
    /// The note and the checkpoints of what expired.
    expired: Option<(String, String)>,
    read: Mutex<VecDeque<(u64, Arc<[u8]>)>>,
}

impl Stored {
    /// Looks what there is. Reading goes through `runtime`, from threads that are not its own.
    ///
    /// # Errors
    /// When nothing is known of the recording, or the store fails.
    pub async fn open(shelf: Shelf, runtime: Handle) -> Result<Self, ShelfError> {
        shelf.meta().await?;
        let (from, expired) = match shelf.newest_expiry().await? {
            None => (1, None),
            Some((_, expiry)) => {
                let lines =
                    expiry.checkpoints.iter().map(|note| format!("{}\n", serde_json::Value::from(note.as_str())));
                let size = expiry.size();
                (expiry.next, Some((expiry.note, lines.collect(), size)))
            }
        };
        let kept = expired.as_ref().map_or(0, |(_, _, size)| *size);
        let expired = expired.map(|(note, lines, _)| (note, lines));
        for _ in 0..ATTEMPTS {
            // These first: one that goes meanwhile is in a segment that is listed.
            let tails = shelf.tail_numbers().await?;
            let segments = shelf.numbers(from).await?;
            let mut unsealed = Vec::new();
            if !tails.is_empty() {
                // What a segment says of itself: indexes are no proof.
                let kept = match segments.last() {
                    Some(last) => shelf.lines(*last).await?.and_then(|lines| entries_up_to(&lines)).unwrap_or(0),
                    None => kept,
                };
                let Some(found) = shelf.unsealed(&tails, kept).await? else { continue };
                unsealed = found;
            }
            let before = from.saturating_sub(1);
            return Ok(Self { shelf, runtime, segments, unsealed, before, expired, read: Mutex::new(VecDeque::new()) });
        }
        Err(StoreError::Away("segments are kept all the time: ask again".to_owned()).into())
    }

    fn numbers(&self) -> impl Iterator<Item = u64> {
        let last = self.segments.last().copied().unwrap_or(self.before);
        let unsealed = (1..).take(self.unsealed.len()).map(move |at: u64| last.saturating_add(at));
        self.segments.iter().copied().chain(unsealed)
    }

    fn lines(&self, number: u64) -> io::Result<Arc<[u8]>> {
        if let Some((_, lines)) = self.read.lock().iter().find(|(kept, _)| *kept == number) {
            return Ok(Arc::clone(lines));
        }
        let after = number.checked_sub(self.segments.last().copied().unwrap_or(self.before).saturating_add(1));
        let after = after.and_then(|after| usize::try_from(after).ok()).and_then(|after| self.unsealed.get(after));
        let lines = match after {
            Some(unsealed) => self.runtime.block_on(self.shelf.unsealed_lines(unsealed)),
            None => self.runtime.block_on(self.shelf.lines(number)),
        };
        let kept = || io::Error::new(io::ErrorKind::NotFound, "a segment was kept meanwhile: ask again");
        let lines = lines.map_err(io_error)?.ok_or_else(kept)?;
        let mut read = self.read.lock();
        read.push_back((number, Arc::clone(&lines)));
        if read.len() > KEPT {
            read.pop_front();
        }
        Ok(lines)
    }
}

impl ReadOnly for Stored {
    /// How long segments are is not known before they are read.
    fn list(&self) -> io::Result<Vec<FileInfo>> {
        let file = |name: &str| FileInfo { name: name.to_owned(), bytes: 0 };
        let notes = self.expired.iter().flat_map(|_| [file(CHECKPOINTS), file(NOTE)]);
        Ok(notes.chain(self.numbers().map(|number| file(&segment_name(number)))).collect())
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let note = match (&self.expired, name) {
            (Some((note, _)), NOTE) => Some(note),
            (Some((_, checkpoints)), CHECKPOINTS) => Some(checkpoints),
            _ => None,
        };
        if let Some(text) = note {
            return Ok(Box::new(Cursor::new(text.clone())));
        }
        let number = self.numbers().find(|number| segment_name(*number) == name);
        let number = number.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Box::new(Cursor::new(self.lines(number)?)))
    }
}

/// How many entries there are up to the end of these lines, by what the first one says.
fn entries_up_to(lines: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct First {
        seq: u64,
    }
    let first: First = serde_json::from_slice(lines.split(|byte| *byte == b'\n').next()?).ok()?;
    let count = lines.iter().filter(|byte| **byte == b'\n').count();
    first.seq.checked_add(u64::try_from(count).ok()?)
}

fn io_error(error: StoreError) -> io::Error {
    let kind = match &error {
        StoreError::Full(_) => io::ErrorKind::StorageFull,
        StoreError::Forbidden(_) => io::ErrorKind::PermissionDenied,
        StoreError::Damaged { .. } => io::ErrorKind::InvalidData,
        StoreError::Away(_) | StoreError::Unfit(_) => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
