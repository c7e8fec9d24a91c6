//! A refusal is an error of the server itself: what was around it ends exactly as after a native syntax error.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use e2e::wire::{Form, Message, Wire};
use e2e::world::World;
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| World::new().unwrap())
}

/// Ids that no other case uses, so that tables can be compared.
fn base() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed) * 1000
}

/// What was kept, counted from `base`.
fn kept(base: usize) -> String {
    let sql = format!("SELECT id - {base} FROM log WHERE id BETWEEN {base} AND {base} + 999 ORDER BY id");
    world().server.admin(&sql).unwrap().replace('\n', ",")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Idle,
    Transaction,
    Savepoint,
}

/// Where the Syncs of a pipeline stand, or one Query message each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    OneSync,
    ManySyncs,
    Simple,
}

fn unit(out: &mut BytesMut, sql: &str) {
    let none: [Option<&str>; 0] = [];
    frontend::parse("", sql, [], out).unwrap();
    let write = |_: Option<&str>, _: &mut BytesMut| Ok(IsNull::Yes);
    frontend::bind("", "", [], none, write, [0], out).map_err(|_| ()).unwrap();
    frontend::describe(b'P', "", out).unwrap();
    frontend::execute("", 0, out).unwrap();
}

/// Tags, command tags and the state of ReadyForQuery: everything that a driver acts on.
fn shape(messages: &[Message]) -> Vec<String> {
    let shown = |message: &Message| match message.tag {
        b'C' | b'Z' => format!("{}:{}", char::from(message.tag), message.texts().next().unwrap_or_default()),
        tag => char::from(tag).to_string(),
    };
    messages.iter().filter(|message| message.tag != b'N').map(shown).collect()
}

/// Sends all of it in one write and gives the shape of every answer.
fn play(wire: &mut Wire, statements: &[String], flight: Flight) -> Vec<String> {
    let mut out = BytesMut::new();
    for sql in statements {
        match flight {
            Flight::Simple => frontend::query(sql, &mut out).unwrap(),
            Flight::OneSync => unit(&mut out, sql),
            Flight::ManySyncs => {
                unit(&mut out, sql);
                frontend::sync(&mut out);
            }
        }
    }
    if flight == Flight::OneSync {
        frontend::sync(&mut out);
    }
    wire.send(&out).unwrap();
    let answers = if flight == Flight::OneSync { 1 } else { statements.len() };
    (0..answers).flat_map(|_| shape(&wire.until_ready().unwrap())).collect()
}

/// One whole story: begin, a pipeline with one bad statement in it, and how it goes on.
fn story(wire: &mut Wire, start: Start, flight: Flight, at: usize, bad: &str) -> (Vec<String>, String) {
    let base = base();
    let insert = |n: usize| format!("INSERT INTO log VALUES ({}, 'x')", base + n);
    let mut seen = Vec::new();
    let mut say = |wire: &mut Wire, sql: &str| seen.extend(shape(&wire.query(sql).unwrap().messages));
    if start != Start::Idle {
        say(wire, "BEGIN");
        say(wire, &insert(0));
    }
    if start == Start::Savepoint {
        say(wire, "SAVEPOINT s");
        say(wire, &insert(1));
    }
    let statements: Vec<String> = (0..4).map(|n| if n == at { bad.to_owned() } else { insert(10 + n) }).collect();
    seen.extend(play(wire, &statements, flight));
    let mut say = |wire: &mut Wire, sql: &str| seen.extend(shape(&wire.query(sql).unwrap().messages));
    match start {
        Start::Idle => say(wire, &insert(20)),
        Start::Transaction => {
            say(wire, &insert(20));
            say(wire, "COMMIT");
            say(wire, &insert(21));
        }
        Start::Savepoint => {
            say(wire, &insert(20));
            say(wire, "ROLLBACK TO SAVEPOINT s");
            say(wire, &insert(21));
            say(wire, "RELEASE SAVEPOINT s");
            say(wire, "COMMIT");
        }
    }
    (seen, kept(base))
}

