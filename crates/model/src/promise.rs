//! What must hold in every state, and what must be seen in some state for that to mean anything.

use crate::op::{Line, Op, Outcome, Place, Stage};
use crate::request::{Request, RequestId, Standing};
use crate::rules::Verdict;
use crate::state::State;
use crate::step::Machine;

/// Holds in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    IntentBeforeUpstream,
    ApprovedWhereAsked,
    NoApprovalTwice,
    UsedOnlyWhenGranted,
    PolicyInForceAtPermit,
    NothingNewAfterDenial,
    UnfinishedIsInterrupted,
    OneOutcome,
}

impl Promise {
    pub const ALL: [Self; 8] = [
        Self::IntentBeforeUpstream,
        Self::ApprovedWhereAsked,
        Self::NoApprovalTwice,
        Self::UsedOnlyWhenGranted,
        Self::PolicyInForceAtPermit,
        Self::NothingNewAfterDenial,
        Self::UnfinishedIsInterrupted,
        Self::OneOutcome,
    ];

    pub fn text(self) -> &'static str {
        match self {
            Self::IntentBeforeUpstream => "what is upstream has a durable intent",
            Self::ApprovedWhereAsked => "what is upstream and was asked about has its own approval, used, on record",
            Self::NoApprovalTwice => "no approval is used twice, over a restart neither",
            Self::UsedOnlyWhenGranted => "only what people granted, and did not take back, is used",
            Self::PolicyInForceAtPermit => "a permit is of the policy in force, which is not too old",
            Self::NothingNewAfterDenial => "under a policy that denies it nothing is permitted",
            Self::UnfinishedIsInterrupted => "after a restart each durable intent of before has an outcome",
            Self::OneOutcome => "no operation ends twice",
        }
    }

    pub fn holds(self, state: &State) -> bool {
        let sent = || state.ops.iter().filter(|op| op.upstream);
        match self {
            Self::IntentBeforeUpstream => sent().all(|op| op.intent == Line::Durable(())),
            Self::ApprovedWhereAsked => sent().all(|op| !was_asked(op) || approval(state, op).is_some()),
            Self::NoApprovalTwice => state.request_ids().all(|id| {
                let takers = state.ops.iter().filter(|op| op.taken == Some(id)).count();
                takers <= 1 && state.request(id).is_some_and(|request| request.uses <= 1)
            }),
            Self::UsedOnlyWhenGranted => state.requests.iter().all(|r| r.uses == 0 || (r.granted && !r.stolen)),
            Self::PolicyInForceAtPermit => minted(state).all(|(op, m)| m.revision == op.planned && !m.aged),
            Self::NothingNewAfterDenial => minted(state).all(|(_, m)| m.verdict != Verdict::Deny),
            Self::UnfinishedIsInterrupted => {
                !state.up || state.ops.iter().all(|op| op.life == state.life || closed(op))
            }
            Self::OneOutcome => state.ops.iter().all(|op| op.outcomes <= 1),
        }
    }
}

fn minted(state: &State) -> impl Iterator<Item = (&Op, crate::op::Minted)> {
    state.ops.iter().filter_map(|op| Some((op, op.minted?)))
}

/// Whether the policy in force at its permit wanted an approval of it.
fn was_asked(op: &Op) -> bool {
    op.stage != Stage::Prepare && op.minted.is_some_and(|minted| minted.verdict == Verdict::Ask)
}

/// The approval that released it, if that is what it claims to be.
fn approval<'a>(state: &'a State, op: &Op) -> Option<&'a Request> {
    let first = match op.stage {
        Stage::Continue(first) if op.taken.is_none() => state.op(first)?,
        _ => op,
    };
    let own = first.session == op.session && first.life == op.life && first.upstream;
    let request = state.request(first.taken.filter(|_| own && first.used == Line::Durable(()))?)?;
    let same = request.digest == op.digest && request.life == op.life;
    (same && Some(request.revision) == op.minted.map(|minted| minted.revision)).then_some(request)
}

fn closed(op: &Op) -> bool {
    op.intent != Line::Durable(()) || matches!(op.outcome, Line::Durable(_))
}

