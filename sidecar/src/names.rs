//! The sidecar's own `/etc/hosts` and `/etc/resolv.conf`, made before any other container of the pod ran.
//!
//! The first says what localhost is and nothing else: the kubelet's has the name that the pod's author gave the pod, which
//! may be a target's. The second is a copy. Invariant: what was made once stays for the life of the pod. All containers
//! may be started anew in place, and by then the pod's own files may say what the agent wants.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crds::pod::{NAMES_HOSTS, NAMES_RESOLVER};

const HOSTS: &[u8] = b"127.0.0.1 localhost\n::1 localhost\n";
/// Far longer than it is.
const LONGEST: u64 = 64 * 1024;
/// Read by the sidecar, which is another user.
const MODE: u32 = 0o644;

#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{path}`, by which the sidecar finds names: {source}")]
pub struct NamesError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Makes in `folder` what is not there yet; the resolver's is `/etc/resolv.conf` of this moment.
///
/// # Errors
/// When a file cannot be read or written, or is longer than 64 KiB; then no container of the pod may start.
pub fn keep(etc: &Path, folder: &Path) -> Result<(), NamesError> {
    let from = etc.join(NAMES_RESOLVER);
    let resolver = read(&from).map_err(|source| NamesError { action: "read", path: from, source })?;
    for (name, content) in [(NAMES_HOSTS, HOSTS), (NAMES_RESOLVER, &resolver)] {
        let path = folder.join(name);
        make(&path, content).map_err(|source| NamesError { action: "write", path, source })?;
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let read = File::open(path)?.take(LONGEST + 1).read_to_end(&mut content)?;
    match u64::try_from(read).is_ok_and(|read| read <= LONGEST) {
        true => Ok(content),
        false => Err(io::Error::other("it is too long")),
    }
}

fn make(to: &Path, content: &[u8]) -> io::Result<()> {
    if fs::exists(to)? {
        return Ok(());
    }
    // Under another name first: half a file is never taken for one.
    let part = to.with_extension("part");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(MODE).open(&part)?;
    // The umask takes bits away that this file is meant to have.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&part, to)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn made_once_whole_and_for_another_user() {
        let (etc, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let kept = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let error = keep(etc.path(), folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("cannot read `") && error.contains("resolv.conf`, by which"), "{error}");
        // The pod has the name of a target.
        fs::write(etc.path().join("hosts"), "10.0.0.7 db.example.com\n").unwrap();
        fs::write(etc.path().join("resolv.conf"), "nameserver 10.96.0.10\n").unwrap();
        // What was cut off left half a file.
        fs::write(folder.path().join("resolv.part"), "nameserver 10.96.0.100\nserver").unwrap();
        keep(etc.path(), folder.path()).unwrap();
        let made = ["127.0.0.1 localhost\n::1 localhost\n", "nameserver 10.96.0.10\n"];
        assert_eq!(["hosts", "resolv.conf"].map(kept), made);
        assert_eq!(fs::metadata(folder.path().join("hosts")).unwrap().mode() & 0o777, MODE);
        // Later it is the agent's.
        fs::write(etc.path().join("resolv.conf"), "nameserver 192.0.2.1\n").unwrap();
        keep(etc.path(), folder.path()).unwrap();
        assert_eq!(["hosts", "resolv.conf"].map(kept), made);
    }

    #[test]
    fn what_is_too_long_is_no_such_file() {
        let (etc, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(etc.path().join("resolv.conf"), "x".repeat(64 * 1024 + 1)).unwrap();
        let error = keep(etc.path(), folder.path()).unwrap_err().to_string();
        assert!(error.contains("too long"), "{error}");
        assert!(!folder.path().join("resolv.conf").exists());
    }
}
