//! Which kind of statement it is, and from there to a [`Plan`].
//!
//! One arm for each kind that is understood; every other node is refused by its name.

mod copy;
mod cursor;
mod ddl;
mod query;
mod session;
mod transaction;
mod unseen;

use pg_raw_parse::{Node, Owned, nodes};
use policy::operation::{Access, Strictness, Verb};
use policy::redact::{Redacted, flat, remark};

use crate::catalog::{Relation, RelationKind};
use crate::outputs::Outputs;
use crate::parse::{Limits, Parsed, parse};
use crate::plan::{Context, Effect, Plan, SettingParam};
use crate::refused::Refused;
use crate::resolve::Findings;
use crate::visit::name;

/// Resolution and substitution recurse: this many levels fit the 2 MiB stack of a thread even
/// without optimisation.
const MAX_DEPTH: usize = 250;
/// Most bytes of a statement that are shown: what is longer nobody can approve.
const DISPLAY_BYTES: usize = 16 * 1024;

/// What a kind makes of its statement.
struct Judged {
    action: String,
    accesses: Vec<Access>,
    ceiling: Strictness,
    effect: Effect,
    findings: Findings,
    /// The tree to send; `None` is the one that was parsed.
    tree: Option<Owned<nodes::RawStmt>>,
    checked_params: Vec<SettingParam>,
    /// Errors may show anything, whatever was touched.
    scrub: bool,
}

impl Judged {
    fn simple(action: &str, accesses: Vec<Access>, effect: Effect) -> Self {
        Self {
            action: action.to_owned(),
            accesses,
            ceiling: Strictness::Allow,
            effect,
            findings: Findings::default(),
            tree: None,
            checked_params: Vec::new(),
            scrub: false,
        }
    }
}

pub(crate) fn plan(sql: &str, ctx: &Context<'_>) -> Result<Plan, Refused> {
    let ctx = &Context { limits: Limits { depth: ctx.limits.depth.min(MAX_DEPTH), ..ctx.limits }, ..*ctx };
    let parsed = parse(sql, &ctx.limits)?;
    if parsed.is_empty() {
        return Ok(empty());
    }
    let judged = judge(&parsed, ctx)?;
    finish(judged, &parsed, ctx)
}

fn judge(parsed: &Parsed, ctx: &Context<'_>) -> Result<Judged, Refused> {
    match parsed.root() {
        Node::SelectStmt(select) if select.into_clause().is_some() => ddl::select_into(parsed, select, ctx),
        root @ (Node::SelectStmt(_) | Node::InsertStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_)) => {
            query::query(parsed, root, ctx)
        }
        Node::ExplainStmt(explain) => query::explain(parsed, explain, ctx),
        Node::CopyStmt(copy) => copy::copy(parsed, copy, ctx),
        Node::DeclareCursorStmt(declare) => cursor::declare(parsed, declare, ctx),
        Node::FetchStmt(fetch) => cursor::fetch(fetch),
        Node::ClosePortalStmt(close) => Ok(cursor::close(close)),
        Node::DeallocateStmt(deallocate) => Ok(cursor::deallocate(deallocate)),
        Node::TransactionStmt(transaction) => transaction::transaction(transaction),
        Node::VariableSetStmt(set) => session::set(set, ctx),
        Node::VariableShowStmt(show) => session::show(show),
        Node::ListenStmt(listen) => Ok(session::listen(listen)),
        Node::UnlistenStmt(unlisten) => Ok(session::unlisten(unlisten)),
        Node::NotifyStmt(notify) => Ok(session::notify(notify, ctx)),
        other => ddl::ddl(parsed, other, ctx),
    }
}

