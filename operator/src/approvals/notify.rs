//! The notification webhook: what happens to requests is told to a chat, or to a program.
//!
//! Only the leader tells. What there is to tell follows from the requests themselves, and what was told is written into
//! their status, so that a new leader goes on where the last one was. Promised is at least once, in order for each request,
//! while the request is there; of one that is deleted, by the leader that saw it. A message that was taken and not
//! written down any more is told again, under the same id.
//! Invariant: nothing of an approval waits for it. It reads the book and writes one list that nobody decides by; its queue
//! has a bound, each call a deadline, each message an end of its tries.

mod call;
mod endpoint;
mod fact;
mod message;
mod queue;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use crds::approval::ApprovalRequest;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::timeout;

use self::call::Failure;
use self::endpoint::{Files, Unfit};
use self::fact::Fact;
use self::queue::{Mark, Next, Queue};
use super::book::Book;
use super::request::Request;
use crate::leader::Term;
use crate::metrics::Metrics;

/// Of its own part of the status.
const FIELD_MANAGER: &str = "agentaccess-notifier";
/// For one request to the API server.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at the requests.
const LOOK: Duration = Duration::from_millis(500);

pub(super) struct Notifier {
    client: Client,
    book: Arc<Book>,
    metrics: Arc<Metrics>,
    identity: String,
    files: tokio::sync::Mutex<Files>,
    queue: Mutex<Queue>,
    /// There may be something to do.
    work: Notify,
    term: Term,
}

// === impl Notifier ===

impl Notifier {
    /// `folder` holds the files of the Secret.
    pub(super) fn new(
        client: Client,
        book: Arc<Book>,
        metrics: Arc<Metrics>,
        identity: &str,
        folder: &Path,
        allow_http: bool,
    ) -> Self {
        Self {
            client,
            book,
            metrics,
            identity: identity.to_owned(),
            files: tokio::sync::Mutex::new(Files::new(folder, allow_http)),
            queue: Mutex::default(),
            work: Notify::new(),
            term: Term::default(),
        }
    }

    /// This replica leads, for now; to be said again and again.
    pub(super) fn lead(&self) {
        self.term.begin();
    }

    /// Works until it is dropped, while this replica leads.
    pub(super) async fn work(&self) {
        // Apart, so that an endpoint that hangs hides no request that comes and goes meanwhile, and an API server that
        // hangs holds no message up.
        tokio::join!(self.look(), self.tell(), self.write_down());
    }

