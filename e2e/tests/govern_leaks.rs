//! Everything that we know to try against a mask, through the real sidecar in every form of the protocol; and that ordinary
//! work under masks is not refused. The oracle is bytes: no message holds a masked value, as text, turned round, in hex,
//! in base64, or as the number that it is.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "govern_leaks/needles.rs"]
mod needles;

use std::collections::BTreeMap;

use bytes::Bytes;
use e2e::postgres::{Options, Server};
use e2e::proxy::Setup;
use e2e::wire::{Answer, Form, Format, Shape, Wire};
use e2e::world::{self, Policy, ROLE, ROLE_PASSWORD, World};
use needles::{Needle, needles};

const SCHEMA: [&str; 2] = [
    include_str!("../../crates/pgsql/tests/data/schema.sql"),
    include_str!("../../crates/pgsql/tests/data/reached.sql"),
];
/// The statements that the classification is tested with, and more of them.
const ATTACKS: [&str; 2] =
    [include_str!("../../crates/pgsql/tests/data/canary.sql"), include_str!("govern_leaks/attacks.sql")];
const SESSIONS: &str = include_str!("govern_leaks/sessions.sql");
const ORDINARY: &str = include_str!("govern_leaks/ordinary.sql");
const CAUTIOUS: &str = include_str!("govern_leaks/cautious.sql");

/// The target itself would give it everything.
const GRANTS: [&str; 7] = [
    "ALL ON SCHEMA public, app, other",
    "ALL ON ALL TABLES IN SCHEMA public, app, other",
    "ALL ON ALL SEQUENCES IN SCHEMA public, app, other",
    "ALL ON ALL FUNCTIONS IN SCHEMA public, app, other",
    "CREATE, TEMPORARY ON DATABASE app",
    "pg_read_all_stats",
    "pg_read_all_settings",
];
/// As wide as rules can be without a person; what is left is up to the masks.
const RULES: &str = "
          - {name: all, action: Allow, verbs: [Select, Insert, Update, Delete, Listen, Notify], relations: ['*.*']}
";
const MASKS: &str = "
          - {name: email, columns: [public.users.email], method: Partial}
          - {name: people, columns: [public.users.ssn, public.users.born, public.users.salary, public.users.doc], method: Redact}
          - {name: tags, columns: [public.users.tags, public.people.mail], method: Partial}
          - {name: events, columns: [app.events.secret, public.base.secret], method: Redact}
          - {name: odd, columns: ['public.Odd*.select', 'app.typed.*'], method: Redact}
          - {name: reached, columns: [public.people.ssn, public.people.added, public.cards.c, public.cards.cs], method: Redact}
";
const TWO_MASKS: &str = "
          - {name: email, columns: [public.users.email], method: Partial}
          - {name: ssn, columns: [public.users.ssn], method: Redact}
";

fn world(masks: &str) -> World {
    let server = Server::start(Options::default()).unwrap();
    for part in SCHEMA {
        server.admin(part).unwrap();
    }
    server.role(ROLE, ROLE_PASSWORD, &GRANTS).unwrap();
    let policy =
        Policy { approvals: String::new(), rules: RULES.to_owned(), masks: masks.to_owned(), ..Policy::default() };
    let sidecar = world::sidecar_with(&server, &policy, Setup::default()).unwrap();
    World { sidecar, server }
}

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("--"))
}

/// One session after another: one that was closed for what it did is made anew.
struct Agent<'a> {
    world: &'a World,
    wire: Wire,
}

impl<'a> Agent<'a> {
    fn new(world: &'a World) -> Self {
        Self { world, wire: world.agent().unwrap() }
    }

    fn run(&mut self, (form, format): Shape, sql: &str) -> Answer {
        let answer = self.wire.run(form, format, sql, &[]).unwrap();
        if answer.status.is_none() {
            self.wire = self.world.agent().unwrap();
        }
        answer
    }

    fn say(&mut self, sql: &str) -> Answer {
        self.run((Form::Simple, Format::Text), sql)
    }
}

/// A needle that stands in the answer, unless the agent wrote it itself.
fn found(sql: &str, answer: &Answer, needles: &[Needle]) -> Option<String> {
    let hit = needles
        .iter()
        .find(|needle| !needle.is_in(sql.as_bytes()) && answer.messages.iter().any(|one| needle.is_in(&one.body)));
    hit.map(|needle| format!("{needle:?}: {:?}", answer.messages))
}

