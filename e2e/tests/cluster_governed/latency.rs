//! How soon a person's word counts. The figures are printed; what is asserted is the promise with room for a loaded machine.

use std::thread;
use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::wait;
use e2e::world::Policy;
use serde_json::{Value, json};

use super::agent::{governed, pod};
use super::database::World;
use super::inside::told;
use super::status::words;

/// Room for a loaded machine.
const PROGRAMMED: Duration = Duration::from_secs(20);

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

/// From `kubectl apply` to the condition by which people and pipelines know that it is in force everywhere.
#[test]
fn a_policy_says_soon_that_it_is_in_force() {
    let policy = Policy::default();
    let narrow = Policy { rules: policy.rules.replace("public.items, public.log", "public.log"), ..policy.clone() };
    let world = World::new(&policy);
    let name = world.namespace.name.as_str();
    let says = || {
        let found = world.cluster.get(&["aap", "agent", "-n", name]).unwrap();
        words(&found).contains("Programmed=True/Programmed").then_some(())
    };
    let mut times = Vec::new();
    for turn in 0..8 {
        wait::until("it is in force", PROGRAMMED, || Ok(says())).unwrap();
        // Two words about one object are five seconds apart, so that a busy cluster is not told each step.
        thread::sleep(Duration::from_secs(5));
        let begun = Instant::now();
        world.apply_policy(if turn % 2 == 0 { &narrow } else { &policy });
        wait::until("it is in force", PROGRAMMED, || Ok(says())).unwrap();
        times.push(begun.elapsed());
    }
    assert!(told("kubectl apply to Programmed", times) < PROGRAMMED);
}

/// The kill switch, for one namespace.
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

/// How often something was done within each of these seconds, by a histogram of Prometheus.
fn histogram(text: &str, metric: &str, label: &str) -> Vec<(f64, u64)> {
    let mut counts: Vec<(f64, u64)> = Vec::new();
    let bucket = format!("{metric}_bucket{{");
    for line in text.lines().filter(|line| line.starts_with(&bucket) && line.contains(label)) {
        let (labels, count) = line.rsplit_once(' ').unwrap();
        let within = labels.split("le=\"").nth(1).unwrap().split('"').next().unwrap();
        let (within, count) = (within.parse().unwrap_or(f64::INFINITY), count.parse::<u64>().unwrap());
        match counts.iter_mut().find(|(other, _)| *other == within) {
            Some((_, total)) => *total += count,
            None => counts.push((within, count)),
        }
    }
    counts.sort_by(|a, b| a.0.total_cmp(&b.0));
    counts
}

/// Of the injection: as the API server sees it, and the part that is ours.
fn answered(cluster: &Cluster) -> [Vec<(f64, u64)>; 2] {
    let read = |path: &str| {
        let metrics = cluster.raw(path).unwrap();
        metrics.accepted(path).unwrap();
        metrics.text
    };
    let pods = ["pods", "-n", "agentaccess-system", "-l", "app.kubernetes.io/component=operator"];
    let pods = cluster.get(&pods).unwrap();
    let pods = pods["items"].as_array().unwrap().iter().filter_map(|pod| pod["metadata"]["name"].as_str());
    let path = |pod| format!("/api/v1/namespaces/agentaccess-system/pods/{pod}:9090/proxy/metrics");
    let own: String = pods.map(|pod| read(&path(pod))).collect();
    [
        histogram(
            &read("/metrics"),
            "apiserver_admission_webhook_admission_duration_seconds",
            "name=\"inject.agentaccess.dev\"",
        ),
        histogram(&own, "agentaccess_admission_duration_seconds", "webhook=\"inject\""),
    ]
}

/// Prints the difference; answers within how many seconds half of them were, and 99 of 100.
fn between(what: &str, before: &[(f64, u64)], after: &[(f64, u64)], least: u64) -> (f64, f64) {
    let at = |within: f64| before.iter().find(|(other, _)| *other == within).map_or(0, |(_, count)| *count);
    let since: Vec<(f64, u64)> = after.iter().map(|(within, count)| (*within, count - at(*within))).collect();
    let all = since.last().unwrap().1;
    assert!(all >= least, "{what}: {all} calls");
    let percentile = |percent: u64| since.iter().find(|(_, count)| count * 100 >= all * percent).unwrap().0;
    let (p50, p99) = (percentile(50), percentile(99));
    println!("{what}: p50 within {p50} s, p99 within {p99} s; calls within so many seconds: {since:?}");
    (p50, p99)
}

/// The promise is 50 ms for 99 of 100.
#[test]
fn injection_adds_little_to_the_making_of_a_pod() {
    const PODS: u64 = 200;
    let cluster = Cluster::connect().unwrap();
    let namespace = governed(&cluster);
    // One program for all of them: its start would be most of the time.
    let pods: Vec<Value> = (0..PODS).map(|n| pod(&format!("dry-{n}"))).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": pods});
    let before = answered(&cluster);
    let create = ["create", "-n", &namespace.name, "--dry-run=server", "-o", "name", "-f", "-"];
    cluster.run(&create, Some(&list)).unwrap().accepted("200 pods").unwrap();
    let after = answered(&cluster);
    between("injection, our part", &before[1], &after[1], PODS);
    let (_, p99) = between("injection, seen by the API server", &before[0], &after[0], PODS);
    assert!(p99 <= 0.5, "{p99}");
}
