//! A session over its life: startup, reload, limits, streams, cancel, drain, and what it must never disclose.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use e2e::collector::Collector;
use e2e::postgres::DATABASE;
use e2e::proxy::{AGENT, AGENT_PASSWORD, ALICE, Setup};
use e2e::wait::eventually;
use e2e::wire::{Form, Format, Login, Message, Wire, message};
use e2e::world::{self, CANARY, POLICY_FILE, Policy, ROLE_PASSWORD, World, leak};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;
use rustix::process::Signal;
use serde_json::json;

const SOON: Duration = Duration::from_secs(15);
/// What the product promises for a reload, and what a loaded machine adds.
const RELOAD: Duration = Duration::from_secs(4);

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| World::new().unwrap())
}

/// A world whose policy or life a test changes.
fn own(policy: &Policy) -> World {
    let server = world::server().unwrap();
    let sidecar = world::sidecar(&server, policy).unwrap();
    World { sidecar, server }
}

fn send(wire: &mut Wire, sql: &str) {
    let mut out = BytesMut::new();
    frontend::query(sql, &mut out).unwrap();
    wire.send(&out).unwrap();
}

fn execute(statement: &str) -> BytesMut {
    let mut out = BytesMut::new();
    let none: [Option<&str>; 0] = [];
    let write = |_: Option<&str>, _: &mut BytesMut| Ok(IsNull::Yes);
    frontend::bind("", statement, [], none, write, [0], &mut out).map_err(|_| ()).unwrap();
    frontend::execute("", 0, &mut out).unwrap();
    frontend::sync(&mut out);
    out
}

fn fault(messages: &[Message]) -> String {
    messages.iter().find_map(Message::fault).map(|fault| fault.sqlstate).unwrap_or_default()
}

// === reload ===

#[test]
fn a_new_policy_reaches_open_connections() {
    let world = own(&Policy::default());
    let mut wire = world.agent().unwrap();
    assert_eq!(wire.query("SELECT note FROM orders WHERE id = 1").unwrap().texts(), [["note 1"]]);

    // Allow becomes deny.
    world.sidecar.write(POLICY_FILE, &Policy::default().without("reads").yaml()).unwrap();
    eventually("the denial", RELOAD, || {
        wire.query("SELECT note FROM orders WHERE id = 1").unwrap().sqlstate() == "42501"
    })
    .unwrap();
    // Deny becomes allow.
    world.sidecar.write(POLICY_FILE, &Policy::default().yaml()).unwrap();
    eventually("the permission", RELOAD, || {
        wire.query("SELECT note FROM orders WHERE id = 1").unwrap().fault.is_none()
    })
    .unwrap();
}

#[test]
fn a_statement_prepared_before_a_mask_never_shows_what_the_mask_hides() {
    let world = own(&Policy { masks: String::new(), ..Policy::default() });
    let mut wire = world.agent().unwrap();
    let mut out = BytesMut::new();
    frontend::parse("kept", "SELECT ssn, pin FROM customers WHERE id = 1", [], &mut out).unwrap();
    frontend::describe(b'S', "kept", &mut out).unwrap();
    frontend::sync(&mut out);
    wire.send(&out).unwrap();
    assert_eq!(fault(&wire.until_ready().unwrap()), "");
    wire.send(&execute("kept")).unwrap();
    let raw = wire.until_ready().unwrap();
    assert!(raw.iter().any(|m| m.body.windows(6).any(|part| part == CANARY.as_bytes())), "no mask yet");

    world.sidecar.write(POLICY_FILE, &Policy::default().yaml()).unwrap();
    eventually("the mask", RELOAD, || {
        let answer = wire.query("SELECT ssn FROM customers WHERE id = 1").unwrap();
        answer.texts() == [["[redacted]"]]
    })
    .unwrap();
    wire.send(&execute("kept")).unwrap();
    let answer = wire.until_ready().unwrap();
    assert_eq!((fault(&answer).as_str(), wire.status), ("26000", b'I'), "{answer:?}");
    assert!(!answer.iter().any(|m| m.body.windows(6).any(|part| part == CANARY.as_bytes())), "{answer:?}");
    // Prepared again under the same name, it is masked.
    let answer = wire.run(Form::Prepared, Format::Text, "SELECT ssn, pin FROM customers WHERE id = 1", &[]).unwrap();
    assert_eq!((answer.texts(), leak(&answer)), (vec![vec!["[redacted]".to_owned(), "0".to_owned()]], None));
}

