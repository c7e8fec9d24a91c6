//! An operation that was sent, or refused with a poison, until its answer is complete.

use std::sync::Arc;

use pgcodec::machine::{PortalId, StatementId};
use pgsql::outputs::Outputs;
use policy::operation::Operation;
use policy::verdict::{Level, Obligations};
use recording::entry::Status;

use super::super::detect::Seen;
use super::super::refusal::Words;
use super::super::statement::{Columns, Judged, Source};
use super::capture::Capture;
use crate::gate::{Outcome, Running};

/// Names an operation inside the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Token(pub u64);

#[derive(Debug)]
pub(super) struct Flight {
    /// Absent for a poison: nothing of the agent's was sent.
    pub running: Option<Running>,
    pub judged: Option<Arc<Judged>>,
    pub statement: Option<StatementId>,
    /// What was decided, to be decided again when policy changes while it runs.
    pub operation: Option<Operation>,
    pub obligations: Obligations,
    /// The words that take the place of the server's error.
    pub refused: Option<Words>,
    pub rows: u64,
    /// Rows that its command tag counts; for a result those are its rows again.
    pub affected: u64,
    /// Rows of all portions of the same portal or cursor so far; its own where it reads from none.
    pub total: u64,
    pub source: Option<Source>,
    /// The portal that it executes.
    pub portal: Option<PortalId>,
    /// Of its rows, once they were described.
    pub columns: Option<Columns>,
    /// What detectors found in its answer.
    pub seen: Seen,
    pub bytes: u64,
    pub sqlstate: Option<String>,
    pub capture: Option<Capture>,
    pub stream_digest: Option<[u8; 32]>,
    /// It ran to its end inside a batch whose Sync may still roll it back.
    pub settling: bool,
    pub cancelled: bool,
    /// It failed; the rest of its answer is still to come.
    pub failed: Option<Status>,
    /// The target did it, and we had it undone.
    pub overruled: bool,
}

impl Flight {
    pub(super) fn sent(
        running: Running,
        judged: &Arc<Judged>,
        statement: Option<StatementId>,
        operation: Operation,
        obligations: Obligations,
        captured: usize,
    ) -> Self {
        let capture = (obligations.level == Level::Payload).then(|| Capture::new(captured));
        Self {
            running: Some(running),
            judged: Some(Arc::clone(judged)),
            statement,
            operation: Some(operation),
            obligations,
            refused: None,
            rows: 0,
            affected: 0,
            total: 0,
            source: None,
            portal: None,
            columns: None,
            seen: Seen::default(),
            bytes: 0,
            sqlstate: None,
            capture,
            stream_digest: None,
            settling: false,
            cancelled: false,
            failed: None,
            overruled: false,
        }
    }

    pub(super) fn poison(words: Words) -> Self {
        Self {
            running: None,
            judged: None,
            statement: None,
            operation: None,
            obligations: Obligations::default(),
            refused: Some(words),
            rows: 0,
            affected: 0,
            total: 0,
            source: None,
            portal: None,
            columns: None,
            seen: Seen::default(),
            bytes: 0,
            sqlstate: None,
            capture: None,
            stream_digest: None,
            settling: false,
            cancelled: false,
            failed: None,
            overruled: false,
        }
    }

    /// Nothing of the agent's: it fails at the target.
    pub(super) fn is_poison(&self) -> bool {
        self.running.is_none() && self.operation.is_none()
    }

    /// Its errors and notices may quote masked data. Without a plan nothing is known of it, so nothing passes.
    pub(super) fn near_masked_data(&self) -> bool {
        self.judged.as_ref().is_none_or(|judged| judged.plan.as_ref().map_or(true, |plan| plan.scrub))
    }

    /// Which values of its rows are masked, if any are.
    pub(super) fn masked_outputs(&self) -> Option<&Outputs> {
        let plan = self.judged.as_ref()?.plan.as_ref().ok()?;
        Some(&plan.outputs).filter(|outputs| outputs.any())
    }

    pub(super) fn over_row_limit(&self) -> bool {
        self.obligations.max_rows.is_some_and(|most| self.total > most)
    }

    /// Records how it ended.
    pub(super) fn finish(self, status: Status, recorder: &crate::recorder::Recorder) {
        let Some(running) = self.running else { return };
        if let Some(capture) = self.capture
            && let Some(data) = capture.into_data()
        {
            recorder.data(running.op(), data);
        }
        running.finish(&Outcome {
            status,
            rows: self.rows.max(self.affected),
            bytes: self.bytes,
            sqlstate: self.sqlstate,
            stream_digest: self.stream_digest,
            found: self.seen.found(),
        });
    }
}
