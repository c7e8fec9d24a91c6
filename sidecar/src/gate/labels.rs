//! Bounded labels for metrics.

use policy::verdict::{ApprovalTerms, DenyReason, Verdict};

pub(super) fn policy_of(terms: &ApprovalTerms) -> &str {
    terms.asked_by.first().map_or("", |rule| rule.policy.as_str())
}

pub(super) fn first_policy(verdict: &Verdict) -> &str {
    verdict.why.matched.first().map_or("", |matched| matched.rule.policy.as_str())
}

/// A bounded label for metrics.
pub(super) fn word(reason: &DenyReason) -> &'static str {
    match reason {
        DenyReason::NotSelected => "not_selected",
        DenyReason::NoRule(_) => "no_rule",
        DenyReason::Rule { .. } => "rule",
        DenyReason::DenyAll { .. } => "deny_all",
        DenyReason::Unbounded { .. } => "unbounded",
        DenyReason::Ceiling(_) => "ceiling",
        DenyReason::Opaque(_) => "opaque",
        DenyReason::Stale => "stale",
        DenyReason::Evaluation(_) => "evaluation",
    }
}
