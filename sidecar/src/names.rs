//! The sidecar's own copies of `/etc/hosts` and `/etc/resolv.conf`, made before any other container of the pod ran.
//!
//! Invariant: what was copied once stays for the life of the pod. All containers may be started anew in place, and by then
//! the pod's own files may say what the agent wants.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crds::pod::NAMES_FILES;

/// Far longer than either is.
const LONGEST: u64 = 64 * 1024;
/// Read by the sidecar, which is another user.
const MODE: u32 = 0o644;

#[derive(Debug, thiserror::Error)]
#[error("cannot keep `{from}` for the sidecar as `{to}`: {source}")]
pub struct NamesError {
    from: PathBuf,
    to: PathBuf,
    source: io::Error,
}

/// Copies what is not there yet from `etc` to `folder`.
///
/// # Errors
/// When a file cannot be read or written, or is longer than 64 KiB; then no container of the pod may start.
pub fn keep(etc: &Path, folder: &Path) -> Result<(), NamesError> {
    for name in NAMES_FILES {
        let (from, to) = (etc.join(name), folder.join(name));
        copy(&from, &to).map_err(|source| NamesError { from, to, source })?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if fs::exists(to)? {
        return Ok(());
    }
    let mut content = Vec::new();
    let read = File::open(from)?.take(LONGEST + 1).read_to_end(&mut content)?;
    if u64::try_from(read).map_or(true, |read| read > LONGEST) {
        return Err(io::Error::other("it is too long"));
    }
    // Under another name first: half a file is never taken for one.
    let part = to.with_extension("part");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(MODE).open(&part)?;
    // The umask takes bits away that this file is meant to have.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(&content)?;
    file.sync_all()?;
    fs::rename(&part, to)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn copied_once_whole_and_for_another_user() {
        let (etc, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let kept = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        fs::write(etc.path().join("hosts"), "127.0.0.1 localhost\n").unwrap();
        let error = keep(etc.path(), folder.path()).unwrap_err().to_string();
        assert!(error.contains("resolv.conf` for the sidecar") && error.contains("No such file"), "{error}");
        fs::write(etc.path().join("resolv.conf"), "nameserver 10.96.0.10\n").unwrap();
        // What a copy that was cut off left.
        fs::write(folder.path().join("resolv.part"), "nameserver 10.96.0.100\nserver").unwrap();
        keep(etc.path(), folder.path()).unwrap();
        assert_eq!(kept("resolv.conf"), "nameserver 10.96.0.10\n");
        assert_eq!(fs::metadata(folder.path().join("hosts")).unwrap().mode() & 0o777, MODE);
        // Later they are the agent's.
        fs::write(etc.path().join("hosts"), "192.0.2.1 db.example.com\n").unwrap();
        fs::write(etc.path().join("resolv.conf"), "nameserver 192.0.2.1\n").unwrap();
        keep(etc.path(), folder.path()).unwrap();
        assert_eq!([kept("hosts"), kept("resolv.conf")], ["127.0.0.1 localhost\n", "nameserver 10.96.0.10\n"]);
    }

    #[test]
    fn what_is_too_long_is_no_such_file() {
        let (etc, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(etc.path().join("hosts"), "x".repeat(64 * 1024 + 1)).unwrap();
        let error = keep(etc.path(), folder.path()).unwrap_err().to_string();
        assert!(error.contains("too long"), "{error}");
        assert!(!folder.path().join("hosts").exists());
    }
}
