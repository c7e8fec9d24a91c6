//! What the operator remembers of a governed pod.

use std::collections::BTreeMap;

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
}

// === impl Pod ===

impl Pod {
    /// `None` for one that has ended: it never runs again.
    pub(super) fn of(watched: Watched) -> Option<Self> {
        let phase = watched.status.unwrap_or_default().phase;
        let ObjectMeta { uid, namespace, name, labels, .. } = watched.metadata;
        let (uid, namespace, name) = (uid?, namespace?, name?);
        if phase == "Succeeded" || phase == "Failed" {
            return None;
        }
        let labels = labels.unwrap_or_default();
        Some(Self { uid, namespace, name, service_account: watched.spec.service_account_name, labels })
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
        let nameless = json!({"metadata": {}, "spec": {}});
        assert_eq!(Pod::of(serde_json::from_value(nameless).unwrap()), None);
    }
}
