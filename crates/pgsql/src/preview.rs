//! What can be found out about a statement before it runs: texts for the target's planner, a bounded count, and the one
//! number that is read from a plan.
//!
//! Both texts are made from the text that was judged and would be sent, are written back, parsed again and compared, so
//! that neither can be the statement itself nor another one. Refused is a count of anything but an UPDATE or DELETE of one
//! table whose condition stands by itself: what cannot be counted soundly is not counted. Of a plan only numbers are read:
//! its texts hold literals, expressions of masks and samples of statistics.

use std::collections::BTreeSet;

use pg_raw_parse::make::try_owned;
use pg_raw_parse::{Node, Owned, nodes};
use serde_json::Value;

use crate::catalog::{Catalog, Relation, RelationKind};
use crate::compare::{Comparison, compare};
use crate::parse::{Limits, Parsed, contained, parse};
use crate::plan::{Effect, Plan};
use crate::refused::Refused;
use crate::render::render;
use crate::resolve::Findings;
use crate::visit::{Next, walk};

/// Rows up to which a count goes.
pub const MOST_COUNTED: u64 = 100_000;
/// The form of every count; one row more than is counted, so that "more" can be told.
const COUNTED: &str = "SELECT 1 FROM a.b WHERE true LIMIT 100001";
/// Built-in functions of the list that may say something else each time they are asked.
const VOLATILE: [&str; 4] = ["clock_timestamp", "gen_random_uuid", "random", "timeofday"];

const NOT_UNDERSTOOD: &str = "it cannot be written as a statement of its own";

/// A count of the rows that a change would find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    pub text: String,
    /// The parameters of the statement that stand in it too.
    pub params: BTreeSet<u32>,
}

/// Why nothing can be found out about a statement by planning it, judged with everything that it touches.
pub(crate) fn unseen(
    parsed: &Parsed,
    effect: &Effect,
    findings: &Findings,
    ctx: &crate::Context<'_>,
) -> Option<&'static str> {
    let root = parsed.root();
    let plain = matches!(root, Node::SelectStmt(_) | Node::InsertStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_));
    if !plain || *effect != Effect::None {
        return Some("only SELECT, INSERT, UPDATE and DELETE are looked at");
    }
    if findings.user_code {
        return Some("planning it could run functions, operators or types of users");
    }
    let mut changes = 0_usize;
    let walked = walk(root, &ctx.limits, |visit| {
        changes += usize::from(matches!(visit.node, Node::InsertStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_)));
        Ok(Next::Into)
    });
    let top = usize::from(!matches!(root, Node::SelectStmt(_)));
    if walked.is_err() || changes != top {
        return Some("a WITH of it changes data too");
    }
    let mut reached: BTreeSet<u32> = findings.touched.clone();
    for oid in &findings.touched {
        reached.extend(crate::resolve::behind_view(ctx.catalog, *oid));
        reached.extend(ctx.catalog.family(*oid));
    }
    let of = |holds: fn(&Relation) -> bool| reached.iter().any(|oid| ctx.catalog.relation(*oid).is_none_or(holds));
    if of(|relation| relation.temporary) {
        return Some("it touches a temporary table, which other connections do not see");
    }
    if of(|relation| relation.kind == RelationKind::Foreign) {
        return Some("it touches a foreign table, which planning could ask another server about");
    }
    if of(|relation| relation.code || !relation.runs.is_empty() || relation.rules) {
        return Some("planning it could run code of users that belongs to its tables");
    }
    None
}

impl Plan {
    /// Whether it is an INSERT, UPDATE or DELETE, whose command tag counts the rows that it changed.
    pub fn counts_changes(&self) -> bool {
        self.no_preview.is_none() && matches!(self.action.as_str(), "INSERT" | "UPDATE" | "DELETE")
    }
}

/// The text that has the target plan the statement, and no more than that.
///
/// # Errors
/// A reason in our own words.
pub fn explain(plan: &Plan, limits: &Limits) -> Result<String, &'static str> {
    if let Some(why) = plan.no_preview {
        return Err(why);
    }
    let text = format!("EXPLAIN (FORMAT JSON) {}", plan.text);
    let limits = longer(limits);
    let made = || {
        let (meant, again) = (parse(&plan.text, &limits)?, parse(&text, &limits)?);
        let Node::ExplainStmt(explain) = again.root() else { return Ok(false) };
        let mut options = explain.options().iter();
        let one = options.next().is_some_and(|option| {
            let json = matches!(option.arg(), Node::String(value) if value.sval() == Some("json"));
            option.defname() == Some("format") && json
        });
        Ok(one && options.next().is_none() && same(meant.root(), explain.query(), &limits)?)
    };
    match contained(made) {
        Ok(true) => Ok(text),
        Ok(false) | Err(_) => Err(NOT_UNDERSTOOD),
    }
}

