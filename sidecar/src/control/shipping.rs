//! Takes the recording out of the pod: each checkpoint to the operator's signature, each sealed segment into its store,
//! the oldest first, one at a time.
//!
//! Never in the way of an operation: it reads what the writer has written, on threads that may block. A store that is
//! away, full or slow is tried again and again while the spool holds; once the spool is full the writer refuses, as
//! without a store. What is stored and countersigned is removed here when room is wanted, and never before.
//! Refused: nothing. An operator that says that this is not the recording it knows is evidence of a recording that was
//! rewritten, here or there: it is logged as an error each time, shown by a metric, and nothing is removed any more.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use recording::{Storage, Writer};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use self::calls::{Calls, Standing};
use self::failed::Failed;
use self::spool::Spool;
use super::jittered;
use super::line::Line;
use crate::metrics::{Kept, Metrics};
use crate::vital;

mod calls;
mod failed;
mod replicating;
mod spool;

pub use self::replicating::Replicating;

const LEFT: &str = "the end of the recording is not in the operator's store";

/// Where the recording is, and how far it may go out.
#[derive(Clone, Debug)]
pub struct Outbox {
    pub writer: Writer,
    pub storage: Arc<dyn Storage>,
    /// The public half of the key that signs checkpoints.
    pub key: String,
    /// Size under the newest checkpoint that is durable here.
    pub told: watch::Receiver<u64>,
}

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two looks for segments that were sealed.
    pub look: Duration,
    /// Between two attempts: doubled from the first to the last.
    pub first: Duration,
    pub last: Duration,
    /// After an answer that another attempt is not likely to change.
    pub hopeless: Duration,
    /// Without a step forward after the writer has closed: a pod does not stay for a store that is away.
    pub vain: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(5),
            first: Duration::from_millis(250),
            last: Duration::from_secs(30),
            hopeless: Duration::from_secs(60),
            vain: Duration::from_secs(5),
        }
    }
}

/// The task, and the word that ends it. Dropped without that word it ends too, wherever it stands.
pub struct Shipping {
    end: watch::Sender<Phase>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Written,
    /// The writer has closed in order: its last segment is whole too.
    Closed,
    /// It has not: its last segment stays, for the next process.
    Broken,
}

struct Ship {
    calls: Calls,
    spool: Spool,
    told: watch::Receiver<u64>,
    phase: watch::Receiver<Phase>,
    pace: Pace,
    metrics: Arc<Metrics>,
    /// As the operator said it last; asked for anew after each failure, for what failed may have been done.
    standing: Option<Standing>,
    /// The end of the last pause, while something fails.
    pause: Option<Duration>,
    said: Option<(&'static str, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// There may be more at once.
    Moved,
    /// Everything that can go has gone.
    Idle,
}

// === impl Shipping ===

impl fmt::Debug for Shipping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shipping").field("phase", &*self.end.borrow()).finish_non_exhaustive()
    }
}

impl Shipping {
    /// Begins, and goes on until [`Shipping::finish`]. Within the runtime.
    #[must_use]
    pub fn start(line: Line, outbox: Outbox, pace: Pace, metrics: Arc<Metrics>) -> Self {
        let Outbox { writer, storage, key, told } = outbox;
        let (end, phase) = watch::channel(Phase::Written);
        let ship = Ship {
            calls: Calls { line, key },
            spool: Spool::new(storage, writer),
            told,
            phase,
            pace,
            metrics,
            standing: None,
            pause: None,
            said: None,
        };
        Self { end, task: vital::spawn("shipping", ship.run()) }
    }

    /// Sends what is left, the last segment too if the writer has `closed` in order. What does not get away `within` this
    /// time stays where it is.
    pub async fn finish(self, closed: bool, within: Duration) {
        self.end.send_replace(if closed { Phase::Closed } else { Phase::Broken });
        let mut task = self.task;
        if timeout(within, &mut task).await.is_err() {
            task.abort();
            tracing::warn!(event = "recording_left", reason = "late", "{LEFT}");
        }
    }
}

// === impl Ship ===

