//! Which rules have matched an operation, as a hint for who writes policies. In memory only, and in no operation's way.
//!
//! Rules are remembered of the policies in force, by name: as many as there are, and none when nobody asks for them.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use policy::operation::Revision;
use policy::verdict::{RuleId, Verdict};

/// More than policies may hold, our own rules with them.
const MOST: usize = 2_048;

#[derive(Debug, Default)]
pub struct Used(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// `None`: nobody asks.
    of: Option<Revision>,
    rules: BTreeSet<RuleId>,
}

// === impl Used ===

impl Used {
    /// The rules that led to a verdict. One under policies that are not in force any more comes too late.
    pub fn note(&self, verdict: &Verdict) {
        let mut inner = self.0.lock();
        if inner.of != Some(verdict.why.revision) {
            return;
        }
        for matched in &verdict.why.matched {
            if !inner.rules.contains(&matched.rule) && inner.rules.len() < MOST {
                inner.rules.insert(matched.rule.clone());
            }
        }
    }

    /// These policies come into force; of those before, what `keep` says is known still.
    pub fn begin(&self, of: Revision, keep: impl Fn(&RuleId) -> bool) {
        let mut inner = self.0.lock();
        inner.of = Some(of);
        inner.rules.retain(keep);
    }

    pub fn rules(&self) -> BTreeSet<RuleId> {
        self.0.lock().rules.clone()
    }
}

#[cfg(test)]
mod tests {
    use policy::operation::Strictness;
    use policy::verdict::{Decision, Explanation, Matched, Obligations};

    use super::*;

    fn rule(policy: &str, rule: &str) -> RuleId {
        RuleId { policy: policy.to_owned(), rule: rule.to_owned(), cluster: false }
    }

    fn verdict(revision: u8, rules: &[RuleId]) -> Verdict {
        let matched = |rule: &RuleId| Matched { rule: rule.clone(), says: Strictness::Allow, access: String::new() };
        Verdict {
            decision: Decision::Allow,
            obligations: Obligations::default(),
            why: Explanation { revision: Revision([revision; 32]), matched: rules.iter().map(matched).collect() },
            would_deny: None,
        }
    }

    #[test]
    fn what_matched_under_the_policies_in_force_is_known() {
        let used = Used::default();
        used.note(&verdict(1, &[rule("p", "a")]));
        assert!(used.rules().is_empty(), "nobody asks");
        used.begin(Revision([1; 32]), |_| true);
        used.note(&verdict(1, &[rule("p", "a"), rule("q", "b")]));
        used.note(&verdict(1, &[rule("p", "a")]));
        used.note(&verdict(2, &[rule("p", "early")]));
        assert_eq!(used.rules(), BTreeSet::from([rule("p", "a"), rule("q", "b")]));
        used.begin(Revision([2; 32]), |rule| rule.policy == "q");
        used.note(&verdict(1, &[rule("p", "late")]));
        assert_eq!(used.rules(), BTreeSet::from([rule("q", "b")]));
    }

    #[test]
    fn no_more_is_kept_than_policies_can_hold() {
        let used = Used::default();
        used.begin(Revision([1; 32]), |_| true);
        let rules: Vec<RuleId> = (0..3_000).map(|n| rule("p", &n.to_string())).collect();
        used.note(&verdict(1, &rules));
        assert_eq!(used.rules().len(), MOST);
    }
}
