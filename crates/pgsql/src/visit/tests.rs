use std::collections::BTreeSet;

use pg_raw_parse::{Node, make, nodes};

use super::table::{Rows, every_node};
use super::{Kind, Next, children, rows_of, walk};
use crate::{Limits, Parsed, Refused, parse};

fn parsed(sql: &str) -> Parsed {
    parse(sql, &Limits::default()).unwrap()
}

/// The field names of a node as its printed form shows them: the lines at the first level of indentation.
fn printed(debug: &str) -> BTreeSet<String> {
    debug
        .lines()
        .filter_map(|line| line.strip_prefix("    ")?.split_once(": "))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .collect()
}

#[test]
fn every_field_of_every_node_has_exactly_one_row() {
    let (mut grammar, mut never, mut fields, mut wrong) = (0, 0, 0, Vec::new());
    macro_rules! check {
        ($($node:ident),*) => { $(
            let blank = make::owned(|memory| memory.make_node::<nodes::$node>());
            match <nodes::$node as Rows>::ROWS {
                None => never += 1,
                Some(rows) => {
                    grammar += 1;
                    fields += rows.len();
                    let expected = printed(&format!("{:#?}", &*blank));
                    let listed: BTreeSet<String> = rows.iter().map(|row| row.field.to_owned()).collect();
                    if expected != listed || listed.len() != rows.len() {
                        let differ: Vec<_> = expected.symmetric_difference(&listed).cloned().collect();
                        wrong.push(format!("{}: {differ:?}", stringify!($node)));
                    }
                }
            }
        )* };
    }
    every_node!(check);
    assert!(wrong.is_empty(), "fields without a row, or rows without a field: {wrong:#?}");
    assert_eq!((grammar, never, fields), (214, 47, 970));
}

#[test]
fn a_type_the_grammar_does_not_make_is_refused() {
    let query = make::owned(|memory| memory.make_node::<nodes::Query>());
    let refused = children(Node::Query(&query)).unwrap_err();
    assert_eq!(refused, Refused::new("a node of type Query, which the grammar does not make"));
    assert_eq!(rows_of(Node::Query(&query)), None);
}

#[test]
fn a_refused_field_is_refused_only_when_it_is_set() {
    let index = |name: Option<&'static str>| {
        make::owned(|memory| {
            let mut node = memory.make_node::<nodes::IndexElem>();
            node.as_mut().set_indexcolname(name.map(|name| memory.copy_string(name)));
            node
        })
    };
    let (plain, set) = (index(None), index(Some("secret")));
    assert!(children(Node::IndexElem(&plain)).unwrap().is_empty());
    let refused = children(Node::IndexElem(&set)).unwrap_err();
    assert_eq!(refused.reason, "field `indexcolname` of IndexElem is set, which is not supported");

    let join = make::owned(|memory| {
        let mut node = memory.make_node::<nodes::JoinExpr>();
        node.as_mut().set_rtindex(1);
        node
    });
    assert!(children(Node::JoinExpr(&join)).is_err());
}

#[test]
fn an_unknown_value_of_an_enumeration_is_refused() {
    let expression = make::owned(|memory| {
        let mut node = memory.make_node::<nodes::A_Expr>();
        node.as_mut().set_kind(99);
        node
    });
    let refused = children(Node::A_Expr(&expression)).unwrap_err();
    assert_eq!(refused.reason, "an unknown value of A_Expr_Kind");
}

#[test]
fn rows_name_what_is_done_with_a_field() {
    let parsed = parsed("SELECT 1 FROM t");
    let rows = rows_of(parsed.root()).unwrap();
    let kind = |field| rows.iter().find(|row| row.field == field).map(|row| row.kind);
    assert_eq!(kind("from_clause"), Some(Kind::Walk));
    assert_eq!(kind("all"), Some(Kind::Scalar));
    assert_eq!(kind("op"), Some(Kind::Choice));
    assert_eq!(kind("relation"), None);
}

#[test]
fn a_walk_names_the_parent_and_the_field_also_through_lists_in_lists() {
    let parsed = parsed("INSERT INTO t VALUES (1, $1)");
    let mut stops = Vec::new();
    walk(parsed.root(), &Limits::default(), |visit| {
        stops.push(format!("{visit:?}"));
        Ok(Next::Into)
    })
    .unwrap();
    assert_eq!(
        stops,
        [
            "Visit(nothing.: InsertStmt, depth 1)",
            "Visit(InsertStmt.relation: RangeVar, depth 2)",
            "Visit(InsertStmt.select_stmt: SelectStmt, depth 2)",
            "Visit(SelectStmt.values_lists: List, depth 3)",
            "Visit(SelectStmt.values_lists: A_Const, depth 4)",
            "Visit(SelectStmt.values_lists: ParamRef, depth 4)",
        ]
    );
}

#[test]
fn a_walk_can_leave_children_out_and_stop() {
    let parsed = parsed("SELECT (SELECT a FROM s) FROM t");
    let relations = |inner: Next| {
        let mut names = Vec::new();
        walk(parsed.root(), &Limits::default(), |visit| {
            if let Node::RangeVar(relation) = visit.node {
                names.push(relation.relname().unwrap_or_default().to_owned());
            }
            Ok(if matches!(visit.node, Node::SubLink(_)) { inner } else { Next::Into })
        })
        .unwrap();
        names
    };
    assert_eq!(relations(Next::Into), ["s", "t"]);
    assert_eq!(relations(Next::Over), ["t"]);
    let stopped = walk(parsed.root(), &Limits::default(), |_| Err(Refused::new("enough")));
    assert_eq!(stopped, Err(Refused::new("enough")));
}
