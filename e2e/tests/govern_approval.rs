//! What needs a person waits for one, runs once when approved, and otherwise not at all. The users of these tests are
//! real ones of the kernel, so they need root, as the set-up does.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use e2e::proxy::{ALICE, BOB, Listener, Setup, Sidecar};
use e2e::wait::eventually;
use e2e::wire::{Answer, Fault, Form, Format, Message, Wire, message};
use e2e::world::{self, POLICY_FILE, Policy, World};
use postgres_protocol::message::frontend;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(15);
/// Nobody under `approvers`.
const MALLORY: u32 = 61_003;

/// One table and verb for each kind of question.
fn policy() -> Policy {
    let approvals = "
    - {name: person, pendingTTL: 60s, holdFor: 20s}
    - {name: short, pendingTTL: 60s, holdFor: 1s}
    - {name: patient, pendingTTL: 60s, holdFor: 20s, inTransaction: {maxHold: 15s, onTimeout: Rollback}}
    - {name: hasty, pendingTTL: 60s, holdFor: 20s, inTransaction: {maxHold: 1s, onTimeout: Rollback}}
    - {name: brief, pendingTTL: 2s, holdFor: 2s}
    - {name: two, pendingTTL: 60s, holdFor: 20s, requiredApprovals: 2}
";
    let rules = "
          - {name: reads, action: Allow, verbs: [Select], relations: [public.orders, public.items, public.log]}
          - {name: adds, action: Allow, verbs: [Insert], relations: [public.log]}
          - {name: person, action: RequireApproval, approval: person, verbs: [Delete], relations: [public.orders]}
          - {name: short, action: RequireApproval, approval: short, verbs: [Update], relations: [public.orders]}
          - {name: patient, action: RequireApproval, approval: patient, verbs: [Delete], relations: [public.items]}
          - {name: brief, action: RequireApproval, approval: brief, verbs: [Update], relations: [public.items]}
          - {name: hasty, action: RequireApproval, approval: hasty, verbs: [Insert], relations: [public.items]}
          - {name: two, action: RequireApproval, approval: two, verbs: [Delete], relations: [public.log]}
";
    Policy { approvals: approvals.to_owned(), rules: rules.to_owned(), ..Policy::default() }
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        assert!(rustix::process::getuid().is_root(), "approvers are other users: run this test as root");
        let server = world::server().unwrap();
        let sidecar = world::sidecar(&server, &policy()).unwrap();
        World { sidecar, server }
    })
}

/// Runs one statement on a connection of its own, which may have to wait.
fn held(form: Form, sql: &str) -> JoinHandle<Answer> {
    let sql = sql.to_owned();
    thread::spawn(move || world().agent().unwrap().run(form, Format::Text, &sql, &[]).unwrap())
}

fn approve(uid: u32, name: &str) -> Value {
    world().sidecar.vote(uid, name, "approve").unwrap()
}

fn phase(name: &str) -> String {
    world().sidecar.request(name).unwrap().pointer("/status/phase").and_then(Value::as_str).unwrap().to_owned()
}

fn becomes(name: &str, wanted: &str) {
    eventually(&format!("{name} to be {wanted}"), SOON, || phase(name) == wanted).unwrap();
}

/// The request that the agent was told of, with everything that PX001 must say.
fn pending(answer: &Answer) -> String {
    let fault = answer.fault.clone().unwrap_or_default();
    assert_eq!(fault.sqlstate, "PX001", "{fault}");
    assert!(fault.message.contains(&fault.detail) && fault.detail.starts_with("areq-"), "{fault:?}");
    assert!(fault.hint.contains("identical statement again") && fault.hint.contains("do not rephrase"), "{fault:?}");
    fault.detail
}

/// Sends without waiting for the answer.
fn send(wire: &mut Wire, sql: &str) {
    let mut out = BytesMut::new();
    frontend::query(sql, &mut out).unwrap();
    wire.send(&out).unwrap();
}

