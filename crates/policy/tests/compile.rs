//! Each rule of `compile`: one object that is accepted, one that is refused, and where the error points.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use crds::duration::DurationText;
use policy::{CompileError, Input, Named, PolicySet, compile};
use serde::de::DeserializeOwned;
use serde_yaml::Value;

const TARGET: &str = "
protocol: Postgres
host: db.example.com
port: 5432
tls: {mode: VerifyFull, caSecretRef: {name: ca, key: ca.crt}}
credentialRef: {name: login}
postgres: {databases: [app, shop], searchPath: [public]}
";
const POLICY: &str = "
podSelector: {matchLabels: {app: bot}, matchExpressions: [{key: tier, operator: In, values: [a]}]}
serviceAccountNames: [bot]
approvals:
  - {name: change, requiredApprovals: 2, denyThreshold: 1, pendingTTL: 15m, holdFor: 20s, inTransaction: {maxHold: 30s, onTimeout: Rollback}}
targets:
  - targetRef: {name: db}
    postgres:
      rules:
        - {name: read, action: Allow, verbs: [Select], relations: [public.orders], columns: [public.orders.id], limits: {rows: 10}}
        - {name: fix, action: RequireApproval, approval: change, verbs: [Update, Call], requireWhere: true, functions: ['public.f(integer)']}
        - {name: 'no', action: Deny, verbs: [DDL, Copy, Grant, Set], message: never}
      masks:
        - {name: mail, columns: [public.users.email], method: Partial}
";
const CLUSTER: &str = "
namespaceSelector: {}
podSelector: {}
approvals: [{name: prod}]
rules:
  - {name: 'no', action: Deny, postgres: {hosts: ['*'], verbs: [DDL]}}
  - {name: ask, action: RequireApproval, approval: prod, postgres: {hosts: [db.example.com], verbs: [Update], requireWhere: true}}
masks:
  - {name: ssn, postgres: {columns: ['*.*.ssn']}, method: Redact}
";

#[derive(Clone, Copy)]
enum Kind {
    Target,
    Policy,
    Cluster,
}

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_yaml::from_value(value).unwrap()
}

/// The three objects above, one of them with the value at a dotted path replaced.
fn input(kind: Kind, path: &str, value: &str) -> Input {
    let mut texts = [TARGET, POLICY, CLUSTER].map(|text| serde_yaml::from_str::<Value>(text).unwrap());
    if !path.is_empty() {
        let mut at = texts.get_mut(kind as usize).unwrap();
        for step in path.split('.') {
            at = match step.parse::<usize>() {
                Ok(number) => at.as_sequence_mut().unwrap().get_mut(number).unwrap(),
                Err(_) => {
                    let map = at.as_mapping_mut().unwrap();
                    if !map.contains_key(step) {
                        map.insert(Value::from(step), Value::Null);
                    }
                    map.get_mut(step).unwrap()
                }
            };
        }
        *at = serde_yaml::from_str(value).unwrap();
    }
    let [target, policy, cluster] = texts;
    Input {
        targets: vec![named("agents", "db", read(target))],
        policies: vec![named("agents", "bot", read(policy))],
        cluster: vec![named("", "guard", read(cluster))],
    }
}

fn named<T>(namespace: &str, name: &str, spec: T) -> Named<T> {
    Named { namespace: namespace.to_owned(), name: name.to_owned(), spec }
}

fn paths(input: &Input) -> Vec<String> {
    compile(input).err().unwrap_or_default().into_iter().map(|e| e.path).collect()
}

#[test]
fn the_objects_of_this_table_are_accepted() {
    let set = compile(&input(Kind::Target, "", "")).unwrap();
    assert_eq!(set.warnings(), []);
    assert_eq!(set.targets().len(), 1);
}

