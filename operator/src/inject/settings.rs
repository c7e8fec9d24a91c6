//! What an installation decides for every pod.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ResourceRequirements;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Of the sidecar, with a digest: what runs as the sidecar may not change below a tag.
    pub image: String,
    pub image_pull_policy: String,
    /// Of the sidecar's token; the operator accepts no other.
    pub audience: String,
    /// Where the sidecar finds the operator: `https://NAME:PORT`.
    pub operator: String,
    /// Where the sidecar sends traces and log lines: its arguments, none when it sends them nowhere.
    pub otel: Vec<String>,
    /// Of each of the three containers.
    pub resources: ResourceRequirements,
    /// How much the sidecar may keep on the node's disk.
    pub state_size: String,
    /// Secrets that pods of agents may name, as `namespace/name`.
    pub secrets: BTreeSet<String>,
    /// CSI drivers whose volumes a pod may hold inline.
    pub csi_drivers: BTreeSet<String>,
}
