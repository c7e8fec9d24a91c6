//! Cursors of SQL. A FETCH is decided on what its cursor's query reads, on the policy of this moment.
//!
//! Invariant: while a name is a cursor's for us it is no portal's, so that a FETCH never runs what a Bind brought.

use std::sync::Arc;

use pgcodec::machine::Reject;
use pgsql::plan::{Effect, Plan};
use policy::operation::Operation;

use super::super::operation;
use super::super::refusal::Words;
use super::super::statement::{CursorId, Judged, Source};
use super::flight::Token;
use super::unit::Kept;
use super::{End, Session};

/// Where an operation continues to read.
pub(super) struct Reading {
    pub(super) source: Source,
    /// Of a cursor: which one, and what its query may show.
    pub(super) cursor: Option<(CursorId, Arc<Judged>)>,
}

impl Reading {
    pub(super) fn cursor(&self) -> Option<CursorId> {
        self.cursor.as_ref().map(|(id, _)| *id)
    }
}

impl Session {
    /// A FETCH reads what its cursor's query reads: it is decided on that, on the policy of this moment.
    pub(super) async fn reads_cursor(
        &mut self,
        plan: &Plan,
        operation: &mut Operation,
    ) -> Result<Result<Option<Reading>, Words>, End> {
        let Effect::FetchCursor { name } = &plan.effect else { return Ok(Ok(None)) };
        let Some(cursor) = self.cursors.get(name) else { return Ok(Ok(None)) };
        let (id, declared) = (cursor.id, Arc::clone(&cursor.judged));
        let Some(judged) = self.still_means(&declared).await? else { return Ok(Err(declare_again())) };
        let Ok(now) = &judged.plan else { return Ok(Err(declare_again())) };
        operation::reading(&self.core.digest_key, operation, now);
        let source = Source::Cursor(name.clone());
        Ok(Ok(Some(Reading { source, cursor: Some((id, judged)) })))
    }

    /// A Describe of a cursor that SQL declared, as drivers send it before their first FETCH.
    pub(super) async fn describe_cursor(&mut self, name: String) -> Result<(), End> {
        if self.declaring(&name) {
            return self.release_then_refuse(being_declared(&name)).await;
        }
        let Some((id, declared)) = self.cursors.get(&name).map(|cursor| (cursor.id, Arc::clone(&cursor.judged))) else {
            let reject = Reject::UnknownPortal;
            return self.release_then_refuse(Words::new(reject.sqlstate(), reject.to_string())).await;
        };
        if self.still_means(&declared).await?.is_none() {
            return self.release_then_refuse(declare_again()).await;
        }
        let describe = self.machine.describe_cursor(name, id.0);
        self.keep(Kept::Control(describe));
        Ok(())
    }

    /// Rows of one portal or cursor count together, and its result is guarded as its query says.
    pub(super) fn count_together(&mut self, token: Token, reading: Option<Reading>) {
        let (Some(flight), Some(reading)) = (self.flights.get_mut(&token), reading) else { return };
        flight.source = Some(reading.source);
        if let Some((_, judged)) = reading.cursor {
            flight.judged = Some(judged);
        }
    }

    /// Whether a portal of this name could be taken for a cursor: the server keeps both in one space of names, and may
    /// have lost the cursor (ROLLBACK TO) where we still know it.
    pub(super) fn is_cursor(&self, name: &str) -> bool {
        self.cursors.contains_key(name) || self.declaring(name)
    }

    /// A DECLARE of this name was sent and is not answered.
    pub(super) fn declaring(&self, name: &str) -> bool {
        self.flights.values().any(|flight| {
            // A FETCH carries the plan of its cursor's query.
            let fetches = matches!(flight.source, Some(Source::Cursor(_)));
            let judged = flight.judged.as_ref().filter(|_| flight.operation.is_some() && !flight.settling && !fetches);
            judged.and_then(|judged| judged.plan.as_ref().ok()).is_some_and(
                |plan| matches!(&plan.effect, Effect::DeclareCursor { name: declared } if declared == name),
            )
        })
    }
}

pub(super) fn being_declared(name: &str) -> Words {
    let mut words = Words::new("55000", format!("cursor {name:?} is being declared"));
    words.hint = Some("Wait for the answer to DECLARE before anything that reads it.".to_owned());
    words
}

fn declare_again() -> Words {
    let mut words = Words::new("34000", "the cursor was declared under an access policy that is no longer in force");
    words.hint = Some("Declare it again.".to_owned());
    words
}