/// Where, an accepted value, a refused one, and the field path of the error.
#[test]
fn each_rule_accepts_one_and_refuses_one() {
    let rule = |n: usize| format!("spec.targets[0].postgres.rules[{n}]");
    let many = |n: usize, one: &str| {
        format!("[{}]", (0..n).map(|i| one.replace('#', &i.to_string())).collect::<Vec<_>>().join(", "))
    };
    let long = "x".repeat(257);
    let (sixteen, seventeen) = (many(16, "{name: a#}"), many(17, "{name: a#}"));
    let (databases, too_many_databases) = (many(16, "d#"), many(17, "d#"));
    let (rows, too_many_rows) = (
        many(64, "{name: r#, action: Allow, verbs: [Select]}"),
        many(65, "{name: r#, action: Allow, verbs: [Select]}"),
    );
    let (relations, too_many_relations) = (many(64, "a.b#"), many(65, "a.b#"));
    let accounts = |n| many(n, "a#");
    let (few, too_many_accounts) = (accounts(32), accounts(33));
    let table: Vec<(Kind, &str, &str, &str, String)> = vec![
        (Kind::Target, "port", "1", "0", "spec.port".into()),
        (Kind::Target, "port", "65535", "65536", "spec.port".into()),
        (Kind::Target, "host", "10.0.0.1", "'*.example.com'", "spec.host".into()),
        (Kind::Target, "host", "'2001:db8::1'", "''", "spec.host".into()),
        (Kind::Target, "postgres", "{databases: [app]}", "null", "spec.postgres".into()),
        (Kind::Target, "postgres.databases", "[a]", "[]", "spec.postgres.databases".into()),
        (Kind::Target, "postgres.databases", "[a, b]", "[a, a]", "spec.postgres.databases[1]".into()),
        (Kind::Target, "postgres.databases", "[a]", "['a*']", "spec.postgres.databases[0]".into()),
        (Kind::Target, "postgres.databases", &databases, &too_many_databases, "spec.postgres.databases".into()),
        (Kind::Target, "postgres.searchPath", "[a]", "[]", "spec.postgres.searchPath".into()),
        (Kind::Target, "postgres.searchPath", "[a]", "[pg_temp_3]", "spec.postgres.searchPath[0]".into()),
        (
            Kind::Target,
            "tls",
            "{mode: Disabled}",
            "{mode: Disabled, caSecretRef: {name: a, key: b}}",
            "spec.tls.caSecretRef".into(),
        ),
        (Kind::Target, "tls.caSecretRef.key", "ca.crt", "a/b", "spec.tls.caSecretRef.key".into()),
        (Kind::Target, "credentialRef.name", "a.b", "A", "spec.credentialRef.name".into()),
        (Kind::Target, "credentialRef.usernameKey", "user", "''", "spec.credentialRef.usernameKey".into()),
        (Kind::Policy, "serviceAccountNames", "[a, b]", "[a, a]", "spec.serviceAccountNames[1]".into()),
        (Kind::Policy, "serviceAccountNames", "[a.b]", "['']", "spec.serviceAccountNames[0]".into()),
        (Kind::Policy, "serviceAccountNames", &few, &too_many_accounts, "spec.serviceAccountNames".into()),
        (
            Kind::Policy,
            "podSelector.matchLabels",
            "{a.b/c: x}",
            "{'a b': x}",
            "spec.podSelector.matchLabels.a b".into(),
        ),
        (Kind::Policy, "podSelector.matchLabels", "{a: ''}", "{a: 'x y'}", "spec.podSelector.matchLabels.a".into()),
        (
            Kind::Policy,
            "podSelector.matchExpressions.0.values",
            "[a]",
            "[]",
            "spec.podSelector.matchExpressions[0].values".into(),
        ),
        (
            Kind::Policy,
            "podSelector.matchExpressions.0",
            "{key: a, operator: Exists}",
            "{key: a, operator: Exists, values: [b]}",
            "spec.podSelector.matchExpressions[0].values".into(),
        ),
        (
            Kind::Policy,
            "podSelector.matchExpressions.0.key",
            "k",
            "''",
            "spec.podSelector.matchExpressions[0].key".into(),
        ),
        (Kind::Policy, "approvals.0.requiredApprovals", "5", "6", "spec.approvals[0].requiredApprovals".into()),
        (Kind::Policy, "approvals.0.requiredApprovals", "1", "0", "spec.approvals[0].requiredApprovals".into()),
        (Kind::Policy, "approvals.0.denyThreshold", "5", "-1", "spec.approvals[0].denyThreshold".into()),
        (Kind::Policy, "approvals.0.denyThreshold", "1", "6", "spec.approvals[0].denyThreshold".into()),
        (Kind::Policy, "approvals.0.holdFor", "15m", "901s", "spec.approvals[0].holdFor".into()),
        (Kind::Policy, "approvals.0.pendingTTL", "1d", "24h1s", "spec.approvals[0].pendingTTL".into()),
        (
            Kind::Policy,
            "approvals.0.inTransaction.maxHold",
            "1s",
            "31s",
            "spec.approvals[0].inTransaction.maxHold".into(),
        ),
        (
            Kind::Policy,
            "approvals",
            "[{name: change}, {name: b}]",
            "[{name: change}, {name: change}]",
            "spec.approvals[1].name".into(),
        ),
        (Kind::Policy, "approvals.0.scope", "Once", "Task", "spec.approvals[0].maxGrantDuration".into()),
        (
            Kind::Policy,
            "approvals.0.preview",
            "[Explain, Count, MaskedStatement]",
            "[Explain, Explain]",
            "spec.approvals[0].preview".into(),
        ),
        (Kind::Policy, "approvals.0.maxGrantDuration", "null", "30m", "spec.approvals[0].maxGrantDuration".into()),
        (
            Kind::Policy,
            "approvals.0",
            "{name: change, scope: Session, maxGrantDuration: 24h}",
            "{name: change, scope: Session, maxGrantDuration: 24h1s}",
            "spec.approvals[0].maxGrantDuration".into(),
        ),
        (Kind::Policy, "approvals.0.name", "change", "Change", "spec.approvals[0].name".into()),
        (Kind::Cluster, "approvals", "[{name: prod}]", &seventeen, "spec.approvals".into()),
        (Kind::Policy, "targets", "[{targetRef: {name: db}, postgres: {}}]", "[]", "spec.targets".into()),
        (
            Kind::Policy,
            "targets",
            "[{targetRef: {name: db}, postgres: {}}]",
            "[{targetRef: {name: db}}]",
            "spec.targets[0].postgres".into(),
        ),
        (
            Kind::Policy,
            "targets",
            "[{targetRef: {name: a}, postgres: {}}, {targetRef: {name: b}, postgres: {}}]",
            "[{targetRef: {name: a}, postgres: {}}, {targetRef: {name: a}, postgres: {}}]",
            "spec.targets[1].targetRef.name".into(),
        ),
        (Kind::Policy, "targets.0.targetRef.name", "other", "''", "spec.targets[0].targetRef.name".into()),
        (Kind::Policy, "targets.0.postgres.rules", &rows, &too_many_rows, "spec.targets[0].postgres.rules".into()),
        (Kind::Policy, "targets.0.postgres.rules.0.name", "a-1", "''", format!("{}.name", rule(0))),
        (Kind::Policy, "targets.0.postgres.rules.0.name", "a-1", "a_1", format!("{}.name", rule(0))),
        (Kind::Policy, "targets.0.postgres.rules.1.name", "other", "read", format!("{}.name", rule(1))),
        (Kind::Policy, "targets.0.postgres.rules.0.approval", "null", "change", format!("{}.approval", rule(0))),
        (Kind::Policy, "targets.0.postgres.rules.2.approval", "null", "change", format!("{}.approval", rule(2))),
        (Kind::Policy, "targets.0.postgres.rules.1.approval", "change", "null", format!("{}.approval", rule(1))),
        (Kind::Policy, "targets.0.postgres.rules.1.approval", "change", "chance", format!("{}.approval", rule(1))),
        (Kind::Policy, "targets.0.postgres.rules.0.verbs", "[Insert]", "[]", format!("{}.verbs", rule(0))),
        (
            Kind::Policy,
            "targets.0.postgres.rules.0.verbs",
            "[Insert, Select]",
            "[Select, Select]",
            format!("{}.verbs[1]", rule(0)),
        ),
        (
            Kind::Policy,
            "targets.0.postgres.rules.0.verbs",
            "[Insert]",
            "[Select, Copy]",
            format!("{}.verbs[1]", rule(0)),
        ),
        (Kind::Policy, "targets.0.postgres.rules.0.verbs", "[Insert]", "[Grant]", format!("{}.verbs[0]", rule(0))),
        (Kind::Policy, "targets.0.postgres.rules.0.verbs", "[Insert]", "[Set]", format!("{}.verbs[0]", rule(0))),
        (
            Kind::Policy,
            "targets.0.postgres.rules.1.verbs",
            "[Delete, Call]",
            "[Update, Call, Copy]",
            format!("{}.verbs[2]", rule(1)),
        ),
        (
            Kind::Policy,
            "targets.0.postgres.rules.1.verbs",
            "[Update, Call, DDL, Do, CopyFrom]",
            "[Update, Call, Grant]",
            format!("{}.verbs[2]", rule(1)),
        ),
        (Kind::Policy, "targets.0.postgres.rules.0.verbs", "[Delete]", "[CopyFrom]", format!("{}.verbs[0]", rule(0))),
        (Kind::Policy, "targets.0.postgres.rules.0.verbs", "[Delete]", "[Call]", format!("{}.verbs[0]", rule(0))),
        (Kind::Policy, "targets.0.postgres.rules.0.verbs", "[Delete]", "[Do]", format!("{}.verbs[0]", rule(0))),
        (Kind::Policy, "targets.0.postgres.rules.0.verbs", "[Delete]", "[DDL]", format!("{}.verbs[0]", rule(0))),
        (
            Kind::Policy,
            "targets.0.postgres.rules.1.verbs",
            "[Update, Call]",
            "[Update]",
            format!("{}.functions", rule(1)),
        ),
        (
            Kind::Policy,
            "targets.0.postgres.rules.1.verbs",
            "[Call, Delete]",
            "[Call]",
            format!("{}.requireWhere", rule(1)),
        ),
        (
            Kind::Policy,
            "targets.0.postgres.rules.2",
            "{name: x, action: Deny, verbs: [Update]}",
            "{name: x, action: Deny, verbs: [Update], requireWhere: true}",
            format!("{}.requireWhere", rule(2)),
        ),
        (Kind::Policy, "targets.0.postgres.rules.0.limits.rows", "1", "0", format!("{}.limits.rows", rule(0))),
        (Kind::Policy, "targets.0.postgres.rules.0.relations", "['*.*']", "['*']", format!("{}.relations[0]", rule(0))),
        (Kind::Policy, "targets.0.postgres.rules.0.relations", "[a.b]", "[a.b.c]", format!("{}.relations[0]", rule(0))),
        (
            Kind::Policy,
            "targets.0.postgres.rules.0.relations",
            "[a.b]",
            "[a.b, .b]",
            format!("{}.relations[1]", rule(0)),
        ),
        (
            Kind::Policy,
            "targets.0.postgres.rules.0.relations",
            "[a.b]",
            "[\"a.b\\n\"]",
            format!("{}.relations[0]", rule(0)),
        ),
        (
            Kind::Policy,
            "targets.0.postgres.rules.0.relations",
            "[a.b, a.c]",
            "[a.b, a.b]",
            format!("{}.relations[1]", rule(0)),
        ),
        (
            Kind::Policy,
            "targets.0.postgres.rules.0.relations",
            &relations,
            &too_many_relations,
            format!("{}.relations", rule(0)),
        ),
        (Kind::Policy, "targets.0.postgres.rules.0.columns", "['*.*.id']", "[id]", format!("{}.columns[0]", rule(0))),
        (
            Kind::Policy,
            "targets.0.postgres.rules.1.functions",
            "['a.f()', 'a.g*', 'a.h(*)', 'a.i(b.c, text)']",
            "[a.f]",
            format!("{}.functions[0]", rule(1)),
        ),
        (
            Kind::Policy,
            "targets.0.postgres.rules.1.functions",
            "['a.f()']",
            "['f()']",
            format!("{}.functions[0]", rule(1)),
        ),
        (
            Kind::Policy,
            "targets.0.postgres.rules.1.functions",
            "['a.f()']",
            "['a.f(()']",
            format!("{}.functions[0]", rule(1)),
        ),
        (Kind::Policy, "targets.0.postgres.rules.0.message", "short", &long, format!("{}.message", rule(0))),
        (
            Kind::Policy,
            "targets.0.postgres.masks.0.columns",
            "['*.*.*']",
            "[users.email]",
            "spec.targets[0].postgres.masks[0].columns[0]".into(),
        ),
        (
            Kind::Policy,
            "targets.0.postgres.masks.0.columns",
            "[a.b.c]",
            "[a.b.c.d]",
            "spec.targets[0].postgres.masks[0].columns[0]".into(),
        ),
        (
            Kind::Policy,
            "targets.0.postgres.masks.0.columns",
            "[a.b.c]",
            "[]",
            "spec.targets[0].postgres.masks[0].columns".into(),
        ),
        (Kind::Policy, "targets.0.postgres.masks.0.name", "m", "M", "spec.targets[0].postgres.masks[0].name".into()),
        (
            Kind::Policy,
            "targets.0.postgres.masks",
            "[{name: a, columns: [a.b.c], method: Redact}, {name: b, columns: [a.b.c], method: Redact}]",
            "[{name: a, columns: [a.b.c], method: Redact}, {name: a, columns: [a.b.d], method: Redact}]",
            "spec.targets[0].postgres.masks[1].name".into(),
        ),
        (Kind::Cluster, "rules.0.action", "Deny", "Allow", "spec.rules[0].action".into()),
        (
            Kind::Cluster,
            "rules.0",
            "{name: a, action: Deny, postgres: {hosts: [a], verbs: [Do]}}",
            "{name: a, action: Deny}",
            "spec.rules[0].postgres".into(),
        ),
        (Kind::Cluster, "rules.0.postgres.hosts", "['*.a']", "[]", "spec.rules[0].postgres.hosts".into()),
        (Kind::Cluster, "rules.0.postgres.hosts", "['*.a']", "['a b']", "spec.rules[0].postgres.hosts[0]".into()),
        (Kind::Cluster, "rules.0.postgres.verbs", "[Copy]", "[]", "spec.rules[0].postgres.verbs".into()),
        (
            Kind::Cluster,
            "rules.1.postgres.verbs",
            "[Delete]",
            "[Update, Set]",
            "spec.rules[1].postgres.verbs[1]".into(),
        ),
        (Kind::Cluster, "rules.1.approval", "prod", "null", "spec.rules[1].approval".into()),
        (Kind::Cluster, "rules.1.approval", "prod", "other", "spec.rules[1].approval".into()),
        (Kind::Cluster, "rules.0.approval", "null", "prod", "spec.rules[0].approval".into()),
        (Kind::Cluster, "rules.1.postgres.verbs", "[Update]", "[Insert]", "spec.rules[1].postgres.requireWhere".into()),
        (Kind::Cluster, "rules.0.postgres.requireWhere", "false", "true", "spec.rules[0].postgres.requireWhere".into()),
        (Kind::Cluster, "rules.0.postgres.functions", "[]", "['a.f()']", "spec.rules[0].postgres.functions".into()),
        (Kind::Cluster, "rules.0.postgres.relations", "[a.b]", "[a]", "spec.rules[0].postgres.relations[0]".into()),
        (Kind::Cluster, "rules.1.name", "x", "'no'", "spec.rules[1].name".into()),
        (Kind::Cluster, "masks.0.postgres.columns", "[a.b.c]", "[c]", "spec.masks[0].postgres.columns[0]".into()),
    ];
    assert_eq!(paths(&input(Kind::Cluster, "approvals", &sixteen)), ["spec.rules[1].approval"]);
    for (kind, at, good, bad, path) in table {
        assert_eq!(paths(&input(kind, at, good)), Vec::<String>::new(), "{at}: {good}");
        let found = paths(&input(kind, at, bad));
        assert!(found.contains(&path), "{at}: {bad}: {path} is not among {found:?}");
    }
}

