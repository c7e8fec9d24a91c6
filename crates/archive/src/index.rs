//! What is known of a segment without reading it: where it stands, and a row for each operation and approval.
//!
//! It is one compressed object beside the segment, made from it alone and from the summary before it, so it can always
//! be made again. Nothing is proven by it: `verify` does not look at it. Rows that would be more than [`MAX_INDEX`]
//! bytes are left out, and then a search reads the segment.

use std::collections::BTreeMap;
use std::sync::Arc;

use recording::VerifyingKey;
use recording::chain::{Chain, Hash};
use recording::entry::{ApprovalEvent, Body, Decided, Decision, Line, Open};
use recording::segment::{Checked, SegmentError, check};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::head::ChainText;
use crate::meta::{VERSION, newer};
use crate::pack::{pack, unpack};

/// Longest index, before it is compressed.
pub(crate) const MAX_INDEX: usize = 4 << 20;
/// Most sessions that are carried from one segment to the next with their target.
const MAX_SESSIONS: usize = 2_000;

/// First line of an index.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    version: u8,
    /// `seq` of its first line.
    pub(crate) first: u64,
    /// The chain after its last line.
    pub(crate) end: ChainText,
    /// Earliest and latest time of a line.
    pub(crate) from: String,
    pub(crate) until: String,
    pub(crate) bytes: u64,
    /// Of the lines, as they were given.
    pub(crate) digest: String,
    pub(crate) orderly_stop: bool,
    /// The last checkpoint in it.
    pub(crate) checkpoint: Option<String>,
    /// The newest countersigned note at the time it was kept that covers no line after it.
    pub(crate) countersigned: Option<String>,
    /// Sessions that go on after it.
    pub(crate) sessions: BTreeMap<String, Session>,
    /// Rows were left out: they were too many.
    pub(crate) partial: bool,
}

/// What an operation does not say itself.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    pub(crate) target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) database: Option<String>,
    pub(crate) service_account: String,
}

/// What a row is about.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum RowKind {
    Operation,
    Refusal,
    Approval,
}

/// One operation, refusal or step of an approval.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub kind: RowKind,
    /// RFC 3339, UTC.
    pub time: String,
    pub seq: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// Name of the target, and its database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub action: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// Name of the ApprovalRequest, and for a step of one what it was and who took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<ApprovalEvent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// An operation of the sidecar itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
}

/// A segment that was judged, and its index.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) summary: Summary,
    pub(crate) rows: Vec<Row>,
    /// The chain's root at the size that was asked for.
    pub(crate) root: Option<Hash>,
}

/// Judges a segment against `start` and makes its index. `size` is where the root is wanted.
pub(crate) fn read(
    segment: &Arc<[u8]>,
    start: &Chain,
    sessions: &BTreeMap<String, Session>,
    key: &VerifyingKey,
    size: Option<u64>,
) -> Result<Read, SegmentError> {
    let mut reading = Reading {
        rows: Vec::new(),
        sessions: sessions.clone(),
        from: None,
        until: String::new(),
        checkpoint: None,
        root: size.filter(|size| *size == start.size()).map(|_| start.root()),
    };
    let Checked { chain, orderly_stop, .. } = check(Arc::clone(segment), start, key, &mut |chain, line| {
        if size == Some(chain.size()) {
            reading.root = Some(chain.root());
        }
        reading.line(line);
    })?;
    let summary = Summary {
        version: VERSION,
        first: start.size(),
        end: (&chain).into(),
        from: reading.from.unwrap_or_default(),
        until: reading.until,
        bytes: u64::try_from(segment.len()).unwrap_or(u64::MAX),
        digest: Hash::of(segment).to_string(),
        orderly_stop,
        checkpoint: reading.checkpoint,
        countersigned: None,
        sessions: reading.sessions,
        partial: false,
    };
    Ok(Read { summary, rows: reading.rows, root: reading.root })
}

struct Reading {
    rows: Vec<Row>,
    sessions: BTreeMap<String, Session>,
    from: Option<String>,
    until: String,
    checkpoint: Option<String>,
    root: Option<Hash>,
}

