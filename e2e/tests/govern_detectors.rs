//! Detectors: what looks like a card, an SSN, an e-mail address or a token is covered wherever it comes back, or counted.
//!
//! The oracle looks at each byte of each message, as text and in the binary forms of numbers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::BytesMut;
use e2e::wait;
use e2e::wire::{Answer, Form, Format, Wire};
use e2e::world::{self, POLICY_FILE, Policy, World};
use postgres_protocol::message::frontend;
use serde_json::Value;

const CARD: &str = "4111111111111111";
const SPACED: &str = "5555 5555 5555 4444";
const SSN: &str = "078-05-1120";
const EMAIL: &str = "dora@example.org";
const TOKEN: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";

const TABLES: &str = "
CREATE TABLE found (id int PRIMARY KEY, t text, v varchar(40), c char(20), n bigint, m numeric(20,2), j json, jb jsonb,
                    ta text[], na bigint[], ma numeric[][], x xml, b bytea, plain text);
INSERT INTO found VALUES (1, 'pay 4111111111111111 now', 'dora@example.org', '078-05-1120', 4111111111111111,
    4111111111111111.25, '{\"card\": 4111111111111111, \"mail\": \"dora@example.org\"}',
    '{\"ssn\": \"078-05-1120\", \"cards\": [4111111111111111, \"5555 5555 5555 4444\"]}',
    '{dora@example.org,\"x 5555 5555 5555 4444\",NULL}', '{1,4111111111111111}', '{{1,2},{4111111111111111,NULL}}',
    '<a m=\"dora@example.org\">078-05-1120</a>', 'ghp_0123456789abcdefghijABCDEFGHIJ012345', 'nothing to see');
CREATE TABLE shouts (id int, what text);
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'got %', NEW.what; RETURN NEW; END$$;
CREATE TRIGGER shout BEFORE INSERT ON shouts FOR EACH ROW EXECUTE FUNCTION shout();
GRANT ALL ON ALL TABLES IN SCHEMA public TO agent_db;
";
const READS: &str = "{name: found, action: Allow, verbs: [Select], relations: [public.found]}";
const SHOUTS: &str = "{name: shouts, action: Allow, verbs: [Insert], relations: [public.shouts]}";
const CALLS: &str = "{name: calls, action: Allow, verbs: [Listen, Notify]}";
const ALL: &str = "find: [CardNumber, SocialSecurityNumber, EmailAddress, AccessToken]";

fn policy() -> Policy {
    // Without masks the target's words pass.
    let policy = Policy { masks: String::new(), ..Policy::default() };
    policy.rule(READS).rule(SHOUTS).rule(CALLS)
}

fn with(policy: &Policy) -> World {
    let server = world::server().unwrap();
    server.admin(TABLES).unwrap();
    let sidecar = world::sidecar(&server, policy).unwrap();
    World { sidecar, server }
}

/// One where all is covered.
fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| with(&policy().detector(&format!("{{name: all, {ALL}}}"))))
}

/// What must not be anywhere, with its binary forms.
fn canaries() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [CARD, SPACED, SSN, EMAIL, TOKEN].map(|text| text.as_bytes().to_vec()).to_vec();
    all.push(4_111_111_111_111_111_i64.to_be_bytes().to_vec());
    all.push([4111_u16, 1111, 1111, 1111].into_iter().flat_map(u16::to_be_bytes).collect());
    all
}

fn shown(answer: &Answer) -> Vec<String> {
    let found = canaries().into_iter().filter(|canary| answer.contains(canary));
    found.map(|canary| String::from_utf8_lossy(&canary).into_owned()).collect()
}

/// Each file under it.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![fs::read(path).unwrap()] }).collect()
}

#[test]
fn what_looks_sensitive_is_covered_in_every_type_and_form() {
    let world = world();
    let (mut agent, mut native) = (world.agent().unwrap(), world.native().unwrap());
    let columns =
        ["t", "v", "c", "n", "m", "j", "jb", "ta", "na", "ma", "x", "b", "ROW(n, t, ta)", "n + 0", "t || v", "plain"];
    for column in columns {
        for (form, format) in Form::ALL {
            let sql = format!("SELECT {column}, 'beside' FROM found");
            // In text form PostgreSQL writes bytea in hexadecimal, which no detector reads.
            if column == "b" && format == Format::Text {
                continue;
            }
            let there = native.run(form, format, &sql, &[]).unwrap();
            assert_eq!(shown(&there).is_empty(), column == "plain", "{sql}: {there:?}");
            let answer = agent.run(form, format, &sql, &[]).unwrap();
            assert_eq!((&answer.fault, answer.status), (&None, Some(b'I')), "{sql} {form:?} {format:?}");
            assert_eq!(shown(&answer), Vec::<String>::new(), "{sql} {form:?} {format:?}: {answer:?}");
            let lengths = |answer: &Answer| -> Vec<Option<usize>> {
                answer.rows[0].iter().map(|value| value.as_ref().map(|bytes| bytes.len())).collect()
            };
            assert_eq!(lengths(&answer), lengths(&there), "{sql} {form:?} {format:?}");
            assert_eq!(answer.rows[0][1], there.rows[0][1], "{sql} {form:?} {format:?}");
            assert!(column != "plain" || answer.rows == there.rows, "{sql}: {answer:?}");
        }
    }
}

