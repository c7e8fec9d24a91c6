//! `kill -9` at each named point, twenty times with plain statements and twenty with pipelines, on one recording.
//!
//! The oracle is the server's log: each statement that ran has its intent in the recording, each that needed an
//! approval has one that was granted before; each recording is read again by the next start, and what was open then
//! ends as `interrupted`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use e2e::postgres::Server;
use e2e::proxy::{ALICE, Setup, Sidecar, binary};
use e2e::recorded::{self, INTACT, UNSIGNED_TAIL};
use e2e::wait::eventually;
use e2e::wire::{Form, Format, Wire};
use e2e::world::{self, Policy, ROLE};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;
use serde_json::{Value, json};

const TIMES: u64 = 20;
/// More statements than any point needs to be passed often enough.
const MOST: u32 = 400;

const RULES: &str = "
          - {name: reads, action: Allow, verbs: [Select], relations: [public.orders, public.items, public.big]}
          - {name: adds, action: Allow, verbs: [Insert], relations: [public.log]}
          - {name: asks, action: RequireApproval, approval: person, verbs: [Delete], relations: [public.items]}
";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Work {
    Statements,
    Pipelines,
    /// One statement that needs an approval.
    Asked,
    /// Three in a pipeline, the second of which needs an approval.
    AskedInPipeline,
    /// Results that fill segments of the recording.
    Bulk,
}

struct Crash {
    server: Server,
    sidecar: Sidecar,
    /// The last unique number used in a statement.
    number: u32,
}

impl Crash {
    fn new() -> Self {
        let server = world::server().unwrap();
        // A row for each number that a statement may delete.
        server.admin("INSERT INTO items SELECT n, 'x' FROM generate_series(1000000, 1003000) n").unwrap();
        let policy = Policy { rules: RULES.to_owned(), ..Policy::default() };
        let config = json!({"limits": {"recordingSegment": 65_536}});
        let setup = Setup { failpoints: true, config: Some(config), ..Setup::default() };
        let sidecar = world::sidecar_with(&server, &policy, setup).unwrap();
        Self { server, sidecar, number: 1_000_000 }
    }

    /// How many operations a start and the beginning of its first session are: those come before the agent's work.
    fn login(&mut self) -> u64 {
        drop(Wire::connect(self.sidecar.port(), &self.sidecar.login()).unwrap());
        self.sidecar.stop();
        let lines = recorded::lines(&self.sidecar.recordings()).unwrap();
        u64::try_from(lines.iter().filter(|line| line["kind"] == "intent").count()).unwrap()
    }

    fn next(&mut self) -> u32 {
        self.number += 1;
        self.number
    }

    /// Starts with the point armed, works until the process is gone, and looks at what it left.
    fn round(&mut self, point: &str, pass: u64, work: Work) {
        let case = format!("{point}:{pass} {work:?}");
        self.sidecar.set_environment(&[("AGENTACCESS_FAILPOINT", &format!("{point}:{pass}"))]);
        match self.sidecar.start_again() {
            Ok(()) => {
                self.work(work, &case);
                let status = self.sidecar.wait(Duration::from_secs(10)).unwrap();
                assert_eq!(status.signal(), Some(9), "{case}: {status}");
            }
            // A start looks at its target through the gate, so it may die of that.
            Err(error) => assert!(format!("{error:#}").contains("SIGKILL"), "{case}: {error:#}"),
        }
        self.left(&case);
    }

    /// What a kill leaves: a recording that is sound, at most with an unsigned tail.
    fn left(&self, case: &str) {
        let verified = self.sidecar.verify(&self.sidecar.recordings(), None).unwrap();
        assert!([INTACT, UNSIGNED_TAIL].contains(&verified.status), "{case}: {verified:?}");
    }

