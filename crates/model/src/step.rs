//! The transition relation: what one action makes of a state, or that it is not possible there.
//!
//! Invariant: with no flaw, an action is possible here exactly where the code can do it, or the code is stricter.

use crate::flaw::Flaw;
use crate::op::{End, Line, Minted, Op, OpId, Outcome, Place, Stage};
use crate::request::{Request, RequestId, Standing};
use crate::rules::{Digest, Revision, Rules, Verdict};
use crate::state::State;

/// Where requests are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Registry {
    /// In the process: what is open at a restart is expired (`standalone/approvals`).
    Inside,
    /// With the operator: requests outlive the process, whose digests do not (`control/approvals.rs`).
    Outside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vote {
    Approve,
    Deny,
    /// Of what is approved and not used.
    Revoke,
}

/// One step of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Plan {
        session: u16,
        digest: Digest,
        stage: Stage,
    },
    Decide(OpId),
    Vote(RequestId, Vote),
    Expire(RequestId),
    Leave {
        op: OpId,
        withdraw: bool,
    },
    Look(OpId),
    Take(OpId),
    WriteUse(OpId),
    FailUse(OpId),
    Ready(OpId),
    WriteIntent(OpId),
    FailIntent(OpId),
    Slow(OpId),
    Permit(OpId),
    Send(OpId),
    Finish(OpId),
    Drop(OpId),
    WriteOutcome(OpId),
    Swap(Revision),
    Age,
    Confirm,
    Crash,
    /// Another process, which found this policy.
    Restart(Revision),
}

/// What does not change: the policies there are, where requests are kept, and what is wrong, if anything.
#[derive(Clone, Debug)]
pub struct Machine {
    pub rules: Rules,
    pub registry: Registry,
    pub flaw: Option<Flaw>,
}

enum Look {
    Fine,
    Ends(End),
}

impl Machine {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// `Desk::still`, and the same after the intent.
    fn look(&self, state: &State, op: &Op) -> Look {
        if self.has(Flaw::PolicyAtPlanning) {
            return Look::Fine;
        }
        if state.aged && !self.has(Flaw::AgeAtTheBegin) {
            return Look::Ends(End::Refused);
        }
        match self.rules.verdict(state.policy, op.digest) {
            Verdict::Deny => Look::Ends(End::Refused),
            Verdict::Allow | Verdict::Ask if op.planned != state.policy => Look::Ends(End::Stale),
            Verdict::Allow | Verdict::Ask => Look::Fine,
        }
    }

    /// Whether the first operation was released by an approval that covers this one too (`Released::covers`).
    fn covers(&self, first: &Op, op: &Op) -> bool {
        let same = first.planned == op.planned || self.has(Flaw::ContinueUnderAnyPolicy);
        first.taken.is_some() && first.upstream && first.digest == op.digest && first.life == op.life && same
    }

    /// The verdict of `decide`, or how the operation ends before it.
    fn decided(&self, state: &State, op: &Op) -> Result<Verdict, End> {
        if self.has(Flaw::PolicyAtPlanning) {
            return Ok(self.rules.verdict(op.planned, op.digest));
        }
        if state.aged {
            return Err(End::Refused);
        }
        match self.rules.verdict(state.policy, op.digest) {
            Verdict::Deny => Err(End::Refused),
            Verdict::Allow | Verdict::Ask if op.planned != state.policy => Err(End::Stale),
            Verdict::Ask if op.stage == Stage::Plan => Err(End::Refused),
            verdict => Ok(verdict),
        }
    }

    /// Whether it may go on without an approval of its own.
    fn needs_none(&self, state: &State, op: &Op, verdict: Verdict) -> bool {
        match (verdict, op.stage) {
            (Verdict::Allow, _) | (Verdict::Ask, Stage::Prepare) => true,
            (Verdict::Ask, Stage::Continue(first)) => state.op(first).is_some_and(|first| self.covers(first, op)),
            (Verdict::Ask, Stage::Run | Stage::Plan) | (Verdict::Deny, _) => false,
        }
    }
}