fn rejected(input: &Input) -> Vec<CompileError> {
    compile(input).unwrap_err()
}

#[test]
fn names_of_objects() {
    let base = || input(Kind::Target, "", "");
    let mut twice = base();
    twice.policies.extend(base().policies);
    twice.targets.extend(base().targets);
    twice.cluster.extend(base().cluster);
    assert_eq!(rejected(&twice).iter().filter(|e| e.path == "metadata.name").count(), 3);
    for name in ["builtin", "", "A", "a_b", "-a"] {
        let mut bad = base();
        bad.policies[0].name = name.to_owned();
        assert_eq!(paths(&bad), ["metadata.name"], "{name}");
        let mut bad = base();
        bad.cluster[0].name = name.to_owned();
        assert_eq!(paths(&bad), ["metadata.name"], "{name}");
    }
    // The same name in another namespace is another object.
    let mut two = base();
    let mut other = base().policies.remove(0);
    other.namespace = "batch".to_owned();
    two.policies.push(other);
    assert!(compile(&two).is_ok());
}

#[test]
fn a_length_of_time_that_was_never_parsed_is_an_error() {
    let mut bad = input(Kind::Target, "", "");
    bad.policies[0].spec.approvals[0].hold_for = DurationText("soon".to_owned());
    let errors = rejected(&bad);
    assert_eq!(errors[0].path, "spec.approvals[0].holdFor");
    assert!(
        errors[0].to_string().starts_with("AgentAccessPolicy agents/bot: spec.approvals[0].holdFor: `soon` is not")
    );
}