/// Reads up to the NOTICE that names the request.
fn notice(wire: &mut Wire) -> (String, Fault) {
    loop {
        let message = wire.read_message().unwrap().unwrap();
        assert_eq!(message.tag, b'N', "{message:?} instead of a notice");
        let notice = message.notice().unwrap();
        if let Some(rest) = notice.message.strip_prefix("waiting for approval: request ") {
            return (rest.split(' ').next().unwrap().to_owned(), notice);
        }
    }
}

fn runs(part: &str) -> usize {
    world().server.executed_with(part)
}

#[test]
fn a_held_statement_hears_notices_and_runs_once_when_approved() {
    let mut wire = world().agent().unwrap();
    send(&mut wire, "DELETE FROM orders na WHERE na.id = 1");
    let (name, first) = notice(&mut wire);
    assert_eq!((first.severity.as_str(), first.sqlstate.as_str()), ("NOTICE", "00000"));
    assert!(first.message.ends_with("has 0 of 1 approvals needed"), "{}", first.message);
    let begun = Instant::now();
    let (again, _) = notice(&mut wire);
    assert_eq!(again, name);
    assert!(begun.elapsed() > Duration::from_secs(3), "a notice every 5 s, not {:?}", begun.elapsed());
    assert_eq!(runs(" na "), 0);
    assert_eq!(approve(ALICE, &name)["is"], "decided");
    let rest = wire.until_ready().unwrap();
    assert!(rest.iter().any(|m| m.tag == b'C' && m.texts().next().unwrap() == "DELETE 1"), "{rest:?}");
    assert_eq!(runs(" na "), 1);
    let request = world().sidecar.request(&name).unwrap();
    assert_eq!((request["status"]["consumed"].as_bool(), phase(&name).as_str()), (Some(true), "Approved"));
}

#[test]
fn an_approval_releases_one_execution_and_the_next_asks_again() {
    for (at, form) in [Form::Simple, Form::Extended, Form::Pipelined].into_iter().enumerate() {
        let sql = format!("UPDATE orders once{at}x SET note = 'y' WHERE once{at}x.id = {}", 10 + at);
        let run = || world().agent().unwrap().run(form, Format::Text, &sql, &[]).unwrap();
        let name = pending(&run());
        // Nobody decided: the same question is asked again, not a second one.
        assert_eq!(pending(&run()), name, "{form:?}");
        assert_eq!(approve(ALICE, &name)["is"], "decided");
        let answer = run();
        assert_eq!(
            (answer.fault.clone(), answer.tags.last().map(String::as_str)),
            (None, Some("UPDATE 1")),
            "{form:?}"
        );
        let second = pending(&run());
        assert_ne!(second, name, "{form:?}");
        assert_eq!(runs(&format!(" once{at}x ")), 1, "{form:?}");
        assert_eq!(world().sidecar.vote(ALICE, &name, "approve").unwrap()["is"], "refused", "it is used up");
        assert_eq!(pending(&run()), second, "{form:?}");
    }
}

#[test]
fn a_prepared_statement_asks_for_each_execution() {
    let run = held(Form::Prepared, "DELETE FROM orders pr WHERE pr.id = 20");
    let first = world().sidecar.asked(" pr ", SOON).unwrap();
    assert_eq!(approve(ALICE, &first)["is"], "decided");
    let mut second = String::new();
    eventually("the second question", SOON, || {
        second = world().sidecar.asked(" pr ", SOON).unwrap();
        second != first
    })
    .unwrap();
    eventually("the first run", SOON, || runs(" pr ") == 1).unwrap();
    assert_eq!(world().sidecar.vote(BOB, &second, "deny").unwrap()["is"], "decided");
    assert_eq!(run.join().unwrap().sqlstate(), "PX002");
    assert_eq!(runs(" pr "), 1);
}

