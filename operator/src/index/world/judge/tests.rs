//! Tables: for each reason one object that is refused and one that is taken, and for each warning its cause.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::index::object::Kind::{ClusterPolicy, Policy, Target};
use crate::index::tests::{UID, fill, pod, secret, secret_for, target};
use crate::index::{Feed, SecretState};

fn world() -> World {
    let mut world = World::new(900);
    fill(&mut world);
    world
}

fn rules(count: usize) -> Value {
    let rule =
        |n| json!({"name": format!("r{n}"), "action": "Allow", "verbs": ["Select"], "relations": [format!("a.b{n}")]});
    (0..count).map(rule).collect()
}

fn policy(count: usize) -> Value {
    json!({"podSelector": {}, "targets": [{"targetRef": {"name": "db"}, "postgres": {"rules": rules(count)}}]})
}

fn guardrail(count: usize) -> Value {
    let rule = |n: usize| json!({"name": format!("r{n}"), "action": "Deny", "postgres": {"hosts": ["*"], "verbs": ["Do"]}, "message": n.to_string()});
    let rules: Value = (0..count).map(rule).collect();
    json!({"namespaceSelector": {}, "podSelector": {}, "rules": rules})
}

/// Almost as large as one object may be, and without a rule.
fn heavy() -> Value {
    let column = |n: usize, m: usize| format!("{n:060}.{m:060}.c");
    let columns = |n| (0..64).map(|m| column(n, m)).collect::<Vec<_>>();
    let masks: Value =
        (0..31).map(|n| json!({"name": format!("m{n}"), "columns": columns(n), "method": "Redact"})).collect();
    json!({"podSelector": {}, "targets": [{"targetRef": {"name": "db"}, "postgres": {"masks": masks}}]})
}

fn changed(mut spec: Value, at: &str, value: Value) -> Value {
    *spec.pointer_mut(at).unwrap() = value;
    spec
}

fn login(spec: &str) -> Value {
    json!({
        "protocol": "Postgres", "host": "db.example", "port": 5432, "credentialRef": {"name": spec},
        "postgres": {"databases": ["shop"]},
    })
}

fn paths(judged: &Judged) -> Vec<&str> {
    judged.wrong.iter().map(|wrong| wrong.path.as_str()).collect()
}

#[test]
fn what_a_sidecar_refuses_is_refused_with_field_and_remedy() {
    let rule = |value: Value| changed(policy(1), "/targets/0/postgres/rules/0", value);
    let twice = json!([{"targetRef": {"name": "db"}, "postgres": {}}, {"targetRef": {"name": "db"}, "postgres": {}}]);
    // What the schema and its CEL rules take stands first.
    let table = [
        (
            Policy,
            changed(policy(1), "/targets", twice),
            policy(1),
            "spec.targets[1].targetRef.name",
            "put the rules of both into one",
        ),
        (
            Policy,
            changed(policy(1), "/podSelector", json!({"matchLabels": {"a b": "c"}})),
            policy(1),
            "spec.podSelector.matchLabels.a b",
            "is not a label key",
        ),
        (
            ClusterPolicy,
            changed(guardrail(1), "/podSelector", json!({"matchLabels": {"/a": "c"}})),
            guardrail(1),
            "spec.podSelector.matchLabels./a",
            "is not a label key",
        ),
        (
            Policy,
            changed(heavy(), "/targets/0/postgres/masks/0/name", json!("y".repeat(300 * 1024))),
            heavy(),
            "spec",
            "divide it",
        ),
        (
            Policy,
            rule(json!({"name": "r", "action": "Allow", "verbs": ["DDL"]})),
            policy(1),
            "spec.targets[0].postgres.rules[0].verbs[0]",
            "use action RequireApproval",
        ),
        (
            Policy,
            rule(json!({"name": "r", "action": "Allow", "verbs": ["Select"], "bogus": 1})),
            policy(1),
            "spec.targets[0].postgres.rules[0].bogus",
            "unknown field",
        ),
        (
            ClusterPolicy,
            changed(guardrail(1), "/rules/0/action", json!("Allow")),
            guardrail(1),
            "spec.rules[0].action",
            "only tightens",
        ),
        (Target, changed(login("login"), "/port", json!(0)), login("login"), "spec.port", "give 1 to 65535"),
        (Target, Value::Null, login("login"), "spec", ""),
    ];
    for (kind, bad, good, path, remedy) in table {
        let namespace = if kind == ClusterPolicy { "" } else { "shop" };
        let judged = world().judge(kind, namespace, "new", &bad);
        let found = judged.wrong.iter().find(|wrong| wrong.path == path && wrong.text.contains(remedy));
        assert!(found.is_some(), "{path}: {:?}", judged.wrong);
        assert!(judged.odd.is_empty(), "{path}: {:?}", judged.odd);
        assert_eq!(world().judge(kind, namespace, "new", &good).wrong, [], "{path}");
        // By the same reading: what passes here stands against nobody later.
        assert!(Object::read(kind, namespace, "new", &bad).read.is_err(), "{path}");
        // Nor does it matter that the world is not known.
        assert!(!World::new(900).judge(kind, namespace, "new", &bad).wrong.is_empty(), "{path}");
    }
    assert_eq!(paths(&world().judge(Policy, "shop", "builtin", &policy(1))), ["metadata.name"]);
}

