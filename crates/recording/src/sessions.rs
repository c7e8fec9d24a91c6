//! A session as a view of the recording: all sessions lie interleaved in one file.

use std::collections::BTreeMap;

use crate::entry::{Body, Close, Line, Open};
use crate::reader::{Entries, ReadError, entries};
use crate::spool::Storage;

/// One session, in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub id: String,
    /// None when it was opened in a segment that expired.
    pub open: Option<Box<Open>>,
    pub started: String,
    /// Time of the last entry.
    pub last: String,
    /// None while it goes on, or when the recorder was killed and has not been started again.
    pub close: Option<Close>,
    pub intents: u64,
    pub refusals: u64,
    pub approvals: u64,
}

/// All sessions, oldest first.
pub fn sessions(storage: &dyn Storage) -> Result<Vec<Summary>, ReadError> {
    let mut order = Vec::new();
    let mut index: BTreeMap<String, usize> = BTreeMap::new();
    for line in entries(storage)? {
        let Line { session: Some(id), wall, body, .. } = line? else { continue };
        let at = *index.entry(id.clone()).or_insert_with(|| {
            order.push(Summary::new(id, wall.clone()));
            order.len() - 1
        });
        if let Some(summary) = order.get_mut(at) {
            summary.add(wall, body);
        }
    }
    Ok(order)
}

impl Summary {
    fn new(id: String, started: String) -> Self {
        Self { id, open: None, last: started.clone(), started, close: None, intents: 0, refusals: 0, approvals: 0 }
    }

    fn add(&mut self, wall: String, body: Body) {
        self.last = wall;
        match body {
            Body::Open(open) => self.open = Some(open),
            Body::Close(close) => self.close = Some(close),
            Body::Intent(_) => self.intents += 1,
            Body::Refusal(_) => self.refusals += 1,
            Body::Approval(approval) if approval.event == crate::entry::ApprovalEvent::Requested => self.approvals += 1,
            _ => {}
        }
    }
}

/// The entries of one session, in order, as an iterator.
#[derive(Debug)]
pub struct SessionEntries<'a> {
    entries: Entries<'a>,
    session: String,
}

pub fn session<'a>(storage: &'a dyn Storage, session: &str) -> Result<SessionEntries<'a>, ReadError> {
    Ok(SessionEntries { entries: entries(storage)?, session: session.to_owned() })
}

impl Iterator for SessionEntries<'_> {
    type Item = Result<Line, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.entries.find(|line| line.as_ref().map_or(true, |line| line.session.as_deref() == Some(&self.session)))
    }
}
