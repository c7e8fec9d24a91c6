//! One operation on its way through the gate.

use crate::request::RequestId;
use crate::rules::{Digest, Revision, Verdict};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u16);

/// What it is about to do, as `gate::Stage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Nothing runs: a required approval is asked for when it runs.
    Prepare,
    /// Planned with its parameters: what needs an approval is refused.
    Plan,
    Run,
    /// More rows of an operation that an approval released.
    Continue(OpId),
}

/// Where it is. What is asked, used and recorded of it stands beside that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Judged under `planned`, not decided.
    Planned,
    /// Its request is there.
    Waiting,
    /// The request was seen to be approved, and it was decided once more; the approval is about to be taken.
    Cleared,
    /// The approval is taken, and its use is on record or about to be.
    Taken,
    /// All that the gate asks for is there, and the intent is with the writer.
    Recording,
    Permitted,
    Sent,
    Ended(End),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    Refused,
    /// The policy is another one than it was planned under: the caller plans again.
    Stale,
    /// Whoever waited for it has its answer.
    Done,
    /// The process was killed.
    Lost,
}

/// An entry of the recording. What failed, or was lost with the process, is as if it had never been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Line<T> {
    None,
    /// The writer has it.
    Handed(T),
    Durable(T),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Finished,
    /// The session died: it may have executed.
    Unknown,
    NotSent,
    /// Written by the start after a kill: it may have executed.
    Interrupted,
}

/// What was true at the moment at which the permit was minted. Only promises look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Minted {
    pub revision: Revision,
    pub verdict: Verdict,
    pub aged: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Op {
    pub session: u16,
    pub digest: Digest,
    pub stage: Stage,
    pub life: u8,
    pub planned: Revision,
    pub place: Place,
    /// What it waits for.
    pub request: Option<RequestId>,
    /// What it has taken.
    pub taken: Option<RequestId>,
    pub used: Line<()>,
    pub intent: Line<()>,
    pub outcome: Line<Outcome>,
    /// How many outcomes were handed to the writer. Only promises look at it.
    pub outcomes: u8,
    pub minted: Option<Minted>,
    pub upstream: bool,
}

impl Op {
    pub(crate) fn new(session: u16, digest: Digest, stage: Stage, life: u8, planned: Revision) -> Self {
        Self {
            session,
            digest,
            stage,
            life,
            planned,
            place: Place::Planned,
            request: None,
            taken: None,
            used: Line::None,
            intent: Line::None,
            outcome: Line::None,
            outcomes: 0,
            minted: None,
            upstream: false,
        }
    }

    /// That there was one, and how it ended.
    pub(crate) fn forgotten(&self) -> Self {
        let place = if self.place == Place::Ended(End::Stale) { self.place } else { Place::Ended(End::Done) };
        Self { place, ..Self::new(self.session, Digest(0), Stage::Run, 0, Revision(0)) }
    }

    /// Nothing of it will change any more, but for a restart.
    pub fn is_settled(&self) -> bool {
        let waits =
            self.used == Line::Handed(()) || self.intent == Line::Handed(()) || matches!(self.outcome, Line::Handed(_));
        self.has_ended() && !waits
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.place, Place::Ended(_))
    }

    /// Hands an outcome to the writer.
    pub(crate) fn tell(&mut self, outcome: Outcome) {
        self.outcome = Line::Handed(outcome);
        self.outcomes = self.outcomes.saturating_add(1);
    }

    pub(crate) fn end(&mut self, end: End) {
        self.place = Place::Ended(end);
        self.request = None;
    }
}
