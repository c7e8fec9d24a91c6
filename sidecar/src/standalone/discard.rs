//! A recording that nobody keeps, for `check`: nothing of it reaches a disk, so that no folder has to be writable.
//!
//! Never used by `run`: what is put here is acknowledged and gone.

use std::any::Any;
use std::io::{self, Read};
use std::sync::Arc;

use recording::Storage;
use recording::spool::{FileInfo, SegmentFile};

/// Takes everything and holds nothing.
#[derive(Debug)]
pub(super) struct Discard;

impl Storage for Discard {
    fn exclusive(&self) -> io::Result<Box<dyn Any + Send>> {
        Ok(Box::new(()))
    }

    fn list(&self) -> io::Result<Vec<FileInfo>> {
        Ok(Vec::new())
    }

    fn create(&self, _: &str) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(Self))
    }

    fn read(&self, _: &str) -> io::Result<Box<dyn Read + Send>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn truncate(&self, _: &str, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn replace(&self, _: &str, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn free_space(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl SegmentFile for Discard {
    fn append(&self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
