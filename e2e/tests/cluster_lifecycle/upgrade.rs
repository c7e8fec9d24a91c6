//! From an earlier commit to this one and back, by `helm upgrade`, while agents work and pods are made. What was injected
//! before goes on under the other operator, whichever of them is the newer: policies, approvals and credentials reach it,
//! and its recording stays where a replica knows no store.
//!
//! The script has installed the earlier commit, with images of the tag `before`. In the end `helm rollback` is tried too, for a
//! figure: it brings back a profile that knows nothing of what the replicas inject until they are replaced.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::world::{Policy, ROLE};
use e2e::{evidence, wait};
use serde_json::{Value, json};

use super::agent::START;
use super::asked::Asked;
use super::database::{AGENT, World};
use super::inside::sh;
use super::load::Load;
use super::operators;

const BEFORE: &str = ":before";
const NOW: &str = ":1";
/// A rollout of two replicas, each after the other is ready.
const ROLLOUT: Duration = Duration::from_secs(180);

fn helm(words: &[&str]) -> (bool, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new("helm").args(words).args(["-n", operators::SYSTEM]).current_dir(root).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// The image of a pod's sidecar.
fn sidecar(world: &World, pod: &str) -> String {
    let pod = world.cluster.get(&["pod", "-n", &world.namespace.name, pod]).unwrap();
    pod["spec"]["initContainers"][1]["image"].as_str().unwrap().to_owned()
}

/// While it is rolled out the leader is drained away, as often as the disruption budget lets it: once.
fn roll(load: &Load<'_>, cluster: &Cluster, words: &[&str], tag: &str) -> Value {
    let (begun, leader) = (Instant::now(), operators::leader(cluster));
    let before = load.seen();
    let (mut evictions, mut held_back) = (0, 0);
    let told = thread::scope(|scope| {
        let rolling = scope.spawn(|| helm(words));
        while !rolling.is_finished() || !operators::ready(cluster, tag) {
            assert!(begun.elapsed() < ROLLOUT, "{:#?}", operators::pods(cluster));
            if evictions == 0 {
                match operators::evict(cluster, &leader) {
                    answer if answer.accepted => evictions += 1,
                    answer if answer.text.contains("disruption budget") => held_back += 1,
                    answer => println!("eviction: {}", answer.text),
                }
            }
            thread::sleep(Duration::from_millis(500));
        }
        rolling.join().unwrap()
    });
    assert!(told.0, "{}", told.1);
    let rolled = begun.elapsed();
    // A replica that ended without a word keeps the Lease for 15 s.
    wait::eventually("another leader", START, || {
        let now = operators::leader(cluster);
        now != leader && operators::pods(cluster).iter().any(|pod| pod["metadata"]["name"] == now.as_str())
    })
    .unwrap();
    load.works();
    let after = load.seen();
    json!({"rollout_s": rolled.as_secs(), "another_leader_after_s": begun.elapsed().as_secs(), "leader_evicted": evictions,
        "evictions_held_back_by_the_budget": held_back, "admissions": after.admissions - before.admissions,
        "failed": after.failed.len() - before.failed.len(), "new_connections": after.new_connections - before.new_connections,
        "statements_on_open_connections": after.statements_on_open_ones - before.statements_on_open_ones})
}

/// What reaches the sidecar of this pod: a policy, an approval, a denial, a credential.
fn reached(asked: &mut Asked, policy: &Policy, pod: &str, id: u32) -> Value {
    let begun = Instant::now();
    asked.psql = asked.world.psql_in(pod);
    let items = "SELECT id FROM items WHERE id = 1";
    assert_eq!(asked.psql.ask(items).as_deref(), Some("1\n"), "{pod}");
    // The connection is open, and its next statement is judged by the new one.
    let narrow = Policy { rules: policy.rules.replace("public.items, public.log", "public.log"), ..policy.clone() };
    asked.world.apply_policy(&narrow);
    let changed = Instant::now();
    wait::eventually("the narrower policy", START, || asked.psql.ask(items).unwrap().contains("42501")).unwrap();
    let policy_ms = changed.elapsed().as_millis();
    asked.world.apply_policy(policy);
    wait::eventually("the policy of before", START, || asked.psql.ask(items).as_deref() == Some("1\n")).unwrap();

    let deleted = asked.deleted();
    let held = asked.hold(id);
    asked.approve("alice", &held).accepted("an approval").unwrap();
    let answer = asked.answer(&held);
    assert!(answer.contains(&id.to_string()) && !answer.contains("ERROR"), "{pod}: {answer}");
    assert_eq!(asked.deleted(), deleted + 1, "{pod}");
    // Good once, whoever asks.
    let again = asked.hold(id + 1);
    let bob = asked.world.cluster.user("bob");
    asked.decide(&bob, &again, &["agentaccess.dev/decision=deny"]).accepted("a denial").unwrap();
    assert!(asked.answer(&again).contains("ERROR"), "{pod}");
    assert_eq!(asked.deleted(), deleted + 1, "{pod}");

    // The agent's next connection has what the Secret says now.
    let role = format!("agent_db_{id}");
    asked.world.server.admin(&format!("CREATE ROLE {role} LOGIN PASSWORD 'CANARY-{id}' IN ROLE {ROLE}")).unwrap();
    let patch = json!({"stringData": {"username": role, "password": format!("CANARY-{id}")}}).to_string();
    let space = asked.world.namespace.name.clone();
    let words = ["patch", "secret", "db-login", "-n", &space, "--type=merge", "-p", &patch];
    asked.world.cluster.run(&words, None).unwrap().accepted("the Secret").unwrap();
    let whoami = "psql -XAtqc 'SELECT current_user FROM orders WHERE id = 200'";
    let taken = || sh(&asked.world.cluster, &space, pod, whoami).text.trim() == role;
    wait::eventually("the other credential", START, taken).unwrap();
    json!({"pod": pod, "policy_ms": u64::try_from(policy_ms).unwrap(), "approved_ran": 1, "denied_ran": 0,
        "seconds": begun.elapsed().as_secs()})
}

/// Whether the operator's store has something of this pod's recording.
fn stored(world: &World, pod: &str) -> bool {
    let pod = world.cluster.get(&["pod", "-n", &world.namespace.name, pod]).unwrap();
    let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
    let folder = "/var/lib/agentaccess-cluster/agentaccess/recordings";
    let found = Command::new("find").args([folder, "-path", &format!("*{uid}*"), "-type", "f"]).output().unwrap();
    !found.stdout.is_empty()
}

#[test]
fn an_upgrade_and_the_way_back_refuse_nobody() {
    evidence::begin().unwrap();
    let mut asked = Asked::new("{name: person, pendingTTL: 60s, holdFor: 50s}");
    let policy = {
        let policy = Policy::default();
        let long = "{name: person, pendingTTL: 60s, holdFor: 50s}";
        Policy { approvals: policy.approvals.replace("{name: person, pendingTTL: 60s, holdFor: 15s}", long), ..policy }
    };
    assert!(operators::ready(&asked.world.cluster, BEFORE), "the script installs the earlier commit");
    let from = std::env::var("FROM").unwrap();
    let values = "e2e/cluster/config/chart-values.yaml";
    let up = ["upgrade", "agentaccess", "charts/agentaccess", "-f", values, "--wait", "--timeout", "150s"];
    // A World of its own for the load, so that `asked` may change what is in force in the other one.
    let busy = World::new(&Policy::default());
    let mut load = Load::start(&busy, &["before-0", "before-1"]);
    let mut phases = serde_json::Map::new();

    let cluster = asked.world.cluster.clone();
    phases.insert("upgrade".to_owned(), roll(&load, &cluster, &up, NOW));
    assert!(sidecar(&asked.world, AGENT).ends_with(BEFORE));
    phases.insert("old_sidecar_new_operator".to_owned(), reached(&mut asked, &policy, AGENT, 10));

    // Who is made now has the new sidecar, and its recording leaves it.
    load.join("after");
    assert!(sidecar(&busy, "after").ends_with(NOW));
    let worker = asked.world.worker("after", "sleep 3600");
    super::agent::run(&asked.world.cluster, &asked.world.namespace.name, &worker);
    phases.insert("new_sidecar_new_operator".to_owned(), reached(&mut asked, &policy, "after", 20));
    wait::eventually("the recording of the new one leaves it", START * 2, || stored(&asked.world, "after")).unwrap();
    phases.insert("old_sidecar_has_a_recording_in_the_store".to_owned(), json!(stored(&asked.world, AGENT)));

    let folder = std::env::var("BEFORE").unwrap();
    let (chart, values) = (format!("{folder}/charts/agentaccess"), format!("{folder}/{values}"));
    let tags = ["--set", "image.tag=before,sidecar.image.tag=before"];
    let back = [&["upgrade", "agentaccess", &chart, "-f", &values, "--wait", "--timeout", "150s"][..], &tags].concat();
    phases.insert("back".to_owned(), roll(&load, &cluster, &back, BEFORE));
    phases.insert("new_sidecar_old_operator".to_owned(), reached(&mut asked, &policy, "after", 30));
    load.join("back");
    assert!(sidecar(&busy, "back").ends_with(BEFORE));
    let knows_a_store = operators::pods(&cluster)[0]["spec"].to_string().contains("--recordings-store");
    if !knows_a_store {
        let logs = ["logs", "-n", &asked.world.namespace.name, "after", "-c", "agentaccess-proxy"];
        // It finds out when it next has something to send.
        let stays = || cluster.run(&logs, None).unwrap().text.contains("recording_stays");
        wait::eventually("the new one says that its recording stays", START, stays).unwrap();
    }
    phases.insert("the_operator_before_has_a_store".to_owned(), json!(knows_a_store));

    phases.insert("upgrade_again".to_owned(), roll(&load, &cluster, &up, NOW));
    phases.insert("again".to_owned(), reached(&mut asked, &policy, "after", 40));
    let seen = load.seen();

    // The way that is not the documented one.
    let rollback = ["rollback", "agentaccess", "1", "--wait", "--timeout", "150s"];
    phases.insert("helm_rollback".to_owned(), roll(&load, &cluster, &rollback, BEFORE));
    let all = load.seen().figures();
    let figures = json!({"from": from, "phases": phases, "load": seen.figures()});
    evidence::write("upgrade", &figures).unwrap();
    println!("{figures:#}\nwith helm rollback: {all:#}");
    assert!(seen.failed.is_empty(), "{:#?}", seen.failed);
    assert_eq!((&all["connections_refused"], &all["connections_broken"]), (&json!(0), &json!(0)), "{all:#}");
}