/// The text that counts the rows which a change of one table would find.
///
/// # Errors
/// A reason in our own words.
pub fn count(plan: &Plan, catalog: &Catalog, limits: &Limits) -> Result<Count, &'static str> {
    if let Some(why) = plan.no_preview {
        return Err(why);
    }
    let limits = longer(limits);
    let parsed = parse(&plan.text, &limits).map_err(|_| NOT_UNDERSTOOD)?;
    let (with, brought, relation, condition) = match parsed.root() {
        Node::UpdateStmt(update) => {
            (update.with_clause(), !update.from_clause().is_empty(), update.relation(), update.where_clause())
        }
        Node::DeleteStmt(delete) => {
            (delete.with_clause(), !delete.using_clause().is_empty(), delete.relation(), delete.where_clause())
        }
        _ => return Err("only UPDATE and DELETE are counted"),
    };
    if with.is_some() {
        return Err("it begins with WITH");
    }
    if brought {
        return Err("its FROM or USING brings other tables in");
    }
    let relation = relation.ok_or(NOT_UNDERSTOOD)?;
    let found = relation.schemaname().zip(relation.relname()).and_then(|(schema, name)| catalog.find(schema, name));
    if !found.is_some_and(|found| matches!(found.kind, RelationKind::Table | RelationKind::Partitioned)) {
        return Err("what it changes is not a table");
    }
    let params = standing(condition, &limits)?;
    let made = || {
        let tree = counted(relation, condition, &limits)?;
        let inner = render(Node::RawStmt(&tree), &limits)?;
        let text = format!("SELECT pg_catalog.count(*) FROM ({inner}) AS counted");
        let again = parse(&text, &limits)?;
        let Node::SelectStmt(outer) = again.root() else { return Ok(None) };
        let mut from = outer.from_clause().iter();
        let whole = match (from.next(), from.next()) {
            (Some(Node::RangeSubselect(select)), None) => {
                !select.lateral && same(Node::RawStmt(&tree), select.subquery(), &limits)?
            }
            _ => false,
        };
        Ok(whole.then_some(text))
    };
    match contained(made) {
        Ok(Some(text)) => Ok(Count { text, params }),
        Ok(None) | Err(_) => Err(NOT_UNDERSTOOD),
    }
}