impl Reading {
    fn line(&mut self, line: Line) {
        // All times have one length, so their order is that of their text.
        if self.from.as_ref().is_none_or(|from| line.wall < *from) {
            self.from = Some(line.wall.clone());
        }
        if line.wall > self.until {
            self.until.clone_from(&line.wall);
        }
        let row = self.row(&line);
        match line.body {
            Body::Intent(intent) => self.rows.push(Row { approval: intent.approval, ..row.decided(intent.decided) }),
            Body::Refusal(refusal) => {
                let row = Row { kind: RowKind::Refusal, reason: Some(refusal.reason), ..row };
                self.rows.push(Row { approval: refusal.approval, ..row.decided(refusal.decided) });
            }
            Body::Approval(step) => self.rows.push(Row {
                kind: RowKind::Approval,
                approval: Some(step.name),
                event: Some(step.event),
                reviewer: step.reviewer,
                reason: step.reason,
                ..row
            }),
            Body::Open(open) => {
                if let Some(id) = line.session.filter(|_| self.sessions.len() < MAX_SESSIONS) {
                    self.sessions.insert(id, Session::of(*open));
                }
            }
            Body::Close(_) => {
                line.session.and_then(|id| self.sessions.remove(&id));
            }
            Body::Checkpoint(checkpoint) => self.checkpoint = Some(checkpoint.note),
            Body::Header(_) | Body::Data(_) | Body::Outcome(_) | Body::Marker(_) => {}
        }
    }

    fn row(&self, line: &Line) -> Row {
        let session = line.session.as_ref().and_then(|id| self.sessions.get(id));
        Row {
            kind: RowKind::Operation,
            time: line.wall.clone(),
            seq: line.seq,
            session: line.session.clone(),
            op: line.op.clone(),
            service_account: session.map(|s| s.service_account.clone()),
            target: session.map(|s| s.target.clone()),
            database: session.and_then(|s| s.database.clone()),
            protocol: String::new(),
            action: String::new(),
            resources: Vec::new(),
            decision: None,
            rules: Vec::new(),
            approval: None,
            event: None,
            reviewer: None,
            reason: None,
            internal: false,
        }
    }
}

impl Row {
    fn decided(self, decided: Decided) -> Self {
        let Decided { protocol, action, resources, decision, rules, internal, .. } = decided;
        Self { protocol, action, resources, decision: Some(decision), rules, internal, ..self }
    }
}

impl Session {
    fn of(open: Open) -> Self {
        let (target, service_account) = (open.target.name, open.subject.service_account);
        Self { target, database: open.target.database, service_account }
    }
}

impl Summary {
    /// With as many of the rows as have room.
    pub(crate) fn render(&self, rows: &[Row]) -> Result<Vec<u8>, std::io::Error> {
        let mut lines = Vec::new();
        for row in rows {
            serde_json::to_writer(&mut lines, row)?;
            lines.push(b'\n');
        }
        let mut summary = self.clone();
        let mut text = serde_json::to_vec(&summary)?;
        // One byte for the newline, and one for `partial` being longer when it is false.
        if text.len().saturating_add(lines.len()).saturating_add(2) > MAX_INDEX {
            lines.clear();
            summary.partial = true;
            text = serde_json::to_vec(&summary)?;
        }
        text.push(b'\n');
        text.append(&mut lines);
        pack(&text)
    }

    /// With its rows, where they are asked for.
    pub(crate) fn parse(object: &str, packed: &[u8], rows: bool) -> Result<(Self, Vec<Row>), StoreError> {
        let damaged = |what: String| StoreError::Damaged { object: object.to_owned(), what };
        let text = unpack(packed, MAX_INDEX).map_err(|error| damaged(error.to_string()))?;
        let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let first = lines.next().ok_or_else(|| damaged("it is empty".to_owned()))?;
        let summary: Self = serde_json::from_slice(first).map_err(|error| damaged(error.to_string()))?;
        if summary.version != VERSION {
            return Err(newer(object, summary.version));
        }
        if !rows {
            return Ok((summary, Vec::new()));
        }
        let rows = lines.map(serde_json::from_slice).collect::<Result<_, _>>();
        Ok((summary, rows.map_err(|error| damaged(error.to_string()))?))
    }

    pub(crate) fn chain(&self, object: &str) -> Result<Chain, StoreError> {
        let what = "its frontier does not fit its size".to_owned();
        self.end.chain().ok_or_else(|| StoreError::Damaged { object: object.to_owned(), what })
    }
}
