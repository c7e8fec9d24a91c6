//! Where segments live: a small trait over a directory of append-only files.
//!
//! The writer never asks a file that failed once to hold anything again; what a storage must promise is only that
//! `append` is all or an error, that `sync` tells the truth, and that `create` and `remove` survive power loss.

use std::any::Any;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

mod fs;

#[cfg(any(test, feature = "faulty"))]
pub mod faulty;

pub use fs::FsStorage;

/// A file of the storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    pub name: String,
    pub bytes: u64,
}

/// A place for segments.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Makes this the only writer for as long as the value returned lives.
    ///
    /// # Errors
    /// `WouldBlock` when another process writes here.
    fn exclusive(&self) -> io::Result<Box<dyn Any + Send>>;

    /// All files, in order of name.
    fn list(&self) -> io::Result<Vec<FileInfo>>;

    /// A new, empty file, its name durable. An existing one is an error.
    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>>;

    /// The content from the start.
    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;

    /// Cuts the file to `bytes`, durably.
    fn truncate(&self, name: &str, bytes: u64) -> io::Result<()>;

    /// Makes what the file holds durable.
    fn sync(&self, name: &str) -> io::Result<()>;

    /// Replaces the whole content at once and durably, or not at all.
    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()>;

    /// Removes the file, durably.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The same from byte `offset` on.
    fn read_from(&self, name: &str, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut reader = self.read(name)?;
        io::copy(&mut (&mut reader).take(offset), &mut io::sink())?;
        Ok(reader)
    }

    /// Bytes that can still be written here.
    fn free_space(&self) -> io::Result<u64>;

    /// Whether `append` goes to memory and, in all but a failing machine, returns within microseconds, so that the
    /// thread of the caller may do it itself.
    fn fast(&self) -> bool {
        false
    }
}

/// What can be looked at and nothing else: it is a [`Storage`] that refuses every write.
pub trait ReadOnly: Send + Sync + fmt::Debug {
    /// All files, in order of name.
    fn list(&self) -> io::Result<Vec<FileInfo>>;

    /// The content from the start.
    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;
}

/// One file, open for appending.
pub trait SegmentFile: Send + Sync + fmt::Debug {
    /// Appends all of `bytes`. After an error the end of the file is undefined until it is truncated.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Returns when everything appended is durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
}

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl<T: ReadOnly> Storage for T {
    fn exclusive(&self) -> io::Result<Box<dyn Any + Send>> {
        read_only()
    }

    fn list(&self) -> io::Result<Vec<FileInfo>> {
        ReadOnly::list(self)
    }

    fn create(&self, _name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        read_only()
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        ReadOnly::read(self, name)
    }

    fn truncate(&self, _name: &str, _bytes: u64) -> io::Result<()> {
        read_only()
    }

    fn sync(&self, _name: &str) -> io::Result<()> {
        read_only()
    }

    fn replace(&self, _name: &str, _content: &[u8]) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        read_only()
    }

    fn free_space(&self) -> io::Result<u64> {
        Ok(0)
    }
}
