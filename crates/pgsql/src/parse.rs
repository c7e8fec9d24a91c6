//! From text to one checked tree.
//!
//! Refuses: over the size cap, NUL, bad syntax, several statements, nodes or fields the table does not know, trees too
//! deep or too large. Invariant: of a [`Parsed`] every field was read once, so a later visit of it can neither panic in
//! an accessor nor run out of stack.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pg_raw_parse::{Node, Owned, StmtList, nodes};

use crate::refused::{Code, Refused};
use crate::visit::choice::{GrantTargetType, ObjectType};
use crate::visit::{Counts, Next, Visit, walk};

/// Bounds on one statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the text.
    pub bytes: usize,
    /// Levels of nodes. The C deparser overflows a 2 MiB stack at some 10,000.
    pub depth: usize,
    /// Visits of nodes; a shared node counts each time it is reached.
    pub nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 256 * 1024, depth: 1_000, nodes: 250_000 }
    }
}

impl Limits {
    pub(crate) fn check(&self, counts: Counts) -> Result<(), Refused> {
        if counts.depth > self.depth {
            return Err(Refused::new(format!("the statement nests deeper than {} levels", self.depth))
                .hint("split the expression, or use an array parameter instead of a chain of operators"));
        }
        if counts.nodes > self.nodes {
            return Err(Refused::new(format!("the statement has more than {} parts", self.nodes))
                .hint("send the rows in several statements, or use COPY"));
        }
        Ok(())
    }
}

/// One statement, or none, with its text.
pub struct Parsed {
    text: String,
    tree: Owned<StmtList>,
    counts: Counts,
}

// By hand: text and tree hold values.
impl fmt::Debug for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parsed").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Parsed {
    /// The statement; [`Node::None`] when the text has none (only blanks, comments, semicolons).
    pub fn root(&self) -> Node<'_> {
        self.raw().map_or(Node::None, nodes::RawStmt::stmt)
    }

    /// The statement with the wrapper that [`pg_raw_parse::make`] can own; `None` when the text has none.
    pub fn raw(&self) -> Option<&nodes::RawStmt> {
        self.tree.first()
    }

    /// Whether the text has no statement.
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// The text as given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Size of the tree.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// Parses one statement with PostgreSQL's own grammar.
///
/// # Errors
/// [`Refused`] for everything the module text lists.
pub fn parse(sql: &str, limits: &Limits) -> Result<Parsed, Refused> {
    if sql.len() > limits.bytes {
        return Err(Refused::new(format!("the statement is larger than {} bytes", limits.bytes))
            .hint("use parameters, or send the data in several statements"));
    }
    if sql.contains('\0') {
        return Err(Refused::new("the statement contains a zero byte"));
    }
    contained(|| {
        // The error's own text quotes the statement ("at or near ..."): it is dropped unread.
        let tree = pg_raw_parse::parse(sql)
            .map_err(|_| {
                Refused::new("the statement is not valid in PostgreSQL 18's grammar")
                    .hint("check the syntax")
                    .code(Code::Syntax)
            })?
            .into_inner();
        if tree.len() > 1 {
            return Err(
                Refused::new("several statements in one message").hint("send each statement in a message of its own")
            );
        }
        let root = tree.first().map_or(Node::None, nodes::RawStmt::stmt);
        let counts = walk(root, limits, known)?;
        Ok(Parsed { text: sql.to_owned(), tree, counts })
    })
}

/// Rules of single nodes that no field's row can express.
fn known(visit: Visit<'_>) -> Result<Next, Refused> {
    match visit.node {
        // The scanner takes `$0`; no server has such a parameter.
        Node::ParamRef(param) if param.number < 1 => Err(Refused::new("a parameter number below 1")),
        // libpg_query's grammar takes `$n` where PostgreSQL's does not: settings, passwords, options.
        Node::ParamRef(_) if matches!(visit.parent, Node::VariableSetStmt(_) | Node::DefElem(_)) => {
            Err(Refused::new("a parameter where the server takes none"))
        }
        // `objects` is typed as a list of tables; on other objects its accessor would panic.
        Node::GrantStmt(grant) if !names_tables(grant)? => {
            Err(Refused::new("GRANT or REVOKE on objects other than tables and sequences"))
        }
        _ => Ok(Next::Into),
    }
}

fn names_tables(grant: &nodes::GrantStmt) -> Result<bool, Refused> {
    Ok(match GrantTargetType::of(grant.targtype)? {
        GrantTargetType::Object => matches!(ObjectType::of(grant.objtype)?, ObjectType::Table | ObjectType::Sequence),
        GrantTargetType::AllInSchema => false,
        // ALTER DEFAULT PRIVILEGES names none.
        GrantTargetType::Defaults => true,
    })
}

/// Runs a pure step over C trees; a panic inside becomes a refusal.
///
/// The only `catch_unwind` that carries on: accessors of `pg_raw_parse` panic on statements whose lists hold another
/// type than its documentation says (CREATE STATISTICS FROM a join). The step owns all it changes and
/// its whole result is dropped with the panic, so nothing half-made is seen afterwards.
pub(crate) fn contained<T>(step: impl FnOnce() -> Result<T, Refused>) -> Result<T, Refused> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(result) => result,
        Err(_) => Err(Refused::new("a statement whose tree this parser cannot represent")),
    }
}
