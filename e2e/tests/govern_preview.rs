//! The card shows the impact: numbers that the target gave, of a preview that can never be the statement itself; and a
//! change that turns out far larger than what was approved is rolled back. Oracles: PostgreSQL's tables and its own log.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::os::unix::process::ExitStatusExt;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use e2e::proxy::{ALICE, Setup, Sidecar};
use e2e::recorded::{self, INTACT, UNSIGNED_TAIL};
use e2e::wait::eventually;
use e2e::wire::{Answer, Form, Format, Message, Wire};
use e2e::world::{self, Policy, World};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(15);
const LITERAL: &str = "LITERAL-CANARY-4711";

const TABLES: &str = "
CREATE TABLE parts (id int PRIMARY KEY, batch int NOT NULL, note text);
INSERT INTO parts SELECT n, n / 100, 'part ' || n FROM generate_series(1, 999) n;
CREATE TABLE late (id int PRIMARY KEY, of int REFERENCES parts DEFERRABLE INITIALLY DEFERRED);
INSERT INTO late VALUES (1, 950);
CREATE TABLE tacc (id int, level text) PARTITION BY LIST (level);
CREATE TABLE tacc_gold PARTITION OF tacc FOR VALUES IN ('gold');
CREATE TABLE tacc_free PARTITION OF tacc DEFAULT;
INSERT INTO tacc VALUES (1, 'gold'), (2, 'free');
CREATE TABLE noisy (id int PRIMARY KEY, v int);
INSERT INTO noisy SELECT n, n FROM generate_series(1, 40) n;
CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'row is %', NEW; RETURN NEW; END$$;
CREATE TRIGGER say AFTER UPDATE ON noisy FOR EACH ROW EXECUTE FUNCTION say();
CREATE TABLE above (id int PRIMARY KEY);
CREATE TABLE below (id int PRIMARY KEY, up int REFERENCES above ON DELETE CASCADE);
INSERT INTO above VALUES (1), (2);
INSERT INTO below SELECT n, 1 FROM generate_series(1, 50) n;
CREATE TABLE huge AS SELECT n AS id, repeat('x', 10) AS pad FROM generate_series(1, 100500) n;
ANALYZE;
";

fn policy() -> Policy {
    let approvals = "
    - {name: both, pendingTTL: 60s, holdFor: 1s, preview: [Explain, Count, MaskedStatement]}
    - {name: planner, pendingTTL: 60s, holdFor: 1s, preview: [Explain]}
    - {name: nothing, pendingTTL: 60s, holdFor: 1s, preview: [MaskedStatement]}
    - {name: wide, pendingTTL: 60s, holdFor: 1s, preview: [Count]}
";
    let rules = "
          - {name: reads, action: Allow, verbs: [Select], relations: [public.orders, public.customers, public.items,
             public.parts, public.late, public.huge, public.log, public.noisy, public.above, public.below, public.tacc, public.tacc_gold]}
          - {name: gated, action: RequireApproval, approval: both, verbs: [Select, Delete], relations: [public.vault]}
          - {name: both, action: RequireApproval, approval: both, verbs: [Update, Delete, Insert],
             relations: [public.parts, public.late, public.huge, public.noisy, public.above, public.below]}
          - {name: changes, action: RequireApproval, approval: both, verbs: [Update], relations: [public.orders]}
          - {name: planner, action: RequireApproval, approval: planner, verbs: [Delete], relations: [public.items]}
          - {name: nothing, action: RequireApproval, approval: nothing, verbs: [Update], relations: [public.items]}
          - {name: wide, action: RequireApproval, approval: wide, verbs: [Delete], relations: [public.log]}
";
    let policy = Policy { approvals: approvals.to_owned(), rules: rules.to_owned(), ..Policy::default() };
    policy.mask("{name: level, columns: [public.tacc.level], method: Redact, inPredicates: Deny}")
}

fn new_world(setup: Setup) -> World {
    let server = world::server().unwrap();
    server.admin(TABLES).unwrap();
    server.admin(&format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {}", world::ROLE)).unwrap();
    let sidecar = world::sidecar_with(&server, &policy(), setup).unwrap();
    World { sidecar, server }
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| new_world(Setup::default()))
}

fn run(form: Form, sql: &str, parameters: &[Option<&str>]) -> Answer {
    world().agent().unwrap().run(form, Format::Text, sql, parameters).unwrap()
}

/// The request that the agent was told of.
fn pending(answer: &Answer) -> String {
    let fault = answer.fault.clone().unwrap_or_default();
    assert_eq!(fault.sqlstate, "PX001", "{fault}");
    fault.detail
}

fn impact(sidecar: &Sidecar, name: &str) -> Value {
    sidecar.request(name).unwrap()["spec"]["impact"].clone()
}

fn approve(sidecar: &Sidecar, name: &str) {
    assert_eq!(sidecar.vote(ALICE, name, "approve").unwrap()["is"], "decided");
}