/// The state after `action`; `None` where it is not possible.
pub fn step(machine: &Machine, state: &State, action: Action) -> Option<State> {
    let mut next = state.clone();
    match action {
        Action::Vote(request, vote) => {
            let there = state.up || machine.registry == Registry::Outside;
            let request = next.request_mut(request).filter(|_| there)?;
            request.standing = match (vote, request.standing) {
                (Vote::Approve, Standing::Pending) => Standing::Approved,
                (Vote::Deny, Standing::Pending | Standing::Approved) => Standing::Denied,
                (Vote::Revoke, Standing::Approved) => Standing::Revoked,
                _ => return None,
            };
            request.granted |= vote == Vote::Approve;
        }
        Action::Expire(request) => {
            let request = next.request_mut(request).filter(|request| request.standing.is_open())?;
            request.standing = Standing::Expired;
        }
        Action::Swap(revision) => {
            (state.up && state.policy != revision).then_some(())?;
            next.policy = revision;
            // What is new is current.
            next.aged = false;
            next.swaps = next.swaps.saturating_add(1);
        }
        Action::Age => next.aged = (state.up && !state.aged).then_some(true)?,
        Action::Confirm => next.aged = !(state.up && state.aged).then_some(true)?,
        Action::Crash => {
            next.up = !state.up.then_some(true)?;
            next.ops.iter_mut().for_each(crash);
        }
        Action::Restart(revision) => {
            (!state.up).then_some(())?;
            restart(machine, &mut next, revision);
        }
        Action::Plan { session, digest, stage } => {
            state.up.then_some(())?;
            next.ops.push(Op::new(session, digest, stage, state.life, state.policy));
        }
        Action::Decide(id) => {
            state.up.then_some(())?;
            decide(machine, &mut next, id)?;
        }
        Action::Take(id) => {
            state.up.then_some(())?;
            take(machine, &mut next, id)?;
        }
        Action::Leave { op: id, withdraw } => {
            let op = next.op_mut(id).filter(|_| state.up)?;
            matches!(op.place, Place::Waiting | Place::Taken).then_some(())?;
            let waited = op.request.filter(|_| op.place == Place::Waiting && withdraw);
            op.end(End::Refused);
            if let Some(request) = waited.and_then(|request| next.request_mut(request))
                && request.standing.is_open()
            {
                request.standing = Standing::Withdrawn;
            }
        }
        Action::Look(id)
        | Action::WriteUse(id)
        | Action::FailUse(id)
        | Action::Ready(id)
        | Action::WriteIntent(id)
        | Action::FailIntent(id)
        | Action::Slow(id)
        | Action::Permit(id)
        | Action::Send(id)
        | Action::Finish(id)
        | Action::Drop(id)
        | Action::WriteOutcome(id) => {
            let op = next.op_mut(id).filter(|_| state.up)?;
            advance(machine, state, op, action)?;
        }
    }
    Some(next)
}

/// Steps that change one operation alone.
fn advance(machine: &Machine, state: &State, op: &mut Op, action: Action) -> Option<()> {
    let after_approval = machine.has(Flaw::NoLookAfterApproval);
    match (action, op.place) {
        (Action::Look(_), Place::Waiting) => {
            let standing = state.request(op.request?)?.standing;
            // A used approval looks approved: `consume` says that it is used.
            matches!(standing, Standing::Approved | Standing::Used).then_some(())?;
            match machine.look(state, op) {
                Look::Ends(end) if !after_approval => op.end(end),
                Look::Ends(_) | Look::Fine if machine.has(Flaw::UseAfterSend) => record(op),
                Look::Ends(_) | Look::Fine => op.place = Place::Cleared,
            }
        }
        (Action::WriteUse(_), _) if op.used == Line::Handed(()) => op.used = Line::Durable(()),
        (Action::FailUse(_), _) if op.used == Line::Handed(()) => {
            op.used = Line::None;
            if op.place == Place::Taken {
                op.end(End::Refused);
            }
        }
        (Action::Ready(_), Place::Taken) if op.used == Line::Durable(()) => match machine.look(state, op) {
            Look::Ends(end) if !after_approval => op.end(end),
            Look::Ends(_) | Look::Fine => record(op),
        },
        (Action::WriteIntent(_), _) if op.intent == Line::Handed(()) => op.intent = Line::Durable(()),
        (Action::FailIntent(_), _) if op.intent == Line::Handed(()) => {
            op.intent = Line::None;
            if op.place == Place::Recording && !machine.has(Flaw::PermitUnrecorded) {
                unrecorded(machine, op);
            }
        }
        (Action::Slow(_), Place::Recording) => unrecorded(machine, op),
        (Action::Permit(_), Place::Recording) => {
            let early = machine.has(Flaw::PermitBeforeDurable);
            let anyway = machine.has(Flaw::PermitUnrecorded) && op.intent == Line::None;
            (op.intent == Line::Durable(()) || early || anyway).then_some(())?;
            permit(machine, state, op);
        }
        (Action::Send(_), Place::Permitted) => (op.upstream, op.place) = (true, Place::Sent),
        (Action::Finish(_), Place::Sent) => {
            op.tell(Outcome::Finished);
            op.end(End::Done);
        }
        (Action::Drop(_), Place::Permitted | Place::Sent) => {
            op.tell(if op.upstream { Outcome::Unknown } else { Outcome::NotSent });
            op.end(End::Done);
        }
        // The session is dropped while it waits for the writer: nothing follows the intent in this life.
        (Action::Drop(_), Place::Recording) => op.end(End::Refused),
        (Action::WriteOutcome(_), _) if op.intent != Line::Handed(()) => {
            let Line::Handed(outcome) = op.outcome else { return None };
            op.outcome = Line::Durable(outcome);
        }
        _ => return None,
    }
    Some(())
}

/// `Desk::permit` begins: the intent is handed to the writer.
fn record(op: &mut Op) {
    (op.intent, op.place) = (Line::Handed(()), Place::Recording);
}