#[test]
fn a_denial_at_any_place_leaves_what_a_native_error_leaves() {
    let world = world();
    let (mut ours, mut native) = (world.agent().unwrap(), world.native().unwrap());
    for start in [Start::Idle, Start::Transaction, Start::Savepoint] {
        for flight in [Flight::OneSync, Flight::ManySyncs, Flight::Simple] {
            for at in 0..4 {
                let case = format!("{start:?} {flight:?} at {at}");
                let expected = story(&mut native, start, flight, at, "SELEC 1");
                let got = story(&mut ours, start, flight, at, "DROP TABLE zzpoison");
                assert_eq!(got, expected, "{case}");
                // Denied when it is executed, not when it is parsed: a cursor that is not there.
                let got = story(&mut ours, start, flight, at, "FETCH ALL FROM zznowhere");
                let missing = story(&mut native, start, flight, at, "FETCH ALL FROM zznowhere");
                assert_eq!(got.1, missing.1, "{case}");
            }
        }
    }
    assert!(!world.server.saw("zzpoison"));
}

#[test]
fn an_open_question_inside_a_transaction_leaves_what_a_native_error_leaves() {
    let world = world();
    let (mut ours, mut native) = (world.agent().unwrap(), world.native().unwrap());
    for start in [Start::Transaction, Start::Savepoint] {
        for flight in [Flight::OneSync, Flight::ManySyncs, Flight::Simple] {
            for at in 0..4 {
                let case = format!("{start:?} {flight:?} at {at}");
                let expected = story(&mut native, start, flight, at, "SELEC 1");
                let got = story(&mut ours, start, flight, at, "DELETE FROM orders zzask WHERE zzask.id = 1");
                let ready = |seen: &[String]| -> Vec<String> {
                    seen.iter().filter(|tag| tag.starts_with('Z') || tag.starts_with('C')).cloned().collect()
                };
                assert_eq!((ready(&got.0), got.1), (ready(&expected.0), expected.1), "{case}");
            }
        }
    }
    assert_eq!(world.server.executed_with("zzask"), 0);
}

#[test]
fn a_commit_after_a_denial_rolls_back_and_keeps_nothing() {
    let world = world();
    for (form, format) in Form::ALL {
        let base = base();
        let mut wire = world.agent().unwrap();
        assert_eq!(wire.query("BEGIN").unwrap().status, Some(b'T'));
        assert_eq!(wire.query(&format!("INSERT INTO log VALUES ({base}, 'x')")).unwrap().tags, ["INSERT 0 1"]);
        let denied = wire.run(form, format, "DROP TABLE log", &[]).unwrap();
        assert_eq!((denied.sqlstate(), denied.status), ("42501", Some(b'E')), "{form:?}");
        let next = wire.run(form, format, "SELECT 1", &[]).unwrap();
        assert_eq!((next.sqlstate(), next.status), ("25P02", Some(b'E')), "{form:?}");
        let end = wire.query("COMMIT").unwrap();
        assert_eq!((end.tags, end.status), (vec!["ROLLBACK".to_owned()], Some(b'I')), "{form:?}");
        assert_eq!(kept(base), "", "{form:?}");
    }
}

#[test]
fn a_hundred_refusals_of_every_kind_leave_the_session_alive() {
    let mut wire = world().agent().unwrap();
    let statements =
        ["DROP TABLE log", "SELECT secret FROM vault", "SELEC", "select 1; select 2", "COPY log FROM STDIN"];
    for at in 0..100 {
        let (form, format) = Form::ALL[at % Form::ALL.len()];
        let sql = statements[at % statements.len()];
        let answer = wire.run(form, format, sql, &[]).unwrap();
        assert!(answer.fault.is_some(), "{sql} {form:?}");
        assert_eq!(answer.status, Some(b'I'), "{sql} {form:?}: {:?}", answer.fault);
    }
    assert_eq!(wire.query("SELECT 'alive'").unwrap().texts(), [["alive"]]);
}

