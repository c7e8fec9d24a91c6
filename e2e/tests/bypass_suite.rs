//! Known ways round guards of databases, each as an attack that the product must stand. What decides is the server's
//! own log: what is not in it did not run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use e2e::wire::{Form, Format, Message, Wire, message};
use e2e::world::{World, leak};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| World::new().unwrap())
}

/// The agent's session still is what it was: governed, and with its masks.
fn not_blind(wire: &mut Wire, case: &str) {
    assert_eq!(wire.query("DROP TABLE zzblind").unwrap().sqlstate(), "42501", "{case}");
    assert_eq!(wire.query("SELECT ssn FROM customers WHERE id = 1").unwrap().texts(), [["[redacted]"]], "{case}");
    assert!(!world().server.saw("zzblind"), "{case}");
}

fn refused_unseen(sql: &str, word: &str) {
    let mut wire = world().agent().unwrap();
    for (form, format) in Form::ALL {
        let answer = wire.run(form, format, sql, &[]).unwrap();
        assert!(answer.fault.is_some(), "{sql} {form:?} {format:?}");
        assert_eq!((answer.rows.len(), leak(&answer), answer.status), (0, None, Some(b'I')), "{sql} {form:?}");
    }
    assert!(!world().server.saw(word), "{sql}");
    not_blind(&mut wire, sql);
}

/// Row 1: what is too long to be inspected is not sent on uninspected.
#[test]
fn row_01_a_long_comment_does_not_overflow_the_inspector() {
    for size in [300 << 10, 900 << 10] {
        refused_unseen(&format!("/* {} */ DROP TABLE orders /* zz01 */", "x".repeat(size)), "zz01");
        refused_unseen(&format!("SELECT '{}' AS zz01, secret FROM vault", "x".repeat(size)), "zz01");
    }
    // Beyond the longest message: refused by its length, before its body is there.
    for tag in [b'Q', b'P'] {
        let mut wire = world().agent().unwrap();
        let mut body = BytesMut::new();
        if tag == b'P' {
            body.put_u8(0);
        }
        body.put_slice(b"/* ");
        body.resize(9 << 20, b'x');
        body.put_slice(b" */ DROP TABLE orders /* zz01 */\0");
        if tag == b'P' {
            body.put_u16(0);
        }
        let _closed = wire.send(&message(tag, &body).unwrap());
        let told = wire.until(b'Z').unwrap_or_default();
        assert!(told.iter().all(|m| m.tag != b'C' && m.tag != b'1'), "{told:?}");
        assert!(!world().server.saw("zz01") && !world().server.saw("xxxxxxxxxx"));
        not_blind(&mut world().agent().unwrap(), "9 MiB");
    }
    assert_eq!(world().server.admin("SELECT count(*) > 0 FROM orders").unwrap(), "t");
}

/// Row 2: strict, and still useful: ordinary statements work, in every form and from psql.
#[test]
fn row_02_the_strict_default_lets_ordinary_reads_pass() {
    let mut wire = world().agent().unwrap();
    let reads = [
        "SELECT 1",
        "select now() is not null",
        "SELECT count(*) FROM orders WHERE note LIKE 'note%'",
        "SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer ORDER BY o.id LIMIT 3",
        "WITH x AS (SELECT customer, count(*) AS n FROM orders GROUP BY 1) SELECT * FROM x ORDER BY n DESC, 1",
        "SELECT feels FROM customers ORDER BY id",
        "SELECT relname FROM pg_catalog.pg_class WHERE relname = 'orders'",
        "SHOW server_version",
        "VALUES (1), (2)",
        "EXPLAIN SELECT note FROM orders WHERE id = 1",
    ];
    for sql in reads {
        for (form, format) in Form::ALL {
            let answer = wire.run(form, format, sql, &[]).unwrap();
            assert_eq!(answer.fault, None, "{sql} {form:?} {format:?}");
            assert!(!answer.rows.is_empty(), "{sql} {form:?}");
        }
    }
    let psql = world().sidecar.psql().run("\\d\n\\d customers\n\\dt\n\\df\nSELECT 1;").unwrap();
    assert_eq!((psql.status, psql.stdout.ends_with("1\n")), (Some(0), true), "{}", psql.stderr);
}

