//! Keeps policies and Secrets in force the same as the operator says, and says back what is in force.
//!
//! A snapshot that is not usable changes nothing and is not confirmed, as a bad folder in standalone mode. One about
//! another pod than ours is refused: a pod never becomes another one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use control::PodName;
use control::v1::{Still, Update, WatchRequest, update};
use policy::subject::Subject;
use recording::entry::What;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Status;

use super::away::{Away, Tell};
use super::line::Line;
use super::report::{InForce, Reporter};
use super::snapshot::{Received, Unusable};
use super::{FIRST_PAUSE, RETURN, jittered, longer, part, why};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::outside::{Policies, PolicySnapshot};
use crate::secret::Secrets;
use crate::used::Used;

/// The operator says something at least every third of it.
const SILENCE: Duration = Duration::from_secs(30);

/// What is in force, fed from the operator.
pub struct Feed {
    line: Line,
    pod: PodName,
    away: Away,
    subject: watch::Sender<Arc<Subject>>,
    snapshots: watch::Sender<PolicySnapshot>,
    secrets: Arc<Secrets>,
    /// With the operator's word for it.
    in_force: watch::Sender<InForce>,
    used: Arc<Used>,
    /// How many have begun.
    streams: u64,
    metrics: Arc<Metrics>,
    ledger: Arc<dyn Ledger>,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("in_force", &self.in_force.borrow().revision).finish_non_exhaustive()
    }
}

/// Why a stream ended, or never began.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    #[error("the operator ended the stream")]
    Ended,
    #[error("the operator was silent for {} s", SILENCE.as_secs())]
    Silent,
    #[error("the operator answered: {}", why(.0))]
    Status(#[from] Status),
    #[error("there is a new connection")]
    Moved,
    #[error("the operator sent a message of a newer version that says nothing here")]
    Unknown,
    #[error("the operator calls this pod {0} now: a pod keeps its identity")]
    Identity(String),
    #[error(transparent)]
    Unusable(#[from] Unusable),
}

impl Feed {
    /// Waits for the first usable snapshot and puts it in force; tries until the operator has one.
    pub async fn first(
        mut line: Line,
        pod: PodName,
        tell: Tell,
        metrics: Arc<Metrics>,
        ledger: Arc<dyn Ledger>,
    ) -> Self {
        let mut pause = FIRST_PAUSE;
        let mut away = Away::new("policy from the operator", tell);
        let received = loop {
            match first(&mut line, &pod).await {
                Ok(received) => break received,
                Err(error) => told(&error, &mut away, &metrics),
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = longer(pause);
        };
        away.well();
        let Received { revision, subject, held, max_age, forms } = received;
        let snapshot = PolicySnapshot { set: Arc::new(held.set.clone()), confirmed: Instant::now(), max_age };
        tracing::info!(event = "policy_loaded", %revision);
        metrics.policy_reload(false);
        metrics.policy_confirmed(jiff::Timestamp::now().as_second());
        Self {
            line,
            pod,
            away,
            subject: watch::Sender::new(Arc::new(subject)),
            snapshots: watch::Sender::new(snapshot),
            secrets: Secrets::new(held),
            in_force: watch::Sender::new(InForce { revision, forms: Arc::new(forms), serial: 0, stream: 0 }),
            used: Arc::default(),
            streams: 0,
            metrics,
            ledger,
        }
    }

    pub fn policies(&self) -> Policies {
        self.snapshots.subscribe()
    }

    pub fn secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.secrets)
    }

    pub fn subject(&self) -> watch::Receiver<Arc<Subject>> {
        self.subject.subscribe()
    }

    /// Follows the operator until the runtime ends, and tells it which rules were `used`.
    pub fn follow(mut self, used: Arc<Used>) {
        used.begin(self.snapshots.borrow().set.revision(), |_| false);
        self.used = Arc::clone(&used);
        let reporter = Reporter { line: self.line.clone(), in_force: self.in_force.subscribe(), used };
        tokio::spawn(reporter.run());
        crate::vital::spawn("control", async move {
            let mut pause = FIRST_PAUSE;
            loop {
                let before = self.snapshots.borrow().confirmed;
                let error = self.stream().await;
                let was_well = self.snapshots.borrow().confirmed > before;
                if let Interrupted::Moved = error {
                    pause = if was_well { FIRST_PAUSE } else { pause };
                    continue;
                }
                told(&error, &mut self.away, &self.metrics);
                if let Interrupted::Unusable(_) | Interrupted::Identity(_) = error {
                    self.ledger.marker(What::PolicyReload, format!("refused, the old ones stay: {error}"));
                }
                // A replica that goes away sends thousands to the others at one moment.
                let rest = if was_well { part(RETURN) } else { jittered(pause) };
                tokio::time::sleep(rest).await;
                pause = if was_well { FIRST_PAUSE } else { longer(pause) };
            }
        });
    }

    /// One stream, as long as it lasts.
    async fn stream(&mut self) -> Interrupted {
        let mut line = self.line.clone();
        let end: Result<std::convert::Infallible, Interrupted> = async {
            self.streams = self.streams.wrapping_add(1);
            let request = WatchRequest { in_force: self.in_force.borrow().revision.clone() };
            let mut client = line.client();
            let mut updates = timeout(SILENCE, client.watch(request)).await.map_err(|_| Interrupted::Silent)??;
            loop {
                // Both arms are cancel-safe: a message that is read in part stays in the stream.
                let (update, roots) = tokio::select! {
                    update = next(updates.get_mut()) => update?,
                    () = line.moved() => return Err(Interrupted::Moved),
                };
                line.roots_are(roots);
                match update {
                    update::Update::Snapshot(snapshot) => self.put_in_force(snapshot.try_into()?)?,
                    update::Update::Still(Still { revision }) if revision == self.in_force.borrow().revision => {
                        self.confirm()
                    }
                    // It speaks of one that never came: a new stream brings it.
                    update::Update::Still(_) => return Err(Interrupted::Ended),
                }
            }
        }
        .await;
        let Err(end) = end;
        end
    }

    fn put_in_force(&mut self, received: Received) -> Result<(), Interrupted> {
        let Received { revision, subject, held, max_age, forms } = received;
        let known = Arc::clone(&self.subject.borrow());
        ours(&subject, &self.pod)?;
        if (&known.service_account, &known.pod) != (&subject.service_account, &subject.pod) {
            return Err(another(&subject));
        }
        self.subject.send_if_modified(|current| {
            let changed = **current != subject;
            if changed {
                *current = Arc::new(subject);
            }
            changed
        });
        let set = Arc::new(held.set.clone());
        // Secrets first: whoever sees the new policies finds what they refer to.
        self.secrets.replace(held);
        let changed = self.snapshots.borrow().set.revision() != set.revision();
        // Before anybody is judged by the new ones.
        let before = Arc::clone(&self.in_force.borrow().forms);
        self.used.begin(set.revision(), |rule| {
            let key = (rule.cluster, rule.policy.clone());
            forms.get(&key).is_some_and(|form| before.get(&key) == Some(form))
        });
        if changed {
            let policies = set.revision();
            tracing::info!(event = "policy_reloaded", %revision, %policies);
            self.ledger.marker(What::PolicyReload, format!("now in force: {policies}"));
        }
        self.snapshots.send_if_modified(|current| {
            *current = PolicySnapshot { set, confirmed: Instant::now(), max_age };
            changed
        });
        self.in_force.send_modify(|now| {
            (now.revision, now.forms) = (revision, Arc::new(forms));
            (now.serial, now.stream) = (now.serial.wrapping_add(1), self.streams);
        });
        self.metrics.policy_reload(false);
        self.confirm();
        Ok(())
    }

    /// Nobody is woken by it: only the age changes.
    fn confirm(&mut self) {
        self.away.well();
        self.snapshots.send_if_modified(|current| {
            current.confirmed = Instant::now();
            false
        });
        self.metrics.policy_confirmed(jiff::Timestamp::now().as_second());
    }
}