#[test]
fn what_is_covered_stays_what_it_was() {
    let mut agent = world().agent().unwrap();
    let mut text = |sql: &str| agent.query(sql).unwrap().texts()[0].clone();
    assert_eq!(
        text("SELECT t, v, n, m, ta, na FROM found"),
        [
            "pay **************** now",
            "****************",
            "1000000000000000",
            "1000000000000000.25",
            "{****************,\"x *******************\",NULL}",
            "{1,1000000000000000}"
        ]
    );
    let json: Vec<Value> =
        text("SELECT j, jb FROM found").iter().map(|json| serde_json::from_str(json).unwrap()).collect();
    assert_eq!(json[0]["card"], 1_000_000_000_000_000_i64, "{json:?}");
    assert_eq!(json[1]["cards"], serde_json::json!([1_000_000_000_000_000_i64, "*******************"]), "{json:?}");
    let whole = |form| {
        let mut agent = world().agent().unwrap();
        agent.run(form, Format::Binary, "SELECT n FROM found", &[]).unwrap().rows[0][0].clone().unwrap()
    };
    assert_eq!(*whole(Form::Prepared), 1_000_000_000_000_i64.to_be_bytes());
}

#[test]
fn cursors_and_copies_are_looked_at() {
    let mut agent = world().agent().unwrap();
    agent.query("BEGIN").unwrap();
    agent.query("DECLARE c SCROLL CURSOR FOR SELECT n, t FROM found").unwrap();
    for form in [Form::Simple, Form::Extended, Form::Prepared] {
        let answer = agent.run(form, Format::Text, "FETCH FIRST c", &[]).unwrap();
        assert_eq!(answer.rows.len(), 1, "{answer:?}");
        assert_eq!(shown(&answer), Vec::<String>::new(), "{form:?}: {answer:?}");
    }
    // The same name, and another type in its place.
    agent.query("CLOSE c").unwrap();
    agent.query("DECLARE c SCROLL CURSOR FOR SELECT t, n FROM found").unwrap();
    let answer = agent.run(Form::Prepared, Format::Binary, "FETCH FIRST c", &[]).unwrap();
    assert_eq!((answer.rows.len(), shown(&answer)), (1, Vec::new()), "{answer:?}");
    agent.query("ROLLBACK").unwrap();
    for sql in ["COPY found TO STDOUT", "COPY (SELECT t, j, n FROM found) TO STDOUT (FORMAT csv, HEADER)"] {
        for extended in [false, true] {
            let answer = copied(&mut agent, sql, extended);
            let data: Vec<u8> =
                answer.messages.iter().filter(|m| m.tag == b'd').flat_map(|m| m.body.to_vec()).collect();
            let data = String::from_utf8(data).unwrap();
            assert!(data.contains("pay 1000000000000000 now"), "{data}");
            assert_eq!(shown(&answer), Vec::<String>::new(), "{sql}: {data}");
        }
    }
    for sql in ["COPY found TO STDOUT (FORMAT binary)", "COPY found TO STDOUT BINARY"] {
        for extended in [false, true] {
            let answer = copied(&mut agent, sql, extended);
            assert_eq!((answer.sqlstate(), answer.status), ("42501", Some(b'I')), "{answer:?}");
        }
    }
    assert_eq!(agent.query("SELECT 1").unwrap().texts(), [["1"]]);
}

fn copied(wire: &mut Wire, sql: &str, extended: bool) -> Answer {
    if extended {
        return wire.run(Form::Extended, Format::Text, sql, &[]).unwrap();
    }
    wire.query(sql).unwrap()
}

#[test]
fn what_the_target_says_is_looked_at() {
    let world = world();
    let mut agent = world.agent().unwrap();
    let failed = agent.query("SELECT t::int FROM found").unwrap();
    let message = failed.fault.clone().unwrap().message;
    assert!(message.contains("pay **************** now") || message.contains("pay 1000000000000000 now"), "{message}");
    assert_eq!(shown(&failed), Vec::<String>::new());
    let noticed = agent.query("INSERT INTO shouts VALUES (1, 'dora@example.org')").unwrap();
    assert!(noticed.notices[0].message.contains("got ****************"), "{noticed:?}");
    agent.query("LISTEN talk").unwrap();
    let told = agent.query("NOTIFY talk, 'card 4111111111111111'").unwrap();
    assert!(told.messages.iter().any(|message| message.tag == b'A'), "{told:?}");
    assert_eq!(shown(&told), Vec::<String>::new());
}

