//! The storage over a directory of the file system.
//!
//! Refused: to open a link, a FIFO or anything else that is no file, for it would lead elsewhere or hang.

use std::any::Any;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{FileInfo, SegmentFile, Storage};

const LOCK: &str = ".lock";
const ASIDE: &str = ".replace";

/// Segments as files, mode 0600, in a directory of mode 0700.
#[derive(Debug)]
pub struct FsStorage {
    dir: PathBuf,
    fast: bool,
}

impl FsStorage {
    /// Makes the directory when it is missing.
    pub fn create(dir: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Self::open(dir)
    }

    /// An existing directory, for readers too.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::read_dir(dir)?;
        Ok(Self { dir: dir.to_owned(), fast: local(dir) })
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
        if plain { Ok(self.dir.join(name)) } else { Err(io::ErrorKind::InvalidFilename.into()) }
    }

    fn open_file(&self, options: &mut OpenOptions, name: &str) -> io::Result<File> {
        plain_file(options, &self.path(name)?)
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

/// Opens without following a link and without waiting for the other end of a FIFO.
fn plain_file(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = options.custom_flags(flags).mode(0o600).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "this is not a file")),
    }
}

/// File systems whose `write` goes to the page cache of this machine. Over a network or in user space it may hang.
fn local(dir: &Path) -> bool {
    const LOCAL: [u32; 6] = [
        0x0000_ef53, // ext2, ext3, ext4
        0x5846_5342, // xfs
        0x9123_683e, // btrfs
        0x0102_1994, // tmpfs
        0x794c_7630, // overlayfs
        0xf2f5_2010, // f2fs
    ];
    let magic = rustix::fs::statfs(dir).ok().and_then(|s| u32::try_from(s.f_type).ok());
    magic.is_some_and(|magic| LOCAL.contains(&magic))
}

impl Storage for FsStorage {
    fn exclusive(&self) -> io::Result<Box<dyn Any + Send>> {
        let file = plain_file(OpenOptions::new().write(true).create(true).truncate(false), &self.dir.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self) -> io::Result<Vec<FileInfo>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            match entry.metadata() {
                Ok(meta) if meta.is_file() => files.push(FileInfo { name, bytes: meta.len() }),
                Ok(_) => {}
                // Pruned between the listing and the look.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let file = self.open_file(OpenOptions::new().append(true).create_new(true), name)?;
        self.sync_dir()?;
        Ok(Arc::new(FsSegment { file }))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.open_file(OpenOptions::new().read(true), name)?))
    }

    fn read_from(&self, name: &str, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = self.open_file(OpenOptions::new().read(true), name)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }

    fn truncate(&self, name: &str, bytes: u64) -> io::Result<()> {
        let file = self.open_file(OpenOptions::new().write(true), name)?;
        file.set_len(bytes)?;
        file.sync_all()
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.open_file(OpenOptions::new().read(true), name)?.sync_all()
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let aside = self.dir.join(ASIDE);
        let mut file = plain_file(OpenOptions::new().write(true).create(true).truncate(true), &aside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&aside, self.path(name)?)?;
        self.sync_dir()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name)?)?;
        self.sync_dir()
    }

    fn free_space(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn fast(&self) -> bool {
        self.fast
    }
}

#[derive(Debug)]
struct FsSegment {
    file: File,
}

impl SegmentFile for FsSegment {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.file).write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_neither_followed_nor_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        let storage = FsStorage::open(dir.path()).unwrap();
        for name in ["expired.note", "000001.jsonl"] {
            rustix::fs::mknodat(rustix::fs::CWD, dir.path().join(name), rustix::fs::FileType::Fifo, 0o600.into(), 0)
                .unwrap();
            assert!(storage.read(name).is_err() && storage.truncate(name, 0).is_err() && storage.sync(name).is_err());
            fs::remove_file(dir.path().join(name)).unwrap();
            std::os::unix::fs::symlink(outside.path(), dir.path().join(name)).unwrap();
            assert!(storage.read(name).is_err() && storage.truncate(name, 0).is_err() && storage.create(name).is_err());
        }
        for name in [LOCK, ASIDE] {
            std::os::unix::fs::symlink(outside.path().with_extension(name), dir.path().join(name)).unwrap();
        }
        assert!(storage.exclusive().is_err() && storage.replace("a", b"x").is_err());
        assert!(!outside.path().with_extension(LOCK).exists() && !outside.path().with_extension(ASIDE).exists());
    }
}