/// The parameters of a condition that says the same at any time and in any statement.
fn standing(condition: Node<'_>, limits: &Limits) -> Result<BTreeSet<u32>, &'static str> {
    let (mut params, mut why) = (BTreeSet::new(), None);
    let walked = walk(condition, limits, |visit| {
        match visit.node {
            Node::ParamRef(param) => params.extend(u32::try_from(param.number)),
            Node::CurrentOfExpr(_) => why = Some("its condition is the position of a cursor"),
            Node::FuncCall(call) => {
                let name = call.funcname().iter().next_back().and_then(Node::as_str).unwrap_or_default();
                if VOLATILE.contains(&name) {
                    why = Some("its condition says something else each time it is asked");
                }
            }
            Node::SelectStmt(select) if !select.locking_clause().is_empty() => {
                why = Some("its condition locks rows");
            }
            _ => {}
        }
        Ok(Next::Into)
    });
    match (walked, why) {
        (Ok(_), None) => Ok(params),
        (_, Some(why)) => Err(why),
        (Err(_), None) => Err(NOT_UNDERSTOOD),
    }
}

/// The form of a count, with this table and this condition in it.
fn counted(relation: &nodes::RangeVar, condition: Node<'_>, limits: &Limits) -> Result<Owned<nodes::RawStmt>, Refused> {
    let form = parse(COUNTED, limits)?;
    let Node::SelectStmt(select) = form.root() else { return Err(Refused::new("a form that is not a SELECT")) };
    try_owned(|mem| {
        let mut copy = mem.make_unique(select);
        let from = mem.make_unique(relation).uncast();
        copy.as_mut().set_from_clause(mem.make_list(&[from]));
        copy.as_mut().set_where_clause(mem.make_unique(condition));
        Ok(mem.make_raw_stmt(copy.uncast()))
    })
}

fn same(left: Node<'_>, right: Node<'_>, limits: &Limits) -> Result<bool, Refused> {
    Ok(matches!(compare(left, right, limits)?, Comparison::Equal { .. }))
}

/// A text that was made here is longer than the agent's, with masks in it, and stands one level deeper.
fn longer(limits: &Limits) -> Limits {
    Limits {
        bytes: limits.bytes.saturating_mul(4).saturating_add(1_024),
        depth: limits.depth.saturating_add(128),
        nodes: limits.nodes.saturating_mul(4),
    }
}

/// Rows that a plan (`EXPLAIN (FORMAT JSON)`) expects to come out or to be changed. Nothing but numbers leaves it.
pub fn estimate(json: &str) -> Option<u64> {
    let document: Value = serde_json::from_str(json).ok()?;
    let plan = document.as_array()?.first()?.get("Plan")?;
    if plan.get("Node Type")?.as_str()? != "ModifyTable" {
        return rows(plan);
    }
    // What it changes comes from below; beside that stand sub-plans of expressions.
    let from = plan.get("Plans")?.as_array()?.iter().filter(|below| {
        let relationship = below.get("Parent Relationship").and_then(Value::as_str);
        matches!(relationship, Some("Outer" | "Member"))
    });
    let each: Vec<u64> = from.map(rows).collect::<Option<_>>()?;
    (!each.is_empty()).then(|| each.into_iter().fold(0, u64::saturating_add))
}

/// A planner's number may be beyond all counting.
fn rows(plan: &Value) -> Option<u64> {
    const MOST: u64 = 1_000_000_000_000_000;
    let rows = plan.get("Plan Rows")?;
    match rows.as_u64() {
        Some(rows) => Some(rows.min(MOST)),
        None => rows.as_f64().filter(|rows| *rows >= 1e15).map(|_| MOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_plan_one_number_is_read() {
        let cases = [
            (r#"[{"Plan": {"Node Type": "Seq Scan", "Plan Rows": 12, "Filter": "(a = 'CANARY')"}}]"#, Some(12)),
            (r#"[{"Plan": {"Node Type": "Result", "Plan Rows": 1, "Plans": [{"Plan Rows": 9}]}}]"#, Some(1)),
            (
                r#"[{"Plan": {"Node Type": "ModifyTable", "Operation": "Update", "Plan Rows": 0, "Plans": [
                    {"Node Type": "Seq Scan", "Parent Relationship": "InitPlan", "Plan Rows": 4000},
                    {"Node Type": "Seq Scan", "Parent Relationship": "Outer", "Plan Rows": 70}]}}]"#,
                Some(70),
            ),
            // Before 14 each partition has a plan.
            (
                r#"[{"Plan": {"Node Type": "ModifyTable", "Plan Rows": 0, "Plans": [
                    {"Parent Relationship": "Member", "Plan Rows": 7}, {"Parent Relationship": "Member", "Plan Rows": 8},
                    {"Parent Relationship": "SubPlan", "Plan Rows": 900}]}}]"#,
                Some(15),
            ),
            (r#"[{"Plan": {"Node Type": "Seq Scan", "Plan Rows": 1e30}}]"#, Some(1_000_000_000_000_000)),
            (
                r#"[{"Plan": {"Node Type": "Seq Scan", "Plan Rows": 18446744073709551615}}]"#,
                Some(1_000_000_000_000_000),
            ),
            (r#"[{"Plan": {"Node Type": "Seq Scan", "Plan Rows": -1}}]"#, None),
            (r#"[{"Plan": {"Node Type": "Seq Scan", "Plan Rows": "12"}}]"#, None),
            (r#"[{"Plan": {"Node Type": "ModifyTable", "Plan Rows": 5}}]"#, None),
            (
                r#"[{"Plan": {"Node Type": "ModifyTable", "Plans": [{"Parent Relationship": "InitPlan", "Plan Rows": 5}]}}]"#,
                None,
            ),
            (r#"[{"Plan": {"Plan Rows": 5}}]"#, None),
            ("[]", None),
            ("{}", None),
            ("", None),
            ("Seq Scan on t  (cost=0.00..1.00 rows=5 width=4)", None),
        ];
        for (json, wanted) in cases {
            assert_eq!(estimate(json), wanted, "{json}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(estimate(&deep), None);
    }

    #[test]
    fn the_form_counts_one_more_than_is_shown() {
        assert!(COUNTED.ends_with(&format!("LIMIT {}", MOST_COUNTED + 1)));
    }
}
