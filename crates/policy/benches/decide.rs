//! What one decision costs, by how many rules there are about other relations.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::collections::BTreeMap;
use std::hint::black_box;

use crds::policy::AgentAccessPolicySpec;
use crds::target::AccessTargetSpec;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use policy::operation::{
    Access, Certainty, Digest, Fields, Operation, Origin, PayloadHash, Protocol, Resource, ResourceKind, Strictness,
    Verb,
};
use policy::redact::Redacted;
use policy::subject::Subject;
use policy::{Input, Named, TargetKey, View, compile, decide};

const RULES: [usize; 4] = [10, 100, 1_000, 10_000];
/// Rules of one policy.
const PART: usize = 100;
const TARGET: &str =
    "{protocol: Postgres, host: db.example, port: 5432, postgres: {databases: [app]}, credentialRef: {name: db}}";

fn named<T>(name: String, spec: T) -> Named<T> {
    Named { namespace: "agents".to_owned(), name, spec }
}

/// Each table has a rule of its own.
fn view(rules: usize) -> View {
    let part = |first: usize| {
        let rules: String = (first..first + PART.min(rules))
            .map(|n| format!("{{name: r{n}, action: Allow, verbs: [Select], relations: [public.t{n}]}}, "))
            .collect();
        let spec =
            format!("{{podSelector: {{}}, targets: [{{targetRef: {{name: db}}, postgres: {{rules: [{rules}]}}}}]}}");
        named(format!("p{first}"), serde_yaml::from_str::<AgentAccessPolicySpec>(&spec).unwrap())
    };
    let targets = vec![named("db".to_owned(), serde_yaml::from_str::<AccessTargetSpec>(TARGET).unwrap())];
    let input = Input { targets, policies: (0..rules).step_by(PART).map(part).collect(), cluster: Vec::new() };
    let subject = Subject {
        namespace: "agents".to_owned(),
        service_account: "bot".to_owned(),
        labels: BTreeMap::new(),
        namespace_labels: BTreeMap::new(),
        pod: None,
        pod_uid: None,
    };
    let target = TargetKey { namespace: "agents".to_owned(), name: "db".to_owned() };
    compile(&input).unwrap().view(&subject, &target)
}

/// A join of the first table and the last.
fn operation(view: &View, rules: usize) -> Operation {
    let access = |n: usize| Access {
        verb: Verb::Read,
        resource: Resource {
            kind: ResourceKind::Relation,
            path: vec!["public".to_owned(), format!("t{n}")],
            fields: Fields::Named(["id".to_owned(), "note".to_owned()].into()),
        },
        bounded: None,
        indirect: false,
    };
    Operation {
        protocol: Protocol::Postgres,
        action: "SELECT".to_owned(),
        accesses: vec![access(0), access(rules - 1)],
        attributes: BTreeMap::new(),
        certainty: Certainty::Exact,
        payload: PayloadHash([0; 32]),
        digest: Digest([0; 32]),
        ceiling: Strictness::Allow,
        origin: Origin::Agent,
        planned: view.revision(),
        display: Redacted::danger_caller_redacted("SELECT"),
    }
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    for rules in RULES {
        let view = view(rules);
        let op = operation(&view, rules);
        assert_eq!(decide(&view, &op).decision, policy::verdict::Decision::Allow);
        group.bench_with_input(BenchmarkId::new("rules", rules), &op, |bench, op| {
            bench.iter(|| decide(&view, black_box(op)));
        });
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
