use std::collections::BTreeMap;

use crds::manifest::SecretBytes;
use serde_json::json;

use super::*;
use crate::index::tests::{guardrail, policy, secret, target};
use crate::index::{Hosts, Present};
use crate::status::tests::{crowded, key, marks, message, uid, wanted, words, world};

const FINE: &str = "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs Programmed=True/Programmed";

#[test]
fn a_policy_that_all_its_pods_have_in_force_is_fine() {
    let world = crowded(5);
    let all = wanted(&world, &marks(&world, 5), &key(Kind::Policy, "shop", "p"));
    assert_eq!(words(&all), FINE);
    assert_eq!(message(&all, PROGRAMMED), "5 of 5 pods have it in force");
    let pods = all.pods.unwrap();
    assert_eq!((pods.matched, pods.synced, pods.rules), (5, 5, vec!["r".to_owned()]));
    assert_eq!(pods.revision, Some(world.object(&key(Kind::Policy, "shop", "p")).unwrap().revision.clone()));
    let some = wanted(&world, &marks(&world, 3), &key(Kind::Policy, "shop", "p"));
    assert_eq!(words(&some), FINE.replace("Programmed=True/Programmed", "Programmed=False/Waiting"));
    assert_eq!(message(&some, PROGRAMMED), "3 of 5 pods have it in force");
    assert_eq!(some.pods.map(|pods| (pods.matched, pods.synced)), Some((5, 3)));
    assert_eq!(
        words(&wanted(&world, &[], &key(Kind::Target, "shop", "db"))),
        "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs"
    );
}

/// What was acknowledged of another content, or by another pod, says nothing of this one.
#[test]
fn a_word_about_what_counted_before_does_not_count() {
    let mut world = crowded(2);
    let before = marks(&world, 2);
    world.set_object(Kind::Policy, policy("shop", "p", "public.items"));
    let policy = key(Kind::Policy, "shop", "p");
    assert_eq!(wanted(&world, &before, &policy).pods.unwrap().synced, 0);
    let one = marks(&world, 1);
    assert_eq!(wanted(&world, &[one[0], one[0]], &policy).pods.unwrap().synced, 1);
    world.remove_pod(&uid(1));
    assert_eq!(words(&wanted(&world, &one, &policy)), FINE);
}

#[test]
fn a_policy_without_pods_waits_for_nobody() {
    let mut world = world();
    world.set_object(Kind::Policy, policy("bank", "p", "public.vault"));
    let found = wanted(&world, &[], &key(Kind::Policy, "bank", "p"));
    assert!(words(&found).ends_with("Programmed=True/NoPods"), "{}", words(&found));
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    type Change = fn(&mut World) -> bool;
    let nameless = json!({"protocol": "Postgres", "host": "a b", "port": 5432, "credentialRef": {"name": "login"},
        "postgres": {"databases": ["shop"]}});
    let nameless = Object::read(Kind::Target, "shop", "db", &nameless);
    let without_password: Change = |world| {
        let data = [("username".to_owned(), SecretBytes::new(b"u".to_vec()))].into();
        world.set_secret(
            "shop",
            "login",
            SecretState::Present(Present { version: "2".to_owned(), data, hosts: Hosts::Any }),
        )
    };
    type Row = (&'static str, Box<dyn Fn(&mut World) -> bool>, &'static str, &'static [&'static str]);
    let rows: [Row; 4] = [
        (
            "no target",
            Box::new(|world| world.remove_object(Kind::Target, "shop", "db")),
            "TargetNotFound",
            &["spec.targets[0].targetRef.name", "AccessTarget `db`", "make it"],
        ),
        (
            "a target that is none",
            Box::new(move |world| world.set_object(Kind::Target, nameless.clone())),
            "TargetNotAccepted",
            &["spec.targets[0].targetRef.name: AccessTarget `db` cannot be used", "spec.host"],
        ),
        (
            "no Secret",
            Box::new(|world| world.set_secret("shop", "login", SecretState::Missing)),
            "SecretNotFound",
            &["AccessTarget `db`: spec.credentialRef.name: Secret `login`", "rbac.credentials"],
        ),
        (
            "no key",
            Box::new(without_password),
            "SecretKeyNotFound",
            &["spec.credentialRef.passwordKey: Secret `login` has no key `password`: add it"],
        ),
    ];
    for (what, change, reason, texts) in rows {
        let mut world = world();
        assert!(change(&mut world), "{what}");
        let found = wanted(&world, &marks(&world, 1), &key(Kind::Policy, "shop", "p"));
        assert!(words(&found).contains(&format!("Accepted=True/Accepted ResolvedRefs=False/{reason}")), "{what}");
        assert!(words(&found).ends_with("Programmed=True/Programmed") && !found.unsure, "{what}: {}", words(&found));
        let message = message(&found, RESOLVED_REFS);
        assert!(texts.iter().all(|text| message.contains(text)), "{what}: {message}");
    }
    // More than are followed.
    let mut world = crate::status::tests::world();
    world.set_secret("shop", "login", SecretState::Beyond);
    let target = wanted(&world, &[], &key(Kind::Target, "shop", "db"));
    assert_eq!(words(&target), "Accepted=True/Accepted ResolvedRefs=False/TooManySecrets");
    let text = message(&target, RESOLVED_REFS);
    assert!(text.contains("spec.credentialRef.name: Secret `login` is not read") && text.contains("256"), "{text}");
    // A Secret that is missing is missed once, whatever number of its keys is named.
    world.set_secret("shop", "login", SecretState::Missing);
    let target = wanted(&world, &[], &key(Kind::Target, "shop", "db"));
    assert_eq!(words(&target), "Accepted=True/Accepted ResolvedRefs=False/SecretNotFound");
    assert_eq!(message(&target, RESOLVED_REFS).matches("Secret `login`").count(), 1);
}

