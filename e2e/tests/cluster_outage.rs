//! What every governed pod feels: replicas that go, the kill switch, the operator and the API server stopped past the
//! greatest age of policies. Each runs by itself.
//!
//! Not run by `make test`: the feature `cluster` builds it, `make e2e` runs it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "cluster_governed/agent.rs"]
mod agent;
#[path = "cluster_governed/asked.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod asked;
#[path = "cluster_governed/database.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod database;
#[path = "cluster_governed/inside.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod inside;
#[path = "cluster_outage/leader.rs"]
mod leader;
#[path = "cluster_lifecycle/operators.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod operators;
#[path = "cluster_outage/restart.rs"]
mod restart;
#[path = "cluster_governed/sink.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod sink;
#[path = "cluster_governed/watched.rs"]
mod watched;
#[path = "cluster_outage/webhooks.rs"]
mod webhooks;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agent::{START, governed, pod, run};
use asked::Asked;
use database::World;
use e2e::cluster::Cluster;
use e2e::wait;
use e2e::world::Policy;
use serde_json::{Value, json};
use webhooks::Stopped;

/// Of the chart's values for tests, in seconds.
const MAX_AGE: u64 = 60;
/// How long nothing answers, in seconds.
const OUTAGE: u64 = 120;
/// What an approver hears while the webhook that takes votes is away.
const NO_VOTE: &str = "failed calling webhook \"approvals.agentaccess.dev\"";

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

fn without_operator(cluster: &Cluster) {
    scale(cluster, "0");
    wait::eventually("no operator", START, || {
        let pods = ["pods", "-n", "agentaccess-system", "-l", "app.kubernetes.io/component=operator"];
        cluster.get(&pods).unwrap()["items"] == json!([])
    })
    .unwrap();
}

#[test]
fn without_operator_and_api_server_all_is_denied_in_time_and_comes_back() {
    let mut asked = Asked::new("{name: person, pendingTTL: 60s, holdFor: 50s}");
    let held = asked.hold(9);
    let world = &asked.world;
    // One line a second: when, and what came of it.
    let script = "n=0; while :; do n=$((n+1)); \
                  r=$(timeout 20 psql -XAtqc \"SELECT id, $n AS turn FROM orders WHERE id = 1\" 2>&1 | tr '\\n' ' '); \
                  echo \"$(date +%s) $r\"; sleep 1; done";
    run(&world.cluster, &world.namespace.name, &world.worker("worker", script));
    wait::eventually("the agent works", START, || logs(world, "worker").iter().any(|line| line.contains(" 1|")))
        .unwrap();

    without_operator(&world.cluster);
    asked.approve("alice", &held).refused("without the operator", NO_VOTE).unwrap();
    let away = now();
    signal("-STOP", "kube-apiserver");
    thread::sleep(Duration::from_secs(OUTAGE));
    signal("-CONT", "kube-apiserver");
    wait::eventually("the API server", START, || world.cluster.raw("/readyz").is_ok_and(|answer| answer.accepted))
        .unwrap();
    scale(&world.cluster, "2");
    let begun = Instant::now();
    let last = || logs(world, "worker").pop().unwrap_or_default();
    wait::eventually("the agent works again", START * 2, || last().contains(" 1|")).unwrap();
    println!("recovery after the operator's return: {:?}", begun.elapsed());

    let lines = logs(world, "worker");
    let at = |line: &String| line.split(' ').next().unwrap().parse::<u64>().unwrap();
    let stale: Vec<&String> = lines.iter().filter(|line| at(line) > away + MAX_AGE && !line.contains(" 1|")).collect();
    assert!(stale.len() > 20, "{lines:?}");
    assert!(stale[0].contains("What gives out the policies is away"), "it says what is away: {}", stale[0]);
    // The database is the witness: nothing ran between the end of the age and the return.
    let worked: Vec<u64> = lines.iter().filter(|line| line.contains(" 1|")).map(at).collect();
    let gap = worked.windows(2).map(|pair| (pair[1] - pair[0], pair[0])).max().unwrap();
    assert!(gap.0 >= OUTAGE - MAX_AGE && gap.1 <= away + MAX_AGE + 1, "{gap:?}, away since {away}: {worked:?}");
    assert_eq!(world.server.executed_with("AS turn"), worked.len());
    // What nobody could approve did not run.
    assert_eq!(asked.deleted(), 0);
}

