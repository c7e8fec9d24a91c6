//! What other containers of the pod find where they look for roots and for their service account: the pod's own CA, and
//! a token that is worth nothing.
//!
//! Each file is mounted by itself, which holds on to its inode: it is written in place and only when it differs. All of
//! it may be read by all; none of it is a secret.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crds::pod::{ACCOUNT_CA, ACCOUNT_FOLDER, ACCOUNT_NAMESPACE, ACCOUNT_TOKEN, TRUST_FILE, TRUST_FOLDER};

use super::settings::Folders;
use crate::tls::LocalCa;

/// In the place of a token: clients want one to be there, and it proves nothing to anybody.
const TOKEN: &str = "agentaccess-placeholder-that-is-worth-nothing";
const MODE: u32 = 0o644;
/// No file of ours is longer; what is there and is longer is replaced unread.
const LONGEST: u64 = 64 * 1024;

#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{path}` for the agent: {source}")]
pub struct AgentFilesError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

pub(super) fn write(folders: &Folders, ca: &LocalCa, namespace: &str) -> Result<(), AgentFilesError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| AgentFilesError { action, path, source }
    };
    let certificate = std::fs::read(ca.file()).map_err(failed("read", ca.file()))?;
    let (trust, account) = (folders.at(TRUST_FOLDER), folders.at(ACCOUNT_FOLDER));
    for (path, content) in [
        (trust.join(TRUST_FILE), certificate.as_slice()),
        (account.join(ACCOUNT_CA), certificate.as_slice()),
        (account.join(ACCOUNT_NAMESPACE), namespace.as_bytes()),
        (account.join(ACCOUNT_TOKEN), TOKEN.as_bytes()),
    ] {
        in_place(&path, content).map_err(failed("write", &path))?;
    }
    Ok(())
}

fn in_place(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file: File = options.create(true).truncate(false).read(true).write(true).mode(MODE).open(path)?;
    // The umask takes bits away that this file is meant to have.
    file.set_permissions(Permissions::from_mode(MODE))?;
    let mut there = Vec::new();
    (&file).take(LONGEST).read_to_end(&mut there)?;
    if there == content {
        return Ok(());
    }
    file.rewind()?;
    file.write_all(content)?;
    file.set_len(u64::try_from(content.len()).map_err(io::Error::other)?)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_file_keeps_its_inode_and_may_be_read_by_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut inode = None;
        for content in ["a long text", "short", "short", "a longer text than before"] {
            in_place(&path, content.as_bytes()).unwrap();
            let about = std::fs::metadata(&path).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
            assert_eq!((about.mode() & 0o777, about.ino()), (MODE, *inode.get_or_insert(about.ino())));
        }
    }
}
