//! How much of it is explored: a script for each session, and how often the world may interfere.

use crate::op::{End, Line, OpId, Place, Stage};
use crate::request::{RequestId, Standing};
use crate::rules::Digest;
use crate::state::State;
use crate::step::{Action, Machine, Vote};

#[derive(Clone, Debug)]
pub struct Bounds {
    /// What each session does, one after another; what was planned under another policy is planned again.
    pub scripts: Vec<Vec<(Digest, Stage)>>,
    /// Changes of policy, those over a restart among them.
    pub swaps: u8,
    pub crashes: u8,
    /// Whether policies may become too old.
    pub age: bool,
    /// Whether writes may fail or be slow.
    pub faults: bool,
}

impl Bounds {
    /// Whatever may happen in this state.
    pub fn actions(&self, machine: &Machine, state: &State, out: &mut Vec<Action>) {
        let more = state.swaps < self.swaps;
        if !state.up {
            let known = machine.rules.revisions().filter(|revision| more || *revision == state.policy);
            out.extend(known.map(Action::Restart));
        }
        out.extend(machine.rules.revisions().filter(|_| more).map(Action::Swap));
        if self.age {
            out.extend([Action::Age, Action::Confirm]);
        }
        if state.life < self.crashes {
            out.push(Action::Crash);
        }
        for id in state.request_ids() {
            self.of_request(id, out);
        }
        for id in state.op_ids() {
            self.of_op(id, out);
        }
        for (session, script) in (0_u16..).zip(&self.scripts) {
            let done = state.ops.iter().filter(|op| op.session == session && !is_stale(op.place)).count();
            if let Some((digest, stage)) = script.get(done).copied().filter(|_| !state.is_busy(session)) {
                let stage = match stage {
                    // Of what this session did before: the script cannot know which number that has.
                    Stage::Continue(_) => Stage::Continue(first_of(state, session, digest)),
                    stage => stage,
                };
                out.push(Action::Plan { session, digest, stage });
            }
        }
    }

    /// The same state without what no promise and no step looks at any more: a promise about it was kept before.
    pub fn forget(&self, state: &State) -> State {
        let mut state = state.clone();
        let goes_on = self.scripts.iter().flatten().any(|(_, stage)| matches!(stage, Stage::Continue(_)));
        let life = state.life;
        for op in state.ops.iter_mut().filter(|op| op.is_settled()) {
            let open = op.intent == Line::Durable(()) && op.outcome == Line::None;
            let continued = goes_on && op.upstream && op.life == life;
            if !open && !continued {
                *op = op.forgotten();
            }
        }
        for request in &mut state.requests {
            if !request.standing.is_open() && request.uses == 0 {
                (request.standing, request.granted) = (Standing::Expired, false);
            }
        }
        state
    }

    fn of_request(&self, id: RequestId, out: &mut Vec<Action>) {
        out.push(Action::Vote(id, Vote::Approve));
        if self.faults {
            out.extend([Action::Vote(id, Vote::Deny), Action::Vote(id, Vote::Revoke), Action::Expire(id)]);
        }
    }

    fn of_op(&self, id: OpId, out: &mut Vec<Action>) {
        out.extend([
            Action::Decide(id),
            Action::Leave { op: id, withdraw: false },
            Action::Look(id),
            Action::Take(id),
            Action::WriteUse(id),
            Action::Ready(id),
            Action::WriteIntent(id),
            Action::Permit(id),
            Action::Send(id),
            Action::Finish(id),
            Action::WriteOutcome(id),
        ]);
        if self.faults {
            out.extend([
                Action::Leave { op: id, withdraw: true },
                Action::Drop(id),
                Action::FailUse(id),
                Action::FailIntent(id),
                Action::Slow(id),
            ]);
        }
    }
}

fn is_stale(place: Place) -> bool {
    place == Place::Ended(End::Stale)
}

fn first_of(state: &State, session: u16, digest: Digest) -> OpId {
    let first = |id: &OpId| state.op(*id).is_some_and(|op| op.session == session && op.digest == digest && op.upstream);
    state.op_ids().find(first).unwrap_or(OpId(0))
}
