//! Bounded labels for metrics.

use policy::verdict::{ApprovalTerms, Verdict};

pub(super) fn policy_of(terms: &ApprovalTerms) -> &str {
    terms.asked_by.first().map_or("", |rule| rule.policy.as_str())
}

pub(super) fn first_policy(verdict: &Verdict) -> &str {
    verdict.why.matched.first().map_or("", |matched| matched.rule.policy.as_str())
}
