//! Our webhook among others: one that changes a pod after us, one that insists, one that never answers. Each is called for
//! one namespace only.

#[path = "webhooks/second.rs"]
mod second;

use std::time::{Duration, Instant};

use e2e::cluster::{Answer, Cluster, Namespace};
use e2e::wait;
use serde_json::{Value, json};

use super::agent::{START, container, governed, pod, run};
use second::{Reply, Second};

const OURS: [&str; 3] = ["agentaccess-init", "agentaccess-proxy", "agentaccess-verify"];

/// A webhook configuration of this name; deleted when dropped.
struct Configured {
    cluster: Cluster,
    name: String,
}

impl Configured {
    /// Called after ours, which `agentaccess` comes before, for the pods of one namespace.
    fn new(cluster: &Cluster, namespace: &Namespace, server: &Second, webhook: &Value) -> Self {
        let name = format!("e2e-{}", namespace.name);
        assert!(name.as_str() > "agentaccess");
        let mut webhook = webhook.clone();
        webhook["name"] = json!("second.example.com");
        webhook["clientConfig"] = server.client_config();
        webhook["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace.name}});
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name}, "webhooks": [webhook],
        });
        cluster.create(&configuration).unwrap().accepted("a second webhook").unwrap();
        let configured = Self { cluster: cluster.clone(), name };
        // The API server hears of it a moment later.
        wait::eventually("the second webhook is called", Duration::from_secs(20), || {
            let _ = configured.dry(namespace, &pod("probe"));
            server.calls() > 0
        })
        .unwrap();
        configured
    }

    fn dry(&self, namespace: &Namespace, pod: &Value) -> Answer {
        self.cluster.run(&["create", "-n", &namespace.name, "--dry-run=server", "-f", "-"], Some(pod)).unwrap()
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        let deleted = self.cluster.run(&["delete", "mutatingwebhookconfiguration", &self.name], None);
        if !deleted.as_ref().is_ok_and(|answer| answer.accepted) {
            eprintln!("the configuration {} stays: {deleted:?}", self.name);
        }
    }
}

/// Ours as the chart has it, but for its name, its place and its namespaces.
fn like_ours(cluster: &Cluster) -> Value {
    let configuration = cluster.get(&["mutatingwebhookconfiguration", "agentaccess"]).unwrap();
    let all = configuration["webhooks"].as_array().unwrap();
    let ours = all.iter().find(|webhook| webhook["name"] == "inject.agentaccess.dev").unwrap();
    assert_eq!((&ours["failurePolicy"], &ours["reinvocationPolicy"]), (&json!("Fail"), &json!("IfNeeded")));
    ours.clone()
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    let all = pod["spec"][list].as_array().into_iter().flatten();
    all.filter_map(|one| one["name"].as_str()).map(str::to_owned).collect()
}

/// Puts a container of its own before all that run at the start, and one beside the agent.
fn first(pod: &Value) -> Reply {
    let mut patch = Vec::new();
    let at = names(pod, "initContainers").iter().position(|name| name == "first");
    if at != Some(0) {
        patch.extend(at.map(|at| json!({"op": "remove", "path": format!("/spec/initContainers/{at}")})));
        patch.push(json!({"op": "add", "path": "/spec/initContainers/0", "value": container("first", "true")}));
    }
    if !names(pod, "containers").contains(&"beside".to_owned()) {
        patch.push(json!({"op": "add", "path": "/spec/containers/-", "value": container("beside", "sleep 3600")}));
    }
    Reply::Patch(json!(patch))
}

/// The same, but it looks only once: it is content to be there.
fn once(pod: &Value) -> Reply {
    if names(pod, "initContainers").contains(&"first".to_owned()) { Reply::Patch(json!([])) } else { first(pod) }
}

fn others() -> Value {
    json!({
        "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail", "timeoutSeconds": 10,
        "reinvocationPolicy": "IfNeeded",
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
    })
}

