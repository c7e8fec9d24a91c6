//! What the sidecar wrote under `requests/`, for when it cannot be asked.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use crds::approval::ApprovalRequest;

use super::sort;

/// Statements have at most 64 Ki characters.
const LARGEST: u64 = 1 << 20;
const MOST: usize = 10_000;

/// All of them, pending first, then the newest.
pub(crate) fn read_all(state: &Path) -> Result<Vec<ApprovalRequest>> {
    let folder = state.join("requests");
    let shown = folder.display();
    let mut items = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read `{shown}`"))?.take(MOST) {
        let path = entry.with_context(|| format!("cannot read `{shown}`"))?.path();
        if path.extension().is_some_and(|e| e == "yaml") {
            items.push(read(&path)?);
        }
    }
    sort(&mut items);
    Ok(items)
}

/// `None` when there is no such file, or one that is not what it should be.
pub(super) fn read_one(state: &Path, name: &str) -> Option<ApprovalRequest> {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    plain.then(|| read(&state.join("requests").join(format!("{name}.yaml"))).ok())?
}

fn read(path: &Path) -> Result<ApprovalRequest> {
    let shown = path.display();
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| format!("cannot read `{shown}`"))?;
    file.take(LARGEST).read_to_string(&mut text).with_context(|| format!("cannot read `{shown}`"))?;
    serde_yaml::from_str(&text).with_context(|| format!("`{shown}` is not an ApprovalRequest"))
}
