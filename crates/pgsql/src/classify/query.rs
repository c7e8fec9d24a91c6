//! SELECT, INSERT, UPDATE, DELETE and EXPLAIN of them.

use pg_raw_parse::{Node, nodes};
use policy::operation::{Access, Verb};

use super::{Judged, unknown};
use crate::parse::Parsed;
use crate::plan::{Context, Effect};
use crate::refused::Refused;
use crate::resolve::scope::Ctes;
use crate::resolve::{Findings, Level, Resolver};

/// Options of EXPLAIN that change nothing but its answer.
const EXPLAIN_OPTIONS: &[&str] = &[
    "analyze",
    "buffers",
    "costs",
    "format",
    "generic_plan",
    "memory",
    "settings",
    "summary",
    "timing",
    "verbose",
    "wal",
];

/// Walks one of the four kinds.
pub(super) fn resolve(root: Node<'_>, ctx: &Context<'_>) -> Result<Findings, Refused> {
    let walk = |resolver: &mut Resolver<'_>| {
        let ctes = Ctes::default();
        resolver.weigh(match root {
            Node::InsertStmt(_) => Verb::Create,
            Node::UpdateStmt(_) => Verb::Update,
            Node::DeleteStmt(_) => Verb::Delete,
            _ => Verb::Read,
        });
        let output = match root {
            Node::SelectStmt(select) => resolver.select(select, None, &ctes, Level::Top)?,
            Node::InsertStmt(insert) => resolver.insert(insert, None, &ctes)?,
            Node::UpdateStmt(update) => resolver.update(update, None, &ctes)?,
            Node::DeleteStmt(delete) => resolver.delete(delete, None, &ctes)?,
            other => return Err(unknown(other)),
        };
        resolver.out.outputs = output.outputs;
        Ok(())
    };
    Resolver::walked(ctx, walk)?.finish()
}

pub(super) fn query(parsed: &Parsed, root: Node<'_>, ctx: &Context<'_>) -> Result<Judged, Refused> {
    if let Some(judged) = super::session::set_config(parsed, root, ctx)? {
        return Ok(judged);
    }
    let findings = resolve(root, ctx)?;
    Ok(Judged {
        action: word(&findings).to_owned(),
        accesses: findings.accesses(ctx),
        ceiling: findings.ceiling(),
        effect: Effect::None,
        checked_params: Vec::new(),
        tree: None,
        scrub: false,
        findings,
    })
}

/// The word for the weightiest thing that happens anywhere in the statement.
pub(super) fn word(findings: &Findings) -> &'static str {
    match findings.weight {
        Some(Verb::Create) => "INSERT",
        Some(Verb::Update) => "UPDATE",
        Some(Verb::Delete) => "DELETE",
        _ => "SELECT",
    }
}

pub(super) fn explain(_parsed: &Parsed, explain: &nodes::ExplainStmt, ctx: &Context<'_>) -> Result<Judged, Refused> {
    let mut analyze = false;
    for option in explain.options() {
        let name = option.defname().unwrap_or_default();
        if !EXPLAIN_OPTIONS.contains(&name) {
            return Err(Refused::new(format!("EXPLAIN with the option `{name}`")));
        }
        if name == "analyze" {
            analyze |= on(option.arg())?;
        }
    }
    let findings = resolve(explain.query(), ctx)?;
    if findings.touched.iter().any(|oid| ctx.masks.relation(*oid).is_some()) {
        return Err(Refused::new("EXPLAIN over a relation with masked columns")
            .hint("a plan shows conditions, estimates and samples of the hidden values"));
    }
    let mut accesses = findings.accesses(ctx);
    // Planning computes what is constant, functions of users in defaults and checks too.
    let ceiling = findings.ceiling().max(super::unseen::ceiling(&accesses, &findings, ctx));
    let action = if analyze {
        format!("EXPLAIN ANALYZE {}", word(&findings))
    } else {
        // Nothing runs: it reads what planning reads, and no foreign key acts.
        let runs = |a: &Access| a.indirect && a.verb != Verb::Read;
        accesses = accesses.into_iter().filter(|a| !runs(a)).map(read_only).collect();
        accesses.sort();
        accesses.dedup();
        "EXPLAIN".to_owned()
    };
    Ok(Judged {
        action,
        accesses,
        ceiling,
        effect: Effect::None,
        findings,
        tree: None,
        checked_params: Vec::new(),
        scrub: false,
    })
}

fn read_only(access: Access) -> Access {
    match access.verb {
        Verb::Create | Verb::Update | Verb::Delete => Access { verb: Verb::Read, bounded: None, ..access },
        Verb::Connect | Verb::Read | Verb::Execute | Verb::Administer => access,
    }
}

/// The value of a boolean option; anything that is not clearly off is on.
fn on(value: Node<'_>) -> Result<bool, Refused> {
    match value {
        Node::None => Ok(true),
        Node::String(s) => Ok(!matches!(s.sval(), Some("off" | "false"))),
        Node::Integer(i) => Ok(i.ival != 0),
        Node::Boolean(b) => Ok(b.boolval),
        _ => Err(Refused::new("an option with a value of an unknown form")),
    }
}