fn one(sql: &str) -> String {
    world().server.admin(sql).unwrap().trim().to_owned()
}

/// The state of everything that agents of these tests may change.
fn content(world: &World) -> String {
    let tables = ["parts", "late", "orders", "items", "log"];
    let each = tables
        .map(|table| format!("SELECT md5(coalesce(string_agg(t::text, ',' ORDER BY t::text), '')) FROM {table} t"));
    world.server.admin(&each.join(" UNION ALL ")).unwrap()
}

/// What the server ran that has `part` in it: of ours before (EXPLAIN, count), and the rest.
fn ran(part: &str) -> (usize, usize, usize) {
    let all: Vec<String> = world().server.executed().into_iter().filter(|text| text.contains(part)).collect();
    let explains = all.iter().filter(|text| text.starts_with("EXPLAIN (FORMAT JSON) ")).count();
    let counts = all.iter().filter(|text| text.starts_with("SELECT pg_catalog.count(*) FROM (SELECT 1 FROM ")).count();
    (explains, counts, all.len() - explains - counts)
}

#[test]
fn the_card_shows_the_estimate_and_the_count_and_looks_once() {
    let sql = "UPDATE parts c1 SET note = 'x' WHERE c1.batch = 3 AND c1.id > 0";
    let name = pending(&run(Form::Simple, sql, &[]));
    let shown = impact(&world().sidecar, &name);
    assert_eq!(shown["countedRows"], 100, "{shown}");
    let estimated = shown["estimatedRows"].as_u64().unwrap();
    assert!((50..=200).contains(&estimated), "{shown}");
    assert_eq!(shown["rollbackAbove"], 120, "{shown}");
    let means = shown["means"].as_str().unwrap();
    assert_eq!(
        means,
        format!(
            "the planner expects about {estimated} rows; 100 rows matched its condition when it was asked; it is rolled back \
             if it changes more than 120 rows when it runs"
        )
    );
    // The same while it is open: the same request, and no second look.
    for _ in 0..3 {
        assert_eq!(pending(&run(Form::Simple, sql, &[])), name);
    }
    assert_eq!(ran(" c1"), (1, 1, 0), "{:?}", world().server.executed());
    let state = world().sidecar.state().display().to_string();
    let show =
        world().sidecar.cli_plain(Some(ALICE), &["approvals", "show", &name, "--state-dir", &state]).unwrap().all();
    assert!(show.contains("100 rows matched its condition"), "{show}");
    // What the planner and the count ran in could not have changed anything.
    let read_only =
        world().server.executed().iter().filter(|text| text.starts_with("BEGIN TRANSACTION READ ONLY")).count();
    assert!(read_only >= 2);
    approve(&world().sidecar, &name);
    let answer = run(Form::Simple, sql, &[]);
    assert_eq!(
        (answer.fault, answer.tags.as_slice(), answer.status),
        (None, ["UPDATE 100".to_owned()].as_slice(), Some(b'I'))
    );
    assert_eq!(ran(" c1"), (1, 1, 1));
    assert_eq!(one("SELECT count(*) FROM parts WHERE note = 'x' AND batch = 3"), "100");
    // On record: what people were told, the bound, our own transaction, and the real number.
    let lines = recorded::lines(&world().sidecar.recordings()).unwrap();
    let asked = lines.iter().find(|line| line["name"] == name.as_str() && line["event"] == "requested").unwrap();
    assert_eq!((&asked["impact"]["counted_rows"], &asked["impact"]["means"]), (&shown["countedRows"], &shown["means"]));
    let intent = lines.iter().find(|line| line["kind"] == "intent" && line["approval"] == name.as_str()).unwrap();
    assert_eq!(intent["rollback_above"], 120, "{intent}");
    let outcome = lines
        .iter()
        .find(|line| line["kind"] == "outcome" && line["session"] == intent["session"] && line["op"] == intent["op"]);
    let outcome = outcome.unwrap();
    assert_eq!((&outcome["status"], outcome["rows"].as_u64()), (&Value::from("ok"), Some(100)), "{outcome}");
    for own in ["impact preview: estimate", "impact preview: count", "guard: begin", "guard: commit"] {
        let ours = |line: &&Value| line["kind"] == "intent" && line["action"] == own && line["internal"] == true;
        assert!(lines.iter().any(|line| ours(&line)), "{own}");
    }
}

/// Parse, Bind, Describe, Execute and Sync, with the values as they are.
fn bound(sql: &str, types: &[u32], formats: &[i16], values: &[&[u8]]) -> Vec<u8> {
    let mut out = BytesMut::new();
    frontend::parse("", sql, types.iter().copied(), &mut out).unwrap();
    let write = |value: &&[u8], out: &mut BytesMut| {
        out.extend_from_slice(value);
        Ok(IsNull::No)
    };
    let bound = frontend::bind("", "", formats.iter().copied(), values, write, Some(0), &mut out);
    assert!(bound.is_ok());
    frontend::describe(b'P', "", &mut out).unwrap();
    frontend::execute("", 0, &mut out).unwrap();
    frontend::sync(&mut out);
    out.to_vec()
}

