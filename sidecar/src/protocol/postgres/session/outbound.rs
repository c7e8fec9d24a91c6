//! The target's answers, in order: attributed to their operation, checked against the masks, counted, passed on.

use pgcodec::backend::{ErrorFields, RowDescription};
use pgcodec::machine::{About, Failure, Reply};
use pgcodec::{Backend, TxState};
use pgsql::plan::Effect;
use policy::verdict::Decision;
use recording::entry::Status;

use super::super::mask::{self, Masked, Openness};
use super::super::operation;
use super::super::settings;
use super::super::statement::{Cursor, CursorId, Source};
use super::agent::fields;
use super::flight::Token;
use super::{End, Session};

impl Session {
    /// Takes every complete message of the target.
    pub(super) fn take_target_messages(&mut self) -> Result<(), End> {
        while let Some(frame) = self.upstream_framer.next().map_err(End::Upstream)? {
            let message = Backend::decode(&frame).map_err(End::Upstream)?;
            self.take_answer(message, frame.bytes().len())?;
        }
        Ok(())
    }

    /// Attributes one answer, and passes it on.
    pub(super) fn feed(&mut self, message: Backend) -> Result<(), End> {
        let reply = self.machine.backend(message).map_err(End::Upstream)?;
        self.take_reply(reply)
    }

    fn take_reply(&mut self, reply: Reply<Token>) -> Result<(), End> {
        let Reply { message, token, about, swallow, last, failure } = reply;
        if let Some(failure) = failure {
            return self.take_failure(&message, token, last, failure);
        }
        let message = self.look_at(message, token)?;
        match &message {
            Backend::RowDescription(row) => {
                self.check_columns(row, token, about)?;
                self.described(row, token, about);
            }
            Backend::DataRow(row) => {
                self.count_row(token);
                if let Some(flight) = token.and_then(|token| self.flights.get_mut(&token)) {
                    flight.bytes = flight.bytes.saturating_add(u64::try_from(row.frame().len()).unwrap_or(u64::MAX));
                    if let Some(capture) = &mut flight.capture {
                        capture.row(row);
                    }
                    if flight.over_row_limit() {
                        return self.over_row_limit(token);
                    }
                    if let Some(outputs) = flight.masked_outputs() {
                        let masked = Masked::of_row(outputs, row);
                        self.core.metrics.masked(masked.partial, masked.redact);
                    }
                }
            }
            Backend::CopyData(data) => {
                self.count_row(token);
                if let Some(flight) = token.and_then(|token| self.flights.get_mut(&token)) {
                    flight.bytes = flight.bytes.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
                    if let Some(capture) = &mut flight.capture {
                        capture.copy(data);
                    }
                    if flight.over_row_limit() {
                        return self.over_row_limit(token);
                    }
                    if let Some(outputs) = flight.masked_outputs() {
                        let masked = Masked::of_line(outputs);
                        self.core.metrics.masked(masked.partial, masked.redact);
                    }
                }
            }
            Backend::ParameterDescription { types } => {
                if let About::Statement(id) = about
                    && let Some(prepared) = self.machine.statement_mut(id)
                {
                    prepared.parameter_types.clone_from(types);
                }
            }
            Backend::CommandComplete { .. } | Backend::EmptyQueryResponse | Backend::PortalSuspended => {
                if let (Backend::CommandComplete { tag }, Some(flight)) =
                    (&message, token.and_then(|token| self.flights.get_mut(&token)))
                {
                    flight.affected = rows_of(tag);
                }
                if let Backend::CommandComplete { tag } = &message {
                    self.transaction_went(tag, token);
                }
                if let Some(token) = token
                    && let Some(beyond) = self.completed_beyond_limit(token)
                {
                    if last {
                        self.ended(token, Status::Ok);
                    }
                    return self.fail_beyond_limit(token, beyond?);
                }
                self.completed(token)?;
            }
            Backend::NoticeResponse(notice) => {
                let near = token.and_then(|t| self.flights.get(&t)).map(|flight| flight.near_masked_data());
                let notice = self.look_at_words(mask::server_words(notice, self.openness(near)), token);
                return self.put(&Backend::NoticeResponse(notice));
            }
            Backend::NotificationResponse { channel, .. } if !self.listening.contains(channel) => {
                return Ok(());
            }
            Backend::NotificationResponse { pid, channel, .. } if self.planner.masks().any() => {
                // Triggers put whole rows into payloads: while masks are in force only the event passes.
                let (pid, channel) = (*pid, channel.clone());
                return self.put(&Backend::NotificationResponse { pid, channel, payload: String::new() });
            }
            Backend::ParameterStatus { name, value } => {
                if settings::breaks_pin(name, value) {
                    return Err(End::Caught("a pinned setting of the session changed", name.clone()));
                }
                self.meaning.told(name, value);
                if !settings::reported_to_agent(name) {
                    return Ok(());
                }
            }
            Backend::ReadyForQuery(state) => {
                self.settled(*state);
                if last && let Some(token) = token {
                    self.ended(token, Status::Ok);
                }
                return match self.ready_beyond_limit(*state)? {
                    true => self.put(&message),
                    false => Ok(()),
                };
            }
            _ => {}
        }
        if !swallow {
            self.put(&message)?;
        }
        if last && let Some(token) = token {
            self.ended(token, Status::Ok);
        }
        Ok(())
    }