/// Row 3: code that carries its statement inside.
#[test]
fn row_03_code_carriers_do_not_run() {
    for sql in [
        "DO $$ BEGIN DELETE FROM orders; /* zz03 */ END $$",
        "DO LANGUAGE plpgsql $zz03$ BEGIN EXECUTE 'dr' || 'op table orders'; END $zz03$",
        "CREATE FUNCTION zz03() RETURNS void LANGUAGE sql AS 'truncate orders'",
        "CREATE OR REPLACE FUNCTION pg_temp.zz03() RETURNS void LANGUAGE sql AS 'truncate orders'",
        "SELECT empty_orders() AS zz03",
        "SELECT public.empty_orders() AS zz03 FROM orders",
        "SELECT * FROM empty_orders() AS zz03",
        "CALL empty_orders(/* zz03 */)",
        "SELECT query_to_xml('drop table orders', true, true, 'zz03')",
        "SELECT zz03.* FROM pg_catalog.query_to_xml('select 1', true, true, '') zz03",
        "SELECT loud('zz03')",
        "CREATE RULE zz03 AS ON INSERT TO log DO ALSO DELETE FROM orders",
        "CREATE TRIGGER zz03 BEFORE INSERT ON log EXECUTE FUNCTION empty_orders()",
        "EXECUTE zz03",
        "PREPARE zz03 AS DROP TABLE orders",
        "EXPLAIN ANALYZE DELETE FROM orders zz03",
        "SELECT lo_import('/etc/passwd') AS zz03",
        "SELECT pg_read_file('/etc/passwd') AS zz03",
        "SELECT dblink('zz03', 'drop table orders')",
        "COPY (DELETE FROM orders zz03 RETURNING *) TO STDOUT",
        "COPY orders TO PROGRAM 'zz03'",
        "SELECT 1; DROP TABLE zz03",
        "BEGIN; DROP TABLE zz03; COMMIT",
    ] {
        refused_unseen(sql, "zz03");
    }
    assert_eq!(world().server.admin("SELECT count(*) FROM orders").unwrap(), "200");
}

/// Row 6: COPY TO STDOUT carries no column names to mask by.
#[test]
fn row_06_copy_out_is_masked() {
    let mut wire = world().agent().unwrap();
    for sql in [
        "COPY customers TO STDOUT",
        "COPY public.customers (ssn, pin, email) TO STDOUT (FORMAT csv, HEADER)",
        "COPY customers (pin) TO STDOUT (FORMAT binary)",
        "COPY (TABLE customers) TO STDOUT",
        "COPY (SELECT c.*, c.ssn FROM customers c) TO STDOUT (FORMAT csv)",
        "COPY (SELECT id, email || pin::text FROM customers) TO STDOUT",
    ] {
        let answer = wire.query(sql).unwrap();
        assert_eq!((answer.fault.clone(), leak(&answer)), (None, None), "{sql}");
        assert!(answer.messages.iter().any(|m| m.tag == b'd'), "{sql}");
    }
    for sql in ["COPY people TO STDOUT", "COPY vault TO STDOUT", "COPY (SELECT c FROM customers c) TO STDOUT"] {
        let answer = wire.query(sql).unwrap();
        assert_eq!((answer.sqlstate(), leak(&answer)), ("42501", None), "{sql}");
    }
}

