//! What the real gate does, in the order in which it does it, is what the model can do: over statements, pipelines,
//! approvals, changes of policy, and a `kill -9` at each of its points.
//!
//! The sidecar built for crash tests writes the points that it passes and each line of its recording into one file.
//! The same traces with one step taken away or doubled are refused, or this test would see nothing.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::postgres::Server;
use e2e::proxy::{ALICE, Setup, Sidecar};
use e2e::wait::eventually;
use e2e::wire::{Form, Wire};
use e2e::world::{self, Policy};
use model::trace::{Doing, Event, Replayed, replay};
use model::{Outcome, Registry, Verdict};
use serde_json::Value;
use tempfile::TempDir;

const READS: &str = "{name: reads, action: Allow, verbs: [Select], relations: [public.orders, public.items]}";
const ADDS: &str = "{name: adds, action: Allow, verbs: [Insert], relations: [public.log]}";
const ADDS_ASK: &str =
    "{name: adds, action: RequireApproval, approval: person, verbs: [Insert], relations: [public.log]}";
const NO_ADDS: &str = "{name: adds, action: Deny, verbs: [Insert], relations: [public.log]}";
const ASKS: &str =
    "{name: asks, action: RequireApproval, approval: person, verbs: [Delete], relations: [public.items]}";
const POINTS: [&str; 6] =
    ["after_decide", "before_intent", "after_intent", "between_intent_and_send", "approval_consumed", "before_outcome"];
const SOON: Duration = Duration::from_secs(5);

fn policy(rules: &[&str]) -> Policy {
    let rules = rules.iter().map(|rule| format!("\n          - {rule}")).collect();
    Policy { rules, ..Policy::default() }
}

struct Watched {
    /// It ends with this.
    _server: Server,
    sidecar: Sidecar,
    traces: TempDir,
    lives: usize,
    number: u32,
    events: Vec<Event>,
    internal: BTreeSet<String>,
}

impl Watched {
    fn new() -> Self {
        let server = world::server().unwrap();
        let setup = Setup { failpoints: true, ..Setup::default() };
        let sidecar = world::sidecar_with(&server, &policy(&[READS, ADDS, ASKS]), setup).unwrap();
        let (traces, events) = (tempfile::tempdir().unwrap(), Vec::new());
        Self { _server: server, sidecar, traces, lives: 0, number: 1_000_000, events, internal: BTreeSet::new() }
    }

    fn next(&mut self) -> u32 {
        self.number += 1;
        self.number
    }

    fn file(&self) -> PathBuf {
        self.traces.path().join(self.lives.to_string())
    }

    /// Another life of the process. Says whether it came up: a start looks at its target through the gate, too.
    fn start(&mut self, failpoint: Option<&str>) -> bool {
        self.lives += 1;
        let file = self.file().display().to_string();
        let mut environment = vec![("AGENTACCESS_TRACE", file.as_str())];
        environment.extend(failpoint.map(|point| ("AGENTACCESS_FAILPOINT", point)));
        self.sidecar.set_environment(&environment);
        self.sidecar.start_again().is_ok()
    }

