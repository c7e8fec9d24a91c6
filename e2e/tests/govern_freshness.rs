//! What changes at the target behind the catalog's back, and what the target does by itself: neither gets round a rule.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
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

fn unit(out: &mut BytesMut, name: &str, sql: &str) {
    let none: [Option<&str>; 0] = [];
    let write = |_: Option<&str>, _: &mut BytesMut| Ok(IsNull::Yes);
    frontend::parse(name, sql, [], out).unwrap();
    frontend::bind("", name, [], none, write, [0], out).map_err(|_| ()).unwrap();
    frontend::execute("", 0, out).unwrap();
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

// === what an open transaction has done to the catalog ===

/// Runs `work` while somebody approves whatever is asked.
fn with_an_approver(world: &World, work: impl FnOnce()) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for item in world.sidecar.requests().unwrap() {
                    if item.pointer("/status/phase").is_some_and(|phase| phase == "Pending") {
                        let name = item.pointer("/metadata/name").and_then(|name| name.as_str()).unwrap();
                        world.sidecar.vote(ALICE, name, "approve").unwrap();
                    }
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        let done = catch_unwind(AssertUnwindSafe(work));
        over.store(true, Ordering::Relaxed);
        done.unwrap();
    });
}

fn maker() -> Policy {
    Policy::default()
        .without("no-ddl")
        .rule("{name: makes, action: RequireApproval, approval: patient, verbs: [DDL]}")
        .rule("{name: made, action: Allow, verbs: [Select, Insert], relations: ['public.made*']}")
}

#[test]
fn a_transaction_uses_the_tables_that_it_made() {
    let world = with("", &maker());
    with_an_approver(&world, || {
        let (mut wire, mut other) = (world.agent().unwrap(), world.agent().unwrap());
        let mut ask = |sql: &str| wire.query(sql).unwrap();
        for sql in [
            "BEGIN",
            "CREATE TABLE made (id int, ssn text)",
            "INSERT INTO made VALUES (1, 'CANARY-made'), (2, NULL)",
            "CREATE TABLE made_too AS SELECT 7 AS id",
        ] {
            assert_eq!(ask(sql).fault, None, "{sql}");
        }
        // Masks hold there as anywhere.
        let answer = ask("SELECT m.*, t.id FROM made m, made_too t ORDER BY m.id");
        assert_eq!(answer.fault, None);
        assert!(!answer.contains(CANARY.as_bytes()), "{answer:?}");
        assert_eq!(answer.rows.len(), 2);
        assert_eq!(other.query("SELECT id FROM made").unwrap().sqlstate(), "42P01");
        assert_eq!(ask("ALTER TABLE made_too ADD COLUMN more int DEFAULT 5").fault, None);
        assert_eq!(ask("SELECT more FROM made_too").texts(), [["5"]]);
        // What a savepoint takes back is not there.
        for sql in ["SAVEPOINT s", "CREATE TABLE made_late (id int)", "SELECT id FROM made_late", "ROLLBACK TO s"] {
            assert_eq!(ask(sql).fault, None, "{sql}");
        }
        assert_eq!(ask("SELECT id FROM made_late").sqlstate(), "42P01");
        assert_eq!(ask("ROLLBACK TO s").fault, None);
        assert_eq!(ask("SELECT count(*) FROM made").texts(), [["2"]]);
        assert_eq!(ask("COMMIT").fault, None);
        assert_eq!(ask("SELECT more FROM made_too").texts(), [["5"]]);
        // Rolled back, it was never there.
        for sql in ["BEGIN", "CREATE TABLE made_never (id int)", "SELECT id FROM made_never", "ROLLBACK"] {
            assert_eq!(ask(sql).fault, None, "{sql}");
        }
        assert_eq!(ask("SELECT id FROM made_never").sqlstate(), "42P01");
    });
}

/// Where a text would not see what others commit, their names decide: a view that is made anew could read something else.
#[test]
fn a_transaction_that_sees_the_past_gets_no_catalog_of_its_own() {
    let policy = maker().rule("{name: front, action: Allow, verbs: [Select], relations: [public.front]}");
    let world = with("CREATE VIEW front AS SELECT id, note AS name FROM orders", &policy);
    with_an_approver(&world, || {
        let mut wire = world.agent().unwrap();
        let mut ask = |sql: &str| wire.query(sql).unwrap();
        for sql in ["BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT id FROM log", "CREATE TABLE made (id int)"] {
            assert_eq!(ask(sql).fault, None, "{sql}");
        }
        world.server.admin("CREATE OR REPLACE VIEW front AS SELECT id, ssn AS name FROM customers").unwrap();
        thread::sleep(Duration::from_secs(2));
        let answer = ask("SELECT upper(name) FROM front WHERE id = 1");
        assert!(!answer.contains(CANARY.as_bytes()), "{answer:?}");
        assert_eq!(answer.sqlstate(), "42501");
        ask("ROLLBACK");
        for sql in ["BEGIN ISOLATION LEVEL REPEATABLE READ", "CREATE TABLE made (id int)"] {
            assert_eq!(ask(sql).fault, None, "{sql}");
        }
        assert_eq!(ask("SELECT id FROM made").sqlstate(), "42P01");
    });
}