/// Row 7: errors and notices that quote data.
#[test]
fn row_07_errors_and_notices_say_nothing_of_masked_data() {
    let mut wire = world().agent().unwrap();
    for sql in [
        "SELECT ssn::int FROM customers",
        "SELECT email::int FROM customers",
        "SELECT 1 / (pin - 912345678) FROM customers",
        "SELECT email::date FROM customers",
        "SELECT ('{' || email || '}')::json FROM customers",
        "SELECT xmlparse(document email) FROM customers",
        "SELECT loud(email) FROM customers",
        "SELECT loud(ssn) FROM customers",
        "INSERT INTO log SELECT id, email::int::text FROM customers",
        "INSERT INTO log SELECT 1, email FROM customers",
        "INSERT INTO log VALUES (1, (SELECT ssn FROM customers WHERE id = 1))",
        "UPDATE customers SET name = NULL WHERE id = 1",
        "INSERT INTO customers VALUES (1, 'x', 'y', 'z', 1)",
        "SELECT to_date(email, 'YYYY') FROM customers",
        "SELECT email COLLATE \"nothing\" FROM customers",
    ] {
        for (form, format) in Form::ALL {
            let answer = wire.run(form, format, sql, &[]).unwrap();
            assert_eq!(leak(&answer), None, "{sql} {form:?}");
            assert!(answer.fault.is_some() || !answer.rows.is_empty(), "{sql} {form:?}: {:?}", answer.tags);
            assert_eq!(answer.status, Some(b'I'), "{sql} {form:?}");
        }
    }
}

fn run_again(wire: &mut Wire, name: &str, format: i16) -> Vec<Message> {
    let none: [Option<&str>; 0] = [];
    let write = |_: Option<&str>, _: &mut BytesMut| Ok(IsNull::Yes);
    let mut out = BytesMut::new();
    frontend::bind("", name, [], none, write, [format], &mut out).map_err(|_| ()).unwrap();
    frontend::execute("", 0, &mut out).unwrap();
    frontend::sync(&mut out);
    wire.send(&out).unwrap();
    wire.until_ready().unwrap()
}

/// Row 8: a cached statement, executed without Describe, has no RowDescription to mask by.
#[test]
fn row_08_a_statement_without_describe_is_masked() {
    let mut wire = world().agent().unwrap();
    let mut out = BytesMut::new();
    frontend::parse("a", "SELECT ssn, pin FROM customers WHERE id = 1", [], &mut out).unwrap();
    frontend::parse("b", "SELECT note, id FROM orders WHERE id = 199", [], &mut out).unwrap();
    frontend::sync(&mut out);
    wire.send(&out).unwrap();
    wire.until_ready().unwrap();
    // Interleaved, in both formats, and once the column plan of another statement lies between.
    for (name, format) in [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 0), ("a", 1)] {
        let answer = run_again(&mut wire, name, format);
        assert!(answer.iter().all(|m| m.tag != b'T'), "{answer:?}");
        let row = answer.iter().find_map(Message::values).unwrap();
        if name == "a" {
            let zero = if format == 1 { Bytes::from_static(&[0; 4]) } else { Bytes::from("0") };
            assert_eq!(row, [Some(Bytes::from("[redacted]")), Some(zero)]);
        } else {
            assert_eq!(row[0], Some(Bytes::from("note 199")));
        }
    }
}

