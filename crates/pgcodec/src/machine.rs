//! One established session, both ways: what a message of the agent means, and which message an answer belongs to.
//!
//! What is refused: a message that the state does not allow, an answer that no message asked for, a COPY that was not
//! announced, a poison that is not answered by an error, and a `ReadyForQuery` that does not match a `Query` or a `Sync`.
//!
//! Invariants:
//! - nothing of the agent's reaches the upstream except as a [`Candidate`] or as a name inside a [`Control`], and a
//!   `Control` is only made here;
//! - a name is resolved only when it can mean one thing; else [`Step::Wait`];
//! - the transaction state comes from `ReadyForQuery` and from nothing else;
//! - after a [`Violation`] the session is dead: close both sides.
//!
//! How a session drives it: [`Machine::frontend`] for each message of the agent in order, [`Machine::sent`] for each message
//! written upstream in order, [`Machine::backend`] for each message of the upstream in order. Messages may be kept back, but
//! none beyond a `Sync` or `Query`: those send everything before them.

mod control;
mod names;
mod receive;
mod reply;
mod send;
mod slot;
mod step;

use std::collections::VecDeque;

pub use self::control::{Control, RESERVED_PREFIX};
use self::names::{Lookup, Names};
pub use self::names::{PortalId, StatementId};
pub use self::reply::{About, Failure, Reply};
use self::slot::{CopyState, Slot};
pub use self::step::{Candidate, Copy, Expect, Reject, Step};
use crate::backend::TxState;
use crate::frontend::{Frontend, Target};
use crate::{Limits, Violation};

/// The longest name that a server tells apart (`NAMEDATALEN` - 1), bytes.
pub const MAX_NAME: usize = 63;

/// Tracks one session. `T` names the caller's operations, `S` is what it keeps for a statement, `P` for a portal.
#[derive(Debug)]
pub struct Machine<T, S, P> {
    limits: Limits,
    statements: Names<S>,
    portals: Names<P>,
    /// Answers owed, oldest first.
    slots: VecDeque<Slot<T>>,
    tx: TxState,
    next_id: u64,
    /// Counts the `Sync`s accepted from the agent: the number of the batch that its next message belongs to.
    batch: u64,
    /// Counts the `Sync`s written upstream: the batch of the next message that is written. Invariant: `written <= batch`.
    written: u64,
    /// Messages accepted in this batch since everything written was answered.
    accepted: usize,
    /// `Bind`s accepted in this batch.
    binds: usize,
    /// The batch whose messages the upstream drops, until its `Sync` is written.
    skip: Option<u64>,
    /// Extended messages were written since the last `Sync` or `Query`.
    unsynced: bool,
    /// Something failed: COPY data that the agent sent without knowing it are dropped, up to their end.
    draining: bool,
    /// Nothing more is taken from the agent.
    over: bool,
    /// The upstream reported a fatal error.
    dead: bool,
}