    fn work(&mut self, work: Work, case: &str) {
        let Ok(mut wire) = Wire::connect(self.sidecar.port(), &self.sidecar.login()) else { return };
        for turn in 0..MOST {
            let alive = match work {
                Work::Bulk => {
                    let n = self.next();
                    let sql = format!("SELECT pad, {n} AS m FROM big WHERE id <= 400");
                    finished(wire.query(&sql).ok().and_then(|answer| answer.status))
                }
                Work::Asked => self.asked(&mut wire).is_some(),
                Work::AskedInPipeline => self.asked_in_pipeline(&mut wire).is_some(),
                Work::Statements if turn == 2 => self.asked(&mut wire).is_some(),
                Work::Statements => {
                    let (form, format) = Form::ALL.into_iter().nth(turn as usize % Form::ALL.len()).unwrap();
                    let sql = self.plain(turn);
                    finished(wire.run(form, format, &sql, &[]).ok().and_then(|answer| answer.status))
                }
                Work::Pipelines if turn == 1 => self.asked_in_pipeline(&mut wire).is_some(),
                Work::Pipelines => {
                    let all: Vec<String> = (0..5).map(|n| self.plain(n)).collect();
                    pipeline(&mut wire, &all).is_some()
                }
            };
            if !alive {
                return;
            }
        }
        panic!("{case}: still alive after {MOST} turns");
    }

    fn plain(&mut self, turn: u32) -> String {
        let n = self.next();
        if turn.is_multiple_of(2) {
            format!("SELECT id, {n} AS m FROM orders WHERE id = 1")
        } else {
            format!("INSERT INTO log VALUES ({n}, 'x')")
        }
    }

    /// `None`: it died on the way.
    fn asked(&mut self, wire: &mut Wire) -> Option<()> {
        let n = self.next();
        wire.send_message(b'Q', format!("DELETE FROM items WHERE id = {n}\0").as_bytes()).ok()?;
        let name = self.sidecar.asked(&format!("id = {n}"), Duration::from_secs(5)).ok()?;
        // It may die of the vote.
        let _answer = self.sidecar.vote(ALICE, &name, "approve");
        wire.until_ready().ok()?.last().filter(|last| last.tag == b'Z').map(drop)
    }

    /// A pipeline is never held: it asks, and the same again goes through.
    fn asked_in_pipeline(&mut self, wire: &mut Wire) -> Option<()> {
        let n = self.next();
        let (before, after) = (self.plain(1), self.plain(1));
        let all = [before, format!("DELETE FROM items WHERE id = {n}"), after];
        assert!(pipeline(wire, &all)?.contains(&"PX001".to_owned()), "no PX001 in a pipeline");
        let name = self.sidecar.asked(&format!("id = {n}"), Duration::from_secs(5)).ok()?;
        self.sidecar.vote(ALICE, &name, "approve").ok()?;
        let codes = pipeline(wire, &all)?;
        assert!(codes.is_empty(), "{codes:?}");
        Some(())
    }

    /// After the last crash: what ran against what the recording says.
    fn judge(&mut self) -> Judged {
        self.sidecar.set_environment(&[]);
        self.sidecar.start_again().unwrap();
        let mut wire = Wire::connect(self.sidecar.port(), &self.sidecar.login()).unwrap();
        assert_eq!(wire.query("SELECT id FROM orders WHERE id = 1").unwrap().texts(), [["1"]]);
        drop(wire);
        self.sidecar.stop();
        let idle = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{ROLE}'");
        eventually("the server to be done", Duration::from_secs(10), || self.server.admin(&idle).unwrap() == "0")
            .unwrap();
        let verified = self.sidecar.verify(&self.sidecar.recordings(), None).unwrap();
        assert_eq!(verified.status, INTACT, "{verified:?}");
        judge(&self.server, &recorded::lines(&self.sidecar.recordings()).unwrap())
    }
}

fn finished(status: Option<u8>) -> bool {
    status == Some(b'I')
}

/// Sends the statements with one Sync; the SQLSTATEs that came back, or `None` when the session died.
fn pipeline(wire: &mut Wire, statements: &[String]) -> Option<Vec<String>> {
    let mut out = BytesMut::new();
    for sql in statements {
        let none: [Option<&str>; 0] = [];
        frontend::parse("", sql, [], &mut out).unwrap();
        frontend::bind("", "", [], none, |_: Option<&str>, _: &mut BytesMut| Ok(IsNull::Yes), [0], &mut out)
            .map_err(|_| "these parameters cannot be sent")
            .unwrap();
        frontend::execute("", 0, &mut out).unwrap();
    }
    frontend::sync(&mut out);
    wire.send(&out).ok()?;
    let messages = wire.until_ready().ok()?;
    messages.last().filter(|last| last.tag == b'Z')?;
    Some(messages.iter().filter_map(|message| Some(message.fault()?.sqlstate)).collect())
}

#[derive(Debug)]
struct Judged {
    executed: usize,
    approved: usize,
    interrupted: usize,
}

