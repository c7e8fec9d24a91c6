//! Networks that cut, slow, split and swallow, on both sides of the sidecar. The oracle is the server's log beside the recording.
//!
//! Nothing that a network does makes an operation run without its intent on record, changes what an answer is, or keeps a
//! session or its memory for ever.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::network::{Network, Trouble, Troubles};
use e2e::objects;
use e2e::postgres::Server;
use e2e::proxy::{Listener, Setup, Sidecar};
use e2e::recorded;
use e2e::usage;
use e2e::wait::eventually;
use e2e::wire::{Form, Format, Wire, message};
use e2e::world::{self, POLICY_FILE, Policy, ROLE, ROLE_PASSWORD};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);

/// An agent's way to the sidecar and the sidecar's way to the server, both through a network.
struct Around {
    agents: Network,
    sidecar: Sidecar,
    servers: Network,
    server: Server,
}

impl Around {
    fn new(limits: &serde_json::Value) -> Self {
        let server = world::server().unwrap();
        let servers = Network::to(server.port()).unwrap();
        let objects = objects::target_at("db", "localhost", servers.port(), Some(server.ca()), ROLE, ROLE_PASSWORD);
        let config = Some(json!({ "limits": limits }));
        let listeners = vec![Listener::scram("db")];
        let mut sidecar = Sidecar::prepare(&Setup { objects, listeners, config, ..Setup::default() }).unwrap();
        sidecar.write(POLICY_FILE, &Policy::default().yaml()).unwrap();
        sidecar.start_again().unwrap();
        let agents = Network::to(sidecar.port()).unwrap();
        Self { agents, sidecar, servers, server }
    }

    fn agent(&self) -> anyhow::Result<Wire> {
        Wire::connect(self.agents.port(), &self.sidecar.login())
    }

    /// Every insert that the server ran has its intent in the recording, which verifies.
    fn nothing_ran_unrecorded(&mut self) {
        self.sidecar.stop();
        let folder = self.sidecar.recordings();
        let verified = self.sidecar.verify(&folder, None).unwrap();
        assert_eq!(verified.status, recorded::INTACT, "{}", verified.text);
        let intents = recorded::lines(&folder).unwrap().iter().filter(|line| is_insert(line)).count();
        let ran = self.server.executed_with("INSERT INTO");
        assert!(ran > 0 && intents >= ran, "{ran} ran, {intents} intents");
    }
}

fn is_insert(line: &serde_json::Value) -> bool {
    let is = |field: &str, value: &str| line.get(field).and_then(|v| v.as_str()) == Some(value);
    is("kind", "intent") && is("action", "INSERT")
}

/// Rows, tags and the SQLSTATE of one answer.
type Told = (Vec<Vec<Option<Bytes>>>, Vec<String>, String);

/// Statements of many forms, and what they answer.
fn answers(wire: &mut Wire) -> Vec<Told> {
    let mut all = Vec::new();
    for sql in [
        "SELECT id, note FROM orders ORDER BY id LIMIT 30",
        "SELECT email, ssn, pin FROM customers ORDER BY id",
        "COPY (SELECT id, ssn FROM customers ORDER BY id) TO STDOUT",
        "SELECT 1 / 0",
        "DROP TABLE orders",
        "INSERT INTO log VALUES (1, 'x') ON CONFLICT DO NOTHING",
    ] {
        for (form, format) in [(Form::Simple, Format::Text), (Form::Extended, Format::Binary)] {
            let answer = wire.run(form, format, sql, &[]).unwrap();
            all.push((answer.rows.clone(), answer.tags.clone(), answer.sqlstate().to_owned()));
        }
    }
    all
}

#[test]
fn bytes_one_by_one_and_late_mean_the_same() {
    let around = Around::new(&json!({}));
    answers(&mut around.agent().unwrap());
    let plain = answers(&mut around.agent().unwrap());
    for trouble in [Trouble::Sliced, Trouble::Late(Duration::from_millis(20))] {
        let troubles = Troubles { there: trouble, back: trouble };
        around.agents.set(troubles);
        around.servers.set(troubles);
        assert_eq!(answers(&mut around.agent().unwrap()), plain, "{trouble:?}");
    }
}

