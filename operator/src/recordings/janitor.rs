//! The leader's part: it removes what is older than the retention, says once of each pod that is gone whether the end of
//! its recording is missing, and makes segments of what came of it before it was sealed.
//!
//! Nothing is decided by it. A store that is away is looked at again later; a pod that is gone is given time, for what it
//! sent last may be under way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use archive::{Meta, RecordingId, ShelfError, Store, StoreError};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::time::{sleep, timeout};

use super::key::Held;
use super::loss::Loss;
use crate::index::Index;
use crate::leader::Term;
use crate::metrics::Metrics;

/// Between two looks for pods that are gone, and for what is too old.
const LOOK: Duration = Duration::from_secs(60);
const EXPIRY: Duration = Duration::from_secs(3600);
/// While this replica does not lead.
const IDLE: Duration = Duration::from_secs(5);
/// From the moment that a pod is found to be gone.
const GRACE: Duration = Duration::from_secs(30);
/// From then on until what came before it was sealed is made a segment: after it nobody has a certificate any more to
/// send the segment itself.
const ABANDONED: Duration = Duration::from_secs(2 * 3600);
/// For one request to the API server.
const PATIENCE: Duration = Duration::from_secs(5);
/// Recordings that are known to be settled; with more than that all are looked at again.
const SETTLED: usize = 200_000;
/// That the end of the recording is missing was said.
const MARK: &str = "incomplete";

pub(super) struct Janitor {
    pub(super) store: Store,
    pub(super) witness: Held,
    pub(super) retention: Duration,
    pub(super) index: Arc<Index>,
    pub(super) events: Recorder,
    pub(super) metrics: Arc<Metrics>,
    pub(super) term: Term,
}

/// What is known of a recording whose pod is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    Since(Instant),
    /// It was said what is missing; some of it is in no segment yet.
    Unsealed(Instant),
    Settled,
}

pub(super) fn recorder(client: &Client, identity: &str) -> Recorder {
    let reporter = Reporter { controller: "agentaccess-operator".to_owned(), instance: Some(identity.to_owned()) };
    Recorder::new(client.clone(), reporter)
}

// === impl Janitor ===

