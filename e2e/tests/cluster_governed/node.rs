//! What the node sees of a pod: its processes and its folders. Of our own cluster, whose node is this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::cluster::Cluster;
use serde_json::Value;

fn pod(cluster: &Cluster, namespace: &str, name: &str) -> Value {
    cluster.get(&["pod", "-n", namespace, name]).unwrap()
}

/// Tells the pod's sidecar from all others.
pub(crate) fn nonce(cluster: &Cluster, namespace: &str, name: &str) -> String {
    let args = pod(cluster, namespace, name)["spec"]["initContainers"][1]["args"].clone();
    let words = args.as_array().into_iter().flatten().filter_map(Value::as_str);
    words.filter_map(|word| word.strip_prefix("--nonce=")).next().unwrap().to_owned()
}

/// The process of the sidecar with this nonce, as the node numbers it.
pub(crate) fn sidecar(nonce: &str) -> String {
    let found = Command::new("pgrep").args(["-f", &format!("proxy --nonce={nonce}")]).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    let pids: Vec<&str> = found.lines().collect();
    assert_eq!(pids.len(), 1, "one sidecar has this nonce: {nonce}");
    pids[0].to_owned()
}

pub(crate) fn kill_sidecar(nonce: &str) {
    let killed = Command::new("pkill").args(["-KILL", "-f", &format!("proxy --nonce={nonce}")]).status().unwrap();
    assert!(killed.success(), "no sidecar with {nonce}");
}

/// Where the kubelet keeps this volume of the pod, as KIND/NAME.
pub(crate) fn volume(cluster: &Cluster, namespace: &str, name: &str, volume: &str) -> PathBuf {
    let uid = pod(cluster, namespace, name)["metadata"]["uid"].as_str().unwrap().to_owned();
    Path::new("/var/lib/agentaccess-cluster/agentaccess/kubelet/pods").join(uid).join("volumes").join(volume)
}

/// What the pod's sidecar writes.
pub(crate) fn state(cluster: &Cluster, namespace: &str, name: &str) -> PathBuf {
    volume(cluster, namespace, name, "kubernetes.io~empty-dir/agentaccess-state").join("state")
}
