//! Tables and properties of the index: what a pod is told, and what it is not.

use std::collections::{BTreeMap, BTreeSet};

use crds::manifest::SecretBytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

pub(crate) const UID: &str = "0f8b1c9e-6a0d-4a57-9c1d-0123456789ab";

pub(crate) fn pod(uid: &str, namespace: &str, label: &str) -> Pod {
    Pod {
        uid: uid.to_owned(),
        namespace: namespace.to_owned(),
        name: "agent-0".to_owned(),
        service_account: "agent".to_owned(),
        labels: BTreeMap::from([("app".to_owned(), label.to_owned())]),
        job: None,
    }
}

pub(crate) fn target(namespace: &str, name: &str, secret: &str) -> Object {
    let spec = json!({
        "protocol": "Postgres", "host": "db.example", "port": 5432, "credentialRef": {"name": secret},
        "postgres": {"databases": ["shop"]},
    });
    Object::read(Kind::Target, namespace, name, &spec)
}

pub(crate) fn policy(namespace: &str, name: &str, relation: &str) -> Object {
    let rules = json!([{"name": "r", "action": "Allow", "verbs": ["Select"], "relations": [relation]}]);
    let spec = json!({"podSelector": {}, "targets": [{"targetRef": {"name": "db"}, "postgres": {"rules": rules}}]});
    Object::read(Kind::Policy, namespace, name, &spec)
}

pub(crate) fn guardrail(name: &str, deny_all: bool) -> Object {
    let spec = json!({"namespaceSelector": {}, "podSelector": {}, "denyAll": deny_all});
    Object::read(Kind::ClusterPolicy, "", name, &spec)
}

pub(crate) fn secret(version: &str, password: &str) -> SecretState {
    let data = [("username", "u"), ("password", password), ("other", "never")];
    let data = data.map(|(key, value)| (key.to_owned(), SecretBytes::new(value.as_bytes().to_vec())));
    SecretState::Present(Present { version: version.to_owned(), data: data.into(), hosts: Hosts::Any })
}

/// With an annotation that says for which hosts it is.
pub(crate) fn secret_for(version: &str, password: &str, annotation: &str) -> SecretState {
    match secret(version, password) {
        SecretState::Present(present) => {
            SecretState::Present(Present { hosts: Hosts::of(Some(annotation), false), ..present })
        }
        other => other,
    }
}

/// Whole, with one pod in `shop` and all that it needs.
pub(crate) fn fill(world: &mut World) {
    world.pulse(true);
    for feed in Feed::ALL {
        world.sync(feed, true);
    }
    world.set_namespace("shop", BTreeMap::from([("team".to_owned(), "a".to_owned())]));
    world.set_pod(pod(UID, "shop", "x"));
    world.set_object(Kind::Target, target("shop", "db", "login"));
    world.set_object(Kind::Policy, policy("shop", "p", "public.orders"));
    world.set_secret("shop", "login", secret("1", "hunter2"));
}

fn world() -> World {
    let mut world = World::new(900);
    fill(&mut world);
    world
}

#[test]
fn a_snapshot_is_what_the_sidecar_reads() {
    let mut world = world();
    world.set_object(Kind::ClusterPolicy, guardrail("g", false));
    let snapshot = world.snapshot(&of("shop")).unwrap();
    let subject = snapshot.subject.unwrap();
    assert_eq!((subject.namespace.as_str(), subject.service_account.as_str()), ("shop", "agent"));
    assert_eq!((subject.labels["app"].as_str(), subject.namespace_labels["team"].as_str()), ("x", "a"));
    assert_eq!((subject.pod.as_str(), subject.pod_uid.as_str()), ("agent-0", UID));
    assert_eq!(snapshot.max_policy_age_seconds, 900);
    let objects: Vec<Value> = snapshot.objects.iter().map(|json| serde_json::from_slice(json).unwrap()).collect();
    let kinds: Vec<&str> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ClusterAgentAccessPolicy", "AgentAccessPolicy", "AccessTarget"]);
    assert_eq!(objects[1]["metadata"], json!({"name": "p", "namespace": "shop"}));
    assert_eq!(objects[0]["metadata"], json!({"name": "g"}));
    // Of the Secret only the keys that are named.
    let [secret] = snapshot.secrets.as_slice() else { panic!("one Secret") };
    let keys: BTreeSet<&str> = secret.data.keys().map(String::as_str).collect();
    assert_eq!((secret.name.as_str(), keys), ("login", BTreeSet::from(["password", "username"])));
    assert!(snapshot.revision.starts_with("sha256:") && snapshot.revision.len() == 71);
    assert_eq!(world.revision(&of("shop")), Ok(snapshot.revision));
}

