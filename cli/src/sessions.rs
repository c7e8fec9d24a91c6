//! `sessions ls`: which agents were connected, and what came of it.
//!
//! A damaged recording is listed as far as it can be read, with a warning and a failing status.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use recording::entry::{Body, Close, Line, Open};
use recording::reader::{ReadError, entries};
use serde::Serialize;

use crate::exit;
use crate::place::Place;
use crate::screen::{Screen, line};
use crate::when;

#[derive(Subcommand)]
pub(crate) enum Sessions {
    Ls(Ls),
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
}

#[derive(Serialize, Debug, Default)]
#[serde(rename_all = "camelCase")]
struct Row {
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
        let Self::Ls(ls) = self;
        ls.run(place, screen)
    }
}

impl Ls {
    fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        let since = self.since.as_deref().map(when::moment).transpose().context("--since")?;
        let (dir, storage) = place.recordings()?;
        let (mut rows, damage) = collect(entries(&storage)?);
        rows.retain(|row| {
            (self.internal || !row.internal)
                && (!self.denied || row.refusals > 0)
                && since.is_none_or(|since| row.last.parse::<Timestamp>().is_ok_and(|last| last >= since))
        });
        if screen.json() {
            screen.say_json(&rows)?;
        } else if rows.is_empty() {
            screen.say(&format!("no such session in `{}`", line(&dir.display().to_string())))?;
        } else {
            let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
            screen.table(&HEADINGS, &cells)?;
        }
        let Some(damage) = damage else { return Ok(exit::DONE) };
        screen.remark(&format!("the recording is damaged, so this list ends early: {damage}"));
        Ok(exit::FAILED)
    }
}

const HEADINGS: [&str; 8] = ["SESSION", "AGENT", "TARGET", "STARTED", "TOOK", "OPS", "REFUSED", "APPROVALS"];

fn cells(row: &Row) -> Vec<String> {
    let open = row.open.as_deref();
    let unknown = || "?".to_owned();
    vec![
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