/// At READ COMMITTED what others commit is seen in an open transaction that changed the catalog, too.
#[test]
fn a_view_that_was_made_again_is_seen_in_a_transaction_that_made_a_table() {
    let policy = maker().rule("{name: front, action: Allow, verbs: [Select], relations: [public.front]}");
    let world = with("CREATE VIEW front AS SELECT id, note AS name FROM orders", &policy);
    with_an_approver(&world, || {
        let mut wire = world.agent().unwrap();
        for sql in ["BEGIN", "CREATE TABLE made (id int)", "SELECT id FROM made"] {
            assert_eq!(wire.query(sql).unwrap().fault, None, "{sql}");
        }
        world.server.admin("CREATE OR REPLACE VIEW front AS SELECT id, ssn AS name FROM customers").unwrap();
        // What counts as recent depends on how long this machine takes to read it.
        thread::sleep(Duration::from_secs(3));
        let answer = wire.query("SELECT upper(name) FROM front WHERE id = 1").unwrap();
        assert!(!answer.contains(CANARY.as_bytes()), "{answer:?}");
        assert_eq!(answer.sqlstate(), "42501");
    });
}

/// The questions of ours leave the agent's statements and portals as they are.
#[test]
fn reading_the_catalog_takes_nothing_of_the_agents_away() {
    let world = with("", &maker());
    with_an_approver(&world, || {
        let mut wire = world.agent().unwrap();
        let none = || [Option::<&str>::None; 0];
        let write = |_: Option<&str>, _: &mut BytesMut| Ok(IsNull::Yes);
        let rows = |wire: &mut Wire, mut out: BytesMut| {
            frontend::sync(&mut out);
            wire.send(&out).unwrap();
            let messages = wire.until_ready().unwrap();
            assert!(!messages.iter().any(|m| m.tag == b'E'), "{messages:?}");
            messages.iter().filter(|m| m.tag == b'D').count()
        };
        assert_eq!(wire.query("BEGIN").unwrap().fault, None);
        let mut made = BytesMut::new();
        frontend::parse("make", "CREATE TABLE made AS SELECT 1 AS id", [], &mut made).unwrap();
        frontend::bind("make", "make", [], none(), write, [0], &mut made).map_err(|_| ()).unwrap();
        frontend::execute("make", 0, &mut made).unwrap();
        // The unnamed ones stay open behind it.
        frontend::parse("", "SELECT id FROM orders", [], &mut made).unwrap();
        frontend::bind("", "", [], none(), write, [0], &mut made).map_err(|_| ()).unwrap();
        frontend::execute("", 20, &mut made).unwrap();
        assert_eq!(rows(&mut wire, made), 20);
        let mut used = BytesMut::new();
        frontend::parse("use", "SELECT id FROM made", [], &mut used).unwrap();
        frontend::bind("use", "use", [], none(), write, [0], &mut used).map_err(|_| ()).unwrap();
        frontend::execute("use", 0, &mut used).unwrap();
        assert_eq!(rows(&mut wire, used), 1);
        let mut rest = BytesMut::new();
        frontend::execute("", 0, &mut rest).unwrap();
        frontend::bind("again", "", [], none(), write, [0], &mut rest).map_err(|_| ()).unwrap();
        frontend::execute("again", 0, &mut rest).unwrap();
        assert_eq!(rows(&mut wire, rest), 180 + 200);
        assert_eq!(wire.query("COMMIT").unwrap().fault, None);
    });
}

