//! Results with more rows than policy allows.
//!
//! The target is told to stop, and the agent sees an error in place of the rest. If the target was faster than the cancel
//! request, it is made to fail all the same (deny by poison), so that agent and target agree that the transaction
//! failed. Invariant: the agent is never told that something failed which the target keeps; where only the end of the
//! session can say so, the session ends.

use std::ops::Bound;

use pgcodec::{Backend, TxState};
use policy::operation::Verb;
use recording::entry::Status;

use super::super::refusal::Words;
use super::agent::fields;
use super::flight::{Flight, Token};
use super::{End, Session};

/// After the agent was told that a result was too long, until the ReadyForQuery that ends its batch.
#[derive(Debug)]
pub(super) enum BeyondLimit {
    /// A read that was all of its transaction: nothing is left to fail.
    Alone,
    /// The end of the batch is on its way to the target: whether a transaction is open then decides.
    Ends(Words),
    /// A poison is on its way.
    Poisoned,
}

impl Session {
    /// A row more than policy allows: the target is told to stop.
    pub(super) fn over_row_limit(&mut self, token: Option<Token>) -> Result<(), End> {
        let Some(flight) = token.and_then(|token| self.flights.get_mut(&token)) else { return Ok(()) };
        if !flight.cancelled {
            flight.cancelled = true;
            let most = flight.obligations.max_rows.unwrap_or_default();
            let mut words = Words::new("54000", format!("the result has more than {most} rows, the policy's limit"));
            words.hint = Some("Ask for less: add a WHERE or a LIMIT.".to_owned());
            flight.refused = Some(words);
            self.cancel_upstream();
        }
        Ok(())
    }

    /// The target was faster than the cancel request: the words for the agent if this can still fail, else the end.
    pub(super) fn completed_beyond_limit(&mut self, token: Token) -> Option<Result<Words, End>> {
        let flight = self.flights.get_mut(&token).filter(|flight| flight.over_row_limit())?;
        let reads = flight
            .operation
            .as_ref()
            .is_some_and(|operation| operation.accesses.iter().all(|access| access.verb == Verb::Read));
        let words = flight.refused.take();
        // Nothing is kept of a read that was all of its batch and of its transaction.
        let alone = self.flights.len() == 1 && self.machine.in_flight() == 1;
        let open = self.machine.tx_state() != TxState::Idle || self.machine.unsynced();
        // What was sent behind it runs, and may be a SAVEPOINT or a COMMIT.
        let last = self.behind(token).all(Flight::is_poison);
        let fails = last && (open || (reads && alone));
        let Some(words) = words.filter(|_| fails) else { return Some(Err(End::TooManyRows)) };
        if let Some(flight) = self.flights.get_mut(&token) {
            flight.failed = Some(Status::Cancelled);
        }
        Some(Ok(words))
    }

    /// Tells the agent, and makes the rest of the batch and its transaction fail.
    pub(super) fn fail_beyond_limit(&mut self, token: Token, words: Words) -> Result<(), End> {
        self.put(&Backend::ErrorResponse(fields("ERROR", &words)))?;
        if self.beyond_limit.is_some() {
            return Ok(());
        }
        self.beyond_limit = Some(if self.behind(token).any(Flight::is_poison) {
            BeyondLimit::Poisoned
        } else if self.machine.unsynced() {
            self.refuse_extended_with(words)?;
            BeyondLimit::Poisoned
        } else if self.machine.tx_state() == TxState::Idle {
            BeyondLimit::Alone
        } else {
            BeyondLimit::Ends(words)
        });
        Ok(())
    }

    /// What was sent after it.
    fn behind(&self, token: Token) -> impl Iterator<Item = &Flight> {
        self.flights.range((Bound::Excluded(token), Bound::Unbounded)).map(|(_, flight)| &**flight)
    }

    /// Whether this ReadyForQuery is the agent's.
    pub(super) fn ready_beyond_limit(&mut self, state: TxState) -> Result<bool, End> {
        match (self.beyond_limit.take(), state) {
            (None | Some(BeyondLimit::Alone | BeyondLimit::Poisoned), _)
            | (Some(BeyondLimit::Ends(_)), TxState::Failed) => Ok(true),
            (Some(BeyondLimit::Ends(words)), TxState::Transaction) => {
                self.refuse_query_with(words)?;
                self.beyond_limit = Some(BeyondLimit::Poisoned);
                Ok(false)
            }
            // Nothing stood behind it that could end the transaction.
            (Some(BeyondLimit::Ends(_)), TxState::Idle) => Err(End::TooManyRows),
        }
    }
}
