//! What a session keeps of a statement and of a portal while the machine holds their names.

use std::sync::Arc;

use pgsql::plan::Plan;
use pgsql::refused::Refused as NotPlanned;
use policy::operation::{Operation, Revision};

/// A text that was judged: a plan, or why there is none.
#[derive(Debug)]
pub struct Judged {
    /// The agent's own text.
    pub sql: String,
    pub plan: Result<Plan, NotPlanned>,
    /// The policy under which masks were applied.
    pub planned: Revision,
    /// The catalog under which names were resolved.
    pub catalog: String,
}

/// A prepared statement.
#[derive(Debug)]
pub struct Prepared {
    pub judged: Arc<Judged>,
    /// Types of its parameters: the client's, completed by what the server said.
    pub parameter_types: Vec<u32>,
    /// A RowDescription of it was checked against the masks.
    pub checked: bool,
}

/// A portal.
#[derive(Debug)]
pub struct Portal {
    pub judged: Arc<Judged>,
    pub statement: pgcodec::machine::StatementId,
    /// What is executed, parameters included; each Execute is decided again on it.
    pub operation: Operation,
    /// Its result was described to the agent or to us.
    pub described: bool,
    /// Rows that were fetched from it so far.
    pub rows: u64,
    /// The approval that released it: the rest of its rows needs no other.
    pub released: Option<crate::gate::Released>,
}

/// A cursor that the session declared. Each FETCH is decided again on what its query reads.
#[derive(Debug)]
pub struct Cursor {
    pub judged: Arc<Judged>,
    pub rows: u64,
}

/// Where rows come from in several portions, for limits that count them together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Portal(pgcodec::machine::PortalId),
    Cursor(String),
}