#[test]
fn a_bad_policy_changes_nothing_and_is_reported() {
    let world = own(&Policy::default());
    let mut wire = world.agent().unwrap();
    for bad in [
        "this: is: not: yaml".to_owned(),
        Policy::default().yaml().replace("verbs: [Insert, Update]", "verbs: [Insert, Updaet]"),
        Policy::default().yaml().replace("podSelector: {}", "podSelector: {}\n  extra: true"),
    ] {
        let before = world.sidecar.log().len();
        world.sidecar.write(POLICY_FILE, &bad).unwrap();
        eventually("the report in the log", RELOAD, || {
            world.sidecar.log().get(before..).is_some_and(|new| new.contains(POLICY_FILE))
        })
        .unwrap();
        eventually("the metric", RELOAD, || {
            let text = world.sidecar.metrics().unwrap();
            text.lines().any(|line| line.starts_with("agentaccess_policy_reload_failed") && line.ends_with(" 1"))
        })
        .unwrap();
        assert_eq!(wire.query("SELECT ssn FROM customers WHERE id = 1").unwrap().texts(), [["[redacted]"]]);
        assert_eq!(wire.query("DROP TABLE log").unwrap().sqlstate(), "42501");
    }
    world.sidecar.write(POLICY_FILE, &Policy::default().without("reads").yaml()).unwrap();
    eventually("the good policy", RELOAD, || wire.query("SELECT id FROM log").unwrap().sqlstate() == "42501").unwrap();
}

#[test]
fn deny_all_cuts_an_open_session_and_lets_nobody_in() {
    let world = own(&Policy::default());
    let mut wire = world.agent().unwrap();
    assert_eq!(wire.query("SELECT 1").unwrap().fault, None);
    let stop = "apiVersion: agentaccess.dev/v1alpha1\nkind: ClusterAgentAccessPolicy\nmetadata: {name: stop}\n\
                spec: {namespaceSelector: {}, podSelector: {}, denyAll: true}\n";
    world.sidecar.write("stop.yaml", stop).unwrap();
    eventually("the stop", RELOAD, || {
        wire.query("SELECT note FROM orders WHERE id = 1").unwrap().sqlstate() == "42501"
    })
    .unwrap();
    wire.closed().unwrap();
    let refused = format!("{:#}", world.agent().unwrap_err());
    assert!(refused.contains("42501"), "{refused}");
}

// === copy ===

/// Starts a COPY FROM STDIN that has been approved, up to CopyInResponse.
fn approved_copy(world: &World, sql: &str) -> Wire {
    let mut wire = world.agent().unwrap();
    send(&mut wire, sql);
    let name = world.sidecar.asked("COPY", SOON).unwrap();
    let vote = world.sidecar.vote(ALICE, &name, "approve").unwrap();
    assert_eq!(vote.get("is").and_then(serde_json::Value::as_str), Some("decided"));
    let begun = wire.until(b'G').unwrap();
    assert_eq!(begun.last().unwrap().tag, b'G', "{begun:?}");
    wire
}

#[test]
fn copy_in_runs_after_an_approval_and_asks_again() {
    let world = own(&Policy::default());
    let mut wire = approved_copy(&world, "COPY loads FROM STDIN");
    for n in 0..3 {
        wire.send(&message(b'd', format!("{n}\tline {n}\n").as_bytes()).unwrap()).unwrap();
    }
    wire.send(&message(b'c', b"").unwrap()).unwrap();
    let end = wire.until_ready().unwrap();
    assert!(end.iter().any(|m| m.tag == b'C' && m.texts().next().unwrap() == "COPY 3"), "{end:?}");
    assert_eq!(world.server.admin("SELECT count(*), max(what) FROM loads").unwrap(), "3|line 2");

    // The agent gives up in the middle: nothing is kept, the session goes on.
    let mut wire = approved_copy(&world, "COPY loads (what) FROM STDIN (FORMAT csv)");
    wire.send(&message(b'd', b"half\n").unwrap()).unwrap();
    wire.send(&message(b'f', b"changed my mind\0").unwrap()).unwrap();
    assert_eq!(fault(&wire.until_ready().unwrap()), "57014");
    assert_eq!(wire.query("SELECT count(*) FROM loads").unwrap().texts(), [["3"]]);
}