fn exchange(wire: &mut Wire, bytes: &[u8]) -> Vec<Message> {
    wire.send(bytes).unwrap();
    wire.until_ready().unwrap()
}

fn fault(messages: &[Message]) -> e2e::wire::Fault {
    messages.iter().find_map(Message::fault).unwrap_or_default()
}

#[test]
fn parameters_count_in_text_and_in_binary() {
    let text = "DELETE FROM parts c2 WHERE c2.batch = $1 AND c2.note <> $2";
    let answer = run(Form::Extended, text, &[Some("4"), Some("nothing")]);
    let shown = impact(&world().sidecar, &pending(&answer));
    assert_eq!((&shown["countedRows"], shown["remark"].is_null()), (&Value::from(100), true), "{shown}");
    assert!(shown["estimatedRows"].as_u64().unwrap() > 10, "{shown}");

    // int8 in binary, a text that stands outside of the condition, and types that nobody said.
    let sql = "UPDATE parts c3 SET note = $2 WHERE c3.id <= $1 AND c3.batch = 0";
    for (types, formats) in [(vec![20_u32, 25], vec![1_i16, 0]), (vec![20, 0], vec![1, 1])] {
        let message = bound(sql, &types, &formats, &[&7_i64.to_be_bytes(), LITERAL.as_bytes()]);
        let mut wire = world().agent().unwrap();
        let answer = exchange(&mut wire, &message);
        assert_eq!(fault(&answer).sqlstate, "PX001", "{answer:?}");
        let name = fault(&answer).detail;
        let shown = impact(&world().sidecar, &name);
        assert_eq!((&shown["countedRows"], &shown["rollbackAbove"]), (&Value::from(7), &Value::from(17)), "{shown}");
        assert!(!shown.to_string().contains("CANARY"), "{shown}");
        approve(&world().sidecar, &name);
        let answer = exchange(&mut wire, &message);
        assert_eq!(fault(&answer).sqlstate, "", "{answer:?}");
        // ParseComplete, BindComplete, NoData, the tag, ReadyForQuery: what a server says, and nothing of ours.
        assert_eq!(answer.iter().map(|m| m.tag).collect::<Vec<_>>(), b"12nCZ");
        assert_eq!(one(&format!("SELECT count(*) FROM parts WHERE note = '{LITERAL}'")), "7");
        world().server.admin("UPDATE parts SET note = 'y' WHERE id <= 7").unwrap();
    }
}

#[test]
fn what_grew_beyond_the_approval_is_rolled_back() {
    for (at, form) in [Form::Simple, Form::Extended].into_iter().enumerate() {
        let batch = 6000 + at;
        world()
            .server
            .admin(&format!("INSERT INTO parts SELECT {batch}0 + n, {batch}, 'few' FROM generate_series(1, 3) n"))
            .unwrap();
        let sql = format!("UPDATE parts grew{at} SET note = 'gone' WHERE grew{at}.batch = {batch} RETURNING id, note");
        let name = pending(&run(form, &sql, &[]));
        let shown = impact(&world().sidecar, &name);
        assert_eq!((&shown["countedRows"], &shown["rollbackAbove"]), (&Value::from(3), &Value::from(13)), "{shown}");
        approve(&world().sidecar, &name);
        // Between approval and run somebody else adds more.
        world()
            .server
            .admin(&format!("INSERT INTO parts SELECT {batch}00 + n, {batch}, 'more' FROM generate_series(1, 20) n"))
            .unwrap();
        // Of this batch alone: the other tests change the rest meanwhile.
        let rows = format!("SELECT md5(string_agg(p::text, ',' ORDER BY id)) FROM parts p WHERE batch = {batch}");
        let before = one(&rows);
        let answer = run(form, &sql, &[]);
        let fault = answer.fault.clone().unwrap();
        assert_eq!(fault.sqlstate, "PX005", "{fault:?}");
        assert!(fault.message.contains("changed 23 rows") && fault.message.contains("13"), "{fault:?}");
        assert_eq!((answer.status, answer.rows.len(), answer.tags.len()), (Some(b'I'), 0, 0), "{answer:?}");
        assert_eq!(one(&rows), before, "{form:?}");
        assert_eq!(one(&format!("SELECT count(*) FROM parts WHERE note = 'gone' AND batch = {batch}")), "0");
        let lines = recorded::lines(&world().sidecar.recordings()).unwrap();
        let intent = lines.iter().find(|line| line["kind"] == "intent" && line["approval"] == name.as_str()).unwrap();
        eventually("its outcome", SOON, || {
            let lines = recorded::lines(&world().sidecar.recordings()).unwrap();
            lines.iter().any(|line| {
                line["kind"] == "outcome"
                    && line["session"] == intent["session"]
                    && line["op"] == intent["op"]
                    && line["status"] == "rolled_back"
                    && line["rows"] == 23
                    && line["sqlstate"] == "PX005"
            })
        })
        .unwrap();
        // The approval is used up: the next one is another request, with the new number.
        let next = pending(&run(form, &sql, &[]));
        assert_ne!(next, name);
        assert_eq!(impact(&world().sidecar, &next)["countedRows"], 23);
        approve(&world().sidecar, &next);
        let answer = run(form, &sql, &[]);
        assert_eq!(
            (answer.fault.clone(), answer.rows.len(), answer.tags.as_slice()),
            (None, 23, ["UPDATE 23".to_owned()].as_slice()),
            "{answer:?}"
        );
        assert_eq!(one(&format!("SELECT count(*) FROM parts WHERE note = 'gone' AND batch = {batch}")), "23");
    }
}

