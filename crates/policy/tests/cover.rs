//! A grant is never wider than the operation that a person saw.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "the laws use the rest")]
mod world;

use std::collections::BTreeSet;

use crds::approval::Cover;
use policy::cover::{covers, fits, of, words};
use policy::operation::{Access, Attribute, Fields, Operation, Origin, Resource, ResourceKind, Strictness, Verb};
use proptest::prelude::*;

fn relation(verb: Verb, name: &str, columns: &[&str], bounded: Option<bool>) -> Access {
    let fields = match columns {
        ["*"] => Fields::All,
        names => Fields::Named(names.iter().map(|name| (*name).to_owned()).collect()),
    };
    let path = name.split('.').map(str::to_owned).collect();
    Access { verb, resource: Resource { kind: ResourceKind::Relation, path, fields }, bounded, indirect: false }
}

fn delete(bounded: bool) -> Vec<Access> {
    let read = relation(Verb::Read, "public.orders", &["id", "state"], None);
    vec![relation(Verb::Delete, "public.orders", &["*"], Some(bounded)), read]
}

fn operation(action: &str, accesses: Vec<Access>) -> Operation {
    use policy::operation::{Certainty, Digest, PayloadHash, Protocol, Revision};
    Operation {
        protocol: Protocol::Postgres,
        action: action.to_owned(),
        accesses,
        attributes: [(Attribute::Database, "shop".to_owned())].into_iter().collect(),
        certainty: Certainty::Exact,
        payload: PayloadHash([0; 32]),
        digest: Digest([0; 32]),
        ceiling: Strictness::Allow,
        origin: Origin::Agent,
        planned: Revision([0; 32]),
        display: policy::redact::Redacted::constant("-"),
    }
}

fn cover(action: &str, accesses: Vec<Access>) -> Cover {
    of(&operation(action, accesses)).unwrap()
}

#[test]
fn the_same_action_with_other_values_and_no_other() {
    let granted = cover("DELETE", delete(true));
    assert!(covers(&granted, &cover("DELETE", delete(true))));
    let with = |edit: fn(&mut Vec<Access>)| {
        let mut accesses = delete(true);
        edit(&mut accesses);
        covers(&granted, &cover("DELETE", accesses))
    };
    let named = |access: &mut Access, names: &[&str]| {
        access.resource.fields = Fields::Named(names.iter().map(|name| (*name).to_owned()).collect());
    };
    assert!(with(|a| a[1].resource.fields = Fields::Named(BTreeSet::from(["id".to_owned()]))), "fewer columns");
    assert!(with(|a| a.swap(0, 1)), "another order");
    assert!(!with(|a| a[0].bounded = Some(false)), "without a condition");
    assert!(!with(|a| a[0].bounded = None), "perhaps without a condition");
    assert!(!with(|a| a[1].resource.fields = Fields::All), "all columns");
    assert!(!with(|a| a[1].resource.path[1] = "people".to_owned()), "another relation");
    assert!(!with(|a| a[0].resource.path[0] = "hr".to_owned()), "another schema");
    assert!(!with(|a| a[0].verb = Verb::Update), "another verb");
    assert!(!with(|a| a[1].indirect = true), "through a view");
    assert!(!with(|a| drop(a.pop())), "without the reading");
    assert!(!with(|a| a.push(relation(Verb::Read, "public.people", &["id"], None))), "one more relation");
    let mut more = delete(true);
    named(&mut more[1], &["id", "state", "email"]);
    assert!(!covers(&granted, &cover("DELETE", more)), "one more column");
    assert!(!covers(&granted, &cover("MERGE", delete(true))), "another statement");
    let mut elsewhere = operation("DELETE", delete(true));
    elsewhere.attributes.insert(Attribute::Database, "other".to_owned());
    assert!(!covers(&granted, &of(&elsewhere).unwrap()), "another database");
    // What was granted without a condition may have one.
    assert!(covers(&cover("DELETE", delete(false)), &cover("DELETE", delete(true))));
    // A dot in a name is no border between two.
    let dotted = |path: [&str; 2]| {
        let mut access = relation(Verb::Read, "a.b", &["x"], None);
        access.resource.path = path.map(str::to_owned).to_vec();
        cover("SELECT", vec![access])
    };
    assert!(!covers(&dotted(["a.b", "c"]), &dotted(["a", "b.c"])));
}