/// A card in a place whose form we do not know, in binary.
#[test]
fn what_cannot_be_covered_ends_the_session() {
    let mut agent = world().agent().unwrap();
    let sql = "SELECT to_tsvector('simple', v) FROM found";
    let text = agent.run(Form::Extended, Format::Text, sql, &[]).unwrap();
    assert_eq!((text.rows.len(), shown(&text)), (1, Vec::new()), "{text:?}");
    let cut = agent.run(Form::Extended, Format::Binary, sql, &[]).unwrap();
    assert_eq!((cut.rows.len(), cut.status, shown(&cut)), (0, None, Vec::new()), "{cut:?}");
    assert!(cut.fault.unwrap().message.contains("ask for it as text"));
}

#[test]
fn recordings_hold_what_the_agent_saw_and_how_much_was_found() {
    let world = with(&policy().detector(&format!("{{name: all, {ALL}}}")));
    let mut agent = world.agent().unwrap();
    agent.query("SELECT t, v, c FROM found").unwrap();
    agent.run(Form::Prepared, Format::Binary, "SELECT n, m FROM found", &[]).unwrap();
    drop(agent);
    let recorded = || files(&world.sidecar.recordings()).concat();
    wait::eventually("the outcomes are recorded", Duration::from_secs(10), || {
        let text = String::from_utf8(recorded()).unwrap();
        text.contains(
            r#"{"kind":"card_number","values":1,"redacted":true},{"kind":"social_security_number","values":1"#,
        ) && text.contains(r#""found":[{"kind":"card_number","values":2,"redacted":true}]"#)
    })
    .unwrap();
    for canary in canaries() {
        assert!(!recorded().windows(canary.len()).any(|part| part == canary), "{}", String::from_utf8_lossy(&canary));
    }
    let metrics = world.sidecar.metrics().unwrap();
    assert!(
        metrics.contains(r#"agentaccess_detected_values_total{action="redact",kind="email_address"} 1"#),
        "{metrics}"
    );
    let log = world.sidecar.log();
    assert!(!canaries().iter().any(|canary| log.as_bytes().windows(canary.len()).any(|part| part == canary)), "{log}");
}

/// The strictest of several counts, and a policy that changes counts on what is open.
#[test]
fn what_is_only_reported_passes_and_is_counted() {
    let report = policy().detector(&format!("{{name: all, {ALL}, action: Report}}"));
    let world = with(&report);
    let mut agent = world.agent().unwrap();
    let sql = "SELECT t, v FROM found";
    assert_eq!(agent.query(sql).unwrap().texts(), [["pay 4111111111111111 now", EMAIL]]);
    wait::eventually("both are counted", Duration::from_secs(5), || {
        let metrics = world.sidecar.metrics().unwrap();
        ["email_address", "card_number"].iter().all(|kind| {
            metrics.contains(&format!(r#"agentaccess_detected_values_total{{action="report",kind="{kind}"}} 1"#))
        })
    })
    .unwrap();
    let strict = report.detector("{name: cards, find: [CardNumber]}");
    world.sidecar.write(POLICY_FILE, &strict.yaml()).unwrap();
    wait::eventually("the new policy", Duration::from_secs(10), || {
        agent.query(sql).unwrap().texts() == [["pay **************** now", EMAIL]]
    })
    .unwrap();
}

/// A row arrives in as many pieces as the network likes.
#[test]
fn a_value_may_arrive_in_any_pieces() {
    let mut agent = world().agent().unwrap();
    // Each row is longer than one read, so that the card stands at another place of the read each time.
    for step in [0, 1, 7, 8_180, 8_190, 16_370] {
        let mut out = BytesMut::new();
        let sql = format!("SELECT repeat('x ', {step}) || t || repeat(' y', 5000) FROM found, generate_series(1, 20)");
        frontend::query(&sql, &mut out).unwrap();
        agent.send(&out).unwrap();
        let messages = agent.until_ready().unwrap();
        let rows: Vec<_> = messages.iter().filter(|message| message.tag == b'D').collect();
        assert_eq!(rows.len(), 20);
        for row in rows {
            let body = &row.body;
            assert!(!body.windows(CARD.len()).any(|part| part == CARD.as_bytes()), "step {step}");
            assert!(body.windows(CARD.len()).any(|part| part == [b'*'; 16]), "step {step}");
        }
    }
}