#[test]
fn the_session_goes_on_after_a_rollback_and_keeps_what_it_prepared() {
    world().server.admin("INSERT INTO parts SELECT 700000 + n, 7000, 'p' FROM generate_series(1, 2) n").unwrap();
    let mut wire = world().agent().unwrap();
    let mut out = BytesMut::new();
    frontend::parse("", "SELECT id FROM parts WHERE batch = 7000", std::iter::empty(), &mut out).unwrap();
    frontend::parse("kept", "DELETE FROM parts kept1 WHERE kept1.batch = 7000", std::iter::empty(), &mut out).unwrap();
    frontend::sync(&mut out);
    exchange(&mut wire, &out);
    let mut execute = BytesMut::new();
    let none: [&[u8]; 0] = [];
    let written = frontend::bind("", "kept", [], none, |_, _| Ok(IsNull::No), Some(0), &mut execute);
    assert!(written.is_ok());
    frontend::execute("", 0, &mut execute).unwrap();
    frontend::sync(&mut execute);
    let name = fault(&exchange(&mut wire, &execute)).detail;
    approve(&world().sidecar, &name);
    world().server.admin("INSERT INTO parts SELECT 710000 + n, 7000, 'p' FROM generate_series(1, 30) n").unwrap();
    let answer = exchange(&mut wire, &execute);
    assert_eq!(fault(&answer).sqlstate, "PX005", "{answer:?}");
    // Both statements are still there: our BEGIN and ROLLBACK took no name of the agent's away.
    let mut again = BytesMut::new();
    let written = frontend::bind("", "", [], none, |_, _| Ok(IsNull::No), Some(0), &mut again);
    assert!(written.is_ok());
    frontend::execute("", 0, &mut again).unwrap();
    frontend::sync(&mut again);
    let rows = exchange(&mut wire, &again);
    assert_eq!(rows.iter().filter(|m| m.tag == b'D').count(), 32, "{rows:?}");
    assert_eq!(wire.query("SELECT 1").unwrap().status, Some(b'I'));
}

#[test]
fn what_waits_for_the_commit_can_still_fail_it() {
    let sql = "DELETE FROM parts dl1 WHERE dl1.id = 950";
    let name = pending(&run(Form::Extended, sql, &[]));
    approve(&world().sidecar, &name);
    let answer = run(Form::Extended, sql, &[]);
    // The foreign key of `late` is looked at when the transaction ends.
    assert_eq!((answer.sqlstate(), answer.status, answer.tags.len()), ("23503", Some(b'I'), 0), "{answer:?}");
    assert_eq!(one("SELECT count(*) FROM parts WHERE id = 950"), "1");
}

#[test]
fn answers_are_not_given_before_the_end() {
    // A Flush behind Execute asks for the answer before it can be compared.
    let sql = "UPDATE parts fl1 SET note = 'flushed' WHERE fl1.id = 801";
    let mut wire = world().agent().unwrap();
    let whole = bound(sql, &[], &[], &[]);
    let name = fault(&exchange(&mut wire, &whole)).detail;
    approve(&world().sidecar, &name);
    let mut flushed = whole[..whole.len() - 5].to_vec();
    flushed.extend_from_slice(&[b'H', 0, 0, 0, 4]);
    wire.send(&flushed).unwrap();
    let heard = wire.until(b'E').unwrap();
    assert_eq!(fault(&heard).sqlstate, "42501", "{heard:?}");
    wire.send(&[b'S', 0, 0, 0, 4]).unwrap();
    let rest = wire.until_ready().unwrap();
    assert_eq!(rest.last().unwrap().body.as_ref(), b"I", "{rest:?}");
    assert_eq!(one("SELECT count(*) FROM parts WHERE note = 'flushed'"), "0");

    // Another statement in its batch.
    let name = fault(&exchange(&mut wire, &whole)).detail;
    approve(&world().sidecar, &name);
    let mut two = whole[..whole.len() - 5].to_vec();
    two.extend_from_slice(&bound("SELECT 1", &[], &[], &[]));
    let answer = exchange(&mut wire, &two);
    assert_eq!(fault(&answer).sqlstate, "42501", "{answer:?}");
    assert_eq!(one("SELECT count(*) FROM parts WHERE note = 'flushed'"), "0");

    // More rows than can be held back.
    let sql = "UPDATE parts fl2 SET note = repeat('z', 20000) WHERE fl2.batch = 2 RETURNING note";
    let name = pending(&run(Form::Simple, sql, &[]));
    approve(&world().sidecar, &name);
    let answer = run(Form::Simple, sql, &[]);
    assert_eq!((answer.sqlstate(), answer.status, answer.rows.len()), ("54000", Some(b'I'), 0), "{:?}", answer.fault);
    assert_eq!(one("SELECT count(*) FROM parts WHERE length(note) = 20000"), "0");
}

