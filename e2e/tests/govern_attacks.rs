//! What an attacker found once, kept as tests. The oracle is the server: its log, its sessions, its tables.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use bytes::BytesMut;
use e2e::recorded;
use e2e::wait::eventually;
use e2e::wire::{Form, Format, Message, Wire, message};
use e2e::world::{self, CANARY, POLICY_FILE, Policy, World};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

const SOON: Duration = Duration::from_secs(15);
/// What the product promises for a reload, and what a loaded machine adds.
const RELOAD: Duration = Duration::from_secs(4);

fn own(policy: &Policy) -> World {
    let server = world::server().unwrap();
    let sidecar = world::sidecar(&server, policy).unwrap();
    World { sidecar, server }
}

fn query(out: &mut BytesMut, sql: &str) {
    frontend::query(sql, out).unwrap();
}

/// Parse, Bind and Execute of an unnamed statement, without a Sync.
fn unit(out: &mut BytesMut, sql: &str) {
    let none: [Option<&str>; 0] = [];
    let write = |_: Option<&str>, _: &mut BytesMut| Ok(IsNull::Yes);
    frontend::parse("", sql, [], out).unwrap();
    frontend::bind("", "", [], none, write, [0], out).map_err(|_| ()).unwrap();
    frontend::execute("", 0, out).unwrap();
}

/// The outcome that the recording has for the operation whose statement holds `part`.
fn outcome(world: &World, part: &str) -> String {
    let mut found = String::new();
    eventually("the outcome", SOON, || {
        let lines = recorded::lines(&world.sidecar.recordings()).unwrap();
        let text =
            |line: &serde_json::Value, field: &str| line.get(field).and_then(|v| v.as_str()).unwrap_or("").to_owned();
        let Some(op) = lines
            .iter()
            .find(|line| {
                text(line, "kind") == "intent"
                    && text(line, "display").contains(part)
                    && !text(line, "action").starts_with("PREPARE")
            })
            .map(|line| text(line, "op"))
        else {
            return false;
        };
        found = lines
            .iter()
            .find(|line| text(line, "kind") == "outcome" && text(line, "op") == op)
            .map(|line| text(line, "status"))
            .unwrap_or_default();
        !found.is_empty()
    })
    .unwrap();
    found
}

#[test]
fn a_cursor_stays_what_it_was_declared_as_whatever_a_later_declare_says() {
    let world = own(&Policy::default());
    let mut wire = world.agent().unwrap();
    for sql in ["BEGIN", "DECLARE c CURSOR FOR SELECT id, name FROM customers", "SAVEPOINT s"] {
        assert_eq!(wire.query(sql).unwrap().fault, None, "{sql}");
    }
    let hidden = Policy::default().mask("{name: names, columns: [public.customers.name], method: Redact}");
    world.sidecar.write(POLICY_FILE, &hidden.yaml()).unwrap();
    eventually("the mask", RELOAD, || {
        wire.query("ROLLBACK TO s").unwrap();
        !wire.query("FETCH 1 FROM c").unwrap().sqlstate().is_empty()
    })
    .unwrap();
    wire.query("ROLLBACK TO s").unwrap();
    assert_eq!(wire.query("DECLARE c CURSOR FOR SELECT id, note FROM items").unwrap().sqlstate(), "42P03");
    wire.query("ROLLBACK TO s").unwrap();
    let answer = wire.query("FETCH 3 FROM c").unwrap();
    assert!(answer.rows.is_empty() && !answer.contains(b"Ann"), "{answer:?}");
}

#[test]
fn what_is_queued_behind_a_slow_query_meets_the_new_policy() {
    let world = own(&Policy::default());
    let mut wire = world.agent().unwrap();
    let mut out = BytesMut::new();
    query(&mut out, "SELECT count(*) FROM generate_series(1, 100000) queued, generate_series(1, 100000) b");
    query(&mut out, "SELECT note AS behind FROM orders");
    query(&mut out, "INSERT INTO log VALUES (7201, 'behind')");
    wire.send(&out).unwrap();
    eventually("the slow query", SOON, || world.server.executed_with("queued") > 0).unwrap();
    world.sidecar.write(POLICY_FILE, &Policy::default().without("reads").without("adds").yaml()).unwrap();
    let mut other = world.agent().unwrap();
    eventually("the new policy", RELOAD, || {
        other.query("SELECT note FROM orders WHERE id = 1").unwrap().sqlstate() == "42501"
    })
    .unwrap();
    wire.cancel(world.sidecar.port()).unwrap();
    wire.within(SOON).unwrap();
    let codes: Vec<String> = (0..3)
        .map(|_| wire.until_ready().unwrap().iter().find_map(Message::fault).map(|f| f.sqlstate).unwrap_or_default())
        .collect();
    assert_eq!(codes, ["57014", "42501", "42501"]);
    assert_eq!(world.server.executed_with("behind"), 0);
}

