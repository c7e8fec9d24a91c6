//! The `caBundle` of our webhook configurations: what the API server trusts. Written where it differs, never made: the
//! configurations themselves belong to the chart.
//!
//! Each is looked at whatever becomes of the other. One that is not there trusts nobody, so nobody waits for it: it is
//! written when it comes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

const FIELD_MANAGER: &str = "agentaccess-operator";

#[derive(Clone, Debug)]
pub struct Bundle {
    /// All of the same name.
    configurations: [Configuration; 2],
    name: String,
}

#[derive(Clone, Debug)]
struct Configuration {
    kind: String,
    api: Api<DynamicObject>,
}

// === impl Bundle ===

impl Bundle {
    pub fn new(client: &Client, name: &str) -> Self {
        let kinds = [
            ApiResource::erase::<MutatingWebhookConfiguration>(&()),
            ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
        ];
        let configurations =
            kinds.map(|resource| Configuration { api: Api::all_with(client.clone(), &resource), kind: resource.kind });
        Self { configurations, name: name.to_owned() }
    }

    /// Sets the bundle of every webhook of the configurations, where it is another; says whether it was.
    ///
    /// # Errors
    /// When one of them cannot be read or written.
    pub async fn assert(&self, bundle: &str) -> Result<bool, kube::Error> {
        let [one, other] = &self.configurations;
        let (one, other) = (one.assert(&self.name, bundle).await, other.assert(&self.name, bundle).await);
        Ok(one? | other?)
    }
}

// === impl Configuration ===

impl Configuration {
    async fn assert(&self, name: &str, bundle: &str) -> Result<bool, kube::Error> {
        let Some(configuration) = self.api.get_opt(name).await? else {
            tracing::warn!(event = "webhook_configuration_missing", kind = self.kind, name);
            return Ok(false);
        };
        let Some(patch) = patch(&self.kind, name, &configuration.data, bundle) else { return Ok(false) };
        // The field is ours, whoever wrote it last.
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.api.patch_metadata(name, &params, &Patch::Apply(patch)).await.map(|_| true)
    }
}

/// What is to be applied; nothing when every webhook has the bundle.
fn patch(kind: &str, name: &str, configuration: &Value, bundle: &str) -> Option<Value> {
    let webhooks = configuration.pointer("/webhooks").and_then(Value::as_array).into_iter().flatten();
    let bundle = STANDARD.encode(bundle);
    let has = |webhook: &Value| webhook.pointer("/clientConfig/caBundle").and_then(Value::as_str) == Some(&bundle);
    let differs = webhooks.clone().any(|webhook| !has(webhook));
    // All of them, also those that have it: what is not applied again is taken back.
    let webhooks: Vec<Value> = webhooks
        .filter_map(|webhook| webhook.get("name"))
        .map(|name| json!({"name": name, "clientConfig": {"caBundle": bundle}}))
        .collect();
    differs.then(|| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": name},
            "webhooks": webhooks,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(bundles: &[Option<&str>]) -> Value {
        let webhooks: Vec<Value> = bundles
            .iter()
            .enumerate()
            .map(|(n, bundle)| {
                let config = bundle.map_or(json!({}), |text| json!({"caBundle": STANDARD.encode(text)}));
                json!({"name": format!("w{n}"), "sideEffects": "None", "clientConfig": config})
            })
            .collect();
        json!({"metadata": {"name": "x"}, "webhooks": webhooks})
    }

    #[test]
    fn written_only_where_it_differs_and_then_whole() {
        let kind = "ValidatingWebhookConfiguration";
        assert_eq!(patch(kind, "x", &configuration(&[Some("a"), Some("a")]), "a"), None);
        assert_eq!(patch(kind, "x", &configuration(&[]), "a"), None);
        assert_eq!(patch(kind, "x", &json!({}), "a"), None);
        for drifted in [[Some("a"), None], [Some("b"), Some("a")]] {
            let patch = patch(kind, "x", &configuration(&drifted), "a").unwrap();
            let names: Vec<&str> =
                patch["webhooks"].as_array().unwrap().iter().map(|w| w["name"].as_str().unwrap()).collect();
            assert_eq!((patch["kind"].as_str(), names), (Some(kind), vec!["w0", "w1"]));
            assert_eq!(patch["webhooks"][0]["clientConfig"], json!({"caBundle": STANDARD.encode("a")}));
            assert!(patch["webhooks"][0].get("sideEffects").is_none(), "the rest is the chart's");
        }
    }
}