#[test]
fn a_copy_in_is_cut_when_policy_takes_it_away() {
    let world = own(&Policy::default());
    let mut wire = approved_copy(&world, "COPY loads FROM STDIN");
    wire.send(&message(b'd', b"1\tbefore\n").unwrap()).unwrap();
    world.sidecar.write(POLICY_FILE, &Policy::default().without("loads").yaml()).unwrap();
    let begun = Instant::now();
    let end = wire.until_ready().unwrap();
    assert!(begun.elapsed() < RELOAD, "{:?}", begun.elapsed());
    assert_eq!(fault(&end), "42501", "{end:?}");
    // What the driver still sends is thrown away, as natively after an error.
    wire.send(&message(b'd', b"2\tafter\n").unwrap()).unwrap();
    wire.send(&message(b'c', b"").unwrap()).unwrap();
    assert_eq!(wire.query("SELECT count(*) FROM loads").unwrap().texts(), [["0"]]);
    assert!(!world.server.saw("after"));
}

// === limits, cancel, channels, cursors ===

#[test]
fn a_result_longer_than_the_limit_is_54000_and_the_session_goes_on() {
    let mut wire = world().agent().unwrap();
    for (form, format) in Form::ALL {
        let answer = wire.run(form, format, "SELECT id FROM big LIMIT 1000", &[]).unwrap();
        assert_eq!((answer.rows.len(), answer.fault.clone()), (1000, None), "{form:?}");
        if matches!(form, Form::Pipelined | Form::PortalLimited) {
            continue;
        }
        let answer = wire.run(form, format, "SELECT * FROM big", &[]).unwrap();
        assert_eq!((answer.sqlstate(), answer.status), ("54000", Some(b'I')), "{form:?}: {:?}", answer.fault);
        assert!(answer.rows.len() <= 1000, "{form:?}: {}", answer.rows.len());
        let alive = wire.run(form, format, "SELECT 'alive'", &[]).unwrap();
        assert_eq!((alive.texts(), alive.fault.clone()), (vec![vec!["alive".to_owned()]], None), "{form:?}");
    }
    // Portions count together, and so do the parts of a batch, where nothing of it is kept.
    for (form, format) in
        Form::ALL.into_iter().filter(|(form, _)| *form == Form::PortalLimited || *form == Form::Pipelined)
    {
        let mut wire = world().agent().unwrap();
        let answer = wire.run(form, format, "SELECT * FROM big", &[]).unwrap();
        assert_eq!(answer.sqlstate(), "54000", "{form:?}: {:?}", answer.fault);
        assert!(answer.rows.len() <= 1000, "{form:?}: {}", answer.rows.len());
    }
}

#[test]
fn a_result_longer_than_the_limit_fails_its_transaction_and_the_session_goes_on() {
    let world = own(&Policy::default());
    for (form, format) in Form::ALL {
        let mut wire = world.agent().unwrap();
        wire.query("BEGIN").unwrap();
        let wrote = wire.query("INSERT INTO log (id, what) VALUES (1, 'before the limit')").unwrap();
        assert_eq!(wrote.fault, None, "{form:?}");
        let answer = wire.run(form, format, "SELECT * FROM big", &[]).unwrap();
        assert_eq!((answer.sqlstate(), answer.status), ("54000", Some(b'E')), "{form:?}: {:?}", answer.fault);
        assert!(answer.rows.len() <= 1000, "{form:?}: {}", answer.rows.len());
        assert_eq!(answer.messages.iter().filter(|m| m.tag == b'E').count(), 1, "{form:?}");
        let after = wire.query("SELECT 1").unwrap();
        assert_eq!((after.sqlstate(), after.status), ("25P02", Some(b'E')), "{form:?}");
        // The server itself rolls back, whatever the agent calls it.
        let end = wire.query("COMMIT").unwrap();
        assert_eq!((end.tags.as_slice(), end.status), (["ROLLBACK".to_owned()].as_slice(), Some(b'I')), "{form:?}");
        let alive = wire.run(form, format, "SELECT 'alive'", &[]).unwrap();
        assert_eq!(alive.texts(), [["alive"]], "{form:?}: {:?}", alive.fault);
    }
    assert_eq!(world.server.admin("SELECT count(*) FROM log").unwrap(), "0");
}

