//! Figures of a run that is too long for CI, kept beside the documentation with the commit that they are of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

/// What people run: all but tests, documents and scripts.
const SHIPS: [&str; 8] =
    ["Cargo.toml", "Cargo.lock", "operator/src", "sidecar/src", "cli/src", "crates/*/src/*", "crds", "charts"];

static SOURCE: OnceLock<Source> = OnceLock::new();

/// What is run, as it was when the job began: the repository may go on meanwhile.
#[derive(Debug)]
struct Source {
    commit: String,
    /// It is not what the commit says, but something that was made of it.
    changed: bool,
}

/// To be said first.
///
/// # Errors
/// When git does not say what is run.
pub fn begin() -> Result<()> {
    let root = root();
    let commit = git(&root, &["rev-parse", "HEAD"])?;
    let changed = !git(&root, &["status", "--porcelain", "--", ".", ":!docs/evidence"])?.is_empty();
    SOURCE.get_or_init(|| Source { commit, changed });
    Ok(())
}

/// Writes `docs/evidence/NAME.json`, anew.
///
/// # Errors
/// When the job did not say that it began, or the file cannot be written.
pub fn write(name: &str, figures: &Value) -> Result<()> {
    let root = root();
    let source = SOURCE.get().context("evidence of a job that did not begin")?;
    let evidence = json!({
        "commit": source.commit, "uncommitted_changes": source.changed,
        "finished_unix_s": SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        "cores": std::thread::available_parallelism()?.get(), "figures": figures,
    });
    fs::create_dir_all(root.join("docs/evidence"))?;
    let file = file(&root, name);
    fs::write(&file, format!("{evidence:#}\n")).with_context(|| file.display().to_string())
}

/// The figures that were kept last, if they are of what would ship now: a job goes on from there.
#[must_use]
pub fn of_what_ships(name: &str) -> Option<Value> {
    let (root, source) = (root(), SOURCE.get()?);
    let kept: Value = serde_json::from_str(&fs::read_to_string(file(&root, name)).ok()?).ok()?;
    let differs = [&["diff", "--name-only", kept.get("commit")?.as_str()?, &source.commit, "--"], &SHIPS[..]].concat();
    let same = git(&root, &differs).ok()?.is_empty();
    let clean = kept.get("uncommitted_changes")? == false && !source.changed;
    (same && clean).then(|| kept.get("figures").cloned())?
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn file(root: &Path, name: &str) -> PathBuf {
    root.join("docs/evidence").join(format!("{name}.json"))
}

fn git(root: &Path, words: &[&str]) -> Result<String> {
    let output = Command::new("git").arg("-C").arg(root).args(words).output().context("git cannot be run")?;
    ensure!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
