//! DECLARE, FETCH, MOVE, CLOSE and DEALLOCATE.
//!
//! A cursor's query is decided when it is declared. Refused: WITH HOLD, which outlives the transaction; cursors over
//! INSERT and the like, which the server refuses too; SQL-level PREPARE and EXECUTE.

use pg_raw_parse::{Node, nodes};

use super::{Judged, query, transaction};
use crate::parse::Parsed;
use crate::plan::{Context, Effect};
use crate::refused::Refused;

/// `CURSOR_OPT_HOLD` and `CURSOR_OPT_BINARY` of `parsenodes.h`.
const HOLD: i32 = 0x0020;

pub(super) fn declare(
    _parsed: &Parsed,
    declare: &nodes::DeclareCursorStmt,
    ctx: &Context<'_>,
) -> Result<Judged, Refused> {
    if declare.options & HOLD != 0 {
        return Err(Refused::new("a cursor WITH HOLD").hint("use a cursor inside of a transaction"));
    }
    let name = declare.portalname().ok_or_else(|| Refused::new("a cursor without a name"))?.to_owned();
    let inner @ Node::SelectStmt(_) = declare.query() else {
        return Err(Refused::new("a cursor over something that is not a SELECT"));
    };
    let findings = query::resolve(inner, ctx)?;
    Ok(Judged {
        action: "DECLARE".to_owned(),
        accesses: findings.accesses(ctx),
        ceiling: findings.ceiling(),
        effect: Effect::DeclareCursor { name },
        findings,
        tree: None,
        checked_params: Vec::new(),
        scrub: false,
    })
}

pub(super) fn fetch(fetch: &nodes::FetchStmt) -> Result<Judged, Refused> {
    let name = fetch.portalname().ok_or_else(|| Refused::new("FETCH without a cursor"))?.to_owned();
    let action = if fetch.ismove { "MOVE" } else { "FETCH" };
    // What the cursor reads may carry masked values into errors, and was not looked at here.
    let judged = Judged::simple(action, vec![transaction::access()], Effect::FetchCursor { name });
    Ok(Judged { scrub: true, ..judged })
}

pub(super) fn close(close: &nodes::ClosePortalStmt) -> Judged {
    let name = close.portalname().map(str::to_owned);
    Judged::simple("CLOSE", vec![transaction::access()], Effect::CloseCursor { name })
}

pub(super) fn deallocate(deallocate: &nodes::DeallocateStmt) -> Judged {
    let name = deallocate.name().map(str::to_owned);
    Judged::simple("DEALLOCATE", vec![transaction::access()], Effect::Deallocate { name })
}
