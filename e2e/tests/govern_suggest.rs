//! What `suggest` makes of a recorded workload: under it the same workload passes, and its neighbours do not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use e2e::postgres::Server;
use e2e::proxy::{ALICE, Setup, Sidecar};
use e2e::wire::{Form, Format, Wire};
use e2e::world::{self, POLICY_FILE, Policy};

const AUDIT: &str = "---
apiVersion: agentaccess.dev/v1alpha1
kind: AgentAccessPolicy
metadata: {name: watch, namespace: local}
spec:
  podSelector: {}
  mode: Audit
  targets: [{targetRef: {name: db}, postgres: {rules: [
    {name: no-vault, action: Deny, verbs: [Select], relations: [public.vault]}]}}]
";

/// It can be run again and again.
const WORKLOAD: &[&str] = &[
    "SET application_name = 'worker'",
    "SELECT 1",
    "SELECT id, note FROM orders WHERE customer = 1 ORDER BY id LIMIT 5",
    "SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer WHERE o.id = 3",
    "SELECT count(*) FROM items",
    "SELECT name FROM people WHERE id = 2",
    "BEGIN",
    "DELETE FROM log WHERE id = 1",
    "INSERT INTO log (id, what) VALUES (1, 'seen')",
    "UPDATE orders SET note = 'seen' WHERE id = 4",
    "COMMIT",
];

/// What the policy in Audit lets pass, and the suggestion must not.
const NEIGHBOURS: &[&str] = &[
    // Another relation.
    "SELECT id FROM big",
    "SELECT id FROM loads",
    "SELECT count(*) FROM loads",
    "SELECT o.id FROM orders o JOIN loads l ON l.id = o.id",
    "SELECT id FROM orders WHERE id IN (SELECT id FROM big)",
    "INSERT INTO loads (id) VALUES (1)",
    "DELETE FROM items WHERE id = 1",
    // Another column.
    "SELECT email FROM customers",
    "SELECT id FROM customers WHERE ssn = 'x'",
    "SELECT id FROM customers ORDER BY pin",
    "SELECT * FROM customers",
    "SELECT id, name, feels FROM customers",
    "SELECT id FROM items",
    "SELECT note FROM items WHERE id = 1",
    "SELECT ssn FROM people",
    "SELECT what FROM log",
    "INSERT INTO log (id, what) VALUES (2, 'x') RETURNING what",
    "UPDATE orders SET customer = 1 WHERE id = 4",
    "UPDATE orders SET note = 'x', customer = 1 WHERE id = 4",
    // Another verb.
    "INSERT INTO orders (id, customer, note) VALUES (1000, 1, 'x')",
    "DELETE FROM orders WHERE id = 4",
    "UPDATE log SET what = 'x' WHERE id = 1",
    "UPDATE customers SET name = 'x' WHERE id = 1",
    "UPDATE people SET name = 'x' WHERE id = 1",
    "SELECT id, name FROM customers WHERE id = 1 FOR UPDATE",
    // No WHERE that bounds it.
    "UPDATE orders SET note = 'x'",
    "UPDATE orders SET note = 'x' WHERE true",
    "UPDATE orders SET note = 'x' WHERE id = id",
    "DELETE FROM log",
    "WITH gone AS (DELETE FROM log RETURNING id) SELECT id FROM gone",
];

/// What neither lets pass.
const NEVER: &[&str] = &[
    "DROP TABLE log",
    "TRUNCATE log",
    "CREATE TABLE more (id int)",
    "SELECT empty_orders()",
    "SELECT loud('x')",
    "DO $$ BEGIN END $$",
    "GRANT SELECT ON vault TO PUBLIC",
    "COPY log FROM STDIN",
];

fn sidecar(server: &Server, policy: &str) -> Sidecar {
    // The policy is replaced before the sidecar starts again.
    let mut sidecar = world::sidecar_with(server, &Policy::default(), Setup::default()).unwrap();
    replace(&mut sidecar, policy);
    sidecar
}

fn replace(sidecar: &mut Sidecar, policy: &str) {
    sidecar.stop();
    sidecar.write(POLICY_FILE, policy).unwrap();
    sidecar.start_again().unwrap();
}

fn agent(sidecar: &Sidecar) -> Wire {
    Wire::connect(sidecar.port(), &sidecar.login()).unwrap()
}

/// The SQLSTATE, or the empty text.
fn run(wire: &mut Wire, form: (Form, Format), sql: &str) -> String {
    let answer = wire.run(form.0, form.1, sql, &[]).unwrap();
    answer.fault.map(|fault| fault.sqlstate).unwrap_or_default()
}

fn work(sidecar: &Sidecar) {
    let mut wire = agent(sidecar);
    for form in [(Form::Simple, Format::Text), (Form::Extended, Format::Binary)] {
        for sql in WORKLOAD {
            let answer = wire.run(form.0, form.1, sql, &[]).unwrap();
            assert_eq!(answer.fault, None, "{sql} {form:?}");
        }
    }
}

fn suggest(sidecar: &Sidecar, more: &[&str]) -> String {
    let output = sidecar.cli(None, &[&["suggest"], more].concat()).unwrap();
    assert_eq!(output.status, Some(0), "{}", output.all());
    output.stdout
}

