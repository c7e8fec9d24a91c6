//! Traces and log lines over OTLP, as the OpenTelemetry Collector's own receiver takes them: what they say, what they never
//! say, and that nothing waits for them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::thread;
use std::time::{Duration, Instant};

use e2e::collector::{Collector, Record};
use e2e::proxy::{ALICE, Setup, Sidecar};
use e2e::recorded;
use e2e::tls::Authority;
use e2e::wait::{eventually, until};
use e2e::wire::Wire;
use e2e::world::{self, Policy, World};
use rustix::process::Signal;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(15);
/// Stands in statements, and nowhere in what is told.
const LITERAL: &str = "literal-4711";

fn world(otel: &Value) -> World {
    let server = world::server().unwrap();
    let setup = Setup { config: Some(json!({ "otel": otel })), ..Setup::default() };
    let sidecar = world::sidecar_with(&server, &Policy::default(), setup).unwrap();
    World { sidecar, server }
}

fn clear(collector: &Collector) -> Value {
    json!({"endpoint": format!("http://127.0.0.1:{}", collector.port()), "insecure": true})
}

fn dropped(sidecar: &Sidecar, signal: &str) -> u64 {
    let metrics = sidecar.metrics().unwrap();
    let name = format!("agentaccess_otel_dropped_total{{signal=\"{signal}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

/// The one span that is the whole of an operation, by its summary.
fn operation(collector: &Collector, summary: &str) -> Record {
    until(&format!("the span of {summary}"), SOON, || {
        let spans = collector.spans()?;
        Ok(spans.into_iter().find(|span| span.get("db.query.summary").as_deref() == Some(summary)))
    })
    .unwrap()
}

fn children(collector: &Collector, of: &Record) -> Vec<Record> {
    let of = (of.text("traceId"), of.text("spanId"));
    let spans = collector.spans().unwrap();
    spans.into_iter().filter(|span| (span.text("traceId"), span.text("parentSpanId")) == of).collect()
}

fn named<'a>(spans: &'a [Record], name: &str) -> &'a Record {
    let names: Vec<String> = spans.iter().map(|span| span.text("name")).collect();
    spans.iter().find(|span| span.text("name") == name).unwrap_or_else(|| panic!("no {name} among {names:?}"))
}

fn says(span: &Record, attributes: &[(&str, &str)]) {
    for (name, value) in attributes {
        assert_eq!(span.get(name).as_deref(), Some(*value), "{name} of {:#}", span.json);
    }
}

fn nanoseconds(span: &Record, name: &str) -> u64 {
    span.text(name).parse().unwrap()
}

