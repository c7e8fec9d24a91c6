//! Cursors, portals and batches that are not what they seem. The oracle is the server: its log and its tables.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bytes::BytesMut;
use e2e::proxy::ALICE;
use e2e::recorded;
use e2e::wait::eventually;
use e2e::wire::{Message, Wire, message};
use e2e::world::{self, POLICY_FILE, Policy, World};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

const SOON: Duration = Duration::from_secs(15);

fn own(policy: &Policy) -> World {
    let server = world::server().unwrap();
    let sidecar = world::sidecar(&server, policy).unwrap();
    World { sidecar, server }
}

/// Messages of the extended protocol, one after another.
#[derive(Default)]
struct Batch(BytesMut);

impl Batch {
    fn parse(mut self, name: &str, sql: &str) -> Self {
        frontend::parse(name, sql, [], &mut self.0).unwrap();
        self
    }

    fn bind(mut self, portal: &str, statement: &str) -> Self {
        let none: [Option<&str>; 0] = [];
        let write = |_: Option<&str>, _: &mut BytesMut| Ok(IsNull::Yes);
        frontend::bind(portal, statement, [], none, write, [0], &mut self.0).map_err(|_| ()).unwrap();
        self
    }

    fn execute(mut self, portal: &str) -> Self {
        frontend::execute(portal, 0, &mut self.0).unwrap();
        self
    }

    fn describe(mut self, portal: &str) -> Self {
        frontend::describe(b'P', portal, &mut self.0).unwrap();
        self
    }

    /// Parse, Bind and Execute without a name.
    fn unit(self, sql: &str) -> Self {
        self.parse("", sql).bind("", "").execute("")
    }

    fn flush(mut self) -> Self {
        self.0.extend_from_slice(&message(b'H', b"").unwrap());
        self
    }

    fn sync(mut self) -> Self {
        frontend::sync(&mut self.0);
        self
    }

    fn send(self, wire: &mut Wire) {
        wire.send(&self.0).unwrap();
    }

    fn run(self, wire: &mut Wire) -> Vec<Message> {
        self.sync().send(wire);
        wire.until_ready().unwrap()
    }
}

fn fault(messages: &[Message]) -> String {
    messages.iter().find_map(Message::fault).map(|fault| fault.sqlstate).unwrap_or_default()
}

/// What the recording says became of the one operation whose action this is.
fn outcomes(world: &World, action: &str) -> Vec<String> {
    let lines = recorded::lines(&world.sidecar.recordings()).unwrap();
    let text =
        |line: &serde_json::Value, field: &str| line.get(field).and_then(|v| v.as_str()).unwrap_or("").to_owned();
    let ops: Vec<String> = lines
        .iter()
        .filter(|line| text(line, "kind") == "intent" && text(line, "action") == action)
        .map(|line| text(line, "op"))
        .collect();
    lines
        .iter()
        .filter(|line| text(line, "kind") == "outcome" && ops.contains(&text(line, "op")))
        .map(|line| text(line, "status"))
        .collect()
}

// === names ===