async fn first(line: &mut Line, pod: &PodName) -> Result<Received, Interrupted> {
    let mut client = line.client();
    let request = WatchRequest { in_force: String::new() };
    let mut updates = timeout(SILENCE, client.watch(request)).await.map_err(|_| Interrupted::Silent)??;
    match next(updates.get_mut()).await?.0 {
        update::Update::Snapshot(snapshot) => {
            let received: Received = snapshot.try_into()?;
            ours(&received.subject, pod)?;
            Ok(received)
        }
        update::Update::Still(_) => Err(Interrupted::Ended),
    }
}

fn ours(subject: &Subject, pod: &PodName) -> Result<(), Interrupted> {
    match subject.namespace == pod.namespace() && subject.pod_uid.as_deref() == Some(pod.uid()) {
        true => Ok(()),
        false => Err(another(subject)),
    }
}

fn another(subject: &Subject) -> Interrupted {
    Interrupted::Identity(format!("{}/{}", subject.namespace, subject.service_account))
}

/// With the mark of the operator's roots.
async fn next(updates: &mut tonic::Streaming<Update>) -> Result<(update::Update, Vec<u8>), Interrupted> {
    let message = timeout(SILENCE, updates.message()).await.map_err(|_| Interrupted::Silent)??;
    let Update { update, roots } = message.ok_or(Interrupted::Ended)?;
    Ok((update.ok_or(Interrupted::Unknown)?, roots))
}

fn told(error: &Interrupted, away: &mut Away, metrics: &Metrics) {
    away.failed(error);
    if let Interrupted::Unusable(_) | Interrupted::Identity(_) | Interrupted::Unknown = error {
        tracing::error!(event = "policy_reload_failed", %error, "the policies in force before stay in force");
        metrics.policy_reload(true);
    }
}