#[test]
fn each_change_that_counts_is_another_revision_and_no_other() {
    type Change = fn(&mut World) -> bool;
    let counts: [(&str, Change); 12] = [
        ("policy", |w| w.set_object(Kind::Policy, policy("shop", "p", "public.items"))),
        ("more policy", |w| w.set_object(Kind::Policy, policy("shop", "q", "public.items"))),
        ("less policy", |w| w.remove_object(Kind::Policy, "shop", "p")),
        ("target", |w| w.set_object(Kind::Target, target("shop", "db2", "login"))),
        ("less target", |w| w.remove_object(Kind::Target, "shop", "db")),
        ("kill switch", |w| w.set_object(Kind::ClusterPolicy, guardrail("g", true))),
        ("secret", |w| w.set_secret("shop", "login", secret("2", "hunter2"))),
        ("no secret", |w| w.set_secret("shop", "login", SecretState::Missing)),
        ("pod's label", |w| w.set_pod(pod(UID, "shop", "y"))),
        ("namespace's label", |w| w.set_namespace("shop", BTreeMap::new())),
        ("bad target", |w| w.set_object(Kind::Target, Object::unread("shop", "db", "x"))),
        ("none left", |w| w.replace_objects(Kind::Policy, Vec::new())),
    ];
    for (what, change) in counts {
        let mut world = world();
        let before = world.revision(&of("shop")).unwrap();
        assert!(change(&mut world), "{what}");
        assert_ne!(world.revision(&of("shop")).unwrap(), before, "{what}");
    }
    let counts_not: [(&str, Change, bool); 7] = [
        ("another namespace", |w| w.set_object(Kind::Policy, policy("bank", "p", "public.vault")), true),
        ("its secret", |w| w.set_secret("bank", "login", secret("9", "x")), true),
        ("its pod", |w| w.set_pod(pod("ffffffff-6a0d-4a57-9c1d-0123456789ab", "bank", "z")), true),
        ("the same policy", |w| w.set_object(Kind::Policy, policy("shop", "p", "public.orders")), false),
        ("the same pod", |w| w.set_pod(pod(UID, "shop", "x")), false),
        ("the same list", |w| w.replace_objects(Kind::Target, vec![target("shop", "db", "login")]), false),
        ("nothing removed", |w| w.remove_object(Kind::Policy, "shop", "q"), false),
    ];
    for (what, change, changed) in counts_not {
        let mut world = world();
        let before = world.revision(&of("shop")).unwrap();
        assert_eq!(change(&mut world), changed, "{what}");
        assert_eq!(world.revision(&of("shop")).unwrap(), before, "{what}");
    }
}

/// A status is written for people, again and again: no stream may wake for it.
#[test]
fn what_is_said_of_an_object_is_told_to_no_sidecar() {
    let index = Index::new(900);
    index.change(|world| {
        fill(world);
        true
    });
    let before = index.snapshot(&of("shop")).unwrap();
    let told = |generation| {
        let status = Some(crds::status::PolicyStatus { matched_pods: 7, ..Default::default() });
        Told { uid: "u".to_owned(), generation, status }
    };
    let (mut changes, mut notes) = (index.changes(), index.notes());
    let say = |generation| policy("shop", "p", "public.orders").told(told(generation));
    index.change(|world| world.set_object(Kind::Policy, say(3)));
    assert!(!changes.has_changed().unwrap() && notes.has_changed().unwrap());
    assert_eq!(index.snapshot(&of("shop")).unwrap(), before);
    let key = Key { kind: Kind::Policy, namespace: "shop".to_owned(), name: "p".to_owned() };
    assert_eq!(index.look(|world| world.object(&key).unwrap().told.clone()), told(3));
    notes.borrow_and_update();
    // The same again, and the same in a list.
    index.change(|world| world.set_object(Kind::Policy, say(3)));
    index.change(|world| world.replace_objects(Kind::Policy, vec![say(3)]));
    assert!(!changes.has_changed().unwrap() && !notes.has_changed().unwrap());
    index.change(|world| world.replace_objects(Kind::Policy, vec![say(4)]));
    assert!(!changes.has_changed().unwrap() && notes.has_changed().unwrap());
    // What sidecars are told wakes both.
    notes.borrow_and_update();
    index.change(|world| world.set_object(Kind::Policy, policy("shop", "p", "public.items").told(told(5))));
    assert!(changes.has_changed().unwrap() && notes.has_changed().unwrap());
    changes.borrow_and_update();
    assert_ne!(index.snapshot(&of("shop")).unwrap().revision, before.revision);
}

