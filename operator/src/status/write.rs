//! One write to the API server: a status by server-side apply, and the Events that go with it.
//!
//! The uid of the object goes with it: another one that took its name is not written.

use std::time::Duration;

use crds::status::{PolicyStatus, TargetStatus};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::difference::{Difference, News};
use super::pace::Done;
use crate::index::{Key, Kind};
use crate::metrics::Metrics;

const FIELD_MANAGER: &str = "agentaccess-operator-status";
/// For one request to the API server.
const PATIENCE: Duration = Duration::from_secs(5);
/// Characters of an Event's note.
const NOTE: usize = 1_000;

#[derive(Clone)]
pub(super) struct Writer {
    client: Client,
    recorder: Recorder,
}

// === impl Writer ===

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    /// `identity`: whom Events name.
    pub(super) fn new(client: Client, identity: &str) -> Self {
        let reporter = Reporter { controller: "agentaccess-operator".to_owned(), instance: Some(identity.to_owned()) };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { client, recorder }
    }

    /// Never longer than a few times `PATIENCE`.
    pub(super) async fn write(&self, key: &Key, uid: &str, difference: Difference, metrics: &Metrics) -> Done {
        let kind = key.kind.as_str();
        let (namespace, name) = (key.namespace.as_str(), key.name.as_str());
        let object = json!({
            "apiVersion": crds::API_VERSION, "kind": kind, "metadata": {"name": name, "uid": uid},
            "status": status(key.kind, &difference.status),
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let written = timeout(PATIENCE, self.api(key).patch_status(name, &params, &Patch::Apply(&object))).await;
        let (result, done) = match written {
            Ok(Ok(_)) => ("written", Done::Written(Box::new(difference.status))),
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => ("gone", Done::Gone),
            Ok(Err(kube::Error::Api(status))) if status.is_conflict() => ("conflict", Done::Gone),
            Ok(Err(error)) => {
                let result = if matches!(error, kube::Error::Api(_)) { "refused" } else { "away" };
                tracing::warn!(event = "status_not_written", kind, namespace, name, %error);
                (result, Done::Failed)
            }
            Err(_) => {
                tracing::warn!(event = "status_not_written", kind, namespace, name, error = "too slow");
                ("slow", Done::Failed)
            }
        };
        metrics.status_write(kind, result);
        match done {
            Done::Written(_) => {
                for news in &difference.news {
                    self.tell(key, uid, news).await;
                }
            }
            Done::Failed => metrics.reconcile_failed("status", result),
            Done::Gone => {}
        }
        done
    }

    async fn tell(&self, key: &Key, uid: &str, news: &News) {
        let Key { kind, namespace, name } = key;
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        let reference = ObjectReference {
            api_version: Some(crds::API_VERSION.to_owned()),
            kind: Some(kind.as_str().to_owned()),
            name: Some(name.clone()),
            namespace: some(namespace),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        // Events are for people: one that is lost changes nothing.
        match timeout(PATIENCE, self.recorder.publish(&event(news), &reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(event = "event_not_written", namespace, name, %error),
            Err(_) => tracing::warn!(event = "event_not_written", namespace, name, error = "too slow"),
        }
    }

    fn api(&self, key: &Key) -> Api<DynamicObject> {
        let known = GroupVersionKind::gvk(crds::GROUP, crds::VERSION, key.kind.as_str());
        let resource = ApiResource::from_gvk_with_plural(&known, key.kind.plural());
        match key.kind {
            Kind::ClusterPolicy => Api::all_with(self.client.clone(), &resource),
            Kind::Policy | Kind::Target => Api::namespaced_with(self.client.clone(), &key.namespace, &resource),
        }
    }
}

/// A target has no pods to count.
fn status(kind: Kind, status: &PolicyStatus) -> Value {
    match kind {
        Kind::Policy | Kind::ClusterPolicy => json!(status),
        Kind::Target => json!(TargetStatus {
            observed_generation: status.observed_generation,
            conditions: status.conditions.clone(),
        }),
    }
}

fn event(news: &News) -> Event {
    Event {
        type_: if news.warning { EventType::Warning } else { EventType::Normal },
        reason: if news.warning { format!("Not{}", news.of) } else { news.of.to_owned() },
        note: Some(news.message.chars().take(NOTE).collect()),
        action: "Check".to_owned(),
        secondary: None,
    }
}