/// Row 9: another name, or a function over it.
#[test]
fn row_09_derived_values_are_masked_or_refused() {
    let mut wire = world().agent().unwrap();
    for sql in [
        "SELECT email AS name FROM customers",
        "SELECT reverse(email) FROM customers",
        "SELECT reverse(ssn) FROM customers",
        "SELECT encode(email::bytea, 'hex') FROM customers",
        "SELECT encode(ssn::bytea, 'base64') FROM customers",
        "SELECT md5(ssn) FROM customers",
        "SELECT substr(email, 3, 6) FROM customers",
        "SELECT left(ssn, 6) FROM customers",
        "SELECT pin::text::bytea FROM customers",
        "SELECT pin # 1 FROM customers",
        "SELECT to_hex(pin) FROM customers",
        "SELECT c FROM customers c",
        "SELECT c.*::text FROM customers c",
        "SELECT row(c.*) FROM customers c",
        "SELECT to_jsonb(c) FROM customers c",
        "SELECT json_agg(c) FROM customers c",
        "SELECT array_agg(email) FROM customers",
        "SELECT string_agg(email, ',') FROM customers",
        "SELECT (SELECT max(ssn) FROM customers)",
        "SELECT coalesce(email, ssn) FROM customers",
        "SELECT CASE WHEN true THEN ssn END FROM customers",
        "SELECT x FROM (SELECT ssn FROM customers) AS t(x)",
        "SELECT x FROM customers AS t(a, b, x, y, z)",
        "SELECT y FROM customers AS t(a, b, x, y, z)",
        "SELECT ssn FROM people",
        "SELECT ssn FROM customers UNION SELECT note FROM orders WHERE id < 3",
        "SELECT email FROM customers NATURAL JOIN (VALUES (1)) AS v(id)",
        "SELECT 'x' FROM customers GROUP BY ssn",
        "SELECT id FROM customers ORDER BY ssn",
        "SELECT id FROM customers ORDER BY pin, email",
        "INSERT INTO log SELECT 900 + id, email FROM customers RETURNING what",
        "SELECT most_common_vals FROM pg_stats WHERE tablename = 'customers'",
        "SELECT stavalues1 FROM pg_statistic",
        "SELECT query FROM pg_stat_activity",
    ] {
        for (form, format) in Form::ALL {
            let answer = wire.run(form, format, sql, &[]).unwrap();
            assert_eq!(leak(&answer), None, "{sql} {form:?}");
            for secret in ["YRANAC", "434e4152", "43414e41", "Q0FOQVJZ", "36614d4e", "3661"] {
                assert!(!answer.contains(secret.as_bytes()) || sql.contains("md5"), "{sql} {form:?}: {secret}");
            }
            assert_eq!(answer.status, Some(b'I'), "{sql} {form:?}");
        }
    }
    // A copy elsewhere holds only what the agent could read.
    let copied = world().server.admin("SELECT count(*) FROM log WHERE what LIKE '%CANARY%'").unwrap();
    assert_eq!(copied, "0");
}

/// Row 11: the fast path calls a function without SQL; values come in Bind.
#[test]
fn row_11_fastpath_is_refused_and_bound_values_are_seen() {
    let world = world();
    let before = world.server.executed_with("fastpath");
    let mut wire = world.agent().unwrap();
    let mut body = BytesMut::new();
    body.put_u32(1598); // random()
    body.put_u16(0);
    body.put_u16(0);
    body.put_u16(0);
    let _closed = wire.send_message(b'F', &body);
    let told = wire.until(b'Z').unwrap_or_default();
    assert!(told.iter().any(|m| m.tag == b'E'), "{told:?}");
    assert!(told.iter().all(|m| m.tag != b'V'), "{told:?}");
    assert_eq!(world.server.executed_with("fastpath"), before);
    assert!(!world.server.log_text().contains("fastpath"));

    // Settings by parameter, where the text says nothing.
    let mut wire = world.agent().unwrap();
    let sql = "SELECT set_config($1, $2, false)";
    for (name, value) in [("search_path", "zz11"), ("role", "postgres"), ("standard_conforming_strings", "off")] {
        let answer = wire.run(Form::Extended, Format::Text, sql, &[Some(name), Some(value)]).unwrap();
        assert_eq!(answer.sqlstate(), "42501", "{name} {:?}", answer.fault);
    }
    let answer =
        wire.run(Form::Extended, Format::Text, "SELECT note FROM orders WHERE note = $1", &[Some("' OR 1=1 --")]);
    assert_eq!(answer.unwrap().rows.len(), 0);
    assert!(!world.server.saw("zz11"));
    not_blind(&mut wire, "bound values");
}

/// Row 12: a denial is an ERROR and a ReadyForQuery with the right state, never the end.
#[test]
fn row_12_a_denial_leaves_the_session_and_its_state() {
    let mut wire = world().agent().unwrap();
    for (form, format) in Form::ALL {
        let denied = wire.run(form, format, "DROP TABLE zz12", &[]).unwrap();
        let fault = denied.fault.clone().unwrap();
        assert_eq!((fault.severity.as_str(), fault.sqlstate.as_str(), denied.status), ("ERROR", "42501", Some(b'I')));
        wire.query("BEGIN").unwrap();
        let denied = wire.run(form, format, "DROP TABLE zz12", &[]).unwrap();
        assert_eq!((denied.sqlstate(), denied.status), ("42501", Some(b'E')), "{form:?}");
        assert_eq!(wire.query("ROLLBACK").unwrap().status, Some(b'I'), "{form:?}");
    }
    not_blind(&mut wire, "after all of it");
    assert!(!world().server.saw("zz12"));
}

