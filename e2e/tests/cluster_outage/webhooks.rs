//! Our own webhooks that are away, that do not answer, and that the API server trusts no longer.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::cluster::{Answer, Cluster, Namespace};
use e2e::tls::Authority;
use e2e::wait;
use serde_json::{Value, json};

use super::agent::{START, governed, pod};
use super::{scale, signal, without_operator};

/// As far as Linux keeps a program's name.
const OPERATOR: &str = "agentaccess-ope";
const SWITCH: &str = "e2e-kill-switch";
const KINDS: [&str; 2] = ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"];

fn create_pod(cluster: &Cluster, namespace: &Namespace, name: &str) -> Answer {
    let answer = cluster.run(&["create", "-n", &namespace.name, "-f", "-"], Some(&pod(name))).unwrap();
    println!("{}", answer.text.trim_end());
    answer
}

/// Over agents of a namespace that is not there.
fn kill_switch(cluster: &Cluster) -> Answer {
    let stop = json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "ClusterAgentAccessPolicy", "metadata": {"name": SWITCH},
        "spec": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": SWITCH}}, "podSelector": {}, "denyAll": true},
    });
    let answer = cluster.run(&["apply", "-f", "-"], Some(&stop)).unwrap();
    cluster.run(&["delete", "caap", SWITCH, "--ignore-not-found"], None).unwrap().accepted("its end").unwrap();
    answer
}

/// What the webhook refuses when it is there.
fn bad_policy(namespace: &Namespace) -> Value {
    let block = json!({"targetRef": {"name": "db"}, "postgres": {"masks": [{"name": "m", "columns": ["a.b.c"], "method": "Redact"}]}});
    json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "AgentAccessPolicy",
        "metadata": {"name": "bad", "namespace": namespace.name, "finalizers": ["example.com/kept"]},
        "spec": {"podSelector": {}, "targets": [block.clone(), block]},
    })
}

/// The finalizer of a bad policy, which goes when the test fails as well: its namespace could not.
struct Kept<'a>(&'a Cluster, &'a str);

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let released = r#"{"metadata": {"finalizers": null}}"#;
        let _ = self.0.run(&["-n", self.1, "patch", "aap", "bad", "--type=merge", "-p", released], None);
    }
}

fn operator_is_back(cluster: &Cluster) {
    let rollout = ["-n", "agentaccess-system", "rollout", "status", "deploy/agentaccess-operator", "--timeout=25s"];
    wait::eventually("the operator", START * 2, || cluster.run(&rollout, None).unwrap().accepted).unwrap();
}

#[test]
fn without_the_operator_no_pod_starts_and_policies_can_be_written() {
    let cluster = Cluster::connect().unwrap();
    let namespace = governed(&cluster);
    without_operator(&cluster);
    create_pod(&cluster, &namespace, "down")
        .refused("a pod", "failed calling webhook \"inject.agentaccess.dev\"")
        .unwrap();
    assert_eq!(cluster.get(&["pods", "-n", &namespace.name]).unwrap()["items"], json!([]));
    let begun = Instant::now();
    kill_switch(&cluster).accepted("denyAll without the operator").unwrap();
    println!("the kill switch without the operator: {:?}", begun.elapsed());
    // Nobody judges it now. It stands against its namespace until it is mended.
    let bad = bad_policy(&namespace);
    cluster.create(&bad).unwrap().accepted("a bad policy without the operator").unwrap();
    let _kept = Kept(&cluster, &namespace.name);

    scale(&cluster, "2");
    operator_is_back(&cluster);
    let name = namespace.name.as_str();
    let mut worse = bad.clone();
    worse["spec"]["targets"].as_array_mut().unwrap().push(json!({"targetRef": {"name": "db"}, "postgres": {}}));
    wait::eventually("the webhook is there", START, || {
        let answer = cluster.run(&["replace", "-f", "-", "--dry-run=server"], Some(&worse)).unwrap();
        answer.refused("a worse one", "spec.targets[1].targetRef.name").is_ok()
    })
    .unwrap();
    // Whatever it says, it can be labelled, mended, and taken away.
    let run = |arguments: &[&str]| cluster.run(&[&["-n", name], arguments].concat(), None).unwrap();
    run(&["label", "aap", "bad", "team=a"]).accepted("a label").unwrap();
    let mended = r#"[{"op": "remove", "path": "/spec/targets/1"}]"#;
    run(&["patch", "aap", "bad", "--dry-run=server", "--type=json", "-p", mended]).accepted("a mended one").unwrap();
    run(&["delete", "aap", "bad", "--wait=false"]).accepted("its deletion").unwrap();
    assert!(run(&["get", "aap", "bad"]).accepted, "somebody keeps it");
    let released = r#"[{"op": "remove", "path": "/metadata/finalizers"}]"#;
    run(&["patch", "aap", "bad", "--type=json", "-p", released]).accepted("its finalizer goes").unwrap();
    run(&["get", "aap", "bad"]).refused("it is gone", "NotFound").unwrap();
}