/// `Recorder::intent` answers an error: what may land all the same is followed by `not_sent`.
fn unrecorded(machine: &Machine, op: &mut Op) {
    op.tell(Outcome::NotSent);
    if machine.has(Flaw::TwoOutcomes) {
        op.tell(Outcome::NotSent);
    }
    op.end(End::Refused);
}

fn permit(machine: &Machine, state: &State, op: &mut Op) {
    let blind = machine.has(Flaw::NoLookAfterIntent) || machine.has(Flaw::NoLookAfterApproval);
    match machine.look(state, op) {
        Look::Ends(end) if !blind => {
            op.tell(Outcome::NotSent);
            op.end(end);
        }
        Look::Ends(_) | Look::Fine => {
            let verdict = machine.rules.verdict(state.policy, op.digest);
            op.minted = Some(Minted { revision: state.policy, verdict, aged: state.aged });
            op.place = Place::Permitted;
        }
    }
}

/// `decide`, and what follows at once: the intent, or the request.
fn decide(machine: &Machine, state: &mut State, id: OpId) -> Option<()> {
    let op = state.op(id).filter(|op| op.place == Place::Planned)?.clone();
    match machine.decided(state, &op) {
        Err(end) => state.op_mut(id)?.end(end),
        Ok(verdict) if machine.needs_none(state, &op, verdict) => record(state.op_mut(id)?),
        Ok(Verdict::Ask) => ask(machine, state, id)?,
        Ok(Verdict::Allow | Verdict::Deny) => state.op_mut(id)?.end(End::Refused),
    }
    Some(())
}

/// Finds the open request for this, or opens one. It is on record before it can be found.
fn ask(machine: &Machine, state: &mut State, id: OpId) -> Option<()> {
    let op = state.op(id)?.clone();
    let found = state.open_for(|request| {
        request.life == op.life
            && (request.digest == op.digest || machine.has(Flaw::AnyDigest))
            && (request.revision == op.planned || machine.has(Flaw::AnyRevision))
    });
    let request = found.or_else(|| {
        let number = u16::try_from(state.requests.len()).ok()?;
        state.requests.push(Request::new(op.digest, op.planned, op.life));
        Some(RequestId(number))
    })?;
    let op = state.op_mut(id)?;
    (op.request, op.place) = (Some(request), Place::Waiting);
    Some(())
}

/// `consume`: of many callers at most one has it, and only while it is approved.
fn take(machine: &Machine, state: &mut State, id: OpId) -> Option<()> {
    let op = state.op(id)?.clone();
    let late = machine.has(Flaw::UseAfterSend) && op.place == Place::Sent && op.taken.is_none();
    (op.place == Place::Cleared || late).then_some(())?;
    let wanted = op.request?;
    let request = state.request_mut(wanted)?;
    let digest = request.digest == op.digest || machine.has(Flaw::AnyDigest);
    let good = digest && (request.standing == Standing::Approved || machine.has(Flaw::UseUnchecked));
    if good {
        request.stolen |= request.standing != Standing::Approved;
        request.standing = Standing::Used;
        request.uses = request.uses.saturating_add(1);
    }
    let op = state.op_mut(id)?;
    if !good {
        op.end(End::Refused);
        return Some(());
    }
    (op.taken, op.used) = (Some(wanted), Line::Handed(()));
    if !late {
        op.place = Place::Taken;
    }
    Some(())
}

/// What the writer had not written is gone, and so is everybody who waited.
fn crash(op: &mut Op) {
    let lost = |line: &mut Line<()>| {
        if *line == Line::Handed(()) {
            *line = Line::None;
        }
    };
    lost(&mut op.used);
    lost(&mut op.intent);
    if matches!(op.outcome, Line::Handed(_)) {
        op.outcome = Line::None;
        op.outcomes = op.outcomes.saturating_sub(1);
    }
    if !op.has_ended() {
        op.end(End::Lost);
    }
}

/// Reads the recording, says what was interrupted, and ends what was asked.
fn restart(machine: &Machine, state: &mut State, revision: Revision) {
    state.swaps = state.swaps.saturating_add(u8::from(state.policy != revision));
    (state.up, state.policy, state.aged) = (true, revision, false);
    state.life = state.life.saturating_add(1);
    let open = |op: &&mut Op| op.intent == Line::Durable(()) && !matches!(op.outcome, Line::Durable(_));
    for op in state.ops.iter_mut().filter(open).filter(|_| !machine.has(Flaw::ForgetsUnfinished)) {
        op.outcome = Line::Durable(Outcome::Interrupted);
        op.outcomes = op.outcomes.saturating_add(1);
    }
    for request in &mut state.requests {
        if machine.has(Flaw::KeptOverRestart) {
            request.life = state.life;
            request.standing = if request.granted { Standing::Approved } else { request.standing };
        } else if machine.registry == Registry::Inside && request.standing.is_open() {
            request.standing = Standing::Expired;
        }
    }
}
