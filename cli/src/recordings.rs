//! `recordings prune`: removes whole old segments, as the holder of the checkpoint key.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use recording::SigningKey;
use recording::prune::prune;
use serde_json::json;

use crate::exit;
use crate::place::Place;
use crate::screen::{Screen, count, line};
use crate::when;

#[derive(Subcommand)]
pub(crate) enum Recordings {
    Prune(Prune),
}

/// Remove whole segments that hold only older entries, and keep their checkpoints.
///
/// It may be run beside a running sidecar. What was removed is told by a note signed with the key of the sidecar, so
/// that `verify` calls it expired and not missing.
#[derive(Args)]
pub(crate) struct Prune {
    /// A time (2026-11-21T08:00:00Z, 2026-11-21) or an age (30d).
    #[arg(long, value_name = "TIME")]
    before: String,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

impl Recordings {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        let Self::Prune(prune) = self;
        prune.run(place, screen)
    }
}

impl Prune {
    fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        let before = when::moment(&self.before).context("--before")?;
        let (dir, storage) = place.recordings()?;
        let shown = line(&dir.display().to_string());
        let key = SigningKey::load(&place.state_dir()?.join("keys").join("checkpoint.key"))?;
        if !self.yes && !confirmed(&format!("Remove the segments of `{shown}` that end before {before}? [y/N] "))? {
            bail!("nothing was removed");
        }
        let removed = prune(&storage, &key, before)?;
        if screen.json() {
            let (segments, entries, bytes) = (removed.segments, removed.entries, removed.bytes);
            screen.say_json(&json!({"segments": segments, "entries": entries, "bytes": bytes}))?;
        } else if removed.segments == 0 {
            screen.say(&format!("nothing to remove: no whole segment of `{shown}` ends before {before}"))?;
        } else {
            let segments = count(removed.segments, "segment", "segments");
            let entries = count(removed.entries, "entry", "entries");
            screen.say(&format!("removed {segments} with {entries}, {} bytes", removed.bytes))?;
        }
        Ok(exit::DONE)
    }
}

fn confirmed(question: &str) -> Result<bool> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        bail!("there is nobody to ask whether to remove recordings: give --yes");
    }
    eprint!("{question}");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