#[test]
fn everything_that_is_wrong_is_told() {
    let mut spec = policy(3);
    spec["targets"][0]["postgres"]["rules"][0]["verbs"] = json!(["DDL", "Copy"]);
    spec["targets"][0]["postgres"]["rules"][2]["limits"] = json!({"rows": 0});
    let judged = world().judge(Policy, "shop", "new", &spec);
    let rules = "spec.targets[0].postgres.rules";
    let expected = [format!("{rules}[0].verbs[0]"), format!("{rules}[0].verbs[1]"), format!("{rules}[2].limits.rows")];
    assert_eq!(paths(&judged), expected);
}

/// 960 rules in 15 policies, and the one of `fill`.
fn crowded() -> World {
    let mut world = world();
    for n in 0..15 {
        world.set_object(Policy, Object::read(Policy, "shop", &format!("p{n}"), &policy(64)));
    }
    world
}

#[test]
fn a_pod_is_told_no_more_rules_than_it_takes() {
    let world = crowded();
    assert_eq!(world.judge(Policy, "shop", "new", &policy(39)).wrong, []);
    let judged = world.judge(Policy, "shop", "new", &policy(45));
    assert_eq!(
        judged.wrong,
        [Wrong::new(
            "spec.targets",
            "pod `shop/agent-0` would be told 1006 rules, 6 more than the 1000 that it takes: \
             merge or remove some, or select fewer pods"
        )]
    );
    // An update counts once.
    assert_eq!(world.judge(Policy, "shop", "p3", &policy(64)).wrong, []);
    // Cluster policies are told to the pods of every namespace.
    assert_eq!(world.judge(ClusterPolicy, "", "new", &guardrail(39)).wrong, []);
    assert_eq!(paths(&world.judge(ClusterPolicy, "", "new", &guardrail(40))), ["spec.rules"]);
    // Whom it does not select it does not crowd, and another namespace is not this one.
    let elsewhere = changed(policy(45), "/podSelector", json!({"matchLabels": {"app": "other"}}));
    assert_eq!(world.judge(Policy, "shop", "new", &elsewhere).wrong, []);
    assert_eq!(world.judge(Policy, "bank", "new", &policy(45)).wrong, []);
    // Without a pod nobody is told anything.
    let mut empty = crowded();
    empty.remove_pod(UID);
    assert_eq!(empty.judge(Policy, "shop", "new", &policy(64)).wrong, []);
}

#[test]
fn what_makes_nothing_worse_passes() {
    let mut world = crowded();
    // Stored while nobody was asked.
    world.set_object(Policy, Object::read(Policy, "shop", "p15", &policy(64)));
    assert_eq!(world.judge(Policy, "shop", "p15", &policy(63)).wrong, []);
    assert_eq!(world.judge(Policy, "shop", "p15", &policy(64)).wrong, []);
    assert_eq!(
        paths(&world.judge(Policy, "shop", "p14", &changed(policy(64), "/targets/0/postgres/rules", rules(64)))),
        Vec::<&str>::new()
    );
    assert_eq!(paths(&world.judge(Policy, "shop", "new", &policy(1))), ["spec.targets"]);
    // What has no rule makes it no worse; the kill switch has none.
    let stop = json!({"namespaceSelector": {}, "podSelector": {}, "denyAll": true});
    assert_eq!(world.judge(ClusterPolicy, "", "stop", &stop).wrong, []);
    assert_eq!(world.judge(Target, "shop", "more", &login("login")).wrong, []);

    // Another object that no sidecar reads is nobody's fault but its own.
    let mut broken = self::world();
    for (kind, namespace) in [(Policy, "shop"), (ClusterPolicy, ""), (Target, "shop")] {
        broken.set_object(kind, Object::unread(namespace, "bad", "it is old"));
    }
    assert!(broken.snapshot(&control::PodName::new("shop", UID).unwrap()).is_err());
    for (kind, namespace, spec) in
        [(Policy, "shop", policy(2)), (ClusterPolicy, "", stop), (Target, "shop", login("login"))]
    {
        for name in ["new", "bad"] {
            assert_eq!(broken.judge(kind, namespace, name, &spec).wrong, [], "{kind:?} {name}");
        }
        assert!(!broken.judge(kind, namespace, "bad", &json!({})).wrong.is_empty(), "{kind:?}: it is still bad");
    }
}

