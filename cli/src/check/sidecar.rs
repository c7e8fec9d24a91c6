//! The sidecar looks at its own configuration.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::exit;
use crate::place::Place;

const SIDECAR: &str = "agentaccess-sidecar";

pub(super) fn check(place: &Place) -> Result<u8> {
    let Some(sidecar) = find() else {
        bail!("`{SIDECAR}` is neither beside this program nor in PATH: install it, or run its `check` where it is");
    };
    let shown = sidecar.display();
    let mut command = Command::new(&sidecar);
    command.arg("check").arg("--config").arg(place.config());
    let status = command.status().with_context(|| format!("`{shown}` cannot be run"))?;
    match status.code() {
        Some(code) => Ok(u8::try_from(code).unwrap_or(exit::FAILED)),
        None => bail!("`{shown} check` was ended by a signal ({status})"),
    }
}

fn find() -> Option<PathBuf> {
    // A plugin is often a link: what counts is where the program really lies.
    let ours = std::env::current_exe().ok().and_then(|exe| exe.canonicalize().ok());
    let beside = ours.as_deref().and_then(|exe| exe.parent()).map(|folder| folder.join(SIDECAR));
    let path = std::env::var_os("PATH");
    let in_path = std::env::split_paths(path.as_deref().unwrap_or(OsStr::new(""))).map(|folder| folder.join(SIDECAR));
    beside.into_iter().chain(in_path).find(|file| file.is_file())
}