/// Fails when anything ran that the recording does not tell of before, or without the approval that it needed.
fn judge(server: &Server, lines: &[Value]) -> Judged {
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let op = |line: &Value| (text(line, "session"), text(line, "op"));
    let intents: Vec<(usize, &Value)> = lines.iter().enumerate().filter(|(_, line)| line["kind"] == "intent").collect();
    let approval = |event: &str, intent: &Value, before: usize| {
        lines.iter().take(before).any(|line| {
            line["kind"] == "approval"
                && line["event"] == event
                && line["name"] == intent["approval"]
                && line["digest"] == intent["digest"]
        })
    };

    let mut executed: BTreeMap<String, usize> = BTreeMap::new();
    for one in server.executions() {
        let fetches_on = one.prepared.is_some_and(|name| name.starts_with("fetch from"));
        match number_in(&one.text) {
            Some(number) if !fetches_on => *executed.entry(number).or_default() += 1,
            Some(_) => {}
            // What `Form::Pipelined` sends before.
            None if one.text == FIRST => *executed.entry(FIRST.to_owned()).or_default() += 1,
            // Questions of the sidecar itself, and the last look above.
            None => assert!(
                one.text.contains("pg_catalog.")
                    || ["COMMIT", "SELECT id FROM public.orders WHERE id = 1"].contains(&one.text.as_str())
                    || one.text.starts_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
                "who ran this? {}",
                one.text
            ),
        }
    }
    let mut intents_of: BTreeMap<String, Vec<(usize, &Value)>> = BTreeMap::new();
    for (at, intent) in intents.iter().filter(|(_, intent)| !text(intent, "action").starts_with("PREPARE")) {
        let display = text(intent, "display");
        if let Some(number) = number_in(&display).or_else(|| (display == FIRST).then_some(display)) {
            intents_of.entry(number).or_default().push((*at, intent));
        }
    }
    let mut approved = 0;
    for (number, times) in &executed {
        let of_it = intents_of.get(number).map(Vec::as_slice).unwrap_or_default();
        assert!(of_it.len() >= *times, "{number} ran {times} times and has {} intents", of_it.len());
        let asked = of_it.iter().filter(|(_, intent)| text(intent, "action") == "DELETE");
        for (at, intent) in asked {
            assert!(approval("granted", intent, *at), "{number} was not granted: {intent}");
            assert!(approval("consumed", intent, *at), "{number} was not consumed: {intent}");
            assert_eq!((of_it.len(), *times), (1, 1), "{number} went through more than once");
            approved += 1;
        }
    }
    // Each that was let out ends once; which ones a crash cut off is said.
    let mut ends: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for line in lines.iter().filter(|line| line["kind"] == "outcome") {
        ends.entry(op(line)).or_default().push(text(line, "status"));
    }
    let mut interrupted = 0;
    for (_, intent) in &intents {
        let ends = ends.get(&op(intent)).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(ends.len(), 1, "{intent} ended as {ends:?}");
        interrupted += usize::from(ends == ["interrupted"]);
    }
    let ran: usize = executed.values().sum();
    Judged { executed: ran, approved, interrupted }
}

const FIRST: &str = "SELECT 1";

/// The unique number in a statement of ours.
fn number_in(text: &str) -> Option<String> {
    text.split(|c: char| !c.is_ascii_digit()).find(|part| part.len() == 7).map(str::to_owned)
}

/// Twenty crashes with plain statements and twenty with pipelines, each at a later pass than the one before: some
/// while a session begins, most in the work of the agent. `step` passes belong to one operation.
fn crashes(point: &str, step: u64) -> Judged {
    let mut crash = Crash::new();
    let login = crash.login();
    for time in 0..TIMES {
        crash.round(point, (login - 3 + 2 * time) * step, Work::Statements);
        crash.round(point, (login + 1 + time) * step + time % step, Work::Pipelines);
    }
    let judged = crash.judge();
    println!("{point}: {judged:?}");
    assert!(judged.executed > 200 && judged.approved > 10, "{point}: {judged:?}");
    judged
}

#[test]
fn after_decide() {
    crashes("after_decide", 1);
}

#[test]
fn before_intent() {
    crashes("before_intent", 1);
}

#[test]
fn after_intent() {
    let judged = crashes("after_intent", 1);
    assert!(judged.interrupted >= 40, "{judged:?}");
}

#[test]
fn between_intent_and_send() {
    let judged = crashes("between_intent_and_send", 1);
    assert!(judged.interrupted >= 40, "{judged:?}");
}