#[test]
fn an_outcome_is_what_became_of_it() {
    let world = own(&Policy::default());
    let mut wire = world.agent().unwrap();
    let mut out = BytesMut::new();
    unit(&mut out, "INSERT INTO log VALUES (6001, 'batch')");
    unit(&mut out, "SELECT 1/0");
    frontend::sync(&mut out);
    wire.send(&out).unwrap();
    wire.until_ready().unwrap();
    assert_eq!(world.server.admin("SELECT count(*) FROM log WHERE id = 6001").unwrap().trim(), "0");
    assert_eq!(outcome(&world, "6001"), "rolled_back");

    let mut out = BytesMut::new();
    unit(&mut out, "INSERT INTO log VALUES (6002, 'batch')");
    frontend::sync(&mut out);
    wire.send(&out).unwrap();
    wire.until_ready().unwrap();
    assert_eq!(outcome(&world, "6002"), "ok");

    let mut out = BytesMut::new();
    unit(&mut out, "INSERT INTO log VALUES (6003, 'batch')");
    unit(&mut out, "COMMIT");
    unit(&mut out, "DROP TABLE log");
    frontend::sync(&mut out);
    wire.send(&out).unwrap();
    wire.until_ready().unwrap();
    assert_eq!(world.server.admin("SELECT count(*) FROM log WHERE id = 6003").unwrap().trim(), "1");
    assert_eq!(outcome(&world, "6003"), "ok");
}

#[test]
fn half_a_message_and_a_hang_up_end_the_session_and_its_locks() {
    let world = own(&Policy::default());
    let mut wire = world.agent().unwrap();
    wire.query("BEGIN").unwrap();
    wire.query("INSERT INTO log VALUES (6020, 'half')").unwrap();
    wire.send(b"Q\0\0").unwrap();
    drop(wire);
    eventually("the target's session to end", SOON, || {
        let open = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'agent_db' AND state LIKE 'idle in%'";
        world.server.admin(open).unwrap().trim() == "0"
    })
    .unwrap();
}

#[test]
fn portions_sent_ahead_count_together() {
    let world = own(&Policy::default());
    let mut wire = world.agent().unwrap();
    wire.query("BEGIN").unwrap();
    wire.query("DECLARE c CURSOR FOR SELECT id FROM big").unwrap();
    let mut out = BytesMut::new();
    for _ in 0..6 {
        query(&mut out, "FETCH 400 FROM c");
    }
    wire.send(&out).unwrap();
    let mut rows = 0;
    let mut codes = Vec::new();
    while let Ok(Some(next)) = wire.read_message() {
        rows += usize::from(next.tag == b'D');
        codes.extend(next.fault().map(|fault| fault.sqlstate));
        if codes.len() >= 4 {
            break;
        }
    }
    assert!(rows <= 1000, "{rows} rows");
    assert!(codes.contains(&"54000".to_owned()), "{codes:?}");
}

#[test]
fn an_opening_that_drips_is_cut() {
    let world = own(&Policy::default());
    let mut wire = Wire::bare(world.sidecar.port()).unwrap();
    let gss = [0, 0, 0, 8, 4, 210, 22, 48];
    wire.send(&gss).unwrap();
    let begun = Instant::now();
    // A second request of this kind is no opening.
    wire.send(&gss).unwrap();
    wire.within(Duration::from_secs(12)).unwrap();
    while let Ok(Some(_)) = wire.read_message() {}
    assert!(begun.elapsed() < Duration::from_secs(12));
    let _ = wire.send(&message(b'X', b"").unwrap());
    assert!(world.agent().is_ok());
}