#[test]
fn under_the_suggestion_the_workload_passes_and_its_neighbours_do_not() {
    const SIMPLE: (Form, Format) = (Form::Simple, Format::Text);
    let server = world::server().unwrap();
    let mut sidecar = sidecar(&server, AUDIT);
    work(&sidecar);
    let mut wire = agent(&sidecar);
    // The policy in Audit lets it pass, but speaks against it: nothing is suggested for it.
    assert_eq!(run(&mut wire, SIMPLE, "SELECT count(*) FROM vault"), "");
    drop(wire);
    sidecar.stop();
    let suggestion = suggest(&sidecar, &["--as", "local/agent"]);
    for expected in [
        "columns: [public.orders.customer, public.orders.id, public.orders.note]",
        "columns: [public.items.tableoid]",
        "requireWhere: true",
        "a rule speaks against it: denied by policy watch/no-vault",
    ] {
        assert!(suggestion.contains(expected), "{expected:?} is not in\n{suggestion}");
    }
    assert!(!suggestion.contains("is denied:") && !suggestion.contains("waits for approval now"), "{suggestion}");

    // Each neighbour passes where the rules do not stand in its way.
    sidecar.start_again().unwrap();
    let mut wire = agent(&sidecar);
    for sql in NEIGHBOURS {
        assert_eq!(run(&mut wire, SIMPLE, "BEGIN"), "");
        assert_eq!(run(&mut wire, SIMPLE, sql), "", "in Audit: {sql}");
        assert_eq!(run(&mut wire, SIMPLE, "ROLLBACK"), "");
    }
    drop(wire);

    replace(&mut sidecar, &suggestion);
    let policies = sidecar.policies().display().to_string();
    let lint = sidecar.cli(None, &["lint", "-f", &policies]).unwrap();
    assert!(lint.status == Some(0) && lint.stdout.contains("0 errors, 0 warnings"), "{}\n{suggestion}", lint.all());
    work(&sidecar);
    assert!(NEIGHBOURS.len() >= 20);
    let mut wire = agent(&sidecar);
    for form in [SIMPLE, (Form::Extended, Format::Text)] {
        for sql in NEIGHBOURS.iter().chain(NEVER) {
            assert_eq!(run(&mut wire, form, sql), "42501", "{sql} {form:?}\n{suggestion}");
        }
    }
    assert_eq!(run(&mut wire, SIMPLE, "SELECT count(*) FROM vault"), "42501");
    drop(wire);
    work(&sidecar);
}

#[test]
fn masks_and_approvals_are_kept() {
    let server = world::server().unwrap();
    let mut sidecar = world::sidecar(&server, &Policy::default()).unwrap();
    let ask = |sidecar: &Sidecar| {
        let mut wire = agent(sidecar);
        wire.send_message(b'Q', b"UPDATE orders SET note = 'asked' WHERE id = 7\0").unwrap();
        let name = sidecar.asked("orders", Duration::from_secs(10)).unwrap();
        assert_eq!(sidecar.vote(ALICE, &name, "approve").unwrap()["is"], "decided");
        assert!(wire.until_ready().unwrap().iter().any(|message| message.tag == b'C'));
    };
    let masked = |sidecar: &Sidecar| {
        let mut wire = agent(sidecar);
        wire.query("SELECT email FROM customers WHERE id = 1").unwrap().texts()
    };
    ask(&sidecar);
    assert_eq!(masked(&sidecar), [["a***@example.com"]]);
    sidecar.stop();

    // Without the masks more would be seen, so what was masked is left out.
    let bare = suggest(&sidecar, &[]);
    assert!(bare.contains("it was masked by agent/email") && !bare.contains("relations: [public.customers]"), "{bare}");
    let policies = sidecar.policies().display().to_string();
    let suggestion = suggest(&sidecar, &["-f", &policies]);
    for expected in ["action: RequireApproval", "columns: [public.customers.email], method: Partial"] {
        assert!(suggestion.contains(expected), "{expected:?} is not in\n{suggestion}");
    }
    replace(&mut sidecar, &suggestion);
    assert_eq!(masked(&sidecar), [["a***@example.com"]], "{suggestion}");
    ask(&sidecar);
    let mut wire = agent(&sidecar);
    assert_eq!(run(&mut wire, (Form::Simple, Format::Text), "SELECT name FROM customers"), "42501");
}

#[test]
fn detectors_are_kept() {
    let server = world::server().unwrap();
    let policy = Policy::default().detector("{name: contacts, find: [EmailAddress]}");
    let mut sidecar = world::sidecar(&server, &policy).unwrap();
    let detected = |sidecar: &Sidecar| {
        let mut wire = agent(sidecar);
        wire.query("SELECT 'bob' || '@example.org' FROM orders WHERE id = 1").unwrap().texts()
    };
    assert_eq!(detected(&sidecar), [["***************"]]);
    sidecar.stop();
    let policies = sidecar.policies().display().to_string();
    let suggestion = suggest(&sidecar, &["-f", &policies]);
    assert!(suggestion.contains("find: [EmailAddress], action: Redact"), "{suggestion}");
    replace(&mut sidecar, &suggestion);
    assert_eq!(detected(&sidecar), [["***************"]], "{suggestion}");
}