#[test]
fn a_policy_that_wants_a_store_says_that_there_is_none() {
    let spec = |durability: &str| {
        json!({"podSelector": {}, "recording": {"durability": durability}, "targets": [{"targetRef": {"name": "db"},
            "postgres": {"rules": [{"name": "r", "action": "Allow", "verbs": ["Select"], "relations": ["public.orders"]}]}}]})
    };
    let cluster =
        |durability: &str| json!({"namespaceSelector": {}, "podSelector": {}, "recording": {"durability": durability}});
    for (durability, stores, fine) in
        [("Written", false, true), ("Synced", false, true), ("Replicated", false, false), ("Replicated", true, true)]
    {
        let mut world = world().storing(stores);
        world.set_object(Kind::Policy, Object::read(Kind::Policy, "shop", "p", &spec(durability)));
        let everywhere = Object::read(Kind::ClusterPolicy, "", "all", &cluster(durability));
        assert_eq!(everywhere.read.as_ref().err(), None);
        world.set_object(Kind::ClusterPolicy, everywhere);
        for key in [key(Kind::Policy, "shop", "p"), key(Kind::ClusterPolicy, "", "all")] {
            let found = wanted(&world, &marks(&world, 1), &key);
            if fine {
                assert_eq!(words(&found), FINE, "{durability} {stores}");
                continue;
            }
            assert!(words(&found).contains("Accepted=True/Accepted ResolvedRefs=False/NoRecordingStore"));
            let text = message(&found, RESOLVED_REFS);
            assert!(text.contains("spec.recording.durability: ") && text.contains("`recordings.store`"), "{text}");
        }
    }
}

