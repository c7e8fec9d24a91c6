//! A pod that the webhook could have written, written by hand from the installed profile.

use std::sync::LazyLock;

use e2e::cluster::{Cluster, Namespace};
use serde_json::{Value, json};

pub(crate) const USER: u32 = 1_234_567_890;
const VERIFIER: u32 = USER + 1;
const NONCE: &str = "0123456789abcdef0123456789abcdef";
const ROOTS: &str = "MIIB,MIIC";

/// The cluster, once it is sure that only the second wall stands.
pub(crate) fn cluster() -> Cluster {
    static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
        let cluster = Cluster::connect().unwrap();
        let webhooks = cluster.get(&["mutatingwebhookconfigurations"]).unwrap();
        let ours = |one: &Value| one["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("agentaccess"));
        let any = webhooks["items"].as_array().unwrap().iter().any(ours);
        assert!(!any, "the injection webhook is there: scripts/e2e.sh deletes it before it runs these tests");
        // The operator's part of the profile.
        let roots = json!({"status": {"roots": [ROOTS]}}).to_string();
        let patch = ["patch", "injectionprofile", "agentaccess", "--subresource=status", "--type=merge", "-p", &roots];
        cluster.run(&patch, None).unwrap().accepted("the operator's roots").unwrap();
        cluster
    });
    CLUSTER.clone()
}

pub(crate) fn governed(cluster: &Cluster) -> Namespace {
    cluster.namespace(&json!({"agentaccess.dev/injection": "enabled"})).unwrap()
}

pub(crate) fn profile(cluster: &Cluster) -> Value {
    cluster.get(&["injectionprofile", "agentaccess"]).unwrap()["spec"].clone()
}

/// A pod that is accepted.
pub(crate) fn pod(namespace: &Namespace, profile: &Value) -> Value {
    let release = &profile["releases"][0];
    let mut ours = release["containers"].clone();
    for container in ours.as_array_mut().unwrap() {
        for argument in container["args"].as_array_mut().unwrap() {
            let text = argument.as_str().unwrap();
            *argument =
                json!(text.replace("{user}", &USER.to_string()).replace("{nonce}", NONCE).replace("{roots}", ROOTS));
        }
    }
    ours[0]["args"].as_array_mut().unwrap().push(json!("--inbound=8080,8081"));
    for (index, user) in [(1, USER), (2, VERIFIER)] {
        ours[index]["securityContext"]["runAsUser"] = json!(user);
        ours[index]["securityContext"]["runAsGroup"] = json!(user);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "agent",
            "namespace": namespace.name,
            "labels": {"app": "agent", "agentaccess.dev/injected": "true"},
            "annotations": {"agentaccess.dev/proxy-user": format!("{USER}.1790000000.00ff")},
        },
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": ours,
            "volumes": release["volumes"],
            "containers": [{
                "name": "main",
                "image": "localhost/busybox:1",
                "imagePullPolicy": "Never",
                "command": ["sleep", "3600"],
                "ports": [{"containerPort": 8080}],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [
                    {"name": "agentaccess-trust", "mountPath": "/etc/ssl/certs/ca-certificates.crt",
                     "subPath": "ca-certificates.crt", "readOnly": true},
                    {"name": "agentaccess-account", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                     "readOnly": true},
                ],
            }],
        },
    })
}

/// A container that is accepted beside ours.
pub(crate) fn container(name: &str) -> Value {
    json!({
        "name": name,
        "image": "localhost/busybox:1",
        "imagePullPolicy": "Never",
        "command": ["sleep", "3600"],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    })
}

/// The pod with 100 containers more, each with so many mounts and variables.
pub(crate) fn large(pod: &Value, mounts: usize, variables: usize) -> Value {
    let mut large = pod.clone();
    for n in 0..mounts {
        large = with(&large, "/spec/volumes/-", json!({"name": format!("v{n}"), "emptyDir": {}}));
    }
    let mounts: Vec<Value> =
        (0..mounts).map(|n| json!({"name": format!("v{n}"), "mountPath": format!("/data/{n}")})).collect();
    let env: Vec<Value> = (0..variables).map(|n| json!({"name": format!("V{n}"), "value": "x"})).collect();
    for n in 0..100 {
        let mut one = container(&format!("c{n}"));
        one["volumeMounts"] = json!(mounts);
        one["env"] = json!(env);
        large = with(&large, "/spec/containers/-", one);
    }
    large
}

/// The pod with one value set, or with one taken away when it is null. The last step `-` adds to a list.
pub(crate) fn with(pod: &Value, pointer: &str, value: Value) -> Value {
    let mut changed = pod.clone();
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let mut at = &mut changed;
    for step in parent.split('/').skip(1) {
        let step = step.replace("~1", "/");
        at = match step.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[step],
        };
    }
    let last = last.replace("~1", "/");
    match (at, value) {
        (Value::Array(items), value) if last == "-" => items.push(value),
        (Value::Array(items), Value::Null) => drop(items.remove(last.parse().unwrap())),
        (Value::Array(items), value) => items[last.parse::<usize>().unwrap()] = value,
        (at, value) if last == "-" => *at = json!([value]),
        (at, Value::Null) => drop(at.as_object_mut().unwrap().remove(&last)),
        (at, value) => at[last] = value,
    }
    changed
}
