//! A transaction of ours around a change that was approved for so many rows.
//!
//! Our BEGIN, the change, and when the target says how many rows it changed, COMMIT if that is within what was approved, else
//! ROLLBACK and an error. To the agent and to the machine it is one statement outside of a transaction: every answer to it is
//! held back until the target has committed. Invariants: nothing of an answer, rows of RETURNING included, leaves before the
//! COMMIT is answered; what is held is bounded, and what is more is rolled back; whatever ends the session before our COMMIT
//! was sent leaves nothing behind; BEGIN, COMMIT and ROLLBACK are operations of ours, with intent and permit.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pgcodec::backend::ErrorFields;
use pgcodec::{Backend, TxState};
use recording::entry::Status;
use tokio::time::{Instant, timeout_at};

use super::super::operation::{self, Transaction};
use super::super::refusal::Words;
use super::agent::fields;
use super::flight::Token;
use super::internal::own_frames;
use super::silent::Silent;
use super::unit::not_decided;
use super::{End, Session};
use crate::failpoint::failpoint;
use crate::gate::{Moment, Outcome, Permit, Running, Stage as Deciding};

/// Bytes of an answer that are held back.
const MOST_HELD: usize = 1024 * 1024;
/// For our BEGIN.
const BEGIN_DEADLINE: Duration = Duration::from_secs(10);

/// What is under way in a transaction of ours.
#[derive(Debug)]
pub(super) struct Guard {
    token: Token,
    /// More rows than this were not approved.
    most: u64,
    stage: Stage,
    /// Answers of the target, in order.
    held: Vec<Backend>,
    bytes: usize,
    /// Rows of its result.
    rows: u64,
    /// Rows that it changed.
    changed: Option<u64>,
    /// The target itself reported an error.
    failed: bool,
    /// Why it is not kept, whatever it changed.
    why: Option<Words>,
    /// The agent wants to hear before the end of its batch.
    flushed: bool,
    /// It heard that it failed; what is left are words for nobody.
    told: bool,
}

#[derive(Debug)]
enum Stage {
    Runs,
    /// The target waits, with its transaction in this state.
    Ready(TxState),
    Ends {
        running: Running,
        commit: bool,
        committed: bool,
        error: Option<ErrorFields>,
    },
}

// === impl Guard ===

impl Guard {
    fn new(token: Token, most: u64) -> Self {
        Self {
            token,
            most,
            stage: Stage::Runs,
            held: Vec::new(),
            bytes: 0,
            rows: 0,
            changed: None,
            failed: false,
            why: None,
            flushed: false,
            told: false,
        }
    }

    /// Nothing that was done can have been kept: our COMMIT was not sent.
    pub(super) fn is_uncommitted(&self) -> bool {
        !matches!(self.stage, Stage::Ends { commit: true, .. })
    }

    fn fail(&mut self, words: Words) {
        self.why.get_or_insert(words);
    }