#[test]
fn fetch_never_runs_a_portal_that_took_a_cursors_name() {
    let world = own(&Policy::default());
    let update = "UPDATE log SET what = 'hacked' RETURNING id";
    world.server.admin("INSERT INTO log SELECT n, 'kept' FROM generate_series(1, 20) n").unwrap();
    let take = |wire: &mut Wire| {
        let bound = Batch::default().parse("q", update).bind("c", "q").run(wire);
        let fetched = wire.query("FETCH ALL FROM c").unwrap();
        let moved = wire.query("MOVE 1 FROM c").unwrap();
        (fault(&bound), fetched.rows.len(), fetched.fault.is_some(), moved.fault.is_some())
    };
    // Rolled back behind our back.
    let mut wire = world.agent().unwrap();
    for sql in ["BEGIN", "SAVEPOINT s", "DECLARE c CURSOR FOR SELECT id FROM orders", "ROLLBACK TO s"] {
        assert_eq!(wire.query(sql).unwrap().fault, None, "{sql}");
    }
    assert_eq!(take(&mut wire), ("42P03".to_owned(), 0, true, true));
    wire.query("COMMIT").unwrap();
    // Declared in a batch that failed later.
    let mut wire = world.agent().unwrap();
    wire.query("BEGIN").unwrap();
    wire.query("SAVEPOINT s").unwrap();
    let declared =
        Batch::default().unit("DECLARE c CURSOR FOR SELECT id FROM orders").unit("SELECT 1 / 0").run(&mut wire);
    assert_eq!(fault(&declared), "22012");
    assert_eq!(wire.query("ROLLBACK TO s").unwrap().fault, None);
    let (_, rows, fetched, moved) = take(&mut wire);
    assert_eq!((rows, fetched, moved), (0, true, true));
    wire.query("COMMIT").unwrap();
    // Closed and taken in one batch.
    let mut wire = world.agent().unwrap();
    wire.query("BEGIN").unwrap();
    assert_eq!(wire.query("DECLARE c CURSOR FOR SELECT id FROM orders").unwrap().fault, None);
    let batch = Batch::default().unit("CLOSE c").parse("q", update).bind("c", "q").unit("FETCH ALL FROM c");
    assert!(!fault(&batch.run(&mut wire)).is_empty());
    wire.query("COMMIT").unwrap();
    // A portal first, a cursor of its name never.
    let mut wire = world.agent().unwrap();
    wire.query("BEGIN").unwrap();
    assert_eq!(fault(&Batch::default().parse("q", update).bind("c", "q").run(&mut wire)), "");
    assert!(wire.query("FETCH ALL FROM c").unwrap().fault.is_some());
    wire.query("COMMIT").unwrap();
    assert_eq!(world.server.admin("SELECT count(*) FROM log WHERE what = 'hacked'").unwrap(), "0");
}

/// As drivers do before their first FETCH. What is described is what was declared, on the policy of this moment.
#[test]
fn a_cursor_of_sql_is_described() {
    let world = own(&Policy::default());
    let described = |wire: &mut Wire, name: &str| {
        let messages = Batch::default().describe(name).run(wire);
        (fault(&messages), messages.iter().filter(|m| m.tag == b'T').map(|m| m.body.clone()).collect::<Vec<_>>())
    };
    let mut wire = world.agent().unwrap();
    assert_eq!(described(&mut wire, "c"), ("34000".to_owned(), vec![]));
    let mut told = Vec::new();
    let mut direct = world.native().unwrap();
    for wire in [&mut wire, &mut direct] {
        assert_eq!(wire.query("BEGIN").unwrap().fault, None);
        assert_eq!(wire.query("DECLARE c CURSOR FOR SELECT id, note FROM orders").unwrap().fault, None);
        told.push(described(wire, "c"));
    }
    assert_eq!(told[0].0, "");
    assert_eq!(told[0].1.len(), 1);
    assert_eq!(told[0], told[1]);
    assert_eq!(described(&mut wire, "_agentaccess_own").0, "42939");
    // Closed, it is nobody's again; and the session goes on.
    assert_eq!(wire.query("ROLLBACK").unwrap().fault, None);
    assert_eq!(described(&mut wire, "c").0, "34000");
    // Rolled back behind our back: the server says so.
    for sql in ["BEGIN", "SAVEPOINT s", "DECLARE c CURSOR FOR SELECT id FROM orders", "ROLLBACK TO s"] {
        assert_eq!(wire.query(sql).unwrap().fault, None, "{sql}");
    }
    assert_eq!(described(&mut wire, "c").0, "34000");
    assert_eq!(wire.query("ROLLBACK").unwrap().fault, None);
    // Another policy, another text: it has to be declared again.
    for sql in ["BEGIN", "DECLARE c CURSOR FOR SELECT id, note FROM orders"] {
        assert_eq!(wire.query(sql).unwrap().fault, None, "{sql}");
    }
    let hidden = Policy::default().mask("{name: notes, columns: [public.orders.note], method: Redact}");
    world.sidecar.write(POLICY_FILE, &hidden.yaml()).unwrap();
    let mut other = world.agent().unwrap();
    eventually("the mask", SOON, || other.query("SELECT note FROM orders LIMIT 1").unwrap().contains(b"[redacted]"))
        .unwrap();
    let messages = Batch::default().describe("c").run(&mut wire);
    let why = messages.iter().find_map(Message::fault).unwrap();
    assert!(why.sqlstate == "34000" && why.message.contains("no longer in force"), "{why:?}");
}

