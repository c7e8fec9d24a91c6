//! Sets that are like another but for one thing, and what is decided by them.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use crds::policy::{AgentAccessPolicySpec, PostgresRule, PostgresRules};
use policy::operation::{Operation, ResourceKind, Verb};
use policy::verdict::Verdict;
use policy::{Input, PolicySet, compile, decide};

use super::{subject, target};

pub(crate) fn set(input: &Input) -> PolicySet {
    compile(input).unwrap_or_else(|errors| panic_with(&errors))
}

#[expect(clippy::panic, reason = "a generated policy that does not compile is a mistake of the generator")]
fn panic_with(errors: &[policy::CompileError]) -> ! {
    panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// Decided under the revision in force, as the gate does.
pub(crate) fn verdict(set: &PolicySet, op: &Operation) -> Verdict {
    let op = Operation { planned: set.revision(), ..op.clone() };
    decide(&set.view(&subject(), &target()), &op)
}

pub(crate) fn with_rule(input: &Input, rule: PostgresRule) -> Input {
    let mut input = input.clone();
    if let Some(rules) = input.policies.first_mut().and_then(|p| rules_of(&mut p.spec)) {
        rules.rules.push(PostgresRule { name: "added".to_owned(), ..rule });
    }
    input
}

pub(crate) fn rules_of(spec: &mut AgentAccessPolicySpec) -> Option<&mut PostgresRules> {
    spec.targets.first_mut().and_then(|t| t.postgres.as_mut())
}

pub(crate) fn shuffled(input: &Input, by: usize) -> Input {
    fn turn<T>(list: &mut [T], by: usize) {
        list.reverse();
        let len = list.len().max(1);
        list.rotate_left(by % len);
    }
    let mut input = input.clone();
    turn(&mut input.policies, by);
    turn(&mut input.cluster, by);
    for policy in &mut input.policies {
        turn(&mut policy.spec.approvals, by);
        if let Some(rules) = rules_of(&mut policy.spec) {
            turn(&mut rules.masks, by);
            turn(&mut rules.rules, by);
            for rule in &mut rules.rules {
                turn(&mut rule.verbs, by);
                turn(&mut rule.relations, by);
                turn(&mut rule.columns, by);
            }
        }
    }
    for policy in &mut input.cluster {
        turn(&mut policy.spec.rules, by);
        turn(&mut policy.spec.masks, by);
    }
    input
}

pub(crate) fn session_only(op: &Operation) -> bool {
    op.accesses.iter().all(|a| {
        matches!(
            (a.verb, a.resource.kind),
            (Verb::Connect, ResourceKind::Target)
                | (Verb::Read, ResourceKind::Catalog)
                | (Verb::Execute, ResourceKind::Transaction)
        )
    })
}