#[test]
fn all_errors_of_all_objects_are_told_at_once() {
    let mut bad = input(Kind::Policy, "targets.0.postgres.rules.0.limits.rows", "0");
    bad.targets[0].spec.port = 0;
    bad.cluster[0].spec.rules[0].name = "X".to_owned();
    let found: Vec<_> = rejected(&bad).into_iter().map(|e| format!("{} {}", e.object, e.path)).collect();
    assert_eq!(
        found,
        [
            "AccessTarget agents/db spec.port",
            "AgentAccessPolicy agents/bot spec.targets[0].postgres.rules[0].limits.rows",
            "ClusterAgentAccessPolicy guard spec.rules[0].name"
        ]
    );
}

#[test]
fn at_most_1000_rules_in_all() {
    let rows = (0..50).map(|n| format!("{{name: r{n}, action: Deny, verbs: [Do]}}")).collect::<Vec<_>>().join(", ");
    let with = |policies: usize| {
        let mut many = input(Kind::Policy, "targets.0.postgres.rules", &format!("[{rows}]"));
        many.cluster.clear();
        let spec = many.policies[0].spec.clone();
        many.policies = (0..policies).map(|n| named("agents", &format!("p{n}"), spec.clone())).collect();
        many
    };
    assert!(compile(&with(20)).is_ok());
    assert_eq!(with(20).rules(), 1_000);
    assert_eq!(rejected(&with(21))[0].path, "rules");
    assert_eq!(input(Kind::Policy, "", "").rules(), 5);
}