    /// Keeps one answer while there is room.
    fn hold(&mut self, message: Backend, size: usize) {
        let bulk = is_bulk(&message);
        if self.told || (bulk && self.why.is_some()) {
            return;
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > MOST_HELD {
            let mut words = Words::new(
                "54000",
                format!(
                    "rolled back: its answer is longer than the {MOST_HELD} bytes that can be held back until its rows are compared"
                ),
            );
            words.hint = Some("Leave RETURNING out, or return less. Nothing was kept.".to_owned());
            self.fail(words);
            self.held.retain(|held| !is_bulk(held));
            if bulk {
                return;
            }
        }
        self.held.push(message);
    }

    /// Why we roll it back.
    fn refused(&self) -> Option<Words> {
        // The target has said why it was not done.
        if self.failed && self.changed.is_none() {
            return None;
        }
        if self.why.is_some() {
            return self.why.clone();
        }
        let most = self.most;
        match self.changed {
            Some(changed) if changed <= most => None,
            Some(changed) => {
                let mut words = Words::new(
                    "PX005",
                    format!("rolled back: it changed {changed} rows, and what was approved lets it change {most}"),
                );
                words.hint = Some(
                    "Nothing was kept, and the approval is used up. Send the statement again only if it is still right: the new \
                     request shows the new number."
                        .to_owned(),
                );
                Some(words)
            }
            None => Some(Words::new("PX005", "rolled back: the target did not say how many rows it changed")),
        }
    }

    /// What the agent hears of a change that failed at its end: what came before, then the error.
    fn failing(&mut self, error: ErrorFields) -> Vec<Backend> {
        let ends = |message: &Backend| {
            matches!(message, Backend::CommandComplete { .. } | Backend::PortalSuspended | Backend::EmptyQueryResponse)
        };
        let mut told: Vec<Backend> = self.undone().into_iter().take_while(|message| !ends(message)).collect();
        told.push(Backend::ErrorResponse(error));
        told
    }

    /// What is left of the answer to a change that is not kept: nothing that its rows could be read from.
    fn undone(&mut self) -> Vec<Backend> {
        let held = std::mem::take(&mut self.held);
        held.into_iter().filter(|message| !is_bulk(message)).collect()
    }
}

/// Rows, and what triggers have to say of them.
fn is_bulk(message: &Backend) -> bool {
    matches!(message, Backend::DataRow(_) | Backend::NoticeResponse(_))
}

// === impl Session ===

impl Session {
    /// Begins a transaction of ours for an operation that was permitted and is sent next.
    pub(super) async fn begin_guard(&mut self, token: Token, most: u64) -> Result<(), End> {
        let (permit, frames) = self.own("guard: begin", "BEGIN").await?;
        let (_, running) = self.upstream.send(permit, &frames).map_err(not_decided)?;
        let end = Instant::now() + BEGIN_DEADLINE;
        let state = timeout_at(end, self.begun()).await.unwrap_or(Err(End::UpstreamGone))?;
        let begun = state == TxState::Transaction;
        running.finish(&Outcome::of(if begun { Status::Ok } else { Status::Error }));
        if !begun {
            return Err(End::Caught("a transaction of the sidecar's own could not begin", format!("{state:?}")));
        }
        self.guard = Some(Guard::new(token, most));
        failpoint("guard_begun");
        Ok(())
    }

    /// Up to the ReadyForQuery that answers our BEGIN. Nothing else is under way.
    async fn begun(&mut self) -> Result<TxState, End> {
        self.upstream.flush().await.map_err(|_| End::UpstreamGone)?;
        loop {
            while let Some(frame) = self.upstream_framer.next().map_err(End::Upstream)? {
                match Backend::decode(&frame).map_err(End::Upstream)? {
                    Backend::ReadyForQuery(state) => return Ok(state),
                    Backend::ErrorResponse(error) if error.is_fatal() => return Err(End::UpstreamGone),
                    message @ (Backend::ParameterStatus { .. } | Backend::NotificationResponse { .. }) => {
                        self.feed(message)?;
                    }
                    _ => {}
                }
            }
            let (reader, _) = self.upstream.halves();
            if reader.read(self.upstream_framer.read_buffer()).await.map_err(|_| End::UpstreamGone)? == 0 {
                return Err(End::UpstreamGone);
            }
        }
    }

    /// A constant text of ours on the session's own connection, under a name that no agent can use.
    async fn own(&mut self, what: &'static str, text: &'static str) -> Result<(Permit, BytesMut), End> {
        // The unnamed portal: named ones live as long as the transaction, and the agent has none that outlives this.
        let frames = own_frames("", text).map_err(End::Upstream)?;
        let mut desk = self.core.gate.internal_desk(self.desk.target());
        let (subject, planned) = (Arc::clone(desk.subject()), desk.revision());
        let op = operation::internal(
            &operation::Context {
                key: &self.core.digest_key,
                subject: &subject,
                target: self.desk.target(),
                database: &self.database,
                role: "",
                catalog: "",
                planned,
                transaction: Transaction::Idle,
                meaning: "",
            },
            what,
            &frames,
        );
        let admitted = desk.admit(&op, Deciding::Run, Moment::InBatch, &mut Silent).await;
        // Without a record there is neither a beginning nor an end: the connection closes, and the target rolls back.
        let permit = admitted.map_err(|refused| {
            End::Caught("a transaction of the sidecar's own could not be recorded", refused.refusal.word().to_owned())
        })?;
        Ok((permit, frames))
    }