fn finish(judged: Judged, parsed: &Parsed, ctx: &Context<'_>) -> Result<Plan, Refused> {
    let reads = matches!(
        parsed.root(),
        Node::SelectStmt(_)
            | Node::InsertStmt(_)
            | Node::UpdateStmt(_)
            | Node::DeleteStmt(_)
            | Node::ExplainStmt(_)
            | Node::CopyStmt(_)
            | Node::DeclareCursorStmt(_)
    );
    if ctx.catalog.foreign_casts > 0 && (reads || !judged.findings.touched.is_empty()) {
        return Err(Refused::new("this database has casts between built-in types that run functions of users"));
    }
    let needs_fresh = needs_fresh(&judged, ctx);
    let ceiling = judged.ceiling.max(unseen::ceiling(&judged.accesses, &judged.findings, ctx));
    let text = match ceiling {
        // It is never sent.
        Strictness::Deny => String::new(),
        Strictness::Allow | Strictness::RequireApproval => {
            let tree = match judged.tree {
                Some(tree) => tree,
                None => crate::substitute::substitute(parsed, &judged.findings.edits, ctx)?,
            };
            // A template makes the tree larger than what the agent sent.
            let limits = Limits {
                nodes: ctx.limits.nodes.saturating_mul(4),
                depth: ctx.limits.depth.saturating_add(64),
                ..ctx.limits
            };
            crate::render::render(Node::RawStmt(&tree), &limits)?
        }
    };
    let findings = judged.findings;
    let no_preview = match ceiling {
        Strictness::Deny => Some("it is never allowed"),
        Strictness::Allow | Strictness::RequireApproval => {
            crate::preview::unseen(parsed, &judged.effect, &findings, ctx)
        }
    };
    let masked = findings
        .touched
        .iter()
        .filter_map(|oid| Some((*oid, ctx.masks.relation(*oid)?.columns.keys().copied().collect())))
        .collect();
    let mut applied = Vec::new();
    for mask in findings.substituted.iter().filter_map(|oid| ctx.masks.relation(*oid)).flat_map(|m| m.columns.values())
    {
        for rule in &mask.rules {
            if !applied.contains(rule) {
                applied.push(rule.clone());
            }
        }
    }
    let hidden_params = findings
        .literals
        .iter()
        .filter(|l| l.hidden || findings.hide_all)
        .filter_map(|l| l.param)
        .collect::<std::collections::BTreeSet<u32>>()
        .into_iter()
        .collect();
    let scrub = ctx.masks.any()
        && (judged.scrub || findings.user_code || findings.touched.iter().any(|oid| ctx.masks.scrubbed(*oid)));
    Ok(Plan {
        display: display(parsed, &findings, ctx),
        text,
        action: judged.action,
        accesses: judged.accesses,
        ceiling,
        effect: judged.effect,
        applied,
        masked,
        outputs: findings.outputs,
        scrub,
        needs_fresh,
        hidden_params,
        checked_params: judged.checked_params,
        params: findings.params,
        no_preview,
    })
}

/// Views, and values that hold rows where masks are in force: under the same names of columns they may show others
/// tomorrow. Changes: a foreign key that was made meanwhile carries them on into tables that nobody named.
fn needs_fresh(judged: &Judged, ctx: &Context<'_>) -> bool {
    let deep = |relation: &Relation| {
        matches!(relation.kind, RelationKind::View | RelationKind::Materialized)
            || ctx.masks.any()
                && relation.columns.iter().any(|column| ctx.catalog.row_types.contains_key(&column.type_oid))
    };
    judged.accesses.iter().any(|access| matches!(access.verb, Verb::Update | Verb::Delete | Verb::Administer))
        || judged.findings.touched.iter().filter_map(|oid| ctx.catalog.relation(*oid)).any(deep)
}

/// The statement, on one line, as given when nothing in it is hidden, else as the tree says it, with `'?'` for what is hidden. It is
/// not whole where constants are hidden that may stand against nothing masked: an agent could hide its own.
fn display(parsed: &Parsed, findings: &Findings, ctx: &Context<'_>) -> Redacted {
    let hidden: std::collections::BTreeSet<i32> = findings
        .literals
        .iter()
        .filter(|l| (l.hidden || findings.hide_all) && l.param.is_none())
        .map(|l| l.location)
        .collect();
    let text = if hidden.is_empty() {
        Ok(parsed.text().to_owned())
    } else {
        crate::substitute::hide(parsed, &hidden)
            .and_then(|tree| crate::render::render(Node::RawStmt(&tree), &ctx.limits))
    };
    let Ok(mut text) = text else {
        return Redacted::danger_caller_redacted_and_cut("(a statement with hidden values that cannot be shown)");
    };
    if text.len() > DISPLAY_BYTES {
        let bytes = text.len();
        text.truncate(text.floor_char_boundary(DISPLAY_BYTES));
        return Redacted::danger_caller_redacted_and_cut(&format!(
            "{} {}",
            flat(&text),
            remark(&format!("cut: it has {bytes} bytes"))
        ));
    }
    let text = flat(&text);
    match findings.hides_own() {
        true => Redacted::danger_caller_redacted_and_cut(&text),
        false => Redacted::danger_caller_redacted(&text),
    }
}

fn empty() -> Plan {
    Plan {
        text: String::new(),
        action: "EMPTY".to_owned(),
        accesses: vec![transaction::access()],
        ceiling: Strictness::Allow,
        effect: Effect::Empty,
        display: Redacted::constant(""),
        applied: Vec::new(),
        masked: Vec::new(),
        outputs: Outputs::default(),
        scrub: false,
        needs_fresh: false,
        hidden_params: Vec::new(),
        checked_params: Vec::new(),
        params: 0,
        no_preview: Some("it is no statement"),
    }
}

fn unknown(node: Node<'_>) -> Refused {
    Refused::new(format!("statements of the kind {} are not supported", name(node)))
}
