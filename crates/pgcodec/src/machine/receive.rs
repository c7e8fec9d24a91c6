//! What the upstream answered: each message is attributed to the oldest answer owed.

use super::Machine;
use super::control::{Control, Kind as ControlKind};
use super::reply::{About, Failure, Reply};
use super::slot::{CopyState, Kind, Progress};
use super::step::Copy;
use crate::Violation;
use crate::backend::{Backend, ErrorFields, TxState};

/// What a message does to the slot at the front.
enum Effect {
    /// More of the same answer follows.
    More,
    /// The answer is complete.
    Last,
}

impl<T: core::marker::Copy, S, P> Machine<T, S, P> {
    /// Takes the upstream's next message.
    ///
    /// # Errors
    /// An answer that was not asked for or that the state does not allow. Close both sides, forward nothing of it.
    pub fn backend(&mut self, message: Backend) -> Result<Reply<T>, Violation> {
        if self.dead {
            return Err(unexpected(&message, "after a fatal error"));
        }
        let reply = match message {
            Backend::NoticeResponse(_) | Backend::ParameterStatus { .. } | Backend::NotificationResponse { .. } => {
                let token = self.slots.front().and_then(|slot| slot.token);
                Ok(Reply { message, token, about: About::Nothing, swallow: false, last: false, failure: None })
            }
            Backend::Authentication(_) | Backend::BackendKeyData(_) | Backend::NegotiateProtocolVersion(_) => {
                Err(unexpected(&message, "in an established session"))
            }
            Backend::ErrorResponse(fields) => self.error(fields),
            Backend::ReadyForQuery(state) => self.ready(state),
            message => self.answer(message),
        }?;
        if reply.last && self.slots.is_empty() {
            self.accepted = 0;
        }
        Ok(reply)
    }

    fn answer(&mut self, message: Backend) -> Result<Reply<T>, Violation> {
        let Some(front) = self.slots.front_mut() else {
            return Err(unexpected(&message, "while nothing is to be answered"));
        };
        let effect = match front.kind {
            Kind::Parse { .. } => single(matches!(message, Backend::ParseComplete)),
            Kind::Bind { .. } => single(matches!(message, Backend::BindComplete)),
            Kind::CloseStatement { .. } | Kind::ClosePortal { .. } => single(matches!(message, Backend::CloseComplete)),
            Kind::DescribePortal { .. } | Kind::DescribeCursor { .. } => {
                single(matches!(message, Backend::RowDescription(_) | Backend::NoData))
            }
            Kind::DescribeStatement { .. } => describe_statement(&mut front.progress, &message),
            Kind::Execute { copy, .. } => execute(&mut front.progress, copy, &message),
            Kind::Query { copy, poison: false, .. } => query(&mut front.progress, copy, &message),
            Kind::Query { poison: true, .. } | Kind::PoisonParse => {
                return Err(unexpected(&message, "in answer to a refused statement, which has to fail"));
            }
            Kind::Sync => None,
        };
        let Some(effect) = effect else {
            return Err(unexpected(&message, "in answer to what was sent"));
        };
        let (token, swallow, about) = (front.token, front.swallow, about(front.kind));
        let last = matches!(effect, Effect::Last);
        if last {
            let kind = front.kind;
            self.slots.pop_front();
            match kind {
                Kind::Parse { id } => self.statements.commit(id.0),
                Kind::Bind { id } => self.portals.commit(id.0),
                Kind::CloseStatement { tombstone: Some(id) } => self.statements.commit(id),
                Kind::ClosePortal { tombstone: Some(id) } => self.portals.commit(id),
                Kind::CloseStatement { tombstone: None }
                | Kind::ClosePortal { tombstone: None }
                | Kind::DescribeStatement { .. }
                | Kind::DescribePortal { .. }
                | Kind::DescribeCursor { .. }
                | Kind::Execute { .. }
                | Kind::Query { .. }
                | Kind::PoisonParse
                | Kind::Sync => {}
            }
        }
        Ok(Reply { message, token, about, swallow, last, failure: None })
    }

