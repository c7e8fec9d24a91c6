//! What one sidecar is told over its `Watch`: the whole at first and at each change, and a word that nothing changed in
//! between.
//!
//! Invariants: a snapshot is made when there is room to send it, so only the newest ever waits; `Still` is said only of
//! what was sent, and only while the index follows the API server.

use std::sync::Arc;
use std::time::Duration;

use control::PodName;
use control::v1::{Still, Update, update};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;

use crate::certificate::Current;
use crate::index::{Index, Withheld};
use crate::metrics::Metrics;
use crate::status::Stream;

/// From one look to the next: what changes at once is told at once.
const GAP: Duration = Duration::from_millis(100);
/// Between two words, at most.
const STILL: Duration = Duration::from_secs(5);
/// For the index to know a pod that has just started, or to follow the API server again. After that another replica may
/// know more.
const PATIENCE: Duration = Duration::from_secs(15);
/// A sidecar that takes nothing for so long is cut.
const STALLED: Duration = Duration::from_secs(30);

/// One sidecar's stream.
#[derive(Debug)]
pub struct Follow {
    pub index: Arc<Index>,
    /// Whose roots sidecars are to know.
    pub current: Current,
    pub pod: PodName,
    /// What the sidecar says of what it is told.
    pub heard: Stream,
    /// What sidecars are told, in seconds.
    pub max_age: u32,
    /// Of the certificate by which the sidecar is known.
    pub until: Instant,
    pub stop: watch::Receiver<bool>,
    pub metrics: Arc<Metrics>,
}

type Sender = super::said::Sender<Update>;

// === impl Follow ===

impl Follow {
    /// Until the sidecar hangs up or there is a reason to end, which it is told.
    pub async fn run(mut self, sender: Sender) {
        self.metrics.follows(true);
        if let Some(status) = self.follow(&sender).await {
            let (namespace, uid, reason) = (self.pod.namespace(), self.pod.uid(), status.message());
            tracing::info!(event = "stream_ended", namespace, uid, reason);
            // One that is not taken needs no reason.
            let _ = timeout(STALLED, sender.send(Box::new(Err(status)))).await;
        }
        self.metrics.follows(false);
    }

    /// `None`: the sidecar went away.
    async fn follow(&mut self, sender: &Sender) -> Option<Status> {
        let mut changes = self.index.changes();
        let mut sent: Option<String> = None;
        let mut withheld = Some(Instant::now());
        let mut said = Instant::now();
        loop {
            changes.borrow_and_update();
            let looked = Instant::now();
            match self.index.revision(&self.pod) {
                Ok(revision) => {
                    withheld = None;
                    let known = sent.as_ref() == Some(&revision);
                    if !known || said.elapsed() >= self.still() {
                        match self.say(sender, &mut sent).await {
                            Said::Update => said = Instant::now(),
                            Said::Nothing => {}
                            Said::End(end) => return end,
                        }
                    }
                }
                Err(reason) => {
                    let since = *withheld.get_or_insert(looked);
                    let patient = since.elapsed() < PATIENCE;
                    match &reason {
                        Withheld::Unsynced if patient => {}
                        Withheld::Gone if patient && sent.is_none() => {}
                        _ => return Some(self.ended(&reason)),
                    }
                }
            }
            let due = match withheld {
                None => said + self.still(),
                Some(since) => since + PATIENCE,
            };
            // Every arm is cancel-safe: none of them takes anything.
            let followed = tokio::select! {
                changed = changes.changed() => changed.is_ok(),
                () = sleep_until(due) => continue,
                () = sleep_until(self.until) => return Some(Status::unauthenticated("the certificate has ended")),
                _ = self.stop.wait_for(|stop| *stop) => {
                    return Some(Status::unavailable("this replica of the operator stops"));
                }
                () = sender.closed() => return None,
            };
            if !followed {
                return Some(Status::unavailable("the operator ends"));
            }
            sleep_until(looked + GAP).await;
        }
    }

    /// The newest, when there is room for it.
    async fn say(&self, sender: &Sender, sent: &mut Option<String>) -> Said {
        let room = match timeout(STALLED, sender.reserve()).await {
            Ok(Ok(room)) => room,
            Ok(Err(_)) | Err(_) => return Said::End(None),
        };
        let update = match self.index.revision(&self.pod) {
            Ok(revision) if sent.as_ref() == Some(&revision) => update::Update::Still(Still { revision }),
            Ok(_) => match self.index.snapshot(&self.pod) {
                Ok(snapshot) => {
                    let (namespace, uid) = (self.pod.namespace(), self.pod.uid());
                    tracing::debug!(event = "snapshot_sent", namespace, uid, revision = snapshot.revision);
                    self.metrics.snapshot("sent");
                    *sent = Some(snapshot.revision.clone());
                    // Before it can be acknowledged.
                    self.heard.sent();
                    update::Update::Snapshot(snapshot)
                }
                Err(reason @ Withheld::TooLarge { .. }) => return Said::End(Some(self.ended(&reason))),
                // It changed in between: the next look says why.
                Err(_) => return Said::Nothing,
            },
            Err(_) => return Said::Nothing,
        };
        let roots = self.current.get().map(|held| held.mark.clone()).unwrap_or_default();
        room.send(Box::new(Ok(Update { update: Some(update), roots })));
        Said::Update
    }

    fn still(&self) -> Duration {
        STILL.min(Duration::from_secs(self.max_age.into()) / 3)
    }

    fn ended(&self, reason: &Withheld) -> Status {
        let (word, status) = match reason {
            Withheld::Unsynced => ("unsynced", Status::unavailable(reason.to_string())),
            Withheld::Gone => ("gone", Status::not_found(reason.to_string())),
            Withheld::Unsound(_) => ("unsound", Status::failed_precondition(short(&reason.to_string()))),
            Withheld::TooLarge { .. } => ("too_large", Status::failed_precondition(reason.to_string())),
        };
        self.metrics.snapshot(word);
        status
    }
}

enum Said {
    Update,
    Nothing,
    End(Option<Status>),
}

/// A status stands in a header: a long one would break the stream without a word.
fn short(text: &str) -> String {
    const MOST: usize = 1_024;
    if text.chars().count() <= MOST { text.to_owned() } else { text.chars().take(MOST).chain(['…']).collect() }
}