    /// To the agent, unless it was told already that the batch failed.
    pub(super) fn put(&mut self, message: &Backend) -> Result<(), End> {
        let unasked = matches!(message, Backend::ParameterStatus { .. } | Backend::NotificationResponse { .. });
        if self.beyond_limit.is_some() && !unasked {
            return Ok(());
        }
        self.agent.writer.put(message).map_err(End::Upstream)
    }

    /// The net behind masking at scan.
    fn check_columns(&mut self, row: &RowDescription, token: Option<Token>, about: About) -> Result<(), End> {
        let by_token = token.and_then(|token| self.flights.get(&token)).and_then(|flight| flight.judged.clone());
        let (judged, statement) = match about {
            About::Statement(id) => (self.machine.statement(id).map(|p| p.judged.clone()), Some(id)),
            About::Portal(id) => {
                let portal = self.machine.portal(id);
                (portal.map(|p| p.judged.clone()), portal.map(|p| p.statement))
            }
            About::Cursor(id) => {
                let cursor = self.cursors.values().find(|cursor| cursor.id == CursorId(id));
                (cursor.map(|cursor| cursor.judged.clone()), None)
            }
            About::Nothing => (by_token.clone(), None),
        };
        let Some(judged) = judged.or(by_token) else {
            return Err(End::Caught("a result belongs to no statement", "row description".to_owned()));
        };
        if let Ok(plan) = &judged.plan
            && let Err(unmasked) = mask::check(plan, row)
        {
            return Err(End::Caught("a result names a masked column", unmasked.to_string()));
        }
        if let Err(newer) = mask::check_known(&self.planner.loaded().catalog, self.planner.masks(), row) {
            self.catalog.invalidate();
            return Err(End::Caught(
                "the target's tables changed while masks are in force: connect again",
                newer.to_string(),
            ));
        }
        if let Some(prepared) = statement.and_then(|id| self.machine.statement_mut(id)) {
            prepared.checked = true;
        }
        if let Some(capture) = token.and_then(|t| self.flights.get_mut(&t)).and_then(|f| f.capture.as_mut()) {
            capture.columns(row);
        }
        Ok(())
    }

    /// How much of the server's words passes.
    fn openness(&self, near: Option<bool>) -> Openness {
        Openness::of(near, self.planner.masks().any())
    }

