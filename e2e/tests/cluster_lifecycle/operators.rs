//! The replicas of the operator, and the Secret of their CA.

use std::fs;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::cluster::{Answer, Cluster};
use serde_json::{Value, json};

pub(crate) const SYSTEM: &str = "agentaccess-system";
const SECRET: &str = "agentaccess-webhook-ca";

pub(crate) fn pods(cluster: &Cluster) -> Vec<Value> {
    let selector = "app.kubernetes.io/component=operator";
    let pods = cluster.get(&["pods", "-n", SYSTEM, "-l", selector]).unwrap();
    pods["items"].as_array().unwrap().clone()
}

pub(crate) fn image(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().unwrap()
}

/// Who leads, as the Lease says.
pub(crate) fn leader(cluster: &Cluster) -> String {
    lease(cluster).0
}

/// Who leads, and when it said so last.
pub(crate) fn lease(cluster: &Cluster) -> (String, String) {
    let lease = cluster.get(&["lease", "agentaccess-operator", "-n", SYSTEM]).unwrap();
    let word = |name: &str| lease["spec"][name].as_str().unwrap_or_default().to_owned();
    (word("holderIdentity"), word("renewTime"))
}

/// Sends the signal to the operator in this pod. Of our own cluster, whose node is this machine.
pub(crate) fn signal(pod: &str, word: &str) {
    let found = Command::new("pgrep").args(["-x", "agentaccess-ope"]).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    let named = format!("POD_NAME={pod}");
    let ours = |pid: &&str| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|one| one == named.as_bytes())
    };
    let pids: Vec<&str> = found.lines().filter(ours).collect();
    assert_eq!(pids.len(), 1, "one operator in {pod}");
    assert!(Command::new("kill").args([word, pids[0]]).status().unwrap().success());
}

/// As a drain of its node does it: a disruption budget may refuse.
pub(crate) fn evict(cluster: &Cluster, pod: &str) -> Answer {
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": SYSTEM},
    });
    let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{pod}/eviction");
    cluster.run(&["create", "--raw", &path, "-f", "-"], Some(&eviction)).unwrap()
}

/// Both are there and ready, of this image.
pub(crate) fn ready(cluster: &Cluster, tag: &str) -> bool {
    let pods = pods(cluster);
    let ready = |pod: &Value| {
        let going = !pod["metadata"]["deletionTimestamp"].is_null();
        let ready = pod["status"]["containerStatuses"][0]["ready"] == true;
        ready && !going && image(pod).ends_with(tag)
    };
    pods.len() == 2 && pods.iter().all(ready)
}

/// Asks for a new CA in the way that docs/lifecycle.md has.
pub(crate) fn ask_for_a_ca(cluster: &Cluster) {
    let annotate = ["annotate", "secret", SECRET, "-n", SYSTEM, "agentaccess.dev/rotate=now"];
    cluster.run(&annotate, None).unwrap().accepted("a rotation").unwrap();
}

/// The CA that signs, on one line as sidecars are told it, and whether a person still wants another.
pub(crate) fn authority(cluster: &Cluster) -> (String, bool) {
    let secret = cluster.get(&["secret", "-n", SYSTEM, SECRET]).unwrap();
    let pem = STANDARD.decode(secret["data"]["ca.crt"].as_str().unwrap()).unwrap();
    let pem = String::from_utf8(pem).unwrap();
    let asked = !secret["metadata"]["annotations"]["agentaccess.dev/rotate"].is_null();
    (pem.lines().filter(|line| !line.starts_with("-----")).collect(), asked)
}
