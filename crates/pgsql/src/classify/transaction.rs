//! BEGIN, COMMIT, ROLLBACK and savepoints.
//!
//! Refused: prepared transactions, `AND CHAIN`, and options other than isolation, read only and deferrable.
//! An error of COMMIT may show any value: its text is not passed on while masks are in force.

use pg_raw_parse::raw::TransactionStmtKind as Kind;
use pg_raw_parse::{Node, nodes};
use policy::operation::{Access, ResourceKind, Verb};

use super::Judged;
use crate::plan::Effect;
use crate::refused::Refused;

pub(super) fn access() -> Access {
    crate::resolve::access(Verb::Execute, ResourceKind::Transaction, Vec::new())
}

pub(super) fn transaction(statement: &nodes::TransactionStmt) -> Result<Judged, Refused> {
    if statement.chain {
        return Err(Refused::new("AND CHAIN").hint("send BEGIN in a statement of its own"));
    }
    for option in statement.options() {
        let Node::DefElem(option) = option else { return Err(Refused::new("a transaction option of an unknown form")) };
        let name = option.defname().unwrap_or_default();
        if !matches!(name, "transaction_isolation" | "transaction_read_only" | "transaction_deferrable") {
            return Err(Refused::new(format!("a transaction with the option `{name}`")));
        }
    }
    let name =
        || statement.savepoint_name().map(str::to_owned).ok_or_else(|| Refused::new("a savepoint without a name"));
    let (action, effect) = match statement.kind {
        Kind::TRANS_STMT_BEGIN | Kind::TRANS_STMT_START => ("BEGIN", Effect::Begin),
        Kind::TRANS_STMT_COMMIT => ("COMMIT", Effect::Commit),
        Kind::TRANS_STMT_ROLLBACK => ("ROLLBACK", Effect::Rollback),
        Kind::TRANS_STMT_SAVEPOINT => ("SAVEPOINT", Effect::Savepoint { name: name()? }),
        Kind::TRANS_STMT_RELEASE => ("RELEASE", Effect::Release { name: name()? }),
        Kind::TRANS_STMT_ROLLBACK_TO => ("ROLLBACK TO", Effect::RollbackTo { name: name()? }),
        _ => return Err(Refused::new("a prepared transaction")),
    };
    // The triggers that were put off run at COMMIT, over rows of every earlier statement.
    let scrub = effect == Effect::Commit;
    Ok(Judged { scrub, ..Judged::simple(action, vec![access()], effect) })
}