#[test]
fn a_commit_behind_a_result_longer_than_the_limit_is_told_only_by_the_end_of_the_session() {
    let world = own(&Policy::default());
    let mut wire = world.agent().unwrap();
    wire.query("BEGIN").unwrap();
    let mut out = BytesMut::new();
    let none: [Option<&str>; 0] = [];
    for sql in ["SELECT * FROM big", "COMMIT"] {
        let write = |_: Option<&str>, _: &mut BytesMut| Ok(IsNull::Yes);
        frontend::parse("", sql, [], &mut out).unwrap();
        frontend::bind("", "", [], none, write, [0], &mut out).map_err(|_| ()).unwrap();
        frontend::execute("", 0, &mut out).unwrap();
    }
    frontend::sync(&mut out);
    wire.send(&out).unwrap();
    let mut answers = Vec::new();
    while let Ok(Some(next)) = wire.read_message() {
        answers.push(next);
        if answers.last().is_some_and(|last| last.tag == b'Z') {
            break;
        }
    }
    assert!(answers.iter().any(|m| m.fault().is_some_and(|f| f.sqlstate == "54000")), "{answers:?}");
    assert!(answers.iter().filter(|m| m.tag == b'D').count() <= 1000);
    // Either the cancel request was faster and the whole batch failed, or what was committed is not called failed.
    match answers.last().unwrap() {
        ready if ready.tag == b'Z' => assert_eq!(ready.body.as_ref(), b"E"),
        last => assert_eq!(last.fault().unwrap().severity, "FATAL"),
    }
    assert!(!answers.iter().any(|m| m.tag == b'C' && m.texts().next().unwrap() == "COMMIT"), "{answers:?}");
}

#[test]
fn our_key_cancels_what_runs_and_no_other() {
    let world = world();
    let slow = "SELECT count(*) FROM generate_series(1, 100000) can, generate_series(1, 100000) b";
    let mut wire = world.agent().unwrap();
    for _ in 0..2 {
        send(&mut wire, slow);
        eventually("the query to run", SOON, || world.server.executed_with("can") > 0).unwrap();
        let begun = Instant::now();
        let mut wrong = wire.key.clone().unwrap();
        wrong.1[0] ^= 1;
        let real = wire.key.replace(wrong);
        wire.cancel(world.sidecar.port()).unwrap();
        wire.key = real;
        wire.within(Duration::from_millis(700)).unwrap();
        assert!(wire.read_message().is_err(), "a wrong key cancelled");
        wire.within(Duration::from_secs(20)).unwrap();
        wire.cancel(world.sidecar.port()).unwrap();
        assert_eq!(fault(&wire.until_ready().unwrap()), "57014");
        assert!(begun.elapsed() < SOON);
        assert_eq!(wire.query("SELECT 'alive'").unwrap().texts(), [["alive"]]);
    }
    // The server's own process id and key are not what we were given.
    let pid = wire.query("SELECT pg_backend_pid()").unwrap().texts()[0][0].clone();
    assert_ne!(pid, wire.key.clone().unwrap().0.to_string());
}

#[test]
fn channels_are_denied() {
    let world = world();
    let mut wire = world.agent().unwrap();
    for sql in ["LISTEN zzchan", "NOTIFY zzchan", "NOTIFY zzchan, 'payload'", "SELECT pg_notify('zzchan', 'x')"] {
        assert_eq!(wire.query(sql).unwrap().sqlstate(), "42501", "{sql}");
    }
    world.server.admin("NOTIFY zzchan, 'CANARY'").unwrap();
    let answer = wire.query("SELECT 1").unwrap();
    assert!(answer.messages.iter().all(|message| message.tag != b'A'), "{answer:?}");
    assert!(!world.server.saw("zzchan"));
}