impl Ship {
    async fn run(mut self) {
        let (mut moved, mut before) = (Instant::now(), Phase::Written);
        loop {
            if self.phase.has_changed().is_err() {
                // Whoever wanted it is gone.
                return;
            }
            let phase = *self.phase.borrow_and_update();
            if std::mem::replace(&mut before, phase) != phase {
                moved = Instant::now();
            }
            match self.round(phase).await {
                Ok(Round::Moved) => {
                    self.well();
                    moved = Instant::now();
                }
                Ok(Round::Idle) if phase != Phase::Written => {
                    tracing::info!(event = "recording_stored", stored = self.standing.map(|s| s.stored));
                    return;
                }
                Ok(Round::Idle) => {
                    self.well();
                    self.rest(self.pace.look, true).await;
                }
                Err(failed) => {
                    let pause = self.failed(&failed);
                    let vain = failed.is_hopeless() || moved.elapsed() > self.pace.vain;
                    if vain && phase != Phase::Written {
                        if !failed.is_no_store() {
                            tracing::warn!(event = "recording_left", reason = failed.word(), "{LEFT}");
                        }
                        return;
                    }
                    self.rest(pause, false).await;
                }
            }
        }
    }

    /// One step forward, if there is one.
    async fn round(&mut self, phase: Phase) -> Result<Round, Failed> {
        // Before anything is looked for: what is told later is found in the next round.
        let told = *self.told.borrow_and_update();
        self.metrics.recording_entries(Kept::Checkpointed, told);
        let standing = match self.standing {
            Some(standing) => standing,
            None => self.calls.begin().await?,
        };
        self.known(standing);
        // What was countersigned was told here before: less than that is another recording, or what is left of one.
        if told < standing.countersigned {
            let text = format!("{} entries are countersigned, and here are {told}", standing.countersigned);
            return Err(Failed::Refused(text));
        }
        if told > standing.countersigned
            && let Some(proof) = self.spool.proof(standing.countersigned, told).await?
        {
            let size = proof.size;
            self.calls.countersign(standing.countersigned, proof).await?;
            self.known(Standing { countersigned: size, ..standing });
            return Ok(Round::Moved);
        }
        if let Some(segment) = self.spool.sealed(standing.stored, phase == Phase::Closed).await? {
            let stored = self.calls.keep(segment).await?;
            if stored.stored <= standing.stored {
                return Err(Failed::Answer("a segment that is stored and changes nothing"));
            }
            self.known(stored);
            return Ok(Round::Moved);
        }
        // Both: what a checkpoint does not cover elsewhere is not covered by what was removed here either.
        self.spool.make_room(standing.stored.min(standing.countersigned)).await?;
        Ok(Round::Idle)
    }

    fn known(&mut self, standing: Standing) {
        self.standing = Some(standing);
        self.metrics.recording_entries(Kept::Countersigned, standing.countersigned);
        self.metrics.recording_entries(Kept::Stored, standing.stored);
    }

    fn well(&mut self) {
        self.pause = None;
        self.metrics.recording_refused(false);
        if let Some((word, _)) = self.said.take() {
            tracing::info!(event = "recording_ships", after = word);
        }
    }

    /// Counts and says it; gives the pause.
    fn failed(&mut self, failed: &Failed) -> Duration {
        self.standing = None;
        let word = failed.word();
        self.metrics.recording_ship_error(word);
        // It stays refused until something goes through.
        if failed.is_refused() {
            self.metrics.recording_refused(true);
        }
        let now = Instant::now();
        let again = self.said.is_some_and(|(said, at)| said == word && now.duration_since(at) < self.pace.hopeless);
        if !again {
            self.said = Some((word, now));
            match failed {
                Failed::NoStore => tracing::info!(event = "recording_stays", "the operator has no store of recordings"),
                Failed::Refused(_) | Failed::Outgoing(_) | Failed::Prune(_) => {
                    tracing::error!(event = "recording_not_stored", reason = word, error = %failed);
                }
                _ => tracing::warn!(event = "recording_not_stored", reason = word, error = %failed),
            }
        }
        let next = match failed.is_hopeless() {
            true => self.pace.hopeless,
            false => self.pause.map_or(self.pace.first, |pause| pause.saturating_mul(2).min(self.pace.last)),
        };
        self.pause = Some(next);
        jittered(next)
    }

    /// Until the time is over, the writer has ended, or, where it is asked for, another checkpoint is told.
    async fn rest(&mut self, pause: Duration, news: bool) {
        let until = Instant::now() + pause;
        let phase = *self.phase.borrow();
        // Every arm is cancel-safe. At the end there is little time: failures are tried again sooner.
        let ended = phase != Phase::Written;
        let until = if ended { until.min(Instant::now() + self.pace.first) } else { until };
        tokio::select! {
            () = sleep_until(until) => {}
            // Where nobody tells more, it is looked at again after the pause.
            changed = self.told.changed(), if news => if changed.is_err() { sleep_until(until).await; },
            // Or nobody is there any more, which the next round finds.
            _ = self.phase.changed(), if !ended => {}
        }
    }
}