#[test]
fn an_agent_that_leaves_before_the_end_leaves_nothing() {
    let sql = "UPDATE parts hu1 SET note = 'hung' WHERE hu1.id = 811";
    let name = pending(&run(Form::Simple, sql, &[]));
    approve(&world().sidecar, &name);
    let mut other = world().native().unwrap();
    other.query("BEGIN").unwrap();
    other.query("UPDATE parts SET note = note WHERE id = 811").unwrap();
    let mut wire = world().agent().unwrap();
    let mut out = BytesMut::new();
    frontend::query(sql, &mut out).unwrap();
    wire.send(&out).unwrap();
    eventually("the change to wait for the lock", SOON, || {
        one("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%hu1%' AND pid <> pg_backend_pid()") == "1"
    })
    .unwrap();
    drop(wire);
    let rolled_back = || {
        let lines = recorded::lines(&world().sidecar.recordings()).unwrap();
        let intent = lines.iter().find(|line| line["kind"] == "intent" && line["approval"] == name.as_str()).unwrap();
        lines.iter().any(|line| {
            line["kind"] == "outcome"
                && line["session"] == intent["session"]
                && line["op"] == intent["op"]
                && line["status"] == "rolled_back"
        })
    };
    eventually("its outcome", SOON, rolled_back).unwrap();
    other.query("COMMIT").unwrap();
    eventually("nobody to be at it", SOON, || {
        one("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%hu1%' AND state <> 'idle' AND pid <> pg_backend_pid()") == "0"
    })
    .unwrap();
    assert_eq!(one("SELECT count(*) FROM parts WHERE note = 'hung'"), "0");
}

#[test]
fn a_cancel_reaches_what_runs_in_our_transaction() {
    let sql = "UPDATE parts cc1 SET note = 'cancelled' WHERE cc1.id = 821";
    let name = pending(&run(Form::Extended, sql, &[]));
    approve(&world().sidecar, &name);
    let mut other = world().native().unwrap();
    other.query("BEGIN").unwrap();
    other.query("UPDATE parts SET note = note WHERE id = 821").unwrap();
    let mut wire = world().agent().unwrap();
    wire.send(&bound(sql, &[], &[], &[])).unwrap();
    eventually("the change to wait for the lock", SOON, || {
        one("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%cc1%' AND pid <> pg_backend_pid()")
            == "1"
    })
    .unwrap();
    wire.cancel(world().sidecar.port()).unwrap();
    let answer = wire.until_ready().unwrap();
    assert_eq!(fault(&answer).sqlstate, "57014", "{answer:?}");
    assert_eq!(answer.last().unwrap().body.as_ref(), b"I", "{answer:?}");
    other.query("COMMIT").unwrap();
    assert_eq!(one("SELECT count(*) FROM parts WHERE note = 'cancelled'"), "0");
    assert_eq!(wire.query("SELECT 1").unwrap().tags, ["SELECT 1"]);
}

#[test]
fn a_preview_that_fails_keeps_nobody_from_being_asked() {
    let mut other = world().native().unwrap();
    other.query("BEGIN").unwrap();
    other.query("LOCK TABLE late IN ACCESS EXCLUSIVE MODE").unwrap();
    let begun = Instant::now();
    let name = pending(&run(Form::Simple, "DELETE FROM late lk1 WHERE lk1.id = 77", &[]));
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    other.query("ROLLBACK").unwrap();
    let shown = impact(&world().sidecar, &name);
    let means = shown["means"].as_str().unwrap();
    assert!(means.contains("no estimate: somebody else has locked a table of it"), "{means}");
    assert!(means.contains("not compared"), "{means}");
    assert!(shown["rollbackAbove"].is_null() && shown["countedRows"].is_null(), "{shown}");
    // It is approved and runs as ever, without a transaction of ours.
    approve(&world().sidecar, &name);
    let answer = run(Form::Simple, "DELETE FROM late lk1 WHERE lk1.id = 77", &[]);
    assert_eq!((answer.fault, answer.tags), (None, vec!["DELETE 0".to_owned()]));
}