#[test]
fn cursors_are_masked_and_known_by_name() {
    let mut wire = world().agent().unwrap();
    wire.query("BEGIN").unwrap();
    assert_eq!(
        wire.query("DECLARE c CURSOR FOR SELECT email, ssn, pin FROM customers ORDER BY id").unwrap().fault,
        None
    );
    for (form, format) in Form::ALL {
        let answer = wire.run(form, format, "FETCH 1 FROM c", &[]).unwrap();
        assert_eq!((answer.fault.clone(), leak(&answer)), (None, None), "{form:?} {format:?}");
        for row in &answer.rows {
            assert_eq!(row[1], Some(Bytes::from("[redacted]")), "{form:?}");
        }
        wire.query("MOVE ABSOLUTE 0 FROM c").unwrap();
        if wire.status != b'T' {
            break;
        }
    }
    assert_eq!(wire.status, b'T', "MOVE back is refused or fails");
    wire.query("COMMIT").unwrap();
    wire.query("BEGIN").unwrap();
    assert_eq!(wire.query("FETCH 1 FROM c").unwrap().sqlstate(), "34000");
    wire.query("ROLLBACK").unwrap();
    let held = wire.query("DECLARE h CURSOR WITH HOLD FOR SELECT ssn FROM customers").unwrap();
    assert_eq!(held.sqlstate(), "42501", "{:?}", held.fault);
}

// === startup ===

#[test]
fn what_a_startup_packet_may_not_ask_for_is_refused() {
    let world = world();
    let port = world.sidecar.port();
    let base = || world.sidecar.login();
    let with = |name: &str, value: &str| base().parameter(name, value);
    let mut postgres = base();
    postgres.parameters[0].1 = "postgres".to_owned();
    let mut sjis = base();
    sjis.parameters[1].1 = "SJIS".to_owned();
    let cases: Vec<(Login, &str)> = vec![
        (postgres, "3D000"),
        (with("replication", "database"), ""),
        (with("replication", "true"), ""),
        (with("replication", "1"), ""),
        (sjis, ""),
        (Login::new(AGENT, "wrong", DATABASE), "28P01"),
        (Login::new("postgres", AGENT_PASSWORD, DATABASE), "28P01"),
        (Login::new(world::ROLE, ROLE_PASSWORD, DATABASE), "28P01"),
        (with("options", "-c standard_conforming_strings=off"), ""),
        (with("options", "-cbackslash_quote=on"), ""),
        (with("options", "--search_path=vault"), ""),
        (with("options", "-c client_encoding=SJIS"), ""),
        (with("options", "-c session_replication_role=replica"), ""),
        (with("options", "-c role=postgres"), ""),
        (with("search_path", "vault"), ""),
        (with("session_authorization", "postgres"), ""),
        (with("standard_conforming_strings", "off"), ""),
        (with("row_security", "off"), ""),
        (with("options", "-c statement_timeout=soon"), "42501"),
        (with("work_mem", "1GB"), "42501"),
    ];
    // The same parameter twice is no startup packet: closed without a word.
    assert!(Wire::connect(port, &with("database", DATABASE)).is_err());
    for (login, sqlstate) in cases {
        let error = Wire::connect(port, &login).map(drop).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("refused at login") && text.contains(sqlstate), "{login:?}: {text}");
        assert!(!text.contains(ROLE_PASSWORD) && !text.contains(AGENT_PASSWORD), "{text}");
    }
    // What drivers send every day.
    let login = with("options", "-c DateStyle=ISO -c TimeZone=UTC").parameter("extra_float_digits", "2");
    let mut wire = Wire::connect(port, &login).unwrap();
    assert_eq!(wire.query("SHOW standard_conforming_strings").unwrap().texts(), [["on"]]);
    assert_eq!(wire.query("SELECT current_setting('search_path')").unwrap().texts(), [["\"public\", pg_temp"]]);
}