#[test]
fn words_and_payloads_about_other_rows_do_not_pass() {
    let server = world::server().unwrap();
    server
        .admin(
            "CREATE TABLE refs (ssn text);
             CREATE UNIQUE INDEX ON customers (ssn);
             ALTER TABLE refs ADD FOREIGN KEY (ssn) REFERENCES customers (ssn) DEFERRABLE INITIALLY DEFERRED;
             CREATE TABLE fed (id int);
             CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
               $$BEGIN PERFORM pg_notify('feed', row_to_json(c)::text) FROM customers c WHERE id = 1; RETURN new; END$$;
             CREATE TRIGGER t AFTER INSERT ON fed FOR EACH ROW EXECUTE FUNCTION tell();
             GRANT ALL ON refs, fed TO agent_db;",
        )
        .unwrap();
    let policy = Policy::default()
        .rule("{name: feeds, action: Allow, verbs: [Insert], relations: [public.refs, public.fed]}")
        .rule("{name: hears, action: Allow, verbs: [Listen]}");
    let sidecar = world::sidecar(&server, &policy).unwrap();
    let world = World { sidecar, server };
    let mut wire = world.agent().unwrap();
    wire.query("LISTEN feed").unwrap();
    wire.query("INSERT INTO fed VALUES (1)").unwrap();
    let again = wire.query("SELECT 1").unwrap();
    assert!(!again.contains(CANARY.as_bytes()), "{again:?}");
    wire.query("BEGIN").unwrap();
    wire.query("INSERT INTO refs VALUES ('CANARY-guess')").unwrap();
    let answer = wire.query("COMMIT").unwrap();
    assert!(!answer.contains(CANARY.as_bytes()), "{answer:?}");
}

/// A type brings code with it: its input function, the checks of a domain, casts from it.
#[test]
fn a_parameter_of_a_type_of_users_runs_nothing() {
    let world = own(&Policy::default());
    let made = "CREATE TABLE proof (what text);
        CREATE FUNCTION spy(v int) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS
          $$BEGIN INSERT INTO public.proof VALUES ('ran'); RETURN true; END$$;
        CREATE DOMAIN spied AS int CHECK (spy(VALUE));
        CREATE TYPE mood2 AS ENUM ('calm');
        CREATE FUNCTION cast_it(mood2) RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS
          $$BEGIN INSERT INTO public.proof VALUES ('cast'); RETURN 1; END$$;
        CREATE CAST (mood2 AS int) WITH FUNCTION cast_it(mood2) AS IMPLICIT;
        GRANT USAGE ON TYPE spied, mood2 TO public";
    world.server.admin(made).unwrap();
    let oid = |name: &str| -> u32 {
        world.server.admin(&format!("SELECT '{name}'::regtype::oid::int8")).unwrap().trim().parse().unwrap()
    };
    let types = [("spied", "1"), ("spied[]", "{1}"), ("mood2", "calm"), ("customers", "(1,a,,b,1,{})")];
    for (name, value) in types {
        for sql in ["SELECT $1", "SELECT id FROM orders WHERE id < $1", "DELETE FROM orders WHERE id = $1"] {
            let mut wire = world.agent().unwrap();
            let mut out = BytesMut::new();
            frontend::parse("", sql, [oid(name)], &mut out).unwrap();
            let write = |value: &str, out: &mut BytesMut| {
                out.extend_from_slice(value.as_bytes());
                Ok(IsNull::No)
            };
            frontend::bind("", "", [0], [value], write, [0], &mut out).map_err(|_| ()).unwrap();
            frontend::execute("", 0, &mut out).unwrap();
            frontend::sync(&mut out);
            wire.send(&out).unwrap();
            let fault = wire.until_ready().unwrap().into_iter().find_map(|message| message.fault()).unwrap();
            assert_eq!(fault.sqlstate, "42501", "{name} {sql}: {fault}");
            assert!(fault.message.contains("the type of parameter $1 is not built in"), "{fault}");
            assert_eq!(wire.query("SELECT 1").unwrap().status, Some(b'I'));
        }
    }
    assert_eq!(world.server.admin("SELECT count(*) FROM proof").unwrap().trim(), "0");
    // Where the type is left to the server it is the one that the statement was judged with.
    let mut wire = world.agent().unwrap();
    let answer = wire.run(Form::Extended, Format::Text, "SELECT id FROM orders WHERE id = $1", &[Some("7")]).unwrap();
    assert_eq!((answer.fault, answer.rows.len()), (None, 1));
}

/// The same text means another thing once the session says so: it may not depend on that.
#[test]
fn no_statement_reads_what_the_session_sets_of_transactions() {
    let world = own(&Policy::default());
    let mut wire = world.agent().unwrap();
    for name in ["default_transaction_isolation", "transaction_read_only", "TRANSACTION_ISOLATION"] {
        let sql = format!("SELECT id FROM orders WHERE current_setting('{name}') = 'serializable'");
        assert_eq!(wire.query(&sql).unwrap().sqlstate(), "42501", "{sql}");
        assert_eq!(wire.query(&format!("SHOW {name}")).unwrap().fault, None);
    }
    assert_eq!(wire.query("SELECT current_setting('server_version_num')").unwrap().fault, None);
}
