//! Messages of the extended protocol that are kept back until they are sent as one: a Parse, Bind and Execute that a
//! driver sends in one flight can then wait for people together, before the server has begun anything.
//!
//! Invariant: what is kept back is sent in its order, or dropped when the server would drop it; never reordered.

use bytes::BytesMut;
use pgcodec::machine::{PortalId, StatementId};
use pgcodec::{Control, Expect};

use super::super::refusal::{Words, words};
use super::flight::Flight;
use super::{End, Session};
use crate::gate::{Permit, Refused, Stage};
use crate::upstream::SendError;

/// More than this is not kept back: it is sent as far as it goes.
pub(super) const MOST_KEPT: usize = 1024 * 1024;

/// One message that was not sent yet.
pub(super) enum Kept {
    /// Decided and recorded when it arrived.
    Parse { id: StatementId, permit: Box<Permit>, frames: BytesMut },
    /// Decided together with its Execute, or alone when it has to be sent without one.
    Bind { id: PortalId, frames: BytesMut },
    /// Describe and Close.
    Control(Control),
}

impl Kept {
    pub(super) fn is_bind_of(&self, portal: PortalId) -> bool {
        matches!(self, Self::Bind { id, .. } if *id == portal)
    }
}

impl Session {
    pub(super) fn keep(&mut self, kept: Kept) {
        self.kept_bytes = self.kept_bytes.saturating_add(match &kept {
            Kept::Parse { frames, .. } | Kept::Bind { frames, .. } => frames.len(),
            Kept::Control(_) => 128,
        });
        self.kept.push(kept);
    }

    /// Drops what the server would drop.
    pub(super) fn drop_kept(&mut self) {
        self.kept.clear();
        self.kept_bytes = 0;
    }

    /// Sends everything that is kept back. `false`: something in it was refused and the rest of the batch is dropped.
    pub(super) async fn release(&mut self) -> Result<bool, End> {
        let kept = std::mem::take(&mut self.kept);
        self.kept_bytes = 0;
        self.release_these(kept).await
    }

    pub(super) async fn release_these(&mut self, kept: Vec<Kept>) -> Result<bool, End> {
        for message in kept {
            match message {
                Kept::Control(control) => self.control(&control)?,
                Kept::Parse { id, permit, frames } => self.send_parse(id, *permit, &frames)?,
                Kept::Bind { id, frames } => {
                    if !self.send_bind_alone(id, &frames).await? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    fn send_parse(&mut self, id: StatementId, permit: Permit, frames: &[u8]) -> Result<(), End> {
        let Some(prepared) = self.machine.statement(id) else {
            // The name was taken back by an error: nothing of it is sent, and the permit says so when it is dropped.
            return Ok(());
        };
        let judged = std::sync::Arc::clone(&prepared.judged);
        let (obligations, running) = self.upstream.send(permit, frames).map_err(not_decided)?;
        let token = self.token();
        let mut flight = Flight::poison(Words::new("XX000", ""));
        flight.refused = None;
        flight.running = Some(running);
        flight.judged = Some(judged);
        flight.statement = Some(id);
        flight.obligations = obligations;
        self.flights.insert(token, Box::new(flight));
        self.machine.sent(Expect::Parse { token, id }).map_err(End::Upstream)
    }

    /// A Bind without its Execute in the same flight: planned by the server, nothing runs. What needs an approval has to
    /// come with its Execute, since planning may evaluate functions.
    async fn send_bind_alone(&mut self, id: PortalId, frames: &[u8]) -> Result<bool, End> {
        let Some(portal) = self.machine.portal(id) else { return Ok(true) };
        let (judged, statement) = (std::sync::Arc::clone(&portal.judged), portal.statement);
        let mut operation = portal.operation.clone();
        operation.payload = crate::upstream::payload_hash(frames);
        operation.action = format!("BIND {}", operation.action);
        let admitted = self.admit(&operation, Stage::Plan).await;
        match admitted {
            Err(refused) => {
                self.refuse_extended(&refused)?;
                Ok(false)
            }
            Ok(permit) => {
                let (obligations, running) = self.upstream.send(permit, frames).map_err(not_decided)?;
                let token = self.token();
                let flight = Flight::sent(
                    running,
                    &judged,
                    Some(statement),
                    operation,
                    obligations,
                    self.core.limits.recorded_body,
                );
                self.flights.insert(token, Box::new(flight));
                self.machine.sent(Expect::Bind { token: Some(token), id }).map_err(End::Upstream)?;
                Ok(true)
            }
        }
    }

    /// Refuses the message at hand and with it the rest of its batch: the server itself enters its error state.
    pub(super) fn refuse_extended(&mut self, refused: &Refused) -> Result<(), End> {
        self.refuse_extended_with(words(refused))
    }

    pub(super) fn refuse_extended_with(&mut self, words: Words) -> Result<(), End> {
        let poison = self.machine.poison_parse();
        self.poison(words, &poison)
    }

    pub(super) fn refuse_query(&mut self, refused: &Refused) -> Result<(), End> {
        self.refuse_query_with(words(refused))
    }

    pub(super) fn refuse_query_with(&mut self, words: Words) -> Result<(), End> {
        let poison = self.machine.poison_query();
        self.poison(words, &poison)
    }

    fn poison(&mut self, words: Words, poison: &Control) -> Result<(), End> {
        self.refusals = self.refusals.saturating_add(1);
        self.drop_kept();
        let token = self.token();
        self.flights.insert(token, Box::new(Flight::poison(words)));
        self.machine.sent(Expect::Poison { token, poison }).map_err(End::Upstream)?;
        self.upstream.control(poison);
        Ok(())
    }
}

/// Our own mistake: the bytes are not those of the permit. Nothing was sent; the session ends.
pub(super) fn not_decided(error: SendError) -> End {
    End::Caught("an internal check failed", error.to_string())
}
