//! What the operator remembers of a governed pod.

use std::collections::BTreeMap;

use crds::approval::JobRef;
use kube::api::ObjectMeta;
use kube::core::Object;
use serde::Deserialize;

/// As it is watched: of a pod nothing else is kept in memory.
pub(super) type Watched = Object<Spec, Status>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    service_account_name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    phase: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub service_account: String,
    pub labels: BTreeMap<String, String>,
    /// That it belongs to.
    pub job: Option<JobRef>,
}

// === impl Pod ===

impl Pod {
    /// `None` for one that has ended: it never runs again.
    pub(super) fn of(watched: Watched) -> Option<Self> {
        let phase = watched.status.unwrap_or_default().phase;
        let ObjectMeta { uid, namespace, name, labels, owner_references, .. } = watched.metadata;
        let (uid, namespace, name) = (uid?, namespace?, name?);
        if phase == "Succeeded" || phase == "Failed" {
            return None;
        }
        let labels = labels.unwrap_or_default();
        let owner = owner_references.into_iter().flatten().find(|owner| owner.controller == Some(true));
        let job = owner.filter(|owner| owner.kind == "Job" && owner.api_version.starts_with("batch/"));
        let job = job.map(|owner| JobRef { name: owner.name, uid: owner.uid });
        Some(Self { uid, namespace, name, service_account: watched.spec.service_account_name, labels, job })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_lives_and_only_who_it_is() {
        let read = |phase: &str| {
            let pod = json!({
                "metadata": {"name": "a", "namespace": "n", "uid": "u", "labels": {"app": "x"}},
                "spec": {"serviceAccountName": "sa", "containers": [{"name": "c"}]},
                "status": {"phase": phase, "podIP": "10.0.0.1"},
            });
            Pod::of(serde_json::from_value(pod).unwrap())
        };
        let pod = read("Running").unwrap();
        assert_eq!((pod.service_account.as_str(), pod.labels["app"].as_str()), ("sa", "x"));
        assert!(read("Pending").is_some() && read("Succeeded").is_none() && read("Failed").is_none());
        assert_eq!(pod.job, None);
        let owned = |kind: &str, api: &str, controller: bool| {
            let pod = json!({
                "metadata": {"name": "a", "namespace": "n", "uid": "u", "ownerReferences": [
                    {"apiVersion": api, "kind": kind, "name": "j", "uid": "j-1", "controller": controller}]},
                "spec": {"serviceAccountName": "sa"},
            });
            Pod::of(serde_json::from_value(pod).unwrap()).unwrap().job
        };
        assert_eq!(owned("Job", "batch/v1", true), Some(JobRef { name: "j".to_owned(), uid: "j-1".to_owned() }));
        assert_eq!(owned("Job", "batch/v1", false), None);
        assert_eq!(owned("Job", "example.com/v1", true), None);
        assert_eq!(owned("ReplicaSet", "apps/v1", true), None);
        let nameless = json!({"metadata": {}, "spec": {}});
        assert_eq!(Pod::of(serde_json::from_value(nameless).unwrap()), None);
    }
}
