//! The reports of all replicas: this one's is published, the others' are followed.
//!
//! A report is written when it changed, at most every [`GAP`], and renewed every [`RENEW`]. Whether another one's is
//! fresh is told by this process's own clock, from when it last saw it renewed.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::Mark;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watching};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt as _;

use super::acks::{Acks, Used};
use super::report::{COUNTS, LABEL, PREFIX, Report};
use crate::index::{Index, World};
use crate::metrics::Metrics;

/// Between two writes of a report that changed.
const GAP: Duration = Duration::from_secs(5);
/// What changes at once is written at once.
const SETTLE: Duration = Duration::from_millis(200);
/// Between two writes of one that did not.
const RENEW: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(5);
/// Of one watch, in seconds: a connection that died in silence is found out after it.
const LIFE: u32 = 20;
/// After so long without a renewal a report is taken away.
const FORGOTTEN: Duration = Duration::from_secs(10 * 60);
/// Replicas that are listened to; there are two or three.
const REPLICAS: usize = 32;

pub(super) struct Replicas {
    client: Client,
    namespace: String,
    identity: String,
    index: Arc<Index>,
    acks: Arc<Acks>,
    metrics: Arc<Metrics>,
    others: Mutex<BTreeMap<String, Other>>,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Other {
    report: Report,
    /// Its own word for when, and when that was first seen here.
    renewed: String,
    seen: Instant,
    uid: Option<String>,
}

// === impl Replicas ===

impl std::fmt::Debug for Replicas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replicas").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Replicas {
    pub(super) fn new(
        client: Client,
        namespace: &str,
        identity: &str,
        index: Arc<Index>,
        acks: Arc<Acks>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let (namespace, identity) = (namespace.to_owned(), identity.to_owned());
        let (others, changed) = (Mutex::default(), watch::Sender::new(0));
        Arc::new(Self { client, namespace, identity, index, acks, metrics, others, changed })
    }