    /// Takes one answer of the target; what the guard does not hold back goes on.
    pub(super) fn take_answer(&mut self, message: Backend, size: usize) -> Result<(), End> {
        let Some(guard) = &mut self.guard else { return self.feed(message) };
        if matches!(&message, Backend::ErrorResponse(error) if error.is_fatal()) {
            return Err(End::UpstreamGone);
        }
        let unasked = matches!(
            message,
            Backend::NoticeResponse(_) | Backend::ParameterStatus { .. } | Backend::NotificationResponse { .. }
        );
        match &mut guard.stage {
            _ if unasked => guard.hold(message, size),
            Stage::Ends { committed, error, .. } => match message {
                Backend::CommandComplete { tag } => *committed = tag == "COMMIT",
                Backend::ErrorResponse(fields) => *error = Some(fields),
                Backend::ReadyForQuery(TxState::Idle) => return self.guard_ended(),
                Backend::ReadyForQuery(_) => {
                    return Err(End::Caught("a transaction of the sidecar's own did not end", "ready".to_owned()));
                }
                _ => {}
            },
            Stage::Runs => match &message {
                Backend::ReadyForQuery(TxState::Idle) => {
                    return Err(End::Caught("a transaction of the sidecar's own ended early", "ready".to_owned()));
                }
                Backend::ReadyForQuery(state) => guard.stage = Stage::Ready(*state),
                Backend::CommandComplete { tag } => {
                    let (token, changed) = (guard.token, changed_by(tag));
                    guard.changed = changed;
                    guard.hold(message, size);
                    if let Some(flight) = self.flights.get_mut(&token) {
                        flight.affected = changed.unwrap_or_default();
                    }
                    return self.tell_early();
                }
                Backend::PortalSuspended => {
                    guard.hold(message, size);
                    return self.tell_early();
                }
                Backend::ErrorResponse(_) => {
                    guard.failed = true;
                    guard.hold(message, size);
                    return self.tell_early();
                }
                Backend::DataRow(_) => {
                    guard.rows = guard.rows.saturating_add(1);
                    guard.hold(message, size);
                }
                _ => guard.hold(message, size),
            },
            Stage::Ready(_) => {
                return Err(End::Caught("an answer that nothing asked for", message.name().to_owned()));
            }
        }
        Ok(())
    }

    /// The agent asks for answers before the end of its batch: they would have to say that it is done.
    pub(super) fn flush_guard(&mut self) -> Result<(), End> {
        let Some(guard) = self.guard.as_mut().filter(|guard| matches!(guard.stage, Stage::Runs)) else { return Ok(()) };
        let mut words = Words::new(
            "42501",
            "rolled back: it was approved for a number of rows, and a Flush asks for its answer before they can be compared",
        );
        words.hint = Some("Send Sync behind Execute, without a Flush. The approval is used up.".to_owned());
        guard.fail(words);
        guard.flushed = true;
        let over = |held: &Backend| {
            matches!(held, Backend::CommandComplete { .. } | Backend::PortalSuspended | Backend::ErrorResponse(_))
        };
        if guard.held.iter().any(over) { self.tell_early() } else { Ok(()) }
    }

    /// To an agent that sent a Flush, what became of it.
    fn tell_early(&mut self) -> Result<(), End> {
        let Some(guard) = self.guard.as_mut().filter(|guard| guard.flushed && !guard.told) else { return Ok(()) };
        let told = match guard.refused() {
            Some(words) => self.overrule(words),
            None => guard.undone(),
        };
        if let Some(guard) = &mut self.guard {
            guard.told = true;
        }
        told.into_iter().try_for_each(|message| self.feed(message))
    }

    /// The words take the place of the answer that it was done.
    fn overrule(&mut self, words: Words) -> Vec<Backend> {
        let Some(guard) = &mut self.guard else { return Vec::new() };
        let told = guard.failing(fields("ERROR", &words));
        if let Some(flight) = self.flights.get_mut(&guard.token) {
            flight.failed = Some(Status::RolledBack);
            flight.refused = Some(words);
            flight.overruled = true;
        }
        self.refusals = self.refusals.saturating_add(1);
        told
    }

    /// Once the target waits: COMMIT or ROLLBACK.
    pub(super) async fn settle_guard(&mut self) -> Result<(), End> {
        let Some(guard) = &mut self.guard else { return Ok(()) };
        let Stage::Ready(state) = guard.stage else { return Ok(()) };
        if let Some(flight) = self.flights.get_mut(&guard.token) {
            if flight.cancelled
                && let Some(words) = flight.refused.take()
            {
                // Policy changed while it ran, and the target was faster than the cancel request.
                guard.fail(words);
            }
            if let Some(most) = flight.obligations.max_rows.filter(|most| guard.rows > *most) {
                let mut words =
                    Words::new("54000", format!("the result has more than {most} rows, the policy's limit"));
                words.hint = Some("Return less. Nothing was kept.".to_owned());
                guard.fail(words);
            }
        }
        let commit = state == TxState::Transaction && !guard.failed && guard.refused().is_none();
        self.settle_cancelling().await;
        failpoint("guard_ready");
        let (what, text) = if commit { ("guard: commit", "COMMIT") } else { ("guard: rollback", "ROLLBACK") };
        let (permit, frames) = Box::pin(self.own(what, text)).await?;
        let (_, running) = self.upstream.send(permit, &frames).map_err(not_decided)?;
        if let Some(guard) = &mut self.guard {
            guard.stage = Stage::Ends { running, commit, committed: false, error: None };
        }
        Ok(())
    }

