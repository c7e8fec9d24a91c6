//! A pod ends while it waits for people: what it asked for is over, whoever says yes later. The oracle is the database.

use e2e::wait;
use serde_json::{Value, json};

use super::agent::{START, container};
use super::asked::{Asked, PATIENCE};
use super::database::AGENT;

#[test]
fn what_a_pod_asked_for_ends_with_it() {
    let mut asked = Asked::new("{name: person, pendingTTL: 60s, holdFor: 55s}");
    let name = asked.world.namespace.name.clone();
    let cluster = asked.world.cluster.clone();
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'agent_db'";
    let requests = || cluster.get(&["areq", "-n", &name]).unwrap()["items"].as_array().unwrap().clone();

    // A Job whose agent does not wait for the answer.
    let mut spec = asked.world.worker("job", "")["spec"].clone();
    spec["containers"][0]["command"] =
        container("agent", "psql -XAtqc 'DELETE FROM orders WHERE id = 7' & sleep 5; echo done")["command"].clone();
    spec["restartPolicy"] = json!("Never");
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once", "namespace": name},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": {"app": AGENT}}, "spec": spec}},
    });
    cluster.create(&job).unwrap().accepted("a Job").unwrap();
    let mine = |one: &Value| one["spec"]["statement"].as_str().unwrap().contains("= 7");
    let question = wait::until("its question", START, || Ok(requests().into_iter().find(|one| mine(one)))).unwrap();
    let held = question["metadata"]["name"].as_str().unwrap();
    wait::eventually("the Job is complete", START, || {
        cluster.get(&["job", "-n", &name, "once"]).unwrap()["status"]["succeeded"] == 1
    })
    .unwrap();
    let over = |name: &str| {
        let phase = requests().into_iter().find(|one| one["metadata"]["name"] == name);
        phase.is_none_or(|one| ["Withdrawn", "Revoked"].contains(&one["status"]["phase"].as_str().unwrap_or_default()))
    };
    wait::eventually("it is over", PATIENCE, || over(held)).unwrap();
    let annotate = ["-n", &name, "annotate", "areq", held, "agentaccess.dev/decision=approve"];
    // Given up by the agent, or closed because it was gone: whichever was written first.
    let closed = |name: &str| format!("nobody can decide on {name} any more: ");
    cluster.user("alice").run(&annotate, None).unwrap().refused("too late", &closed(held)).unwrap();

    // A pod that somebody takes away, with no time to say a last word.
    let held = asked.hold(1);
    let kill = ["-n", &name, "delete", "pod", AGENT, "--force", "--grace-period=0"];
    cluster.run(&kill, None).unwrap().accepted("the pod").unwrap();
    wait::eventually("it is over", PATIENCE * 2, || over(&held.name)).unwrap();
    // It goes with its pod, as soon as the garbage collector comes by.
    let late = asked.approve("alice", &held);
    let gone = format!("\"{}\" not found", held.name);
    assert!(!late.accepted && [closed(&held.name), gone].iter().any(|why| late.text.contains(why)), "{}", late.text);
    wait::eventually("no connection is left", PATIENCE, || asked.world.server.admin(sessions).unwrap() == "0").unwrap();
    assert_eq!(asked.deleted(), 0);
}