#[test]
fn sessions_operations_and_log_lines_arrive() {
    let collector = Collector::start().unwrap();
    let world = world(&clear(&collector));
    let mut wire = world.agent().unwrap();
    let allowed = format!("SELECT id FROM orders WHERE note <> '{LITERAL}' LIMIT 2");
    assert_eq!(wire.query(&allowed).unwrap().fault, None);
    assert_eq!(wire.query("SELECT email FROM customers").unwrap().fault, None);
    assert!(wire.query(&format!("SELECT secret FROM vault WHERE secret = '{LITERAL}'")).unwrap().fault.is_some());
    assert!(wire.query(&format!("DROP TABLE log; -- {LITERAL}")).unwrap().fault.is_some());
    // A name that only the agent chose.
    assert!(wire.query("CREATE TABLE my_password_is_4712 (id int)").unwrap().fault.is_some());
    let held = {
        let (port, login) = (world.sidecar.port(), world.sidecar.login());
        thread::spawn(move || Wire::connect(port, &login).unwrap().query("DELETE FROM orders tele WHERE tele.id = 1"))
    };
    let request = world.sidecar.asked(" tele ", SOON).unwrap();
    thread::sleep(Duration::from_millis(300));
    world.sidecar.vote(ALICE, &request, "approve").unwrap();
    assert_eq!(held.join().unwrap().unwrap().fault, None);
    // Two more, in the place of a database and of a parameter: the connection is refused, which is a line of the log.
    for (name, value) in [("database", "exfil_database"), ("exfil_parameter", "x")] {
        let mut login = world.sidecar.login();
        login.parameters.retain(|(known, _)| known != name);
        login.parameters.push((name.to_owned(), value.to_owned()));
        assert!(Wire::connect(world.sidecar.port(), &login).is_err());
    }
    drop(wire);

    let read = operation(&collector, "SELECT public.orders");
    let port = world.server.port().to_string();
    says(
        &read,
        &[
            ("db.system.name", "postgresql"),
            ("db.namespace", e2e::postgres::DATABASE),
            ("db.operation.name", "SELECT"),
            ("server.port", &port),
            ("agentaccess.target", "db"),
            ("agentaccess.policy", "agent"),
            ("agentaccess.rule", "reads"),
            ("agentaccess.decision", "allow"),
            ("agentaccess.outcome", "ok"),
            ("agentaccess.stage", "run"),
            ("db.response.returned_rows", "2"),
        ],
    );
    assert_eq!((read.get("db.query.text"), read.get("agentaccess.masked")), (None, None));
    assert_eq!(read.text("name"), "SELECT db");
    assert_eq!(read.of_resource("service.name").as_deref(), Some("agentaccess-sidecar"));
    let parts = children(&collector, &read);
    let upstream = named(&parts, "upstream");
    says(upstream, &[("db.system.name", "postgresql"), ("server.port", &port)]);
    for part in [named(&parts, "decide"), upstream] {
        let inside = |name| {
            (nanoseconds(&read, "startTimeUnixNano")..=nanoseconds(&read, "endTimeUnixNano"))
                .contains(&nanoseconds(part, name))
        };
        assert!(inside("startTimeUnixNano") && inside("endTimeUnixNano"), "{:#}", part.json);
    }

    says(&operation(&collector, "SELECT public.customers"), &[("agentaccess.masked", "true")]);
    let denied = operation(&collector, "SELECT public.vault");
    says(
        &denied,
        &[
            ("agentaccess.decision", "deny"),
            ("agentaccess.reason", "no_rule"),
            ("agentaccess.outcome", "refused"),
            ("error.type", "denied"),
            ("db.response.status_code", "42501"),
        ],
    );
    assert_eq!(denied.json["status"]["code"], 2, "{:#}", denied.json);
    assert!(children(&collector, &denied).iter().all(|span| span.text("name") != "upstream"));
    let ddl = operation(&collector, "DROP");
    says(&ddl, &[("agentaccess.rule", "no-ddl"), ("agentaccess.reason", "rule")]);

    let asked = operation(&collector, "DELETE public.orders");
    says(
        &asked,
        &[
            ("agentaccess.decision", "require_approval"),
            ("agentaccess.rule", "fixes"),
            ("agentaccess.approval.id", &request),
            ("agentaccess.outcome", "ok"),
        ],
    );
    let parts = children(&collector, &asked);
    let waited = named(&parts, "approval");
    says(waited, &[("agentaccess.approval.id", &request)]);
    assert!(nanoseconds(waited, "endTimeUnixNano") - nanoseconds(waited, "startTimeUnixNano") > 200_000_000);

    // The session, to which its operations are linked, and the recording, which names their traces.
    let id = read.get("agentaccess.session.id").unwrap();
    let session = until("the span of the session", SOON, || {
        let ours = |span: &Record| span.text("name") == "session" && span.get("session.id").as_ref() == Some(&id);
        Ok(collector.spans()?.into_iter().find(ours))
    });
    let session = session.unwrap();
    let lines = recorded::lines(&world.sidecar.recordings()).unwrap();
    let close = lines.iter().find(|line| line["kind"] == "close" && line["session"] == id.as_str()).unwrap();
    says(
        &session,
        &[
            ("agentaccess.session.operations", &close["operations"].to_string()),
            ("agentaccess.session.refusals", "3"),
            ("agentaccess.session.bytes_out", &close["bytes_out"].to_string()),
            ("agentaccess.session.end", close["reason"].as_str().unwrap()),
            ("agentaccess.subject.namespace", "local"),
            ("agentaccess.subject.service_account", "agent"),
        ],
    );
    let link = &read.json["links"][0];
    assert_eq!(
        (link["traceId"].as_str(), link["spanId"].as_str()),
        (session.json["traceId"].as_str(), session.json["spanId"].as_str())
    );
    for (kind, span) in [("intent", &read), ("refusal", &denied), ("intent", &asked)] {
        let (session, op) =
            (span.get("agentaccess.session.id").unwrap(), span.get("agentaccess.operation.id").unwrap());
        let line = lines.iter().find(|line| line["session"] == session.as_str() && line["op"] == op.as_str());
        let line = line.unwrap();
        assert_eq!(
            (line["kind"].as_str(), line["trace"].as_str()),
            (Some(kind), span.json["traceId"].as_str()),
            "{line}"
        );
    }
    let verified = world.sidecar.verify(&world.sidecar.recordings(), None).unwrap();
    assert!([recorded::INTACT, recorded::UNSIGNED_TAIL].contains(&verified.status), "{}", verified.text);

    let ready = collector.logs().unwrap().into_iter().find(|line| line.json["body"]["stringValue"] == "ready").unwrap();
    assert_eq!(ready.text("severityText"), "INFO");
    assert_eq!(ready.of_resource("service.name").as_deref(), Some("agentaccess-sidecar"));
    says(&ready, &[("version", env!("CARGO_PKG_VERSION"))]);
    let body = "connection refused at startup";
    eventually("two lines about refused connections", SOON, || {
        collector.logs().unwrap().iter().filter(|line| line.json["body"]["stringValue"] == body).count() == 2
    })
    .unwrap();
    let told = String::from_utf8(collector.bytes().unwrap()).unwrap();
    // None of these may be a number alone: four digits stand in some time stamp sooner or later.
    for never in [LITERAL, "my_password", "exfil_", "WHERE", "LIMIT"] {
        assert!(!told.contains(never), "{never}");
    }
    assert_eq!((dropped(&world.sidecar, "traces"), dropped(&world.sidecar, "logs")), (0, 0));
}

