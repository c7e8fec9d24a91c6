//! Every mask, refusal and approval in every form of the protocol, in text and in binary.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use e2e::proxy::ALICE;
use e2e::wire::{Form, Format, Message, Wire};
use e2e::world::{World, leak};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

const SOON: Duration = Duration::from_secs(15);

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| World::new().unwrap())
}

/// A value as it must arrive.
#[derive(Clone, Copy, Debug)]
enum Cell {
    Null,
    Text(&'static str),
    Int(i32),
    Count(i64),
}
use Cell::{Count, Int, Null, Text};

impl Cell {
    fn bytes(self, format: Format) -> Option<Bytes> {
        match (self, format) {
            (Null, _) => None,
            (Text(text), _) => Some(Bytes::from(text)),
            (Int(number), Format::Text) => Some(Bytes::from(number.to_string())),
            (Int(number), Format::Binary) => Some(Bytes::copy_from_slice(&number.to_be_bytes())),
            (Count(number), Format::Text) => Some(Bytes::from(number.to_string())),
            (Count(number), Format::Binary) => Some(Bytes::copy_from_slice(&number.to_be_bytes())),
        }
    }
}

const GONE: Cell = Text("[redacted]");
const ANN: Cell = Text("a***@example.com");
const CID: Cell = Text("c***@example.com");

/// Statements over masked columns, and exactly what they answer.
const MASKED: &[(&str, &[&[Cell]])] = &[
    ("SELECT ssn FROM customers WHERE id = 1", &[&[GONE]]),
    (
        "SELECT id, email, pin FROM customers ORDER BY id",
        &[&[Int(1), ANN, Int(0)], &[Int(2), Null, Int(0)], &[Int(3), CID, Int(0)]],
    ),
    ("SELECT c.email AS name FROM customers AS c WHERE c.id = 1", &[&[ANN]]),
    ("SELECT email FROM customers UNION ALL SELECT 'own' ORDER BY 1", &[&[ANN], &[CID], &[Text("own")], &[Null]]),
    ("WITH w AS (SELECT email AS s FROM customers WHERE id = 3) SELECT s FROM w", &[&[CID]]),
    ("SELECT (SELECT email FROM customers WHERE id = o.customer) FROM orders o WHERE o.id = 3", &[&[ANN]]),
    ("SELECT upper(email) || pin::text FROM customers WHERE id = 1", &[&[Text("A***@EXAMPLE.COM0")]]),
    ("SELECT count(*) FROM customers WHERE email LIKE '%CANAR%'", &[&[Count(0)]]),
    ("SELECT sum(pin) FROM customers WHERE pin > 900000000", &[&[Null]]),
    ("SELECT DISTINCT pin FROM customers", &[&[Int(0)]]),
    ("SELECT c.ssn FROM orders o JOIN customers c ON c.id = o.customer WHERE o.id IN (3, 6)", &[&[GONE], &[GONE]]),
    ("SELECT max(email) OVER (ORDER BY id) FROM customers WHERE id = 1", &[&[ANN]]),
];

#[test]
fn masked_columns_hold_no_canary_in_any_form() {
    let world = world();
    let mut wire = world.agent().unwrap();
    for (sql, rows) in MASKED {
        for (form, format) in Form::ALL {
            let answer = wire.run(form, format, sql, &[]).unwrap();
            let expected: Vec<Vec<Option<Bytes>>> =
                rows.iter().map(|row| row.iter().map(|cell| cell.bytes(format)).collect()).collect();
            assert_eq!(answer.fault, None, "{sql} {form:?} {format:?}");
            assert_eq!(answer.rows, expected, "{sql} {form:?} {format:?}");
            assert_eq!(answer.status, Some(b'I'), "{sql} {form:?} {format:?}");
            assert_eq!(leak(&answer), None, "{sql} {form:?} {format:?}");
        }
    }
}

#[test]
fn masked_columns_with_parameters_hold_no_canary() {
    let mut wire = world().agent().unwrap();
    for (form, format) in Form::ALL.into_iter().filter(|(form, _)| *form != Form::Simple) {
        let sql = "SELECT email, ssn, pin FROM customers WHERE id = $1 OR email = $2";
        let answer = wire.run(form, format, sql, &[Some("3"), Some("a-CANARY-1@example.com")]).unwrap();
        let expected = [CID, GONE, Int(0)].map(|cell| cell.bytes(format)).to_vec();
        assert_eq!(answer.rows, [expected], "{form:?} {format:?} {:?}", answer.fault);
        assert_eq!(leak(&answer), None, "{form:?} {format:?}");
    }
}

/// What is denied, each with a word of its own (`@`), and a piece of what the agent is told.
const REFUSED: &[(&str, &str)] = &[
    ("SELECT nothing.* FROM nothing @", "42P01"),
    ("SELEC @ FROM", "42601"),
    ("DROP TABLE @", "no-ddl"),
    ("CREATE TABLE @ (id int)", "no-ddl"),
    ("TRUNCATE log, @", "42P01"),
    ("TRUNCATE log -- @", "no-ddl"),
    ("WITH @ AS (DELETE FROM orders RETURNING id) SELECT id FROM @", "no effective WHERE"),
    ("WITH @ AS (SELECT ssn FROM customers) SELECT count(*) FROM @", "`ssn`"),
    ("SELECT secret AS @ FROM vault", "public.vault"),
    ("SELECT @.secret FROM orders o, vault @", "public.vault"),
    ("SELECT ssn FROM customers @ WHERE @.ssn = 'CANARY-ssn-1'", "`ssn`"),
    ("SELECT @ FROM customers @", "`ssn`"),
    ("DELETE FROM orders @", "no effective WHERE"),
    ("DELETE FROM orders @ WHERE true", "no effective WHERE"),
    ("UPDATE orders @ SET note = 'x' WHERE 1 = 1", "no effective WHERE"),
    ("UPDATE customers @ SET name = 'x' WHERE id = 1", "no-deletes"),
    ("DELETE FROM customers @ WHERE id = 1 RETURNING ssn", "42501"),
    ("SELECT empty_orders() AS @", "empty_orders"),
    ("SELECT pg_sleep(0) AS @", "pg_sleep"),
    ("DO $$ BEGIN PERFORM '@'; END $$", "42501"),
    ("SET search_path = @", "42501"),
    ("SELECT set_config('search_path', '@', false)", "set_config"),
    ("GRANT SELECT ON vault TO @", "42501"),
    ("COPY customers TO '/tmp/@'", "42501"),
    ("EXPLAIN SELECT ssn AS @ FROM customers", "42501"),
    ("PREPARE @ AS SELECT 1", "42501"),
    ("LISTEN @", "@"),
    ("NOTIFY @, 'x'", "@"),
    ("CREATE TEMP TABLE @ AS SELECT 1", "42501"),
];

#[test]
fn a_refused_statement_never_reaches_the_server_in_any_form() {
    let world = world();
    let mut wire = world.agent().unwrap();
    for (at, (sql, told)) in REFUSED.iter().enumerate() {
        let word = format!("zq{at}zq");
        let sql = sql.replace('@', &word);
        for (form, format) in Form::ALL {
            let answer = wire.run(form, format, &sql, &[]).unwrap();
            let fault = answer.fault.clone().unwrap_or_default();
            let own = ["42P01", "42601"].iter().any(|state| told == state);
            assert_eq!(fault.sqlstate, if own { told } else { "42501" }, "{sql} {form:?} {format:?} {fault}");
            assert!(!fault.hint.is_empty(), "{sql} {form:?}: {fault:?}");
            let told = told.replace('@', &word);
            assert!(format!("{fault}").contains(&told), "{sql} {form:?}: {fault} says not {told}");
            assert_eq!((answer.rows.len(), answer.status), (0, Some(b'I')), "{sql} {form:?}");
            assert_eq!(leak(&answer), None, "{sql} {form:?}");
            let alive = wire.run(form, format, "SELECT 'alive'", &[]).unwrap();
            assert_eq!(alive.texts(), [["alive"]], "after {sql} {form:?} {:?}", alive.fault);
        }
        assert!(!world.server.saw(&word), "{sql} reached the server");
    }
    assert_eq!(world.server.admin("SELECT count(*) FROM customers WHERE name = 'x'").unwrap(), "0");
}

#[test]
fn a_bounded_change_waits_for_a_person_in_every_form() {
    let world = world();
    for (at, (form, format)) in Form::ALL.into_iter().enumerate() {
        let (alias, id) = (format!("w{at}w"), at + 100);
        let sql = format!("DELETE FROM orders {alias} WHERE {alias}.id = {id} RETURNING {alias}.note");
        let run = |sql: String| thread::spawn(move || self::world().agent()?.run(form, format, &sql, &[]));

        if form == Form::Pipelined {
            // Behind work that is not synced nothing can wait: it is asked for, and sent again.
            let answer = run(sql.clone()).join().unwrap().unwrap();
            assert_eq!(answer.sqlstate(), "PX001", "{form:?}");
            assert_eq!(world.server.executed_with(&alias), 0);
            let name = world.sidecar.asked(&alias, SOON).unwrap();
            assert_eq!(world.sidecar.vote(ALICE, &name, "approve").unwrap()["is"], "decided");
            let answer = run(sql).join().unwrap().unwrap();
            assert_eq!((answer.fault.clone(), answer.texts()), (None, vec![vec![format!("note {id}")]]), "{form:?}");
            assert_eq!(world.server.executed_with(&alias), 1, "{form:?}");
            continue;
        }
        // The prepared form runs it twice, so it asks twice.
        let times = if form == Form::Prepared { 2 } else { 1 };
        let held = run(sql.clone());
        for time in 0..times {
            let name = world.sidecar.asked(&alias, SOON).unwrap();
            assert_eq!(world.server.executed_with(&alias), time, "{form:?}");
            assert!(!held.is_finished(), "{form:?}");
            assert_eq!(world.sidecar.vote(ALICE, &name, "approve").unwrap()["is"], "decided");
        }
        let answer = held.join().unwrap().unwrap();
        assert_eq!((answer.fault.clone(), answer.status), (None, Some(b'I')), "{form:?} {format:?}");
        let rows = if form == Form::Prepared { vec![] } else { vec![vec![format!("note {id}")]] };
        assert_eq!(answer.texts(), rows, "{form:?}");
        let told = answer.notices.iter().filter(|notice| notice.message.contains("waiting for approval: request "));
        assert!(told.count() >= times, "{form:?} {:?}", answer.notices);
        let runs = world.server.executions().into_iter().filter(|run| {
            let again = run.prepared.as_deref().is_some_and(|name| name.starts_with("fetch from"));
            run.text.contains(&alias) && !again
        });
        assert_eq!(runs.count(), times, "{form:?}");
    }
}

// --- forms that the client's own do not cover ---

fn unit(out: &mut BytesMut, statement: &str, format: i16, rows: i32) {
    let none: [Option<&str>; 0] = [];
    let write = |_: Option<&str>, _: &mut BytesMut| Ok(IsNull::Yes);
    frontend::bind("", statement, [], none, write, [format], out).map_err(|_| ()).unwrap();
    frontend::execute("", rows, out).unwrap();
}

fn tags(messages: &[Message]) -> String {
    messages.iter().filter(|message| message.tag != b'N').map(|message| char::from(message.tag)).collect()
}

fn clean(messages: &[Message]) {
    for message in messages {
        assert!(!message.body.windows(6).any(|part| part == b"CANARY"), "{message:?}");
    }
}

#[test]
fn several_syncs_in_one_flight_answer_in_order() {
    let world = world();
    for format in [0, 1] {
        let mut wire = world.agent().unwrap();
        let mut out = BytesMut::new();
        let statements =
            ["SELECT email FROM customers WHERE id = 1", "DROP TABLE zzsync", "SELECT ssn FROM customers WHERE id = 2"];
        for sql in statements {
            frontend::parse("", sql, [], &mut out).unwrap();
            unit(&mut out, "", format, 0);
            frontend::sync(&mut out);
        }
        wire.send(&out).unwrap();
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(wire.until_ready().unwrap());
        }
        let shapes: Vec<String> = answers.iter().map(|answer| tags(answer)).collect();
        assert_eq!(shapes, ["12DCZ", "EZ", "12DCZ"]);
        answers.iter().for_each(|answer| clean(answer));
        assert_eq!(answers[0][2].values().unwrap(), [Some(Bytes::from("a***@example.com"))]);
        assert_eq!(answers[1][0].fault().unwrap().sqlstate, "42501");
        assert_eq!(answers[2][2].values().unwrap(), [Some(Bytes::from("[redacted]"))]);
        assert!(!world.server.saw("zzsync"));
    }
}

