//! Recordings outlive their pods: one that ended in order is whole, one that was taken away is there up to its last
//! sealed segment, and what is lost of it is told; with durability Replicated no statement that was executed is lost.

use std::process::Command;
use std::time::Duration;

use archive::{Audit, Countersigned, RecordingId};
use e2e::cluster::Cluster;
use e2e::wait;
use e2e::world::Policy;
use recording::verify::Verdict;
use serde_json::{Value, json};

use super::agent::{START, run};
use super::database::World;
use super::store::Recordings;

/// From the end of a pod to the last of it in the store.
const ARRIVES: Duration = Duration::from_secs(15);
/// A segment is sealed after a minute.
const SEALED: Duration = Duration::from_secs(120);
/// The leader looks each minute, and gives a pod that is gone half of one.
const TOLD: Duration = Duration::from_secs(240);

/// Asks again and again, until somebody ends it.
const WORK: &str = "trap exit TERM; n=0; while :; do n=$((n+1)); psql -XAtqc \"SELECT $n AS asked FROM orders WHERE id = 1\"; \
                    echo asked $n; sleep 0.5; done";

fn worker(world: &World) -> RecordingId {
    let name = world.namespace.name.as_str();
    let mut worker = world.worker("worker", WORK);
    worker["spec"]["terminationGracePeriodSeconds"] = json!(30);
    run(&world.cluster, name, &worker);
    let logs = ["logs", "-n", name, "worker", "-c", "agent"];
    wait::eventually("the worker asks", START, || world.cluster.run(&logs, None).unwrap().text.contains("asked 3"))
        .unwrap();
    let pod = world.cluster.get(&["pod", "-n", name, "worker"]).unwrap();
    RecordingId::new(name, pod["metadata"]["uid"].as_str().unwrap()).unwrap()
}

fn gone(cluster: &Cluster, namespace: &str) {
    let pod = ["get", "pod", "-n", namespace, "worker"];
    wait::eventually("the pod is gone", START, || !cluster.run(&pod, None).unwrap().accepted).unwrap();
}

fn events(cluster: &Cluster, namespace: &str, uid: &str) -> Vec<Value> {
    let all = cluster.get(&["events.events.k8s.io", "-n", namespace]).unwrap()["items"].as_array().unwrap().clone();
    let ours = |one: &Value| one["reason"] == "RecordingIncomplete" && one["regarding"]["uid"] == uid;
    all.into_iter().filter(ours).collect()
}

fn countersigned(audit: &Audit) -> u64 {
    match audit.countersigned {
        Countersigned::Head(head) => head.size,
        Countersigned::Never => 0,
        Countersigned::Forged => panic!("{}", audit.countersigned),
    }
}

#[test]
fn a_pod_that_ends_leaves_its_whole_recording() {
    let world = World::new(&Policy::default());
    let recordings = Recordings::open(&world.cluster);
    let name = world.namespace.name.clone();
    let id = worker(&world);
    let delete = ["delete", "pod", "-n", name.as_str(), "worker", "--wait=false"];
    world.cluster.run(&delete, None).unwrap().accepted("the end").unwrap();
    gone(&world.cluster, &name);
    let whole = || recordings.audit(&id).ok().filter(|audit| audit.report.orderly_stop);
    let audit = wait::until("all of it in the store", ARRIVES, || Ok(whole())).unwrap();
    assert_eq!((&audit.report.verdict, audit.meta.pod.as_str()), (&Verdict::Intact, "worker"));
    assert!(countersigned(&audit) + 1 == audit.report.head.size, "{audit:?}");
    let stored = recordings.library.stored(&id).unwrap();
    let lines = recording::reader::entries(&stored).unwrap().map(Result::unwrap);
    let asked = lines.filter(|line| serde_json::to_string(line).unwrap().contains("public.orders")).count();
    assert!(asked >= 3, "{asked}");
}

/// Taken away in the middle of a session by a node that gives it no time: its sidecar stands still and is killed.
#[test]
fn of_a_pod_that_is_taken_away_the_loss_is_told() {
    let world = World::new(&Policy::default());
    let recordings = Recordings::open(&world.cluster);
    let name = world.namespace.name.clone();
    let id = worker(&world);
    let vouched = wait::until("a segment in the store, and more that was countersigned", SEALED, || {
        let Ok(audit) = recordings.audit(&id) else { return Ok(None) };
        let more = audit.report.head.size > 0 && countersigned(&audit) > audit.report.head.size;
        Ok(more.then(|| countersigned(&audit)))
    })
    .unwrap();
    let sidecar = super::node::sidecar(&super::node::nonce(&world.cluster, &name, "worker"));
    assert!(Command::new("kill").args(["-STOP", &sidecar]).status().unwrap().success());
    let kill = ["-n", name.as_str(), "delete", "pod", "worker", "--force", "--grace-period=0"];
    world.cluster.run(&kill, None).unwrap().accepted("the pod").unwrap();
    gone(&world.cluster, &name);

    let audit = recordings.audit(&id).unwrap();
    let Verdict::Truncated { size, expected } = audit.report.verdict else { panic!("{:?}", audit.report) };
    assert!(size > 0 && expected >= vouched && !audit.report.orderly_stop, "{size} of {expected}");
    let told =
        wait::until("an Event", TOLD, || Ok(events(&world.cluster, &name, id.pod_uid()).into_iter().next())).unwrap();
    assert_eq!((&told["type"], &told["regarding"]["name"]), (&json!("Warning"), &json!("worker")));
    let note = told["note"].as_str().unwrap();
    assert!(note.contains(&format!("{size} entries")) && note.contains("countersigned and are lost"), "{note}");
}

/// The same with a policy that says Replicated: whatever the database has logged is in the store.
#[test]
fn of_a_pod_that_is_taken_away_no_replicated_statement_is_lost() {
    let world = World::new(&Policy { recording: "Statements, durability: Replicated", ..Policy::default() });
    let recordings = Recordings::open(&world.cluster);
    let name = world.namespace.name.clone();
    let id = worker(&world);
    // In the middle of its work, well before a segment is sealed.
    std::thread::sleep(Duration::from_secs(7));
    let sidecar = super::node::sidecar(&super::node::nonce(&world.cluster, &name, "worker"));
    assert!(Command::new("kill").args(["-STOP", &sidecar]).status().unwrap().success());
    let kill = ["-n", name.as_str(), "delete", "pod", "worker", "--force", "--grace-period=0"];
    world.cluster.run(&kill, None).unwrap().accepted("the pod").unwrap();
    gone(&world.cluster, &name);

    let numbers = |text: &str| {
        let number = text.split_once("SELECT ")?.1.split_once(" AS asked")?.0;
        number.trim().parse::<u64>().ok()
    };
    let executed: Vec<u64> = world.server.executed().iter().filter_map(|text| numbers(text)).collect();
    let stored = recordings.library.stored(&id).unwrap();
    let intents: Vec<u64> = recording::reader::entries(&stored)
        .unwrap()
        .filter_map(|line| match line.unwrap().body {
            recording::Body::Intent(intent) => numbers(&intent.decided.display?),
            _ => None,
        })
        .collect();
    let lost: Vec<&u64> = executed.iter().filter(|number| !intents.contains(number)).collect();
    assert!(lost.is_empty() && executed.len() > 5, "executed {executed:?}, in the store {intents:?}");
    let audit = recordings.audit(&id).unwrap();
    assert!(!matches!(audit.report.verdict, Verdict::Fault { .. } | Verdict::OtherHead { .. }), "{:?}", audit.report);
    assert!(!audit.report.orderly_stop);
}
