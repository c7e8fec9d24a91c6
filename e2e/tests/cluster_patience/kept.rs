//! What the kubelet of the test cluster keeps on the node for a pod.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::cluster::Cluster;
use serde_json::Value;

const PODS: &str = "/var/lib/agentaccess-cluster/agentaccess/kubelet/pods";

/// A file of a projected volume.
pub(crate) fn projected(cluster: &Cluster, namespace: &str, name: &str, volume: &str, file: &str) -> PathBuf {
    let pod = cluster.get(&["pod", "-n", namespace, name]).unwrap();
    let folder = Path::new(PODS).join(pod["metadata"]["uid"].as_str().unwrap());
    folder.join("volumes/kubernetes.io~projected").join(volume).join(file)
}

/// The operator's CAs as each sidecar of the namespace knows them, by its pod's uid: those of which it has heard, else
/// those that came with its pod.
pub(crate) fn roots(cluster: &Cluster, namespace: &str) -> Vec<(String, Vec<String>)> {
    let pods = cluster.get(&["pods", "-n", namespace, "-l", "agentaccess.dev/injected=true"]).unwrap();
    let ended = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let known = |pod: &Value| {
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let file = "volumes/kubernetes.io~empty-dir/agentaccess-ca/operator-roots";
        let heard = fs::read_to_string(Path::new(PODS).join(uid).join(file)).ok();
        let args = pod["spec"]["initContainers"][1]["args"].as_array().cloned().unwrap_or_default();
        let came =
            args.iter().filter_map(Value::as_str).find_map(|word| word.strip_prefix("--roots=").map(str::to_owned));
        let roots = heard.or(came).unwrap_or_default();
        (uid.to_owned(), roots.trim().split(',').map(str::to_owned).collect())
    };
    pods["items"].as_array().unwrap().iter().filter(|pod| !ended(pod)).map(known).collect()
}