#[test]
fn objects_and_bytes_have_their_limits() {
    let mut many = world();
    // With the policy and the target of `fill` one less than the limit.
    for n in 0..control::OBJECTS - 3 {
        many.set_object(Target, target("shop", &format!("t{n}"), "login"));
    }
    assert_eq!(many.judge(Target, "shop", "last", &login("login")).wrong, []);
    many.set_object(Target, target("shop", "last", "login"));
    let judged = many.judge(Target, "shop", "new", &login("login"));
    assert_eq!(paths(&judged), ["metadata.name"]);
    assert!(judged.wrong[0].text.contains("told 4097 objects, 1 more than the 4096"), "{judged:?}");
    assert_eq!(many.judge(Target, "shop", "last", &login("other")).wrong, []);

    let mut large = world();
    let size = heavy().to_string().len();
    assert!(size > 245 * 1024 && size < 255 * 1024, "{size}");
    for n in 0..control::MESSAGE_LIMIT / (256 * 1024) {
        large.set_object(Policy, Object::read(Policy, "shop", &format!("p{n}"), &heavy()));
    }
    let judged = large.judge(Policy, "shop", "new", &heavy());
    assert_eq!(paths(&judged), ["spec"]);
    assert!(judged.wrong[0].text.contains(" bytes of policies and targets, "), "{judged:?}");
    large.set_object(Policy, Object::read(Policy, "shop", "new", &heavy()));
    // So it is for the pod as well.
    assert!(large.snapshot(&control::PodName::new("shop", UID).unwrap()).is_err());
    assert_eq!(large.judge(Policy, "shop", "new", &policy(1)).wrong, []);
}

#[test]
fn a_world_that_is_not_whole_says_nothing_of_others() {
    for feed in Feed::ALL {
        let mut world = crowded();
        world.sync(feed, false);
        assert_eq!(world.judge(Policy, "shop", "new", &policy(64)), Judged::default(), "{feed:?}");
        let gone = changed(policy(1), "/targets/0/targetRef/name", json!("gone"));
        assert_eq!(world.judge(Policy, "shop", "new", &gone), Judged::default(), "{feed:?}");
        // Of the object itself it does.
        let audit = json!({"podSelector": {}, "mode": "Audit", "targets": gone["targets"]});
        assert_eq!(world.judge(Policy, "shop", "new", &audit).odd[0].path, "spec.mode", "{feed:?}");
    }
}

#[test]
fn a_store_that_is_not_there_is_a_warning() {
    let mut hard = policy(1);
    hard["recording"] = json!({"durability": "Replicated"});
    let mut everywhere = guardrail(1);
    everywhere["recording"] = json!({"durability": "Replicated"});
    for (kind, namespace, spec) in [(Policy, "shop", &hard), (ClusterPolicy, "", &everywhere)] {
        let judged = world().judge(kind, namespace, "new", spec);
        assert_eq!((judged.wrong, judged.odd.len()), (Vec::new(), 1));
        assert_eq!(judged.odd[0].path, "spec.recording.durability");
        assert!(judged.odd[0].text.contains("the operator has none: set `recordings.store`"), "{:?}", judged.odd[0]);
        // It is the operator's own, so that nothing has to be listed for it.
        assert_eq!(World::new(900).judge(kind, namespace, "new", spec).odd.len(), 1);
        assert_eq!(world().storing(true).judge(kind, namespace, "new", spec), Judged::default());
    }
}

