//! Which entries belong to the story of a session, found in a first pass.

use std::collections::BTreeSet;

use anyhow::Result;
use recording::Storage;
use recording::entry::{Body, Line, Open};
use recording::reader::{ReadError, entries};

#[derive(Debug)]
pub(crate) struct Story {
    session: String,
    /// `None` when it was opened in a segment that was pruned.
    pub(crate) open: Option<Box<Open>>,
    /// Time of its first entry.
    pub(crate) started: Option<String>,
    /// Requests that its operations name.
    approvals: BTreeSet<String>,
    pub(crate) damage: Option<ReadError>,
}

impl Story {
    /// Up to the first damage.
    pub(crate) fn read(storage: &dyn Storage, session: &str) -> Result<Self> {
        let mut story =
            Self { session: session.to_owned(), open: None, started: None, approvals: BTreeSet::new(), damage: None };
        for entry in entries(storage)? {
            match entry {
                Ok(entry) if entry.session.as_deref() == Some(session) => story.note(entry),
                Ok(_) => {}
                Err(error) => story.damage = Some(error),
            }
        }
        Ok(story)
    }

    pub(crate) fn exists(&self) -> bool {
        self.started.is_some()
    }

    /// Everything to tell, in order; after damage nothing follows.
    pub(crate) fn entries<'a>(
        &'a self,
        storage: &'a dyn Storage,
    ) -> Result<impl Iterator<Item = Result<Line, ReadError>> + 'a> {
        Ok(entries(storage)?.filter(|entry| entry.as_ref().map_or(true, |entry| self.holds(entry))))
    }

    fn note(&mut self, entry: Line) {
        self.started.get_or_insert(entry.wall);
        match entry.body {
            Body::Open(open) => self.open = Some(open),
            Body::Intent(intent) => self.approvals.extend(intent.approval),
            Body::Refusal(refusal) => self.approvals.extend(refusal.approval),
            Body::Header(_)
            | Body::Close(_)
            | Body::Approval(_)
            | Body::Data(_)
            | Body::Outcome(_)
            | Body::Marker(_)
            | Body::Checkpoint(_) => {}
        }
    }

    fn holds(&self, entry: &Line) -> bool {
        match (&entry.session, &entry.body) {
            (Some(session), _) => *session == self.session,
            (None, Body::Approval(approval)) => self.approvals.contains(&approval.name),
            (None, _) => false,
        }
    }
}
