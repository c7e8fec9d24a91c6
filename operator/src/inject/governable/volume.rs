//! The user's volumes: only kinds that bring no path of the node, no network of their own and no credential. They are
//! read as they were sent, so that a kind that we do not know is refused and not overlooked.

use serde_json::Value;

use super::super::{Refused, Settings, json};
use super::secret;

/// Kinds without a rule of their own. Others mount what lies on the node or on a host that the pod names.
const KINDS: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
const SOURCES: &[&str] = &["configMap", "downwardAPI", "secret"];

pub(super) fn check(pod: &Value, namespace: &str, settings: &Settings, refused: &mut Refused) {
    let Some(spec) = pod.get("spec") else { return };
    for volume in json::each(spec, "volumes") {
        let path = format!("spec.volumes[{}]", json::text(volume, "name"));
        for (kind, value) in volume.as_object().into_iter().flatten() {
            if kind == "name" || value.is_null() {
                continue;
            }
            if !KINDS.contains(&kind.as_str()) {
                let rule = format!("must not be set: a pod of an agent may mount {}", KINDS.join(", "));
                refused.add(format!("{path}.{kind}"), rule);
            }
            match kind.as_str() {
                "csi" => check_csi(&format!("{path}.csi"), value, namespace, settings, refused),
                "secret" => {
                    let field = format!("{path}.secret.secretName");
                    secret(field, json::text(value, "secretName"), namespace, settings, refused);
                }
                "projected" => json::each(value, "sources").for_each(|source| {
                    check_source(&format!("{path}.projected.sources"), source, namespace, settings, refused)
                }),
                _ => {}
            }
        }
    }
}

/// The Secret is given to the driver, which may write it where the agent reads.
fn check_csi(path: &str, csi: &Value, namespace: &str, settings: &Settings, refused: &mut Refused) {
    if !settings.csi_drivers.contains(json::text(csi, "driver")) {
        let rule = "must be one that the installation allows: it may bring credentials";
        refused.add(format!("{path}.driver"), rule);
    }
    if let Some(reference) = csi.get("nodePublishSecretRef").filter(|reference| !reference.is_null()) {
        let field = format!("{path}.nodePublishSecretRef");
        secret(field, json::text(reference, "name"), namespace, settings, refused);
    }
}

fn check_source(path: &str, source: &Value, namespace: &str, settings: &Settings, refused: &mut Refused) {
    for (kind, value) in source.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        match kind.as_str() {
            "secret" => secret(format!("{path}.secret.name"), json::text(value, "name"), namespace, settings, refused),
            kind if SOURCES.contains(&kind) => {}
            _ => {
                let rule = "must not be set: the sidecar holds the pod's identity, the agent none";
                refused.add(format!("{path}.{kind}"), rule);
            }
        }
    }
}
