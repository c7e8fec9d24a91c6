//! What people are told of an operation before they decide: asked of the protocol, bounded here.
//!
//! Invariant: however it ends there is an answer in time, and no verdict hangs on it.

use std::time::Duration;

use policy::impact::Impact;
use policy::operation::Operation;
use policy::verdict::{ApprovalTerms, Scope};
use tokio::time::timeout;

use super::Moment;
use super::side::AgentSide;

/// The protocol keeps to its own, which is shorter.
const DEADLINE: Duration = Duration::from_secs(5);

pub(super) async fn impact<A: AgentSide>(
    op: &Operation,
    terms: &ApprovalTerms,
    moment: Moment,
    agent: &mut A,
) -> Impact {
    const NOT_COMPARED: &str = "what it changes is not compared with anything when it runs";
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
