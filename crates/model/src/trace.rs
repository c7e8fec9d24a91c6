//! Traces of the real gate, replayed through the transition relation.
//!
//! A trace tells what could be seen from outside in the order in which it was seen. Some steps cannot be seen (that an
//! approval is taken, that a session is told); so the replay keeps every state that the model may be in. Refused is
//! the first event after which there is none. Invariant: an accepted trace is one of the model without flaws.
//!
//! A change of policy is seen as two events, before and after the moment at which it counts.

mod event;

use std::collections::{BTreeMap, BTreeSet};

pub use self::event::{Doing, Event};

use crate::op::{End, Line, Op, OpId, Outcome, Place, Stage};
use crate::request::{RequestId, Standing};
use crate::rules::{Digest, Revision, Rules, Verdict};
use crate::state::State;
use crate::step::{Action, Machine, Registry, Vote, step};

/// Why a trace is none of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Index of the event.
    pub at: usize,
    pub why: String,
}

/// How much of it there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    pub events: usize,
    pub ops: usize,
    pub sent: usize,
    pub approved: usize,
    pub interrupted: usize,
    pub kills: usize,
    /// Most states that it could be in at once.
    pub widest: usize,
}

/// More states than this and the trace tells too little to be worth anything.
const WIDEST: usize = 4_096;

/// Replays a whole trace.
///
/// # Errors
/// The first event that the model cannot follow.
pub fn replay(registry: Registry, events: &[Event]) -> Result<Replayed, Refused> {
    let mut replay = Replay::new(registry, events)?;
    let mut widest = 1;
    for (at, event) in events.iter().enumerate() {
        if *event == Event::Killed {
            replay.ended_unseen(events.get(at..).unwrap_or_default());
        }
        replay.follow(event).map_err(|why| Refused { at, why: format!("{event:?}: {why}") })?;
        widest = widest.max(replay.states.len());
    }
    let Some(state) = replay.states.first() else {
        return Err(Refused { at: events.len(), why: "no state".to_owned() });
    };
    let count = |is: &dyn Fn(&Op) -> bool| state.ops.iter().filter(|op| is(op)).count();
    Ok(Replayed {
        events: events.len(),
        ops: state.ops.len(),
        sent: count(&|op| op.upstream),
        approved: count(&|op| op.upstream && op.taken.is_some()),
        interrupted: count(&|op| op.outcome == Line::Durable(Outcome::Interrupted)),
        kills: usize::from(state.life),
        widest,
    })
}

/// Numbers for names, in the order in which they come.
#[derive(Default)]
struct Names(BTreeMap<String, u16>);

impl Names {
    fn number(&mut self, name: &str) -> u16 {
        let next = u16::try_from(self.0.len()).unwrap_or(u16::MAX);
        *self.0.entry(name.to_owned()).or_insert(next)
    }
}

struct Replay {
    machine: Machine,
    states: Vec<State>,
    sessions: Names,
    digests: Names,
    revisions: Names,
    ops: BTreeMap<String, OpId>,
    requests: BTreeMap<String, RequestId>,
    /// Those that were in force since the start: what was planned was planned under one of them.
    known: BTreeSet<Revision>,
    /// What starts said of operations of before.
    interrupted: BTreeSet<OpId>,
    /// Whether the start has said all of it.
    started: bool,
}