/// Seen in some state: without these the promises could hold because nothing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Witness {
    AllowedFinishes,
    ApprovedFinishes,
    /// Of two that wait for one approval, one runs and the other does not.
    OneOfTwo,
    KilledBetweenIntentAndSend,
    KilledAfterSend,
    KilledAfterUse,
    /// Whoever asked did not wait for it, and the next one found it.
    ApprovalWaits,
    /// The policy went and came back, and the approval that was asked under it is used.
    ApprovalOutlivesAChange,
    /// With requests outside, one that is approved outlives the process and releases nothing of the next.
    ApprovalOutlivesAKill,
    StaleAfterUse,
    StaleAfterIntent,
    RefusedAfterIntent,
    TooLateIsNotSent,
    RevokedIsNotUsed,
    ContinuesUnderOneApproval,
    PreparedWithoutApproval,
}

impl Witness {
    pub const ALL: [Self; 16] = [
        Self::AllowedFinishes,
        Self::ApprovedFinishes,
        Self::OneOfTwo,
        Self::KilledBetweenIntentAndSend,
        Self::KilledAfterSend,
        Self::KilledAfterUse,
        Self::ApprovalWaits,
        Self::ApprovalOutlivesAChange,
        Self::ApprovalOutlivesAKill,
        Self::StaleAfterUse,
        Self::StaleAfterIntent,
        Self::RefusedAfterIntent,
        Self::TooLateIsNotSent,
        Self::RevokedIsNotUsed,
        Self::ContinuesUnderOneApproval,
        Self::PreparedWithoutApproval,
    ];

    pub fn seen(self, machine: &Machine, state: &State) -> bool {
        let any = |is: fn(&Op) -> bool| state.ops.iter().any(is);
        let finished = |op: &Op| op.outcome == Line::Durable(Outcome::Finished);
        let asked = |op: &Op| finished(op) && was_asked(op);
        let one = |is: &dyn Fn(&Op) -> bool| state.ops.iter().any(is);
        match self {
            Self::AllowedFinishes => one(&|op| finished(op) && !was_asked(op)),
            Self::ApprovedFinishes => one(&asked),
            Self::OneOfTwo => {
                one(&|op| op.upstream && op.taken == Some(RequestId(0)))
                    && one(&|op| op.place == Place::Cleared && op.request == Some(RequestId(0)))
            }
            Self::KilledBetweenIntentAndSend => {
                any(|op| op.minted.is_some() && !op.upstream && op.outcome == Line::Durable(Outcome::Interrupted))
            }
            Self::KilledAfterSend => any(|op| op.upstream && op.outcome == Line::Durable(Outcome::Interrupted)),
            Self::KilledAfterUse => any(|op| op.taken.is_some() && is_lost(op) && op.intent == Line::None),
            // One before it did not wait, and its request is the only one.
            Self::ApprovalWaits => state.requests.len() == 1 && state.ops.iter().skip(1).any(asked),
            Self::ApprovalOutlivesAChange => state.swaps >= 2 && one(&|op| asked(op) && state.requests.len() == 1),
            Self::ApprovalOutlivesAKill => {
                let left = |r: &Request| r.standing == Standing::Approved && r.life < state.life;
                state.requests.iter().any(left) && one(&|op| op.life == state.life && asked(op))
            }
            Self::StaleAfterUse => any(|op| op.taken.is_some() && is_stale(op) && op.intent == Line::None),
            Self::StaleAfterIntent => any(|op| op.intent == Line::Durable(()) && is_stale(op) && !op.upstream),
            Self::RefusedAfterIntent => {
                let denied = |op: &Op| machine.rules.verdict(state.policy, op.digest) == Verdict::Deny;
                one(&|op| op.intent == Line::Durable(()) && is_refused(op) && denied(op))
            }
            Self::TooLateIsNotSent => {
                any(|op| op.intent == Line::Durable(()) && op.outcome == Line::Durable(Outcome::NotSent))
            }
            Self::RevokedIsNotUsed => {
                state.requests.iter().any(|r| r.granted && r.standing == Standing::Revoked && r.uses == 0)
            }
            Self::ContinuesUnderOneApproval => {
                one(&|op| matches!(op.stage, Stage::Continue(_)) && asked(op) && op.taken.is_none())
            }
            Self::PreparedWithoutApproval => {
                let asks = |op: &Op| op.minted.is_some_and(|minted| minted.verdict == Verdict::Ask);
                one(&|op| op.stage == Stage::Prepare && finished(op) && asks(op))
            }
        }
    }
}

fn is_lost(op: &Op) -> bool {
    op.place == Place::Ended(crate::op::End::Lost)
}

fn is_stale(op: &Op) -> bool {
    op.place == Place::Ended(crate::op::End::Stale)
}

fn is_refused(op: &Op) -> bool {
    op.place == Place::Ended(crate::op::End::Refused)
}