/// A connection string may say what SET may say, and no more.
#[test]
fn a_session_may_begin_with_limits_of_its_own_that_are_shorter() {
    let server = world::server().unwrap();
    server.admin(&format!("ALTER ROLE {} SET lock_timeout = '10s'", world::ROLE)).unwrap();
    let sidecar = world::sidecar(&server, &Policy::default()).unwrap();
    let begin = |options: &str| Wire::connect(sidecar.port(), &sidecar.login().parameter("options", options));
    let options =
        "-c statement_timeout=5s -c lock_timeout=9999 -c jit=off -c client_min_messages=warning -c search_path=public";
    let mut wire = begin(options).unwrap();
    for (name, value) in
        [("statement_timeout", "5s"), ("lock_timeout", "9999ms"), ("jit", "off"), ("client_min_messages", "warning")]
    {
        assert_eq!(wire.query(&format!("SHOW {name}")).unwrap().texts(), [[value]], "{name}");
    }
    for options in ["-c lock_timeout=11s", "-c lock_timeout=0", "-c lock_timeout=9s -c lock_timeout=20s"] {
        let error = format!("{:#}", begin(options).map(drop).unwrap_err());
        assert!(error.contains("42501") && error.contains("`lock_timeout` can only be made shorter"), "{error}");
    }
}

#[test]
fn tls_is_taken_when_asked_for_and_bytes_before_it_are_not() {
    let world = world();
    let ca = find_ca(world.sidecar.state());
    let login = world.sidecar.login().trusting(&ca);
    let mut wire = Wire::connect(world.sidecar.port(), &login).unwrap();
    assert_eq!(wire.query("SELECT ssn FROM customers WHERE id = 1").unwrap().texts(), [["[redacted]"]]);
    let other = e2e::tls::Authority::new(&["localhost"]).unwrap();
    assert!(Wire::connect(world.sidecar.port(), &world.sidecar.login().trusting(&other.ca)).is_err());

    for mode in ["disable", "prefer", "require"] {
        let out = world.sidecar.psql().tls(mode).run("SELECT email FROM customers WHERE id = 1").unwrap();
        assert_eq!((out.status, out.stdout.as_str()), (Some(0), "a***@example.com\n"), "{mode}: {}", out.stderr);
    }
    // libpq of PostgreSQL 17 and later opens with TLS at once; older ones do not know the word.
    let direct = world.sidecar.psql().tls("require").env("PGSSLNEGOTIATION", "direct").run("SELECT 1").unwrap();
    let version = world.server.admin("SHOW server_version_num").unwrap();
    if version.as_str() >= "170000" {
        assert_eq!(direct.stdout, "1\n", "{}", direct.stderr);
    }

    // SSLRequest and a startup packet in one write: CVE-2021-23214's class.
    let mut bare = Wire::bare(world.sidecar.port()).unwrap();
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    frontend::startup_message([("user", AGENT), ("database", DATABASE)], &mut out).unwrap();
    bare.send(&out).unwrap();
    assert!(bare.closed().is_ok() || bare.read_message().is_err());
    // A second SSLRequest inside TLS.
    let mut twice = Wire::bare(world.sidecar.port()).unwrap();
    twice.start_tls(&ca).unwrap();
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    twice.send(&out).unwrap();
    assert!(twice.closed().is_ok());
}

/// The certificate that the sidecar made for its listeners.
fn find_ca(state: &Path) -> String {
    let files = fs::read_dir(state.join("keys")).unwrap().flatten();
    let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok().map(|text| (file.path(), text)));
    let mut certificates: Vec<_> = texts.filter(|(_, text)| text.contains("BEGIN CERTIFICATE")).collect();
    certificates.sort_by_key(|(path, _)| !path.to_string_lossy().contains("ca"));
    certificates.into_iter().next().map(|(_, text)| text).unwrap()
}

// === ends ===

#[test]
fn sigterm_lets_sessions_finish_and_ends_with_zero() {
    let mut world = own(&Policy::default());
    let port = world.sidecar.port();
    let mut idle = world.agent().unwrap();
    let mut busy = world.agent().unwrap();
    send(&mut busy, "SELECT count(*) FROM generate_series(1, 3000) drn, generate_series(1, 3000) b");
    eventually("the query to run", SOON, || world.server.executed_with("drn") > 0).unwrap();
    let begun = Instant::now();
    world.sidecar.signal(Signal::TERM);
    let answer = busy.until_ready().unwrap();
    assert_eq!(fault(&answer), "", "{answer:?}");
    assert!(answer.iter().any(|m| m.values().is_some_and(|v| v == [Some(Bytes::from("9000000"))])), "{answer:?}");
    let last = idle.until(b'E').unwrap();
    assert_eq!(fault(&last), "57P01", "{last:?}");
    let status = world.sidecar.wait(Duration::from_secs(25)).unwrap();
    assert_eq!(status.code(), Some(0), "{}", world.sidecar.log());
    assert!(begun.elapsed() < Duration::from_secs(25));
    assert!(Wire::bare(port).is_err());
}