    fn ready(&mut self, state: TxState) -> Result<Reply<T>, Violation> {
        let message = Backend::ReadyForQuery(state);
        let Some(front) = self.slots.front() else {
            return Err(unexpected(&message, "while nothing is to be answered"));
        };
        let complete = match front.kind {
            Kind::Sync => true,
            Kind::Query { poison, .. } => {
                let refused = poison || front.progress.copy == CopyState::InEnded { refused: true };
                (front.progress.answered && front.progress.columns.is_none() && front.progress.between() && !refused)
                    || front.progress.failed
            }
            _ => false,
        };
        if !complete {
            return Err(unexpected(&message, "before the answer is complete"));
        }
        if let Kind::Query { unnamed: (statement, portal), .. } = front.kind {
            self.statements.commit(statement);
            // A text that is empty or fails before it runs leaves the unnamed portal as it was.
            match front.progress.answered && !front.progress.narrowed {
                true => self.portals.commit(portal),
                false => self.portals.take_back(portal),
            }
        }
        let token = front.token;
        self.slots.pop_front();
        self.tx = state;
        if state == TxState::Idle {
            self.portals.clear_live();
        }
        Ok(Reply { message, token, about: About::Nothing, swallow: false, last: true, failure: None })
    }

    fn error(&mut self, fields: ErrorFields) -> Result<Reply<T>, Violation> {
        if fields.is_fatal() {
            return Ok(self.fatal(fields));
        }
        let Some(front) = self.slots.front_mut() else {
            return Err(unexpected(&Backend::ErrorResponse(fields), "while nothing is to be answered"));
        };
        if front.progress.failed {
            return Err(unexpected(&Backend::ErrorResponse(fields), "after the error of the same message"));
        }
        let (kind, batch, copy) = (front.kind, front.batch, front.progress.copy);
        // A Parse of the unnamed statement takes the old one away even if it fails (`exec_parse_message`), and so does one
        // that a poison stands for.
        let unnamed_parse = match kind {
            Kind::Parse { id } => self.statements.name(id.0) == Some(""),
            Kind::PoisonParse => self.statements.is_asked("", batch),
            _ => false,
        };
        let poison = matches!(kind, Kind::PoisonParse | Kind::Query { poison: true, .. })
            || copy == CopyState::InEnded { refused: true };
        let mut failure = Failure { poison, fatal: false, skipped: Vec::new(), sync: None };
        if let CopyState::In { sync, .. } = copy {
            failure.sync = sync.then(|| Control::new(ControlKind::Sync));
        }
        // The agent did not see the error yet: data of a COPY may be under way, some clients send it before the COPY began
        // (pgx does). The server drops it too ("COPY Operations").
        self.draining = !matches!(copy, CopyState::InEnding | CopyState::InEnded { refused: false }) || self.draining;
        front.progress.failed = true;
        // The COPY, if there was one, is over.
        front.progress.copy = CopyState::Before;
        let token = front.token;
        let ready_follows = front.is_ready_point();
        if !ready_follows {
            self.slots.pop_front();
            failure.skipped = self.skip_to_sync(batch);
            self.statements.revert(batch);
            self.portals.revert(batch);
            if unnamed_parse {
                self.statements.drop_live("");
            }
        }
        if failure.sync.is_some() {
            self.close_batch();
        }
        let message = Backend::ErrorResponse(fields);
        // Also when a message of ours failed: the agent's behind it fails with it, and this is the only word about it.
        Ok(Reply { message, token, about: about(kind), swallow: false, last: !ready_follows, failure: Some(failure) })
    }

    /// Drops the answers that will not come, up to the `Sync` that ends the batch.
    fn skip_to_sync(&mut self, batch: u64) -> Vec<T> {
        let mut skipped = Vec::new();
        while let Some(slot) = self.slots.front() {
            if slot.kind == Kind::Sync {
                return skipped;
            }
            skipped.extend(slot.token);
            self.slots.pop_front();
        }
        self.skip = Some(batch);
        skipped
    }