/// Chooses pods by their label, or namespaces, and names a target.
fn choosing(kind: Kind, name: &str, app: &str, team: &str) -> Object {
    let pods = json!({"matchLabels": {"app": app}});
    let rules = json!([{"name": "r", "action": "Allow", "verbs": ["Select"], "relations": ["public.vault"]}]);
    let targets = json!([{"targetRef": {"name": "vault"}, "postgres": {"rules": rules}}]);
    match kind {
        Kind::ClusterPolicy => {
            let spec = json!({"podSelector": pods, "namespaceSelector": {"matchLabels": {"team": team}}});
            Object::read(kind, "", name, &spec)
        }
        _ => Object::read(kind, "shop", name, &json!({"podSelector": pods, "targets": targets})),
    }
}

#[test]
fn a_pod_hears_only_of_policies_that_select_it_and_of_secrets_they_lead_to() {
    let mut world = world();
    world.set_object(Kind::Target, target("shop", "vault", "vault-login"));
    world.set_secret("shop", "vault-login", secret("1", "swordfish"));
    let alone = world.snapshot(&of("shop")).unwrap();
    let told = |snapshot: &v1::Snapshot| {
        let names = snapshot.objects.iter().map(|json| serde_json::from_slice::<Value>(json).unwrap());
        let names: Vec<String> = names.map(|o| o["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        (names.join(" "), snapshot.secrets.iter().map(|secret| secret.name.clone()).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(told(&alone), ("p db vault".to_owned(), "login".to_owned()));

    // Of others: neither told nor counted.
    world.set_object(Kind::Policy, choosing(Kind::Policy, "others", "y", ""));
    world.set_object(Kind::ClusterPolicy, choosing(Kind::ClusterPolicy, "others-pods", "y", "a"));
    world.set_object(Kind::ClusterPolicy, choosing(Kind::ClusterPolicy, "others-space", "x", "b"));
    world.set_secret("shop", "vault-login", secret("2", "swordfish"));
    assert_eq!(world.snapshot(&of("shop")).unwrap(), alone);

    // The pod's own label makes them its own, and takes them away again.
    world.set_pod(pod(UID, "shop", "y"));
    let more = world.snapshot(&of("shop")).unwrap();
    assert_eq!(told(&more), ("others-pods others p db vault".to_owned(), "login vault-login".to_owned()));
    world.set_pod(pod(UID, "shop", "x"));
    assert_eq!(world.snapshot(&of("shop")).unwrap(), alone);
    world.set_namespace("shop", BTreeMap::from([("team".to_owned(), "b".to_owned())]));
    assert_eq!(told(&world.snapshot(&of("shop")).unwrap()).0, "others-space p db vault");
}

#[test]
fn nothing_is_told_of_a_world_that_is_not_whole() {
    for feed in Feed::ALL {
        let mut world = world();
        assert!(world.sync(feed, false));
        assert_eq!(world.snapshot(&of("shop")).unwrap_err(), Withheld::Unsynced, "{feed:?}");
        assert!(world.sync(feed, true));
        world.snapshot(&of("shop")).unwrap();
    }
    let mut silent = world();
    silent.pulse(false);
    assert_eq!(silent.snapshot(&of("shop")).unwrap_err(), Withheld::Unsynced);
    let mut unread = world();
    unread.set_secret("shop", "login", SecretState::Unknown);
    assert_eq!(unread.snapshot(&of("shop")).unwrap_err(), Withheld::Unsynced);
    unread.remove_secret("shop", "login");
    assert_eq!(unread.revision(&of("shop")).unwrap_err(), Withheld::Unsynced);
    let mut nowhere = world();
    nowhere.remove_namespace("shop");
    assert_eq!(nowhere.snapshot(&of("shop")).unwrap_err(), Withheld::Unsynced);
    let mut gone = world();
    gone.remove_pod(UID);
    assert_eq!(gone.snapshot(&of("shop")).unwrap_err(), Withheld::Gone);
    // The same uid in another namespace is nobody.
    assert_eq!(world().snapshot(&PodName::new("bank", UID).unwrap()).unwrap_err(), Withheld::Gone);
}

#[test]
fn a_policy_that_cannot_be_read_is_not_left_out() {
    let misspelt = json!({"podSelector": {}, "targets": [], "denyEverything": true});
    for (kind, namespace, name) in [(Kind::Policy, "shop", "bad"), (Kind::ClusterPolicy, "", "bad")] {
        for bad in [Object::unread(namespace, name, "it is old"), Object::read(kind, namespace, name, &misspelt)] {
            let mut world = world();
            assert!(world.set_object(kind, bad));
            let Withheld::Unsound(wrong) = world.snapshot(&of("shop")).unwrap_err() else { panic!("{kind:?}") };
            assert!(wrong[0].starts_with(kind.as_str()) && wrong[0].contains("bad"), "{wrong:?}");
            assert!(world.remove_object(kind, namespace, name));
            world.snapshot(&of("shop")).unwrap();
        }
    }
    // It stands against its own namespace alone.
    let mut other = world();
    other.set_object(Kind::Policy, Object::unread("bank", "bad", "it is old"));
    other.snapshot(&of("shop")).unwrap();
    // What is not there is denied: a target may be left out.
    let mut less = world();
    less.set_object(Kind::Target, Object::unread("shop", "db", "it is old"));
    let snapshot = less.snapshot(&of("shop")).unwrap();
    assert_eq!((snapshot.objects.len(), snapshot.secrets.len()), (1, 0));
}

#[test]
fn what_the_sidecar_would_refuse_for_its_size_is_never_sent() {
    let rules: Vec<Value> = (0..64)
        .map(|n| json!({"name": format!("r{n}"), "action": "Allow", "verbs": ["Select"], "relations": ["a.b"]}))
        .collect();
    let spec = json!({"podSelector": {}, "targets": [{"targetRef": {"name": "db"}, "postgres": {"rules": rules}}]});
    let mut many = world();
    for n in 0..20 {
        many.set_object(Kind::Policy, Object::read(Kind::Policy, "shop", &format!("p{n}"), &spec));
    }
    assert!(matches!(many.snapshot(&of("shop")), Err(Withheld::Unsound(wrong)) if wrong[0].contains("rules in all")));
    let mut crowded = world();
    for n in 0..control::OBJECTS {
        crowded.set_object(Kind::Target, target("shop", &format!("t{n}"), "login"));
    }
    assert!(matches!(crowded.snapshot(&of("shop")), Err(Withheld::Unsound(wrong)) if wrong[0].contains("objects, of")));
    let mut heavy = world();
    let data = [("password".to_owned(), SecretBytes::new(vec![0; control::MESSAGE_LIMIT]))];
    let state = SecretState::Present(Present { version: "2".to_owned(), data: data.into(), hosts: Hosts::Any });
    heavy.set_secret("shop", "login", state);
    assert!(matches!(heavy.snapshot(&of("shop")), Err(Withheld::TooLarge { bytes }) if bytes > control::MESSAGE_LIMIT));
    let long = Object::read(Kind::Policy, "shop", "long", &json!({"podSelector": {}, "x": "y".repeat(300 * 1024)}));
    assert!(long.read.unwrap_err().contains("bytes, of"));
}

#[test]
fn no_secret_is_shown() {
    let world = world();
    assert!(!format!("{world:?}").contains("hunter2"));
    // Nor can its hash be tried: the same version is the same revision.
    let before = world.revision(&of("shop"));
    let mut other = self::world();
    other.set_secret("shop", "login", secret("1", "another"));
    assert_eq!(other.revision(&of("shop")), before);
}

#[derive(Clone, Debug)]
enum Event {
    Policy(&'static str, &'static str, &'static str),
    NoPolicy(&'static str, &'static str),
    Target(&'static str, &'static str, &'static str),
    NoTarget(&'static str, &'static str),
    Guardrail(&'static str, bool),
    Secret(&'static str, &'static str, u8),
    Pod(&'static str, &'static str),
}

const SPACES: [&str; 3] = ["shop", "bank", "shop2"];

fn event() -> impl Strategy<Value = Event> {
    let space = || prop::sample::select(&SPACES[..]);
    let name = || prop::sample::select(&["a", "db", "c"][..]);
    let relation = prop::sample::select(&["public.orders", "public.items"][..]);
    prop_oneof![
        (space(), name(), relation).prop_map(|(s, n, r)| Event::Policy(s, n, r)),
        (space(), name()).prop_map(|(s, n)| Event::NoPolicy(s, n)),
        (space(), name(), name()).prop_map(|(s, n, k)| Event::Target(s, n, k)),
        (space(), name()).prop_map(|(s, n)| Event::NoTarget(s, n)),
        (name(), any::<bool>()).prop_map(|(n, d)| Event::Guardrail(n, d)),
        (space(), name(), 0..3u8).prop_map(|(s, n, v)| Event::Secret(s, n, v)),
        (space(), name()).prop_map(|(s, l)| Event::Pod(s, l)),
    ]
}

fn uid(space: &str) -> String {
    let number = SPACES.iter().position(|one| *one == space).unwrap();
    if number == 0 { UID.to_owned() } else { format!("{number:08x}-6a0d-4a57-9c1d-0123456789ab") }
}

fn of(space: &str) -> PodName {
    PodName::new(space, &uid(space)).unwrap()
}

fn happen(world: &mut World, event: &Event) -> bool {
    match *event {
        Event::Policy(s, n, r) => world.set_object(Kind::Policy, policy(s, n, r)),
        Event::NoPolicy(s, n) => world.remove_object(Kind::Policy, s, n),
        Event::Target(s, n, k) => world.set_object(Kind::Target, target(s, n, k)),
        Event::NoTarget(s, n) => world.remove_object(Kind::Target, s, n),
        Event::Guardrail(n, d) => world.set_object(Kind::ClusterPolicy, guardrail(n, d)),
        Event::Secret(s, n, v) => world.set_secret(s, n, secret(&format!("{s}/{n}/{v}"), &format!("{s}-{n}-{v}"))),
        Event::Pod(s, l) => world.set_pod(pod(&uid(s), s, l)),
    }
}

/// Whole, and every Secret that can be named is known.
fn ready() -> World {
    let mut world = World::new(60);
    world.pulse(true);
    for feed in Feed::ALL {
        world.sync(feed, true);
    }
    for space in SPACES {
        world.set_namespace(space, BTreeMap::new());
        world.set_pod(pod(&uid(space), space, "first"));
        for name in ["a", "db", "c"] {
            world.set_secret(space, name, SecretState::Missing);
        }
    }
    world
}

/// The last event of each kind about each thing.
fn last(events: &[Event]) -> Vec<Event> {
    let mut last = BTreeMap::new();
    for event in events {
        let key = match *event {
            Event::Policy(s, n, _) | Event::NoPolicy(s, n) => (0, s, n),
            Event::Target(s, n, _) | Event::NoTarget(s, n) => (1, s, n),
            Event::Guardrail(n, _) => (2, "", n),
            Event::Secret(s, n, _) => (3, s, n),
            Event::Pod(s, _) => (4, s, ""),
        };
        last.insert(key, event.clone());
    }
    last.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_of_another_namespace_is_ever_told(events in prop::collection::vec(event(), 0..40)) {
        let mut world = ready();
        events.iter().for_each(|event| {
            happen(&mut world, event);
        });
        for space in SPACES {
            let snapshot = world.snapshot(&of(space)).unwrap();
            let namespace = snapshot.subject.as_ref().unwrap().namespace.as_str();
            prop_assert_eq!(namespace, space);
            for json in &snapshot.objects {
                let object: Value = serde_json::from_slice(json).unwrap();
                let cluster = object["kind"] == "ClusterAgentAccessPolicy";
                prop_assert!(cluster || object["metadata"]["namespace"] == space);
            }
            for secret in &snapshot.secrets {
                prop_assert_eq!(&secret.namespace, space);
                let password = String::from_utf8(secret.data["password"].clone()).unwrap();
                let own = format!("{space}-");
                prop_assert!(password.starts_with(&own));
            }
        }
    }

    #[test]
    fn the_same_content_has_the_same_revision_however_it_came(
        events in prop::collection::vec(event(), 0..40),
        seed in any::<u64>(),
    ) {
        let mut one = ready();
        events.iter().for_each(|event| {
            happen(&mut one, event);
        });
        // Another replica: what is the case at the end, in another order.
        let mut other = ready();
        let mut rest = last(&events);
        let mut seed = seed;
        while !rest.is_empty() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let length = u64::try_from(rest.len()).unwrap();
            let at = usize::try_from(seed % length).unwrap();
            happen(&mut other, &rest.swap_remove(at));
        }
        for space in SPACES {
            let (one, other) = (one.snapshot(&of(space)).unwrap(), other.snapshot(&of(space)).unwrap());
            prop_assert_eq!(&one.objects, &other.objects);
            prop_assert_eq!(one.revision, other.revision);
        }
    }
}

#[test]
fn namespaces_that_ask_for_the_sidecar() {
    let mut world = World::new(60);
    for (name, value) in [("a", "enabled"), ("b", "disabled"), ("c", "enabled"), ("d", "enabled")] {
        world.set_namespace(name, BTreeMap::from([("agentaccess.dev/injection".to_owned(), value.to_owned())]));
    }
    world.set_namespace("e", BTreeMap::new());
    assert_eq!(world.to_be_governed(9), ["a", "c", "d"]);
    assert_eq!(world.to_be_governed(2), ["a", "c"]);
}
