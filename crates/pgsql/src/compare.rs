//! Structural equality of two trees.
//!
//! All fields count except the byte offsets into the text. Invariant: no recursion; a tree that cannot be compared
//! within the limits is an error, never "equal".

use pg_raw_parse::Node;

use crate::visit::{Counts, name, same};
use crate::{Limits, Refused};

/// The outcome of [`compare`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// The trees mean the same to the grammar.
    Equal {
        /// Pairs of nodes compared.
        nodes: usize,
    },
    /// They do not; the first place found.
    Differs {
        /// The type of the left node.
        node: &'static str,
        /// Its field; `type` when the node types differ, `length` for a list in a list.
        field: &'static str,
    },
}

/// Compares two trees; the statement wrapper `RawStmt` is looked through on both sides.
///
/// # Errors
/// [`Refused`] when the trees are deeper or larger than `limits`.
pub fn compare<'a>(left: Node<'a>, right: Node<'a>, limits: &Limits) -> Result<Comparison, Refused> {
    let mut counts = Counts::default();
    let mut queue = Vec::new();
    let mut open = vec![(statement(left), statement(right), 1_usize)];
    while let Some((left, right, depth)) = open.pop() {
        counts.nodes = counts.nodes.saturating_add(1);
        counts.depth = counts.depth.max(depth);
        limits.check(counts)?;
        if let Err(field) = same(left, right, &mut queue) {
            return Ok(Comparison::Differs { node: name(left), field });
        }
        let depth = depth.saturating_add(1);
        open.extend(queue.drain(..).rev().map(|(left, right)| (left, right, depth)));
    }
    Ok(Comparison::Equal { nodes: counts.nodes })
}

/// The statement inside a `RawStmt`, or the node itself.
pub(crate) fn statement(node: Node<'_>) -> Node<'_> {
    match node {
        Node::RawStmt(raw) => raw.stmt(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::{Comparison, compare};
    use crate::{Limits, parse};

    fn outcome(left: &str, right: &str) -> Option<(&'static str, &'static str)> {
        let limits = Limits::default();
        let (left, right) = (parse(left, &limits).unwrap(), parse(right, &limits).unwrap());
        match compare(left.root(), right.root(), &limits).unwrap() {
            Comparison::Equal { .. } => None,
            Comparison::Differs { node, field } => Some((node, field)),
        }
    }

    #[test]
    fn spelling_does_not_count() {
        for (left, right) in [
            ("SELECT a FROM t", "select  A\nfrom /* c */ \"t\" ;"),
            ("SELECT CAST(a AS int)", "SELECT a::int"),
            ("SELECT 'it''s'", "SELECT E'it\\'s'"),
            ("SELECT (a + b) + c", "SELECT a + b + c"),
            ("", ";"),
        ] {
            assert_eq!(outcome(left, right), None, "{left} / {right}");
        }
    }

    #[test]
    fn every_kind_of_field_counts() {
        for (left, right, place) in [
            ("SELECT 1", "SELECT 2", ("A_Const", "val")),
            ("SELECT 1", "SELECT '1'", ("A_Const", "val")),
            ("SELECT 1", "SELECT NULL", ("A_Const", "val")),
            ("SELECT a", "SELECT 1", ("ColumnRef", "type")),
            ("SELECT a", "SELECT b", ("String", "sval")),
            ("SELECT a", "SELECT a.a", ("ColumnRef", "fields")),
            ("SELECT a", "SELECT a, a", ("SelectStmt", "target_list")),
            ("SELECT a", "SELECT DISTINCT a", ("SelectStmt", "distinct_clause")),
            ("SELECT a FROM t", "SELECT a FROM ONLY t", ("RangeVar", "inh")),
            ("SELECT a FROM t", "SELECT a FROM s.t", ("RangeVar", "schemaname")),
            ("SELECT a FROM t", "SELECT a FROM t AS t", ("nothing", "type")),
            ("SELECT a UNION SELECT b", "SELECT a UNION ALL SELECT b", ("SelectStmt", "all")),
            ("SELECT a UNION SELECT b", "SELECT a EXCEPT SELECT b", ("SelectStmt", "op")),
            ("SELECT a + (b + c)", "SELECT a + b + c", ("ColumnRef", "type")),
            ("VALUES (1)", "VALUES (1, 2)", ("List", "length")),
            ("SELECT a AND b", "SELECT a OR b", ("BoolExpr", "boolop")),
            ("DELETE FROM t", "SELECT", ("DeleteStmt", "type")),
            ("DELETE FROM t", "", ("DeleteStmt", "type")),
        ] {
            assert_eq!(outcome(left, right), Some(place), "{left} / {right}");
        }
    }

    #[test]
    fn beyond_the_limits_is_an_error_and_never_equal() {
        let wide = Limits { nodes: 100_000, ..Limits::default() };
        let long = parse(&format!("SELECT {}1", "1,".repeat(10_000)), &wide).unwrap();
        assert!(compare(long.root(), long.root(), &wide).is_ok());
        assert!(compare(long.root(), long.root(), &Limits { nodes: 10_000, ..wide }).is_err());
        assert!(compare(long.root(), long.root(), &Limits { depth: 2, ..wide }).is_err());
    }
}