    /// The target has answered our COMMIT or ROLLBACK: the agent hears all of it.
    fn guard_ended(&mut self) -> Result<(), End> {
        let Some(mut guard) = self.guard.take() else { return Ok(()) };
        let stage = std::mem::replace(&mut guard.stage, Stage::Runs);
        let Stage::Ends { running, commit, committed, error } = stage else { return Ok(()) };
        let done = if commit { committed } else { error.is_none() };
        let mut outcome = Outcome::of(if done { Status::Ok } else { Status::Error });
        outcome.sqlstate = error.as_ref().map(|error| error.code().to_owned());
        running.finish(&outcome);
        let told = match (commit, committed, error) {
            _ if guard.told => Vec::new(),
            (true, true, _) => std::mem::take(&mut guard.held),
            // Constraints and triggers that wait for the end had something against it.
            (true, false, Some(error)) => guard.failing(error),
            (true, false, None) => {
                return Err(End::Caught("a transaction of the sidecar's own did not commit", "rolled back".to_owned()));
            }
            (false, ..) => match guard.refused() {
                Some(words) => {
                    self.guard = Some(guard);
                    let told = self.overrule(words);
                    self.guard = None;
                    told
                }
                None => guard.undone(),
            },
        };
        told.into_iter().try_for_each(|message| self.feed(message))?;
        self.feed(Backend::ReadyForQuery(TxState::Idle))
    }
}

/// The rows that a command tag says were changed.
fn changed_by(tag: &str) -> Option<u64> {
    let mut words = tag.split(' ');
    let changes = matches!(words.next(), Some("INSERT" | "UPDATE" | "DELETE"));
    words.next_back().filter(|_| changes)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(most: u64, changed: Option<u64>) -> Guard {
        Guard { changed, ..Guard::new(Token(1), most) }
    }

    #[test]
    fn only_a_count_within_what_was_approved_is_kept() {
        assert_eq!(guard(10, Some(10)).refused(), None);
        assert_eq!(guard(10, Some(0)).refused(), None);
        for (most, changed) in [(10, Some(11)), (0, Some(1)), (10, None)] {
            assert_eq!(guard(most, changed).refused().map(|words| words.sqlstate), Some("PX005"), "{most} {changed:?}");
        }
        let mut cut = guard(10, Some(1));
        cut.fail(Words::new("42501", "ended"));
        cut.fail(Words::new("54000", "later"));
        assert_eq!(cut.refused().map(|words| words.sqlstate), Some("42501"));
    }

    #[test]
    fn tags_that_count_changes() {
        for (tag, changed) in [
            ("UPDATE 7", Some(7)),
            ("DELETE 0", Some(0)),
            ("INSERT 0 3", Some(3)),
            ("SELECT 3", None),
            ("UPDATE", None),
            ("UPDATE x", None),
            ("UPDATE -1", None),
            ("DROP TABLE", None),
            ("", None),
        ] {
            assert_eq!(changed_by(tag), changed, "{tag}");
        }
    }

    #[test]
    fn what_is_held_is_bounded_and_what_is_more_is_rolled_back() {
        let notice = || Backend::NoticeResponse(ErrorFields::new("NOTICE", "00000", "x"));
        let mut guard = guard(10, Some(1));
        for _ in 0..100 {
            guard.hold(notice(), MOST_HELD / 10);
        }
        assert!(guard.held.is_empty(), "{}", guard.held.len());
        assert_eq!(guard.refused().map(|words| words.sqlstate), Some("54000"));
        guard.hold(Backend::CommandComplete { tag: "UPDATE 1".to_owned() }, 20);
        let told = guard.failing(ErrorFields::new("ERROR", "54000", "x"));
        assert!(matches!(told.as_slice(), [Backend::ErrorResponse(_)]), "{told:?}");
    }
}
