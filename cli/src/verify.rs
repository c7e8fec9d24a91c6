//! `verify`: is a recording what was written?
//!
//! The key comes from the caller. One that lies in or beside the recording is refused: who changed the recording could
//! have changed it too. A store is judged by the key of the witness, which countersigned what the sidecars wrote; one that
//! lies in the store is refused for the same reason.

mod stored;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use recording::verify::{Report, Verdict, verify};
use recording::{Head, VerifyingKey};
use serde_json::json;

use crate::exit::{self, Usage};
use crate::keys::read_public;
use crate::place::{self, Place};
use crate::screen::{Paint, Screen, count, line};
use crate::source::FromStore;

const STATUSES: &str = "Exit status:
   0  intact: every line is what was written, up to the last checkpoint and to --head if given
  10  edited at seq N
  11  gap or reorder at seq N
  12  truncated: shorter than --head says
  13  unsigned tail since seq N: nothing is wrong, but lines after the last checkpoint are not signed
  14  segment missing
  15  wrong key: signed by another one than --key
  16  not the recording that --head was kept of
  17  a version of the format that this program does not know
  18  not a recording
  19  of a store: whole in itself, but not countersigned by --witness for this pod
   1  files cannot be read; of a store, a recording cannot, and the others are verified nevertheless
   2  wrong usage, also a --key that lies in or beside the recording

A recording that was cut at a checkpoint is intact as far as it goes: the cut is found by --head alone. Keep somewhere
else the head that the sidecar logs at each checkpoint, or the one that `keys` shows.

With --store every recording of a store is verified, or the one of --recording, and the head is the newest that the
operator countersigned. The status is that of the worst.";

/// Say whether a recording is what was written.
#[derive(Args)]
#[command(after_long_help = STATUSES)]
pub(crate) struct Verify {
    /// Public key of the checkpoints (NAME+ID+BASE64) as `keys` printed it, or a file that holds it.
    #[arg(long, value_name = "FILE|KEY", required_unless_present = "store")]
    key: Option<String>,
    /// Head that was kept elsewhere, as logged at a checkpoint.
    #[arg(long, value_name = "SIZE:ROOT", conflicts_with = "store")]
    head: Option<Head>,
    /// Folder of the segments [default: recordings/ of the state directory].
    #[arg(long, value_name = "DIR", conflicts_with = "store")]
    recordings: Option<PathBuf>,
    #[command(flatten)]
    from: FromStore,
    /// Public key of the operator that countersigns, as it publishes it, or a file that holds it. Not from the store.
    #[arg(long, value_name = "FILE|KEY", requires = "store", conflicts_with = "key", required_unless_present = "key")]
    witness: Option<String>,
}

impl Verify {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        if let Some(library) = self.from.library()? {
            let Some(witness) = &self.witness else {
                return Err(
                    Usage("a store is verified against --witness, the public key of the operator".into()).into()
                );
            };
            if let Some(folder) = self.from.folder()? {
                is_elsewhere(witness, &folder)?;
            }
            let witness = given(witness, "--witness", "as the operator publishes it")?;
            return stored::run(&self.from, &library, &witness, screen);
        }
        let dir = match &self.recordings {
            Some(dir) => dir.clone(),
            None => place.state_dir()?.join("recordings"),
        };
        let Some(text) = &self.key else {
            return Err(Usage("give --key, the public key of the checkpoints".to_owned()).into());
        };
        let key = key(text, &dir, screen)?;
        let shown = dir.display().to_string();
        if dir.exists() && !dir.is_dir() {
            return nothing(screen, &shown, "is not a folder");
        }
        let storage = place::open_recordings(&dir)?;
        if place::is_empty(&storage)? {
            return nothing(screen, &shown, "holds no segment-*.jsonl");
        }
        let report = verify(&storage, &key, self.head)
            .with_context(|| format!("the recording in `{shown}` cannot be read: check its files and permissions"))?;
        say(screen, &report, self.head)?;
        Ok(report.verdict.exit_code())
    }
}

fn nothing(screen: &mut Screen, dir: &str, why: &str) -> Result<u8> {
    if screen.json() {
        screen.say_json(&json!({"verdict": "not a recording", "intact": false, "exitStatus": exit::NO_RECORDING}))?;
    } else {
        screen.say(&format!("not a recording: `{}` {why}", line(dir)))?;
    }
    Ok(exit::NO_RECORDING)
}

