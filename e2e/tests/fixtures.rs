//! The fixtures do what tests rely on: a server comes and goes, and its log names what ran, in every form.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use e2e::objects;
use e2e::postgres::{DATABASE, Options, Server};
use e2e::proxy::{Listener, Setup, Sidecar};
use e2e::wait::eventually;
use e2e::wire::{Form, Login, Wire};

fn orders() -> Server {
    let server = Server::start(Options::default()).unwrap();
    server.admin("CREATE TABLE orders (id int, note text); INSERT INTO orders VALUES (1, 'a'), (2, NULL);").unwrap();
    server.role("agent_ro", "it's secret", &["SELECT ON orders"]).unwrap();
    server
}

#[test]
fn the_log_names_what_ran_and_not_what_the_superuser_did() {
    let server = orders();
    let answer = server.psql("agent_ro", "it's secret").run("SELECT note FROM orders -- one\n WHERE id = 1;").unwrap();
    assert_eq!((answer.status, answer.stdout.as_str()), (Some(0), "a\n"), "{}", answer.stderr);
    let found = server.executions();
    assert_eq!(server.executed(), ["SELECT note FROM orders -- one\n WHERE id = 1;"]);
    assert!(found.iter().all(|one| one.application == "psql" && one.user == "agent_ro" && one.database == DATABASE));

    let refused = server.psql("agent_ro", "it's secret").run("DROP TABLE orders;").unwrap();
    assert_eq!(refused.status, Some(3));
    assert_eq!(server.executed_with("DROP"), 1, "{}", server.log_text());
    let mangled = server.psql("agent_ro", "it's secret").run("SLECT canary;").unwrap();
    assert_eq!(mangled.status, Some(3));
    assert_eq!(server.executed_with("canary"), 0);
    assert!(server.saw("canary"));
}

#[test]
fn every_form_gives_the_same_rows_and_is_seen_in_the_log() {
    let server = orders();
    for login in [
        Login::new("agent_ro", "it's secret", DATABASE),
        Login::new("agent_ro", "it's secret", DATABASE).trusting(server.ca()),
    ] {
        let mut wire = Wire::connect(server.port(), &login).unwrap();
        for (form, format) in Form::ALL {
            let before = server.executed_with("FROM orders");
            let answer = wire.run(form, format, "SELECT note FROM orders ORDER BY id", &[]).unwrap();
            assert_eq!(answer.texts(), [["a"], ["∅"]], "{form:?} {format:?}");
            assert_eq!((answer.fault.clone(), answer.status), (None, Some(b'I')), "{form:?} {format:?}");
            // The prepared form has no Describe.
            assert_eq!(answer.columns.len(), usize::from(form != Form::Prepared));
            assert!(server.executed_with("FROM orders") > before, "{form:?} {format:?}");

            let fault = wire.run(form, format, "SELECT missing FROM orders", &[]).unwrap();
            assert_eq!((fault.sqlstate(), fault.status), ("42703", Some(b'I')), "{form:?} {format:?}");
        }
        let (form, format) = Form::ALL[1];
        let answer = wire.run(form, format, "SELECT id FROM orders WHERE note = $1", &[Some("a")]).unwrap();
        assert_eq!(answer.texts(), [["1"]]);
        assert_eq!(server.executions().pop().unwrap().parameters.as_deref(), Some("$1 = 'a'"));
    }
}

#[test]
fn a_wrong_password_and_a_wrong_authority_do_not_get_in() {
    let server = orders();
    let error = Wire::connect(server.port(), &Login::new("agent_ro", "wrong", DATABASE)).unwrap_err();
    assert!(format!("{error:#}").contains("28P01"), "{error:#}");
    let other = e2e::tls::Authority::new(&["localhost"]).unwrap();
    let login = Login::new("agent_ro", "it's secret", DATABASE).trusting(&other.ca);
    let error = Wire::connect(server.port(), &login).unwrap_err();
    assert!(format!("{error:#}").contains("TLS handshake"), "{error:#}");
    let trusting = server.psql("agent_ro", "it's secret").trusting(&server.ca_file()).run("SELECT 1").unwrap();
    assert_eq!(trusting.stdout, "1\n", "{}", trusting.stderr);
}