#[test]
fn the_card_says_what_is_not_known() {
    let told = |answer: &Answer| impact(&world().sidecar, &pending(answer));
    let mut wire = world().agent().unwrap();
    wire.query("BEGIN").unwrap();
    let inside = told(&wire.query("DELETE FROM parts nk1 WHERE nk1.id = 5").unwrap());
    assert!(
        inside["means"].as_str().unwrap().starts_with("no preview: a transaction of the agent is open"),
        "{inside}"
    );
    assert!(inside["rollbackAbove"].is_null(), "{inside}");
    wire.query("ROLLBACK").unwrap();

    let joined = told(&run(Form::Simple, "UPDATE orders nk2 SET note = 'n' FROM items i WHERE i.id = nk2.id", &[]));
    assert!(
        joined["means"].as_str().unwrap().contains("not counted: its FROM or USING brings other tables in"),
        "{joined}"
    );
    assert!(joined["estimatedRows"].as_u64().is_some() && joined["countedRows"].is_null(), "{joined}");

    let many = told(&run(Form::Simple, "DELETE FROM huge nk3 WHERE nk3.id > 0", &[]));
    assert_eq!((&many["countedRows"], &many["more"]), (&Value::from(100_000), &Value::from(true)), "{many}");
    assert!(many["means"].as_str().unwrap().contains("more than 100000 rows"), "{many}");
    assert!(many["rollbackAbove"].as_u64().unwrap() >= 110_010, "{many}");

    let planner = told(&run(Form::Simple, "DELETE FROM items nk4 WHERE nk4.id <= 100", &[]));
    assert!(
        planner["countedRows"].is_null() && (80..=120).contains(&planner["estimatedRows"].as_u64().unwrap()),
        "{planner}"
    );

    let nothing = told(&run(Form::Simple, "UPDATE items nk5 SET note = 'n' WHERE nk5.id = 1", &[]));
    assert!(nothing.is_null(), "{nothing}");

    let wide = told(&run(Form::Simple, "DELETE FROM log nk6 WHERE nk6.id = 1", &[]));
    assert_eq!(wide["countedRows"], 0, "{wide}");

    let inserted =
        told(&run(Form::Simple, "INSERT INTO parts SELECT 990000 + n, 1, 'x' FROM generate_series(1, 50) n", &[]));
    assert_eq!(
        (&inserted["estimatedRows"], &inserted["rollbackAbove"]),
        (&Value::from(50), &Value::from(65)),
        "{inserted}"
    );
}

#[test]
fn nothing_of_a_row_a_literal_or_a_plan_is_in_it() {
    let sql = format!(
        "UPDATE orders ca1 SET note = '{LITERAL}' WHERE ca1.customer IN \
         (SELECT id FROM customers WHERE email = 'a-CANARY-1@example.com' OR name = '{LITERAL}')"
    );
    let name = pending(&run(Form::Simple, &sql, &[]));
    let shown = impact(&world().sidecar, &name);
    assert!(shown["countedRows"].is_u64(), "{shown}");
    assert!(!shown.to_string().contains("CANARY"), "{shown}");
    // One that the target refuses to plan: its error quotes the value.
    let bad = format!("UPDATE parts ca2 SET note = 'x' WHERE ca2.id = '{LITERAL}'::text::int");
    let name = pending(&run(Form::Simple, &bad, &[]));
    let shown = impact(&world().sidecar, &name);
    assert!(shown["means"].as_str().unwrap().contains("sqlstate 22P02"), "{shown}");
    assert!(!shown.to_string().contains("CANARY"), "{shown}");
    let lines = recorded::lines(&world().sidecar.recordings()).unwrap();
    let told = lines.iter().filter(|line| line["event"] == "requested").map(|line| line["impact"].to_string());
    assert!(told.clone().count() >= 2 && !told.clone().any(|impact| impact.contains("CANARY")));
    // Of our own questions the text is not on record, which has the literals in it.
    let ours: Vec<&Value> = lines.iter().filter(|line| line["internal"] == true).collect();
    assert!(!ours.is_empty() && ours.iter().all(|line| !line.to_string().contains("CANARY")));
}

