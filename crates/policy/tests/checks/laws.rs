//! `decide`: bytes choose a set of policies, an operation and one thing more, and then the laws hold.

use crds::policy::{Action, Mode};
use policy::Input;
use policy::operation::{Certainty, Fields, Operation, Origin, Strictness};
use policy::verdict::{Decision, DenyReason, Verdict};

use super::dice::Dice;
use crate::world::changed::{set, shuffled, verdict, with_rule};
use crate::world::{a_target, access, cluster, named, operation, policy, rule_of};

pub(crate) fn decide(data: &[u8]) {
    let mut dice = Dice(data);
    let input = an_input(&mut dice);
    let op = an_operation(&mut dice);
    let before = verdict(&set(&input), &op);
    total(&input, &op, &before);
    any_order(&input, &op, &before, dice.below(7));
    adding(&input, &op, &before, &mut dice);
    knowing_less(&input, &op, &before);
}

fn an_input(dice: &mut Dice<'_>) -> Input {
    let targets = vec![named("agents", "db".to_owned(), a_target())];
    let mut input = Input { targets, ..Input::default() };
    let (policies, guards, audit) = (dice.below(4), dice.below(3), dice.below(3) == 2);
    input.policies = (0..policies).map(|at| named("agents", format!("p{at}"), dice.draw(policy()))).collect();
    input.cluster = (0..guards).map(|at| named("", format!("c{at}"), dice.draw(cluster(1)))).collect();
    if audit {
        input.policies.iter_mut().for_each(|policy| policy.spec.mode = Mode::Audit);
    }
    input
}

fn an_operation(dice: &mut Dice<'_>) -> Operation {
    let mut op = dice.draw(operation());
    op.accesses = (0..dice.below(4)).map(|_| dice.draw(access())).collect();
    for access in &mut op.accesses {
        access.indirect = dice.below(8) == 7;
    }
    op.origin = if dice.below(8) == 7 { Origin::Internal } else { Origin::Agent };
    if dice.below(8) == 7 {
        op.certainty = Certainty::Opaque("odd".to_owned());
    }
    op
}

/// Laws 1, 3, 7 and 8.
fn total(input: &Input, op: &Operation, verdict: &Verdict) {
    assert!(verdict.decision.strictness() >= op.ceiling, "{}", verdict.explain());
    assert!(!verdict.explain().is_empty());
    assert!(verdict.would_deny.is_none() || verdict.decision == Decision::Allow);
    let denied = verdict.decision.strictness() == Strictness::Deny;
    if op.certainty != Certainty::Exact {
        assert!(denied && verdict.why.matched.is_empty(), "{}", verdict.explain());
    }
    let names_nothing = op.accesses.iter().all(|access| access.indirect);
    assert!(denied || op.origin == Origin::Internal || !names_nothing, "{}", verdict.explain());
    // What a cluster policy says holds in any mode.
    let guards = verdict.why.matched.iter().filter(|matched| matched.rule.cluster);
    let strictest = guards.map(|matched| matched.says).max().unwrap_or(Strictness::Allow);
    assert!(verdict.decision.strictness() >= strictest, "{}", verdict.explain());
    // A Deny that matches is the decision, unless all policies that select the subject are in Audit mode; then it is noted
    // where nobody is asked.
    let says_deny = verdict.why.matched.iter().any(|matched| matched.says == Strictness::Deny);
    if says_deny && !denied {
        let audit = input.policies.iter().any(|policy| policy.spec.mode == Mode::Audit);
        let asks = verdict.decision.strictness() == Strictness::RequireApproval;
        assert!(audit && (asks || verdict.would_deny.is_some()), "{}", verdict.explain());
    }
}

/// Laws 2 and 11.
fn any_order(input: &Input, op: &Operation, before: &Verdict, by: usize) {
    let (one, other) = (set(input), set(&shuffled(input, by)));
    assert_eq!(one.revision(), other.revision());
    assert_eq!(before, &verdict(&other, op));
    let again = set(&one.render());
    assert_eq!((&one, one.revision(), one.render()), (&again, again.revision(), again.render()));
    assert_eq!(before, &verdict(&again, op));
}

/// Laws 5, 6 and 10, and that a cluster policy never widens.
fn adding(input: &Input, op: &Operation, before: &Verdict, dice: &mut Dice<'_>) {
    let strict = before.decision.strictness();
    let deny = verdict(&set(&with_rule(input, dice.draw(rule_of(Action::Deny)))), op);
    assert!(deny.decision.strictness() >= strict, "{}\n{}", before.explain(), deny.explain());
    let allow = verdict(&set(&with_rule(input, dice.draw(rule_of(Action::Allow)))), op);
    match before.decision {
        Decision::Deny(DenyReason::NoRule(_)) | Decision::Allow => {}
        Decision::Deny(_) => assert_eq!(allow.decision.strictness(), Strictness::Deny, "{}", allow.explain()),
        Decision::RequireApproval(_) => {
            assert!(allow.decision.strictness() >= Strictness::RequireApproval, "{}", allow.explain());
        }
    }
    let mut guarded = input.clone();
    guarded.cluster.push(named("", "more".to_owned(), dice.draw(cluster(1))));
    let guarded = verdict(&set(&guarded), op);
    assert!(guarded.decision.strictness() >= strict, "{}\n{}", before.explain(), guarded.explain());
    for (what, after) in [("deny", &deny), ("allow", &allow), ("guard", &guarded)] {
        // Our own operations need no policy that selects the subject, and without one there is nothing to add to.
        let agents = op.origin == Origin::Agent;
        if agents && strict != Strictness::Deny && after.decision.strictness() != Strictness::Deny {
            assert!(before.obligations.masks.iter().all(|mask| after.obligations.masks.contains(mask)));
            let bound = |rows: u64| after.obligations.max_rows.is_some_and(|most| most <= rows);
            assert!(before.obligations.max_rows.is_none_or(bound));
            let recorded = |verdict: &Verdict| (verdict.obligations.level, verdict.obligations.durability);
            let ((level, durability), (most, longest)) = (recorded(before), recorded(after));
            assert!(most >= level && longest >= durability, "{what}: {before:?}\n{after:?}");
        }
    }
}

/// Law 9.
fn knowing_less(input: &Input, op: &Operation, before: &Verdict) {
    let set = set(input);
    let looser = |unknown: Operation| {
        let after = verdict(&set, &unknown);
        assert!(after.decision.strictness() >= before.decision.strictness(), "{unknown:?}\n{}", after.explain());
    };
    for attribute in op.attributes.keys() {
        let mut unknown = op.clone();
        unknown.attributes.remove(attribute);
        looser(unknown);
    }
    for at in 0..op.accesses.len() {
        let forget = |change: fn(&mut policy::operation::Access)| {
            let mut unknown = op.clone();
            unknown.accesses.get_mut(at).into_iter().for_each(change);
            looser(unknown);
        };
        forget(|access| access.bounded = None);
        forget(|access| access.resource.fields = Fields::All);
        forget(|access| access.resource.path.clear());
    }
}
