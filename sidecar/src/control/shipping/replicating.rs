//! Takes lines to the operator's store before they are sealed, for operations that wait for it.
//!
//! Nothing is sent before something is wanted, and then what was wanted meanwhile goes along in one call; what follows
//! an operation goes with the next, or with the next checkpoint. Lines are read back from the disk, up to one that the
//! writer has synced, so that what is there is never taken back here. Refused: to go on where the store's last line is
//! not ours, which is asked at the first contact and after each failure. Nothing here is in the way of an operation that
//! does not wait for it.

use std::sync::Arc;

use parking_lot::Mutex;
use recording::outgoing::{Outgoing, OutgoingError};
use recording::tail::End;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep};

use super::calls::Calls;
use super::failed::Failed;
use super::{Outbox, jittered};
use crate::control::line::Line;
use crate::metrics::{Kept, Metrics};
use crate::replicas::{Behind, Missing, There};
use crate::vital;

/// Between two attempts: doubled from the first to the last, so that it goes on within a second of the store's return.
const FIRST: Duration = Duration::from_millis(25);
const LAST: Duration = Duration::from_secs(1);
/// After an answer that another attempt is not likely to change.
const LASTING: Duration = Duration::from_secs(5);
/// Between two lines of the log about one thing.
const AGAIN: Duration = Duration::from_secs(60);

/// The task that does it.
#[derive(Debug)]
pub struct Replicating;

struct Work {
    calls: Calls,
    outgoing: Arc<Mutex<Outgoing>>,
    behind: Behind,
    told: watch::Receiver<u64>,
    metrics: Arc<Metrics>,
    /// In the store, as far as it is known.
    size: Option<u64>,
    said: Option<(&'static str, Instant)>,
}

impl Replicating {
    /// Begins, and goes on as long as anybody could wait. Within the runtime.
    pub fn start(line: Line, outbox: &Outbox, behind: Behind, metrics: Arc<Metrics>) {
        let calls = Calls { line, key: outbox.key.clone() };
        let outgoing = Arc::new(Mutex::new(Outgoing::new(Arc::clone(&outbox.storage))));
        let told = outbox.told.clone();
        drop(vital::spawn(
            "replicating",
            Work { calls, outgoing, behind, told, metrics, size: None, said: None }.run(),
        ));
    }
}

impl Work {
    async fn run(mut self) {
        let mut pause = FIRST;
        loop {
            let wanted = self.wanted();
            if wanted == 0 || self.size.is_some_and(|size| size >= wanted) {
                if !self.more().await {
                    return;
                }
                continue;
            }
            match self.step(wanted).await {
                Ok(size) => {
                    self.well(size);
                    pause = FIRST;
                }
                Err(failed) => {
                    let missing = self.failed(&failed);
                    let lasting = failed.is_hopeless();
                    self.behind.there.send_modify(|there| there.missing = Some(missing));
                    sleep(jittered(if lasting { LASTING } else { pause })).await;
                    pause = pause.saturating_mul(2).min(LAST);
                    if self.behind.wanted.has_changed().is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Up to which entry lines are to be there: none before something waited, and then checkpoints too, which are synced.
    fn wanted(&mut self) -> u64 {
        let wanted = *self.behind.wanted.borrow_and_update();
        let told = *self.told.borrow_and_update();
        if wanted == 0 { 0 } else { wanted.max(told) }
    }

    /// Until there may be more to do; false when nobody can want anything any more. Both arms are cancel-safe.
    async fn more(&mut self) -> bool {
        let begun = *self.behind.wanted.borrow() > 0;
        tokio::select! {
            changed = self.behind.wanted.changed() => changed.is_ok(),
            changed = self.told.changed(), if begun => match changed {
                Ok(()) => true,
                // The writer is closed; somebody may still wait for what it wrote.
                Err(_) => self.behind.wanted.changed().await.is_ok(),
            },
        }
    }

    /// One call that brings something there, if something is to be; how far it is then.
    async fn step(&mut self, wanted: u64) -> Result<u64, Failed> {
        let from = match self.size.take() {
            Some(size) => size,
            None => self.ask().await?,
        };
        if from >= wanted {
            return Ok(from);
        }
        let lines = self.read(move |outgoing| outgoing.stretch(from, wanted, control::REPLICATE_LIMIT)).await?;
        let count = lines.iter().filter(|byte| **byte == b'\n').count();
        let size = from.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if count == 0 {
            return Err(Failed::Refused(format!("{from} entries are in the store, and here are no more")));
        }
        match self.calls.replicate(from, lines).await? {
            End { size: there, .. } if there == size => Ok(size),
            _ => Err(Failed::Answer("of other lines than those sent")),
        }
    }

    /// How far the store is, if what it has is ours.
    async fn ask(&mut self) -> Result<u64, Failed> {
        let End { size, last } = match self.calls.replicate(0, Vec::new()).await {
            Err(Failed::OutOfStep(_)) => {
                self.calls.begin().await?;
                self.calls.replicate(0, Vec::new()).await?
            }
            answer => answer?,
        };
        match self.read(move |outgoing| outgoing.behind(size)).await? {
            Some(ours) if ours == last => Ok(size),
            Some(_) => Err(Failed::Refused(format!("the store has another line as entry {size}"))),
            None => Err(Failed::Refused(format!("{size} entries are in the store, and fewer are here"))),
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Outgoing) -> Result<T, OutgoingError> + Send + 'static,
    ) -> Result<T, Failed> {
        let outgoing = Arc::clone(&self.outgoing);
        Ok(vital::blocking("replicating", move || read(&mut outgoing.lock())).await?)
    }

    fn well(&mut self, size: u64) {
        self.size = Some(size);
        self.behind.there.send_replace(There { size, missing: None });
        self.metrics.recording_entries(Kept::Replicated, size);
        if let Some((word, _)) = self.said.take() {
            tracing::info!(event = "recording_replicates", after = word);
        }
    }

    /// Counts and says it.
    fn failed(&mut self, failed: &Failed) -> Missing {
        let word = failed.word();
        self.metrics.recording_ship_error(word);
        if failed.is_refused() {
            self.metrics.recording_refused(true);
        }
        let again = self.said.is_some_and(|(said, at)| said == word && at.elapsed() < AGAIN);
        if !again {
            self.said = Some((word, Instant::now()));
            let effect = "operations under a policy with durability Replicated are refused";
            match failed {
                Failed::Refused(_) | Failed::Outgoing(_) => {
                    tracing::error!(event = "recording_not_replicated", reason = word, error = %failed, effect);
                }
                _ => tracing::warn!(event = "recording_not_replicated", reason = word, error = %failed, effect),
            }
        }
        match failed {
            Failed::NoStore => Missing::NoStore,
            Failed::Operator(_) => Missing::Operator,
            Failed::Away(_) | Failed::OutOfStep(_) | Failed::Answer(_) => Missing::Store,
            Failed::Full(_) => Missing::Full,
            Failed::Forbidden(_) => Missing::Forbidden,
            Failed::Refused(_) => Missing::Refused,
            Failed::Outgoing(_) | Failed::Prune(_) => Missing::Unreadable,
        }
    }
}
