//! Where PostgreSQL's programs are, and as whom they may run: the server refuses root.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Names the folder whose `bin` holds the server's programs, instead of the newest that is installed.
const CHOSEN: &str = "AGENTACCESS_POSTGRES";

/// A folder with `postgres` and `initdb`, perhaps `psql` and `pgbench`, and the user that owns a server's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    folder: PathBuf,
    /// `None`: we are not root, so the server runs as ourselves.
    owner: Option<(u32, u32)>,
}

impl Programs {
    /// Those that `AGENTACCESS_POSTGRES` names, else the newest that is installed.
    ///
    /// # Errors
    /// When none is installed, or none is where the variable says: a run that was to be against one version must not
    /// pass against another.
    pub fn find() -> Result<Self> {
        if let Some(chosen) = std::env::var_os(CHOSEN) {
            let folder = Path::new(&chosen).join("bin");
            if !has_server(&folder) {
                bail!("{CHOSEN}: no `postgres` and `initdb` in {}", folder.display());
            }
            return Self::at(folder);
        }
        let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
            .map(|entries| {
                entries
                    .filter_map(|entry| {
                        let path = entry.ok()?.path();
                        let version = path.file_name()?.to_str()?.parse().ok()?;
                        Some((version, path.join("bin")))
                    })
                    .collect()
            })
            .unwrap_or_default();
        versions.sort();
        let installed = versions.into_iter().rev().map(|(_, folder)| folder);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folder = installed
            .chain(std::env::split_paths(&path))
            .find(|folder| has_server(folder))
            .context("PostgreSQL is not installed; `scripts/setup.sh test` installs it")?;
        Self::at(folder)
    }

    /// Those of a folder.
    ///
    /// # Errors
    /// When we are root and no unprivileged user is there to run them.
    pub fn at(folder: PathBuf) -> Result<Self> {
        let owner = if rustix::process::getuid().is_root() { Some(unprivileged()?) } else { None };
        Ok(Self { folder, owner })
    }

    /// A client program: of this version if it is there, else the one that PATH finds.
    pub fn client(&self, name: &str) -> PathBuf {
        let here = self.folder.join(name);
        if here.exists() { here } else { PathBuf::from(name) }
    }

    /// A server program, to be run as the owner of the server's files.
    pub(super) fn as_owner(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join(name));
        command.env_clear().env("LC_ALL", "C").current_dir("/");
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        // Distributions that are not Debian's keep their libraries beside the programs.
        let libraries = self.folder.join("../lib");
        if libraries.join("libpq.so.5").exists() {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Makes the server's user the owner of this file or folder, with all that is in it.
    pub(super) fn give(&self, path: &Path) -> Result<()> {
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        chown(path, Some(uid), Some(gid)).with_context(|| path.display().to_string())?;
        if path.is_dir() {
            for entry in fs::read_dir(path)? {
                self.give(&entry?.path())?;
            }
        }
        Ok(())
    }
}

fn has_server(folder: &Path) -> bool {
    folder.join("postgres").exists() && folder.join("initdb").exists()
}

/// Uid and gid of `postgres`, else of `nobody`.
fn unprivileged() -> Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
    let id = |name: &str| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then_some(())?;
            Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
        })
    };
    id("postgres")
        .or_else(|| id("nobody"))
        .context("PostgreSQL refuses root, and there is no user `postgres` or `nobody`")
}