#[test]
fn a_described_statement_runs_again_without_describe_and_stays_masked() {
    let mut wire = world().agent().unwrap();
    let mut out = BytesMut::new();
    frontend::parse("kept", "SELECT pin, email FROM customers WHERE id = 1", [], &mut out).unwrap();
    frontend::describe(b'S', "kept", &mut out).unwrap();
    frontend::sync(&mut out);
    wire.send(&out).unwrap();
    assert_eq!(tags(&wire.until_ready().unwrap()), "1tTZ");
    for format in [0, 1, 1, 0] {
        let mut out = BytesMut::new();
        unit(&mut out, "kept", format, 0);
        frontend::sync(&mut out);
        wire.send(&out).unwrap();
        let answer = wire.until_ready().unwrap();
        assert_eq!(tags(&answer), "2DCZ");
        let zero = if format == 1 { Bytes::from_static(&[0; 4]) } else { Bytes::from("0") };
        assert_eq!(answer[1].values().unwrap(), [Some(zero), Some(Bytes::from("a***@example.com"))]);
    }
}

#[test]
fn a_portal_that_goes_on_stays_masked_to_its_last_row() {
    let mut wire = world().agent().unwrap();
    let mut out = BytesMut::new();
    frontend::parse("", "SELECT ssn, pin FROM customers ORDER BY id", [], &mut out).unwrap();
    unit(&mut out, "", 1, 1);
    frontend::execute("", 1, &mut out).unwrap();
    frontend::execute("", 5, &mut out).unwrap();
    frontend::sync(&mut out);
    wire.send(&out).unwrap();
    let answer = wire.until_ready().unwrap();
    assert_eq!(tags(&answer), "12DsDsDCZ");
    for row in answer.iter().filter_map(Message::values) {
        assert_eq!(row, [Some(Bytes::from("[redacted]")), Some(Bytes::from_static(&[0; 4]))]);
    }
}

