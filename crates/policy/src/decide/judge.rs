//! What one layer of rules, namespaced or cluster, says about an operation.

use crds::policy::Scope;

use crate::operation::{Access, Fields, Operation, Strictness};
use crate::rule::Rule;
use crate::rules::Rules;
use crate::verdict::{ApprovalTerms, DenyReason, Matched, Preview};

pub(super) struct Judgement<'a> {
    pub(super) matched: Vec<Matched>,
    /// Deny rules that touch it, in order of rule.
    pub(super) denied: Vec<DenyReason>,
    /// `requireWhere` that is not met, in order of rule.
    unbounded: Vec<DenyReason>,
    pub(super) asks: Vec<&'a Rule>,
    /// One of those that ask surely speaks of what is done, and does not only perhaps.
    pub(super) surely_asked: bool,
    /// Accesses that no Allow or RequireApproval rule covers, in the operation's order.
    pub(super) uncovered: Vec<&'a Access>,
    pub(super) max_rows: Option<u64>,
}

impl Judgement<'_> {
    /// The first reason to refuse, rules before conditions.
    pub(super) fn refusal(&self) -> Option<&DenyReason> {
        self.denied.first().or(self.unbounded.first())
    }
}

pub(super) fn judge<'a>(rules: &'a Rules, op: &'a Operation) -> Judgement<'a> {
    let (mut denied, mut unbounded) = (Vec::new(), Vec::new());
    let mut judgement = Judgement {
        matched: Vec::new(),
        denied: Vec::new(),
        unbounded: Vec::new(),
        asks: Vec::new(),
        surely_asked: false,
        uncovered: Vec::new(),
        max_rows: None,
    };
    for access in &op.accesses {
        // What is only reached through another object needs no permission of its own, and none can come from it.
        let direct = !access.indirect;
        let mut covered = !direct;
        let about = rules.about(access);
        if direct && covered_together(&about, op, access) {
            covered = true;
            judgement.surely_asked = true;
        }
        for rule in about {
            if rule.is_unbounded(op, access) {
                let resource = crate::explain::resource(&access.resource);
                unbounded.push((&rule.id, DenyReason::Unbounded { id: rule.id.clone(), resource }));
            }
            let matches = match rule.action {
                Strictness::Allow => direct && rule.covers(op, access),
                Strictness::RequireApproval | Strictness::Deny => rule.touches(op, access),
            };
            if !matches {
                continue;
            }
            let says = rule.action;
            judgement.matched.push(Matched { rule: rule.id.clone(), says, access: crate::explain::access(access) });
            match says {
                Strictness::Allow => covered = true,
                Strictness::RequireApproval => {
                    let covers = direct && rule.covers(op, access);
                    covered |= covers;
                    judgement.surely_asked |= covers;
                    judgement.asks.push(rule);
                }
                Strictness::Deny => {
                    let reason = DenyReason::Rule { id: rule.id.clone(), message: rule.message.clone() };
                    denied.push((&rule.id, reason));
                }
            }
            judgement.max_rows = [judgement.max_rows, rule.max_rows].into_iter().flatten().min();
        }
        if !covered {
            judgement.uncovered.push(access);
        }
    }
    denied.sort_by_key(|(id, _)| *id);
    unbounded.sort_by_key(|(id, _)| *id);
    judgement.denied = denied.into_iter().map(|(_, reason)| reason).collect();
    judgement.unbounded = unbounded.into_iter().map(|(_, reason)| reason).collect();
    judgement
}

/// An approval rule with columns covers those columns only. The others may be covered by further rules: "may read
/// `id`; must ask for `email`" lets both be asked for in one statement.
fn covered_together(rules: &[&Rule], op: &Operation, access: &Access) -> bool {
    let Fields::Named(names) = crate::rule::fields(access) else { return false };
    let permitting: Vec<&Rule> =
        rules.iter().copied().filter(|r| r.action != Strictness::Deny && r.covers_resource(op, access)).collect();
    let asks = |name: &String| {
        permitting.iter().any(|r| r.action == Strictness::RequireApproval && r.covers_field(access, name))
    };
    // One that only perhaps asks about a field must not count as surely asked.
    names.iter().any(asks) && names.iter().all(|name| permitting.iter().any(|r| r.covers_field(access, name)))
}

impl ApprovalTerms {
    /// The strictest of each setting; `None` if nobody asks.
    pub(super) fn merge(asks: &[&Rule]) -> Option<Self> {
        let mut merged: Option<Self> = None;
        for rule in asks {
            let Some(terms) = &rule.terms else { continue };
            let one = Self {
                asked_by: vec![rule.id.clone()],
                required_approvals: terms.required_approvals,
                deny_threshold: terms.deny_threshold,
                scope: terms.scope,
                max_grant: terms.max_grant,
                pending_ttl: terms.pending_ttl,
                hold_for: terms.hold_for,
                reason_required: terms.reason_required,
                max_hold_in_transaction: terms.max_hold_in_transaction,
                preview: terms.preview,
            };
            merged = Some(match merged {
                None => one,
                Some(before) => before.and(one),
            });
        }
        merged.map(|mut terms| {
            terms.asked_by.sort();
            terms.asked_by.dedup();
            terms
        })
    }

    fn and(mut self, other: Self) -> Self {
        self.asked_by.extend(other.asked_by);
        let scope = self.scope.min(other.scope);
        let max_grant = [self.max_grant, other.max_grant].into_iter().flatten().min();
        Self {
            scope,
            max_grant: max_grant.filter(|_| scope != Scope::Once),
            asked_by: self.asked_by,
            required_approvals: self.required_approvals.max(other.required_approvals),
            deny_threshold: self.deny_threshold.min(other.deny_threshold),
            pending_ttl: self.pending_ttl.min(other.pending_ttl),
            hold_for: self.hold_for.min(other.hold_for),
            reason_required: self.reason_required || other.reason_required,
            // A rule without it is never held inside a transaction: that is the shortest.
            max_hold_in_transaction: self.max_hold_in_transaction.min(other.max_hold_in_transaction),
            preview: Preview {
                explain: self.preview.explain || other.preview.explain,
                count: self.preview.count || other.preview.count,
            },
        }
    }
}