#[test]
fn a_secret_for_another_host_is_named_with_what_its_owner_types() {
    let there = "$(kubectl get secret login -n shop -o jsonpath='{.metadata.annotations.agentaccess\\.dev/hosts}')";
    let added =
        format!("kubectl annotate secret login -n shop --overwrite \"agentaccess.dev/hosts={there},db.example:5432\"");
    let only = "kubectl annotate secret login -n shop --overwrite 'agentaccess.dev/hosts=db.example:5432'";
    let rows: [(Hosts, &str, &[&str]); 4] = [
        (
            Hosts::of(Some("hidden.example"), false),
            "SecretNotForHost",
            &["Secret `login` is not for db.example:5432, and so not for this target", &added],
        ),
        (Hosts::of(Some(""), false), "SecretNotForHost", &["is not for db.example:5432", only]),
        (
            Hosts::of(None, true),
            "SecretNotForHost",
            &[
                "does not say that it is for",
                "kubectl annotate secret login -n shop 'agentaccess.dev/hosts=db.example:5432'",
            ],
        ),
        (
            Hosts::of(Some("hidden.example, *"), false),
            "SecretHostsInvalid",
            &["agentaccess.dev/hosts on it cannot be read, its entry 2 has a wildcard: name each host", only],
        ),
    ];
    for (hosts, reason, texts) in rows {
        let mut world = world();
        // Whether it has the keys is told to nobody whom it is not for.
        for data in [BTreeMap::new(), [("password".to_owned(), SecretBytes::new(b"hunter2".to_vec()))].into()] {
            let present = Present { version: "2".to_owned(), data, hosts: hosts.clone() };
            world.set_secret("shop", "login", SecretState::Present(present));
            let target = wanted(&world, &[], &key(Kind::Target, "shop", "db"));
            assert_eq!(words(&target), format!("Accepted=True/Accepted ResolvedRefs=False/{reason}"));
            let text = message(&target, RESOLVED_REFS);
            assert!(
                text.starts_with("spec.credentialRef.name: ") && text.matches("Secret `login`").count() == 1,
                "{text}"
            );
            assert!(texts.iter().all(|part| text.contains(part)), "{text}");
            assert!(!text.contains("hidden") && !text.contains("hunter2") && text.len() < 500, "{text}");
        }
        let policy = wanted(&world, &marks(&world, 1), &key(Kind::Policy, "shop", "p"));
        assert!(words(&policy).contains(&format!("ResolvedRefs=False/{reason} Programmed=True")), "{}", words(&policy));
        assert!(message(&policy, RESOLVED_REFS).contains("AccessTarget `db`: spec.credentialRef.name"));
    }
}

#[test]
fn what_is_not_known_is_not_said() {
    let mut world = world();
    world.set_secret("shop", "login", SecretState::Unknown);
    let found = wanted(&world, &[], &key(Kind::Policy, "shop", "p"));
    assert_eq!(words(&found), "Accepted=True/Accepted ResolvedRefs=Unknown/Unsynced Programmed=Unknown/Unsynced");
    assert!(found.unsure && wanted(&world, &[], &key(Kind::Target, "shop", "db")).unsure);
    // Nor of a pod whose namespace is not known.
    let mut world = crate::status::tests::world();
    world.remove_namespace("shop");
    let found = wanted(&world, &[], &key(Kind::Policy, "shop", "p"));
    assert!(found.unsure && words(&found).ends_with("Programmed=Unknown/Unsynced"), "{}", words(&found));
    let unknown = Wanted::unknown(Kind::Target);
    assert_eq!(words(&unknown), "Accepted=Unknown/Unsynced ResolvedRefs=Unknown/Unsynced");
    assert!(unknown.unsure && unknown.pods.is_none() && Wanted::unknown(Kind::Policy).said.len() == 3);
}

#[test]
fn what_cannot_be_read_says_so_and_stands_in_the_way_of_the_others() {
    let mut world = crowded(2);
    let misspelt = json!({"podSelector": {}, "targets": [], "denyEverything": true});
    world.set_object(Kind::Policy, Object::read(Kind::Policy, "shop", "bad", &misspelt));
    let bad = wanted(&world, &[], &key(Kind::Policy, "shop", "bad"));
    assert_eq!(words(&bad), "Accepted=False/Invalid ResolvedRefs=Unknown/NotAccepted Programmed=False/NotAccepted");
    assert!(message(&bad, ACCEPTED).contains("spec.denyEverything"), "{}", message(&bad, ACCEPTED));
    let pods = bad.pods.unwrap();
    assert_eq!((pods.matched, pods.synced, pods.revision, pods.rules), (0, 0, None, Vec::new()));
    let other = wanted(&world, &marks(&world, 2), &key(Kind::Policy, "shop", "p"));
    assert_eq!(words(&other), FINE.replace("Programmed=True/Programmed", "Programmed=False/Blocked"));
    let message = message(&other, PROGRAMMED);
    assert!(message.contains("0 of 2 pods") && message.contains("AgentAccessPolicy shop/bad: "), "{message}");
}