fn warnings(set: &PolicySet) -> Vec<(&str, &str)> {
    set.warnings().iter().map(|w| (w.path.as_str(), w.text.as_str())).collect()
}

#[test]
fn what_is_legal_but_odd_is_a_warning() {
    let with = |at: &str, value: &str| compile(&input(Kind::Policy, at, value)).unwrap();
    let rules = "targets.0.postgres.rules";
    let rule = |text: &str| {
        format!("[{{name: wide, action: Allow, verbs: [Select, Insert], relations: ['public.*']}}, {text}]")
    };
    let shadowed = |text: &str| {
        let set = with(rules, &rule(text));
        warnings(&set).iter().any(|(path, _)| *path == "spec.targets[0].postgres.rules[1]")
    };
    assert!(shadowed("{name: a, action: Allow, verbs: [Select], relations: [public.a]}"));
    assert!(shadowed("{name: a, action: Allow, verbs: [Select], relations: ['public.a*'], columns: [public.a.id]}"));
    assert!(shadowed("{name: z, action: Allow, verbs: [Select, Insert], relations: ['public.*']}"));
    assert!(!shadowed("{name: a, action: Allow, verbs: [Select]}"));
    assert!(!shadowed("{name: a, action: Allow, verbs: [Update], relations: [public.a]}"));
    assert!(!shadowed("{name: a, action: Allow, verbs: [Select], relations: ['pub*.a']}"));
    // Limits, approvals and denials have an effect whatever else allows.
    assert!(!shadowed("{name: a, action: Allow, verbs: [Select], relations: [public.a], limits: {rows: 1}}"));
    assert!(!shadowed("{name: a, action: RequireApproval, approval: change, verbs: [Select], relations: [public.a]}"));
    assert!(!shadowed("{name: a, action: Deny, verbs: [Select], relations: [public.a]}"));

    let denied = with(rules, "[{name: a, action: Allow, verbs: [Select]}, {name: b, action: Deny, verbs: [Select]}]");
    assert!(warnings(&denied).iter().any(|(path, _)| *path == "spec.targets[0].postgres.rules[0]"));
    let set = with("targets.0.targetRef.name", "gone");
    assert_eq!(
        warnings(&set).iter().map(|(path, _)| *path).collect::<Vec<_>>(),
        ["spec.targets", "spec.targets[0].targetRef.name"]
    );
    let set = with("podSelector", "{matchLabels: {a: x}, matchExpressions: [{key: a, operator: NotIn, values: [x]}]}");
    assert_eq!(warnings(&set)[0].0, "spec.podSelector");
    let set = with("podSelector", "{matchExpressions: [{key: a, operator: Exists}, {key: a, operator: DoesNotExist}]}");
    let first = &set.warnings()[0];
    assert_eq!(first.path, "spec.podSelector");
    assert_eq!(first.to_string(), format!("{}: spec.podSelector: {}", first.object, first.text));
    let set = with(rules, "[{name: a, action: Allow, verbs: [Select, Listen], relations: [public.a]}]");
    assert!(warnings(&set).iter().any(|(path, _)| *path == "spec.targets[0].postgres.rules[0].verbs[1]"));
    assert!(warnings(&set).iter().any(|(path, _)| *path == "spec.approvals[0].name"));
}

