//! What changes at the target behind the catalog's back, and what the target does by itself: neither gets round a rule.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bytes::BytesMut;
use e2e::proxy::ALICE;
use e2e::wait::eventually;
use e2e::wire::Wire;
use e2e::world::{self, CANARY, Policy, World};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

fn with(tables: &str, policy: &Policy) -> World {
    let server = world::server().unwrap();
    server.admin(tables).unwrap();
    server.admin("GRANT ALL ON ALL TABLES IN SCHEMA public TO agent_db").unwrap();
    let sidecar = world::sidecar(&server, policy).unwrap();
    World { sidecar, server }
}

/// The SQLSTATE of what comes back for these messages, and whether a canary was in it.
fn sent(wire: &mut Wire, mut out: BytesMut) -> (String, bool) {
    frontend::sync(&mut out);
    wire.send(&out).unwrap();
    let messages = wire.until_ready().unwrap();
    let fault = messages.iter().find_map(|m| m.fault()).map_or_else(String::new, |fault| fault.sqlstate);
    (fault, messages.iter().any(|m| m.body.windows(CANARY.len()).any(|w| w == CANARY.as_bytes())))
}

/// Bind and Execute of a statement that was prepared under this name.
fn run_prepared(wire: &mut Wire, name: &str) -> (String, bool) {
    let mut out = BytesMut::new();
    let none: [Option<&str>; 0] = [];
    let write = |_: Option<&str>, _: &mut BytesMut| Ok(IsNull::Yes);
    frontend::bind("", name, [], none, write, [0], &mut out).map_err(|_| ()).unwrap();
    frontend::execute("", 0, &mut out).unwrap();
    sent(wire, out)
}

#[test]
fn a_column_that_got_a_masked_name_after_the_catalog_was_read_is_not_shown() {
    let tables = "CREATE TABLE notes (id int PRIMARY KEY, contact text);
                  INSERT INTO notes VALUES (1, 'CANARY-note');
                  CREATE TABLE more (id int PRIMARY KEY);
                  INSERT INTO more VALUES (1);";
    let policy = Policy::default()
        .rule("{name: notes, action: Allow, verbs: [Select, Update], relations: [public.notes, public.more]}");
    let world = with(tables, &policy);
    let mut wire = world.agent().unwrap();
    let before = wire.query("SELECT to_json(n) FROM notes n").unwrap();
    assert!(before.contains(b"CANARY"), "{before:?}");
    world
        .server
        .admin("ALTER TABLE notes RENAME contact TO ssn; ALTER TABLE more ADD COLUMN ssn text DEFAULT 'CANARY-more'")
        .unwrap();
    for sql in [
        "SELECT * FROM notes",
        "SELECT to_json(n) FROM notes n",
        "TABLE notes UNION ALL TABLE notes",
        "SELECT to_json(x) FROM (SELECT * FROM more) x",
        "SELECT (m).* FROM more m",
        "SELECT * FROM more NATURAL JOIN notes",
        "UPDATE more SET id = 1 WHERE id = 1 RETURNING *",
        "SELECT * FROM more",
        "COPY more TO STDOUT",
        "COPY (SELECT m::text FROM more m) TO STDOUT",
    ] {
        let answer = wire.query(sql).unwrap();
        assert!(!answer.contains(CANARY.as_bytes()), "{sql}: {answer:?}");
    }
}

#[test]
fn a_view_that_was_made_again_is_judged_on_a_recent_catalog() {
    let policy = Policy::default().rule("{name: front, action: Allow, verbs: [Select], relations: [public.front]}");
    let world = with("CREATE VIEW front AS SELECT id, note AS name FROM orders", &policy);
    let mut wire = world.agent().unwrap();
    let mut out = BytesMut::new();
    frontend::parse("kept", "SELECT lower(name) FROM front ORDER BY 1 LIMIT 1", [], &mut out).unwrap();
    assert_eq!(sent(&mut wire, out).0, "");
    assert_eq!(run_prepared(&mut wire, "kept").0, "");
    assert_eq!(wire.query("SELECT upper(name) FROM front WHERE id = 1").unwrap().fault, None);
    world.server.admin("CREATE OR REPLACE VIEW front AS SELECT id, ssn AS name FROM customers").unwrap();
    // Far shorter than what counts as fresh; what counts as recent depends on how long this machine takes to read it.
    eventually("the prepared statement to be refused", Duration::from_secs(6), || {
        let (sqlstate, shown) = run_prepared(&mut wire, "kept");
        !shown && !sqlstate.is_empty()
    })
    .unwrap();
    let answer = wire.query("SELECT upper(name) FROM front WHERE id = 1").unwrap();
    assert!(!answer.contains(CANARY.as_bytes()), "{answer:?}");
    assert_eq!(answer.sqlstate(), "42501");
}

#[test]
fn what_a_foreign_key_does_by_itself_is_judged_too() {
    let tables = "CREATE TABLE parents (id int PRIMARY KEY);
                  CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents ON DELETE CASCADE);
                  CREATE TABLE toys (id int PRIMARY KEY, child int REFERENCES children ON DELETE SET NULL);
                  CREATE TABLE free (id int PRIMARY KEY);
                  CREATE TABLE kept (id int PRIMARY KEY, free int REFERENCES free);
                  INSERT INTO parents VALUES (1); INSERT INTO children VALUES (1, 1); INSERT INTO toys VALUES (1, 1);
                  INSERT INTO free VALUES (1), (2); INSERT INTO kept VALUES (1, 1);";
    let policy = Policy::default()
        .rule("{name: parents, action: Allow, verbs: [Select, Delete], relations: [public.parents, public.free]}")
        .rule("{name: no-toys, action: Deny, verbs: [Update], relations: [public.toys]}")
        .rule("{name: no-kept, action: Deny, verbs: [Delete, Update], relations: [public.kept]}");
    let world = with(tables, &policy);
    let mut wire = world.agent().unwrap();
    let answer = wire.query("DELETE FROM parents WHERE id = 1").unwrap();
    assert_eq!(answer.sqlstate(), "42501", "{answer:?}");
    assert!(world.server.admin("SELECT child FROM toys").unwrap().contains('1'));
    // A key without an action changes nothing.
    assert_eq!(wire.query("DELETE FROM free WHERE id = 2").unwrap().fault, None);
}

#[test]
fn a_table_that_a_transaction_made_is_known_once_it_is_committed() {
    let policy = Policy::default()
        .without("no-ddl")
        .rule("{name: makes, action: RequireApproval, approval: person, verbs: [DDL]}")
        .rule("{name: made, action: Allow, verbs: [Select], relations: ['public.m*']}");
    let world = with("", &policy);
    let mut wire = world.agent().unwrap();
    let mut ask = |sql: &str| wire.query(sql).unwrap();
    ask("BEGIN");
    assert_eq!(ask("CREATE TABLE made (id int)").sqlstate(), "PX001");
    ask("ROLLBACK");
    let name = world.sidecar.asked("CREATE TABLE", Duration::from_secs(15)).unwrap();
    world.sidecar.vote(ALICE, &name, "approve").unwrap();
    ask("BEGIN");
    assert_eq!(ask("CREATE TABLE made (id int)").fault, None);
    // The catalog is read now, and the table is not in it yet.
    assert_eq!(ask("SELECT id FROM log WHERE id = 0").fault, None);
    assert_eq!(ask("COMMIT").fault, None);
    assert_eq!(ask("SELECT id FROM made").fault, None);
}
