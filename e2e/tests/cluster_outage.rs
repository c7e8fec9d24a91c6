//! The operator and the API server stopped past the greatest age of policies. It stops what all others need, so it runs by
//! itself.
//!
//! Not run by `make test`: the feature `cluster` builds it, `make e2e` runs it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "cluster_governed/agent.rs"]
mod agent;
#[path = "cluster_governed/database.rs"]
mod database;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agent::{START, run};
use database::World;
use e2e::cluster::Cluster;
use e2e::wait;
use e2e::world::Policy;
use serde_json::json;

/// Of the chart's values for tests.
const MAX_AGE: u64 = 60;

fn logs(world: &World, name: &str) -> Vec<String> {
    let logs = world.cluster.run(&["logs", "-n", &world.namespace.name, name, "-c", "agent"], None).unwrap();
    logs.accepted("the agent's output").unwrap();
    logs.text.lines().map(str::to_owned).collect()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn signal(word: &str, program: &str) {
    let done = Command::new("pkill").args([word, "-x", program]).status().unwrap();
    assert!(done.success(), "no {program}");
}

fn scale(cluster: &Cluster, replicas: &str) {
    let scale = ["-n", "agentaccess-system", "scale", "deployment/agentaccess-operator", "--replicas", replicas];
    cluster.run(&scale, None).unwrap().accepted("scale").unwrap();
}

#[test]
fn without_operator_and_api_server_all_is_denied_in_time_and_comes_back() {
    let world = World::new(&Policy::default());
    // One line a second: when, and what came of it.
    let script = "n=0; while :; do n=$((n+1)); \
                  r=$(timeout 20 psql -XAtqc \"SELECT id, $n AS turn FROM orders WHERE id = 1\" 2>&1 | tr '\\n' ' '); \
                  echo \"$(date +%s) $r\"; sleep 1; done";
    run(&world.cluster, &world.namespace.name, &world.worker("worker", script));
    wait::eventually("the agent works", START, || logs(&world, "worker").iter().any(|line| line.contains(" 1|")))
        .unwrap();

    scale(&world.cluster, "0");
    wait::eventually("no operator", START, || {
        let pods = ["pods", "-n", "agentaccess-system", "-l", "app.kubernetes.io/component=operator"];
        world.cluster.get(&pods).unwrap()["items"] == json!([])
    })
    .unwrap();
    let away = now();
    signal("-STOP", "kube-apiserver");
    thread::sleep(Duration::from_secs(MAX_AGE + 15));
    signal("-CONT", "kube-apiserver");
    wait::eventually("the API server", START, || {
        world.cluster.run(&["get", "--raw", "/readyz"], None).unwrap().accepted
    })
    .unwrap();
    scale(&world.cluster, "2");
    let begun = Instant::now();
    let last = || logs(&world, "worker").pop().unwrap_or_default();
    wait::eventually("the agent works again", START * 2, || last().contains(" 1|")).unwrap();
    println!("recovery after the operator's return: {:?}", begun.elapsed());

    let lines = logs(&world, "worker");
    let at = |line: &String| line.split(' ').next().unwrap().parse::<u64>().unwrap();
    let stale: Vec<&String> = lines.iter().filter(|line| at(line) > away + MAX_AGE && !line.contains(" 1|")).collect();
    assert!(stale.len() > 5, "{lines:?}");
    assert!(stale[0].contains("operator"), "it says what is away: {}", stale[0]);
    // The database is the witness: nothing ran between the end of the age and the return.
    let worked: Vec<u64> = lines.iter().filter(|line| line.contains(" 1|")).map(at).collect();
    let gap = worked.windows(2).map(|pair| (pair[1] - pair[0], pair[0])).max().unwrap();
    assert!(gap.0 >= 10 && gap.1 <= away + MAX_AGE + 1, "{gap:?}, away since {away}: {worked:?}");
    assert_eq!(world.server.executed_with("AS turn"), worked.len());
}