#[test]
fn a_reset_at_any_byte_leaves_nothing_unrecorded_and_nobody_waiting() {
    let mut around = Around::new(&json!({}));
    // The catalog is known, so that what is cut is the session's own connection.
    let base = usage::of(around.sidecar.pid().unwrap()).unwrap().descriptors;
    assert!(!answers(&mut around.agent().unwrap()).is_empty());
    let mut number = 100;
    let mut through = 0;
    for side in ["agents", "servers"] {
        for back in [false, true] {
            for at in [1, 8, 60, 300, 700, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 5000, 7000] {
                let cut = Trouble::Reset(at);
                let troubles = match back {
                    true => Troubles { there: Trouble::None, back: cut },
                    false => Troubles { there: cut, back: Trouble::None },
                };
                around.agents.set(if side == "agents" { troubles } else { Troubles::NONE });
                around.servers.set(if side == "servers" { troubles } else { Troubles::NONE });
                let begun = Instant::now();
                if let Ok(mut wire) = around.agent() {
                    for _ in 0..10 {
                        number += 1;
                        let insert = format!("INSERT INTO log VALUES ({number}, 'x')");
                        if wire.query(&insert).is_ok_and(|answer| answer.tags == ["INSERT 0 1"]) {
                            through += 1;
                        } else {
                            break;
                        }
                    }
                }
                assert!(begun.elapsed() < SOON, "{side} {troubles:?}: {:?}", begun.elapsed());
            }
        }
    }
    around.agents.set(Troubles::NONE);
    around.servers.set(Troubles::NONE);
    assert!(through > 20, "{through}");
    assert_eq!(around.agent().unwrap().query("SELECT id FROM orders WHERE id = 1").unwrap().fault, None);
    let pid = around.sidecar.pid().unwrap();
    eventually("all sessions to be over", SOON, || usage::of(pid).unwrap().descriptors <= base).unwrap();
    // What an agent was told is kept; what is kept was on record.
    let kept: usize = around.server.admin("SELECT count(*) FROM log WHERE id > 100").unwrap().trim().parse().unwrap();
    assert!(kept >= through, "{kept} kept, {through} told");
    around.nothing_ran_unrecorded();
}

#[test]
fn a_target_that_falls_silent_holds_nobody() {
    let mut around = Around::new(&json!({"upstreamConnect": "2s"}));
    let pid = around.sidecar.pid().unwrap();
    let base = usage::of(pid).unwrap().descriptors;
    assert!(!answers(&mut around.agent().unwrap()).is_empty());
    // In the handshake, in the login: the agent hears of it in time.
    for at in [0, 1, 100, 800, 1400] {
        around.servers.set(Troubles { there: Trouble::None, back: Trouble::Silent(at) });
        let begun = Instant::now();
        let error = around.agent().err().unwrap();
        assert!(format!("{error:#}").contains("08001"), "{at}: {error:#}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{at}: {:?}", begun.elapsed());
    }
    // In an answer: nobody else waits, and the agent that goes leaves nothing behind.
    around.servers.set(Troubles { there: Trouble::None, back: Trouble::Silent(20_000) });
    let mut stuck = around.agent().unwrap();
    stuck.within(Duration::from_secs(2)).unwrap();
    assert!(stuck.query("SELECT a.note, b.note FROM orders a CROSS JOIN orders b").is_err());
    around.servers.set(Troubles::NONE);
    let mut wire = around.agent().unwrap();
    assert_eq!(wire.query("INSERT INTO log VALUES (1, 'y') ON CONFLICT DO NOTHING").unwrap().fault, None);
    drop((stuck, wire));
    // What was under way may still end for half a minute.
    eventually("both sessions to be over", Duration::from_secs(60), || usage::of(pid).unwrap().descriptors <= base)
        .unwrap();
    around.nothing_ran_unrecorded();
}

/// PostgreSQL answers no cancel request, so the agent would wait for the end of its statement.
#[test]
fn a_cancel_request_that_does_not_arrive_is_made_again() {
    let around = Around::new(&json!({}));
    let mut wire = around.agent().unwrap();
    wire.within(Duration::from_secs(10)).unwrap();
    for turn in 1..=2 {
        let long = "SELECT count(*) FROM generate_series(1, 100000) a CROSS JOIN generate_series(1, 100000) b\0";
        wire.send_message(b'Q', long.as_bytes()).unwrap();
        let runs = || around.server.executed_with("generate_series(1, 100000) b") == turn;
        eventually("it to run", SOON, runs).unwrap();
        around.servers.set(Troubles { there: Trouble::Reset(1), back: Trouble::None });
        wire.cancel(around.sidecar.port()).unwrap();
        eventually("an attempt to fail", SOON, || {
            around.sidecar.log().matches("cancel request not delivered").count() >= turn
        })
        .unwrap();
        around.servers.set(Troubles::NONE);
        let answer = wire.until_ready().unwrap();
        assert!(
            answer.iter().any(|message| message.fault().is_some_and(|fault| fault.sqlstate == "57014")),
            "{answer:?}"
        );
        // It is over, and what follows is not hit.
        assert_eq!(wire.query("SELECT count(*) FROM generate_series(1, 3000000)").unwrap().texts(), [["3000000"]]);
    }
}