/// As the drain of a node does it: the disruption budget lets one replica go at a time, and its sidecars follow the other.
#[test]
fn a_replica_that_is_drained_hands_its_sidecars_over() {
    let policy = Policy::default();
    let narrow = Policy { rules: policy.rules.replace("public.items, public.log", "public.log"), ..policy.clone() };
    let world = World::new(&policy);
    let script =
        "while :; do psql -XAtqc 'SELECT id FROM orders WHERE id = 1' 2>&1 | tr '\\n' ' '; echo; sleep 0.2; done";
    run(&world.cluster, &world.namespace.name, &world.worker("worker", script));
    let mut psql = world.psql();
    let items = "SELECT id FROM items WHERE id = 1";
    assert_eq!(psql.ask(items).as_deref(), Some("1\n"));
    let names = || -> Vec<String> {
        let pods = operators::pods(&world.cluster);
        pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    wait::eventually("two replicas", START, || operators::ready(&world.cluster, ":1")).unwrap();
    let before = names();
    let (mut longest, mut changes) = (Duration::ZERO, 0);
    for replica in &before {
        operators::evict(&world.cluster, replica).accepted("the first may go").unwrap();
        let other = before.iter().find(|one| *one != replica).unwrap();
        if names().contains(other) && replica == &before[0] {
            operators::evict(&world.cluster, other).refused("the last one", "disruption budget").unwrap();
        }
        // It is asked for no more, then it stops. All the while a change counts for the next statement of an open connection.
        while names().contains(replica) || !operators::ready(&world.cluster, ":1") {
            let (now, denied) = if changes % 2 == 0 { (&narrow, true) } else { (&policy, false) };
            world.apply_policy(now);
            let changed = Instant::now();
            wait::eventually("the change", START, || psql.ask(items).unwrap().contains("42501") == denied).unwrap();
            longest = longest.max(changed.elapsed());
            changes += 1;
        }
    }
    assert!(before.iter().all(|one| !names().contains(one)), "{before:?}");
    let lines = logs(&world, "worker");
    let failed: Vec<&String> = lines.iter().filter(|line| line.trim() != "1").collect();
    assert!(failed.is_empty() && lines.len() > 20, "{failed:?}");
    println!("{} new connections, none refused; {changes} changes, the longest took {longest:?}", lines.len());
    assert!(longest < Duration::from_secs(10), "{longest:?}");
}

/// Without an answer of the API server about a person's rights there is no vote.
#[test]
fn an_approver_whose_rights_cannot_be_looked_up_is_refused() {
    let mut asked = Asked::new("{name: person, pendingTTL: 120s, holdFor: 100s}");
    let held = asked.hold(1);
    let cluster = asked.world.cluster.clone();
    let mut role = cluster.get(&["clusterrole", "agentaccess-operator"]).unwrap();
    let patch = |rules: &Value| {
        let rules = json!({"rules": rules}).to_string();
        let patch = ["patch", "clusterrole", "agentaccess-operator", "--type=merge", "-p", &rules];
        cluster.run(&patch, None).unwrap().accepted("the operator's rights").unwrap();
    };
    let whole = role["rules"].take();
    let mut less = whole.as_array().unwrap().clone();
    less.retain(|rule| rule["resources"] != json!(["subjectaccessreviews"]));
    assert_eq!(less.len() + 1, whole.as_array().unwrap().len());

    patch(&json!(less));
    let alice = cluster.user("alice");
    let approve = ["agentaccess.dev/decision=approve", "--dry-run=server"];
    // The API server learns of roles by a watch of its own.
    let unanswered = wait::eventually("a refusal", START, || !asked.decide(&alice, &held, &approve).accepted);
    let vote = asked.approve("alice", &held);
    patch(&whole);
    unanswered.unwrap();
    vote.refused("a vote that nobody can judge", "the API server did not answer").unwrap();
    assert_eq!((asked.deleted(), asked.status(&held)["approvals"].as_i64().unwrap_or(0)), (0, 0));
    // Nor while nobody answers who could record it.
    let stopped = Stopped::new();
    asked.approve("alice", &held).refused("nobody records it", NO_VOTE).unwrap();
    drop(stopped);
    assert_eq!(asked.deleted(), 0);
    wait::eventually("a vote", START, || asked.approve("alice", &held).accepted).unwrap();
    assert!(asked.answer(&held).contains('1'));
    assert_eq!(asked.deleted(), 1);
}

/// What the webhook would have refused: it says so itself, and what it stands in the way of names it.
#[test]
fn a_bad_policy_of_an_outage_is_named_by_what_it_blocks() {
    let cluster = Cluster::connect().unwrap();
    let home = governed(&cluster);
    let name = home.name.as_str();
    run(&cluster, name, &pod("agent"));
    let guard = json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "ClusterAgentAccessPolicy", "metadata": {"name": name},
        "spec": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}, "podSelector": {}},
    });
    cluster.create(&guard).unwrap().accepted("a policy of the cluster").unwrap();
    let condition = |kind: &str, object: &str, type_: &str| {
        let object = cluster.get(&[kind, object, "-n", name]).unwrap();
        let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let one = all.into_iter().find(|one| one["type"] == type_).unwrap_or_default();
        let word = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        (format!("{}/{}", word("status"), word("reason")), word("message"))
    };
    let says = |kind: &str, object: &str, type_: &str, what: &str| {
        let said = wait::eventually(what, START * 2, || condition(kind, object, type_).0 == what);
        assert!(said.is_ok(), "{kind} {object} {type_}: {:?}", condition(kind, object, type_));
        condition(kind, object, type_).1
    };
    says("caap", name, "Programmed", "True/Programmed");

    scale(&cluster, "0");
    wait::eventually("no operator", START, || {
        let pods = ["pods", "-n", "agentaccess-system", "-l", "app.kubernetes.io/component=operator"];
        cluster.get(&pods).unwrap()["items"] == json!([])
    })
    .unwrap();
    let rules = json!([{"name": "r", "action": "Allow", "verbs": ["Select"], "relations": ["public.orders"]}]);
    let bad = json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "AgentAccessPolicy",
        "metadata": {"name": "builtin", "namespace": name},
        "spec": {"podSelector": {}, "targets": [{"targetRef": {"name": "db"}, "postgres": {"rules": rules}}]},
    });
    let written = cluster.create(&bad).unwrap();
    scale(&cluster, "2");
    written.accepted("nobody is there to refuse it").unwrap();

    let message = says("aap", "builtin", "Accepted", "False/Invalid");
    assert!(message.contains("metadata.name") && message.contains("choose another"), "{message}");
    says("aap", "builtin", "Programmed", "False/NotAccepted");
    let message = says("caap", name, "Programmed", "False/Blocked");
    assert!(message.contains(&format!("AgentAccessPolicy {name}/builtin")) && message.contains("0 of 1"), "{message}");
    cluster.run(&["delete", "aap", "builtin", "-n", name], None).unwrap().accepted("away").unwrap();
    says("caap", name, "Programmed", "True/Programmed");
    cluster.run(&["delete", "caap", name], None).unwrap().accepted("away").unwrap();
}
