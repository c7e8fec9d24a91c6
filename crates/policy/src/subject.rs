//! Who asks: a pod with its service account, or a standalone listener that stands for one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    pub namespace: String,
    pub service_account: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Labels of the namespace, for cluster policies; `kubernetes.io/metadata.name` is always there.
    #[serde(default)]
    pub namespace_labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "podUID")]
    pub pod_uid: Option<String>,
}

/// The label that every namespace carries.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

impl Subject {
    /// Without a cluster nobody sets the label, and whoever writes `namespaceLabels` must not be able to lie in it.
    pub(crate) fn namespace_labels_with_name(&self) -> BTreeMap<String, String> {
        let mut labels = self.namespace_labels.clone();
        labels.insert(NAMESPACE_NAME.to_owned(), self.namespace.clone());
        labels
    }
}