#[test]
fn names_are_free_again_after_their_transaction_and_after_close() {
    let world = own(&Policy::default());
    let mut wire = world.agent().unwrap();
    for _ in 0..2 {
        wire.query("BEGIN").unwrap();
        assert_eq!(wire.query("DECLARE c CURSOR FOR SELECT id FROM orders").unwrap().fault, None);
        let both = Batch::default().unit("FETCH 2 FROM c").unit("FETCH 3 FROM c").run(&mut wire);
        assert_eq!(fault(&both), "", "{both:?}");
        assert_eq!(both.iter().filter(|m| m.tag == b'D').count(), 5);
        assert_eq!(wire.query("CLOSE c").unwrap().fault, None);
        let again = Batch::default().parse("", "SELECT id FROM orders").bind("c", "").execute("c").run(&mut wire);
        assert_eq!(fault(&again), "");
        assert_eq!(wire.query("COMMIT").unwrap().fault, None);
    }
}

// === a portal over a change of policy ===

#[test]
fn a_bound_portal_is_judged_whole_on_the_policy_of_its_execute() {
    let world = own(&Policy::default());
    world.server.admin("ALTER TABLE log ADD UNIQUE (what)").unwrap();
    let mut wire = world.agent().unwrap();
    let insert = "INSERT INTO log VALUES (7, 'probe')";
    // The catalog has to know of the constraint.
    eventually("the catalog", SOON, || {
        let parsed = Batch::default().parse("s", insert).run(&mut wire);
        fault(&parsed).is_empty() || fault(&parsed) == "42P05"
    })
    .unwrap();
    std::thread::sleep(Duration::from_secs(11));
    wire.query("BEGIN").unwrap();
    Batch::default().bind("p", "s").flush().send(&mut wire);
    wire.until(b'2').unwrap();
    let hidden = Policy::default().mask("{name: whats, columns: [public.log.what], method: Redact}");
    world.sidecar.write(POLICY_FILE, &hidden.yaml()).unwrap();
    let mut other = world.agent().unwrap();
    eventually("the mask", SOON, || other.query("INSERT INTO log VALUES (8, 'x')").unwrap().sqlstate() == "42501")
        .unwrap();
    let executed = Batch::default().execute("p").run(&mut wire);
    assert!(!fault(&executed).is_empty(), "{executed:?}");
    wire.query("COMMIT").unwrap();
    assert_eq!(world.server.admin("SELECT count(*) FROM log WHERE id = 7").unwrap(), "0");
}

// === what is recorded of a batch whose end was sent ===

#[test]
fn work_that_the_target_keeps_is_never_recorded_as_rolled_back() {
    let world = own(&Policy::default());
    for n in 1..=5 {
        let mut wire = world.agent().unwrap();
        let insert = format!("INSERT INTO log VALUES ({n}, 'kept')");
        Batch::default().unit(&insert).flush().send(&mut wire);
        wire.until(b'C').unwrap();
        Batch::default().sync().send(&mut wire);
        drop(wire);
    }
    // Beside a result that is too long.
    let mut wire = world.agent().unwrap();
    Batch::default().unit("INSERT INTO log VALUES (6, 'kept')").unit("SELECT * FROM big").sync().send(&mut wire);
    // Our cancel request may be faster than the result, and then the target keeps nothing of this batch.
    while let Some(next) = wire.read_message().unwrap() {
        if next.tag == b'Z' {
            break;
        }
    }
    // And without its end: rolled back, and said so.
    let mut wire = world.agent().unwrap();
    Batch::default().unit("INSERT INTO log VALUES (7, 'lost')").flush().send(&mut wire);
    wire.until(b'C').unwrap();
    drop(wire);
    eventually("the outcomes", SOON, || outcomes(&world, "INSERT").len() == 7).unwrap();
    let kept: usize = world.server.admin("SELECT count(*) FROM log").unwrap().parse().unwrap();
    let statuses = outcomes(&world, "INSERT");
    let count = |status: &str| statuses.iter().filter(|s| *s == status).count();
    assert!((5..=6).contains(&kept), "{kept}");
    assert_eq!((count("ok"), count("rolled_back")), (kept, 7 - kept), "{statuses:?}");
}