#[test]
fn what_is_not_there_is_a_warning_and_never_an_error() {
    let odd = |world: &World, kind, spec: &Value| {
        let judged = world.judge(kind, if kind == ClusterPolicy { "" } else { "shop" }, "new", spec);
        assert_eq!(judged.wrong, [], "{spec}");
        judged.odd.into_iter().map(|odd| (odd.of_others, odd.path, odd.text)).collect::<Vec<_>>()
    };
    let told = |odd: &[(bool, String, String)], path: &str, text: &str| {
        odd.iter().any(|(of_others, at, said)| *of_others && at == path && said.contains(text))
    };
    let mut world = world();
    assert_eq!(odd(&world, Policy, &policy(1)), []);
    let gone = odd(&world, Policy, &changed(policy(1), "/targets/0/targetRef/name", json!("gone")));
    assert!(told(&gone, "spec.targets[0].targetRef.name", "there is no AccessTarget `gone` here"), "{gone:?}");
    // One that cannot be read is as good as none.
    world.set_object(Target, Object::unread("shop", "bad", "it is old"));
    let bad = odd(&world, Policy, &changed(policy(1), "/targets/0/targetRef/name", json!("bad")));
    assert!(told(&bad, "spec.targets[0].targetRef.name", "`bad`"), "{bad:?}");

    let other = json!({"matchLabels": {"app": "other"}});
    let nobody = odd(&world, Policy, &changed(policy(1), "/podSelector", other.clone()));
    assert!(told(&nobody, "spec.podSelector", "none of the governed pods of this namespace (1 now)"), "{nobody:?}");
    let nobody = odd(&world, ClusterPolicy, &changed(guardrail(1), "/namespaceSelector", other.clone()));
    assert!(told(&nobody, "spec", "none of the governed pods (1 now)"), "{nobody:?}");
    assert_eq!(
        odd(&world, ClusterPolicy, &changed(guardrail(1), "/podSelector", json!({"matchLabels": {"app": "x"}}))),
        []
    );
    let hosts =
        odd(&world, ClusterPolicy, &changed(guardrail(1), "/rules/0/postgres/hosts", json!(["db.example.org"])));
    assert!(told(&hosts, "spec.rules[0].postgres.hosts", "no AccessTarget has such a host"), "{hosts:?}");
    assert_eq!(odd(&world, ClusterPolicy, &changed(guardrail(1), "/rules/0/postgres/hosts", json!(["DB.*"]))), []);

    // Policies come before their pods.
    let mut early = self::world();
    early.remove_pod(UID);
    assert_eq!(odd(&early, Policy, &changed(policy(1), "/podSelector", other)), []);
    early.set_pod(pod(UID, "bank", "x"));
    assert_eq!(odd(&early, Policy, &policy(1)), []);

    // Secrets that are followed.
    assert_eq!(odd(&world, Target, &login("login")), []);
    assert_eq!(odd(&world, Target, &login("unheard-of")), []);
    let key = changed(login("login"), "/credentialRef", json!({"name": "login", "passwordKey": "secret"}));
    let key = odd(&world, Target, &key);
    assert!(told(&key, "spec.credentialRef.passwordKey", "the Secret `login` has no key `secret`"), "{key:?}");
    world.set_secret("shop", "login", SecretState::Missing);
    let missing = odd(&world, Target, &login("login"));
    assert!(told(&missing, "spec.credentialRef.name", "no Secret `login` here that the operator may read"));
    assert_eq!(missing.len(), 1, "said once");
    world.set_secret("shop", "login", secret("2", "hunter2"));
    assert_eq!(odd(&world, Target, &login("login")), []);

    // And whom their owners let use them.
    world.set_secret("shop", "login", secret_for("3", "hunter2", "DB.example"));
    assert_eq!(odd(&world, Target, &login("login")), []);
    for (annotation, text) in [
        ("db.example:5433", "the Secret `login` is not for db.example:5432"),
        ("*", "the Secret `login` is for no host: its annotation agentaccess.dev/hosts cannot be read"),
    ] {
        world.set_secret("shop", "login", secret_for("4", "hunter2", annotation));
        // Whom it is not for does not learn which keys it has.
        let keyless = changed(login("login"), "/credentialRef", json!({"name": "login", "passwordKey": "secret"}));
        for spec in [login("login"), keyless] {
            let refused = odd(&world, Target, &spec);
            assert!(told(&refused, "spec.credentialRef.name", text) && refused.len() == 1, "{refused:?}");
            let long = refused.iter().map(|(_, path, text)| path.len() + text.len() + 2).max();
            assert!(long <= Some(policy::compile::LONGEST_WARNING), "{refused:?}");
        }
    }
    world.set_secret("shop", "login", SecretState::Beyond);
    let beyond = odd(&world, Target, &login("login"));
    assert!(told(&beyond, "spec.credentialRef.name", "one too many"), "{beyond:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever is applied one after the other: who was asked about each change is always told his policies.
    #[test]
    fn what_was_taken_can_be_in_force(sizes in prop::collection::vec((0..12usize, 40..65usize, any::<bool>()), 0..30)) {
        let mut world = world();
        world.set_namespace("shop", BTreeMap::new());
        for (n, count, cluster) in sizes {
            let (kind, namespace, spec) = if cluster { (ClusterPolicy, "", guardrail(count)) } else { (Policy, "shop", policy(count)) };
            let name = format!("p{n}");
            if world.judge(kind, namespace, &name, &spec).wrong.is_empty() {
                world.set_object(kind, Object::read(kind, namespace, &name, &spec));
            }
            prop_assert!(world.snapshot(&control::PodName::new("shop", UID).unwrap()).is_ok());
        }
    }
}