#[test]
fn a_target_that_is_away_is_08001_and_works_again_when_it_is_back() {
    let mut world = own(&Policy::default());
    let mut open = world.agent().unwrap();
    assert_eq!(open.query("SELECT 1").unwrap().fault, None);
    world.server.stop();
    let lost = open.query("SELECT 1").unwrap();
    assert!(lost.fault.is_some() && lost.status.is_none(), "{lost:?}");
    let refused = format!("{:#}", world.agent().unwrap_err());
    assert!(refused.contains("08001"), "{refused}");
    world.server.start_again().unwrap();
    eventually("the target to be back", SOON, || {
        world.agent().is_ok_and(|mut wire| {
            wire.query("SELECT ssn FROM customers WHERE id = 1").unwrap().texts() == [["[redacted]"]]
        })
    })
    .unwrap();
}

// === what is told outside ===

#[test]
fn metrics_count_decisions() {
    let world = own(&Policy::default());
    let mut wire = world.agent().unwrap();
    wire.query("SELECT 1").unwrap();
    wire.query("DROP TABLE log").unwrap();
    let text = world.sidecar.metrics().unwrap();
    let count = |decision: &str| -> f64 {
        let lines = text
            .lines()
            .filter(|line| line.starts_with("agentaccess_decisions_total") && line.to_lowercase().contains(decision));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    assert!(count("\"allow\"") >= 1.0 && count("\"deny\"") >= 1.0, "{text}");
    assert!(text.lines().any(|line| line.starts_with("agentaccess_sessions_active") && line.ends_with(" 1")), "{text}");
    drop(wire);
    eventually("the session to end", SOON, || {
        let text = world.sidecar.metrics().unwrap();
        text.lines().any(|line| line.starts_with("agentaccess_sessions_active") && line.ends_with(" 0"))
    })
    .unwrap();
}

/// Statements, and how many values of their answers are partial and redacted. Bob has no e-mail: NULL shows nothing.
const COUNTED: &[(&str, u64, u64)] = &[
    ("SELECT id, email, pin FROM customers", 2, 3),
    ("SELECT * FROM customers", 2, 6),
    ("SELECT ssn FROM customers WHERE id < 3", 0, 2),
    ("SELECT upper(email) FROM customers WHERE id = 1", 1, 0),
    ("SELECT id, name FROM customers WHERE pin = 0", 0, 0),
    ("SELECT email FROM customers WHERE id = 99", 0, 0),
    ("SELECT * FROM (SELECT email, id FROM customers) a JOIN (SELECT pin, id FROM customers) b USING (id)", 2, 3),
    // Of COPY the values are not told apart: each line counts, NULL too.
    ("COPY (SELECT id, email FROM customers) TO STDOUT", 3, 0),
    ("COPY customers (pin, name) TO STDOUT", 0, 3),
];

#[test]
fn metrics_count_masked_values_that_were_delivered() {
    let world = own(&Policy::default());
    let mut wire = world.agent().unwrap();
    let counted = || -> (u64, u64) {
        let text = world.sidecar.metrics().unwrap();
        let of = |kind: &str| -> u64 {
            let name = format!("agentaccess_masked_values_total{{kind=\"{kind}\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap()
        };
        (of("partial"), of("redact"))
    };
    assert_eq!(counted(), (0, 0), "both are there before the first value");
    for (sql, partial, redact) in COUNTED {
        for (form, format) in Form::ALL {
            let before = counted();
            let answer = wire.run(form, format, sql, &[]).unwrap();
            assert_eq!(answer.fault, None, "{sql} {form:?} {format:?}");
            let after = counted();
            let times = if form == Form::Prepared { 2 } else { 1 };
            let expected = (times * partial, times * redact);
            assert_eq!((after.0 - before.0, after.1 - before.1), expected, "{sql} {form:?} {format:?}");
        }
    }
    // What a cursor gives is counted as it is fetched.
    let before = counted();
    for sql in ["BEGIN", "DECLARE c CURSOR FOR SELECT email, pin FROM customers ORDER BY id", "FETCH 2 FROM c"] {
        assert_eq!(wire.query(sql).unwrap().fault, None, "{sql}");
    }
    let after = counted();
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 2));
    wire.query("ROLLBACK").unwrap();
}