#[test]
fn what_stands_before_a_savepoint_or_a_commit_is_kept_and_recorded_so() {
    let world = own(&Policy::default());
    let insert = |id: u32| format!("INSERT INTO log VALUES ({id}, 'kept')");
    let denied = "DELETE FROM customers";
    let begun = |id: u32| Batch::default().unit("BEGIN").unit(&insert(id));
    begun(1).unit("SAVEPOINT a").unit("ROLLBACK TO a").unit("COMMIT").sync().run(&mut world.agent().unwrap());
    begun(2).unit("COMMIT").unit(denied).sync().run(&mut world.agent().unwrap());
    let mut wire = world.agent().unwrap();
    begun(3).unit("SAVEPOINT a").unit(denied).sync().run(&mut wire);
    for sql in ["ROLLBACK TO a", "COMMIT"] {
        assert_eq!(wire.query(sql).unwrap().fault, None, "{sql}");
    }
    // What nothing keeps is said to be rolled back, as before.
    Batch::default().unit(&insert(4)).unit(denied).sync().run(&mut world.agent().unwrap());
    eventually("the outcomes", SOON, || outcomes(&world, "INSERT").len() == 4).unwrap();
    assert_eq!(world.server.admin("SELECT count(*) FROM log WHERE id < 4").unwrap(), "3");
    assert_eq!(world.server.admin("SELECT count(*) FROM log WHERE id = 4").unwrap(), "0");
    assert_eq!(outcomes(&world, "INSERT"), ["ok", "ok", "ok", "rolled_back"]);
    assert!(outcomes(&world, "COMMIT").iter().all(|status| status == "ok"), "{:?}", outcomes(&world, "COMMIT"));
}

// === the row limit, with more in the same batch ===

#[test]
fn what_stands_behind_a_result_that_is_too_long_is_not_kept_under_an_error() {
    let over = "SELECT * FROM big";
    let insert = |id: u32| format!("INSERT INTO log VALUES ({id}, 'batch')");
    let world = own(&Policy::default());
    for behind in [
        vec![insert(2), "SAVEPOINT s".to_owned()],
        vec!["COMMIT".to_owned()],
        vec![insert(2)],
        vec!["RELEASE s".to_owned()],
        vec!["DROP TABLE log".to_owned()],
    ] {
        for flush in [false, true] {
            // It waits for the session before it.
            world.server.admin("TRUNCATE log").unwrap();
            let mut wire = world.agent().unwrap();
            wire.query("BEGIN").unwrap();
            wire.query("SAVEPOINT s").unwrap();
            let mut batch = Batch::default().unit(&insert(1)).unit(over);
            if flush {
                batch = batch.flush();
            }
            for sql in &behind {
                batch = batch.unit(sql);
            }
            batch.sync().send(&mut wire);
            let mut told = Vec::new();
            while let Some(next) = wire.read_message().unwrap() {
                let ready = next.tag == b'Z';
                told.push(next);
                if ready {
                    break;
                }
            }
            let faults: Vec<_> = told.iter().filter_map(Message::fault).collect();
            assert_eq!(faults.len(), 1, "{behind:?} {flush}: {faults:?}");
            let goes_on = told.last().is_some_and(|last| last.tag == b'Z');
            assert_eq!(goes_on, faults[0].severity == "ERROR", "{behind:?} {flush}: {faults:?}");
            assert!(!goes_on || told.last().unwrap().body.as_ref() == b"E", "{behind:?} {flush}");
            assert!(faults[0].sqlstate == "54000", "{behind:?} {flush}: {faults:?}");
            if goes_on {
                wire.query("ROLLBACK TO s").unwrap();
                wire.query("COMMIT").unwrap();
                assert_eq!(world.server.admin("SELECT count(*) FROM log").unwrap(), "0", "{behind:?} {flush}");
            }
        }
    }
}

#[test]
fn several_syncs_behind_a_result_that_is_too_long_are_answered_in_their_order() {
    let world = own(&Policy::default());
    let mut wire = world.agent().unwrap();
    wire.query("BEGIN").unwrap();
    Batch::default().unit("SELECT * FROM big").sync().sync().sync().send(&mut wire);
    let mut states = Vec::new();
    let mut faults = 0;
    while states.len() < 3 {
        let next = wire.read_message().unwrap().unwrap();
        faults += usize::from(next.tag == b'E');
        if next.tag == b'Z' {
            states.push(next.body.as_ref().to_vec());
        }
    }
    assert_eq!((states, faults), (vec![b"E".to_vec(); 3], 1));
    assert_eq!(wire.query("ROLLBACK").unwrap().fault, None);
    assert_eq!(wire.query("SELECT 'alive'").unwrap().texts(), [["alive"]]);
}

// === what gives a text its meaning ===

