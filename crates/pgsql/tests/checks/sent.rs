//! What may be sent: a text that is read again as what was meant, of relations that were said to be touched, where masked
//! ones are read through their template only.

use std::collections::BTreeSet;

use pg_raw_parse::{Node, nodes};
use pgsql::visit::{Next, Visit, name, walk};
use pgsql::{Effect, Limits, MaskTable, Parsed, Plan, parse};
use policy::operation::Strictness;

use super::undo::{printed, undone};
use super::world::World;

/// Templates make a text longer than what an agent may send.
const LIMITS: Limits = Limits { bytes: 16 << 20, depth: 2_000, nodes: 10_000_000 };

pub(super) fn check(sql: &str, plan: &Plan, world: &World, masks: &MaskTable) {
    assert!(!plan.action.is_empty());
    if plan.ceiling == Strictness::Deny || plan.effect == Effect::Empty {
        assert_eq!(plan.text, "", "{sql}");
        return;
    }
    let source = parse(sql, &LIMITS).expect("what is planned was read");
    let sent = parse(&plan.text, &LIMITS).unwrap_or_else(|why| panic!("{sql}\n{}\n{why}", plan.text));
    assert!(!sent.is_empty());
    assert_eq!(name(source.root()), name(sent.root()), "{sql}\n{}", plan.text);
    assert!(!plan.accesses.is_empty(), "{sql}");
    let defined = names_of_ctes(&sent);
    let check = |visit: Visit<'_>| match visit.node {
        Node::SelectStmt(select) if masks.any() && stood_for(select, visit, world).is_some() => {
            stood_for(select, visit, world).into_iter().for_each(|range| declared(range, sql, plan));
            Next::Over
        }
        // Names what FROM defines.
        Node::RangeVar(_) if matches!(visit.parent, Node::LockingClause(_)) => Next::Into,
        Node::RangeVar(range) => {
            relation(range, visit, sql, plan, world, masks, &defined);
            Next::Into
        }
        _ => Next::Into,
    };
    walk(sent.root(), &LIMITS, |visit| Ok(check(visit))).expect("what is sent is walked");
    same(&source, &sent, sql, plan, world, masks);
}

/// The relation that is read behind its masks here.
fn stood_for<'a>(select: &'a nodes::SelectStmt, visit: Visit<'_>, world: &World) -> Option<&'a nodes::RangeVar> {
    match visit.parent {
        Node::CopyStmt(_) => world.copies(select),
        _ => world.stands_for(select),
    }
}

fn names_of_ctes(parsed: &Parsed) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    walk(parsed.root(), &LIMITS, |visit| {
        if let Node::CommonTableExpr(cte) = visit.node {
            names.extend(cte.ctename().map(str::to_owned));
        }
        Ok(Next::Into)
    })
    .expect("what is sent is walked");
    names
}

/// Qualified, among the accesses, and not read past its mask.
fn relation(
    range: &nodes::RangeVar,
    visit: Visit<'_>,
    sql: &str,
    plan: &Plan,
    world: &World,
    masks: &MaskTable,
    defined: &BTreeSet<String>,
) {
    let Some(schema) = range.schemaname() else {
        let bare = range.relname().unwrap_or_default();
        assert!(defined.contains(bare), "unqualified: {bare}\n{sql}\n{}", plan.text);
        return;
    };
    if schema == "pg_catalog" || schema == "information_schema" {
        return;
    }
    declared(range, sql, plan);
    if masks.any() && world.masked(range) {
        let written = match visit.parent {
            Node::CopyStmt(copy) => copy.is_from,
            _ => visit.field == "relation" || visit.field == "relations",
        };
        assert!(written, "{visit:?} is read past its mask\n{sql}\n{}", plan.text);
    }
}

fn declared(range: &nodes::RangeVar, sql: &str, plan: &Plan) {
    let (schema, name) = (range.schemaname().unwrap_or_default(), range.relname().unwrap_or_default());
    let said = plan.accesses.iter().any(|access| {
        let path: Vec<&str> = access.resource.path.iter().map(String::as_str).collect();
        path.starts_with(&[schema, name])
    });
    assert!(said, "{schema}.{name} is no access\n{sql}\n{:?}", plan.accesses);
}

/// What is sent is what was meant. A star is written out, so that there is nothing to compare it with.
fn same(source: &Parsed, sent: &Parsed, sql: &str, plan: &Plan, world: &World, masks: &MaskTable) {
    let mut comparable = matches!(
        source.root(),
        Node::SelectStmt(_)
            | Node::InsertStmt(_)
            | Node::UpdateStmt(_)
            | Node::DeleteStmt(_)
            | Node::ExplainStmt(_)
            | Node::DeclareCursorStmt(_)
    );
    walk(source.root(), &LIMITS, |visit| {
        let star = matches!(visit.node, Node::A_Star(_));
        let of_target = matches!(visit.node, Node::ResTarget(target) if ends_in_star(target.val()));
        comparable &= !(of_target || star && !matches!(visit.parent, Node::ColumnRef(_)));
        Ok(Next::Into)
    })
    .expect("what was read is walked");
    if !comparable {
        return;
    }
    let (Some(meant), Some(undone)) = (undone(source, world, false), undone(sent, world, masks.any())) else { return };
    let (meant, undone) = (printed(meant.stmt()), printed(undone.stmt()));
    assert_eq!(meant, undone, "{sql}\n{}", plan.text);
}

fn ends_in_star(node: Node<'_>) -> bool {
    matches!(node, Node::ColumnRef(column) if matches!(column.fields().iter().next_back(), Some(Node::A_Star(_))))
}

/// Without masks what is sent is planned again as itself.
pub(super) fn again(sql: &str, plan: &Plan, world: &World) {
    if plan.text.is_empty() {
        return;
    }
    let Ok(next) = super::planned(&plan.text, world, &world.none) else {
        panic!("what is sent is refused\n{sql}\n{}", plan.text);
    };
    assert_eq!(plan.text, next.text, "{sql}");
    assert_eq!((&plan.accesses, plan.ceiling), (&next.accesses, next.ceiling), "{sql}\n{}", plan.text);
}