impl std::fmt::Debug for Janitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Janitor").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Janitor {
    /// This replica leads, for now; to be said again and again.
    pub(super) fn lead(&self) {
        self.term.begin();
    }

    pub(super) async fn work(self: Arc<Self>) {
        let (mut gone, mut expired) = (BTreeMap::new(), None::<Instant>);
        loop {
            if !self.term.is_on() {
                gone.clear();
                sleep(IDLE).await;
                continue;
            }
            if let Err(error) = self.look(&mut gone).await {
                tracing::warn!(event = "recordings_not_looked_at", %error);
            }
            if expired.is_none_or(|at| at.elapsed() >= EXPIRY) && self.term.is_on() {
                expired = Some(Instant::now());
                if let Err(error) = self.expire().await {
                    tracing::warn!(event = "recordings_not_expired", %error);
                }
            }
            sleep(LOOK).await;
        }
    }

    /// One look at all recordings.
    async fn look(&self, gone: &mut BTreeMap<RecordingId, Gone>) -> Result<(), StoreError> {
        if gone.len() > SETTLED {
            gone.clear();
        }
        let mut pages = self.store.recordings();
        while let Some(page) = pages.next().await? {
            for id in page {
                // An index that is not whole would say of pods that live that they are gone.
                if !self.term.is_on() || !self.index.whole() {
                    return Ok(());
                }
                self.metrics.recorded(id.namespace());
                if self.index.pod(id.pod_uid()).is_some() {
                    gone.remove(&id);
                    continue;
                }
                let settled = match *gone.entry(id.clone()).or_insert_with(|| Gone::Since(Instant::now())) {
                    Gone::Settled => continue,
                    Gone::Since(at) if at.elapsed() < GRACE => continue,
                    Gone::Unsealed(at) if at.elapsed() < ABANDONED => continue,
                    Gone::Since(at) => self.settle(&id, at).await,
                    Gone::Unsealed(_) => self.complete(&id).await,
                };
                match settled {
                    Ok(settled) => drop(gone.insert(id, settled)),
                    Err(error) => {
                        let (namespace, uid) = (id.namespace(), id.pod_uid());
                        tracing::warn!(event = "recording_not_judged", namespace, uid, %error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Says what is missing of a recording that gets no longer, if anything is and nobody said it.
    async fn settle(&self, id: &RecordingId, since: Instant) -> Result<Gone, ShelfError> {
        let shelf = self.store.shelf(id);
        let standing = shelf.standing().await?;
        let settled = match standing.replicated > standing.archived {
            true => Gone::Unsealed(since),
            false => Gone::Settled,
        };
        let Some(loss) = Loss::of(&standing) else { return Ok(settled) };
        let meta = shelf.meta().await?.clone();
        if !shelf.mark(MARK).await? {
            return Ok(settled);
        }
        let (namespace, uid) = (id.namespace(), id.pod_uid());
        let until = standing.until.as_deref().unwrap_or("never");
        self.metrics.recording_incomplete(namespace);
        tracing::warn!(event = "recording_incomplete", namespace, uid, pod = meta.pod, until, "{loss}");
        self.tell(id, &meta, &loss).await;
        Ok(settled)
    }

    /// From then on what came last of it is found and expires as the rest.
    async fn complete(&self, id: &RecordingId) -> Result<Gone, ShelfError> {
        let standing = self.store.shelf(id).complete().await?;
        let (namespace, uid, entries) = (id.namespace(), id.pod_uid(), standing.archived);
        tracing::info!(event = "recording_completed", namespace, uid, entries);
        Ok(Gone::Settled)
    }

    async fn tell(&self, id: &RecordingId, meta: &Meta, loss: &Loss) {
        let reference = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(meta.pod.clone()),
            namespace: Some(id.namespace().to_owned()),
            uid: Some(id.pod_uid().to_owned()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: EventType::Warning,
            reason: "RecordingIncomplete".to_owned(),
            note: Some(loss.to_string()),
            action: "Record".to_owned(),
            secondary: None,
        };
        let (namespace, pod) = (id.namespace(), meta.pod.as_str());
        // The log, the metric and `verify` say it too: a namespace that is gone takes no Event.
        match timeout(PATIENCE, self.events.publish(&event, &reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(event = "event_not_written", namespace, pod, %error),
            Err(_) => tracing::warn!(event = "event_not_written", namespace, pod, error = "too slow"),
        }
    }

    /// Removes what ended longer ago than the retention.
    async fn expire(&self) -> Result<(), StoreError> {
        let Some(witness) = self.witness.get() else { return Ok(()) };
        let Ok(before) = Timestamp::now().checked_sub(self.retention) else { return Ok(()) };
        let mut pages = self.store.recordings();
        while let Some(page) = pages.next().await? {
            for id in page {
                if !self.term.is_on() {
                    return Ok(());
                }
                let (namespace, uid) = (id.namespace(), id.pod_uid());
                match self.store.shelf(&id).expire(before, &witness).await {
                    Ok(expired) if expired.segments > 0 => {
                        let (segments, entries) = (expired.segments, expired.entries);
                        self.metrics.recording_expired(segments);
                        tracing::info!(event = "recording_expired", namespace, uid, segments, entries);
                    }
                    Ok(_) | Err(ShelfError::NotBegun) => {}
                    Err(error) => tracing::warn!(event = "recording_not_expired", namespace, uid, %error),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use archive::{Credentials, Location};
    use recording::SigningKey;

    use super::*;
    use crate::index::{Feed, Pod};

    const UID: &str = "0f8b1c9e-6a0d-4a57-9c1d-0123456789ab";

    fn pod() -> Pod {
        Pod {
            uid: UID.to_owned(),
            namespace: "shop".to_owned(),
            name: "agent-0".to_owned(),
            service_account: "agent".to_owned(),
            labels: BTreeMap::new(),
            job: None,
        }
    }

    fn janitor(folder: &std::path::Path) -> Arc<Janitor> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let store = Store::open(&Location::folder(folder).unwrap(), &Credentials::None).unwrap();
        let index = Index::new(60);
        index.change(|world| {
            for feed in Feed::ALL {
                world.sync(feed, true);
            }
            world.pulse(true)
        });
        // Nobody is there: Events are lost, and nothing else.
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
        let witness = Held::of(SigningKey::generate("witness").unwrap());
        let metrics = Arc::new(Metrics::new("0").unwrap());
        let (retention, events) = (Duration::from_secs(3600), recorder(&client, "a"));
        Arc::new(Janitor { store, witness, retention, index, events, metrics, term: Term::default() })
    }

    fn told(janitor: &Janitor) -> bool {
        let text = String::from_utf8(janitor.metrics.render().unwrap()).unwrap();
        text.lines().any(|line| line == "agentaccess_recordings_incomplete_total{namespace=\"shop\"} 1")
    }

    #[tokio::test]
    async fn a_pod_that_is_gone_without_an_end_is_told_of_once_and_after_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let janitor = janitor(folder.path());
        let id = RecordingId::new("shop", UID).unwrap();
        let key = SigningKey::generate("pod").unwrap().public().clone();
        let (pod_name, account) = ("agent-0".to_owned(), "agent".to_owned());
        let meta = Meta { pod: pod_name, service_account: account, key, begun: Timestamp::now() };
        janitor.store.shelf(&id).begin(&meta).await.unwrap();
        let mut gone = BTreeMap::new();

        // A replica that does not lead looks at nothing.
        janitor.look(&mut gone).await.unwrap();
        assert!(gone.is_empty());
        janitor.lead();
        janitor.index.change(|world| world.set_pod(pod()));
        janitor.look(&mut gone).await.unwrap();
        assert!(gone.is_empty(), "it lives");

        janitor.index.change(|world| world.remove_pod(UID));
        janitor.look(&mut gone).await.unwrap();
        assert!(matches!(gone.get(&id), Some(Gone::Since(_))) && !told(&janitor), "it may still be sending");
        let long_ago = Instant::now().checked_sub(GRACE).unwrap();
        gone.insert(id.clone(), Gone::Since(long_ago));
        janitor.look(&mut gone).await.unwrap();
        assert!(gone.get(&id) == Some(&Gone::Settled) && told(&janitor));

        // Another leader finds the mark.
        gone.insert(id.clone(), Gone::Since(long_ago));
        janitor.look(&mut gone).await.unwrap();
        assert!(gone.get(&id) == Some(&Gone::Settled) && told(&janitor), "once");
    }

    #[tokio::test]
    async fn what_came_before_it_was_sealed_is_made_a_segment_once_nobody_can_send_it() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let janitor = janitor(folder.path());
        let id = RecordingId::new("shop", UID).unwrap();
        let key = SigningKey::generate("pod").unwrap();
        let (pod, service_account, begun) = ("agent-0".to_owned(), "agent".to_owned(), Timestamp::now());
        let shelf = janitor.store.shelf(&id);
        shelf.begin(&Meta { pod, service_account, key: key.public().clone(), begun }).await.unwrap();
        let storage = Arc::new(recording::FsStorage::open(disk.path()).unwrap());
        let (_writer, _) = recording::Writer::open(Default::default(), storage, key, Box::new(|_| ())).unwrap();
        let lines = std::fs::read(disk.path().join(recording::reader::segment_name(1))).unwrap();
        let end = shelf.replicate(0, lines.into()).await.unwrap();
        assert!(end.size > 1);

        janitor.lead();
        let long_ago = Instant::now().checked_sub(GRACE).unwrap();
        let mut gone = BTreeMap::from([(id.clone(), Gone::Since(long_ago))]);
        for _ in 0..2 {
            janitor.look(&mut gone).await.unwrap();
            assert!(matches!(gone.get(&id), Some(Gone::Unsealed(at)) if *at == long_ago) && told(&janitor));
            assert_eq!(shelf.standing().await.unwrap().archived, 0, "it may still come");
        }
        assert_eq!(janitor.complete(&id).await.unwrap(), Gone::Settled);
        let standing = shelf.standing().await.unwrap();
        assert_eq!((standing.archived, standing.replicated), (end.size, end.size));
    }
}
