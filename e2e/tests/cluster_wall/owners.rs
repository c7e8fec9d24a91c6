//! What makes pods is accepted and warned about.

use serde_json::{Value, json};

use super::agent::{cluster, governed};

fn owner(kind: &str, namespace: &str, spec: &Value) -> Value {
    let labels = json!({"app": "agent"});
    let template = json!({"metadata": {"labels": labels}, "spec": spec});
    let selector = json!({"matchLabels": labels});
    let (group, body) = match kind {
        "StatefulSet" => ("apps/v1", json!({"selector": selector, "template": template, "serviceName": "a"})),
        "Job" => ("batch/v1", json!({"template": template})),
        "CronJob" => ("batch/v1", json!({"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": template}}})),
        _ => ("apps/v1", json!({"selector": selector, "template": template})),
    };
    json!({"apiVersion": group, "kind": kind, "metadata": {"name": "agent", "namespace": namespace}, "spec": body})
}

#[test]
fn every_owner_is_warned_and_accepted() {
    let cluster = cluster();
    let namespace = governed(&cluster);
    let container = json!({"name": "main", "image": "localhost/busybox:1"});
    let kinds = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"];
    for kind in kinds {
        let restart = if kind.ends_with("Job") { "Never" } else { "Always" };
        let mut spec =
            json!({"restartPolicy": restart, "securityContext": {"runAsUser": 1000}, "containers": [container]});
        let good = cluster.would_create(&owner(kind, &namespace.name, &spec)).unwrap();
        good.accepted(kind).unwrap();
        assert!(!good.text.contains("Warning"), "{kind}: the webhook fills in the rest: {}", good.text);

        spec["hostNetwork"] = json!(true);
        spec["hostAliases"] = json!([{"ip": "192.0.2.1", "hostnames": ["db.example.com"]}]);
        spec["containers"][0]["securityContext"] =
            json!({"privileged": true, "capabilities": {"drop": ["NET_RAW"], "add": ["NET_ADMIN"]}});
        spec["containers"][0]["envFrom"] = json!([{"secretRef": {"name": "db"}}]);
        spec["volumes"] = json!([{"name": "x", "hostPath": {"path": "/"}}]);
        spec["securityContext"] = json!({
            "seccompProfile": {"type": "Unconfined"}, "appArmorProfile": {"type": "Unconfined"}, "seLinuxOptions": {"type": "spc_t"},
        });
        let bad = cluster.would_create(&owner(kind, &namespace.name, &spec)).unwrap();
        bad.accepted(kind).unwrap();
        for warning in [
            "spec.hostNetwork",
            "spec.hostAliases",
            "privileged must be false",
            "capabilities.add",
            "capabilities.drop",
            "must not name a Secret",
            "spec.volumes may be",
            "seccompProfile",
            "spec.securityContext.appArmorProfile.type",
            "spec.securityContext.seLinuxOptions",
            "runAsUser must be set",
        ] {
            assert!(bad.text.contains("Warning") && bad.text.contains(warning), "{kind}: {warning}: {}", bad.text);
        }
    }
}
