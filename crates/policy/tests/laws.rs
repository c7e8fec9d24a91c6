//! The eleven laws of `decide` as properties over generated policies and operations, and the two of merging.
#![expect(clippy::unwrap_used, reason = "test helpers")]

mod world;

use crds::policy::{Action, AgentAccessPolicySpec, PostgresRule, Scope};
use policy::decide;
use policy::operation::{Attribute, Certainty, Fields, Operation, Origin, Revision, Strictness};
use policy::verdict::{Decision, DenyReason};
use proptest::prelude::*;

use crate::world::changed::{rules_of, session_only, set, shuffled, verdict, with_rule};
use crate::world::{access, cluster, input, named, operation, policy, rule_of, subject, target};

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn law_1_total_and_never_looser_than_the_ceiling(input in input(), op in operation(), internal: bool) {
        let origin = if internal { Origin::Internal } else { Origin::Agent };
        let verdict = verdict(&set(&input), &Operation { origin, ..op.clone() });
        prop_assert!(verdict.decision.strictness() >= op.ceiling);
        prop_assert!(!verdict.explain().is_empty());
        if verdict.would_deny.is_some() {
            prop_assert_eq!(verdict.decision, Decision::Allow);
        }
    }

    #[test]
    fn law_2_deterministic_and_independent_of_order(input in input(), op in operation(), by in 0..7_usize) {
        let (one, other) = (set(&input), set(&shuffled(&input, by)));
        prop_assert_eq!(one.revision(), other.revision());
        prop_assert_eq!(verdict(&one, &op), verdict(&one, &op));
        prop_assert_eq!(verdict(&one, &op), verdict(&other, &op));
    }

    #[test]
    fn law_3_no_matching_rule_is_denied(input in input(), op in operation()) {
        let verdict_before = verdict(&set(&input), &op);
        let permits = |m: &&policy::verdict::Matched| !m.rule.cluster && m.says != Strictness::Deny;
        if verdict_before.decision.strictness() != Strictness::Deny && verdict_before.would_deny.is_none() {
            prop_assert!(verdict_before.why.matched.iter().any(|m| permits(&m)) || set(&input)
                .view(&subject(), &target()).audit());
        }
        let mut bare = input.clone();
        for policy in &mut bare.policies {
            policy.spec.mode = crds::policy::Mode::Enforce;
            if let Some(rules) = rules_of(&mut policy.spec) {
                rules.rules.clear();
            }
        }
        if !session_only(&op) {
            prop_assert_eq!(verdict(&set(&bare), &op).decision.strictness(), Strictness::Deny);
        }
    }

    #[test]
    fn law_4_deny_overrides(mut input in input(), own in policy(), op in operation()) {
        let mut own = AgentAccessPolicySpec { pod_selector: Default::default(), mode: Default::default(), ..own };
        let deny = PostgresRule {
            name: "deny".to_owned(), action: Action::Deny, approval: None, verbs: world::ALL.to_vec(),
            relations: vec![], columns: vec![], functions: vec![], require_where: false, limits: None, message: None,
        };
        rules_of(&mut own).unwrap().rules.push(deny);
        input.policies.push(named("agents", "own".to_owned(), own));
        let governed = |a: &policy::operation::Access| !session_only(&Operation { accesses: vec![a.clone()], ..op.clone() });
        if op.accesses.iter().any(governed) {
            prop_assert_eq!(verdict(&set(&input), &op).decision.strictness(), Strictness::Deny);
        }
    }

    #[test]
    fn law_5_adding_a_deny_rule_never_widens(input in input(), rule in rule_of(Action::Deny), op in operation()) {
        let (before, after) = (verdict(&set(&input), &op), verdict(&set(&with_rule(&input, rule)), &op));
        prop_assert!(after.decision.strictness() >= before.decision.strictness());
    }

    #[test]
    fn law_6_adding_an_allow_rule_removes_no_deny_and_no_approval(
        input in input(), rule in rule_of(Action::Allow), op in operation()
    ) {
        let (before, after) = (verdict(&set(&input), &op), verdict(&set(&with_rule(&input, rule)), &op));
        match before.decision {
            Decision::Deny(DenyReason::NoRule(_)) | Decision::Allow => {}
            Decision::Deny(_) => prop_assert_eq!(after.decision.strictness(), Strictness::Deny),
            Decision::RequireApproval(_) => prop_assert!(after.decision.strictness() >= Strictness::RequireApproval),
        }
        // Nor does it lift what an Audit policy only notes.
        if let Some(reason) = before.would_deny.filter(|r| !matches!(r, DenyReason::NoRule(_))) {
            prop_assert!(after.would_deny.is_some() || after.decision != Decision::Allow, "{reason:?}");
        }
    }

    #[test]
    fn law_7_what_cannot_be_evaluated_is_denied(input in input(), op in operation()) {
        let set = set(&input);
        let nothing = Operation { accesses: Vec::new(), ..op.clone() };
        prop_assert_eq!(verdict(&set, &nothing).decision.strictness(), Strictness::Deny);
        let stale = Operation { planned: Revision([7; 32]), ..op };
        let verdict = decide(&set.view(&subject(), &target()), &stale);
        prop_assert_eq!(verdict.decision.strictness(), Strictness::Deny);
    }

    #[test]
    fn law_8_opaque_matches_no_rule(input in input(), op in operation(), internal: bool) {
        let origin = if internal { Origin::Internal } else { Origin::Agent };
        let opaque = Operation { certainty: Certainty::Opaque("odd".to_owned()), origin, ..op };
        let verdict = verdict(&set(&input), &opaque);
        prop_assert_eq!(verdict.decision.strictness(), Strictness::Deny);
        prop_assert!(verdict.why.matched.is_empty());
    }

    #[test]
    fn law_9_knowing_less_is_never_less_strict(input in input(), op in operation()) {
        let set = set(&input);
        let before = verdict(&set, &op).decision.strictness();
        let mut less = Vec::new();
        for attribute in [Attribute::Host, Attribute::Database, Attribute::Transaction] {
            let mut unknown = op.clone();
            unknown.attributes.remove(&attribute);
            less.push(unknown);
        }
        for at in 0..op.accesses.len() {
            let mut forget = |change: fn(&mut policy::operation::Access)| {
                let mut unknown = op.clone();
                change(&mut unknown.accesses[at]);
                less.push(unknown);
            };
            forget(|a| a.bounded = None);
            forget(|a| a.resource.fields = Fields::All);
            forget(|a| a.resource.path.clear());
        }
        for unknown in less {
            prop_assert!(verdict(&set, &unknown).decision.strictness() >= before, "{:?}", unknown);
        }
    }

    #[test]
    fn law_10_obligations_only_accumulate(
        input in input(), allow in rule_of(Action::Allow), own in policy(), guard in cluster(0), op in operation()
    ) {
        let before = verdict(&set(&input), &op);
        let mut more = with_rule(&input, allow);
        more.policies.push(named("agents", "more".to_owned(), own));
        more.cluster.push(named("", "more".to_owned(), guard));
        let after = verdict(&set(&more), &op);
        // Duties come with what passes; a policy that was not selected had none to give.
        if before.decision.strictness() != Strictness::Deny && after.decision.strictness() != Strictness::Deny {
            prop_assert!(before.obligations.masks.iter().all(|m| after.obligations.masks.contains(m)));
            prop_assert!(before.obligations.max_rows.is_none_or(|b| after.obligations.max_rows.is_some_and(|a| a <= b)));
            prop_assert!(after.obligations.level >= before.obligations.level);
            prop_assert!(after.obligations.durability >= before.obligations.durability);
        }
        if let (Decision::RequireApproval(b), Decision::RequireApproval(a)) = (&before.decision, &after.decision) {
            prop_assert!(b.asked_by.iter().all(|id| a.asked_by.contains(id)));
            prop_assert!(a.required_approvals >= b.required_approvals && a.deny_threshold <= b.deny_threshold);
            prop_assert!(a.pending_ttl <= b.pending_ttl && a.hold_for <= b.hold_for && a.hold_for <= a.pending_ttl);
            prop_assert!(a.max_hold_in_transaction <= b.max_hold_in_transaction);
            prop_assert!(a.reason_required >= b.reason_required);
            prop_assert!(a.preview.explain >= b.preview.explain && a.preview.count >= b.preview.count);
            prop_assert!(a.scope <= b.scope && a.max_grant <= b.max_grant);
            prop_assert_eq!(a.scope == Scope::Once, a.max_grant.is_none());
        }
    }

    #[test]
    fn law_11_compile_after_render_is_the_identity(input in input()) {
        let once = set(&input);
        let twice = set(&once.render());
        prop_assert_eq!(&once, &twice);
        prop_assert_eq!(once.revision(), twice.revision());
        prop_assert_eq!(once.render(), twice.render());
    }

    #[test]
    fn a_cluster_policy_never_widens(input in input(), guard in cluster(1), op in operation()) {
        let before = verdict(&set(&input), &op);
        let mut more = input;
        more.cluster.push(named("", "more".to_owned(), guard));
        let after = verdict(&set(&more), &op);
        prop_assert!(after.decision.strictness() >= before.decision.strictness());
        if before.would_deny.is_some() && after.decision == Decision::Allow {
            prop_assert!(after.would_deny.is_some());
        }
    }

    #[test]
    fn another_content_has_another_revision(input in input(), rule in rule_of(Action::Deny)) {
        prop_assume!(!input.policies.is_empty());
        prop_assert_ne!(set(&input).revision(), set(&with_rule(&input, rule)).revision());
    }

    #[test]
    fn every_access_that_passes_is_covered(input in input(), extra in access(), op in operation()) {
        let set = set(&input);
        prop_assume!(!set.view(&subject(), &target()).audit());
        // One access may need an approval rule that only another one has.
        let op = Operation { ceiling: Strictness::Allow, ..op };
        let alone = Operation { accesses: vec![extra.clone()], ..op.clone() };
        let mut together = op;
        together.accesses.push(extra);
        prop_assert!(verdict(&set, &together).decision.strictness() >= verdict(&set, &alone).decision.strictness());
    }
}