/// A view that is another behind a change of the same batch, or of a transaction that cannot be read.
#[test]
fn behind_what_moves_names_nothing_goes_by_them_until_they_were_read() {
    let tables = "CREATE VIEW front AS SELECT id FROM log; ALTER VIEW front OWNER TO agent_db; CREATE TABLE made (id int); \
                  ALTER TABLE made OWNER TO agent_db; ALTER TABLE log OWNER TO agent_db";
    let policy = maker()
        .rule("{name: front, action: Allow, verbs: [Select, Delete], relations: [public.front, public.log]}")
        .rule("{name: keeps, action: Deny, verbs: [Delete], relations: [public.items]}");
    let world = with(tables, &policy);
    let swap = "CREATE OR REPLACE VIEW front AS SELECT id FROM items";
    with_an_approver(&world, || {
        // In one batch, with and without an answer in between.
        for flushed in [false, true] {
            let mut wire = world.agent().unwrap();
            let mut out = BytesMut::new();
            unit(&mut out, "", swap);
            if flushed {
                frontend::flush(&mut out);
                wire.send(&std::mem::take(&mut out)).unwrap();
                wire.until(b'C').unwrap();
            }
            unit(&mut out, "", "DELETE FROM front");
            assert_eq!(sent(&mut wire, out).0, "55000", "{flushed}");
        }
        // What was prepared before, and a table that is made of others.
        let mut wire = world.agent().unwrap();
        let mut out = BytesMut::new();
        frontend::parse("old", "DELETE FROM front", [], &mut out).unwrap();
        assert_eq!(sent(&mut wire, out).0, "");
        let mut out = BytesMut::new();
        unit(&mut out, "", swap);
        let none: [Option<&str>; 0] = [];
        let write = |_: Option<&str>, _: &mut BytesMut| Ok(IsNull::Yes);
        frontend::bind("", "old", [], none, write, [0], &mut out).map_err(|_| ()).unwrap();
        frontend::execute("", 0, &mut out).unwrap();
        assert_eq!(sent(&mut wire, out).0, "55000");
        let mut out = BytesMut::new();
        unit(&mut out, "", swap);
        unit(&mut out, "", "CREATE TABLE made_of (LIKE made)");
        assert_eq!(sent(&mut wire, out).0, "55000");
        // Where the transaction sees the past.
        let mut wire = world.agent().unwrap();
        for sql in ["BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT id FROM log", swap] {
            assert_eq!(wire.query(sql).unwrap().fault, None, "{sql}");
        }
        let answer = wire.query("DELETE FROM front").unwrap();
        assert_eq!(answer.sqlstate(), "55000", "{:?}", answer.fault);
        assert!(answer.fault.unwrap().hint.contains("READ COMMITTED"));
        wire.query("ROLLBACK").unwrap();
        // At READ COMMITTED it is read, and judged as what it is.
        for sql in ["BEGIN", swap] {
            assert_eq!(wire.query(sql).unwrap().fault, None, "{sql}");
        }
        assert_eq!(wire.query("DELETE FROM front").unwrap().sqlstate(), "42501");
        wire.query("ROLLBACK").unwrap();
        // A name that only this transaction has freed: others would find another thing under it.
        for sql in ["BEGIN", "DROP TABLE made"] {
            assert_eq!(wire.query(sql).unwrap().fault, None, "{sql}");
        }
        let answer = wire.query("CREATE VIEW made AS SELECT id FROM items").unwrap();
        assert_eq!(answer.sqlstate(), "42501");
        assert!(answer.fault.unwrap().message.contains("`public.made` has for everybody else"));
        wire.query("ROLLBACK").unwrap();
    });
    assert_eq!(world.server.admin("SELECT count(*) FROM items").unwrap(), "200");
}

/// The view was over a forbidden table, the transaction made it harmless, and takes that back in the batch that reads it.
#[test]
fn what_a_savepoint_takes_back_is_not_what_is_judged_behind_it() {
    let policy = maker()
        .rule("{name: front, action: Allow, verbs: [Select], relations: [public.front]}")
        .rule("{name: vault, action: Deny, verbs: [Select], relations: [public.vault]}");
    let tables = "CREATE VIEW front AS SELECT 1 AS id, secret AS name FROM vault; ALTER VIEW front OWNER TO agent_db";
    let world = with(tables, &policy);
    let read = "SELECT upper(name) FROM front WHERE id = 1";
    with_an_approver(&world, || {
        for (name, alone, last) in [("extended", false, false), ("one by one", true, false), ("query", false, true)] {
            let mut wire = world.agent().unwrap();
            for sql in
                ["BEGIN", "SAVEPOINT s", "CREATE OR REPLACE VIEW front AS SELECT id, note AS name FROM orders", read]
            {
                assert_eq!(wire.query(sql).unwrap().fault, None, "{name}: {sql}");
            }
            let mut out = BytesMut::new();
            unit(&mut out, "back", "ROLLBACK TO s");
            let (mut sqlstate, mut shown) = (String::new(), false);
            if alone {
                (sqlstate, shown) = sent(&mut wire, std::mem::take(&mut out));
                assert_eq!((sqlstate.as_str(), shown), ("", false), "{name}");
            }
            match last {
                true => {
                    wire.send(&out).unwrap();
                    let answer = wire.query(read).unwrap();
                    shown |= answer.contains(CANARY.as_bytes());
                    sqlstate.push_str(answer.sqlstate());
                }
                false => {
                    unit(&mut out, "read", read);
                    let (code, canary) = sent(&mut wire, out);
                    shown |= canary;
                    sqlstate.push_str(&code);
                }
            }
            // It is judged as what it is again, or, in one batch, as one whose meaning is not known.
            let refused = ["42501", "55000"].contains(&sqlstate.as_str());
            assert!(refused && !shown, "{name}: {sqlstate}");
        }
    });
}
