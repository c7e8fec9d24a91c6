//! A storage in memory with faults to switch on, for tests: errors, short writes, stalls, lost unsynced writes.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::{FileInfo, SegmentFile, Storage};

/// No space left on device.
pub const ENOSPC: i32 = 28;
/// Input or output error.
pub const EIO: i32 = 5;
/// Read-only file system.
pub const EROFS: i32 = 30;

/// What goes wrong while it is set. Numbers are `errno` values.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// `append` writes the first `.0` bytes, then fails with `.1`.
    pub append: Option<(usize, i32)>,
    pub sync: Option<i32>,
    pub create: Option<i32>,
    pub truncate: Option<i32>,
    pub remove: Option<i32>,
    /// All files together hold at most this; what exceeds it is a short write and `ENOSPC`.
    pub capacity: Option<usize>,
    /// What `free_space` says; the rest of `capacity`, or 1 TiB, when not set.
    pub free: Option<u64>,
    /// `append` waits until this is taken back.
    pub stall_append: bool,
    /// `sync` waits until this is taken back.
    pub stall_sync: bool,
    /// What `fast` says.
    pub fast: bool,
}

#[derive(Clone, Debug, Default)]
struct Stored {
    content: Vec<u8>,
    synced: usize,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Stored>,
    faults: Faults,
    locked: bool,
    appends: u64,
    syncs: u64,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

/// Files in memory; clones share them.
#[derive(Clone, Debug, Default)]
pub struct FaultyStorage {
    inner: Arc<Inner>,
}

impl FaultyStorage {
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes the faults; what stalls looks again.
    pub fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.inner.state.lock().faults);
        self.inner.changed.notify_all();
    }

    /// Another storage with the same files and no faults: what a process killed now would leave.
    pub fn killed(&self) -> Self {
        self.copy(|file| file.clone())
    }

    /// Another storage with only what was synced: what power loss now would leave.
    pub fn power_lost(&self) -> Self {
        self.copy(|file| {
            let content = file.content.iter().copied().take(file.synced).collect();
            Stored { content, synced: file.synced }
        })
    }

    fn copy(&self, of: impl Fn(&Stored) -> Stored) -> Self {
        let files = self.inner.state.lock().files.iter().map(|(name, file)| (name.clone(), of(file))).collect();
        let inner = Inner { state: Mutex::new(State { files, ..State::default() }), changed: Condvar::new() };
        Self { inner: Arc::new(inner) }
    }

    /// Content of each file, in order of name.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        self.inner.state.lock().files.iter().map(|(name, file)| (name.clone(), file.content.clone())).collect()
    }

    /// Replaces or makes a file, whatever the faults.
    pub fn put(&self, name: &str, content: Vec<u8>) {
        let synced = content.len();
        self.inner.state.lock().files.insert(name.to_owned(), Stored { content, synced });
    }

    /// Removes a file, whatever the faults.
    pub fn delete(&self, name: &str) {
        self.inner.state.lock().files.remove(name);
    }

    /// How many appends and syncs were asked for.
    pub fn calls(&self) -> (u64, u64) {
        let state = self.inner.state.lock();
        (state.appends, state.syncs)
    }
}

fn fault(errno: Option<i32>) -> io::Result<()> {
    errno.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Storage for FaultyStorage {
    fn exclusive(&self) -> io::Result<Box<dyn Any + Send>> {
        let mut state = self.inner.state.lock();
        if std::mem::replace(&mut state.locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock { inner: Arc::clone(&self.inner) }))
    }

    fn list(&self) -> io::Result<Vec<FileInfo>> {
        let state = self.inner.state.lock();
        let info = |(name, file): (&String, &Stored)| FileInfo {
            name: name.clone(),
            bytes: u64::try_from(file.content.len()).unwrap_or(u64::MAX),
        };
        Ok(state.files.iter().map(info).collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let mut state = self.inner.state.lock();
        fault(state.faults.create)?;
        if state.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.insert(name.to_owned(), Stored::default());
        Ok(Arc::new(FaultySegment { inner: Arc::clone(&self.inner), name: name.to_owned() }))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let state = self.inner.state.lock();
        let file = state.files.get(name).ok_or_else(missing)?;
        Ok(Box::new(Cursor::new(file.content.clone())))
    }

    fn truncate(&self, name: &str, bytes: u64) -> io::Result<()> {
        let mut state = self.inner.state.lock();
        fault(state.faults.truncate)?;
        let file = state.files.get_mut(name).ok_or_else(missing)?;
        file.content.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
        file.synced = file.content.len();
        Ok(())
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let mut state = self.inner.state.lock();
        fault(state.faults.sync)?;
        let file = state.files.get_mut(name).ok_or_else(missing)?;
        file.synced = file.content.len();
        Ok(())
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        fault(self.inner.state.lock().faults.create)?;
        self.put(name, content.to_vec());
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.inner.state.lock();
        fault(state.faults.remove)?;
        state.files.remove(name).map(|_| ()).ok_or_else(missing)
    }

    fn free_space(&self) -> io::Result<u64> {
        let state = self.inner.state.lock();
        let left = state.faults.capacity.map(|capacity| capacity.saturating_sub(used(&state)));
        let left = left.map(|left| u64::try_from(left).unwrap_or(u64::MAX));
        Ok(state.faults.free.or(left).unwrap_or(1 << 40))
    }

    fn fast(&self) -> bool {
        self.inner.state.lock().faults.fast
    }
}

fn used(state: &State) -> usize {
    state.files.values().map(|file| file.content.len()).sum()
}

struct Lock {
    inner: Arc<Inner>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.inner.state.lock().locked = false;
    }
}

#[derive(Debug)]
struct FaultySegment {
    inner: Arc<Inner>,
    name: String,
}

impl SegmentFile for FaultySegment {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.inner.state.lock();
        state.appends += 1;
        while state.faults.stall_append {
            self.inner.changed.wait(&mut state);
        }
        let room = state.faults.capacity.map(|capacity| capacity.saturating_sub(used(&state)));
        let full = room.filter(|room| *room < bytes.len()).map(|room| (room, ENOSPC));
        let cut = state.faults.append.or(full);
        let file = state.files.get_mut(&self.name).ok_or_else(missing)?;
        let keep = cut.map_or(bytes.len(), |(keep, _)| keep);
        file.content.extend(bytes.iter().copied().take(keep));
        fault(cut.map(|(_, errno)| errno))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.inner.state.lock();
        state.syncs += 1;
        while state.faults.stall_sync {
            self.inner.changed.wait(&mut state);
        }
        fault(state.faults.sync)?;
        let file = state.files.get_mut(&self.name).ok_or_else(missing)?;
        file.synced = file.content.len();
        Ok(())
    }
}
