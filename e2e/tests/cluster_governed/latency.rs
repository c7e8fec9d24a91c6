//! How soon a person's word counts. The figures are printed; what is asserted is the promise with room for a loaded machine.

use std::time::{Duration, Instant};

use e2e::wait;
use e2e::world::Policy;
use serde_json::{Value, json};

use super::database::World;

fn told(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    println!("{what}: p50 {:?}, p99 {:?}, longest {:?} of {}", at(50), at(99), times[times.len() - 1], times.len());
    at(99)
}

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

/// The kill switch.
#[test]
fn deny_all_cuts_what_is_open() {
    let world = World::new(&Policy::default());
    let name = world.namespace.name.as_str();
    let open = || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'agent_db' AND query LIKE '%pg_sleep%' AND state = 'active'";
        world.server.admin(sql).unwrap()
    };
    let stop = json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "ClusterAgentAccessPolicy", "metadata": {"name": name},
        "spec": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}, "podSelector": {}, "denyAll": true},
    });
    let mut times = Vec::new();
    for _ in 0..5 {
        let mut psql = world.psql();
        assert_eq!(psql.ask("SELECT id FROM orders WHERE id = 1").as_deref(), Some("1\n"));
        let mark = psql.send("SELECT count(*) FROM orders a, orders b, orders c, orders d WHERE a.note <> d.note");
        wait::eventually("a long statement", Duration::from_secs(10), || {
            world
                .server
                .admin("SELECT count(*) FROM pg_stat_activity WHERE usename = 'agent_db' AND state = 'active'")
                .unwrap()
                != "0"
        })
        .unwrap();
        let begun = Instant::now();
        world.cluster.run(&["apply", "-f", "-"], Some(&stop)).unwrap().accepted("denyAll").unwrap();
        let answer = psql.until(&mark, Duration::from_secs(20));
        times.push(begun.elapsed());
        assert!(!answer.as_deref().unwrap_or_default().contains("1600000000"), "{answer:?}");
        wait::eventually("the server is free", Duration::from_secs(10), || open() == "0").unwrap();
        let refused = psql.ask("SELECT id FROM orders WHERE id = 1");
        assert!(refused.as_deref() != Some("1\n"), "{refused:?}");
        world.cluster.run(&["delete", "caap", name], None).unwrap().accepted("the end of denyAll").unwrap();
        wait::eventually("agents work again", Duration::from_secs(20), || {
            let mut psql = world.psql();
            psql.ask("SELECT id FROM orders WHERE id = 1").as_deref() == Some("1\n")
        })
        .unwrap();
    }
    assert!(told("denyAll to the cut", times) < Duration::from_secs(10));
}