/// Goes on even when the test fails.
pub(super) struct Stopped;

impl Stopped {
    pub(super) fn new() -> Self {
        signal("-STOP", OPERATOR);
        Self
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("-CONT", OPERATOR);
    }
}

#[test]
fn an_operator_that_does_not_answer_starts_no_pod() {
    let cluster = Cluster::connect().unwrap();
    let namespace = governed(&cluster);
    let configuration = cluster.get(&[KINDS[0], "agentaccess"]).unwrap();
    let patience = Duration::from_secs(configuration["webhooks"][0]["timeoutSeconds"].as_u64().unwrap());
    create_pod(&cluster, &namespace, "before").accepted("a pod").unwrap();
    let stopped = Stopped::new();
    let begun = Instant::now();
    let answer = create_pod(&cluster, &namespace, "silent");
    let took = begun.elapsed();
    answer.refused("a pod", "failed calling webhook \"inject.agentaccess.dev\"").unwrap();
    answer.refused("a pod", "deadline exceeded").unwrap();
    assert!(took >= patience && took < patience + Duration::from_secs(10), "{took:?}");
    let begun = Instant::now();
    kill_switch(&cluster).accepted("denyAll").unwrap();
    println!("a pod is refused after {took:?}; the kill switch takes {:?}", begun.elapsed());
    drop(stopped);
    let pods = cluster.get(&["pods", "-n", &namespace.name]).unwrap();
    let names: Vec<&str> =
        pods["items"].as_array().unwrap().iter().map(|one| one["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["before"]);
    operator_is_back(&cluster);
    wait::eventually("pods start again", START, || create_pod(&cluster, &namespace, "after").accepted).unwrap();
}

fn bundles(cluster: &Cluster) -> Vec<Value> {
    let all = KINDS.map(|kind| cluster.get(&[kind, "agentaccess"]).unwrap()["webhooks"].clone());
    let all = all.iter().flat_map(|webhooks| webhooks.as_array().unwrap().clone());
    all.map(|webhook| webhook["clientConfig"]["caBundle"].clone()).collect()
}

#[test]
fn what_the_api_server_trusts_is_put_right_in_both_configurations() {
    let cluster = Cluster::connect().unwrap();
    let namespace = governed(&cluster);
    let before = bundles(&cluster);
    assert!(before.len() == 3 && before.iter().all(|one| one.is_string() && *one == before[0]), "{before:?}");
    let other = json!(STANDARD.encode(Authority::new(&["x.example.com"]).unwrap().ca));
    let webhooks = [2, 1];
    for (kind, count) in KINDS.iter().zip(webhooks) {
        let patch: Value = (0..count)
            .map(|at| json!({"op": "replace", "path": format!("/webhooks/{at}/clientConfig/caBundle"), "value": other}))
            .collect();
        let patch = patch.to_string();
        cluster
            .run(&["patch", kind, "agentaccess", "--type=json", "-p", &patch], None)
            .unwrap()
            .accepted(kind)
            .unwrap();
    }
    let begun = Instant::now();
    wait::eventually("both are put right", START, || bundles(&cluster) == before).unwrap();
    println!("trusted again after {:?}", begun.elapsed());
    wait::eventually("pods start again", START, || create_pod(&cluster, &namespace, "trusted").accepted).unwrap();
}