#[test]
fn copy_out_is_masked_in_text_csv_and_binary_and_in_both_protocols() {
    let world = world();
    let mut wire = world.agent().unwrap();
    for options in ["", "(FORMAT csv)", "(FORMAT binary)"] {
        for sql in ["customers", "customers (id, ssn, email, pin)", "(SELECT * FROM customers)"] {
            let sql = format!("COPY {sql} TO STDOUT {options}");
            for extended in [false, true] {
                let messages = copy_out(&mut wire, &sql, extended);
                let data: Vec<u8> = messages.iter().filter(|m| m.tag == b'd').flat_map(|m| m.body.to_vec()).collect();
                assert!(data.windows(10).any(|part| part == b"[redacted]"), "{sql}: {messages:?}");
                assert!(data.windows(16).any(|part| part == b"a***@example.com"), "{sql}");
                clean(&messages);
                assert!(!data.windows(4).any(|part| part == 912_345_678_i32.to_be_bytes()), "{sql}");
                assert!(!data.windows(9).any(|part| part == b"912345678"), "{sql}");
            }
        }
    }
}

fn copy_out(wire: &mut Wire, sql: &str, extended: bool) -> Vec<Message> {
    let mut out = BytesMut::new();
    if extended {
        frontend::parse("", sql, [], &mut out).unwrap();
        unit(&mut out, "", 0, 0);
        frontend::sync(&mut out);
    } else {
        frontend::query(sql, &mut out).unwrap();
    }
    wire.send(&out).unwrap();
    wire.until_ready().unwrap()
}
