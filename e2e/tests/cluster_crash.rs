//! Sidecars and operators are killed at random while agents do what they may, what they may not and what waits for a person
//! who never comes. The oracle is the log that the database itself wrote.
//!
//! Not run by `make test` nor `make e2e`: `make crash N=200` kills so many sidecars, and a quarter as many operators. It keeps
//! what it saw after each round in docs/evidence/crash.json, and goes on from there when it is run again and what ships is the same.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "cluster_governed/agent.rs"]
mod agent;
#[path = "cluster_governed/database.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod database;
#[path = "cluster_governed/inside.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod inside;
#[path = "cluster_governed/node.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod node;
#[path = "cluster_governed/sink.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod sink;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use agent::{START, run};
use database::World;
use e2e::proxy::{CLI, binary};
use e2e::random::Random;
use e2e::world::Policy;
use e2e::{evidence, recorded, wait};
use inside::sh;
use serde_json::{Value, json};

/// Sidecars that are killed in one round, by one world of agents and a database.
const ROUND: u64 = 20;
/// One operator for so many sidecars.
const OPERATORS: u64 = 4;
const AGENTS: u64 = 3;
/// The first number of each agent's statements, apart from the next one's.
const APART: u64 = 1_000_000;

/// Inserts are allowed, updates of items wait for a person, and customers are never deleted.
fn script(agent: u64) -> String {
    let base = (agent + 1) * APART;
    format!(
        "n={base}; sql() {{ timeout $1 psql -XAtqc \"$2\" >/dev/null 2>&1; }}; while [ ! -e /tmp/stop ]; do n=$((n+1)); \
         sql 20 \"INSERT INTO log VALUES ($n, 'x')\" || sleep 0.1; \
         case $((n % 4)) in \
         0) sql 4 \"UPDATE items SET note = 'n$n' WHERE id = 1\";; \
         2) sql 4 \"DELETE FROM customers WHERE id = $n\";; esac; done; sleep 3600"
    )
}

fn name(agent: u64) -> String {
    format!("worker-{agent}")
}

/// One of the replicas, whichever it is.
fn kill_an_operator(random: &mut Random) -> bool {
    let found = Command::new("pgrep").args(["-x", "agentaccess-ope"]).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    let pids: Vec<&str> = found.lines().collect();
    if pids.is_empty() {
        // The other one was killed just before, and the kubelet takes its time.
        return false;
    }
    let which = usize::try_from(random.below(pids.len().try_into().unwrap())).unwrap();
    Command::new("kill").args(["-KILL", pids[which]]).status().unwrap().success()
}

/// The seven digits of a statement of ours.
fn number(text: &str) -> Option<String> {
    text.split(|c: char| !c.is_ascii_digit()).find(|part| part.len() == 7).map(str::to_owned)
}

/// What one round saw.
fn round(seed: u64) -> Value {
    let mut random = Random::new(seed);
    let world = World::new(&Policy::default());
    let space = world.namespace.name.as_str();
    let nonces: Vec<String> = (0..AGENTS)
        .map(|agent| {
            run(&world.cluster, space, &world.worker(&name(agent), &script(agent)));
            node::nonce(&world.cluster, space, &name(agent))
        })
        .collect();
    let inserted = |agent: u64| {
        let begin = format!("VALUES ({}", agent + 1);
        let all = world.server.executed_with("INSERT INTO public.log");
        if all == 0 { 0 } else { world.server.executed().iter().filter(|text| text.contains(&begin)).count() }
    };
    let works = |agent: u64| {
        let before = inserted(agent);
        wait::eventually("the agent works", 2 * START, || inserted(agent) > before).unwrap();
    };
    let mut operators = 0;
    for turn in 1..=ROUND {
        let agent = random.below(AGENTS);
        works(agent);
        thread::sleep(Duration::from_millis(random.below(400)));
        node::kill_sidecar(&nonces[usize::try_from(agent).unwrap()]);
        if turn % OPERATORS == 0 {
            thread::sleep(Duration::from_millis(random.below(1_000)));
            wait::eventually("an operator to kill", START, || kill_an_operator(&mut random)).unwrap();
            operators += 1;
        }
    }
    (0..AGENTS).for_each(works);
    for agent in 0..AGENTS {
        wait::eventually("the agent stops", START, || {
            sh(&world.cluster, space, &name(agent), "touch /tmp/stop").accepted
        })
        .unwrap();
    }
    // Its last statement has an end.
    thread::sleep(Duration::from_secs(5));
    judge(&world, seed, operators)
}

