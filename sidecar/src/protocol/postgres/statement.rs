//! What a session keeps of a statement and of a portal while the machine holds their names.

use std::sync::Arc;

use bytes::Bytes;
use pgcodec::Format;
use pgcodec::frontend::Bind;
use pgsql::plan::Plan;
use pgsql::refused::Refused as NotPlanned;
use policy::operation::{Operation, Revision};

use super::detect::Column;
use super::parameter::Parameter;

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
    /// The settings under which its text was parsed.
    pub meaning: Arc<str>,
}

/// What a Bind brought, to be judged again when policy or catalog changed before its Execute.
#[derive(Debug)]
pub struct Bound {
    types: Vec<u32>,
    formats: Vec<Format>,
    values: Vec<Option<Bytes>>,
}

impl Bound {
    /// More than this is not kept beside what the server has: then it has to be bound again.
    const MOST: usize = 16 * 1024;

    pub fn new(types: Vec<u32>, message: &Bind) -> Self {
        Self { types, formats: message.formats.clone(), values: message.params.clone() }
    }

    /// The values by themselves, without the message that they came in; `None` when they are long.
    pub fn kept(self) -> Option<Self> {
        let size = self.values.iter().flatten().map(Bytes::len).fold(self.values.len(), usize::saturating_add);
        let values = self.values.iter().map(|value| value.as_deref().map(Bytes::copy_from_slice));
        (size <= Self::MOST).then(|| Self { values: values.collect(), ..self })
    }

    pub fn parameters(&self) -> Vec<Parameter<'_>> {
        self.values
            .iter()
            .enumerate()
            .map(|(index, value)| Parameter {
                type_oid: self.types.get(index).copied().unwrap_or(0),
                binary: match self.formats.as_slice() {
                    [] => false,
                    [one] => *one == Format::Binary,
                    many => many.get(index) == Some(&Format::Binary),
                },
                value: value.as_deref(),
            })
            .collect()
    }
}

/// The columns of a result.
pub type Columns = Arc<[Column]>;

/// A portal.
#[derive(Debug)]
pub struct Portal {
    pub judged: Arc<Judged>,
    pub statement: pgcodec::machine::StatementId,
    /// What is executed, parameters included; each Execute is decided again on it.
    pub operation: Operation,
    /// What it was made from, unless that was long.
    pub bound: Option<Bound>,
    /// The settings under which it was bound.
    pub meaning: Arc<str>,
    /// The same and, where they were others, those under which its text was parsed.
    pub whole_meaning: Arc<str>,
    /// Its result was described to the agent or to us.
    pub described: bool,
    /// Of its result, once that was described.
    pub columns: Option<Columns>,
    /// Rows that were fetched from it so far.
    pub rows: u64,
    /// Of a FETCH that ran: the cursor whose rows it has.
    pub fetched: Option<CursorId>,
    /// The approval that released it: the rest of its rows needs no other.
    pub released: Option<crate::gate::Released>,
}

/// One declaration of a cursor: its name may come back as another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorId(pub u64);

/// A cursor that the session declared. Each FETCH is decided again on what its query reads.
#[derive(Debug)]
pub struct Cursor {
    pub id: CursorId,
    pub judged: Arc<Judged>,
    pub rows: u64,
}

/// Where rows come from in several portions, for limits that count them together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Portal(pgcodec::machine::PortalId),
    Cursor(String),
}