#[test]
fn an_approval_counts_for_the_settings_it_was_asked_under() {
    let world = own(&Policy::default());
    let mut wire = world.agent().unwrap();
    let ask = "DELETE FROM orders WHERE id = 5 AND '01/02/2026'::date = '2026-01-02'";
    wire.query("BEGIN").unwrap();
    assert_eq!(wire.query(ask).unwrap().sqlstate(), "PX001");
    let name = world.sidecar.asked("DELETE", SOON).unwrap();
    world.sidecar.vote(ALICE, &name, "approve").unwrap();
    wire.query("ROLLBACK").unwrap();
    for setting in ["SET datestyle = 'ISO, DMY'", "SET timezone = 'Asia/Tokyo'", "SET intervalstyle = 'iso_8601'"] {
        wire.query(setting).unwrap();
        wire.query("BEGIN").unwrap();
        assert_eq!(wire.query(ask).unwrap().sqlstate(), "PX001", "{setting}");
        wire.query("ROLLBACK").unwrap();
        // Together with it in one batch, or only for its transaction.
        for reset in ["RESET datestyle", "RESET timezone", "RESET intervalstyle"] {
            wire.query(reset).unwrap();
        }
        wire.query("BEGIN").unwrap();
        let local = setting.replace("SET ", "SET LOCAL ");
        let together = Batch::default().unit(&local).unit(ask).run(&mut wire);
        assert_eq!(fault(&together), "PX001", "{setting}");
        wire.query("ROLLBACK").unwrap();
    }
    assert!(!world.server.saw("DELETE FROM"));
    wire.query("BEGIN").unwrap();
    assert_eq!(wire.query(ask).unwrap().fault, None);
    wire.query("COMMIT").unwrap();
}

#[test]
fn an_approval_counts_for_what_a_statement_reads_of_the_session() {
    let world = own(&Policy::default());
    let mut wire = world.agent().unwrap();
    let batch = |wire: &mut Wire, first: &str, ask: &str| {
        wire.query("BEGIN").unwrap();
        let answers = Batch::default().unit(first).unit(ask).run(wire);
        (fault(&answers), wire.query("COMMIT").unwrap().fault)
    };
    // Of several settings in one statement each counts.
    let dated = "DELETE FROM orders WHERE id = extract(month from '01/02/2026'::date)";
    let named = "SELECT set_config('application_name', 'a', false)";
    assert_eq!(batch(&mut wire, named, dated).0, "PX001");
    let name = world.sidecar.asked("DELETE", SOON).unwrap();
    world.sidecar.vote(ALICE, &name, "approve").unwrap();
    let both = "SELECT set_config('datestyle', 'ISO, DMY', false), set_config('application_name', 'a', false)";
    assert_eq!(batch(&mut wire, both, dated).0, "PX001");
    // What it may read by name.
    let mut wire = world.agent().unwrap();
    let read = "UPDATE orders SET note = 'read' WHERE id = current_setting('application_name')::int";
    wire.query("SET application_name = '1'").unwrap();
    wire.query("BEGIN").unwrap();
    assert_eq!(wire.query(read).unwrap().sqlstate(), "PX001");
    wire.query("ROLLBACK").unwrap();
    let name = world.sidecar.asked("UPDATE", SOON).unwrap();
    world.sidecar.vote(ALICE, &name, "approve").unwrap();
    wire.query("SET application_name = '2'").unwrap();
    wire.query("BEGIN").unwrap();
    assert_eq!(wire.query(read).unwrap().sqlstate(), "PX001");
    wire.query("ROLLBACK").unwrap();
    wire.query("SET application_name = '1'").unwrap();
    wire.query("BEGIN").unwrap();
    assert_eq!(wire.query(read).unwrap().fault, None);
    wire.query("COMMIT").unwrap();
    assert_eq!(world.server.admin("SELECT string_agg(id::text, ' ') FROM orders WHERE note = 'read'").unwrap(), "1");
    assert_eq!(world.server.admin("SELECT count(*) FROM orders").unwrap(), "200");
    // What the server does not tell of cannot be read by name, nor change what a value is as text.
    for sql in [
        "SELECT current_setting('statement_timeout')",
        "SET extra_float_digits = 0",
        "SET extra_float_digits = -10",
        "SET bytea_output = 'escape'",
        "SELECT set_config('extra_float_digits', '-1', false)",
    ] {
        assert_eq!(wire.query(sql).unwrap().sqlstate(), "42501", "{sql}");
    }
    assert_eq!(wire.query("SET extra_float_digits = 3").unwrap().fault, None);
    assert_eq!(wire.query("SHOW statement_timeout").unwrap().fault, None);
}