fn judge(world: &World, seed: u64, operators: u64) -> Value {
    let executed = world.server.executed();
    let (mut intents, mut refused, mut verified) = (BTreeSet::new(), 0, Vec::new());
    for agent in 0..AGENTS {
        let state = node::state(&world.cluster, &world.namespace.name, &name(agent));
        let lines = recorded::lines(&state.join("recordings")).unwrap();
        let shown = |kind: &'static str| {
            lines.iter().filter(move |line| line["kind"] == kind).filter_map(|line| line["display"].as_str())
        };
        intents.extend(shown("intent").filter_map(number));
        refused += shown("refusal").count();
        let key = fs::read_to_string(state.join("keys/checkpoint.pub")).unwrap();
        let folder = state.join("recordings").display().to_string();
        let verify = Command::new(binary(CLI).unwrap())
            .args(["verify", "--key", key.trim(), "--recordings", &folder])
            .output()
            .unwrap();
        let status = verify.status.code().unwrap();
        // What follows the last checkpoint of a living sidecar is not signed yet.
        assert!(
            [recorded::INTACT, recorded::UNSIGNED_TAIL].contains(&status),
            "{}",
            String::from_utf8_lossy(&verify.stdout)
        );
        verified.push(status);
    }
    let mut ran = 0_u64;
    for text in &executed {
        // As the database wrote it: `DELETE FROM public.customers` or not, under any spelling.
        assert!(!(text.contains("DELETE") && text.contains("customers")), "denied, and it ran: {text}");
        assert!(!(text.contains("UPDATE") && text.contains("items")), "nobody approved it, and it ran: {text}");
        if text.contains("INSERT INTO public.log") {
            let number = number(text).unwrap();
            assert!(intents.contains(&number), "{text} ran and is not on record");
            ran += 1;
        }
    }
    assert!(ran > ROUND && refused > 0, "{ran} statements ran, {refused} were refused");
    json!({"seed": seed, "sidecars": ROUND, "operators": operators, "ran": ran, "on_record": intents.len(),
        "refused_on_record": refused, "verify": verified})
}

#[test]
fn nothing_runs_unrecorded_or_unallowed_whatever_is_killed() {
    evidence::begin().unwrap();
    let wanted: u64 = env::var("N").map_or(200, |text| text.parse().unwrap());
    let mut rounds: Vec<Value> =
        evidence::of_what_ships("crash").map_or_else(Vec::new, |before| before["rounds"].as_array().unwrap().clone());
    let sum = |rounds: &[Value], what: &str| rounds.iter().filter_map(|one| one[what].as_u64()).sum::<u64>();
    println!("{} sidecars were killed before", sum(&rounds, "sidecars"));
    while sum(&rounds, "sidecars") < wanted {
        let seen = round(Random::seed().unwrap());
        println!("{seen}");
        rounds.push(seen);
        let figures = json!({
            "sidecars_killed": sum(&rounds, "sidecars"), "operators_killed": sum(&rounds, "operators"),
            "statements_that_ran": sum(&rounds, "ran"), "refused_on_record": sum(&rounds, "refused_on_record"),
            "ran_without_record": 0, "ran_without_right": 0, "rounds": rounds,
        });
        evidence::write("crash", &figures).unwrap();
    }
}
