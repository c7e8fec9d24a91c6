//! Whether the sidecar of a state directory could load the policies that it was given last.
//!
//! It says so in its recording: a marker for each reload that was taken or refused. A state directory that this user may
//! not read, or that has no recording, says nothing.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use recording::entry::{Body, Line, MAX_LINE, Marker, What};
use recording::reader::segments;
use recording::{FsStorage, Storage};

use super::finding::{Code, Finding, Weight};

/// Segments that are looked at, newest first: some 128 MiB.
const SEGMENTS: usize = 8;
/// How the sidecar begins the detail of a reload that it refused.
const REFUSED: &str = "refused";

/// What the newest segments tell of the policies in force.
#[derive(Debug, Default)]
struct Seen {
    /// The last reload was refused: when, and why.
    refused: Option<(String, String)>,
    /// Revision in force, as the last session or reload told it.
    revision: Option<String>,
    /// The writer was closed in order and not opened again.
    stopped: bool,
}

/// `revision`: of the folder as it is now, when it compiles. If that is in force, all is well again.
pub(super) fn kept_older(state: &Path, revision: Option<&str>) -> Option<Finding> {
    let storage = FsStorage::open(&state.join("recordings")).ok()?;
    let seen = look(&storage)?;
    let (at, why) = seen.refused.filter(|_| !seen.stopped)?;
    if revision.is_some() && revision == seen.revision.as_deref() {
        return None;
    }
    Some(Finding {
        code: Code::KeptOlder,
        weight: Weight::Error,
        file: Some(state.display().to_string()),
        document: None,
        object: None,
        field: String::new(),
        text: format!(
            "the sidecar runs on older policies since {at}, when a reload was {why}; correct the folder it reads"
        ),
    })
}

fn look(storage: &dyn Storage) -> Option<Seen> {
    let mut all = segments(storage).ok()?;
    // The newest first, until one tells of a start; then forwards, so that later entries count.
    let mut entries: Vec<Vec<Line>> = Vec::new();
    for _ in 0..SEGMENTS {
        let Some(segment) = all.pop() else { break };
        let found = telling(storage, &segment.name);
        let started = found.iter().any(|l| matches!(&l.body, Body::Marker(m) if m.what == What::Restart));
        entries.push(found);
        if started {
            break;
        }
    }
    let mut seen = Seen::default();
    entries.into_iter().rev().flatten().for_each(|entry| seen.add(entry));
    Some(seen)
}

/// Entries of one segment that tell of policies, as far as it can be read.
fn telling(storage: &dyn Storage, segment: &str) -> Vec<Line> {
    let Ok(reader) = storage.read(segment) else { return Vec::new() };
    let mut reader = BufReader::new(reader);
    let most = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    let mut found = Vec::new();
    loop {
        let mut line = Vec::new();
        let read = (&mut reader).take(most).read_until(b'\n', &mut line);
        if read.is_err() || line.last() != Some(&b'\n') {
            return found;
        }
        let Ok(entry) = serde_json::from_slice::<Line>(&line) else { return found };
        if matches!(entry.body, Body::Open(_) | Body::Marker(_)) {
            found.push(entry);
        }
    }
}

impl Seen {
    fn add(&mut self, entry: Line) {
        match entry.body {
            Body::Open(open) => self.revision = Some(open.revision),
            Body::Marker(Marker { what: What::Restart, .. }) => *self = Self::default(),
            Body::Marker(Marker { what: What::Drain, .. }) => self.stopped = true,
            Body::Marker(Marker { what: What::PolicyReload, detail, .. }) => {
                let detail = detail.unwrap_or_default();
                if detail.starts_with(REFUSED) {
                    self.refused = Some((entry.wall, detail));
                } else {
                    self.refused = None;
                    self.revision = detail.rsplit(' ').next().map(str::to_owned);
                }
            }
            _ => {}
        }
    }
}
