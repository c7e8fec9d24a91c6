//! `examples/quickstart` as a newcomer types it: what its README says is what happens.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::cluster::{Answer, Cluster};
use e2e::wait;
use serde_json::Value;

use super::agent::documents;

const AGENTS: &str = "quickstart";
const DATABASE: &str = "quickstart-db";

/// Applies a file of the quick start. The cluster has no registry, so its own image stands for that of the Hub.
fn apply(cluster: &Cluster, file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    for mut object in documents(&text) {
        if let Some(containers) = object.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut) {
            for container in containers {
                assert_eq!(container["image"], "docker.io/library/postgres:17");
                container["image"] = "localhost/postgres:1".into();
            }
        }
        let what = format!("{file}: {} {}", object["kind"], object["metadata"]["name"]);
        let answer = cluster.run(&["apply", "-f", "-"], Some(&object)).unwrap();
        answer.accepted(&what).unwrap();
        assert!(!answer.text.contains("Warning:"), "{what}: {}", answer.text);
    }
}

fn rolled_out(cluster: &Cluster, namespace: &str, deployment: &str) {
    let name = format!("deployment/{deployment}");
    let wait = ["-n", namespace, "rollout", "status", &name, "--timeout=25s"];
    let done = (0..5).map(|_| cluster.run(&wait, None).unwrap()).find(|answer| answer.accepted);
    assert!(done.is_some(), "{name}: {:?}", cluster.run(&["-n", namespace, "describe", "pods"], None).unwrap().text);
}

fn psql(cluster: &Cluster, sql: &str) -> Answer {
    cluster
        .run(&["-n", AGENTS, "exec", "deploy/support-agent", "-c", "agent", "--", "psql", "-X", "-c", sql], None)
        .unwrap()
}

/// What the database ran, by its own log.
fn ran(cluster: &Cluster, word: &str) -> usize {
    let log = cluster.run(&["-n", DATABASE, "logs", "deploy/orders-db"], None).unwrap();
    log.accepted("the log of the database").unwrap();
    log.text
        .lines()
        .filter(|line| (line.contains("execute") || line.contains("statement:")) && line.contains(word))
        .count()
}

#[test]
fn the_quick_start_is_true() {
    let cluster = Cluster::connect().unwrap();
    // What a run before left.
    let away = ["delete", "namespace", AGENTS, DATABASE, "--ignore-not-found", "--timeout=25s"];
    cluster.run(&away, None).unwrap().accepted("a clean beginning").unwrap();
    let begun = Instant::now();
    apply(&cluster, "database.yaml");
    apply(&cluster, "governed.yaml");
    rolled_out(&cluster, DATABASE, "orders-db");
    apply(&cluster, "agent.yaml");
    rolled_out(&cluster, AGENTS, "support-agent");

    let rows = psql(&cluster, "SELECT name, email, ssn FROM customers ORDER BY id");
    rows.accepted("a SELECT").unwrap();
    assert!(rows.text.contains("Ada") && rows.text.contains("a***"), "{}", rows.text);
    assert!(!rows.text.contains("536-90") && !rows.text.contains("ada@example.com"), "{}", rows.text);
    psql(&cluster, "DROP TABLE customers").refused("a DROP", "Schema changes go through migrations.").unwrap();

    // Held until somebody else says yes.
    let mut held = Command::new("kubectl")
        .args(["-n", AGENTS, "exec", "deploy/support-agent", "-c", "agent", "--"])
        .args(["psql", "-X", "-c", "DELETE FROM orders WHERE id = 4713"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let alice = cluster.user("alice");
    let asked = wait::until("the question", Duration::from_secs(60), || {
        let found = alice.get(&["areq", "-n", AGENTS])?;
        let items = found["items"].as_array().unwrap();
        assert!(items.len() < 2, "{found}");
        Ok(items.first().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()))
    });
    let Ok(name) = asked else {
        held.kill().unwrap();
        panic!("{asked:?}: {:?}", held.wait_with_output().unwrap());
    };
    let described = alice.run(&["-n", AGENTS, "describe", "areq", &name], None).unwrap();
    assert!(described.text.contains("DELETE FROM") && described.text.contains("fixes"), "{}", described.text);
    assert_eq!(ran(&cluster, "DELETE"), 0);
    let annotate = ["-n", AGENTS, "annotate", "areq", &name, "agentaccess.dev/decision=approve"];
    let unexplained = alice.run(&annotate, None).unwrap();
    unexplained.refused("no reason", "reason").unwrap();
    let stranger = cluster.user("eve").run(&[&annotate[..], &["agentaccess.dev/reason=x"]].concat(), None).unwrap();
    assert!(!stranger.accepted, "{}", stranger.text);
    let approved = alice.run(&[&annotate[..], &["agentaccess.dev/reason=INC-123"]].concat(), None).unwrap();
    approved.accepted("an approval").unwrap();
    assert!(approved.text.contains("recorded: approve by alice"), "{}", approved.text);
    let output = held.wait_with_output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && text.contains("DELETE 1"), "{text}");
    assert_eq!((ran(&cluster, "DELETE"), ran(&cluster, "DROP")), (1, 0));

    // What happened, for those who may see it.
    let pods = cluster.get(&["pods", "-n", AGENTS]).unwrap();
    let pod = pods["items"][0]["metadata"]["name"].as_str().unwrap();
    let agent = ["-n", AGENTS, "exec", pod, "-c", "agentaccess-proxy", "--", "/agentaccess"];
    let ada = cluster.user("ada");
    let sessions = ada.run(&[&agent[..], &["sessions", "ls", "-o", "json"]].concat(), None).unwrap();
    sessions.accepted("the sessions").unwrap();
    let sessions: Vec<Value> = serde_json::from_str(&sessions.text).unwrap();
    assert_eq!(sessions.len(), 3, "{sessions:?}");
    let session = sessions[2]["session"].as_str().unwrap();
    let replay = ada.run(&[&agent[..], &["replay", session]].concat(), None).unwrap();
    assert!(replay.text.contains("DELETE FROM") && replay.text.contains("alice"), "{}", replay.text);
    println!("the quick start took {:?}", begun.elapsed());
}