#[test]
fn two_connections_cannot_use_one_approval_twice() {
    let sql = "UPDATE orders race SET note = 'r' WHERE race.id = 30";
    let name = pending(&held(Form::Extended, sql).join().unwrap());
    assert_eq!(approve(ALICE, &name)["is"], "decided");
    let both: Vec<_> = (0..4).map(|_| held(Form::Extended, sql)).collect();
    let answers: Vec<Answer> = both.into_iter().map(|one| one.join().unwrap()).collect();
    assert_eq!(answers.iter().filter(|answer| answer.fault.is_none()).count(), 1);
    assert_eq!(runs(" race "), 1);
    for answer in answers.iter().filter(|answer| answer.fault.is_some()) {
        assert!(["PX001", "PX003"].contains(&answer.sqlstate()), "{:?}", answer.fault);
    }
}

#[test]
fn inside_a_transaction_the_answer_comes_at_once_and_the_transaction_fails() {
    let mut wire = world().agent().unwrap();
    for (form, format) in Form::ALL {
        wire.query("BEGIN").unwrap();
        let begun = Instant::now();
        let answer = wire.run(form, format, "DELETE FROM orders itx WHERE itx.id = 40", &[]).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(4), "{form:?} {:?}", begun.elapsed());
        assert_eq!((answer.sqlstate(), answer.status), ("PX001", Some(b'E')), "{form:?} {:?}", answer.fault);
        assert!(answer.notices.is_empty(), "{form:?}");
        pending(&answer);
        assert_eq!(wire.query("COMMIT").unwrap().tags, ["ROLLBACK"], "{form:?}");
    }
    assert_eq!(runs(" itx "), 0);
}

