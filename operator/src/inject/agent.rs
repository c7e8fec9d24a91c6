//! What every container of the user gets: the pod's own roots of trust, a service account folder that is worth nothing,
//! the environment by which clients find both, and safe values where it says nothing about its rights.

use serde_json::{Value, json};

use super::json::{self, Object};

const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The same, where Red Hat's family looks for it.
const BUNDLE_RED_HAT: &str = "/etc/pki/tls/certs/ca-bundle.crt";
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Where nothing of the user's may be mounted.
pub(super) const MOUNTS: &[&str] = &[BUNDLE, BUNDLE_RED_HAT, ACCOUNT];

/// Clients that bring roots of their own look here. Each names the bundle.
const TRUST: &[&str] = &[
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PGSSLROOTCERT",
    "DENO_CERT",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "HTTPLIB2_CA_CERTS",
    "NIX_SSL_CERT_FILE",
];
/// The API server is dialled by a name, since the sidecar knows targets by their names. The pod's own value wins over
/// the address that the kubelet sets.
const API_SERVER: (&str, &str) = ("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc");

/// Changes every container of the user; says what they will notice.
pub(super) fn govern(pod: &mut Value, warnings: &mut Vec<String>) {
    json::root(pod, |pod| {
        json::object(pod, "spec", |spec| {
            json::object(spec, "securityContext", |context| {
                json::default(context, "seccompProfile", json!({"type": "RuntimeDefault"}));
            });
            for key in ["initContainers", "containers"] {
                json::each_object(spec, key, |container| one(container, warnings));
            }
        });
    });
}

fn one(container: &mut Object, warnings: &mut Vec<String>) {
    let name = container.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    json::list(container, "volumeMounts", |mounts| {
        let trust = crds::pod::TRUST_VOLUME;
        for path in [BUNDLE, BUNDLE_RED_HAT] {
            let file = crds::pod::TRUST_FILE;
            mounts.push(json!({"name": trust, "mountPath": path, "subPath": file, "readOnly": true}));
        }
        mounts.push(json!({"name": crds::pod::ACCOUNT_VOLUME, "mountPath": ACCOUNT, "readOnly": true}));
    });
    json::list(container, "env", |env| {
        let ours: Vec<(&str, &str)> = TRUST.iter().map(|name| (*name, BUNDLE)).chain([API_SERVER]).collect();
        env.retain(|variable| {
            let own = json::text(variable, "name");
            let Some((_, value)) = ours.iter().find(|(name, _)| *name == own) else { return true };
            if json::text(variable, "value") != *value {
                warnings.push(format!("container `{name}`: {own} is set by agentaccess, your value is not used"));
            }
            false
        });
        env.extend(ours.iter().map(|(name, value)| json!({"name": name, "value": value})));
    });
    json::object(container, "securityContext", |context| {
        json::default(context, "allowPrivilegeEscalation", json!(false));
        json::object(context, "capabilities", |capabilities| {
            json::list(capabilities, "drop", |drop| {
                if !drop.contains(&json!("ALL")) {
                    warnings.push(format!("container `{name}`: runs without capabilities (drop: ALL)"));
                    *drop = vec![json!("ALL")];
                }
            });
        });
    });
}
