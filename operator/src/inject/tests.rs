//! Tables and properties of the injection.

mod identity;
mod properties;
mod refusals;
mod result;

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{Injected, Moment, Refused, Seal, Settings, inject};

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) static SEAL: LazyLock<Seal> = LazyLock::new(|| Seal::new(b"a secret of the installation"));

pub(crate) fn settings() -> Settings {
    Settings {
        image: "registry.example/sidecar:1@sha256:00".to_owned(),
        image_pull_policy: "IfNotPresent".to_owned(),
        audience: "agentaccess.dev".to_owned(),
        operator: "https://agentaccess-operator.agentaccess-system.svc:9444".to_owned(),
        otel: Vec::new(),
        resources: Default::default(),
        state_size: "1Gi".to_owned(),
        secrets: ["agents/allowed".to_owned()].into(),
        csi_drivers: ["csi.example".to_owned()].into(),
    }
}

pub(crate) fn moment(draw: u64) -> Moment<'static> {
    Moment { now: NOW, draw, seal: &SEAL, roots: "Q0E=" }
}

pub(crate) fn run(pod: &Value) -> Result<Injected, Refused> {
    inject(pod, "agents", &settings(), &moment(42))
}

/// As a user writes it, and as it reaches a webhook: with the token that Kubernetes has put in.
pub(crate) fn plain() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "agent", "labels": {"app": "agent"}},
        "spec": {
            "serviceAccountName": "agent",
            "initContainers": [{"name": "prepare", "image": "busybox"}],
            "containers": [{
                "name": "agent",
                "image": "agent:1",
                "env": [{"name": "MODE", "value": "fast"}],
                "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
                "readinessProbe": {"httpGet": {"port": "http", "path": "/"}},
                "livenessProbe": {"tcpSocket": {"port": 9000}},
                "volumeMounts": [
                    {"name": "work", "mountPath": "/work"},
                    {"name": "kube-api-access-x7x7x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
                ],
            }],
            "volumes": [
                {"name": "work", "emptyDir": {}},
                {"name": "kube-api-access-x7x7x", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            ],
        },
    })
}

/// What `with` makes of the plain pod.
pub(super) fn changed(with: impl FnOnce(&mut Value)) -> Value {
    let mut pod = plain();
    with(&mut pod);
    pod
}

pub(super) fn names(pod: &Value, list: &str) -> Vec<String> {
    super::json::each(&pod["spec"], list).map(|one| super::json::text(one, "name").to_owned()).collect()
}
