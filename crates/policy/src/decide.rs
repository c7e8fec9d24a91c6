//! `decide`: one operation, one view, one verdict. Total, deterministic, and never looser than the operation's ceiling.
//!
//! Every access must be covered by an Allow or RequireApproval rule of a namespaced policy, or by `builtin/session`; one
//! that is only reached through another (`indirect`) need not be, and covers nothing.
//! Then everything that may speak against it counts: Deny overrides RequireApproval overrides Allow, in any order of
//! rules. Cluster policies cover nothing; they only tighten. What is unknown about an operation (a host, fields, a path)
//! can make a rule tighten, never permit.

mod judge;

use crate::decide::judge::{Judgement, judge};
use crate::operation::{Certainty, Operation, Origin, ResourceKind, Strictness, Verb};
use crate::verdict::{ApprovalTerms, Decision, DenyReason, Explanation, Matched, Obligations, RuleId, Verdict};
use crate::view::View;

/// Total and deterministic: the same view and operation always give the same verdict.
pub fn decide(view: &View, op: &Operation) -> Verdict {
    let mut why = Explanation { revision: view.revision(), matched: Vec::new() };
    let (level, durability) = (view.level(), view.durability());
    let mut obligations = Obligations { level, durability, ..Obligations::default() };
    if let Some(decision) = before_rules(view, op, &mut why) {
        return Verdict { decision, obligations, why, would_deny: None };
    }

    let namespaced = judge(view.rules(), op);
    let cluster = judge(view.cluster_rules(), op);
    let (decision, would_deny) = combine(view, op, &namespaced, &cluster);

    obligations.max_rows = namespaced.max_rows;
    obligations.masks = masks(view, op);
    obligations.detectors = view.detector_ids();
    why.matched.extend(session_matches(op));
    why.matched.extend(namespaced.matched);
    why.matched.extend(cluster.matched);
    why.matched.sort();
    why.matched.dedup();
    Verdict { decision, obligations, why, would_deny }
}

/// What is decided without looking at any rule; audit mode softens none of it.
fn before_rules(view: &View, op: &Operation, why: &mut Explanation) -> Option<Decision> {
    let deny = |reason| Some(Decision::Deny(reason));
    if op.origin == Origin::Internal {
        return Some(internal(op, why));
    }
    if let Some(policy) = view.deny_all() {
        return deny(DenyReason::DenyAll { policy: policy.to_owned() });
    }
    if !view.selected() {
        return deny(DenyReason::NotSelected);
    }
    if op.planned != view.revision() {
        return deny(DenyReason::Stale);
    }
    if let Certainty::Opaque(reason) = &op.certainty {
        return deny(DenyReason::Opaque(reason.clone()));
    }
    if op.accesses.iter().all(|access| access.indirect) {
        return deny(DenyReason::Evaluation("the operation names nothing that it touches".to_owned()));
    }
    None
}

/// `builtin/internal` allows our own operations, which are constant texts or derived from a decided operation. There is
/// nobody to ask about them, so a ceiling below Allow denies.
fn internal(op: &Operation, why: &mut Explanation) -> Decision {
    match &op.certainty {
        Certainty::Opaque(reason) => Decision::Deny(DenyReason::Opaque(reason.clone())),
        Certainty::Exact if op.ceiling != Strictness::Allow => Decision::Deny(DenyReason::Ceiling(never(op))),
        Certainty::Exact => {
            let access = op.accesses.iter().map(crate::explain::access).collect::<Vec<_>>().join(", ");
            why.matched.push(Matched { rule: builtin("internal"), says: Strictness::Allow, access });
            Decision::Allow
        }
    }
}