#[test]
fn it_is_off_unless_it_is_asked_for() {
    let world = World::new().unwrap();
    assert_eq!(world.agent().unwrap().query("SELECT id FROM orders").unwrap().fault, None);
    assert_eq!((dropped(&world.sidecar, "traces"), dropped(&world.sidecar, "logs")), (0, 0));
    let lines = recorded::lines(&world.sidecar.recordings()).unwrap();
    assert!(lines.iter().any(|line| line["kind"] == "intent") && lines.iter().all(|line| line["trace"].is_null()));
}

#[test]
fn over_tls_only_the_right_endpoint_gets_it() {
    let (right, other) = (Authority::new(&["localhost"]).unwrap(), Authority::new(&["localhost"]).unwrap());
    let collector = Collector::start_tls(&right.certificate, &right.key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (authority, arrives) in [(&right, true), (&other, false)] {
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, &authority.ca).unwrap();
        let before = collector.spans().unwrap().len();
        let world = world(&json!({"endpoint": format!("https://localhost:{}", collector.port()), "ca": ca}));
        assert_eq!(world.agent().unwrap().query("SELECT id FROM orders").unwrap().fault, None);
        if arrives {
            operation(&collector, "SELECT public.orders");
        } else {
            eventually("what was not sent to be counted", SOON, || dropped(&world.sidecar, "traces") > 0).unwrap();
            assert_eq!(collector.spans().unwrap().len(), before);
        }
    }
}

#[test]
fn an_endpoint_that_is_away_or_hangs_disturbs_nothing() {
    const QUERIES: usize = 1500;
    let mut collector = Collector::start().unwrap();
    let mut world = world(&clear(&collector));
    let mut wire = world.agent().unwrap();
    let run = |wire: &mut Wire| {
        let begun = Instant::now();
        for _ in 0..QUERIES {
            assert_eq!(wire.query("SELECT 1").unwrap().fault, None);
        }
        begun.elapsed()
    };
    run(&mut wire);
    eventually("spans to arrive", SOON, || collector.spans().unwrap().len() > QUERIES).unwrap();
    let there = run(&mut wire);

    collector.stop();
    let away = run(&mut wire);
    run(&mut wire);
    eventually("dropped spans to be counted", SOON, || dropped(&world.sidecar, "traces") > 0).unwrap();
    collector.start_again().unwrap();
    collector.hang(true);
    let hangs = run(&mut wire);
    println!("{QUERIES} queries: {there:?} with the collector, {away:?} while it is away, {hangs:?} while it hangs");
    for trouble in [away, hangs] {
        assert!(trouble < there * 3 + Duration::from_secs(1), "{trouble:?}, and {there:?} when all is well");
    }
    let told = || world.sidecar.log().lines().filter(|line| line.contains("otel_dropped")).count();
    // Once a batch is given up, which takes three tries.
    eventually("the trouble to be told", 2 * SOON, || told() > 0).unwrap();
    assert!(told() <= 2, "{} lines: {}", told(), world.sidecar.log());

    // The end does not wait for it either.
    drop(wire);
    let begun = Instant::now();
    world.sidecar.signal(Signal::TERM);
    let ended = world.sidecar.wait(SOON).unwrap();
    assert!(ended.success() && begun.elapsed() < Duration::from_secs(8), "{ended} after {:?}", begun.elapsed());
}

#[test]
fn it_goes_on_when_the_endpoint_is_back() {
    let mut collector = Collector::start().unwrap();
    collector.stop();
    let world = world(&clear(&collector));
    let mut wire = world.agent().unwrap();
    assert_eq!(wire.query("SELECT id FROM orders").unwrap().fault, None);
    eventually("what was not sent to be counted", SOON, || dropped(&world.sidecar, "traces") > 0).unwrap();
    collector.start_again().unwrap();
    assert_eq!(wire.query("SELECT id FROM items").unwrap().fault, None);
    until("a later span", Duration::from_secs(40), || {
        let spans = collector.spans()?;
        Ok(spans.into_iter().find(|span| span.get("db.query.summary").as_deref() == Some("SELECT public.items")))
    })
    .unwrap();
}