/// Where, a value that gives cause to a warning, one that does not, and the path of the warning.
#[test]
fn each_warning_has_a_cause_a_place_and_few_words() {
    let rule = |relations: &str| format!("[{{name: a, action: Allow, verbs: [Select, Update], {relations}}}]");
    let [nowhere, everywhere, named, star, narrow] =
        ["message: m", "relations: ['*.**']", "relations: [a.b]", "relations: ['public.*']", "columns: ['a.b.c']"]
            .map(rule);
    let reads = "[{name: a, action: Allow, verbs: [Select]}]";
    let asks = "[{name: a, action: RequireApproval, approval: change, verbs: [Update]}]";
    let contradiction = "{matchLabels: {a: x}, matchExpressions: [{key: a, operator: DoesNotExist}]}";
    let (rules, relations) = ("targets.0.postgres.rules", "spec.targets[0].postgres.rules[0].relations");
    let quoted = "spec.targets[0].postgres.masks[0].columns[0]";
    let table: [(Kind, &str, &str, &str, &str); 13] = [
        (Kind::Policy, rules, &nowhere, &named, relations),
        (Kind::Policy, rules, &everywhere, &star, relations),
        (Kind::Policy, rules, &nowhere, &narrow, relations),
        (Kind::Policy, rules, &nowhere, reads, relations),
        (Kind::Policy, rules, &nowhere, asks, relations),
        (Kind::Policy, "mode", "Audit", "Enforce", "spec.mode"),
        (
            Kind::Policy,
            "targets.0.postgres",
            "{}",
            "{masks: [{name: m, columns: [a.b.c], method: Redact}]}",
            "spec.targets[0].postgres",
        ),
        (Kind::Policy, "targets.0.targetRef.name", "gone", "db", "spec.targets[0].targetRef.name"),
        (Kind::Policy, "podSelector", contradiction, "{}", "spec.podSelector"),
        (Kind::Policy, "targets.0.postgres.masks.0.columns", "['a.\"b\".c']", "['a.b.c']", quoted),
        (Kind::Cluster, "namespaceSelector", contradiction, "{}", "spec.namespaceSelector"),
        (Kind::Cluster, "rules.1.postgres.hosts", "[db.example.org]", "['*.com']", "spec.rules[1].postgres.hosts"),
        (
            Kind::Cluster,
            "rules.1.postgres.hosts",
            "[db]",
            "[nothing.yet, DB.example.com]",
            "spec.rules[1].postgres.hosts",
        ),
    ];
    for (kind, at, odd, good, path) in table {
        let of = |value: &str| compile(&input(kind, at, value)).unwrap().warnings().to_vec();
        let found = of(odd);
        let one = found.iter().find(|warning| warning.path == path).unwrap_or_else(|| panic!("{odd}: {found:?}"));
        // Others than these objects' own are told apart.
        assert_eq!(one.of_others, path.contains("targetRef") || path.contains("hosts"), "{one}");
        for warning in found {
            // With as many rules as there may be, too.
            let place = warning.path.replace("targets[0]", "targets[15]").replace("rules[0]", "rules[63]");
            let length = place.chars().count() + 2 + warning.text.chars().count();
            assert!(length <= policy::compile::LONGEST_WARNING, "{length}: {warning}");
        }
        assert!(!of(good).iter().any(|warning| warning.path == path), "{good}: {:?}", of(good));
    }
    // Where no target is known nothing is said of hosts.
    let mut alone = input(Kind::Cluster, "rules.1.postgres.hosts", "[db.example.org]");
    alone.targets.clear();
    alone.policies.clear();
    assert_eq!(warnings(&compile(&alone).unwrap()), []);
}

#[test]
fn the_revision_is_of_the_content_and_not_of_its_form() {
    let revision = |at: &str, value: &str| compile(&input(Kind::Policy, at, value)).unwrap().revision();
    let base = revision("", "");
    assert_eq!(base, revision("approvals.0.pendingTTL", "900s"));
    assert_eq!(base, revision("targets.0.postgres.rules.2.verbs", "[Set, Grant, Copy, DDL]"));
    assert_ne!(base, revision("approvals.0.pendingTTL", "901s"));
    assert_ne!(base, revision("mode", "Audit"));
    assert_ne!(base, revision("targets.0.postgres.rules.2.message", "other"));
    assert_ne!(base, compile(&input(Kind::Target, "host", "other")).unwrap().revision());
    assert_ne!(base, compile(&input(Kind::Cluster, "denyAll", "true")).unwrap().revision());
    assert!(base.to_string().starts_with("sha256:"));
}