#[test]
fn mid_send() {
    let judged = crashes("mid_send", 7);
    assert!(judged.interrupted >= 20, "{judged:?}");
}

#[test]
fn before_outcome() {
    let judged = crashes("before_outcome", 1);
    assert!(judged.interrupted >= 40, "{judged:?}");
}

#[test]
fn approval_consumed() {
    let mut crash = Crash::new();
    for _ in 0..TIMES {
        crash.round("approval_consumed", 1, Work::Asked);
        crash.round("approval_consumed", 1, Work::AskedInPipeline);
    }
    let judged = crash.judge();
    // Used up, and neither recorded as let out nor sent.
    assert_eq!(crash.server.executed_with("DELETE"), 0);
    let consumed = recorded::lines(&crash.sidecar.recordings()).unwrap();
    let consumed = consumed.iter().filter(|line| line["event"] == "consumed").count();
    assert_eq!((consumed, judged.approved), (2 * 20, 0), "{judged:?}");
}

#[test]
fn mid_rotate() {
    let mut crash = Crash::new();
    for time in 0..TIMES {
        // The first three passes are those of the segment that each start makes; each further statement or two are one
        // segment, which is three passes.
        crash.round("mid_rotate", 4 + time, Work::Bulk);
    }
    for pass in 1..=3 {
        crash.sidecar.set_environment(&[("AGENTACCESS_FAILPOINT", &format!("mid_rotate:{pass}"))]);
        assert_eq!(crash.sidecar.run_to_end().unwrap().signal(), Some(9), "at start, pass {pass}");
        crash.left(&format!("at start, pass {pass}"));
    }
    let judged = crash.judge();
    println!("mid_rotate: {judged:?}");
    assert!(judged.executed > 40, "{judged:?}");
}

/// No point at all: three sessions work, and the kill comes when it comes.
#[test]
fn at_any_moment() {
    let mut crash = Crash::new();
    crash.sidecar.set_environment(&[]);
    let number = AtomicU32::new(1_500_000);
    for time in 0..20_u32 {
        crash.sidecar.start_again().unwrap();
        let (port, login) = (crash.sidecar.port(), crash.sidecar.login());
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let Ok(mut wire) = Wire::connect(port, &login) else { return };
                    let insert = || {
                        let n = number.fetch_add(1, Ordering::Relaxed);
                        format!("INSERT INTO log VALUES ({n}, 'x')")
                    };
                    while pipeline(&mut wire, &[insert(), insert()]).is_some() {
                        if !finished(wire.query(&insert()).ok().and_then(|answer| answer.status)) {
                            return;
                        }
                    }
                });
            }
            // From within the login to well into the work, a little off any statement's end.
            let begun = number.load(Ordering::Relaxed);
            let enough = begun + time * 4;
            eventually("the sessions to work", Duration::from_secs(20), || number.load(Ordering::Relaxed) >= enough)
                .unwrap();
            thread::sleep(Duration::from_micros(u64::from(time) * 733 % 9000));
            crash.sidecar.kill9();
        });
        crash.left(&format!("kill {time}"));
    }
    let judged = crash.judge();
    println!("at any moment: {judged:?}");
    assert!(judged.executed > 300 && judged.interrupted >= 10, "{judged:?}");
}

#[test]
fn the_shipped_program_has_no_failpoints() {
    const VARIABLE: &[u8] = b"AGENTACCESS_FAILPOINT";
    let holds = |name: &str| {
        let program = std::fs::read(binary(name).unwrap()).unwrap();
        program.windows(VARIABLE.len()).any(|window| window == VARIABLE)
    };
    assert!(holds(e2e::proxy::FAILPOINTS));
    assert!(!holds(e2e::proxy::SIDECAR));

    let server = world::server().unwrap();
    let mut sidecar = world::sidecar(&server, &Policy::default()).unwrap();
    for point in ["after_decide", "before_intent", "after_intent", "mid_send", "before_outcome", "mid_rotate"] {
        sidecar.set_environment(&[("AGENTACCESS_FAILPOINT", point)]);
        sidecar.start_again().unwrap();
        let mut wire = Wire::connect(sidecar.port(), &sidecar.login()).unwrap();
        let answer = wire.run(Form::Extended, Format::Text, "SELECT id FROM orders WHERE id = 1", &[]).unwrap();
        assert_eq!(answer.texts(), [["1"]], "{point}");
    }
}
