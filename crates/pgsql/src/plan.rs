//! The one entry point: a statement in, everything that the gate and the session need out.
//!
//! Invariant: the text of a [`Plan`] is the only text that may be sent. It is rendered from the tree that was judged,
//! every relation in it is schema-qualified, every read of a relation with masks stands behind a masked sub-select, and it
//! was parsed again and compared with what was meant. Whatever does not reach that point is [`Refused`].

use policy::operation::{Access, Strictness};
use policy::redact::Redacted;
use policy::verdict::RuleId;

use crate::catalog::{Catalog, Oid};
use crate::mask::MaskTable;
use crate::outputs::Outputs;
use crate::parse::Limits;
use crate::refused::Refused;

/// What a statement is judged against.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub catalog: &'a Catalog,
    pub masks: &'a MaskTable,
    pub limits: Limits,
}

/// A statement that was understood.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The exact SQL to send; empty for [`Effect::Empty`], and where the ceiling is Deny.
    pub text: String,
    /// PostgreSQL's own word, for example `SELECT`.
    pub action: String,
    pub accesses: Vec<Access>,
    /// The loosest decision that this kind of statement can ever get.
    pub ceiling: Strictness,
    pub effect: Effect,
    /// For reviewers and the recording: literals that are written to or compared with masked columns are replaced.
    pub display: Redacted,
    /// The masks that were applied, in order, without repetition.
    pub applied: Vec<RuleId>,
    /// Pairs that must not appear in a RowDescription: (table OID, attribute numbers). The attribute number 0 is
    /// forbidden too for each of these tables.
    pub masked: Vec<(Oid, Vec<i16>)>,
    /// Which values of a row were masked; of COPY, of a line. Of a cursor, those of its query.
    pub outputs: Outputs,
    /// Errors and notices of this statement may carry masked values and must be replaced by our own text.
    pub scrub: bool,
    /// What is read behind the names may have changed since the catalog was read: judge it on a fresh one.
    pub needs_fresh: bool,
    /// Numbers of parameters that are written to or compared with masked columns.
    pub hidden_params: Vec<u32>,
    /// Parameters that are values of settings: check each with [`crate::settings::check_value`] before Execute.
    pub checked_params: Vec<SettingParam>,
    /// The highest `$n`.
    pub params: u32,
    /// Why nobody but the statement itself may have it planned or counted; `None`: see [`crate::preview`].
    pub no_preview: Option<&'static str>,
}

/// A parameter that becomes the value of a session setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingParam {
    pub number: u32,
    pub setting: String,
}

/// What the session has to remember or to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The query string held no statement.
    Empty,
    Begin,
    Commit,
    /// `and_chain` of COMMIT and ROLLBACK is refused, so none of these starts another transaction.
    Rollback,
    Savepoint {
        name: String,
    },
    Release {
        name: String,
    },
    RollbackTo {
        name: String,
    },
    /// SET or RESET of session settings that may be changed.
    Set {
        names: Vec<String>,
    },
    /// The cursor exists if this succeeds. Its query is what was decided.
    DeclareCursor {
        name: String,
    },
    /// FETCH or MOVE: allowed only if the session declared this name.
    FetchCursor {
        name: String,
    },
    /// CLOSE; `None` is all.
    CloseCursor {
        name: Option<String>,
    },
    /// DEALLOCATE of a statement that the session prepared by message; `None` is all.
    Deallocate {
        name: Option<String>,
    },
    /// The answer is COPY data; it carries no names or types.
    CopyOut {
        /// In binary form, not as text or CSV.
        binary: bool,
    },
    /// The agent streams rows into this relation.
    CopyIn {
        schema: String,
        relation: String,
        /// The columns of the stream, in order.
        columns: Vec<String>,
    },
    /// The catalog may have changed: read it again before the next statement is planned.
    ChangesCatalog,
    Listen {
        channel: String,
    },
    /// `None` is all.
    Unlisten {
        channel: Option<String>,
    },
    Notify {
        channel: String,
    },
}

/// Understands one statement.
///
/// # Errors
/// Whatever is not understood, not provable, never allowed, or would show what masks hide.
pub fn plan(sql: &str, ctx: &Context<'_>) -> Result<Plan, Refused> {
    crate::classify::plan(sql, ctx)
}
