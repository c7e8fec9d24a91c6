//! Pods without our sidecar in namespaces that are to be governed: those that were there before the label, and what an
//! excluded namespace runs under it. The leader counts them for a metric; nothing is decided by it.
//!
//! The watch has injected pods alone, so these are listed, seldom: names only, one page of each namespace, one namespace
//! after the other. A namespace that could not be asked keeps its last count while it is asked about.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::time::{sleep, timeout};

use crate::index::Index;
use crate::leader::Term;
use crate::metrics::Metrics;

/// Between two counts.
const PAUSE: Duration = Duration::from_secs(30);
/// For one namespace.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pods that are counted of one namespace.
const PAGE: u32 = 500;
/// Namespaces that are counted; no more series than these are made.
const NAMESPACES: usize = 1_000;

pub(crate) struct Ungoverned {
    client: Client,
    index: Arc<Index>,
    metrics: Arc<Metrics>,
    term: Term,
}

// === impl Ungoverned ===

impl Ungoverned {
    pub(crate) fn start(client: Client, index: Arc<Index>, metrics: Arc<Metrics>) -> Arc<Self> {
        let made = Arc::new(Self { client, index, metrics, term: Term::default() });
        tokio::spawn(Arc::clone(&made).work());
        made
    }

    /// This replica leads, for now; to be said again and again.
    pub(crate) fn lead(&self) {
        self.term.begin();
    }

    async fn work(self: Arc<Self>) {
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        loop {
            if self.term.is_on() && self.index.whole() {
                let names = self.index.look(|world| world.to_be_governed(NAMESPACES));
                known.retain(|name, _| names.contains(name));
                for name in names {
                    // A slow API server makes it longer than a term.
                    if !self.term.is_on() {
                        break;
                    }
                    if let Some(count) = self.count(&name).await {
                        known.insert(name, count);
                    }
                }
            }
            if !self.term.is_on() {
                known.clear();
            }
            self.metrics.ungoverned(known.clone());
            sleep(if known.is_empty() { PATIENCE } else { PAUSE }).await;
        }
    }

    async fn count(&self, namespace: &str) -> Option<usize> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let ungoverned = ListParams::default()
            .labels(&format!("{}!=true", crds::pod::INJECTED_LABEL))
            .fields("status.phase!=Succeeded,status.phase!=Failed")
            .limit(PAGE);
        match timeout(PATIENCE, pods.list_metadata(&ungoverned)).await {
            Ok(Ok(found)) => return Some(found.items.len()),
            Ok(Err(error)) => tracing::warn!(event = "pods_not_counted", namespace, %error),
            Err(_) => tracing::warn!(event = "pods_not_counted", namespace, error = "no answer in time"),
        }
        None
    }
}
