//! Takes away what only we may write: containers and volumes called `agentaccess-*`, every mount of such a volume, and
//! the token that Kubernetes puts into each container before a webhook sees the pod.
//!
//! What an earlier injection wrote goes the same way: there is one path, and no mark that says "already injected".

use serde_json::Value;

use super::json;

/// Volumes that the admission of service accounts adds.
const API_ACCESS: &str = "kube-api-access-";

/// What was removed and called like ours, sorted.
pub(super) fn strip(pod: &mut Value) -> Vec<String> {
    let mut removed = Vec::new();
    json::root(pod, |pod| {
        json::object(pod, "spec", |spec| {
            for key in ["initContainers", "containers", "ephemeralContainers"] {
                json::list(spec, key, |items| items.retain(|item| keep(item, &mut removed)));
                json::each_object(spec, key, |container| {
                    json::list(container, "volumeMounts", |mounts| {
                        mounts.retain(|mount| !gone(json::text(mount, "name")))
                    });
                });
            }
            json::list(spec, "volumes", |volumes| {
                volumes.retain(|volume| keep(volume, &mut removed) && !gone(json::text(volume, "name")));
            });
        });
    });
    removed.sort();
    removed.dedup();
    removed
}

fn keep(item: &Value, removed: &mut Vec<String>) -> bool {
    let name = json::text(item, "name");
    let ours = name.starts_with(crds::pod::PREFIX);
    if ours {
        removed.push(name.to_owned());
    }
    !ours
}

fn gone(volume: &str) -> bool {
    volume.starts_with(crds::pod::PREFIX) || volume.starts_with(API_ACCESS)
}