    /// Ends this life, and takes down what it did.
    fn end(&mut self) {
        self.sidecar.kill9();
        self.sidecar.stop();
        let text = fs::read_to_string(self.file()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let policy = lines.iter().find(|line| line["step"] == "policy_starts").map(|line| word(line, "revision"));
        self.events.push(Event::Started { policy: policy.unwrap() });
        for line in &lines {
            let event = self.event(line);
            self.events.extend(event);
        }
        self.events.push(Event::Killed);
    }

    fn event(&mut self, line: &Value) -> Option<Event> {
        let op = match line["step"].is_null() {
            true => format!("{}/{}", word(line, "session"), word(line, "op")),
            false => word(line, "op"),
        };
        if line["internal"] == true {
            self.internal.insert(op.clone());
        }
        let revision = || word(line, "revision");
        match line["step"].as_str().or_else(|| line["kind"].as_str())? {
            "policy_begins" => Some(Event::PolicyBegins { revision: revision() }),
            "policy_ends" => Some(Event::PolicyEnds { revision: revision() }),
            "approval" => approval(line),
            // Those of our own are decided by no policy.
            _ if self.internal.contains(&op) => None,
            "after_decide" => {
                let session = op.split('/').next().unwrap().to_owned();
                let (digest, planned) = (word(line, "digest"), word(line, "planned"));
                let doing = match word(line, "stage").as_str() {
                    "prepare" => Doing::Prepare,
                    "plan" => Doing::Plan,
                    "run" => Doing::Run,
                    "continue" => Doing::Continue { request: word(line, "continues") },
                    other => panic!("what is {other}?"),
                };
                let verdict = match word(line, "verdict").as_str() {
                    "allow" => Some(Verdict::Allow),
                    "ask" => Some(Verdict::Ask),
                    "deny" => Some(Verdict::Deny),
                    _ => None,
                };
                Some(Event::Decided { session, op, digest, doing, planned, revision: revision(), verdict })
            }
            "approval_consumed" => Some(Event::Used { op }),
            "before_intent" => Some(Event::Ready { op }),
            "intent" => Some(Event::Intent { op }),
            "after_intent" => Some(Event::Permitted { op }),
            "between_intent_and_send" => Some(Event::Sending { op }),
            "before_outcome" => Some(Event::Finishing { op }),
            "outcome" => {
                let outcome = match word(line, "status").as_str() {
                    "unknown" => Outcome::Unknown,
                    "not_sent" => Outcome::NotSent,
                    "interrupted" => Outcome::Interrupted,
                    _ => Outcome::Finished,
                };
                Some(Event::Ended { op, outcome })
            }
            _ => None,
        }
    }

    /// Reads, changes and questions in each form, until the process dies or all is done.
    fn work(&mut self, turns: u32) -> Result<()> {
        let mut wire = Wire::connect(self.sidecar.port(), &self.sidecar.login())?;
        for turn in 0..turns {
            let (form, format) = Form::ALL.into_iter().nth(turn as usize % Form::ALL.len()).unwrap();
            let n = self.next();
            for sql in
                [format!("SELECT id, {n} AS m FROM orders WHERE id = 1"), format!("INSERT INTO log VALUES ({n}, 'x')")]
            {
                wire.run(form, format, &sql, &[])?.status.context(sql)?;
            }
            wire.query(&format!("DELETE FROM orders WHERE id = {n}"))?.status.context("refused")?;
            self.asked(&mut wire, if turn % 3 == 2 { "deny" } else { "approve" })?;
        }
        Ok(())
    }

    /// A question that is held, and its answer.
    fn asked(&mut self, wire: &mut Wire, vote: &str) -> Result<()> {
        let n = self.next();
        wire.send_message(b'Q', format!("DELETE FROM items WHERE id = {n}\0").as_bytes())?;
        let name = self.sidecar.asked(&format!("id = {n}"), SOON)?;
        let _answer = self.sidecar.vote(ALICE, &name, vote);
        wire.until_ready()?.last().filter(|last| last.tag == b'Z').map(drop).context("no ReadyForQuery")
    }

    /// Another policy, in force, while a session goes on; what was asked under the one before is not released by it.
    fn change(&mut self, rules: &[&str]) {
        let mut wire = Wire::connect(self.sidecar.port(), &self.sidecar.login()).unwrap();
        let n = self.next();
        wire.send_message(b'Q', format!("DELETE FROM items WHERE id = {n}\0").as_bytes()).unwrap();
        let name = self.sidecar.asked(&format!("id = {n}"), SOON).unwrap();
        let ends = |text: &str| text.matches("policy_ends").count();
        let before = ends(&fs::read_to_string(self.file()).unwrap());
        self.sidecar.write(world::POLICY_FILE, &policy(rules).yaml()).unwrap();
        eventually("the policy to change", SOON, || ends(&fs::read_to_string(self.file()).unwrap()) > before).unwrap();
        let _answer = self.sidecar.vote(ALICE, &name, "approve");
        // It is planned again, and asks again, until the hold is over or the agent hangs up.
        drop(wire);
    }
}

fn word(line: &Value, field: &str) -> String {
    line[field].as_str().unwrap_or_default().to_owned()
}

fn approval(line: &Value) -> Option<Event> {
    let (request, digest) = (word(line, "name"), word(line, "digest"));
    Some(match line["event"].as_str()? {
        "requested" => Event::Requested { request, digest },
        "granted" => Event::Granted { request },
        "denied" => Event::Denied { request },
        "expired" => Event::Expired { request },
        "withdrawn" => Event::Withdrawn { request },
        "consumed" => Event::Consumed { request, digest },
        _ => return None,
    })
}

fn followed(events: &[Event]) -> Replayed {
    let replayed = replay(Registry::Inside, events);
    let replayed = replayed.unwrap_or_else(|refused| {
        let from = refused.at.saturating_sub(12);
        panic!("the model does not follow: {refused:?}\nbefore it: {:#?}", events.get(from..refused.at))
    });
    println!("{replayed:?}");
    replayed
}

#[test]
fn killed_at_each_point_the_gate_does_what_the_model_can_do() {
    let mut watched = Watched::new();
    assert!(watched.start(None));
    watched.work(3).unwrap();
    watched.end();
    for point in POINTS {
        for pass in [1, 4, 9, 16, 25] {
            // The first are those of the sidecar's own reading of the catalog.
            let pass = if point == "approval_consumed" { 1 } else { pass + 11 };
            if watched.start(Some(&format!("{point}:{pass}"))) {
                assert!(watched.work(20).is_err(), "{point}:{pass}: still alive");
            }
            watched.end();
        }
    }
    assert!(watched.start(None));
    watched.work(1).unwrap();
    watched.end();
    let replayed = followed(&watched.events);
    assert!(replayed.sent > 100 && replayed.approved > 10 && replayed.interrupted >= 10, "{replayed:?}");
    one_step_more_or_less_is_refused(&watched.events);
}

/// The trace is worth something: each step that a promise hangs on has to be there, and once.
fn one_step_more_or_less_is_refused(events: &[Event]) {
    let hangs = |event: &Event| {
        matches!(event, Event::Intent { .. } | Event::Consumed { .. } | Event::Granted { .. } | Event::Permitted { .. })
    };
    let mut sent = events.iter().enumerate().filter_map(|(at, event)| match event {
        Event::Sending { op } => Some((at, op)),
        _ => None,
    });
    let places: Vec<usize> = events.iter().enumerate().filter(|(_, event)| hangs(event)).map(|(at, _)| at).collect();
    for at in places.iter().step_by(places.len() / 40).copied() {
        let mut doubled = events.to_vec();
        let again = events.get(at).unwrap().clone();
        doubled.insert(at, again.clone());
        assert!(replay(Registry::Inside, &doubled).is_err(), "{again:?} twice");
        let goes_on = match &again {
            Event::Intent { op } | Event::Permitted { op } => sent.any(|(_, other)| other == op),
            _ => false,
        };
        if goes_on {
            let mut less = events.to_vec();
            less.remove(at);
            assert!(replay(Registry::Inside, &less).is_err(), "without {again:?}");
        }
    }
}

#[test]
fn under_changing_policies_the_gate_does_what_the_model_can_do() {
    let mut watched = Watched::new();
    assert!(watched.start(None));
    let sets: [&[&str]; 4] =
        [&[READS, ADDS_ASK, ASKS], &[READS, NO_ADDS, ASKS], &[READS, ADDS, ASKS], &[READS, ADDS_ASK, ASKS]];
    for rules in sets {
        watched.work(1).unwrap();
        watched.change(rules);
    }
    watched.end();
    let replayed = followed(&watched.events);
    assert!(replayed.sent > 15 && replayed.approved >= 3, "{replayed:?}");
}
