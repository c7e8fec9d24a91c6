//! The state directory: `keys/`, `requests/`, `recordings/`, `catalog/`, `approve.sock`. One process at a time.
//!
//! The directory itself may be entered by everybody, since agents read `keys/ca.crt` and approvers reach
//! `approve.sock`; each thing in it carries its own permission. A directory that others may write to is refused: they
//! could replace our keys.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The file of names and their addresses.
pub(crate) const ADDRESSES: &str = "addresses";

/// The opened directory. The lock lives as long as this value.
#[derive(Debug)]
pub struct StateDir {
    root: PathBuf,
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("stateDir: cannot {action} `{path}`: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("stateDir: another sidecar is running on `{0}`: stop it, or give each its own stateDir")]
    Busy(PathBuf),
    #[error("stateDir: `{path}` may be written by others (mode {mode:o}): run `chmod go-w {path}`")]
    Writable { path: PathBuf, mode: u32 },
    #[error("stateDir: `{path}` belongs to uid {owner}, this process is uid {ours}: run `chown {ours} {path}`")]
    Foreign { path: PathBuf, owner: u32, ours: u32 },
    #[error("stateDir: `{0}` is not a directory")]
    NotADirectory(PathBuf),
}

// === impl StateDir ===

impl StateDir {
    /// Makes what is missing, checks what is there and takes the lock.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        make_dir(root, 0o755)?;
        for (name, mode) in [("keys", 0o711), ("requests", 0o750), ("recordings", 0o700), ("catalog", 0o700)] {
            make_dir(&root.join(name), mode)?;
        }
        let path = root.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| StateError::Io { action: "open", path: path.clone(), source })?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { root: root.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateError::Busy(root.to_owned())),
            Err(e) => Err(StateError::Io { action: "lock", path, source: e.into() }),
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }
    pub fn requests(&self) -> PathBuf {
        self.root.join("requests")
    }
    pub fn recordings(&self) -> PathBuf {
        self.root.join("recordings")
    }
    pub fn catalog(&self) -> PathBuf {
        self.root.join("catalog")
    }
    pub fn addresses(&self) -> PathBuf {
        self.root.join(ADDRESSES)
    }
    pub fn approve_socket(&self) -> PathBuf {
        self.root.join("approve.sock")
    }
}

/// Writes a file whole or not at all: a neighbour is written, synced and renamed over it.
pub(crate) fn write_whole(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    match std::fs::remove_file(&beside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&beside)?;
    // The umask may have taken bits away that this file is meant to have.
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// The neighbour of [`write_whole`].
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

fn make_dir(path: &Path, mode: u32) -> Result<(), StateError> {
    let io = |action| move |source| StateError::Io { action, path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Ok(there) if !there.is_dir() => return Err(StateError::NotADirectory(path.to_owned())),
        Ok(there) => {
            let ours = rustix::process::geteuid().as_raw();
            if there.uid() != ours {
                return Err(StateError::Foreign { path: path.to_owned(), owner: there.uid(), ours });
            }
            if there.mode() & 0o022 != 0 {
                return Err(StateError::Writable { path: path.to_owned(), mode: there.mode() & 0o7777 });
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(mode).create(path).map_err(io("create"))?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(io("set permissions of"))?;
        }
        Err(e) => return Err(io("read")(e)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_locked_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state");
        let state = StateDir::open(&root).unwrap();
        let mode = |p: &Path| std::fs::metadata(p).unwrap().mode() & 0o777;
        assert_eq!((mode(&root), mode(&state.keys()), mode(&state.recordings())), (0o755, 0o711, 0o700));
        assert!(StateDir::open(&root).unwrap_err().to_string().contains("another sidecar is running"));
        drop(state);
        std::fs::set_permissions(root.join("keys"), std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = StateDir::open(&root).unwrap_err().to_string();
        assert!(error.contains("chmod go-w") && error.contains("keys"), "{error}");
    }

    #[test]
    fn whole_files_keep_their_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        for content in ["one", "two"] {
            write_whole(&path, 0o600, content.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
