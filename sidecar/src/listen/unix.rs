//! Unix sockets as files: a stale one is replaced, one that somebody serves is not, and nothing else is ever removed.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// The longest path of a Unix socket (`sun_path` without its NUL).
pub const LONGEST: usize = 107;

#[derive(Debug, thiserror::Error)]
pub enum UnixError {
    #[error("`{0}` is served by another process: stop it, or choose another path")]
    Served(PathBuf),
    #[error("`{0}` exists and is not a socket: remove it, or choose another path")]
    NotASocket(PathBuf),
    #[error("`{0}` is longer than the {LONGEST} bytes a socket may have: choose a shorter path")]
    TooLong(PathBuf),
    #[error("cannot listen on `{path}`: {source}; check that the folder exists and is writable")]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot give `{path}` to group {group}: {source}; be a member of the group, or run as root")]
    Group { path: PathBuf, group: u32, source: io::Error },
}

/// Whether [`bind`] could succeed; changes nothing.
pub fn check(path: &Path) -> Result<(), UnixError> {
    if path.as_os_str().len() > LONGEST {
        return Err(UnixError::TooLong(path.to_owned()));
    }
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => match path.parent() {
            Some(folder) if folder.is_dir() => Ok(()),
            _ => Err(UnixError::Io { path: path.to_owned(), source: e }),
        },
        Err(source) => Err(UnixError::Io { path: path.to_owned(), source }),
        Ok(there) if !there.file_type().is_socket() => Err(UnixError::NotASocket(path.to_owned())),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            _ => Err(UnixError::Served(path.to_owned())),
        },
    }
}

/// Listens with the permissions `mode`, and `group` if one is given. Within the runtime.
pub fn bind(path: &Path, mode: u32, group: Option<u32>) -> Result<UnixListener, UnixError> {
    check(path)?;
    let io = |source| UnixError::Io { path: path.to_owned(), source };
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io(e)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(io)?;
    if group.is_some() {
        std::os::unix::fs::chown(path, None, group).map_err(|source| UnixError::Group {
            path: path.to_owned(),
            group: group.unwrap_or_default(),
            source,
        })?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(io)?;
    Ok(listener)
}
