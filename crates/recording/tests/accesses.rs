//! What an operation touched is recorded as data, whole or not at all.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{config, intent, key, open, write};
use recording::entry::{Access, MAX_ITEMS};
use recording::reader::entries;
use recording::spool::faulty::FaultyStorage;
use recording::{Body, Durability, Entry};

fn access(fields: usize, name: &str) -> Access {
    Access {
        verb: "Update".into(),
        kind: "Relation".into(),
        path: vec!["public".into(), name.into()],
        fields: Some((0..fields).map(|n| format!("c{n}")).collect()),
        bounded: Some(true),
        indirect: true,
    }
}

/// What a reader finds of these.
fn recorded(accesses: &[Access]) -> Option<Vec<Access>> {
    let storage = FaultyStorage::new();
    let (writer, _) = open(&storage, key(), config());
    let Entry { session, op, body: Body::Intent(mut body) } = intent(1) else { panic!("no intent") };
    body.decided.accesses = Some(accesses.to_vec());
    write(&writer, Entry { session, op, body: Body::Intent(body) }, Durability::Written).unwrap();
    writer.close().unwrap();
    let found = entries(&storage).unwrap().find_map(|line| match line.unwrap().body {
        Body::Intent(intent) => Some(intent.decided.accesses),
        _ => None,
    });
    found.unwrap()
}

#[test]
fn a_list_is_kept_whole_or_left_out() {
    for kept in [vec![], vec![access(0, "orders")], vec![access(500, "wide")], vec![access(1, "t"); MAX_ITEMS]] {
        assert_eq!(recorded(&kept), Some(kept));
    }
    for too_much in
        [vec![access(1, "t"); MAX_ITEMS + 1], vec![access(2_000, "wide")], vec![access(1, &"\u{1}".repeat(20_000))]]
    {
        assert_eq!(recorded(&too_much), None);
    }
    // Escapes in JSON are six times as long, and the line still has room.
    let hostile = vec![access(100, &"\u{1}".repeat(12_000))];
    assert_eq!(recorded(&hostile), Some(hostile));
}

#[test]
fn an_entry_of_before_has_none() {
    let old = r#"{"protocol":"postgres","action":"SELECT","resources":[],"digest":"","decision":"Allow","rules":[],"revision":""}"#;
    let decided: recording::entry::Decided = serde_json::from_str(old).unwrap();
    assert_eq!((decided.accesses, decided.would_deny_word), (None, None));
}