fn combine(
    view: &View,
    op: &Operation,
    namespaced: &Judgement<'_>,
    cluster: &Judgement<'_>,
) -> (Decision, Option<DenyReason>) {
    let deny = |reason: &DenyReason| (Decision::Deny(reason.clone()), None);
    if let Some(reason) = cluster.refusal() {
        return deny(reason);
    }
    let own = own_decision(op, namespaced);
    if op.ceiling == Strictness::Deny {
        // A rule's message says more than "never"; either way it is denied.
        return deny(&namespaced.denied.first().cloned().unwrap_or_else(|| DenyReason::Ceiling(never(op))));
    }
    // Audit lets pass what rules would stop, but only what may be allowed at all.
    let audit = view.audit() && op.ceiling == Strictness::Allow;
    let mut asks = cluster.asks.clone();
    let would_deny = match (own, audit) {
        (Own::Allow, _) => None,
        (Own::Ask, false) => {
            asks.extend(&namespaced.asks);
            None
        }
        (Own::Deny(reason), false) => return (Decision::Deny(reason), None),
        (Own::Deny(reason), true) => Some(reason),
        (Own::Ask, true) => {
            namespaced.asks.iter().min_by_key(|rule| &rule.id).map(|rule| DenyReason::Unasked { id: rule.id.clone() })
        }
    };
    match ApprovalTerms::merge(&asks) {
        None => (Decision::Allow, would_deny),
        Some(terms) => (Decision::RequireApproval(terms), None),
    }
}

enum Own {
    Allow,
    Ask,
    Deny(DenyReason),
}

/// What the namespaced policies alone say. The ceiling counts here already: were it applied after the cluster's rules,
/// a cluster rule that asks would turn a denial into a question.
fn own_decision(op: &Operation, namespaced: &Judgement<'_>) -> Own {
    let uncovered = namespaced.uncovered.iter().find(|access| !session_allows(access.verb, access.resource.kind));
    if let Some(reason) = namespaced.refusal() {
        Own::Deny(reason.clone())
    } else if let Some(access) = uncovered {
        Own::Deny(DenyReason::NoRule(crate::explain::access(access)))
    } else if op.ceiling == Strictness::RequireApproval && !namespaced.surely_asked {
        // A rule that only perhaps asks about this must not open what only an approval rule may open.
        Own::Deny(DenyReason::Ceiling(format!(
            "`{}` needs a RequireApproval rule; Allow rules do not reach it",
            op.action
        )))
    } else if namespaced.asks.is_empty() {
        Own::Allow
    } else {
        Own::Ask
    }
}

fn never(op: &Operation) -> String {
    format!("`{}` is never allowed, whatever the rules say", op.action)
}

/// `builtin/session`: what every session of a selected subject may do.
pub(crate) const SESSION: [(Verb, ResourceKind); 4] = [
    (Verb::Connect, ResourceKind::Target),
    (Verb::Read, ResourceKind::Catalog),
    (Verb::Execute, ResourceKind::SessionSetting),
    (Verb::Execute, ResourceKind::Transaction),
];

/// Whether this needs no rule, once a policy selects the subject.
pub fn session_allows(verb: Verb, kind: ResourceKind) -> bool {
    SESSION.contains(&(verb, kind))
}

fn session_matches(op: &Operation) -> impl Iterator<Item = Matched> + '_ {
    let allowed = op.accesses.iter().filter(|a| !a.indirect && session_allows(a.verb, a.resource.kind));
    allowed.map(|a| Matched { rule: builtin("session"), says: Strictness::Allow, access: crate::explain::access(a) })
}

pub(crate) fn builtin(rule: &str) -> RuleId {
    RuleId { policy: crate::compile::BUILTIN.to_owned(), rule: rule.to_owned(), cluster: false }
}

fn masks(view: &View, op: &Operation) -> Vec<RuleId> {
    let touching = view.masks().iter().filter(|mask| op.accesses.iter().any(|a| !a.indirect && mask.touches(a)));
    let mut ids: Vec<RuleId> = touching.map(|mask| mask.id.clone()).collect();
    ids.sort();
    ids.dedup();
    ids
}
