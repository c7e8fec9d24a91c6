//! What people are told of an operation before they decide: asked of the protocol, bounded here.
//!
//! Invariants: however it ends there is an answer in time, and no verdict hangs on it. Nothing is looked at that the agent may
//! not read without a person: it hears how long a look takes, and the statement chooses what that depends on.

use std::time::Duration;

use policy::impact::Impact;
use policy::operation::{Access, Operation, Strictness, Verb};
use policy::verdict::{ApprovalTerms, Decision, Scope};
use policy::{View, decide};
use tokio::time::timeout;

use super::Moment;
use super::side::AgentSide;

/// The protocol keeps to its own, which is shorter.
const DEADLINE: Duration = Duration::from_secs(5);

/// Whether all that a look would read is plainly allowed to the agent.
pub(super) fn is_free(view: &View, op: &Operation) -> bool {
    // What takes a person whatever the rules say does so for what it could tell.
    if op.ceiling != Strictness::Allow {
        return false;
    }
    let mut accesses = Vec::new();
    for access in &op.accesses {
        match (access.verb, access.indirect) {
            // The rows that it changes are found by its condition.
            (Verb::Read, _) | (Verb::Update | Verb::Delete, false) => {
                accesses.push(Access { verb: Verb::Read, bounded: None, ..access.clone() });
            }
            // Those that it makes are not there yet, and a look sets nothing else off.
            (Verb::Create, _) | (_, true) => {}
            _ => return false,
        }
    }
    accesses.is_empty() || decide(view, &Operation { accesses, ..op.clone() }).decision == Decision::Allow
}

pub(super) async fn impact<A: AgentSide>(
    op: &Operation,
    terms: &ApprovalTerms,
    moment: Moment,
    free: bool,
    agent: &mut A,
) -> Impact {
    const NOT_COMPARED: &str = "what it changes is not compared with anything when it runs";
    if !free {
        return Impact::none(format_args!(
            "what it reads is not all for the agent to read without a person, and a look beforehand would tell it something of \
             that; {NOT_COMPARED}"
        ));
    }
    match moment {
        Moment::Idle => {}
        Moment::InTransaction => {
            return Impact::none(format_args!(
                "a transaction of the agent is open, and what it has done so far is seen by nobody else; {NOT_COMPARED}"
            ));
        }
        Moment::InBatch => {
            return Impact::none(format_args!("it stands behind other work of the same batch; {NOT_COMPARED}"));
        }
    }
    let found = timeout(DEADLINE, agent.impact(op, terms.preview)).await;
    let mut impact = found.unwrap_or_else(|_| Impact::none("it took too long"));
    if impact.compared && terms.scope != Scope::Once {
        // A grant lets other values through, which nobody looked at.
        impact.compared = false;
        impact.remark = match impact.remark.is_empty() {
            true => NOT_COMPARED.to_owned(),
            false => format!("{}; {NOT_COMPARED}", impact.remark),
        };
    }
    impact
}