#[test]
fn no_form_of_any_attack_shows_a_masked_value() {
    let (world, needles) = (world(MASKS), needles());
    let mut agent = Agent::new(&world);
    let (mut leaks, mut answered, mut why) = (Vec::new(), BTreeMap::new(), BTreeMap::<String, usize>::new());
    let all: Vec<&str> = ATTACKS.into_iter().flat_map(lines).collect();
    for sql in &all {
        for shape in Form::ALL {
            agent.say("BEGIN");
            let answer = agent.run(shape, sql);
            let fetched = agent.say("FETCH ALL FROM c");
            agent.say("ROLLBACK");
            leaks.extend(
                [answer.clone(), fetched]
                    .iter()
                    .filter_map(|one| found(sql, one, &needles))
                    .map(|leak| format!("{sql} {shape:?}\n{leak}")),
            );
            *answered.entry(*sql).or_insert(0) += usize::from(answer.fault.is_none());
            *why.entry(answer.sqlstate().to_owned()).or_default() += 1;
        }
    }
    assert!(leaks.is_empty(), "{} leaks\n{}", leaks.len(), leaks.join("\n\n"));
    let ran = answered.values().filter(|count| **count > 0).count();
    println!("{} attacks, {ran} of them were answered; by SQLSTATE: {why:?}", all.len());
    assert!(all.len() >= 400 && ran >= 150, "{} attacks, {ran} answered: this proves little", all.len());
}

#[test]
fn no_session_shows_a_masked_value() {
    let (world, needles) = (world(MASKS), needles());
    let sessions: Vec<&str> = SESSIONS.split("\n\n").filter(|session| lines(session).next().is_some()).collect();
    for session in &sessions {
        for shape in Form::ALL {
            let mut agent = Agent::new(&world);
            for sql in lines(session) {
                let answer = agent.run(shape, sql);
                let leak = found(sql, &answer, &needles);
                assert!(leak.is_none(), "{session}\n{sql} {shape:?}\n{leak:?}");
            }
        }
        // The next one finds what this one found.
        let left = world.server.admin("SELECT count(*) FROM public.users").unwrap();
        assert_eq!(left, "3", "{session}");
    }
    assert!(sessions.len() >= 20, "{}", sessions.len());
}

#[test]
fn ordinary_work_is_not_refused_and_is_answered_as_ever() {
    let world = world(TWO_MASKS);
    let mut agent = Agent::new(&world);
    let mut native = world.native().unwrap();
    let (mut wrong, mut total, mut same) = (Vec::new(), 0, 0);
    for sql in lines(ORDINARY) {
        total += 1;
        // The snapshot of a catalog names no schema path: what the role has is what the sidecar pins.
        let direct = native.run(Form::Extended, Format::Text, sql, &[]).unwrap();
        assert_eq!(direct.fault, None, "{sql} is no ordinary query");
        let governed = agent.run((Form::Extended, Format::Text), sql);
        if governed.fault.is_some() || governed.columns != direct.columns || governed.rows.len() != direct.rows.len() {
            wrong.push(format!("{sql}\n    {:?}", governed.fault));
            continue;
        }
        let masked = |row: &Vec<Option<Bytes>>| row.iter().flatten().any(|value| Needle::canary().is_in(value));
        if !direct.rows.iter().any(masked) {
            assert_eq!(governed.rows, direct.rows, "{sql}");
            same += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {total}\n{}", wrong.len(), wrong.join("\n"));
    assert!(total >= 100 && same >= 80, "{total} queries, {same} without a masked value");
}

/// The list of what is refused and shows nothing: docs/policies.md tells of it, and each that is allowed one day leaves it.
#[test]
fn what_is_refused_though_it_shows_nothing_is_known() {
    let (world, needles) = (world(TWO_MASKS), needles());
    let (mut agent, mut native) = (Agent::new(&world), world.native().unwrap());
    let page = include_str!("../../docs/policies.md");
    let mut total = 0;
    for sql in lines(CAUTIOUS) {
        total += 1;
        agent.say("BEGIN");
        let governed = agent.say(sql);
        agent.say("ROLLBACK");
        assert_eq!(governed.sqlstate(), "42501", "{sql} is allowed now: it leaves the list");
        native.query("BEGIN").unwrap();
        let direct = native.query(sql).unwrap();
        native.query("ROLLBACK").unwrap();
        assert_eq!(direct.fault, None, "{sql}");
        assert_eq!(found(sql, &direct, &needles), None, "{sql}");
        assert!(page.contains(&format!("`{sql}`")), "docs/policies.md does not tell of {sql}");
    }
    assert!(total >= 20, "{total}");
}
