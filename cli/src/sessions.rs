//! `sessions ls`: which agents were connected, and what came of it.
//!
//! Of a store all recordings are listed, one after the other. A damaged recording is listed as far as it can be read, with
//! a warning and a failing status; it hides no other.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use archive::{Library, ShelfError};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use recording::entry::{Body, Close, Line, Open};
use recording::reader::{ReadError, entries};
use serde::Serialize;

use crate::exit;
use crate::place::Place;
use crate::screen::{Screen, line};
use crate::search::Search;
use crate::source::{FromStore, unread};
use crate::when;

#[derive(Subcommand)]
pub(crate) enum Sessions {
    Ls(Ls),
    Search(Search),
}

/// List sessions, oldest first.
#[derive(Args)]
pub(crate) struct Ls {
    /// Only those in which something was refused.
    #[arg(long)]
    denied: bool,
    /// Only those that had an entry since: a time (2026-11-21T08:00:00Z) or an age (2h).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Also those of the sidecar itself.
    #[arg(long)]
    internal: bool,
    #[command(flatten)]
    from: FromStore,
}

#[derive(Serialize, Debug, Default)]
#[serde(rename_all = "camelCase")]
struct Row {
    /// Of which recording of a store.
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: Option<String>,
    session: String,
    started: String,
    last: String,
    open: Option<Box<Open>>,
    close: Option<Close>,
    operations: u64,
    refusals: u64,
    approvals: u64,
    /// It has operations of our own only.
    internal: bool,
}

impl Sessions {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        match self {
            Self::Ls(ls) => ls.run(place, screen),
            Self::Search(search) => search.run(screen),
        }
    }
}

impl Ls {
    fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        let since = self.since.as_deref().map(when::moment).transpose().context("--since")?;
        let (mut rows, damage, shown) = match self.from.library()? {
            Some(library) => self.stored(&library)?,
            None => {
                let (dir, storage) = place.recordings()?;
                let (rows, damage) = collect(entries(&storage)?);
                (rows, damage.map(|damage| damage.to_string()), dir.display().to_string())
            }
        };
        rows.retain(|row| {
            (self.internal || !row.internal)
                && (!self.denied || row.refusals > 0)
                && since.is_none_or(|since| row.last.parse::<Timestamp>().is_ok_and(|last| last >= since))
        });
        if screen.json() {
            screen.say_json(&rows)?;
        } else if rows.is_empty() {
            screen.say(&format!("no such session in `{}`", line(&shown)))?;
        } else {
            // A column more, where there is more than one recording.
            let skip = usize::from(!self.from.is_given());
            let cells: Vec<Vec<String>> = rows.iter().map(|row| cells(row).into_iter().skip(skip).collect()).collect();
            screen.table(HEADINGS.get(skip..).unwrap_or_default(), &cells)?;
        }
        let Some(damage) = damage else { return Ok(exit::DONE) };
        screen.remark(&format!("the recording is damaged, so this list is not whole: {damage}"));
        Ok(exit::FAILED)
    }

    /// Of every recording, or the one that was named; with the first damage, if there is any.
    fn stored(&self, library: &Library) -> Result<(Vec<Row>, Option<String>, String)> {
        let (mut all, mut first) = (Vec::new(), None);
        for id in self.from.chosen(library)? {
            let (rows, damage) = match library.stored(&id) {
                Ok(storage) => entries(&storage).map_or_else(|error| (Vec::new(), Some(error)), collect),
                // A folder without a beginning is no recording.
                Err(ShelfError::NotBegun) if !self.from.is_named() => continue,
                Err(error) if !self.from.is_named() && error.is_damage() => {
                    first = first.or(Some(format!("{id}: {error}")));
                    continue;
                }
                Err(error) => return Err(unread(&id, error)),
            };
            all.extend(rows.into_iter().map(|row| Row { recording: Some(id.to_string()), ..row }));
            first = first.or(damage.map(|damage| format!("{id}: {damage}")));
        }
        Ok((all, first, "the store".to_owned()))
    }
}

const HEADINGS: [&str; 9] =
    ["RECORDING", "SESSION", "AGENT", "TARGET", "STARTED", "TOOK", "OPS", "REFUSED", "APPROVALS"];

fn cells(row: &Row) -> Vec<String> {
    let open = row.open.as_deref();
    let unknown = || "?".to_owned();
    vec![
        row.recording.clone().unwrap_or_default(),
        row.session.clone(),
        open.map_or_else(unknown, |o| format!("{}/{}", o.subject.namespace, o.subject.service_account)),
        open.map_or_else(unknown, |o| match &o.target.database {
            Some(database) => format!("{}/{database}", o.target.name),
            None => o.target.name.clone(),
        }),
        row.started.clone(),
        row.close.as_ref().map_or_else(|| "not closed".to_owned(), |c| when::took(c.duration_us)),
        row.operations.to_string(),
        row.refusals.to_string(),
        row.approvals.to_string(),
    ]
}

/// What there is up to the first damage.
fn collect(entries: impl Iterator<Item = Result<Line, ReadError>>) -> (Vec<Row>, Option<ReadError>) {
    let mut order = Vec::new();
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut damage = None;
    for entry in entries {
        match entry {
            Ok(Line { session: Some(id), wall, body, .. }) => {
                let row = rows.entry(id.clone()).or_insert_with(|| {
                    order.push(id.clone());
                    Row { session: id, started: wall.clone(), internal: true, ..Row::default() }
                });
                row.add(wall, body);
            }
            Ok(_) => {}
            Err(error) => damage = Some(error),
        }
    }
    (order.iter().filter_map(|id| rows.remove(id)).collect(), damage)
}

impl Row {
    fn add(&mut self, wall: String, body: Body) {
        self.last = wall;
        match body {
            Body::Open(open) => {
                self.internal = false;
                self.open = Some(open);
            }
            Body::Close(close) => self.close = Some(close),
            Body::Intent(intent) if !intent.decided.internal => {
                self.internal = false;
                self.operations += 1;
                self.approvals += u64::from(intent.approval.is_some());
            }
            Body::Refusal(refusal) => {
                self.internal &= refusal.decided.internal;
                self.refusals += 1;
            }
            Body::Header(_)
            | Body::Intent(_)
            | Body::Approval(_)
            | Body::Data(_)
            | Body::Outcome(_)
            | Body::Marker(_)
            | Body::Checkpoint(_) => {}
        }
    }
}
