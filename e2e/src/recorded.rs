//! The recording as it stands in its files, read as plain JSON lines, and what `agentaccess verify` says of it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::proxy::Sidecar;

/// Exit status of `verify` for a recording that is what was written.
pub const INTACT: i32 = 0;
/// Exit status of `verify` when only the lines after the last checkpoint are not signed.
pub const UNSIGNED_TAIL: i32 = 13;

/// The segments of a recording, oldest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn segments(recordings: &Path) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(recordings).with_context(|| recordings.display().to_string())?;
    let mut found: Vec<PathBuf> = files
        .flatten()
        .map(|file| file.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("segment-")))
        .collect();
    found.sort();
    Ok(found)
}

/// Every whole line, in order.
///
/// # Errors
/// When a file cannot be read or a whole line is no JSON.
pub fn lines(recordings: &Path) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for segment in segments(recordings)? {
        let text = fs::read_to_string(&segment)?;
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            all.push(serde_json::from_str(line).with_context(|| segment.display().to_string())?);
        }
    }
    Ok(all)
}

/// What `verify` said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub status: i32,
    pub text: String,
}

impl Sidecar {
    /// `agentaccess verify` of this folder with the public key of this sidecar, and `--head` when there is one.
    ///
    /// # Errors
    /// When the CLI does not run.
    pub fn verify(&self, recordings: &Path, head: Option<&str>) -> Result<Verified> {
        let key = self.state().join("keys/checkpoint.pub");
        let key = fs::read_to_string(&key).with_context(|| key.display().to_string())?;
        let folder = recordings.display().to_string();
        let mut arguments = vec!["verify", "--key", key.trim(), "--recordings", &folder];
        arguments.extend(head.map(|head| ["--head", head]).into_iter().flatten());
        let output = self.cli_plain(None, &arguments)?;
        Ok(Verified { status: output.status.unwrap_or(-1), text: output.all() })
    }

    /// The newest head that this sidecar logged: what somebody would keep elsewhere.
    pub fn logged_head(&self) -> Option<String> {
        let log = self.log();
        let mut heads = log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        heads.find_map(|line| line.get("head")?.as_str().map(str::to_owned))
    }
}