/// Whatever is asked for, the preview of it changes nothing.
#[test]
fn a_preview_is_never_the_statement() {
    let world = new_world(Setup::default());
    let before = content(&world);
    let statements = [
        "DELETE FROM parts",
        "UPDATE parts SET note = NULL RETURNING *",
        "INSERT INTO parts VALUES (5001, 1, 'x') ON CONFLICT (id) DO UPDATE SET note = 'y'",
        "INSERT INTO late SELECT id, id FROM parts WHERE id > 1",
        "WITH w AS (SELECT 1 AS id) DELETE FROM parts WHERE id IN (SELECT id FROM w)",
        "UPDATE orders SET note = note || 'x' WHERE id IN (SELECT id FROM items FOR UPDATE)",
        "DELETE FROM items WHERE id < (SELECT max(id) FROM parts)",
        "UPDATE parts SET id = id + 100000 WHERE true",
        "DELETE FROM late USING parts WHERE late.of = parts.id",
    ];
    let mut asked = 0;
    for sql in statements {
        for form in [Form::Simple, Form::Extended] {
            let answer = world.agent().unwrap().run(form, Format::Text, sql, &[]).unwrap();
            assert!(["PX001", "42501"].contains(&answer.sqlstate()), "{sql}: {:?}", answer.fault);
            asked += usize::from(answer.sqlstate() == "PX001");
        }
        assert_eq!(content(&world), before, "{sql}");
    }
    assert!(asked >= 14, "{asked}");
    let executed = world.server.executed();
    // Those of the catalog begin so too.
    let changes = |text: &String| {
        ["DELETE", "UPDATE", "INSERT", "WITH"].iter().any(|word| text.starts_with(word)) && text.contains("public.")
    };
    assert!(!executed.iter().any(changes), "{executed:?}");
    assert!(executed.iter().filter(|text| text.starts_with("EXPLAIN (FORMAT JSON) ")).count() >= 7, "{executed:?}");
    let verified = world.sidecar.verify(&world.sidecar.recordings(), None).unwrap();
    assert!([INTACT, UNSIGNED_TAIL].contains(&verified.status), "{verified:?}");
}

/// Killed between the change and our COMMIT: nothing is kept, and the record does not say more than is known.
#[test]
fn a_kill_before_the_commit_keeps_nothing() {
    let setup = Setup {
        failpoints: true,
        environment: vec![("AGENTACCESS_FAILPOINT".to_owned(), "guard_ready".to_owned())],
        ..Setup::default()
    };
    let mut world = new_world(setup);
    let sql = "UPDATE parts SET note = 'killed' WHERE batch = 1";
    let name = pending(&world.agent().unwrap().run(Form::Simple, Format::Text, sql, &[]).unwrap());
    assert_eq!(impact(&world.sidecar, &name)["countedRows"], 100);
    approve(&world.sidecar, &name);
    let mut wire = world.agent().unwrap();
    let heard = thread::spawn(move || wire.run(Form::Simple, Format::Text, sql, &[]));
    let status = world.sidecar.wait(SOON).unwrap();
    assert_eq!(status.signal(), Some(9), "{status}");
    let heard = heard.join().unwrap();
    assert!(heard.is_err() || heard.unwrap().tags.is_empty());
    eventually("the target to roll back", SOON, || {
        world.server.admin("SELECT count(*) FROM pg_stat_activity WHERE usename = 'agent_db'").unwrap().trim() == "0"
    })
    .unwrap();
    assert_eq!(world.server.admin("SELECT count(*) FROM parts WHERE note = 'killed'").unwrap().trim(), "0");
    world.sidecar.set_environment(&[]);
    world.sidecar.start_again().unwrap();
    let lines = recorded::lines(&world.sidecar.recordings()).unwrap();
    let intent = lines.iter().find(|line| line["kind"] == "intent" && line["approval"] == name.as_str()).unwrap();
    let outcome = lines
        .iter()
        .find(|line| line["kind"] == "outcome" && line["session"] == intent["session"] && line["op"] == intent["op"]);
    assert_eq!(outcome.unwrap_or_else(|| panic!("no outcome"))["status"], "interrupted");
    let verified = world.sidecar.verify(&world.sidecar.recordings(), None).unwrap();
    assert!([INTACT, UNSIGNED_TAIL].contains(&verified.status), "{verified:?}");
}

#[test]
fn nothing_is_looked_at_that_the_agent_may_not_read() {
    let slow = "CASE WHEN (SELECT count(*) FROM vault WHERE secret LIKE 'C%') > 0 THEN note LIKE '%x' ELSE false END";
    let cases = [
        // A table that is read only with a person, in a condition, in a value, and as the one that is changed.
        format!("DELETE FROM parts nl1 WHERE nl1.id = 1 AND {slow}"),
        "UPDATE parts nl2 SET note = (SELECT max(secret) FROM vault) WHERE nl2.id = 1".to_owned(),
        "DELETE FROM vault nl3 WHERE nl3.secret LIKE 'C%'".to_owned(),
        "INSERT INTO late SELECT 900, 1 FROM vault nl4 WHERE nl4.secret ~ '^C'".to_owned(),
        // In which partition a row is tells its masked key.
        "DELETE FROM parts nl5 WHERE nl5.id = 1 AND EXISTS (SELECT 1 FROM tacc_gold g WHERE g.id = 1)".to_owned(),
    ];
    for (at, sql) in cases.iter().enumerate() {
        let answer = run(Form::Simple, sql, &[]);
        let mark = format!(" nl{}", at + 1);
        assert_eq!(ran(&mark), (0, 0, 0), "{sql}: {:?}", world().server.executed());
        let shown = impact(&world().sidecar, &pending(&answer));
        let means = shown["means"].as_str().unwrap();
        assert!(means.starts_with("no preview: what it reads is not all for the agent"), "{sql}: {means}");
        assert_eq!((&shown["countedRows"], &shown["estimatedRows"]), (&Value::Null, &Value::Null), "{shown}");
    }
}