#[test]
fn inside_a_transaction_it_waits_as_long_as_policy_says() {
    let mut wire = world().agent().unwrap();
    wire.query("BEGIN").unwrap();
    send(&mut wire, "DELETE FROM items tx WHERE tx.id = 50");
    let (name, _) = notice(&mut wire);
    assert_eq!(runs(" tx "), 0);
    assert_eq!(approve(BOB, &name)["is"], "decided");
    wire.until_ready().unwrap();
    assert_eq!((wire.status, runs(" tx ")), (b'T', 1));
    assert_eq!(wire.query("COMMIT").unwrap().tags, ["COMMIT"]);
    assert_eq!(world().server.admin("SELECT count(*) FROM items WHERE id = 50").unwrap(), "0");

    let mut wire = world().agent().unwrap();
    wire.query("BEGIN").unwrap();
    let begun = Instant::now();
    let answer = wire.query("INSERT INTO items VALUES (5000, 'hasty')").unwrap();
    assert!((Duration::from_millis(900)..Duration::from_secs(6)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    pending(&answer);
    assert_eq!((answer.status, wire.query("COMMIT").unwrap().tags), (Some(b'E'), vec!["ROLLBACK".to_owned()]));
    assert_eq!(runs("5000, 'hasty'"), 0);
}

#[test]
fn a_late_approval_inside_a_transaction_with_a_savepoint_holds_no_locks() {
    let mut wire = world().agent().unwrap();
    wire.query("BEGIN").unwrap();
    wire.query("INSERT INTO log VALUES (7001, 'locked')").unwrap();
    wire.query("SAVEPOINT s").unwrap();
    let answer = wire.query("INSERT INTO items VALUES (5001, 'late')").unwrap();
    assert_eq!(answer.sqlstate(), "PX001");
    // The transaction is over for good, or the session is: the savepoint must not bring it back.
    if answer.status.is_some() {
        wire.query("ROLLBACK TO SAVEPOINT s").unwrap();
        wire.query("INSERT INTO log VALUES (7002, 'after')").unwrap();
        let end = wire.query("COMMIT").unwrap();
        assert_ne!(end.tags, ["COMMIT"]);
    }
    drop(wire);
    assert_eq!(world().server.admin("SELECT count(*) FROM log WHERE id IN (7001, 7002)").unwrap(), "0");
    assert_eq!(runs("5001, 'late'"), 0);
}

#[test]
fn another_text_or_parameter_does_not_pass_on_an_approval() {
    let sql = "UPDATE orders ch SET note = 'c' WHERE ch.id = $1";
    let run =
        |sql: &str, id: &str| world().agent().unwrap().run(Form::Extended, Format::Text, sql, &[Some(id)]).unwrap();
    let name = pending(&run(sql, "60"));
    assert_eq!(approve(ALICE, &name)["is"], "decided");
    let other = pending(&run(sql, "61"));
    let changed = pending(&run("UPDATE orders ch SET note = 'C' WHERE ch.id = $1", "60"));
    let literal = held(Form::Simple, "UPDATE orders ch SET note = 'c' WHERE ch.id = 60").join().unwrap();
    let literal = pending(&literal);
    let names = [&name, &other, &changed, &literal];
    assert!(names.iter().enumerate().all(|(at, one)| !names[..at].contains(one)), "{names:?}");
    assert_eq!(runs(" ch "), 0);
    // What was approved still passes, on a connection of its own.
    assert_eq!(run(sql, "60").tags, ["UPDATE 1"]);
    assert_eq!(runs(" ch "), 1);
    assert_eq!(
        world().server.executions().into_iter().find(|r| r.text.contains(" ch ")).unwrap().parameters.unwrap(),
        "$1 = '60'"
    );
}

#[test]
fn another_policy_does_not_pass_on_an_approval() {
    let world = world();
    let sidecar = world::sidecar(&world.server, &policy()).unwrap();
    let sql = "UPDATE orders pol SET note = 'p' WHERE pol.id = 65";
    let run = || Wire::connect(sidecar.port(), &sidecar.login()).unwrap().query(sql).unwrap();
    let name = pending(&run());
    assert_eq!(sidecar.vote(ALICE, &name, "approve").unwrap()["is"], "decided");
    sidecar
        .write(POLICY_FILE, &policy().mask("{name: more, columns: ['public.orders.x*'], method: Redact}").yaml())
        .unwrap();
    // In force within 2 s; a statement before that would use the approval up.
    thread::sleep(Duration::from_secs(3));
    assert_ne!(pending(&run()), name, "{}", sidecar.log());
    assert_eq!(runs(" pol "), 0);
}

#[test]
fn a_denial_is_px002_and_says_so() {
    for form in [Form::Simple, Form::Extended] {
        let alias = format!("den{}", form as u8);
        let run = held(form, &format!("DELETE FROM orders {alias} WHERE {alias}.id = 70"));
        let name = world().sidecar.asked(&alias, SOON).unwrap();
        assert_eq!(world().sidecar.vote(ALICE, &name, "deny").unwrap()["is"], "decided");
        let answer = run.join().unwrap();
        let fault = answer.fault.clone().unwrap();
        assert_eq!((fault.sqlstate.as_str(), answer.status), ("PX002", Some(b'I')), "{fault}");
        assert_eq!(fault.detail, name);
        assert!(fault.hint.contains("Do not retry"), "{fault:?}");
        assert_eq!((runs(&alias), phase(&name).as_str()), (0, "Denied"));
    }
}

#[test]
fn after_its_time_a_request_is_px003_and_cannot_be_approved() {
    let run = held(Form::Simple, "UPDATE items ttl SET note = 't' WHERE ttl.id = 80");
    let name = world().sidecar.asked(" ttl ", SOON).unwrap();
    let answer = run.join().unwrap();
    let fault = answer.fault.clone().unwrap();
    assert_eq!((fault.sqlstate.as_str(), fault.detail.as_str()), ("PX003", name.as_str()), "{fault}");
    assert!(fault.hint.contains("only if it is still needed"), "{fault:?}");
    becomes(&name, "Expired");
    assert_eq!(approve(ALICE, &name)["is"], "refused");
    assert_eq!(runs(" ttl "), 0);
}

#[test]
fn an_approval_does_not_outlive_its_time() {
    let sql = "UPDATE items old SET note = 'o' WHERE old.id = 81";
    // The client goes on at once, inside a transaction, so that the request is open and nobody waits.
    let mut wire = world().agent().unwrap();
    wire.query("BEGIN").unwrap();
    let name = pending(&wire.query(sql).unwrap());
    assert_eq!(approve(ALICE, &name)["is"], "decided");
    thread::sleep(Duration::from_millis(2500));
    wire.query("ROLLBACK").unwrap();
    let answer = wire.query(sql).unwrap();
    assert_eq!((answer.sqlstate(), runs(" old ")), ("PX003", 0), "{:?}", answer.fault);
    assert_ne!(answer.fault.unwrap().detail, name, "a new question, which expired too");
}

#[test]
fn cancelling_the_query_withdraws_the_request() {
    for extended in [false, true] {
        let mut wire = world().agent().unwrap();
        let alias = format!("can{}", u8::from(extended));
        let sql = format!("DELETE FROM orders {alias} WHERE {alias}.id = 90");
        if extended {
            let mut out = BytesMut::new();
            frontend::parse("", &sql, [], &mut out).unwrap();
            out.extend_from_slice(&message(b'B', b"\0\0\0\0\0\0\0\0").unwrap());
            out.extend_from_slice(&message(b'E', b"\0\0\0\0\0").unwrap());
            frontend::sync(&mut out);
            wire.send(&out).unwrap();
        } else {
            send(&mut wire, &sql);
        }
        let (name, _) = notice(&mut wire);
        wire.cancel(world().sidecar.port()).unwrap();
        let rest = wire.until_ready().unwrap();
        let fault = rest.iter().find_map(Message::fault).unwrap();
        assert_eq!((fault.sqlstate.as_str(), fault.detail.as_str(), wire.status), ("57014", name.as_str(), b'I'));
        becomes(&name, "Withdrawn");
        assert_eq!(approve(ALICE, &name)["is"], "refused");
        assert_eq!(wire.query("SELECT 'alive'").unwrap().texts(), [["alive"]]);
        assert_eq!(runs(&alias), 0);
    }
}

/// A person decides on all of it or is not asked: what stands behind many blanks, or at the end of a long value, counts.
#[test]
fn nobody_is_asked_about_what_cannot_be_shown_whole() {
    let far =
        |n| (format!("UPDATE orders SET note = 'far{n}' WHERE id = 3 {}OR note = $1", " ".repeat(n)), "a".to_owned());
    let wide = |n| (format!("UPDATE orders SET note = 'wide{n}' WHERE note = $1"), format!("{}END", "x".repeat(n)));
    let run = |sql: &str, value: &str| {
        let mut wire = world().agent().unwrap();
        wire.run(Form::Extended, Format::Text, sql, &[Some(value)]).unwrap()
    };
    for (sql, value) in [far(4_300), far(16_000), wide(4 * 1024 - 3)] {
        let name = pending(&run(&sql, &value));
        let file = world().sidecar.state().join("requests").join(format!("{name}.yaml"));
        let wide = sql.split_once("  ").map(|(_, far)| far.len() - far.trim_start().len() + 2);
        let shown = wide.map_or(sql.clone(), |n| format!("WHERE id = 3 ⟪{n} blanks⟫ OR note = $1"));
        let whole = |text: String| text.contains(&shown) && text.contains(&format!(" ⟪$1 = '{value}'⟫"));
        eventually("all of it in the request", SOON, || fs::read_to_string(&file).is_ok_and(whole)).unwrap();
    }
    for (sql, value) in [far(17_000), wide(4 * 1024 - 2)] {
        let fault = run(&sql, &value).fault.unwrap();
        assert_eq!(fault.sqlstate, "42501", "{fault:?}");
        assert!(fault.message.contains("cannot be shown whole to a person"), "{fault:?}");
        let (beginning, _) = sql.split_at(40);
        let asked = |item: &Value| item.to_string().contains(beginning);
        assert!(!world().sidecar.requests().unwrap().iter().any(asked), "{beginning}");
    }
}

#[test]
fn hanging_up_withdraws_the_request() {
    let mut wire = world().agent().unwrap();
    send(&mut wire, "DELETE FROM orders hang WHERE hang.id = 91");
    let (name, _) = notice(&mut wire);
    drop(wire);
    becomes(&name, "Withdrawn");
    assert_eq!(approve(ALICE, &name)["is"], "refused");
    assert_eq!(runs(" hang "), 0);
}

#[test]
fn only_listed_users_can_approve_and_a_file_decides_nothing() {
    let world = world();
    let run = held(Form::Simple, "DELETE FROM orders who WHERE who.id = 92");
    let name = world.sidecar.asked(" who ", SOON).unwrap();
    // The sidecar's own user, an unlisted one, and one past every list.
    for uid in [0, MALLORY, 65_534] {
        let answer = world.sidecar.vote(uid, &name, "approve").unwrap();
        assert_eq!(answer["is"], "refused", "uid {uid}: {answer}");
    }
    let claims =
        serde_json::json!({"do": "decide", "name": name, "decision": "approve", "uid": ALICE, "user": "alice"});
    assert_eq!(world.sidecar.call_as(MALLORY, &claims).unwrap()["is"], "refused");

    let file = world.sidecar.state().join("requests").join(format!("{name}.yaml"));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("phase: Pending"), "{text}");
    let edited = text.replace("phase: Pending", "phase: Approved").replace("approvals: 0", "approvals: 1");
    fs::write(&file, &edited).unwrap();
    thread::sleep(Duration::from_millis(500));
    assert!(!run.is_finished());
    assert_eq!((phase(&name).as_str(), runs(" who ")), ("Pending", 0));
    eventually("the edit to be overwritten", SOON, || fs::read_to_string(&file).is_ok_and(|now| now != edited))
        .unwrap();

    assert_eq!(world.sidecar.vote(ALICE, &name, "deny").unwrap()["is"], "decided");
    assert_eq!(run.join().unwrap().sqlstate(), "PX002");
    assert_eq!(runs(" who "), 0);
}

#[test]
fn the_agents_own_user_cannot_be_an_approver() {
    let world = world();
    let listener = Listener::unix("db", ALICE);
    let objects = e2e::objects::target("db", &world.server, world::ROLE, world::ROLE_PASSWORD);
    let setup = Setup { objects, listeners: vec![listener], ..Setup::default() };
    let mut sidecar = Sidecar::prepare(&setup).unwrap();
    sidecar.write(POLICY_FILE, &policy().yaml()).unwrap();
    let status = sidecar.run_to_end().unwrap();
    assert!(!status.success(), "{}", sidecar.log());
    assert!(sidecar.log().contains("alice") || sidecar.log().contains(&ALICE.to_string()), "{}", sidecar.log());
}

#[test]
fn two_approvals_are_of_two_people() {
    let run = held(Form::Extended, "DELETE FROM log quo WHERE quo.id = 1");
    let name = world().sidecar.asked(" quo ", SOON).unwrap();
    assert_eq!(approve(ALICE, &name)["is"], "decided");
    assert_eq!(approve(ALICE, &name)["is"], "refused", "one person, one vote");
    thread::sleep(Duration::from_millis(300));
    assert!(!run.is_finished());
    assert_eq!((phase(&name).as_str(), runs(" quo ")), ("Pending", 0));
    assert_eq!(approve(BOB, &name)["is"], "decided");
    assert_eq!(run.join().unwrap().tags, ["DELETE 0"]);
    assert_eq!(runs(" quo "), 1);
}

#[test]
fn behind_work_that_is_not_synced_nothing_waits_and_nothing_is_kept() {
    let mut wire = world().agent().unwrap();
    let mut out = BytesMut::new();
    for sql in ["INSERT INTO log VALUES (8001, 'x')", "DELETE FROM orders beh WHERE beh.id = 93"] {
        frontend::parse("", sql, [], &mut out).unwrap();
        out.extend_from_slice(&message(b'B', b"\0\0\0\0\0\0\0\0").unwrap());
        out.extend_from_slice(&message(b'E', b"\0\0\0\0\0").unwrap());
    }
    frontend::sync(&mut out);
    let begun = Instant::now();
    wire.send(&out).unwrap();
    let rest = wire.until_ready().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let fault = rest.iter().find_map(Message::fault).unwrap();
    assert_eq!((fault.sqlstate.as_str(), wire.status), ("PX001", b'I'), "{fault}");
    assert!(rest.iter().all(|m| m.tag != b'N'), "{rest:?}");
    assert_eq!(world().server.admin("SELECT count(*) FROM log WHERE id = 8001").unwrap(), "0");
    assert_eq!(runs(" beh "), 0);
}

#[test]
fn an_approved_portal_gives_its_rest_only_with_its_own_parameters_and_policy() {
    let world = world();
    let sidecar = world::sidecar(&world.server, &policy()).unwrap();
    let mut wire = Wire::connect(sidecar.port(), &sidecar.login()).unwrap();
    let flush = |out: &mut BytesMut| frontend::flush(out);
    let bind = |out: &mut BytesMut, id: &str| {
        let mut body = BytesMut::from(&b"p\0s\0\0\0\0\x01"[..]);
        body.extend_from_slice(&u32::try_from(id.len()).unwrap().to_be_bytes());
        body.extend_from_slice(id.as_bytes());
        body.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&message(b'B', &body).unwrap());
    };
    let mut out = BytesMut::new();
    let sql = "DELETE FROM orders por WHERE por.id IN ($1::int, $1::int + 1, $1::int + 2) RETURNING por.id";
    frontend::parse("s", sql, [], &mut out).unwrap();
    frontend::sync(&mut out);
    wire.send(&out).unwrap();
    wire.until_ready().unwrap();

    let mut out = BytesMut::new();
    bind(&mut out, "120");
    frontend::execute("p", 1, &mut out).unwrap();
    flush(&mut out);
    wire.send(&out).unwrap();
    let (name, _) = notice(&mut wire);
    assert_eq!(sidecar.vote(ALICE, &name, "approve").unwrap()["is"], "decided");
    let first = wire.until(b's').unwrap();
    assert_eq!(first.iter().filter(|m| m.tag == b'D').count(), 1, "{first:?}");

    // The rest of the same portal needs nobody.
    let mut out = BytesMut::new();
    frontend::execute("p", 1, &mut out).unwrap();
    flush(&mut out);
    wire.send(&out).unwrap();
    assert_eq!(wire.until(b's').unwrap().iter().filter(|m| m.tag == b'D').count(), 1);

    // Under a policy that has become stricter, it does not come.
    sidecar.write(POLICY_FILE, &policy().without("person").yaml()).unwrap();
    thread::sleep(Duration::from_secs(3));
    let mut out = BytesMut::new();
    frontend::execute("p", 1, &mut out).unwrap();
    frontend::sync(&mut out);
    wire.send(&out).unwrap();
    let rest = wire.until_ready().unwrap();
    let fault = rest.iter().find_map(Message::fault).unwrap();
    assert_eq!((fault.sqlstate.as_str(), wire.status), ("42501", b'I'), "{fault}");
    assert!(rest.iter().all(|m| m.tag != b'D'), "{rest:?}");
    // The batch was one transaction, and it failed: nothing was deleted.
    assert_eq!(world.server.admin("SELECT count(*) FROM orders WHERE id IN (120, 121, 122)").unwrap(), "3");
    sidecar.write(POLICY_FILE, &policy().yaml()).unwrap();
    thread::sleep(Duration::from_secs(3));

    // The same portal's name with another parameter is another question.
    let mut out = BytesMut::new();
    bind(&mut out, "130");
    frontend::execute("p", 1, &mut out).unwrap();
    frontend::sync(&mut out);
    wire.send(&out).unwrap();
    let (other, _) = notice(&mut wire);
    assert_ne!(other, name);
    assert_eq!(sidecar.vote(ALICE, &other, "deny").unwrap()["is"], "decided");
    let fault = wire.until_ready().unwrap().iter().find_map(Message::fault).unwrap();
    assert_eq!(fault.sqlstate, "PX002");
}