    /// Whether the detail of an error may pass: it quotes nothing, or only what this agent may read by itself.
    fn may_be_quoted(&mut self, error: &ErrorFields) -> bool {
        if !mask::quotes_a_row(error) {
            return true;
        }
        let (Some(schema), Some(relation)) = (error.get(b's'), error.get(b't')) else { return false };
        let operation = self.with_context(|ctx| operation::quoting(ctx, schema, relation));
        let verdict = policy::decide(self.desk.view(), &operation);
        matches!(verdict.decision, Decision::Allow) && verdict.obligations.masks.is_empty()
    }

    /// What a command did to the transaction that it stands in, as the target says.
    fn transaction_went(&mut self, tag: &str, token: Option<Token>) {
        match (tag, self.effect_of(token)) {
            // What ran in the batch before it is a part of the transaction now.
            ("BEGIN" | "START TRANSACTION", _) => {
                self.commit_settling();
                self.begun_in_batch = true;
            }
            ("COMMIT", _) => {
                self.commit_settling();
                self.begun_in_batch = false;
            }
            // What stands before the savepoint stays.
            ("ROLLBACK", Some(Effect::RollbackTo { .. })) => {}
            ("ROLLBACK", _) => {
                self.roll_back_settling();
                self.begun_in_batch = false;
            }
            _ => {}
        }
    }

    fn effect_of(&self, token: Option<Token>) -> Option<&Effect> {
        let judged = self.flights.get(&token?)?.judged.as_ref()?;
        judged.plan.as_ref().ok().map(|plan| &plan.effect)
    }

    /// An operation ran to its end.
    fn completed(&mut self, token: Option<Token>) -> Result<(), End> {
        let Some(token) = token else { return Ok(()) };
        let Some(flight) = self.flights.get_mut(&token) else { return Ok(()) };
        if matches!(flight.source, Some(Source::Cursor(_))) {
            // Its plan is that of the cursor's query, whose effect took place at DECLARE.
            return Ok(());
        }
        let judged = flight.judged.clone();
        let effect =
            flight.judged.as_ref().and_then(|judged| judged.plan.as_ref().ok()).map(|plan| plan.effect.clone());
        match effect {
            Some(Effect::DeclareCursor { name }) => {
                if let Some(judged) = judged {
                    self.cursors.insert(name, Cursor { id: CursorId(token.0), judged, rows: 0 });
                }
            }
            Some(Effect::ChangesCatalog) => {
                self.catalog.invalidate();
                self.uncommitted.changed();
            }
            Some(Effect::Unlisten { channel: Some(channel) }) => {
                self.listening.remove(&channel);
            }
            Some(Effect::Unlisten { channel: None }) => self.listening.clear(),
            Some(Effect::CloseCursor { name: Some(name) }) => {
                self.cursors.remove(&name);
            }
            Some(Effect::CloseCursor { name: None }) => self.cursors.clear(),
            _ => {}
        }
        Ok(())
    }

    fn take_failure(
        &mut self,
        message: &Backend,
        token: Option<Token>,
        last: bool,
        failure: Failure<Token>,
    ) -> Result<(), End> {
        let Backend::ErrorResponse(error) = message else { return Ok(()) };
        let flight = token.and_then(|token| self.flights.get_mut(&token));
        let near = flight.as_ref().map(|flight| flight.near_masked_data());
        let overruled = flight.as_ref().is_some_and(|flight| flight.overruled);
        let refused = flight.and_then(|flight| {
            flight.sqlstate = Some(error.code().to_owned());
            flight.refused.clone()
        });
        // Only the error of a poison, of our own CopyFail or of our own cancel request gets other words.
        let told: ErrorFields = match refused {
            Some(words) if failure.poison || overruled || error.code() == "57014" => fields("ERROR", &words),
            _ => {
                let words = mask::server_words(error, self.openness(near));
                let words = if self.may_be_quoted(error) { words } else { words.without(b'D') };
                self.look_at_words(words, token)
            }
        };
        self.put(&Backend::ErrorResponse(told))?;
        if self.machine.skipping() {
            self.drop_kept();
        }
        // Of a batch that is rolled back: what ran before, and what never ran.
        if self.machine.tx_state() == TxState::Idle {
            self.roll_back_settling();
        }
        for token in failure.skipped {
            self.ended(token, Status::Cancelled);
        }
        if let Some(token) = token {
            let status = if error.code() == "57014" { Status::Cancelled } else { Status::Error };
            if let Some(flight) = self.flights.get_mut(&token) {
                flight.settling = false;
            }
            if last {
                self.ended(token, status);
            } else if let Some(flight) = self.flights.get_mut(&token) {
                flight.failed.get_or_insert(status);
            }
        }
        if self.stream.as_ref().is_some_and(|(stream, _)| !self.flights.contains_key(stream)) {
            self.stream = None;
        }
        if let Some(sync) = failure.sync {
            self.control(&sync)?;
        }
        if failure.fatal {
            return Err(End::UpstreamGone);
        }
        Ok(())
    }

