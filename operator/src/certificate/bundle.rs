//! The `caBundle` of our webhook configuration: what the API server trusts. Written where it differs, never made: the
//! configuration itself belongs to the chart.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

const FIELD_MANAGER: &str = "agentaccess-operator";

#[derive(Clone, Debug)]
pub struct Bundle {
    api: Api<MutatingWebhookConfiguration>,
    name: String,
}

// === impl Bundle ===

impl Bundle {
    pub fn new(client: Client, name: &str) -> Self {
        Self { api: Api::all(client), name: name.to_owned() }
    }

    /// Sets the bundle of every webhook of the configuration, if it is another; says whether it was.
    ///
    /// # Errors
    /// When the configuration is not there or cannot be written.
    pub async fn assert(&self, bundle: &str) -> Result<bool, kube::Error> {
        let configuration = self.api.get(&self.name).await?;
        let Some(patch) = patch(&self.name, &configuration, bundle) else { return Ok(false) };
        // The field is ours, whoever wrote it last.
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.api.patch_metadata(&self.name, &params, &Patch::Apply(patch)).await.map(|_| true)
    }
}

/// What is to be applied; nothing when every webhook has the bundle.
fn patch(name: &str, configuration: &MutatingWebhookConfiguration, bundle: &str) -> Option<Value> {
    let webhooks = configuration.webhooks.iter().flatten();
    let has = |bytes: Option<&[u8]>| bytes == Some(bundle.as_bytes());
    let differs =
        webhooks.clone().any(|one| !has(one.client_config.ca_bundle.as_ref().map(|bundle| bundle.0.as_slice())));
    // All of them, also those that have it: what is not applied again is taken back.
    let bundle = STANDARD.encode(bundle);
    let webhooks: Vec<Value> =
        webhooks.map(|one| json!({"name": one.name, "clientConfig": {"caBundle": bundle}})).collect();
    differs.then(|| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": webhooks,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(bundles: &[Option<&str>]) -> MutatingWebhookConfiguration {
        let webhooks: Vec<Value> = bundles
            .iter()
            .enumerate()
            .map(|(n, bundle)| {
                json!({"name": format!("w{n}"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
                    "clientConfig": {"caBundle": bundle.map(|text| STANDARD.encode(text))}})
            })
            .collect();
        serde_json::from_value(json!({"metadata": {"name": "x"}, "webhooks": webhooks})).unwrap()
    }

    #[test]
    fn written_only_where_it_differs_and_then_whole() {
        assert_eq!(patch("x", &configuration(&[Some("a"), Some("a")]), "a"), None);
        assert_eq!(patch("x", &configuration(&[]), "a"), None);
        for drifted in [[Some("a"), None], [Some("b"), Some("a")]] {
            let patch = patch("x", &configuration(&drifted), "a").unwrap();
            let names: Vec<&str> =
                patch["webhooks"].as_array().unwrap().iter().map(|w| w["name"].as_str().unwrap()).collect();
            assert_eq!(names, ["w0", "w1"]);
            assert_eq!(patch["webhooks"][0]["clientConfig"], json!({"caBundle": STANDARD.encode("a")}));
            assert!(patch["webhooks"][0].get("sideEffects").is_none(), "the rest is the chart's");
        }
    }
}
