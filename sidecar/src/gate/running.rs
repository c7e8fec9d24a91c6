//! `Running`: an operation that was let out and owes an outcome.
//!
//! Whatever becomes of the session, the outcome is written: dropping a `Running` (the session ended, its task
//! panicked) records `unknown`, which reads "may have executed"; a permit that was never spent records `not_sent`.

use std::sync::Arc;
use std::time::Instant;

use recording::entry::{Found, Status};

use crate::failpoint;
use crate::recorder::{OpRef, Recorder};

/// How an operation ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub status: Status,
    pub rows: u64,
    pub bytes: u64,
    /// The target's own error code, never its text.
    pub sqlstate: Option<String>,
    /// SHA-256 over the bytes of a stream that the operation opened.
    pub stream_digest: Option<[u8; 32]>,
    /// What detectors found in its answer.
    pub found: Vec<Found>,
}

impl Outcome {
    pub fn of(status: Status) -> Self {
        Self { status, rows: 0, bytes: 0, sqlstate: None, stream_digest: None, found: Vec::new() }
    }
}

#[must_use = "an operation under way owes an outcome"]
pub struct Running {
    op: OpRef,
    recorder: Arc<Recorder>,
    started: Instant,
    sent: bool,
    finished: bool,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("op", &self.op).finish_non_exhaustive()
    }
}

impl Running {
    pub(super) fn new(op: OpRef, recorder: Arc<Recorder>) -> Self {
        Self { op, recorder, started: Instant::now(), sent: false, finished: false }
    }

    pub(super) fn mark_sent(mut self) -> Self {
        self.sent = true;
        self.op.trace().sent();
        self
    }

    pub fn op(&self) -> &OpRef {
        &self.op
    }

    /// Records how it ended. The slot was reserved with the intent, so this never waits.
    pub fn finish(mut self, outcome: &Outcome) {
        self.finished = true;
        failpoint::step("before_outcome", &self.op);
        self.tell(outcome);
    }

    fn tell(&self, outcome: &Outcome) {
        self.recorder.outcome(&self.op, outcome, self.started.elapsed());
        self.op.trace().ended(outcome);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.finished {
            let status = if self.sent { Status::Unknown } else { Status::NotSent };
            self.tell(&Outcome::of(status));
        }
    }
}