    /// Begins to publish and to follow. `watching` must not give up a read that is silent for less than 30 s.
    pub(super) fn start(self: &Arc<Self>, watching: Client) {
        tokio::spawn(Arc::clone(self).publish());
        let leases = Api::namespaced(watching, &self.namespace);
        let replicas = Arc::clone(self);
        tokio::spawn(async move { replicas.follow(leases).await });
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// What is in force somewhere, as far as any replica knows.
    pub(super) fn in_force(&self) -> BTreeSet<Mark> {
        let mut marks = self.acks.acknowledged();
        self.fresh(|report| marks.extend(&report.in_force));
        marks
    }

    /// What was used somewhere and is not known in a status yet.
    pub(super) fn used(&self, world: &World) -> Used {
        let mut used = self.acks.used(world);
        self.fresh(|report| {
            for (key, (revision, rules)) in &report.used {
                // What is of another form than this one was used in vain.
                if world.object(key).is_none_or(|object| object.revision != *revision) {
                    continue;
                }
                let known = used.entry(key.clone()).or_insert_with(|| (revision.clone(), BTreeSet::new()));
                known.1.extend(rules.iter().cloned());
            }
        });
        used
    }

    fn fresh(&self, mut each: impl FnMut(&Report)) {
        let counts = Duration::from_secs(COUNTS.into());
        self.others.lock().values().filter(|other| other.seen.elapsed() < counts).for_each(|other| each(&other.report));
    }

    /// The leader's part: reports of replicas that are gone for long are taken away.
    pub(super) async fn sweep(&self) {
        let gone: Vec<(String, Option<String>)> = {
            let others = self.others.lock();
            let gone = others.iter().filter(|(_, other)| other.seen.elapsed() >= FORGOTTEN);
            gone.map(|(name, other)| (name.clone(), other.uid.clone())).collect()
        };
        for (name, uid) in gone {
            let same = Preconditions { uid, resource_version: None };
            let params = DeleteParams::default().preconditions(same);
            match timeout(PATIENCE, self.leases(&self.client).delete(&name, &params)).await {
                Ok(Ok(_)) => tracing::info!(event = "report_removed", name),
                Ok(Err(error)) => tracing::warn!(event = "report_not_removed", name, %error),
                Err(_) => tracing::warn!(event = "report_not_removed", name, error = "too slow"),
            }
        }
    }

    fn leases(&self, client: &Client) -> Api<Lease> {
        Api::namespaced(client.clone(), &self.namespace)
    }

    async fn publish(self: Arc<Self>) {
        let mut changes = self.acks.changes();
        let leases = self.leases(&self.client);
        let mut published: Option<(Report, Instant)> = None;
        let (mut full, mut failed) = (false, false);
        loop {
            // A change is a wake-up and no more.
            let _ = timeout(if failed { GAP } else { RENEW }, changes.changed()).await;
            sleep(SETTLE).await;
            changes.borrow_and_update();
            let used = self.index.look(|world| self.acks.used(world));
            let report = Report { in_force: self.acks.acknowledged(), used };
            let due = match &published {
                Some((before, at)) => *before != report || at.elapsed() >= RENEW,
                None => true,
            };
            if !due {
                continue;
            }
            let was_full = std::mem::replace(&mut full, !report.fits());
            if full && !was_full {
                tracing::error!(event = "report_too_large", pods = report.in_force.len());
            }
            let lease = report.lease(&self.identity, &format!("{:.6}", Timestamp::now()));
            let params = PatchParams::apply("agentaccess-operator-report").force();
            let name = format!("{PREFIX}{}", self.identity);
            let written = timeout(PATIENCE, leases.patch(&name, &params, &Patch::Apply(&lease))).await;
            failed = !matches!(written, Ok(Ok(_)));
            match written {
                Ok(Ok(_)) => published = Some((report, Instant::now())),
                Ok(Err(error)) => {
                    self.metrics.reconcile_failed("report", "refused");
                    tracing::warn!(event = "report_not_written", %error);
                }
                Err(_) => {
                    self.metrics.reconcile_failed("report", "slow");
                    tracing::warn!(event = "report_not_written", error = "too slow");
                }
            }
            sleep(GAP).await;
        }
    }

    /// Until the runtime ends.
    async fn follow(&self, leases: Api<Lease>) {
        let config = watcher::Config::default().any_semantic().timeout(LIFE).labels(LABEL);
        let mut events = pin!(watching(leases, config).default_backoff());
        let mut listed = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(lease)) => {
                    listed.insert(lease.metadata.name.clone().unwrap_or_default());
                    self.put(&lease);
                }
                Ok(Event::InitDone) => self.others.lock().retain(|name, _| listed.contains(name)),
                Ok(Event::Apply(lease)) => self.put(&lease),
                Ok(Event::Delete(lease)) => {
                    drop(self.others.lock().remove(lease.metadata.name.as_deref().unwrap_or_default()));
                }
                Err(error) => {
                    self.metrics.watch_lost("reports");
                    tracing::warn!(event = "watch_broke", kind = "Lease", %error);
                }
            }
        }
    }

    fn put(&self, lease: &Lease) {
        let name = lease.metadata.name.clone().unwrap_or_default();
        let spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_deref() == Some(self.identity.as_str()) {
            return;
        }
        let renewed = spec.renew_time.map(|time| time.0.to_string()).unwrap_or_default();
        let mut others = self.others.lock();
        // A list says again what is known; it renews nothing.
        let seen =
            others.get(&name).filter(|known| known.renewed == renewed).map_or_else(Instant::now, |known| known.seen);
        if others.len() >= REPLICAS && !others.contains_key(&name) {
            return;
        }
        let other = Other { report: lease.into(), renewed, seen, uid: lease.metadata.uid.clone() };
        others.insert(name, other);
        drop(others);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}