/// Row 13: the same thing, spelt otherwise.
#[test]
fn row_13_spelling_does_not_matter() {
    for sql in [
        "DROP/**/TABLE zz13",
        "dRoP tAbLe ZZ13 /* zz13 */",
        "-- harmless\nDROP TABLE zz13",
        "/* /* nested */ */ DROP TABLE \"zz13\"",
        "DROP TABLE U&\"zz1\\0033\" /* zz13 */",
        "TABLE vault -- zz13",
        "SELECT * FROM \"vault\" zz13",
        "SELECT * FROM ONLY vault zz13",
        "SELECT * FROM ONLY (public.\"vault\") AS zz13",
        "SELECT * FROM U&\"v\\0061ult\" zz13",
        "SELECT * FROM app.public.vault zz13",
        "SELECT 1 FROM orders LIMIT (SELECT length(secret) FROM vault zz13)",
        "SELECT 1 WHERE EXISTS (TABLE vault) -- zz13",
        "VALUES ((SELECT secret FROM vault zz13))",
        "SELECT rank() OVER (ORDER BY (SELECT secret FROM vault zz13 LIMIT 1)) FROM orders",
        "WITH vault2 AS (SELECT * FROM vault) SELECT * FROM vault2 zz13",
        "DELETE FROM orders zz13 WHERE 2=2",
        "DELETE FROM orders zz13 WHERE id = id",
        "DELETE FROM orders zz13 WHERE true OR id = 1",
        "DELETE FROM orders zz13 WHERE id IS NOT NULL OR id IS NULL",
        "delete from orders zz13 where not false",
        "UPDATE orders zz13 SET note = note WHERE 1 < 2",
        "TRUNCATE ONLY orders /* zz13 */ CASCADE",
    ] {
        refused_unseen(sql, "zz13");
    }
    let mut wire = world().agent().unwrap();
    for sql in [
        "TABLE customers",
        "SELECT * FROM ONLY customers",
        "SELECT \"ssn\" FROM \"customers\"",
        "select SSN from Customers",
    ] {
        let answer = wire.query(sql).unwrap();
        assert_eq!((answer.fault.clone(), leak(&answer)), (None, None), "{sql}");
    }
    assert_eq!(world().server.admin("SELECT count(*) FROM orders").unwrap(), "200");
}

/// Row 16: peers that connect and say nothing keep nobody away.
#[test]
fn row_16_silent_connections_block_nobody() {
    let world = world();
    let port = world.sidecar.port();
    let silent: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap()).collect();
    // Some stop in the middle of a packet, and one in the middle of a login.
    for stream in silent.iter().take(10) {
        use std::io::Write;
        let mut stream = stream;
        stream.write_all(&[0, 0, 0]).unwrap();
    }
    let mut half = Wire::bare(port).unwrap();
    let mut out = BytesMut::new();
    frontend::startup_message([("user", "agent"), ("database", "app")], &mut out).unwrap();
    half.send(&out).unwrap();
    assert_eq!(half.read_message().unwrap().unwrap().tag, b'R');

    let begun = Instant::now();
    let others: Vec<_> =
        (0..4).map(|_| thread::spawn(|| self::world().agent().unwrap().query("SELECT 1").unwrap())).collect();
    for other in others {
        assert_eq!(other.join().unwrap().texts(), [["1"]]);
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    // They are not kept for ever: the login has a deadline.
    let mut last = silent.into_iter().next_back().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut byte = [0; 1];
    let end = last.read(&mut byte);
    let reset = end.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
    assert!(reset || matches!(end, Ok(0)), "{end:?}");
}