    fn fatal(&mut self, fields: ErrorFields) -> Reply<T> {
        self.dead = true;
        self.over = true;
        let front = self.slots.pop_front();
        let skipped = self.slots.drain(..).filter_map(|slot| slot.token).collect();
        let (token, about) = match &front {
            Some(slot) => (slot.token, about(slot.kind)),
            None => (None, About::Nothing),
        };
        let failure = Failure { poison: false, fatal: true, skipped, sync: None };
        let message = Backend::ErrorResponse(fields);
        Reply { message, token, about, swallow: false, last: true, failure: Some(failure) }
    }
}

fn single(matches: bool) -> Option<Effect> {
    matches.then_some(Effect::Last)
}

fn describe_statement(progress: &mut Progress, message: &Backend) -> Option<Effect> {
    match message {
        Backend::ParameterDescription { .. } if !progress.narrowed => {
            progress.narrowed = true;
            Some(Effect::More)
        }
        Backend::RowDescription(_) | Backend::NoData if progress.narrowed => Some(Effect::Last),
        _ => None,
    }
}

fn execute(progress: &mut Progress, copy: Copy, message: &Backend) -> Option<Effect> {
    if let Some(effect) = copying(progress, copy, message) {
        return Some(effect);
    }
    match (message, progress.copy) {
        (Backend::DataRow(row), CopyState::Before) if progress.columns.is_none_or(|columns| columns == row.len()) => {
            progress.columns = Some(row.len());
            Some(Effect::More)
        }
        (Backend::PortalSuspended, CopyState::Before) => Some(Effect::Last),
        (Backend::EmptyQueryResponse, CopyState::Before) if progress.columns.is_none() => Some(Effect::Last),
        (Backend::CommandComplete { .. }, _) if progress.between() => Some(Effect::Last),
        _ => None,
    }
}

fn query(progress: &mut Progress, copy: Copy, message: &Backend) -> Option<Effect> {
    if progress.failed {
        return None;
    }
    if let Some(effect) = copying(progress, copy, message) {
        return Some(effect);
    }
    match message {
        _ if progress.narrowed => return None,
        Backend::RowDescription(rows) if progress.columns.is_none() && progress.copy == CopyState::Before => {
            progress.columns = Some(rows.fields.len());
        }
        Backend::DataRow(row) if progress.columns == Some(row.len()) && progress.copy == CopyState::Before => {}
        Backend::EmptyQueryResponse if progress.columns.is_none() && !progress.answered => {
            progress.answered = true;
            progress.narrowed = true;
        }
        Backend::CommandComplete { .. } if progress.between() => {
            progress.answered = true;
            progress.columns = None;
            if progress.copy == CopyState::OutEnded {
                progress.copy = CopyState::Before;
            }
        }
        _ => return None,
    }
    Some(Effect::More)
}

/// The COPY sub-protocol inside a Query or an Execute: at most one COPY FROM STDIN, and only in the announced direction.
fn copying(progress: &mut Progress, copy: Copy, message: &Backend) -> Option<Effect> {
    let fresh = progress.copy == CopyState::Before && progress.columns.is_none();
    progress.copy = match (message, copy, progress.copy) {
        (Backend::CopyIn(_), Copy::In, CopyState::Before) if fresh && !progress.answered => {
            CopyState::In { data: false, sync: false }
        }
        (Backend::CopyOut(_), Copy::Out, CopyState::Before) if fresh => CopyState::Out,
        (Backend::CopyData(_), _, CopyState::Out) => CopyState::Out,
        (Backend::CopyDone, _, CopyState::Out) => CopyState::OutEnded,
        _ => return None,
    };
    Some(Effect::More)
}

fn about(kind: Kind) -> About {
    match kind {
        Kind::Parse { id } | Kind::DescribeStatement { id } => About::Statement(id),
        Kind::Bind { id } | Kind::DescribePortal { id } | Kind::Execute { portal: id, .. } => About::Portal(id),
        Kind::DescribeCursor { cursor } => About::Cursor(cursor),
        Kind::Query { .. }
        | Kind::CloseStatement { .. }
        | Kind::ClosePortal { .. }
        | Kind::PoisonParse
        | Kind::Sync => About::Nothing,
    }
}

fn unexpected(message: &Backend, state: &'static str) -> Violation {
    Violation::Unexpected { message: message.name(), state }
}
