use serde_json::json;

use super::*;
use crate::index::Told;
use crate::index::tests::{UID, fill, policy};
use crds::status::PolicyStatus;

fn pod() -> PodName {
    PodName::new("shop", UID).unwrap()
}

fn index() -> Arc<Index> {
    let index = Index::new(900);
    index.change(|world| {
        fill(world);
        true
    });
    index
}

fn report(in_force: &str, used: Vec<UsedRules>) -> ReportRequest {
    ReportRequest { in_force: in_force.to_owned(), used }
}

fn used(index: &Index, policy: &str, rules: &[&str]) -> UsedRules {
    let key = Key { kind: Kind::Policy, namespace: "shop".to_owned(), name: policy.to_owned() };
    let revision = index.look(|world| world.object(&key).map(|object| object.revision.clone())).unwrap_or_default();
    let rules = rules.iter().map(|rule| (*rule).to_owned()).collect();
    UsedRules { policy: policy.to_owned(), cluster: false, revision, rules }
}

/// What is known as used, as `policy/rule`.
fn known(acks: &Acks, index: &Index) -> Vec<String> {
    let all = index.look(|world| acks.used(world));
    let names =
        all.into_iter().flat_map(|(key, (_, rules))| rules.into_iter().map(move |rule| (key.name.clone(), rule)));
    names.map(|(policy, rule)| format!("{policy}/{rule}")).collect()
}

/// Reports of one pod come one after another.
fn later(acks: &Acks) {
    acks.pods.lock().values_mut().for_each(|live| live.heard = None);
}

#[test]
fn a_word_counts_while_the_stream_lasts_and_of_what_was_sent_last() {
    let (acks, index) = (Acks::new(), index());
    let revision = index.revision(&pod()).unwrap();
    let mark: Mark = revision.parse().unwrap();
    assert_eq!(acks.report(&index, &pod(), &report(&revision, vec![])), Err(Unheard::NoStream));
    let first = acks.begin(&pod());
    first.sent();
    let changes = acks.changes();
    acks.report(&index, &pod(), &report(&revision, vec![])).unwrap();
    assert!(acks.acknowledged() == BTreeSet::from([mark]) && changes.has_changed().unwrap());
    assert_eq!(acks.report(&index, &pod(), &report(&revision, vec![])), Err(Unheard::TooSoon));
    // Another snapshot is on its way.
    first.sent();
    assert!(acks.acknowledged().is_empty());
    later(&acks);
    acks.report(&index, &pod(), &report(&revision, vec![])).unwrap();
    // A second stream, and the end of the first: the pod is still here.
    let second = acks.begin(&pod());
    drop(first);
    assert_eq!(acks.acknowledged().len(), 1);
    drop(second);
    assert!(acks.acknowledged().is_empty() && acks.pods.lock().is_empty());
}

#[test]
fn what_does_not_count_for_the_pod_is_not_believed() {
    let (acks, index) = (Acks::new(), index());
    let _stream = acks.begin(&pod());
    let before = index.revision(&pod()).unwrap();
    index.change(|world| world.set_object(Kind::Policy, policy("shop", "p", "public.items")));
    acks.report(&index, &pod(), &report(&before, vec![])).unwrap();
    later(&acks);
    acks.report(&index, &pod(), &report(&format!("sha256:{}", "0".repeat(64)), vec![])).unwrap();
    assert!(acks.acknowledged().is_empty());
    for wrong in ["", "sha256:00", &"x".repeat(1_000_000)] {
        assert_eq!(acks.report(&index, &pod(), &report(wrong, vec![])), Err(Unheard::NotARevision));
    }
    let many = vec![UsedRules::default(); 2 * RULES + 1];
    assert_eq!(acks.report(&index, &pod(), &report(&before, many)), Err(Unheard::TooMany));
    let many = UsedRules { rules: vec![String::new(); 2 * RULES], ..UsedRules::default() };
    assert_eq!(acks.report(&index, &pod(), &report(&before, vec![many])), Err(Unheard::TooMany));
}

#[test]
fn only_rules_that_are_there_and_that_select_the_pod_are_used() {
    let (acks, index) = (Acks::new(), index());
    let spec = json!({"podSelector": {"matchLabels": {"app": "another"}}, "targets": [{"targetRef": {"name": "db"},
        "postgres": {"rules": [{"name": "r", "action": "Allow", "verbs": ["Select"], "relations": ["a.b"]}]}}]});
    index.change(|world| world.set_object(Kind::Policy, Object::read(Kind::Policy, "shop", "others", &spec)));
    let _stream = acks.begin(&pod());
    let revision = index.revision(&pod()).unwrap();
    let mut old = used(&index, "p", &["r"]);
    old.revision = "sha256:000000000000".to_owned();
    let mut cluster = used(&index, "p", &["r"]);
    cluster.cluster = true;
    let rows = vec![
        used(&index, "p", &["none", ""]),
        used(&index, "others", &["r"]),
        used(&index, "none", &["r"]),
        old,
        cluster,
    ];
    acks.report(&index, &pod(), &report(&revision, rows)).unwrap();
    assert_eq!(known(&acks, &index), [""; 0]);
    later(&acks);
    let rows = vec![used(&index, "p", &["r", "r"]), used(&index, "p", &["r"])];
    acks.report(&index, &pod(), &report(&revision, rows)).unwrap();
    assert_eq!(known(&acks, &index), ["p/r"]);

    // Known in the status, it is forgotten here; and so is what another form of the policy did.
    let told = |unused: &[&str], revision: &str| {
        let unused_rules = unused.iter().map(|rule| (*rule).to_owned()).collect();
        let status = PolicyStatus { revision: Some(revision.to_owned()), unused_rules, ..PolicyStatus::default() };
        Told { uid: "u".to_owned(), generation: 1, status: Some(status) }
    };
    let form = used(&index, "p", &[]).revision;
    let say = |told: Told| {
        index.change(|world| world.set_object(Kind::Policy, policy("shop", "p", "public.orders").told(told)))
    };
    say(told(&["r"], &form));
    assert_eq!(known(&acks, &index), ["p/r"]);
    say(told(&[], "sha256:000000000000"));
    assert_eq!(known(&acks, &index), ["p/r"]);
    say(told(&[], &form));
    assert_eq!(known(&acks, &index), [""; 0]);
    later(&acks);
    acks.report(&index, &pod(), &report(&revision, vec![used(&index, "p", &["r"])])).unwrap();
    assert!(acks.used.lock().is_empty());
    say(told(&["r"], &form));
    later(&acks);
    acks.report(&index, &pod(), &report(&revision, vec![used(&index, "p", &["r"])])).unwrap();
    index.change(|world| world.set_object(Kind::Policy, policy("shop", "p", "public.items")));
    assert!(known(&acks, &index).is_empty() && acks.used.lock().is_empty());
}
