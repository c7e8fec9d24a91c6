//! How soon a person's word counts. The figures are printed; what is asserted is the promise with room for a loaded machine.

use std::time::{Duration, Instant};

use e2e::wait;
use e2e::world::Policy;
use serde_json::Value;

use super::database::World;
use super::inside::told;

/// From the moment that `kubectl annotate` is typed until the agent has its answer.
#[test]
fn an_approval_releases_one_statement() {
    let world = World::new(&Policy::default());
    let alice = world.cluster.user("alice");
    let name = world.namespace.name.as_str();
    let mut psql = world.psql();
    assert_eq!(psql.ask("SELECT id FROM orders WHERE id = 1").as_deref(), Some("1\n"));
    let mut times = Vec::new();
    for id in 1..=30 {
        let mark = psql.send(&format!("DELETE FROM orders WHERE id = {id} RETURNING id"));
        let request = wait::until("the question", Duration::from_secs(10), || {
            let found = alice.get(&["areq", "-n", name])?;
            let pending = |one: &&Value| one["status"]["phase"].as_str().unwrap_or("Pending") == "Pending";
            let mine = found["items"].as_array().unwrap().iter().filter(pending);
            let mine = mine.filter(|one| one["spec"]["statement"].as_str().unwrap().contains(&format!("= {id}")));
            Ok(mine.map(|one| one["metadata"]["name"].as_str().unwrap().to_owned()).next())
        })
        .unwrap();
        assert_eq!(world.server.executed_with("DELETE FROM"), id - 1, "it waits");
        let begun = Instant::now();
        let annotate = ["-n", name, "annotate", "areq", &request, "agentaccess.dev/decision=approve"];
        alice.run(&annotate, None).unwrap().accepted("an approval").unwrap();
        let answer = psql.until(&mark, Duration::from_secs(20)).unwrap();
        times.push(begun.elapsed());
        assert!(answer.lines().any(|line| line == id.to_string()), "{answer}");
        assert_eq!(world.server.executed_with("DELETE FROM"), id);
    }
    assert!(told("annotate to release, with the start of kubectl", times) < Duration::from_secs(5));
}

#[test]
fn a_policy_counts_on_open_connections() {
    let world = World::new(&Policy::default());
    let mut psql = world.psql();
    let sql = "SELECT id FROM items WHERE id = 1";
    assert_eq!(psql.ask(sql).as_deref(), Some("1\n"));
    let narrow = Policy::default();
    let narrow = Policy { rules: narrow.rules.replace("public.items, public.log", "public.log"), ..narrow };
    let mut times = Vec::new();
    for turn in 0..20 {
        let (policy, allowed) = if turn % 2 == 0 { (&narrow, false) } else { (&Policy::default(), true) };
        let begun = Instant::now();
        world.apply_policy(policy);
        wait::eventually("the new policy", Duration::from_secs(20), || (psql.ask(sql).unwrap() == "1\n") == allowed)
            .unwrap();
        times.push(begun.elapsed());
    }
    assert!(told("kubectl apply to the next operation", times) < Duration::from_secs(10));
}
