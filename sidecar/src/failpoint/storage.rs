//! `mid_rotate`: each step at which a segment of the recording begins, passed in this order for every segment: its
//! file is there and empty; half of its header is written; its header is whole.

use std::any::Any;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use recording::spool::{FileInfo, SegmentFile};
use recording::{FsStorage, Storage};

use super::failpoint;
use super::trace::tell;

const POINT: &str = "mid_rotate";

pub(super) fn wrap(inner: FsStorage) -> Arc<dyn Storage> {
    Arc::new(Spool(inner))
}

#[derive(Debug)]
struct Spool(FsStorage);

#[derive(Debug)]
struct Segment {
    inner: Arc<dyn SegmentFile>,
    begun: AtomicBool,
}

impl Storage for Spool {
    fn exclusive(&self) -> io::Result<Box<dyn Any + Send>> {
        self.0.exclusive()
    }

    fn list(&self) -> io::Result<Vec<FileInfo>> {
        self.0.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let inner = self.0.create(name)?;
        failpoint(POINT);
        Ok(Arc::new(Segment { inner, begun: AtomicBool::new(false) }))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        self.0.read(name)
    }

    fn read_from(&self, name: &str, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        self.0.read_from(name, offset)
    }

    fn truncate(&self, name: &str, bytes: u64) -> io::Result<()> {
        self.0.truncate(name, bytes)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.0.sync(name)
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.0.replace(name, content)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn free_space(&self) -> io::Result<u64> {
        self.0.free_space()
    }

    fn fast(&self) -> bool {
        self.0.fast()
    }
}

impl SegmentFile for Segment {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        if self.begun.swap(true, Ordering::SeqCst) {
            return self.inner.append(bytes).inspect(|()| tell(bytes));
        }
        let (first, rest) = bytes.split_at_checked(bytes.len() / 2).unwrap_or((bytes, &[]));
        self.inner.append(first)?;
        failpoint(POINT);
        self.inner.append(rest)?;
        tell(bytes);
        failpoint(POINT);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
}