#[test]
fn what_another_webhook_adds_comes_after_us_and_is_governed() {
    let cluster = Cluster::connect().unwrap();
    let namespace = governed(&cluster);
    let second = Second::start(once);
    let _configured = Configured::new(&cluster, &namespace, &second, &others());
    run(&cluster, &namespace.name, &pod("between"));
    let made = cluster.get(&["pod", "-n", &namespace.name, "between"]).unwrap();
    // It was put at 0 when we had been there: only a second call of ours has us first again.
    assert_eq!(names(&made, "initContainers"), [&OURS[..], &["first"]].concat());
    assert_eq!(names(&made, "containers"), ["agent", "beside"]);
    // Its container has what governs the agent: roots to trust, and no token.
    let containers = made["spec"]["containers"].as_array().unwrap();
    let mounts = |at: usize| -> Vec<String> {
        let all = containers[at]["volumeMounts"].as_array().into_iter().flatten();
        all.map(|mount| format!("{} {}", mount["name"], mount["mountPath"])).collect()
    };
    assert!(!mounts(0).is_empty() && mounts(0) == mounts(1), "{:?} {:?}", mounts(0), mounts(1));
    // And what it sends goes nowhere.
    let dial = "nc -w 5 192.0.2.1 443 </dev/null";
    let exec = ["exec", "-n", &namespace.name, "between", "-c", "beside", "--", "sh", "-c", dial];
    let answer = cluster.run(&exec, None).unwrap();
    assert!(!answer.accepted || answer.text.is_empty() || answer.text.starts_with("agentaccess "), "{}", answer.text);
}

#[test]
fn another_webhook_that_insists_on_being_first_is_refused_by_the_wall() {
    let cluster = Cluster::connect().unwrap();
    let namespace = governed(&cluster);
    let second = Second::start(first);
    let configured = Configured::new(&cluster, &namespace, &second, &others());
    let dry = configured.dry(&namespace, &pod("insists"));
    println!("{}", dry.text.trim_end());
    dry.refused("a dry run", "spec.initContainers must begin with agentaccess-init").unwrap();
    let made = cluster.run(&["create", "-n", &namespace.name, "-f", "-"], Some(&pod("insists"))).unwrap();
    made.refused("a pod", "spec.initContainers must begin with agentaccess-init").unwrap();
    assert_eq!(cluster.get(&["pods", "-n", &namespace.name]).unwrap()["items"], json!([]));
}

/// With the settings of ours; ours itself, stopped, is in `cluster_outage.rs`.
#[test]
fn a_webhook_that_never_answers_or_is_not_there_starts_no_pod() {
    let cluster = Cluster::connect().unwrap();
    let namespace = governed(&cluster);
    let silent = Second::start(|_| Reply::Nothing);
    let webhook = like_ours(&cluster);
    let patience = Duration::from_secs(webhook["timeoutSeconds"].as_u64().unwrap());
    let configured = Configured::new(&cluster, &namespace, &silent, &webhook);
    let begun = Instant::now();
    let create = ["create", "-n", &namespace.name, "-f", "-"];
    let answer = cluster.run(&create, Some(&pod("silent"))).unwrap();
    let took = begun.elapsed();
    println!("after {took:?}: {}", answer.text.trim_end());
    answer.refused("a pod", "failed calling webhook \"second.example.com\"").unwrap();
    answer.refused("a pod", "deadline exceeded").unwrap();
    assert!(took >= patience && took < patience + Duration::from_secs(10), "{took:?}");

    drop(silent);
    let answer = cluster.run(&create, Some(&pod("gone"))).unwrap();
    println!("{}", answer.text.trim_end());
    answer.refused("a pod", "failed calling webhook \"second.example.com\"").unwrap();
    assert_eq!(cluster.get(&["pods", "-n", &namespace.name]).unwrap()["items"], json!([]));
    // It is that webhook alone.
    drop(configured);
    wait::eventually("pods start again", START, || cluster.run(&create, Some(&pod("after"))).unwrap().accepted)
        .unwrap();
}
