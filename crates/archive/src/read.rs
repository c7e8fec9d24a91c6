//! A kept recording as the `recording` crate reads one: its segments by name, and the note about those that expired.
//!
//! Refused: every write. It shows what was there when it was opened. It blocks the thread that reads, so it belongs on
//! one that is not the runtime's.

use std::any::Any;
use std::collections::VecDeque;
use std::io::{self, Cursor, Read};
use std::sync::Arc;

use parking_lot::Mutex;
use recording::Storage;
use recording::prune::{CHECKPOINTS, NOTE};
use recording::reader::segment_name;
use recording::spool::{FileInfo, SegmentFile};
use tokio::runtime::Handle;

use crate::error::{ShelfError, StoreError};
use crate::shelf::Shelf;

/// Segments that stay in memory: readers look at the header of the next while they read one.
const KEPT: usize = 2;

/// The segments of a shelf.
#[derive(Debug)]
pub struct Stored {
    shelf: Shelf,
    runtime: Handle,
    segments: Vec<u64>,
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
                (expiry.next, Some((expiry.note, lines.collect())))
            }
        };
        let segments = shelf.numbers(from).await?;
        Ok(Self { shelf, runtime, segments, expired, read: Mutex::new(VecDeque::new()) })
    }

    fn lines(&self, number: u64) -> io::Result<Arc<[u8]>> {
        if let Some((_, lines)) = self.read.lock().iter().find(|(kept, _)| *kept == number) {
            return Ok(Arc::clone(lines));
        }
        let lines = self.runtime.block_on(self.shelf.lines(number)).map_err(io_error)?;
        let lines = lines.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut read = self.read.lock();
        read.push_back((number, Arc::clone(&lines)));
        if read.len() > KEPT {
            read.pop_front();
        }
        Ok(lines)
    }
}

impl Storage for Stored {
    fn exclusive(&self) -> io::Result<Box<dyn Any + Send>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    /// How long segments are is not known before they are read.
    fn list(&self) -> io::Result<Vec<FileInfo>> {
        let file = |name: &str| FileInfo { name: name.to_owned(), bytes: 0 };
        let notes = self.expired.iter().flat_map(|_| [file(CHECKPOINTS), file(NOTE)]);
        Ok(notes.chain(self.segments.iter().map(|number| file(&segment_name(*number)))).collect())
    }

    fn create(&self, _name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
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
        let number = self.segments.iter().find(|number| segment_name(**number) == name);
        let number = number.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Box::new(Cursor::new(self.lines(*number)?)))
    }

    fn truncate(&self, _name: &str, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self, _name: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn replace(&self, _name: &str, _content: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn free_space(&self) -> io::Result<u64> {
        Ok(0)
    }
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
