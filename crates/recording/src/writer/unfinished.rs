//! Sessions and operations that have begun and not ended, as the lines written so far tell.
//!
//! Each segment's header says it, so that opening need not read older segments to learn what was interrupted. Bounded:
//! with more than fits into a header nothing is said, and opening reads the lines instead.

use std::collections::BTreeSet;

use super::budget::OpKey;
use crate::entry::{Body, Entry, Resume};

/// Most sessions and operations together that are kept in mind.
const MOST: usize = 16 * 1024;
/// Most bytes of ids that a header takes; as JSON they may grow sixfold and must then still fit into a line.
const HEADER_BYTES: usize = 64 * 1024;

/// What a line begins or ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Effect {
    #[default]
    None,
    Open(String),
    Close(String),
    Intent(OpKey),
    Outcome(OpKey),
}

impl Effect {
    pub(super) fn of(entry: &Entry) -> Self {
        let kind = match &entry.body {
            Body::Open(_) => "open",
            Body::Close(_) => "close",
            Body::Intent(_) => "intent",
            Body::Outcome(_) => "outcome",
            _ => return Self::None,
        };
        Self::read(kind, entry.session.as_deref(), entry.op.as_deref())
    }

    /// Of a line as it was read back.
    pub(super) fn read(kind: &str, session: Option<&str>, op: Option<&str>) -> Self {
        let of = || session.map(str::to_owned).zip(op.map(str::to_owned));
        match (kind, session) {
            ("intent", _) => of().map_or(Self::None, Self::Intent),
            ("outcome", _) => of().map_or(Self::None, Self::Outcome),
            ("open", Some(session)) => Self::Open(session.to_owned()),
            ("close", Some(session)) => Self::Close(session.to_owned()),
            _ => Self::None,
        }
    }
}

/// What has begun and not ended. An operation outlives the close of its session: only its outcome ends it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unfinished {
    pub(super) sessions: BTreeSet<String>,
    pub(super) ops: BTreeSet<OpKey>,
}

impl Unfinished {
    pub(super) fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::None => {}
            Effect::Open(session) => drop(self.sessions.insert(session.clone())),
            Effect::Close(session) => drop(self.sessions.remove(session)),
            Effect::Intent(op) => drop(self.ops.insert(op.clone())),
            Effect::Outcome(op) => drop(self.ops.remove(op)),
        }
    }

    pub(super) fn resumed(resume: Resume) -> Self {
        Self { sessions: resume.sessions.into_iter().collect(), ops: resume.ops.into_iter().collect() }
    }
}

/// The writer's own, bounded view.
#[derive(Debug)]
pub(super) struct Tracked {
    /// None from the moment on when there was too much to keep in mind.
    known: Option<Unfinished>,
}

impl Default for Tracked {
    fn default() -> Self {
        Self { known: Some(Unfinished::default()) }
    }
}

impl Tracked {
    /// Continues from what was found open.
    pub(super) fn resumed(found: &Unfinished) -> Self {
        let mut tracked = Self { known: Some(found.clone()) };
        tracked.apply(&Effect::None);
        tracked
    }

    pub(super) fn apply(&mut self, effect: &Effect) {
        if let Some(known) = &mut self.known {
            known.apply(effect);
            if known.sessions.len().saturating_add(known.ops.len()) > MOST {
                self.known = None;
            }
        }
    }

    /// What a header that is written now says; none when it does not fit.
    pub(super) fn resume(&self, tree: Vec<String>) -> Option<Resume> {
        let known = self.known.as_ref()?;
        let ids = known.ops.iter().map(|(session, op)| session.len() + op.len() + 8);
        let bytes: usize = known.sessions.iter().map(|session| session.len() + 4).chain(ids).sum();
        (bytes <= HEADER_BYTES).then(|| Resume {
            tree,
            sessions: known.sessions.iter().cloned().collect(),
            ops: known.ops.iter().cloned().collect(),
        })
    }
}