    /// One row more, of this operation and of the portal or cursor that it reads.
    fn count_row(&mut self, token: Option<Token>) {
        let Some(flight) = token.and_then(|token| self.flights.get_mut(&token)) else { return };
        flight.rows = flight.rows.saturating_add(1);
        let shared = match &flight.source {
            Some(Source::Portal(id)) => self.machine.portal_mut(*id).map(|portal| &mut portal.rows),
            Some(Source::Cursor(name)) => self.cursors.get_mut(name).map(|cursor| &mut cursor.rows),
            None => None,
        };
        flight.total = match shared {
            Some(rows) => {
                *rows = rows.saturating_add(1);
                *rows
            }
            None => flight.rows,
        };
    }

    /// The answer to an operation is complete. In a batch it counts only at the batch's ReadyForQuery, or at the COMMIT or
    /// ROLLBACK inside it.
    fn ended(&mut self, token: Token, status: Status) {
        let open = self.machine.in_flight() > 0 || self.machine.unsynced();
        let ends = matches!(self.effect_of(Some(token)), Some(Effect::Commit | Effect::Rollback));
        let implicit = self.machine.tx_state() == TxState::Idle && open && !self.begun_in_batch && !ends;
        if let Some(flight) = self.flights.get_mut(&token)
            && status == Status::Ok
            && flight.failed.is_none()
            // A prepared statement stays whatever becomes of the batch.
            && flight.operation.is_some()
            && implicit
        {
            flight.settling = true;
            return;
        }
        if let Some(flight) = self.flights.remove(&token) {
            let status = flight.failed.unwrap_or(status);
            flight.finish(status, self.core.gate.recorder());
        }
    }

    fn roll_back_settling(&mut self) {
        let settling: Vec<Token> = self.flights.iter().filter(|(_, f)| f.settling).map(|(token, _)| *token).collect();
        for token in settling {
            if let Some(flight) = self.flights.remove(&token) {
                flight.finish(Status::RolledBack, self.core.gate.recorder());
            }
        }
    }

    fn commit_settling(&mut self) {
        let settling: Vec<Token> = self.flights.iter().filter(|(_, f)| f.settling).map(|(token, _)| *token).collect();
        for token in settling {
            if let Some(flight) = self.flights.remove(&token) {
                flight.finish(Status::Ok, self.core.gate.recorder());
            }
        }
    }

    /// ReadyForQuery: what ran in the batch before it is committed, or part of an open transaction.
    fn settled(&mut self, state: TxState) {
        self.commit_settling();
        self.begun_in_batch = false;
        self.meaning.settled();
        if state == TxState::Idle {
            // Cursors without HOLD end with their transaction, and HOLD is refused.
            self.cursors.clear();
            self.must_roll_back = false;
            self.names_moved = false;
            if self.uncommitted.ended() {
                self.catalog.invalidate();
            }
        }
    }
}

/// The count at the end of a command tag, such as `UPDATE 5` or `INSERT 0 1`; 0 where there is none.
fn rows_of(tag: &str) -> u64 {
    tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0)
}