fn say(screen: &mut Screen, report: &Report, head: Option<Head>) -> Result<()> {
    let Report { verdict, entries, checkpoints, signed, torn_bytes, expired, head: end, orderly_stop, head_expired } =
        report;
    let text = line(&verdict.to_string());
    if screen.json() {
        return screen.say_json(&json!({
            "verdict": text,
            "intact": *verdict == Verdict::Intact,
            "exitStatus": verdict.exit_code(),
            "entries": entries,
            "checkpoints": checkpoints,
            "signedEntries": signed,
            "tornBytes": torn_bytes,
            "expiredEntries": expired,
            "head": end.to_string(),
            "headCompared": head.is_some() && !head_expired,
            "orderlyStop": orderly_stop,
        }));
    }
    let paint = match verdict {
        Verdict::Intact => Paint::Good,
        Verdict::UnsignedTail { .. } => Paint::Waiting,
        Verdict::Truncated { .. } | Verdict::OtherHead { .. } | Verdict::Fault { .. } => Paint::Bad,
    };
    let text = screen.paint(&text, paint);
    screen.say(&text)?;
    let entries = count(*entries, "entry", "entries");
    screen.say(&format!("  {entries} sound, {} of them signed by {checkpoints} checkpoints", sound(report)))?;
    if let Some(expired) = expired {
        screen.say(&format!("  the {expired} before them were pruned by the holder of the key"))?;
    }
    if *torn_bytes > 0 {
        screen.say(&format!("  {torn_bytes} bytes of half a line stand at the end: a write that was interrupted"))?;
    }
    if *head_expired {
        screen.say("  --head lies in what was pruned and could not be compared")?;
    }
    let at = if matches!(verdict, Verdict::Fault { .. }) { "sound up to" } else { "head" };
    screen.say(&format!("  {at} {end}"))?;
    if matches!(verdict, Verdict::Intact | Verdict::UnsignedTail { .. }) {
        end_of(screen, head.is_some(), *orderly_stop)?;
    }
    Ok(())
}

/// What stands behind the last line cannot be seen in the files.
fn end_of(screen: &mut Screen, compared: bool, orderly_stop: bool) -> Result<()> {
    if !orderly_stop {
        screen.say(
            "  no orderly stop stands at the end: the sidecar runs still, was killed, or later lines were cut off",
        )?;
    }
    if !compared {
        screen.say("  without --head SIZE:ROOT, kept elsewhere, later lines that were cut off cannot be seen")?;
    }
    Ok(())
}

/// How many of the sound entries that are still there a checkpoint covers.
fn sound(report: &Report) -> u64 {
    report.signed.saturating_sub(report.expired.unwrap_or(0)).min(report.entries)
}

/// A key as text or in a file.
fn given(text: &str, flag: &str, printed: &str) -> Result<VerifyingKey> {
    match text.parse() {
        Ok(key) => Ok(key),
        Err(_) if Path::new(text).exists() => read_public(Path::new(text)),
        Err(_) => {
            let shown = line(text);
            let why = format!("{flag}: `{shown}` is neither a public key (NAME+ID+BASE64, {printed}) nor a file");
            Err(Usage(why).into())
        }
    }
}

/// # Errors
/// When it is a file in the store: who changed the store could have changed it too.
fn is_elsewhere(witness: &str, store: &Path) -> Result<()> {
    let (Ok(real), Ok(store)) = (Path::new(witness).canonicalize(), store.canonicalize()) else { return Ok(()) };
    if real.starts_with(&store) {
        let shown = line(witness);
        let why = format!("--witness: `{shown}` lies in the store that it is to judge: give a copy of the operator's");
        return Err(Usage(why).into());
    }
    Ok(())
}

fn key(text: &str, recordings: &Path, screen: &Screen) -> Result<VerifyingKey> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let file = Path::new(text);
    if !file.exists() {
        return given(text, "--key", "as `keys` prints it");
    }
    // Both as they really are, so that no link leads back into the recording.
    let (real, folder) = (file.canonicalize()?, recordings.canonicalize().unwrap_or_else(|_| recordings.to_owned()));
    let beside = real.parent().is_some_and(|parent| Some(parent) == folder.parent());
    if real.starts_with(&folder) || beside {
        return Err(Usage(format!(
            "--key: `{}` lies beside the recording, so whoever changed one could have changed the other: \
             give a copy that was kept elsewhere",
            line(text)
        ))
        .into());
    }
    if folder.parent().is_some_and(|state| real.starts_with(state)) {
        screen.remark(
            "the key was read from the state directory of the same sidecar: against somebody who can write there, \
             use a copy that was kept elsewhere",
        );
    }
    read_public(file)
}
