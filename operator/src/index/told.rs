//! What the API server holds of an object besides its spec: which one it is, and what was said of it.
//!
//! No sidecar is told of it, so no change of it wakes a sidecar's stream.

use crds::status::{PolicyStatus, TargetStatus};
use kube::api::ObjectMeta;
use serde_json::Value;

use super::object::Kind;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub uid: String,
    pub generation: i64,
    /// Of a target only what it has too. `None`: nothing, or nothing that can be read.
    pub status: Option<PolicyStatus>,
}

// === impl Told ===

impl Told {
    pub(super) fn of(kind: Kind, metadata: &ObjectMeta, status: Option<&Value>) -> Self {
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            status: status.and_then(|status| read(kind, status)),
        }
    }
}

fn read(kind: Kind, status: &Value) -> Option<PolicyStatus> {
    match kind {
        Kind::Policy | Kind::ClusterPolicy => serde_json::from_value(status.clone()).ok(),
        Kind::Target => {
            let TargetStatus { observed_generation, conditions } = serde_json::from_value(status.clone()).ok()?;
            Some(PolicyStatus { observed_generation, conditions, ..PolicyStatus::default() })
        }
    }
}