#[test]
fn what_a_sentence_cannot_say_is_approved_once() {
    let ungrantable = |edit: &dyn Fn(&mut Operation)| {
        let mut op = operation("DELETE", delete(true));
        assert!(of(&op).is_some());
        edit(&mut op);
        of(&op).is_none()
    };
    assert!(ungrantable(&|op| op.ceiling = Strictness::RequireApproval));
    assert!(ungrantable(&|op| op.origin = Origin::Internal));
    assert!(ungrantable(&|op| op.certainty = policy::operation::Certainty::Opaque("?".to_owned())));
    assert!(ungrantable(&|op| op.accesses.clear()));
    assert!(ungrantable(&|op| op.attributes.clear()));
    assert!(ungrantable(&|op| op.accesses[0].resource.path[1] = "two\nlines".to_owned()));
    let wide = |columns: usize| {
        let names: Vec<String> = (0..columns).map(|n| format!("c{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        of(&operation("SELECT", vec![relation(Verb::Read, "a.b", &names, None)])).is_some()
    };
    assert!(wide(32) && !wide(33));
    let long = |length: usize| {
        let accesses = (0..20).map(|n| relation(Verb::Read, &format!("a.{n:0length$}"), &["x"], None)).collect();
        of(&operation("SELECT", accesses)).is_some()
    };
    assert!(long(10) && !long(60));
}

#[test]
fn what_may_be_granted_is_a_table() {
    use ResourceKind as Kind;
    use Verb::{Administer, Connect, Create, Delete, Execute, Read, Update};
    const VERBS: [Verb; 7] = [Connect, Read, Create, Update, Delete, Execute, Administer];
    const TABLE: [(Kind, &[Verb]); 13] = [
        (Kind::Relation, &[Read, Create, Update, Delete]),
        (Kind::RelationStream, &[Create]),
        (Kind::Catalog, &[Read]),
        (Kind::Function, &[Execute]),
        (Kind::SessionSetting, &[Execute]),
        (Kind::Transaction, &[Execute]),
        (Kind::Channel, &[Execute]),
        (Kind::Target, &[]),
        (Kind::Code, &[]),
        (Kind::Program, &[]),
        (Kind::Setting, &[]),
        (Kind::Role, &[]),
        (Kind::Object, &[]),
    ];
    for (kind, granted) in TABLE {
        for verb in VERBS {
            let mut access = relation(verb, "public.orders", &["id"], None);
            access.resource.kind = kind;
            assert_eq!(of(&operation("ANY", vec![access])).is_some(), granted.contains(&verb), "{verb:?} {kind:?}");
        }
    }
}

#[test]
fn the_sentence() {
    assert_eq!(
        words(&cover("DELETE", delete(true))),
        "DELETE in database `shop`: delete public.orders with a condition, read public.orders (id, state)"
    );
    let mut none = relation(Verb::Read, "public.orders", &[], None);
    none.indirect = true;
    let execute =
        Resource { kind: ResourceKind::Function, path: vec!["a".into(), "f(integer)".into()], fields: Fields::All };
    let call = Access { verb: Verb::Execute, resource: execute, bounded: None, indirect: false };
    assert_eq!(
        words(&cover("SELECT", vec![none, call])),
        "SELECT in database `shop`: execute a.f(integer), read public.orders (no column)"
    );
}

/// Everything that `asked` does is something that `granted` did, said without the code that is tested.
fn within(granted: &Operation, asked: &Operation) -> bool {
    let same = |a: &Access, b: &Access| {
        (a.verb, a.resource.kind, &a.resource.path, a.indirect)
            == (b.verb, b.resource.kind, &b.resource.path, b.indirect)
    };
    let columns = |granted: &Fields, asked: &Fields| match (granted, asked) {
        (Fields::All, _) => true,
        (Fields::Named(granted), Fields::Named(asked)) => asked.is_subset(granted),
        (Fields::Named(_), Fields::All) => false,
    };
    granted.action == asked.action
        && granted.accesses.iter().all(|g| asked.accesses.iter().any(|a| same(g, a)))
        && asked.accesses.iter().all(|a| {
            granted.accesses.iter().any(|g| {
                same(g, a)
                    && columns(&g.resource.fields, &a.resource.fields)
                    && (g.bounded != Some(true) || a.bounded == Some(true))
            })
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_grant_is_never_wider(mut granted in world::operation(), mut asked in world::operation(), same in any::<bool>()) {
        for op in [&mut granted, &mut asked] {
            op.attributes.insert(Attribute::Database, "app".to_owned());
            op.ceiling = Strictness::Allow;
        }
        if same {
            // By chance alone two operations are hardly ever near each other.
            asked.action.clone_from(&granted.action);
            for (own, other) in asked.accesses.iter_mut().zip(&granted.accesses) {
                (own.verb, own.resource.kind) = (other.verb, other.resource.kind);
                own.resource.path.clone_from(&other.resource.path);
            }
        }
        if let (Some(one), Some(other)) = (of(&granted), of(&asked)) {
            prop_assert!(fits(&one) && fits(&other));
            prop_assert_eq!(covers(&one, &other), within(&granted, &asked));
            prop_assert!(covers(&one, &one));
        }
    }

    #[test]
    fn what_covers_what_covers_covers(a in world::operation(), b in world::operation(), c in world::operation()) {
        let cover = |mut op: Operation| {
            op.attributes.insert(Attribute::Database, "app".to_owned());
            op.action = "SELECT".to_owned();
            of(&op)
        };
        if let (Some(a), Some(b), Some(c)) = (cover(a), cover(b), cover(c)) {
            prop_assert!(!(covers(&a, &b) && covers(&b, &c)) || covers(&a, &c));
        }
    }
}