/// However often it was asked for: what comes next is another statement.
#[test]
fn a_cancel_request_that_comes_too_late_hits_nothing_else() {
    let around = Around::new(&json!({}));
    let mut wire = around.agent().unwrap();
    wire.send_message(b'Q', b"SELECT count(*) FROM generate_series(1, 9000000)\0").unwrap();
    eventually("it to run", SOON, || around.server.executed_with("9000000") == 1).unwrap();
    around.servers.set(Troubles { there: Trouble::Reset(1), back: Trouble::None });
    for asked in 1..=2 {
        wire.cancel(around.sidecar.port()).unwrap();
        let failed = || around.sidecar.log().matches("cancel request not delivered").count() >= asked;
        eventually("an attempt to fail", SOON, failed).unwrap();
    }
    let answer = wire.until_ready().unwrap();
    assert!(answer.iter().all(|message| message.fault().is_none()), "{answer:?}");
    around.servers.set(Troubles::NONE);
    for _ in 0..3 {
        let next = wire.query("SELECT count(*) FROM generate_series(1, 9000000)").unwrap();
        assert_eq!(next.texts(), [["9000000"]], "{:?}", next.fault);
    }
}

/// More than there is room for, none of which says a word.
#[test]
fn a_thousand_silent_connections_go_by_themselves() {
    // Many a container begins with so few descriptors; the sidecar takes what it may.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(512), ..files }).unwrap();
    let around = Around::new(&json!({"handshake": "5s", "connections": 1000}));
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
    let pid = around.sidecar.pid().unwrap();
    let mut wire = around.agent().unwrap();
    let before = usage::of(pid).unwrap();
    let silent: Vec<TcpStream> =
        (0..1000).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, around.sidecar.port())).unwrap()).collect();
    eventually("all of them to be taken", SOON, || usage::of(pid).unwrap().descriptors > before.descriptors + 900)
        .unwrap();
    // Who is there works on.
    assert_eq!(wire.query("SELECT id FROM orders WHERE id = 1").unwrap().fault, None);
    let during = usage::of(pid).unwrap().rss_kib;
    assert!(during < before.rss_kib + 64 * 1024, "{} KiB, then {during}", before.rss_kib);
    // They are shown the door; somebody new comes in while all of them still stand before it.
    eventually("somebody new to come in", SOON, || {
        Wire::connect(around.sidecar.port(), &around.sidecar.login()).is_ok()
    })
    .unwrap();
    eventually("their places to be free", SOON, || usage::of(pid).unwrap().descriptors < before.descriptors + 20)
        .unwrap();
    drop(silent);
}

/// 10^6 messages of five bytes, not one answer of which is read meanwhile.
#[test]
fn a_million_tiny_messages_take_no_memory() {
    let around = Around::new(&json!({}));
    let pid = around.sidecar.pid().unwrap();
    let mut wire = around.agent().unwrap();
    assert_eq!(wire.query("SELECT id FROM orders WHERE id = 1").unwrap().fault, None);
    wire.within(Duration::from_secs(240)).unwrap();
    let before = usage::of(pid).unwrap();
    // A batch has at most 1,024 messages.
    let mut batch = message(b'H', b"").unwrap().repeat(999);
    batch.extend(message(b'S', b"").unwrap());
    let ten = batch.repeat(10);
    for _ in 0..100 {
        wire.send(&ten).unwrap();
    }
    for _ in 0..1_000 {
        assert_eq!(wire.until_ready().unwrap().len(), 1);
    }
    assert_eq!(wire.query("SELECT id FROM orders WHERE id = 1").unwrap().fault, None);
    let after = usage::of(pid).unwrap();
    assert!(after.peak_kib < before.peak_kib + 4 * 1024, "{} KiB, then {}", before.peak_kib, after.peak_kib);
}

/// A part of a message, and never the rest: a session that stands idle, not one that grows.
#[test]
fn what_is_announced_and_does_not_come_is_not_reserved() {
    let around = Around::new(&json!({}));
    let pid = around.sidecar.pid().unwrap();
    let before = usage::of(pid).unwrap().rss_kib;
    let mut all = Vec::new();
    for _ in 0..50 {
        let mut wire = around.agent().unwrap();
        // A Query of a megabyte, of which the first bytes come.
        wire.send(&[b'Q', 0, 0x0f, 0xff, 0xff, b'S', b'E', b'L']).unwrap();
        all.push(wire);
    }
    std::thread::sleep(Duration::from_secs(1));
    let after = usage::of(pid).unwrap().rss_kib;
    assert!(after < before + 50 * 256, "{before} KiB, then {after}");
    // Somebody who is no Postgres client at all.
    let mut stranger = TcpStream::connect((Ipv4Addr::LOCALHOST, around.sidecar.port())).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!(around.agent().unwrap().query("SELECT id FROM orders WHERE id = 1").unwrap().fault, None);
}