    async fn look(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if !self.term.is_on() {
                *self.queue.lock() = Queue::default();
                self.metrics.notifications_waiting(0, Duration::ZERO);
                continue;
            }
            if !self.book.is_ready() {
                continue;
            }
            let (all, now) = (self.book.all(), Instant::now());
            let mut queue = self.queue.lock();
            let dropped = queue.look(&all, Timestamp::now(), now);
            let (waiting, oldest) = (queue.waiting(), queue.oldest(now));
            drop(queue);
            self.metrics.notifications_waiting(waiting, oldest);
            for _ in 0..dropped {
                self.metrics.notification("dropped");
            }
            if dropped > 0 {
                tracing::warn!(event = "notifications_dropped", count = dropped, error = "too many wait");
            }
            self.work.notify_one();
        }
    }

    async fn tell(&self) {
        let reporter =
            Reporter { controller: "agentaccess-operator".to_owned(), instance: Some(self.identity.clone()) };
        let recorder = Recorder::new(self.client.clone(), reporter);
        let mut unfit = None;
        loop {
            self.work.notified().await;
            while self.term.is_on() {
                if self.queue.lock().waiting() == 0 {
                    break;
                }
                let (endpoint, changed) = self.files.lock().await.read().await;
                if changed {
                    self.queue.lock().begin_anew(Instant::now());
                    tracing::info!(event = "notification_endpoint_read", usable = endpoint.is_ok());
                }
                self.complain(endpoint.as_ref().err(), &mut unfit);
                let Some((uid, fact)) = self.queue.lock().next(Instant::now()) else { break };
                let result = match endpoint {
                    Ok(endpoint) => self.send(&endpoint, &fact).await,
                    Err(error) => Err(error.into()),
                };
                self.done(&recorder, &uid, &fact, result).await;
            }
        }
    }

    async fn write_down(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let marks = if self.term.is_on() { self.queue.lock().marks(Instant::now()) } else { Vec::new() };
            for mark in &marks {
                self.mark(mark).await;
            }
        }
    }

    /// Once for each thing that is wrong.
    fn complain(&self, found: Option<&Unfit>, last: &mut Option<Unfit>) {
        if let Some(error) = found.filter(|found| last.as_ref() != Some(*found)) {
            tracing::warn!(event = "notification_endpoint_unfit", %error);
        }
        *last = found.cloned();
    }

    async fn send(&self, endpoint: &Arc<endpoint::Endpoint>, fact: &Fact) -> Result<(), Failure> {
        let body = message::body(fact).map_err(|_| Failure::Message)?;
        call::post(endpoint, &message::id(fact), Timestamp::now(), body).await
    }

    async fn done(&self, recorder: &Recorder, uid: &str, fact: &Fact, result: Result<(), Failure>) {
        let (namespace, name) = &fact.request.id;
        let notice = message::word(fact.notice);
        let Err(failure) = result else {
            self.queue.lock().sent(uid, fact.notice);
            self.metrics.notification("sent");
            tracing::debug!(event = "notification_sent", namespace, name, notice);
            return;
        };
        self.metrics.notification(failure.word());
        let next = self.queue.lock().failed(uid, fact.notice, failure.fault(), Instant::now(), chance());
        let said = match next {
            Next::Later => None,
            Next::Loud => {
                Some(("NotificationDelayed", format!("`{notice}` was not told yet and is tried again: {failure}")))
            }
            Next::GivenUp => {
                self.metrics.notification("given_up");
                Some(("NotificationGivenUp", format!("`{notice}` is not told: {failure}")))
            }
        };
        tracing::warn!(event = "notification_failed", namespace, name, notice, given_up = next == Next::GivenUp, error = %failure);
        if let Some((reason, note)) = said.filter(|_| !fact.gone) {
            self.event(recorder, fact, reason, note).await;
        }
    }

    /// Events are for people: one that is lost changes nothing.
    async fn event(&self, recorder: &Recorder, fact: &Fact, reason: &str, note: String) {
        let (namespace, name) = &fact.request.id;
        let reference = ObjectReference {
            api_version: Some(crds::API_VERSION.to_owned()),
            kind: Some("ApprovalRequest".to_owned()),
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            uid: Some(fact.request.uid.clone()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Notify".to_owned(),
            secondary: None,
        };
        match timeout(PATIENCE, recorder.publish(&event, &reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(event = "event_not_written", namespace, name, %error),
            Err(_) => tracing::warn!(event = "event_not_written", namespace, name, error = "too slow"),
        }
    }

    /// Of this request and no later one of its name. What fails is done again by the queue.
    async fn mark(&self, mark: &Mark) {
        let (namespace, name) = &mark.id;
        let api: Api<ApprovalRequest> = Api::namespaced(self.client.clone(), namespace);
        let status = json!({
            "apiVersion": crds::API_VERSION, "kind": "ApprovalRequest",
            "metadata": {"uid": mark.uid},
            "status": {"notified": mark.told},
        });
        let (params, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(&status));
        match timeout(PATIENCE, api.patch_status(name, &params, &patch)).await {
            Ok(Ok(object)) => {
                // So that the leader's next write is over this version, and not in conflict with it.
                if let Ok(request) = Request::read(&object) {
                    self.book.put(request, Timestamp::now());
                }
            }
            Ok(Err(kube::Error::Api(status))) if status.is_conflict() || status.is_not_found() => {}
            Ok(Err(error)) => tracing::warn!(event = "notification_not_marked", namespace, name, %error),
            Err(_) => tracing::warn!(event = "notification_not_marked", namespace, name, error = "too slow"),
        }
    }
}

impl std::fmt::Debug for Notifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notifier").finish_non_exhaustive()
    }
}

/// Without randomness all wait for the longest.
fn chance() -> u16 {
    let mut bytes = [0; 2];
    match rand::fill(&mut bytes) {
        Ok(()) => u16::from_le_bytes(bytes),
        Err(_) => u16::MAX,
    }
}

#[cfg(test)]
mod tests;