// === a FETCH is of one cursor ===

#[test]
fn a_portal_of_a_fetch_stays_with_its_cursor() {
    let world = own(&Policy::default());
    let mut wire = world.agent().unwrap();
    let declare = |wire: &mut Wire, table: &str| {
        assert_eq!(wire.query(&format!("DECLARE c CURSOR FOR SELECT id FROM {table}")).unwrap().fault, None);
    };
    let some = |portal: &str, rows: i32| {
        let mut batch = Batch::default();
        frontend::execute(portal, rows, &mut batch.0).unwrap();
        batch
    };
    wire.query("BEGIN").unwrap();
    declare(&mut wire, "items");
    assert_eq!(fault(&Batch::default().parse("q", "FETCH 50 FROM c").bind("f", "q").run(&mut wire)), "");
    let first = some("f", 5).run(&mut wire);
    assert_eq!((fault(&first), first.iter().filter(|m| m.tag == b'D').count()), (String::new(), 5));
    let more = some("f", 5).run(&mut wire);
    assert_eq!((fault(&more), more.iter().filter(|m| m.tag == b'D').count()), (String::new(), 5));
    wire.query("SAVEPOINT s").unwrap();
    wire.query("CLOSE c").unwrap();
    let gone = some("f", 5).run(&mut wire);
    assert_eq!((fault(&gone), gone.iter().filter(|m| m.tag == b'D').count()), ("34000".to_owned(), 0));
    wire.query("ROLLBACK").unwrap();

    wire.query("BEGIN").unwrap();
    declare(&mut wire, "items");
    assert_eq!(fault(&Batch::default().parse("r", "FETCH 50 FROM c").bind("f", "r").run(&mut wire)), "");
    assert_eq!(fault(&some("f", 5).run(&mut wire)), "");
    wire.query("CLOSE c").unwrap();
    declare(&mut wire, "orders");
    let other = some("f", 0).run(&mut wire);
    assert_eq!((fault(&other), other.iter().filter(|m| m.tag == b'D').count()), ("34000".to_owned(), 0));
}

#[test]
fn an_approval_of_a_fetch_is_of_its_cursors_query() {
    let rules = "
          - {name: looks, action: RequireApproval, approval: person, verbs: [Select],
             relations: [public.items, public.orders]}";
    let world = own(&Policy { rules: rules.to_owned(), ..Policy::default() });
    let mut wire = world.agent().unwrap();
    let mut ask = |sql: &str| wire.query(sql).unwrap();
    let approve = |verb: &str| {
        let name = world.sidecar.asked(verb, SOON).unwrap();
        world.sidecar.vote(ALICE, &name, "approve").unwrap();
    };
    for table in ["items", "orders"] {
        ask("BEGIN");
        assert_eq!(ask(&format!("DECLARE c CURSOR FOR SELECT id FROM {table}")).sqlstate(), "PX001");
        ask("ROLLBACK");
        approve("DECLARE");
    }
    ask("BEGIN");
    assert_eq!(ask("DECLARE c CURSOR FOR SELECT id FROM items").fault, None);
    assert_eq!(ask("FETCH 5 FROM c").sqlstate(), "PX001");
    ask("ROLLBACK");
    approve("FETCH");
    ask("BEGIN");
    assert_eq!(ask("DECLARE c CURSOR FOR SELECT id FROM orders").fault, None);
    let fetched = ask("FETCH 5 FROM c");
    assert_eq!((fetched.sqlstate(), fetched.rows.len()), ("PX001", 0));
}

#[test]
fn where_nothing_is_masked_the_servers_words_about_a_bind_pass() {
    let world = own(&Policy { masks: String::new(), ..Policy::default() });
    // A constant expression fails when the plan is made, which is at Bind.
    let ask = |mut wire: Wire| {
        let answer = Batch::default().unit("SELECT 1 / 0").run(&mut wire);
        answer.iter().find_map(Message::fault).map(|fault| (fault.sqlstate, fault.message))
    };
    let native = ask(world.native().unwrap());
    assert_eq!(native, Some(("22012".to_owned(), "division by zero".to_owned())));
    assert_eq!(ask(world.agent().unwrap()), native);
}
