//! What a sidecar is started with, and the `agentaccess.yaml` that comes of it.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{AGENT, ALICE, BOB, Sidecar};
use crate::objects::NAMESPACE;

/// One listener of `agentaccess.yaml`.
#[derive(Clone, Debug)]
pub struct Listener {
    /// An AccessTarget.
    pub target: String,
    /// Labels of the subject; its namespace is `local`.
    pub labels: Vec<(String, String)>,
    pub service_account: String,
    /// The whole `clientAuth`.
    pub auth: Value,
    /// `unix:` below the sidecar's folder, instead of a TCP port.
    pub unix: bool,
}

impl Listener {
    /// The agent proves itself as [`AGENT`] with SCRAM.
    pub fn scram(target: &str) -> Self {
        let auth =
            json!({"scram": {"username": AGENT, "passwordSecretRef": {"name": "agent-login", "key": "password"}}});
        Self::with(target, auth)
    }

    /// Any local process is the agent (`dangerTrustAnyPeer`).
    pub fn danger_trust_any_peer(target: &str) -> Self {
        Self::with(target, json!({"dangerTrustAnyPeer": true}))
    }

    /// A Unix socket; the peer must have this uid.
    pub fn unix(target: &str, uid: u32) -> Self {
        Self { unix: true, ..Self::with(target, json!({ "peerUid": uid })) }
    }

    fn with(target: &str, auth: Value) -> Self {
        Self {
            target: target.to_owned(),
            labels: vec![("app".to_owned(), "agent".to_owned())],
            service_account: "agent".to_owned(),
            auth,
            unix: false,
        }
    }
}

/// All that a sidecar is started with.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// YAML documents: targets and their Secrets ([`crate::objects::target`]), policies. The Secret of [`Listener::scram`]
    /// is added.
    pub objects: String,
    pub listeners: Vec<Listener>,
    /// `maxBytes` of the recording, such as `10GiB`.
    pub recording_max: Option<String>,
    /// Members for `agentaccess.yaml` that replace what stands here, an object.
    pub config: Option<Value>,
    pub environment: Vec<(String, String)>,
    /// Where the state goes instead of a folder of its own, for a small file system.
    pub state: Option<PathBuf>,
    /// The build that kills itself at the point that `AGENTACCESS_FAILPOINT` names.
    pub failpoints: bool,
}

impl Sidecar {
    /// `agentaccess.yaml`.
    pub(super) fn config(&self, setup: &Setup) -> Value {
        let listeners: Vec<Value> = setup
            .listeners
            .iter()
            .zip(&self.ports)
            .enumerate()
            .map(|(n, (listener, port))| {
                let place = if listener.unix {
                    format!("unix:{}", self.unix_socket(n).display())
                } else {
                    format!("127.0.0.1:{port}")
                };
                let labels: serde_json::Map<_, _> =
                    listener.labels.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
                json!({
                    "target": listener.target, "listen": place, "clientAuth": listener.auth,
                    "subject": {
                        "namespace": NAMESPACE, "serviceAccount": listener.service_account, "labels": labels,
                    },
                })
            })
            .collect();
        let (approvers, shared) = approvers();
        let mut config = json!({
            "stateDir": self.state, "policies": "./policies", "listeners": listeners, "approvers": approvers,
            "metrics": {"listen": format!("127.0.0.1:{}", self.metrics)},
        });
        if let Some(members) = config.as_object_mut() {
            if shared {
                members.insert("dangerSharedUser".to_owned(), Value::Bool(true));
            }
            if let Some(most) = &setup.recording_max {
                members.insert("recording".to_owned(), json!({ "maxBytes": most }));
            }
            if let Some(Value::Object(more)) = &setup.config {
                members.extend(more.clone());
            }
        }
        config
    }
}

/// The approvers of a test: alice and bob, or ourselves when only root could be somebody else.
fn approvers() -> (Value, bool) {
    let me = rustix::process::getuid();
    if me.is_root() {
        (json!([{"name": "alice", "uid": ALICE}, {"name": "bob", "uid": BOB}]), false)
    } else {
        (json!([{"name": "me", "uid": me.as_raw()}]), true)
    }
}