#[test]
fn a_denied_copy_in_takes_no_data_and_the_session_goes_on() {
    let world = world();
    let mut wire = world.agent().unwrap();
    for sql in ["COPY log FROM STDIN", "COPY customers FROM STDIN (FORMAT csv)", "COPY log FROM PROGRAM 'zzcopy'"] {
        let answer = wire.query(sql).unwrap();
        assert_eq!((answer.sqlstate(), answer.status), ("42501", Some(b'I')), "{sql}");
        assert!(answer.messages.iter().all(|message| message.tag != b'G'), "{sql}: data was asked for");
    }
    // A driver that sends the data behind the statement without looking: as natively, it is thrown away.
    for extended in [false, true] {
        let mut out = BytesMut::new();
        if extended {
            unit(&mut out, "COPY log FROM STDIN");
            out.extend_from_slice(&e2e::wire::message(b'd', b"999\tzzcopy\n").unwrap());
            out.extend_from_slice(&e2e::wire::message(b'c', b"").unwrap());
            frontend::sync(&mut out);
        } else {
            frontend::query("COPY log FROM STDIN", &mut out).unwrap();
            out.extend_from_slice(&e2e::wire::message(b'd', b"999\tzzcopy\n").unwrap());
            out.extend_from_slice(&e2e::wire::message(b'c', b"").unwrap());
        }
        wire.send(&out).unwrap();
        assert_eq!(shape(&wire.until_ready().unwrap()), ["E", "Z:I"], "extended: {extended}");
        assert_eq!(wire.query("SELECT 'alive'").unwrap().texts(), [["alive"]], "extended: {extended}");
    }
    assert_eq!(world.server.admin("SELECT count(*) FROM log WHERE id = 999").unwrap(), "0");
    assert!(!world.server.saw("zzcopy"));
}

#[test]
fn a_native_error_inside_a_transaction_stays_the_servers_own() {
    let world = world();
    for (form, format) in Form::ALL {
        let base = base();
        let mut wire = world.agent().unwrap();
        wire.query("BEGIN").unwrap();
        wire.query(&format!("INSERT INTO log VALUES ({base}, 'x')")).unwrap();
        wire.query("SAVEPOINT s").unwrap();
        let bad = format!("INSERT INTO log VALUES ({}, 'bad')", base + 1);
        let answer = wire.run(form, format, &bad, &[]).unwrap();
        assert_eq!((answer.sqlstate(), answer.status), ("23514", Some(b'E')), "{form:?}");
        assert_eq!(wire.query("ROLLBACK TO s").unwrap().status, Some(b'T'), "{form:?}");
        let good = format!("INSERT INTO log VALUES ({}, 'good')", base + 2);
        if form != Form::Prepared {
            assert_eq!(wire.run(form, format, &good, &[]).unwrap().fault, None, "{form:?}");
        }
        let end = wire.query("COMMIT").unwrap();
        assert_eq!((end.tags, end.status), (vec!["COMMIT".to_owned()], Some(b'I')), "{form:?}");
        assert_eq!(kept(base), if form == Form::Prepared { "0" } else { "0,2" }, "{form:?}");
    }
}

#[test]
fn a_commit_inside_a_pipeline_ends_it() {
    let world = world();
    let mut wire = world.agent().unwrap();
    let base = base();
    let insert = |n: usize| format!("INSERT INTO log VALUES ({}, 'x')", base + n);
    let statements = ["BEGIN".to_owned(), insert(0), "COMMIT".to_owned(), insert(1), "DROP TABLE log".to_owned()];
    let seen = play(&mut wire, &statements, Flight::OneSync);
    assert_eq!(seen.last().unwrap(), "Z:I");
    assert!(seen.contains(&"E".to_owned()), "{seen:?}");
    // Nothing after the COMMIT was kept by halves.
    assert_eq!(kept(base), "0");
    assert_eq!(wire.query("SELECT 'alive'").unwrap().texts(), [["alive"]]);
}