impl Replay {
    /// The verdicts are those of the trace; what it says twice has to be the same.
    fn new(registry: Registry, events: &[Event]) -> Result<Self, Refused> {
        let (mut digests, mut revisions) = (Names::default(), Names::default());
        let mut rules = Rules::default();
        for (at, event) in events.iter().enumerate() {
            let Event::Decided { op, digest, revision, verdict: Some(verdict), .. } = event else { continue };
            let digest = Digest(digests.number(digest));
            if !rules.learn(Revision(revisions.number(revision)), digest, *verdict) {
                return Err(Refused { at, why: format!("{op}: the same was decided otherwise before") });
            }
        }
        let machine = Machine { rules, registry, flaw: None };
        let states = vec![State { up: false, ..State::new(Revision(u16::MAX)) }];
        let (ops, requests) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self {
            machine,
            states,
            sessions: Names::default(),
            digests,
            revisions,
            ops,
            requests,
            known: BTreeSet::new(),
            interrupted: BTreeSet::new(),
            started: false,
        })
    }

    fn follow(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Started { policy } => {
                let revision = Revision(self.revisions.number(policy));
                self.known = BTreeSet::from([revision]);
                self.started = false;
                self.step(Action::Restart(revision))
            }
            Event::Killed => {
                // What the last moment did and nobody wrote down any more.
                self.hidden(true);
                self.step(Action::Crash)
            }
            Event::PolicyBegins { revision } => {
                let revision = Revision(self.revisions.number(revision));
                self.known.insert(revision);
                let changed: Vec<State> =
                    self.states.iter().filter_map(|s| step(&self.machine, s, Action::Swap(revision))).collect();
                self.states.extend(changed);
                Ok(())
            }
            Event::PolicyEnds { revision } => {
                let revision = Revision(self.revisions.number(revision));
                self.keep("another policy is in force", |state| state.policy == revision)
            }
            Event::Decided { session, op, digest, doing, planned, revision, verdict } => {
                let session = self.sessions.number(session);
                let (digest, planned) = (Digest(self.digests.number(digest)), Revision(self.revisions.number(planned)));
                let revision = Revision(self.revisions.number(revision));
                let stage = self.stage(doing)?;
                self.decided(session, op, digest, stage, planned, revision, *verdict)
            }
            Event::Requested { request, digest } => {
                let digest = Digest(self.digests.number(digest));
                // The newest one of this digest: an operation that asks makes it in the same step.
                let id = self
                    .states
                    .iter()
                    .flat_map(State::request_ids)
                    .max()
                    .filter(|id| !self.requests.values().any(|known| known == id));
                let id = id.ok_or("nobody asked")?;
                self.requests.insert(request.clone(), id);
                self.keep("nobody asked for this", |state| state.request(id).is_some_and(|r| r.digest == digest))
            }
            Event::Granted { request } => self.of_request(request, |id| Action::Vote(id, Vote::Approve)),
            Event::Denied { request } => self.of_request(request, |id| Action::Vote(id, Vote::Deny)),
            Event::Expired { request } => self.expired(request),
            Event::Withdrawn { request } => {
                let id = self.request(request)?;
                let waiting: Vec<OpId> = self.waiting(id);
                self.step_any(waiting.into_iter().map(|op| Action::Leave { op, withdraw: true }))
            }
            Event::Consumed { request, digest } => {
                let (id, digest) = (self.request(request)?, Digest(self.digests.number(digest)));
                self.keep("it was asked for something else", |state| {
                    state.request(id).is_some_and(|r| r.digest == digest)
                })?;
                self.hidden(false);
                let takers: Vec<OpId> = self
                    .states
                    .iter()
                    .flat_map(|s| s.op_ids().filter(move |op| s.op(*op).is_some_and(|op| op.taken == Some(id))))
                    .collect();
                self.step_any(takers.into_iter().map(Action::WriteUse))
            }
            Event::Used { op } => {
                let id = self.op(op)?;
                let used = |op: &Op| op.place == Place::Taken && op.used == Line::Durable(());
                self.keep("it took no approval, or its use is not on record", |state| state.op(id).is_some_and(used))
            }
            Event::Ready { op } => {
                let id = self.op(op)?;
                let ready = |state: &State| state.op(id).is_some_and(|op| op.place == Place::Recording);
                if self.states.iter().any(ready) {
                    return self.keep("it is not ready", ready);
                }
                self.step(Action::Ready(id))
            }
            Event::Intent { op } => self.of_op(op, Action::WriteIntent),
            Event::Permitted { op } => {
                let id = self.op(op)?;
                self.step(Action::Permit(id))?;
                self.keep("nothing permits it", |state| state.op(id).is_some_and(|op| op.place == Place::Permitted))
            }
            Event::Sending { op } => self.of_op(op, Action::Send),
            Event::Finishing { op } => {
                let id = self.op(op)?;
                self.keep("it was not sent", |state| state.op(id).is_some_and(|op| op.place == Place::Sent))
            }
            Event::Ended { op, outcome } => self.ended(op, *outcome),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "they are the fields of one event")]
    fn decided(
        &mut self,
        session: u16,
        name: &str,
        digest: Digest,
        stage: Stage,
        planned: Revision,
        revision: Revision,
        verdict: Option<Verdict>,
    ) -> Result<(), String> {
        if !self.known.contains(&planned) {
            return Err("it was planned under a policy that was not in force since the start".to_owned());
        }
        self.keep("another policy is in force", |state| state.policy == revision)?;
        self.all_is_said()?;
        // Whatever it waited for, a session that asks for the next thing has left it.
        self.leave(session);
        let mut next = Vec::new();
        for state in &self.states {
            let mut state = state.clone();
            // Planned under a policy of before: that it was in force then is known.
            let now = std::mem::replace(&mut state.policy, planned);
            let Some(mut state) = step(&self.machine, &state, Action::Plan { session, digest, stage }) else {
                continue;
            };
            state.policy = now;
            let id = OpId(u16::try_from(state.ops.len().saturating_sub(1)).unwrap_or(u16::MAX));
            self.ops.insert(name.to_owned(), id);
            next.extend(step(&self.machine, &state, Action::Decide(id)));
        }
        self.states = next;
        let id = self.op(name)?;
        self.keep("the model decides otherwise", |state| {
            let place = state.op(id).map(|op| op.place);
            match verdict {
                None => place == Some(Place::Ended(End::Stale)),
                Some(Verdict::Deny) => matches!(place, Some(Place::Ended(End::Stale | End::Refused))),
                Some(Verdict::Allow) => place == Some(Place::Recording),
                Some(Verdict::Ask) => !matches!(place, None | Some(Place::Ended(End::Stale))),
            }
        })
    }

    /// What was sent, and of which the next start does not say that it was interrupted, has its outcome on record though
    /// nobody saw it any more.
    fn ended_unseen(&mut self, rest: &[Event]) {
        let next = rest.iter().take_while(|event| !matches!(event, Event::Decided { .. }));
        let said = next.filter_map(|event| match event {
            Event::Ended { op, outcome: Outcome::Interrupted } => self.ops.get(op).copied(),
            _ => None,
        });
        let said: BTreeSet<OpId> = said.collect();
        for state in &mut self.states {
            for id in state.op_ids().filter(|id| !said.contains(id)) {
                if let Some(next) = step(&self.machine, state, Action::Finish(id)) {
                    *state = next;
                }
            }
        }
    }

    /// A start says of each operation that was open that it was interrupted, before anything else happens.
    fn all_is_said(&mut self) -> Result<(), String> {
        if std::mem::replace(&mut self.started, true) {
            return Ok(());
        }
        let said = self.interrupted.clone();
        self.keep("the start did not say of all that was open that it was interrupted", |state| {
            let open = |id: &OpId| state.op(*id).is_some_and(|op| op.outcome == Line::Durable(Outcome::Interrupted));
            state.op_ids().filter(open).all(|id| said.contains(&id))
        })?;
        self.settle();
        Ok(())
    }

    /// What the last moment of an earlier life did and nobody saw matters no more where nothing was sent of it: those
    /// operations are gone, and their requests with the key of their digests.
    fn settle(&mut self) {
        for state in &mut self.states {
            let life = state.life;
            for op in state.ops.iter_mut().filter(|op| op.life < life && !op.upstream) {
                (op.minted, op.taken, op.used) = (None, None, Line::None);
            }
            let inside = self.machine.registry == Registry::Inside;
            for request in state.requests.iter_mut().filter(|request| inside && request.life < life) {
                (request.standing, request.granted, request.uses) = (Standing::Expired, true, 0);
            }
        }
        let mut kept: Vec<State> = Vec::new();
        for state in std::mem::take(&mut self.states) {
            if !kept.contains(&state) {
                kept.push(state);
            }
        }
        self.states = kept;
    }

    fn stage(&self, doing: &Doing) -> Result<Stage, String> {
        Ok(match doing {
            Doing::Prepare => Stage::Prepare,
            Doing::Plan => Stage::Plan,
            Doing::Run => Stage::Run,
            Doing::Continue { request } => {
                let id = self.request(request)?;
                let took =
                    |state: &State| state.op_ids().find(|op| state.op(*op).is_some_and(|op| op.taken == Some(id)));
                Stage::Continue(self.states.iter().find_map(took).ok_or("nothing was released by this request")?)
            }
        })
    }

    fn expired(&mut self, name: &str) -> Result<(), String> {
        let id = self.request(name)?;
        let open = |state: &State| state.request(id).is_some_and(|request| request.standing.is_open());
        if self.states.iter().any(open) {
            return self.step(Action::Expire(id));
        }
        // Of an earlier life a start says so of what its file shows as open, and files follow what they show.
        self.keep("it is open no more", |state| state.request(id).is_some_and(|request| request.life < state.life))
    }

    fn ended(&mut self, name: &str, outcome: Outcome) -> Result<(), String> {
        let id = self.op(name)?;
        match outcome {
            // The start has written it already.
            Outcome::Interrupted => {
                self.interrupted.insert(id);
            }
            Outcome::Finished => self.step(Action::Finish(id))?,
            Outcome::Unknown | Outcome::NotSent => {
                // A permit that nobody spent, a slow record, or a policy that changed meanwhile.
                self.also(|_| Some(Action::Drop(id)));
                self.also(|_| Some(Action::Slow(id)));
                self.also(|_| Some(Action::Permit(id)));
            }
        }
        self.also(|state| {
            state.op(id).filter(|op| matches!(op.outcome, Line::Handed(_))).map(|_| Action::WriteOutcome(id))
        });
        self.keep("it does not end so", |state| state.op(id).is_some_and(|op| op.outcome == Line::Durable(outcome)))
    }

    // === states ===

    /// Every state takes this step, or is none any more.
    fn step(&mut self, action: Action) -> Result<(), String> {
        self.step_any(std::iter::once(action))
    }

    fn step_any(&mut self, actions: impl Iterator<Item = Action>) -> Result<(), String> {
        let (machine, before) = (&self.machine, &self.states);
        let actions: Vec<Action> = actions.collect();
        let next = actions.iter().flat_map(|action| before.iter().filter_map(|state| step(machine, state, *action)));
        let mut next: Vec<State> = next.collect();
        next.dedup();
        self.states = next;
        self.keep("the model cannot do that here", |_| true)
    }

    /// Every state may have taken this step.
    fn also(&mut self, action: impl Fn(&State) -> Option<Action>) {
        let more: Vec<State> =
            self.states.iter().filter_map(|state| step(&self.machine, state, action(state)?)).collect();
        for state in more {
            if !self.states.contains(&state) {
                self.states.push(state);
            }
        }
    }

    fn keep(&mut self, why: &str, is: impl Fn(&State) -> bool) -> Result<(), String> {
        self.states.retain(is);
        match self.states.len() {
            0 => Err(why.to_owned()),
            1..=WIDEST => Ok(()),
            _ => Err("the trace tells too little".to_owned()),
        }
    }

    /// Steps that nobody sees; with `written`, also what the writer did in its last moment.
    fn hidden(&mut self, written: bool) {
        let mut done = 0;
        while done < self.states.len() && self.states.len() <= WIDEST {
            let Some(state) = self.states.get(done).cloned() else { break };
            let open = state.op_ids().filter(|id| state.op(*id).is_some_and(|op| !op.is_settled()));
            let quiet = open.flat_map(|id| {
                let seen = [Action::WriteUse(id), Action::WriteIntent(id), Action::Permit(id)];
                [Action::Look(id), Action::Take(id)].into_iter().chain(seen.into_iter().filter(move |_| written))
            });
            for next in quiet.filter_map(|action| step(&self.machine, &state, action)) {
                if !self.states.contains(&next) {
                    self.states.push(next);
                }
            }
            done += 1;
        }
    }

    /// A session that goes on has left what it waited for.
    fn leave(&mut self, session: u16) {
        for state in &mut self.states {
            let waits = |op: &&mut Op| op.session == session && matches!(op.place, Place::Waiting | Place::Cleared);
            for op in state.ops.iter_mut().filter(waits) {
                op.end(End::Refused);
            }
        }
    }

    // === names ===

    fn op(&self, name: &str) -> Result<OpId, String> {
        self.ops.get(name).copied().ok_or_else(|| "nobody decided on this operation".to_owned())
    }

    fn request(&self, name: &str) -> Result<RequestId, String> {
        self.requests.get(name).copied().ok_or_else(|| "nobody asked for this".to_owned())
    }

    fn waiting(&self, request: RequestId) -> Vec<OpId> {
        let of = |state: &State| {
            state.op_ids().filter(|id| state.op(*id).is_some_and(|op| op.request == Some(request))).collect()
        };
        let all: BTreeSet<OpId> = self.states.iter().flat_map(|state| -> Vec<OpId> { of(state) }).collect();
        all.into_iter().collect()
    }

    fn of_op(&mut self, name: &str, action: impl Fn(OpId) -> Action) -> Result<(), String> {
        let id = self.op(name)?;
        self.step(action(id))
    }

    fn of_request(&mut self, name: &str, action: impl Fn(RequestId) -> Action) -> Result<(), String> {
        let id = self.request(name)?;
        self.step(action(id))
    }
}
