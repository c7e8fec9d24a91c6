//! Who could still use what was approved: whether a Job has ended, and whether a pod has.
//!
//! Garbage collection acts on deletion, not on completion, so that both are watched. Invariant: what is not known is
//! not over, since a watch that is late would end what has just begun; whether a Job still runs is asked of the API
//! server itself before anything is let through under a grant of its.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::JobStatus;
use kube::api::{ApiResource, NotUsed};
use kube::core::Object;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watching};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio_stream::StreamExt as _;

use crate::index::Index;

/// Of one watch, in seconds: a connection that died in silence is found out after it.
const LIFE: u32 = 20;

/// As it is watched: of a Job nothing else is kept in memory.
pub(super) type Job = Object<NotUsed, JobStatus>;

#[derive(Debug, Default)]
pub(super) struct Lives {
    jobs: Mutex<Jobs>,
    index: Option<Arc<Index>>,
}

/// By uid, whether it is over.
#[derive(Debug, Default)]
struct Jobs {
    known: HashMap<String, bool>,
    /// What a list that is still coming has named so far.
    listed: Option<HashMap<String, bool>>,
}

// === impl Lives ===

impl Lives {
    pub(super) fn new(index: Option<Arc<Index>>) -> Self {
        Self { index, jobs: Mutex::default() }
    }

    /// `None`: it is not known.
    pub(super) fn job_is_over(&self, uid: &str) -> Option<bool> {
        self.jobs.lock().known.get(uid).copied()
    }

    /// Whether the pod is there and has not ended. `None`: it is not known.
    pub(super) fn pod_lives(&self, uid: &str) -> Option<bool> {
        let index = self.index.as_ref().filter(|index| index.whole())?;
        Some(index.pod(uid).is_some())
    }

    /// Watches until it is dropped.
    pub(super) async fn watch(&self, client: Client) {
        let api: Api<Job> = api(client, None);
        let mut events = pin!(watching(api, watcher::Config::default().timeout(LIFE)).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.hear(event),
                Err(error) => {
                    let error = crate::index::watch_error(&error);
                    tracing::warn!(event = "watch_broke", kind = "Job", %error);
                }
            }
        }
    }

    fn hear(&self, event: Event<Job>) {
        let mut jobs = self.jobs.lock();
        match event {
            Event::Init => jobs.listed = Some(HashMap::new()),
            Event::InitApply(job) => {
                if let (Some(listed), Some(uid)) = (&mut jobs.listed, &job.metadata.uid) {
                    listed.insert(uid.clone(), is_over(&job));
                }
            }
            Event::InitDone => {
                let Some(listed) = jobs.listed.take() else { return };
                // One that was known and is not there any more went while nobody watched. Once told, it is forgotten
                // with the next list.
                let gone = |(uid, over): (&String, &bool)| (!over && !listed.contains_key(uid)).then(|| uid.clone());
                let gone: Vec<String> = jobs.known.iter().filter_map(gone).collect();
                jobs.known = listed;
                jobs.known.extend(gone.into_iter().map(|uid| (uid, true)));
            }
            Event::Apply(job) => {
                if let Some(uid) = &job.metadata.uid {
                    jobs.known.insert(uid.clone(), is_over(&job));
                }
            }
            Event::Delete(job) => {
                if let Some(uid) = job.metadata.uid {
                    jobs.known.insert(uid, true);
                }
            }
        }
    }
}

pub(super) fn api(client: Client, namespace: Option<&str>) -> Api<Job> {
    let resource = ApiResource::erase::<k8s_openapi::api::batch::v1::Job>(&());
    match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    }
}

/// It is complete, has failed, or is being deleted.
pub(super) fn is_over(job: &Job) -> bool {
    let conditions = job.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    let ends = |type_: &str| ["Complete", "Failed", "SuccessCriteriaMet", "FailureTarget"].contains(&type_);
    job.metadata.deletion_timestamp.is_some()
        || conditions.into_iter().any(|condition| ends(&condition.type_) && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(uid: &str, conditions: &[(&str, &str)]) -> Job {
        let conditions: Vec<_> =
            conditions.iter().map(|(type_, status)| json!({"type": type_, "status": status})).collect();
        serde_json::from_value(json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "namespace": "n", "uid": uid},
            "spec": {"template": {}}, "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    #[test]
    fn complete_failed_and_going_are_over() {
        assert!(!is_over(&job("a", &[])));
        assert!(!is_over(&job("a", &[("Suspended", "True"), ("Complete", "False")])));
        assert!(is_over(&job("a", &[("Complete", "True")])));
        assert!(is_over(&job("a", &[("Suspended", "False"), ("Failed", "True")])));
        assert!(is_over(&job("a", &[("FailureTarget", "True")])));
        let mut going = job("a", &[]);
        going.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2027-01-15T08:00:00Z")).unwrap());
        assert!(is_over(&going));
    }

    #[test]
    fn what_was_never_seen_is_not_over_and_what_went_is() {
        let lives = Lives::default();
        assert_eq!(lives.job_is_over("a"), None);
        assert_eq!(lives.pod_lives("a"), None);
        lives.hear(Event::Init);
        lives.hear(Event::InitApply(job("a", &[])));
        lives.hear(Event::InitApply(job("b", &[("Complete", "True")])));
        assert_eq!(lives.job_is_over("a"), None);
        lives.hear(Event::InitDone);
        assert_eq!((lives.job_is_over("a"), lives.job_is_over("b")), (Some(false), Some(true)));
        lives.hear(Event::Apply(job("c", &[])));
        lives.hear(Event::Delete(job("c", &[])));
        assert_eq!(lives.job_is_over("c"), Some(true));
        // It went while the watch was broken, and is forgotten when it has been told.
        lives.hear(Event::Init);
        lives.hear(Event::InitDone);
        assert_eq!((lives.job_is_over("a"), lives.job_is_over("b")), (Some(true), None));
        lives.hear(Event::Init);
        lives.hear(Event::InitDone);
        assert_eq!(lives.job_is_over("a"), None);
    }
}