/// More rows than were approved, and then something in the same batch that fails by itself.
#[test]
fn whatever_fails_the_batch_rows_of_what_is_not_kept_are_not_given() {
    let describe = |out: &mut BytesMut| frontend::describe(b'S', "no_such", out).unwrap();
    let again = |out: &mut BytesMut| frontend::execute("no_such", 0, out).unwrap();
    let broken = |out: &mut BytesMut| frontend::parse("", "selec", std::iter::empty(), out).unwrap();
    let tails: [&dyn Fn(&mut BytesMut); 3] = [&describe, &again, &broken];
    for (at, tail) in tails.into_iter().enumerate() {
        let batch = 7100 + at;
        let more = |from: usize, count: usize| {
            format!("INSERT INTO parts SELECT {batch}000 + n, {batch}, 'few' FROM generate_series({from}, {count}) n")
        };
        world().server.admin(&more(1, 3)).unwrap();
        let sql = format!("UPDATE parts over{at} SET note = 'over' WHERE over{at}.batch = {batch} RETURNING id, note");
        let mut wire = world().agent().unwrap();
        let whole = bound(&sql, &[], &[], &[]);
        let name = fault(&exchange(&mut wire, &whole)).detail;
        approve(&world().sidecar, &name);
        world().server.admin(&more(4, 200)).unwrap();
        let mut out = BytesMut::from(&whole[..whole.len() - 5]);
        tail(&mut out);
        frontend::sync(&mut out);
        let answer = exchange(&mut wire, &out);
        assert!(answer.iter().all(|message| !matches!(message.tag, b'D' | b'C')), "{answer:?}");
        assert_eq!(fault(&answer).sqlstate, "PX005", "{answer:?}");
        assert_eq!(one(&format!("SELECT count(*) FROM parts WHERE note = 'over' AND batch = {batch}")), "0");
        assert_eq!(wire.query("SELECT 1").unwrap().status, Some(b'I'));
        let lines = || recorded::lines(&world().sidecar.recordings()).unwrap();
        let all = lines();
        let intent = all.iter().find(|line| line["kind"] == "intent" && line["approval"] == name.as_str()).unwrap();
        eventually("its outcome", SOON, || {
            lines().iter().any(|line| {
                line["kind"] == "outcome"
                    && (&line["session"], &line["op"]) == (&intent["session"], &intent["op"])
                    && line["status"] == "rolled_back"
                    && line["sqlstate"] == "PX005"
            })
        })
        .unwrap();
    }
}

#[test]
fn what_triggers_say_of_rows_that_are_not_kept_is_not_told() {
    let sql = "UPDATE noisy SET v = v + 1 WHERE v > 1000";
    let name = pending(&run(Form::Simple, sql, &[]));
    approve(&world().sidecar, &name);
    world().server.admin("UPDATE noisy SET v = 2000 WHERE id > 5").unwrap();
    let answer = run(Form::Simple, sql, &[]);
    let fault = answer.fault.clone().unwrap();
    assert_eq!((fault.sqlstate.as_str(), answer.notices.len()), ("PX005", 0), "{answer:?}");
}

#[test]
fn a_number_is_of_now_and_says_what_it_leaves_out() {
    let sql = "DELETE FROM above ab1 WHERE ab1.id = 1";
    let name = pending(&run(Form::Simple, sql, &[]));
    let means = impact(&world().sidecar, &name)["means"].as_str().unwrap().to_owned();
    assert!(means.contains("1 row matched") && means.contains("in other tables are not counted"), "{means}");
    // Whoever asks again after a denial is told of now.
    let sql = "DELETE FROM late la1 WHERE la1.id > 5000";
    let name = pending(&run(Form::Simple, sql, &[]));
    assert_eq!(impact(&world().sidecar, &name)["countedRows"], 0);
    world().sidecar.vote(ALICE, &name, "deny").unwrap();
    world().server.admin("INSERT INTO late SELECT 5000 + n, 1 FROM generate_series(1, 5) n").unwrap();
    let next = pending(&run(Form::Simple, sql, &[]));
    assert_eq!(impact(&world().sidecar, &next)["countedRows"], 5);
}