#[test]
fn no_secret_and_no_canary_is_written_anywhere() {
    let collector = Collector::start().unwrap();
    let otel = json!({"otel": {"endpoint": format!("http://127.0.0.1:{}", collector.port()), "insecure": true}});
    let server = world::server().unwrap();
    let setup = Setup { config: Some(otel), ..Setup::default() };
    let sidecar = world::sidecar_with(&server, &Policy::default(), setup).unwrap();
    let mut world = World { sidecar, server };
    let mut wire = world.agent().unwrap();
    let statements = [
        "SELECT * FROM customers",
        "SELECT email::int FROM customers",
        "COPY customers TO STDOUT",
        "SELECT ssn FROM customers WHERE ssn = 'nothing'",
        "SELECT loud(email) FROM customers",
        "SELECT secret FROM vault",
        "INSERT INTO log SELECT id, email FROM customers",
        "UPDATE customers SET name = NULL WHERE id = 1",
    ];
    for sql in statements {
        for (form, format) in Form::ALL {
            let answer = wire.run(form, format, sql, &[]).unwrap();
            assert_eq!(leak(&answer), None, "{sql} {form:?}");
            if answer.status.is_none() {
                wire = world.agent().unwrap();
            }
        }
    }
    let _refused = Wire::connect(world.sidecar.port(), &Login::new(AGENT, "nope", DATABASE));
    let held = {
        let port = world.sidecar.port();
        let login = world.sidecar.login();
        thread::spawn(move || {
            Wire::connect(port, &login).unwrap().query("DELETE FROM orders sec WHERE sec.id = 1").unwrap()
        })
    };
    let name = world.sidecar.asked(" sec ", SOON).unwrap();
    world.sidecar.vote(ALICE, &name, "deny").unwrap();
    held.join().unwrap();
    let metrics = world.sidecar.metrics().unwrap();
    drop(wire);
    world.sidecar.signal(Signal::TERM);
    world.sidecar.wait(Duration::from_secs(25)).unwrap();

    let mut places =
        vec![("log".to_owned(), world.sidecar.log().into_bytes()), ("metrics".to_owned(), metrics.into_bytes())];
    let (spans, lines) = (collector.spans().unwrap().len(), collector.logs().unwrap().len());
    assert!(spans > 3 * statements.len() * Form::ALL.len() && lines > 2, "{spans} spans, {lines} lines");
    places.push(("telemetry".to_owned(), collector.bytes().unwrap()));
    collect(world.sidecar.state(), &mut places);
    assert!(
        places.iter().any(|(name, _)| name.contains("recordings"))
            && places.iter().any(|(name, _)| name.contains("requests"))
    );
    let mut number = Vec::new();
    number.put_i32(world::CANARY_NUMBER);
    for (name, bytes) in &places {
        for secret in [ROLE_PASSWORD, AGENT_PASSWORD, CANARY, "912345678", "dXBzdHJlYW0tQ0FOQVJZ"] {
            let found = bytes.windows(secret.len()).position(|part| part == secret.as_bytes());
            let shown = found.map(|at| {
                String::from_utf8_lossy(&bytes[at.saturating_sub(200)..(at + 100).min(bytes.len())]).into_owned()
            });
            assert_eq!(shown, None, "`{secret}` stands in {name}");
        }
        assert!(name.contains("keys") || !bytes.windows(4).any(|part| part == number), "the number stands in {name}");
    }
}

fn collect(folder: &Path, places: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, places);
        } else if let Ok(bytes) = fs::read(&path) {
            places.push((path.display().to_string(), bytes));
        }
    }
}