/// Each of them is sound, and so many are not.
#[test]
fn what_is_too_much_together_is_said_of_each() {
    let mut world = world();
    world.set_object(Kind::ClusterPolicy, guardrail("g", false));
    let rules: Vec<_> = (0..64)
        .map(|n| json!({"name": format!("r{n}"), "action": "Allow", "verbs": ["Select"], "relations": ["a.b"]}))
        .collect();
    let spec = json!({"podSelector": {}, "targets": [{"targetRef": {"name": "db"}, "postgres": {"rules": rules}}]});
    for n in 0..20 {
        world.set_object(Kind::Policy, Object::read(Kind::Policy, "shop", &format!("p{n}"), &spec));
    }
    let one = wanted(&world, &[], &key(Kind::Policy, "shop", "p7"));
    assert!(words(&one).starts_with("Accepted=False/TooMuchTogether"), "{}", words(&one));
    assert!(message(&one, ACCEPTED).contains("rules in all; at most 1000"));
    let cluster = wanted(&world, &[], &key(Kind::ClusterPolicy, "", "g"));
    assert!(words(&cluster).starts_with("Accepted=True"), "{}", words(&cluster));
    assert!(words(&cluster).ends_with("Programmed=False/Blocked"), "{}", words(&cluster));
}

#[test]
fn a_policy_of_the_cluster_counts_pods_of_many_namespaces() {
    let mut world = crowded(3);
    world.set_object(Kind::ClusterPolicy, guardrail("g", true));
    for (n, namespace) in [(7, "bank"), (8, "shop2")] {
        world.set_namespace(namespace, BTreeMap::new());
        world.set_pod(crate::index::tests::pod(&uid(n), namespace, "x"));
    }
    let found = wanted(&world, &marks(&world, 3), &key(Kind::ClusterPolicy, "", "g"));
    assert_eq!(message(&found, PROGRAMMED), "3 of 5 pods have it in force");
    assert_eq!(found.pods.map(|pods| (pods.matched, pods.synced)), Some((5, 3)));
    // One namespace that is blocked says which object it is.
    world.set_object(Kind::Policy, Object::unread("bank", "bad", "it is old"));
    let found = wanted(&world, &marks(&world, 3), &key(Kind::ClusterPolicy, "", "g"));
    assert!(message(&found, PROGRAMMED).contains("AgentAccessPolicy bank/bad"), "{}", message(&found, PROGRAMMED));
}

#[test]
fn a_long_story_is_cut_and_no_secret_is_in_it() {
    let mut world = world();
    world.set_object(Kind::Policy, Object::unread("shop", "bad", &"x".repeat(5_000)));
    let bad = wanted(&world, &[], &key(Kind::Policy, "shop", "bad"));
    let message = message(&bad, ACCEPTED);
    assert!(message.chars().count() == limits::CONDITION_CHARS && message.ends_with('…'));
    let rules = json!([{"name": "r", "action": "Allow", "verbs": ["Select"], "relations": ["a.b"]}]);
    let targets: Vec<_> =
        (0..16).map(|n| json!({"targetRef": {"name": format!("t{n}")}, "postgres": {"rules": rules}})).collect();
    let many = Object::read(Kind::Policy, "shop", "many", &json!({"podSelector": {}, "targets": targets}));
    world.set_object(Kind::Policy, many);
    let many = wanted(&world, &[], &key(Kind::Policy, "shop", "many"));
    let text = crate::status::tests::message(&many, RESOLVED_REFS);
    assert!(text.contains("`t3`") && !text.contains("`t4`") && text.ends_with("and 12 more"), "{text}");
    // Rules that have one name are one.
    assert_eq!(many.pods.unwrap().rules, ["r"]);
    world.set_object(Kind::Target, target("shop", "t0", "login"));
    world.set_secret("shop", "login", secret("1", "hunter2"));
    for (key, _) in world.all_objects() {
        assert!(!format!("{:?}", wanted(&world, &[], &key)).contains("hunter2"));
    }
}
