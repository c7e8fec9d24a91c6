//! Tables and a property: what of a Secret reaches a pod, by the word of its owner.

use control::{PodName, v1};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::index::tests::{UID, fill, policy, secret, secret_for};
use crate::index::{Hosts, Kind, Object, SecretState};

/// `shop` with its target `db` at `db.example:5432` and the Secret `login`.
fn world(annotation: &str) -> World {
    let mut world = World::new(900);
    fill(&mut world);
    world.set_secret("shop", "login", secret_for("1", "hunter2", annotation));
    world
}

fn snapshot(world: &World) -> v1::Snapshot {
    let snapshot = world.snapshot(&PodName::new("shop", UID).unwrap()).unwrap();
    assert_eq!(world.revision(&PodName::new("shop", UID).unwrap()).unwrap(), snapshot.revision);
    snapshot
}

fn targets(snapshot: &v1::Snapshot) -> Vec<String> {
    let objects = snapshot.objects.iter().map(|json| serde_json::from_slice::<Value>(json).unwrap());
    let targets = objects.filter(|object| object["kind"] == "AccessTarget");
    targets.map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn holds(snapshot: &v1::Snapshot, text: &str) -> bool {
    let values = snapshot.secrets.iter().flat_map(|secret| secret.data.values());
    values.into_iter().any(|value| value == text.as_bytes())
}

/// A target of the same namespace, perhaps of somebody else.
fn other(name: &str, host: &str, login: Value, ca: Option<Value>) -> Object {
    let mut spec = json!({
        "protocol": "Postgres", "host": host, "port": 5432, "credentialRef": login, "postgres": {"databases": ["shop"]},
    });
    if let Some(ca) = ca {
        spec["tls"] = json!({"caSecretRef": ca});
    }
    let object = Object::read(Kind::Target, "shop", name, &spec);
    assert!(object.read.is_ok(), "{:?}", object.read);
    object
}

/// A policy `name` that names the target.
fn leading(name: &str, target: &str) -> Object {
    let rules = json!([{"name": "r", "action": "Allow", "verbs": ["Select"], "relations": ["public.orders"]}]);
    let spec = json!({"podSelector": {}, "targets": [{"targetRef": {"name": target}, "postgres": {"rules": rules}}]});
    Object::read(Kind::Policy, "shop", name, &spec)
}

#[test]
fn a_secret_reaches_the_hosts_that_its_owner_names() {
    let none = snapshot(&world(""));
    assert!(none.secrets.is_empty(), "an empty one allows nothing");
    for annotation in ["db.example", "db.example:5432", "other, DB.EXAMPLE:5432"] {
        let world = world(annotation);
        let told = snapshot(&world);
        assert!(holds(&told, "hunter2"), "{annotation}");
        assert_ne!(told.revision, none.revision, "{annotation}");
    }
    for annotation in ["db.example:5433", "other.example", "*", "db.example,", "db.example:x"] {
        let told = snapshot(&world(annotation));
        assert!(told.secrets.is_empty() && !format!("{told:?}").contains("hunter2"), "{annotation}");
        // The target stays, so that who dials it hears what is missing.
        assert_eq!(targets(&told), ["db"], "{annotation}");
    }
    // As without the annotation, where nobody asks for one.
    let mut open = World::new(900);
    fill(&mut open);
    assert!(holds(&snapshot(&open), "hunter2"));
    let SecretState::Present(present) = secret("1", "hunter2") else { panic!("it is there") };
    open.set_secret("shop", "login", SecretState::Present(Present { hosts: Hosts::of(None, true), ..present }));
    assert!(snapshot(&open).secrets.is_empty());
}

#[test]
fn a_change_of_the_annotation_is_told_like_one_of_the_content() {
    let mut world = world("other.example");
    let before = snapshot(&world);
    assert!(world.set_secret("shop", "login", secret_for("2", "hunter2", "db.example")));
    let allowed = snapshot(&world);
    assert!(allowed.revision != before.revision && holds(&allowed, "hunter2"));
    assert!(world.set_secret("shop", "login", secret_for("3", "hunter2", "other.example")));
    let again = snapshot(&world);
    assert!(again.revision != allowed.revision && again.secrets.is_empty());
    // And a target that moves to another host has what it names no longer.
    world.set_secret("shop", "login", secret_for("4", "hunter2", "db.example"));
    let good = snapshot(&world);
    world.set_object(Kind::Target, other("db", "evil.example", json!({"name": "login"}), None));
    let moved = snapshot(&world);
    assert!(holds(&good, "hunter2") && moved.secrets.is_empty() && moved.revision != good.revision);
}

/// A sidecar finds a Secret by its name: it must not find one for a target that it is not for.
#[test]
fn what_one_target_is_given_another_does_not_find() {
    let login = || json!({"name": "login"});
    let own = || json!({"name": "own"});
    let rows = [
        ("as a login", other("evil", "evil.example", login(), None), true),
        (
            "as a user name",
            other("evil", "evil.example", json!({"name": "login", "usernameKey": "password"}), None),
            true,
        ),
        ("as a CA", other("evil", "evil.example", own(), Some(json!({"name": "login", "key": "password"}))), true),
        (
            "on another port",
            {
                let spec = json!({"protocol": "Postgres", "host": "db.example", "port": 5433, "credentialRef": login(),
                "postgres": {"databases": ["shop"]}});
                Object::read(Kind::Target, "shop", "evil", &spec)
            },
            true,
        ),
        ("at the same place", other("evil", "db.example", login(), None), false),
        ("with its own", other("evil", "evil.example", own(), None), false),
    ];
    for (what, evil, left_out) in rows {
        for led in [true, false] {
            let mut world = world("db.example:5432");
            world.set_secret("shop", "own", secret_for("1", "swordfish", "evil.example"));
            let before = snapshot(&world);
            world.set_object(Kind::Target, evil.clone());
            if led {
                world.set_object(Kind::Policy, leading("q", "evil"));
            }
            let told = snapshot(&world);
            assert!(holds(&told, "hunter2"), "{what}: the owner's target goes on");
            assert_eq!(targets(&told).contains(&"evil".to_owned()), !left_out, "{what}, led: {led}");
            assert_ne!(told.revision, before.revision, "{what}");
            let keys = |name: &str| {
                let one = told.secrets.iter().find(|secret| secret.name == name);
                one.map(|secret| secret.data.keys().cloned().collect::<BTreeSet<_>>()).unwrap_or_default()
            };
            assert_eq!(keys("login"), ["password", "username"].map(str::to_owned).into(), "{what}");
        }
    }
    // Nobody is given it: both stay, and both are refused.
    let mut world = world("third.example");
    world.set_object(Kind::Target, other("evil", "evil.example", login(), None));
    world.set_object(Kind::Policy, leading("q", "evil"));
    let told = snapshot(&world);
    assert!(told.secrets.is_empty());
    assert_eq!(targets(&told), ["db", "evil"]);
}

/// Only a target that a policy names gets anything, also of a Secret that is for it.
#[test]
fn the_host_alone_leads_to_no_key() {
    let mut world = world("db.example, evil.example");
    world.set_object(
        Kind::Target,
        other("more", "evil.example", json!({"name": "login", "passwordKey": "other"}), None),
    );
    assert!(!holds(&snapshot(&world), "never"));
    world.set_object(Kind::Policy, leading("q", "more"));
    assert!(holds(&snapshot(&world), "never"));
    // One that is too many is as good as none.
    world.set_secret("shop", "login", SecretState::Beyond);
    assert!(snapshot(&world).secrets.is_empty());
    world.set_object(Kind::Policy, policy("shop", "p", "public.items"));
    assert!(snapshot(&world).secrets.is_empty());
}

proptest! {
    /// Whatever stands there: each target that is told, and finds a Secret, is of a host that its owner names.
    #[test]
    fn no_target_of_another_host_finds_a_secret(
        all in prop::collection::vec((0..4usize, 0..3usize, prop::option::of(0..3usize), any::<bool>()), 0..8),
        named in prop::collection::vec(prop::collection::btree_set(0..4usize, 0..4), 3),
    ) {
        let mut world = World::new(900);
        fill(&mut world);
        let host = |n: usize| format!("h{n}.example");
        for (n, hosts) in named.iter().enumerate() {
            let annotation = hosts.iter().map(|n| host(*n)).collect::<Vec<_>>().join(",");
            world.set_secret("shop", &format!("s{n}"), secret_for("1", &format!("password-{n}"), &annotation));
        }
        for (n, (at, login, ca, led)) in all.iter().enumerate() {
            let ca = ca.map(|ca| json!({"name": format!("s{ca}"), "key": "password"}));
            let name = format!("t{n}");
            world.set_object(Kind::Target, other(&name, &host(*at), json!({"name": format!("s{login}")}), ca));
            if *led {
                world.set_object(Kind::Policy, leading(&format!("q{n}"), &name));
            }
        }
        let told = snapshot(&world);
        let names = targets(&told);
        let given = |n: usize| told.secrets.iter().any(|secret| secret.name == format!("s{n}"));
        for (n, (at, login, ca, led)) in all.iter().enumerate() {
            let refs = || [Some(*login), *ca].into_iter().flatten();
            let allowed = refs().all(|secret| named[secret].contains(at));
            if !allowed && names.contains(&format!("t{n}")) {
                let found = refs().filter(|secret| !named[*secret].contains(at)).any(given);
                prop_assert!(!found, "t{n} at {} finds what is not for it", host(*at));
            }
            // And who is allowed is not kept from it by others.
            if allowed && *led {
                prop_assert!(names.contains(&format!("t{n}")) && refs().all(given), "t{n}");
            }
        }
    }
}