#[test]
fn a_cancel_over_the_wire_and_by_psql_ends_the_query() {
    let server = orders();
    let login = Login::new("agent_ro", "it's secret", DATABASE);
    let mut wire = Wire::connect(server.port(), &login).unwrap();
    wire.send_message(b'Q', b"SELECT pg_sleep(60)\0").unwrap();
    eventually("the query to run", Duration::from_secs(5), || server.executed_with("pg_sleep(60)") == 1).unwrap();
    wire.cancel(server.port()).unwrap();
    let fault = wire.until_ready().unwrap().iter().find_map(e2e::wire::Message::fault).unwrap();
    assert_eq!(fault.sqlstate, "57014");

    let mut psql = server.psql("agent_ro", "it's secret").spawn("SELECT pg_sleep(61);").unwrap();
    eventually("the query to run", Duration::from_secs(5), || server.executed_with("pg_sleep(61)") == 1).unwrap();
    psql.cancel();
    assert!(psql.wait(Duration::from_secs(5)).unwrap().stderr.contains("canceling statement"));
}

#[test]
fn a_server_comes_back_and_leaves_nothing() {
    let mut server = Server::start(Options { tls: false, ..Options::default() }).unwrap();
    server.admin("CREATE TABLE kept ()").unwrap();
    server.stop();
    assert!(server.admin("SELECT 1").is_err());
    server.start_again().unwrap();
    assert_eq!(server.admin("SELECT count(*) FROM kept").unwrap(), "0");
    let (folder, port) = (server.socket(), server.port());
    drop(server);
    assert!(!Path::new(&folder).exists());
    assert!(!e2e::ports::listening(port));
}

#[test]
fn the_drivers_are_there() {
    let runs = |command: &mut std::process::Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    runs(e2e::drivers::python().unwrap().args(["-c", "import psycopg, psycopg_binary, asyncpg, pg8000, sqlalchemy"]));
    runs(e2e::drivers::node().unwrap().args(["-e", "require('pg')"]));
    runs(e2e::drivers::java().unwrap().arg("--version"));
}

#[test]
fn a_sidecar_serves_dies_and_comes_back_on_the_same_port() {
    let server = orders();
    server.role("upstream", "upstream secret", &["SELECT ON orders"]).unwrap();
    let policy = "---
apiVersion: agentaccess.dev/v1alpha1
kind: AgentAccessPolicy
metadata: {name: read-orders, namespace: local}
spec:
  podSelector: {}
  targets:
    - targetRef: {name: orders-db}
      postgres:
        rules:
          - {name: read, action: Allow, verbs: [Select], relations: [public.orders]}
";
    let mut sidecar = Sidecar::start(&Setup {
        objects: objects::target("orders-db", &server, "upstream", "upstream secret") + policy,
        listeners: vec![Listener::scram("orders-db")],
        ..Setup::default()
    })
    .unwrap();
    for _ in 0..2 {
        let answer = sidecar.psql().run("SELECT id FROM orders ORDER BY id;").unwrap();
        assert_eq!(
            (answer.status, answer.stdout.as_str()),
            (Some(0), "1\n2\n"),
            "{}\n{}",
            answer.stderr,
            sidecar.log()
        );
        let trusting = sidecar.psql().trusting(&sidecar.ca_file()).run("SELECT 1").unwrap();
        assert_eq!(trusting.stdout, "1\n", "{}", trusting.stderr);
        let refused = sidecar.psql().run("DELETE FROM orders;").unwrap();
        assert_eq!(refused.status, Some(3), "{}", refused.all());
        assert_eq!(server.executed_with("DELETE"), 0);
        assert!(sidecar.metrics().unwrap().contains("agentaccess_"));
        sidecar.kill9();
        assert!(!e2e::ports::listening(sidecar.port()));
        sidecar.start_again().unwrap();
    }
}

#[test]
fn a_sidecar_that_cannot_start_says_why() {
    let setup = Setup { config: Some(serde_json::json!({"stateDri": "/tmp"})), ..Setup::default() };
    let error = Sidecar::start(&setup).unwrap_err();
    assert!(format!("{error:#}").contains("stateDri"), "{error:#}");
    let mut sidecar = Sidecar::prepare(&setup).unwrap();
    assert!(!sidecar.run_to_end().unwrap().success());
}
