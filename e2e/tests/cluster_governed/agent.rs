//! Pods as people write them, in a governed namespace.

use std::time::Duration;

use e2e::cluster::{Cluster, Namespace};
use e2e::wait;
use serde_json::{Value, json};

/// For a pod to run, its sidecar and its proof of the fence with it.
pub(crate) const START: Duration = Duration::from_secs(60);

pub(crate) fn governed(cluster: &Cluster) -> Namespace {
    cluster.namespace(&json!({"agentaccess.dev/injection": "enabled"})).unwrap()
}

/// A pod that a governed namespace takes, with psql and busybox in it.
pub(crate) fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsUser": 1000, "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container("agent", "sleep 3600")],
        },
    })
}

pub(crate) fn container(name: &str, script: &str) -> Value {
    json!({
        "name": name,
        "image": "localhost/postgres:1",
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", script],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    })
}

/// Makes the pod and waits until its agent runs.
pub(crate) fn run(cluster: &Cluster, namespace: &str, pod: &Value) {
    let name = pod["metadata"]["name"].as_str().unwrap();
    let mut made = pod.clone();
    made["metadata"]["namespace"] = json!(namespace);
    cluster.create(&made).unwrap().accepted(name).unwrap();
    let ready = || cluster.get(&["pod", "-n", namespace, name]).unwrap()["status"].clone();
    let running = |status: &Value| status["phase"] == "Running";
    let waited = wait::eventually("the agent to run", START, || running(&ready()));
    assert!(waited.is_ok(), "{name}: {:#}", ready());
}

/// The objects of a file.
pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    let all = yaml.split("\n---\n").map(|one| serde_yaml::from_str::<Value>(one.trim_start_matches("---\n")).unwrap());
    all.filter(|one| !one.is_null()).collect()
}