impl<T: core::marker::Copy, S, P> Machine<T, S, P> {
    /// For a session whose login ended with `ReadyForQuery` in state idle.
    pub fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            statements: Names::new(limits.statements),
            portals: Names::new(limits.portals),
            slots: VecDeque::new(),
            tx: TxState::Idle,
            next_id: 0,
            batch: 0,
            written: 0,
            accepted: 0,
            binds: 0,
            skip: None,
            unsynced: false,
            draining: false,
            over: false,
            dead: false,
        }
    }

    /// The transaction state that the last `ReadyForQuery` told.
    pub fn tx_state(&self) -> TxState {
        self.tx
    }

    /// Outside a transaction, everything that was sent is answered, and nothing waits for a `Sync`: an approval may be held.
    pub fn idle(&self) -> bool {
        self.tx == TxState::Idle && self.slots.is_empty() && !self.unsynced && self.skip.is_none()
    }

    /// Extended messages were written that no `Sync` or `Query` follows yet.
    pub fn unsynced(&self) -> bool {
        self.unsynced
    }

    /// Messages written and not answered to the end.
    pub fn in_flight(&self) -> usize {
        self.slots.len()
    }

    /// The upstream drops everything up to the next `Sync`: what is kept back before that has to be dropped, not sent.
    pub fn skipping(&self) -> bool {
        self.skip.is_some()
    }

    /// The agent sends the data of a COPY FROM STDIN.
    pub fn copying_in(&self) -> bool {
        self.slots.front().is_some_and(|slot| matches!(slot.progress.copy, CopyState::In { .. }))
    }

    /// Prepared statement names in use, those not confirmed included.
    pub fn statements(&self) -> usize {
        self.statements.len()
    }

    /// Portal names in use, those not confirmed included.
    pub fn portals(&self) -> usize {
        self.portals.len()
    }

    /// Attaches what the session knows of a statement. `false` when the statement is gone.
    pub fn attach_statement(&mut self, id: StatementId, data: S) -> bool {
        self.statements.slot(id.0).map(|slot| *slot = Some(data)).is_some()
    }

    /// Attaches what the session knows of a portal. `false` when the portal is gone.
    pub fn attach_portal(&mut self, id: PortalId, data: P) -> bool {
        self.portals.slot(id.0).map(|slot| *slot = Some(data)).is_some()
    }

    /// What was attached to a statement.
    pub fn statement(&self, id: StatementId) -> Option<&S> {
        self.statements.data(id.0)
    }

    /// What was attached to a statement, to be changed.
    pub fn statement_mut(&mut self, id: StatementId) -> Option<&mut S> {
        self.statements.slot(id.0)?.as_mut()
    }

    /// What was attached to a portal.
    pub fn portal(&self, id: PortalId) -> Option<&P> {
        self.portals.data(id.0)
    }

    /// What was attached to a portal, to be changed.
    pub fn portal_mut(&mut self, id: PortalId) -> Option<&mut P> {
        self.portals.slot(id.0)?.as_mut()
    }

    /// A name that SQL takes away (`DEALLOCATE`) or may define anew (`PREPARE`): call it before that text is sent.
    pub fn forget_statement(&mut self, name: &str) {
        self.statements.forget(name);
    }

    /// `DEALLOCATE ALL`, `DISCARD ALL`.
    pub fn forget_all_statements(&mut self) {
        self.statements.forget_all();
    }

    /// Whether a portal of this name was made or asked for and is not known to be gone.
    pub fn has_portal(&self, name: &str) -> bool {
        self.portals.contains(name)
    }

    /// A name that SQL takes away (`CLOSE`) or may define anew (`DECLARE`): call it before that text is sent.
    pub fn forget_portal(&mut self, name: &str) {
        self.portals.forget(name);
    }

    /// `CLOSE ALL`, `DISCARD ALL`.
    pub fn forget_all_portals(&mut self) {
        self.portals.forget_all();
    }

    /// The message that takes the place of a refused `Query`.
    pub fn poison_query(&self) -> Control {
        Control::new(control::Kind::PoisonQuery)
    }

    /// The message that takes the place of a refused `Parse`, `Bind` or `Execute`. Once it is [`sent`](Self::sent), the rest
    /// of the batch is [`Step::Discard`].
    pub fn poison_parse(&self) -> Control {
        Control::new(control::Kind::PoisonParse)
    }

    /// The message that ends a COPY FROM STDIN in an error; `None` when none is open or its end was
    /// already sent.
    pub fn copy_fail(&self) -> Option<Control> {
        let front = self.slots.front()?.progress.copy;
        matches!(front, CopyState::In { .. } | CopyState::InEnding).then(|| Control::new(control::Kind::CopyFail))
    }

    /// Makes the upstream answer what it was sent so far.
    pub fn flush(&self) -> Control {
        Control::new(control::Kind::Flush)
    }

    /// A Describe of our own, whose answer is swallowed; `None` when the portal is gone.
    pub fn describe_portal(&self, id: PortalId) -> Option<Control> {
        let name = self.portals.name(id.0)?.to_owned();
        Some(Control::new(control::Kind::DescribePortal { id, name, swallow: true }))
    }

    /// The agent's Describe of a name that is a cursor's of SQL ([`Candidate::Describe`]); `cursor` comes back in the reply.
    pub fn describe_cursor(&self, name: String, cursor: u64) -> Control {
        Control::new(control::Kind::DescribeCursor { cursor, name })
    }

    /// Takes the agent's next message.
    ///
    /// # Errors
    /// A message that the state does not allow.
    pub fn frontend(&mut self, message: Frontend) -> Result<Step, Violation> {
        if self.over {
            return Err(Violation::Unexpected { message: message.name(), state: "after the session ended" });
        }
        match message {
            Frontend::Terminate => {
                self.over = true;
                Ok(Step::Control(Control::new(control::Kind::Terminate)))
            }
            Frontend::Password(_) => Err(Violation::Unexpected { message: "Password", state: "after authentication" }),
            message if self.copying_in() => self.during_copy(message),
            message @ (Frontend::CopyData(_) | Frontend::CopyDone | Frontend::CopyFail { .. }) => {
                self.outside_copy(message)
            }
            Frontend::Sync => Ok(self.sync()),
            _ if self.skip == Some(self.batch) => Ok(Step::Discard),
            message if self.must_wait() => Ok(Step::Wait(message)),
            message => self.operation(message),
        }
    }

    /// The server ignores Flush and Sync while it reads COPY data ("COPY Operations" in the protocol documentation): they
    /// belong to a client that did not know that its command was a COPY.
    fn during_copy(&mut self, message: Frontend) -> Result<Step, Violation> {
        let Some(front) = self.slots.front_mut() else {
            return Err(Violation::Misuse { what: "a copy without its operation" });
        };
        let extended = matches!(front.kind, slot::Kind::Execute { .. });
        let state = &mut front.progress.copy;
        match message {
            Frontend::CopyData(data) => {
                *state = CopyState::In { data: true, sync: false };
                Ok(Step::Candidate(Candidate::CopyData(data)))
            }
            Frontend::CopyDone => {
                *state = CopyState::InEnding;
                Ok(Step::Candidate(Candidate::CopyDone))
            }
            Frontend::CopyFail { message } => {
                *state = CopyState::InEnding;
                Ok(Step::Candidate(Candidate::CopyFail { message }))
            }
            Frontend::Flush => Ok(Step::Discard),
            Frontend::Sync => {
                // Before the first data it may still count: the server reads it only after the COPY was set up.
                if let CopyState::In { data: false, sync } = state {
                    *sync = extended;
                }
                Ok(Step::Discard)
            }
            message => Err(Violation::Unexpected { message: message.name(), state: "during COPY FROM STDIN" }),
        }
    }

    fn outside_copy(&mut self, message: Frontend) -> Result<Step, Violation> {
        if self.slots.iter().any(Slot::awaits_copy) {
            return Ok(Step::Wait(message));
        }
        if self.skip == Some(self.batch) {
            return Ok(Step::Discard);
        }
        if !self.draining {
            return Err(Violation::Unexpected { message: message.name(), state: "outside COPY FROM STDIN" });
        }
        self.draining = matches!(message, Frontend::CopyData(_));
        Ok(Step::Discard)
    }

    fn sync(&mut self) -> Step {
        if self.must_wait() {
            return Step::Wait(Frontend::Sync);
        }
        self.close_batch();
        Step::Control(Control::new(control::Kind::Sync))
    }

    fn close_batch(&mut self) {
        self.batch = self.batch.saturating_add(1);
        self.accepted = 0;
        self.binds = 0;
    }

    /// A COPY that may or may not begin decides what the next message means; and a full pipeline that is sure to move.
    fn must_wait(&self) -> bool {
        self.slots.iter().any(Slot::awaits_copy)
            || (self.slots.len() >= self.limits.pipeline && self.slots.iter().any(Slot::is_ready_point))
    }

    fn operation(&mut self, message: Frontend) -> Result<Step, Violation> {
        self.draining = false;
        let message = match message {
            Frontend::Query { sql } => return Ok(Step::Candidate(Candidate::Query { sql })),
            message => message,
        };
        if self.accepted >= self.limits.pipeline {
            return Ok(Step::Refuse(Reject::PipelineTooLong));
        }
        let step = match message {
            Frontend::Parse(message) => {
                if let Some(reject) = check_name(&message.name) {
                    return Ok(Step::Refuse(reject));
                }
                if !self.statements.fits(&message.name) {
                    return Ok(Step::Refuse(Reject::TooManyStatements));
                }
                let id = self.id();
                self.statements.define(&message.name, id, self.batch);
                Step::Candidate(Candidate::Prepare { id: StatementId(id), message })
            }
            Frontend::Bind(message) => {
                if let Some(reject) = check_name(&message.portal) {
                    return Ok(Step::Refuse(reject));
                }
                let statement = match self.statements.lookup(&message.statement, self.batch) {
                    Lookup::Known { id, .. } => StatementId(id),
                    Lookup::Unknown => return Ok(Step::Refuse(Reject::UnknownStatement)),
                    Lookup::Uncertain => return Ok(Step::Wait(Frontend::Bind(message))),
                };
                if !self.portals.fits(&message.portal) {
                    return Ok(Step::Refuse(Reject::TooManyPortals));
                }
                if self.binds >= self.limits.batch {
                    return Ok(Step::Refuse(Reject::BatchTooLong));
                }
                self.binds = self.binds.saturating_add(1);
                let id = self.id();
                self.portals.define(&message.portal, id, self.batch);
                Step::Candidate(Candidate::Bind { id: PortalId(id), statement, message })
            }
            Frontend::Execute(message) => {
                let portal = match self.lookup_portal(&message.portal) {
                    Lookup::Known { id, .. } => PortalId(id),
                    Lookup::Unknown => return Ok(Step::Refuse(Reject::UnknownPortal)),
                    Lookup::Uncertain => return Ok(Step::Wait(Frontend::Execute(message))),
                };
                Step::Candidate(Candidate::Execute { portal, message })
            }
            Frontend::Describe(target) => self.describe(target),
            Frontend::Close(target) => self.close(target),
            Frontend::Flush => Step::Control(Control::new(control::Kind::Flush)),
            message => {
                return Err(Violation::Unexpected { message: message.name(), state: "here" });
            }
        };
        if !matches!(step, Step::Wait(_)) {
            self.accepted = self.accepted.saturating_add(1);
        }
        Ok(step)
    }

    fn describe(&mut self, target: Target) -> Step {
        let found = match &target {
            Target::Statement(name) => self.statements.lookup(name, self.batch),
            Target::Portal(name) => self.lookup_portal(name),
        };
        match (found, target) {
            (Lookup::Known { id, .. }, Target::Statement(name)) => {
                Step::Control(Control::new(control::Kind::DescribeStatement { id: StatementId(id), name }))
            }
            (Lookup::Known { id, .. }, Target::Portal(name)) => {
                Step::Control(Control::new(control::Kind::DescribePortal { id: PortalId(id), name, swallow: false }))
            }
            (Lookup::Unknown, Target::Statement(_)) => Step::Refuse(Reject::UnknownStatement),
            (Lookup::Unknown, Target::Portal(name)) => match check_name(&name) {
                Some(reject) => Step::Refuse(reject),
                None => Step::Candidate(Candidate::Describe { name }),
            },
            (Lookup::Uncertain, target) => Step::Wait(Frontend::Describe(target)),
        }
    }

    fn close(&mut self, target: Target) -> Step {
        let found = match &target {
            Target::Statement(name) => self.statements.lookup(name, self.batch),
            Target::Portal(name) => self.lookup_portal(name),
        };
        let tombstone = match found {
            Lookup::Known { .. } => Some(self.id()),
            Lookup::Unknown => None,
            Lookup::Uncertain => return Step::Wait(Frontend::Close(target)),
        };
        match target {
            Target::Statement(name) => {
                if let Some(id) = tombstone {
                    self.statements.remove(&name, id, self.batch);
                }
                Step::Control(Control::new(control::Kind::CloseStatement { tombstone, name }))
            }
            Target::Portal(name) => {
                if let Some(id) = tombstone {
                    self.portals.remove(&name, id, self.batch);
                }
                Step::Control(Control::new(control::Kind::ClosePortal { tombstone, name }))
            }
        }
    }

    /// A portal ends with its transaction, and SQL can make another one of the same name: across a `Sync` or a `Query` its
    /// name is certain only when those are answered.
    fn lookup_portal(&self, name: &str) -> Lookup {
        let found = self.portals.lookup(name, self.batch);
        let batch = match found {
            Lookup::Known { batch, .. } => batch,
            Lookup::Unknown => self.batch,
            Lookup::Uncertain => return found,
        };
        let doubt = |slot: &Slot<T>| match slot.kind {
            slot::Kind::Query { .. } => true,
            slot::Kind::Sync => batch != self.batch,
            slot::Kind::Parse { .. }
            | slot::Kind::Bind { .. }
            | slot::Kind::DescribeStatement { .. }
            | slot::Kind::DescribePortal { .. }
            | slot::Kind::DescribeCursor { .. }
            | slot::Kind::CloseStatement { .. }
            | slot::Kind::ClosePortal { .. }
            | slot::Kind::Execute { .. }
            | slot::Kind::PoisonParse => false,
        };
        match self.slots.iter().any(doubt) {
            true => Lookup::Uncertain,
            false => found,
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id = self.next_id.saturating_add(1);
        self.next_id
    }
}

fn check_name(name: &str) -> Option<Reject> {
    if name.len() > MAX_NAME {
        return Some(Reject::NameTooLong);
    }
    name.starts_with(RESERVED_PREFIX).then_some(Reject::ReservedName)
}
