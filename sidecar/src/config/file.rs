//! `agentaccess.yaml` as written. Unknown fields are errors; meaning is given by the parent module.

use std::path::PathBuf;

use crds::shared::SecretKeyRef;
use policy::subject::Subject;
use serde::Deserialize;

use super::units::de_bytes;
use crate::limits::Limits;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    pub(super) state_dir: PathBuf,
    pub(super) policies: PathBuf,
    #[serde(default)]
    pub(super) listeners: Vec<ListenerEntry>,
    #[serde(default)]
    pub(super) pod: Option<PodEntry>,
    #[serde(default)]
    pub(super) approvers: Vec<super::Approver>,
    #[serde(default)]
    pub(super) approver_group: Option<u32>,
    #[serde(default)]
    pub(super) danger_shared_user: bool,
    #[serde(default)]
    pub(super) recording: RecordingEntry,
    #[serde(default)]
    pub(super) metrics: Option<MetricsEntry>,
    #[serde(default)]
    pub(super) log: super::Log,
    #[serde(default)]
    pub(super) otel: Option<OtelEntry>,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default = "one")]
    pub(super) threads: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ListenerEntry {
    pub(super) target: String,
    pub(super) listen: String,
    pub(super) subject: Subject,
    pub(super) client_auth: ClientAuthEntry,
    #[serde(default)]
    pub(super) tls_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PodEntry {
    pub(super) subject: Subject,
    pub(super) nonce: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ClientAuthEntry {
    #[serde(default)]
    pub(super) scram: Option<ScramEntry>,
    #[serde(default)]
    pub(super) peer_uid: Option<u32>,
    #[serde(default)]
    pub(super) danger_trust_any_peer: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ScramEntry {
    pub(super) username: String,
    pub(super) password_secret_ref: SecretKeyRef,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RecordingEntry {
    #[serde(deserialize_with = "de_bytes")]
    pub(super) max_bytes: u64,
}

impl Default for RecordingEntry {
    fn default() -> Self {
        Self { max_bytes: 10 << 30 }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MetricsEntry {
    pub(super) listen: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OtelEntry {
    pub(super) endpoint: String,
    #[serde(default)]
    pub(super) ca: Option<PathBuf>,
    #[serde(default)]
    pub(super) insecure: bool,
}

fn one() -> usize {
    1
}
