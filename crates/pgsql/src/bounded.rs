//! Whether a WHERE clause really limits which rows of one relation are changed.
//!
//! A guard against accidents, not against ill will. A column of the changed relation, or of an item that is joined to it
//! by equality, has to be compared with a parameter or a constant, and no arm of an OR may do without. Ranges count, but
//! not inside of an OR, where two of them may cover everything. What does not count: `<>`, patterns that may match
//! everything (also parameters), regular expressions, tests for NULL, conditions on other relations, and, inside of an
//! OR or a list, comparisons of booleans, which have two values only.

use std::collections::BTreeSet;

use pg_raw_parse::raw::{A_Expr_Kind, BoolExprType, JoinType, SetOperation, SubLinkType};
use pg_raw_parse::{ConstValue, Node, nodes};

use crate::catalog::Catalog;
use crate::resolve::scope::{Item, Origin};

/// The items of a sub-query's FROM clause, as far as they can be known without walking it.
pub(crate) type Inner<'a> = dyn FnMut(&nodes::SelectStmt) -> Vec<Item> + 'a;

/// One query level: what its names mean.
pub(crate) struct Bounds<'a, 'i> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) items: &'a [Item],
    pub(crate) inner: &'a mut Inner<'i>,
}

/// What conditions say about items: fixed by themselves, or joined by equality.
#[derive(Default)]
struct Facts {
    fixed: BTreeSet<u32>,
    joined: Vec<(u32, u32)>,
}

impl Facts {
    /// The fixed items, and those joined to them.
    fn reached(mut self) -> BTreeSet<u32> {
        loop {
            let before = self.fixed.len();
            for (a, b) in &self.joined {
                if self.fixed.contains(a) || self.fixed.contains(b) {
                    self.fixed.extend([*a, *b]);
                }
            }
            if self.fixed.len() == before {
                return self.fixed;
            }
        }
    }
}

/// A column of an item.
struct Place {
    uid: u32,
    /// It may be a boolean, whose two values cover everything.
    two_valued: bool,
}

impl Bounds<'_, '_> {
    /// The items that the conditions bound: WHERE, and those of inner joins in FROM.
    pub(crate) fn bounded<'a>(
        &mut self,
        condition: Node<'a>,
        from: impl IntoIterator<Item = Node<'a>>,
    ) -> BTreeSet<u32> {
        let mut facts = Facts::default();
        self.collect(condition, false, &mut facts);
        let mut open: Vec<Node<'_>> = from.into_iter().collect();
        while let Some(node) = open.pop() {
            if let Node::JoinExpr(join) = node
                && join.jointype == JoinType::JOIN_INNER
            {
                self.collect(join.quals(), false, &mut facts);
                open.extend([join.larg(), join.rarg()]);
            }
        }
        facts.reached()
    }

    /// `strict`: inside of an OR.
    fn collect(&mut self, condition: Node<'_>, strict: bool, facts: &mut Facts) {
        match condition {
            Node::BoolExpr(expr) if expr.boolop == BoolExprType::AND_EXPR => {
                expr.args().iter().for_each(|arg| self.collect(arg, strict, facts));
            }
            Node::BoolExpr(expr) if expr.boolop == BoolExprType::OR_EXPR => {
                let arms = expr.args().iter().map(|arm| {
                    let mut facts = Facts::default();
                    self.collect(arm, true, &mut facts);
                    facts.reached()
                });
                // Every arm has to do it.
                let all = arms.reduce(|a, b| a.intersection(&b).copied().collect());
                facts.fixed.extend(all.unwrap_or_default());
            }
            Node::A_Expr(expr) => self.comparison(expr, strict, facts),
            Node::SubLink(link) if link.sub_link_type == SubLinkType::ANY_SUBLINK && link.oper_name().is_empty() => {
                if let Some(place) = self.column(link.testexpr())
                    && let Node::SelectStmt(select) = link.subselect()
                    && (!strict || !place.two_valued)
                    && self.few(select)
                {
                    facts.fixed.insert(place.uid);
                }
            }
            _ => {}
        }
    }

    fn comparison(&mut self, expr: &nodes::A_Expr, strict: bool, facts: &mut Facts) {
        let (left, right) = (expr.lexpr(), expr.rexpr());
        let name = last(expr.name().iter());
        match expr.kind {
            A_Expr_Kind::AEXPR_OP if name == "=" => self.equal(left, right, strict, facts),
            A_Expr_Kind::AEXPR_NOT_DISTINCT => self.equal(left, right, strict, facts),
            A_Expr_Kind::AEXPR_OP if !strict && matches!(name, "<" | ">" | "<=" | ">=") => {
                let place = if self.fixed(right) { self.column(left) } else { None };
                let other = if self.fixed(left) { self.column(right) } else { None };
                facts.fixed.extend(place.into_iter().chain(other).filter(|p| !p.two_valued).map(|p| p.uid));
            }
            A_Expr_Kind::AEXPR_OP if !strict && matches!(name, "@>" | "&&" | "?") && says_something(right) => {
                facts.fixed.extend(self.column(left).map(|p| p.uid));
            }
            A_Expr_Kind::AEXPR_OP_ANY | A_Expr_Kind::AEXPR_IN if name == "=" => self.listed(left, right, facts),
            A_Expr_Kind::AEXPR_BETWEEN | A_Expr_Kind::AEXPR_BETWEEN_SYM if !strict && self.fixed(right) => {
                facts.fixed.extend(self.column(left).filter(|p| !p.two_valued).map(|p| p.uid));
            }
            A_Expr_Kind::AEXPR_LIKE | A_Expr_Kind::AEXPR_ILIKE if !name.starts_with('!') && selects(right) => {
                facts.fixed.extend(self.column(left).map(|p| p.uid));
            }
            _ => {}
        }
    }

    fn equal(&mut self, left: Node<'_>, right: Node<'_>, strict: bool, facts: &mut Facts) {
        if let (Node::RowExpr(a), Node::RowExpr(b)) = (left, right) {
            a.args().iter().zip(b.args().iter()).for_each(|(a, b)| self.equal(a, b, strict, facts));
            return;
        }
        match (self.column(left), self.column(right)) {
            (Some(a), Some(b)) if a.uid != b.uid => facts.joined.push((a.uid, b.uid)),
            (Some(place), None) if !(strict && place.two_valued) && self.fixed(right) => {
                facts.fixed.insert(place.uid);
            }
            (None, Some(place)) if !(strict && place.two_valued) && self.fixed(left) => {
                facts.fixed.insert(place.uid);
            }
            _ => {}
        }
    }

    /// `IN (...)` and `= ANY (...)`.
    fn listed(&mut self, left: Node<'_>, right: Node<'_>, facts: &mut Facts) {
        if let (Node::RowExpr(row), Node::NodeList(list)) = (left, right) {
            for (i, part) in row.args().iter().enumerate() {
                let fixed = list.iter().all(|other| match other {
                    Node::RowExpr(other) => other.args().iter().nth(i).is_some_and(|value| self.fixed(value)),
                    _ => false,
                });
                if fixed {
                    facts.fixed.extend(self.column(part).filter(|p| !p.two_valued).map(|p| p.uid));
                }
            }
        } else if self.fixed(right) {
            facts.fixed.extend(self.column(left).filter(|p| !p.two_valued).map(|p| p.uid));
        }
    }

    /// A sub-query whose rows are constants, or are bounded in the relation that they are taken from.
    fn few(&mut self, select: &nodes::SelectStmt) -> bool {
        if select.op != SetOperation::SETOP_NONE || select.with_clause().is_some() {
            return false;
        }
        let mut rows = select.values_lists().iter().peekable();
        if rows.peek().is_some() {
            return rows.all(|row| row.as_node_list().is_some_and(|row| row.iter().all(|value| self.fixed(value))));
        }
        let mut targets = select.target_list().iter();
        let (Some(target), None) = (targets.next(), targets.next()) else { return false };
        if self.fixed(target.val()) {
            return true;
        }
        let items = (self.inner)(select);
        let mut inner = Bounds { catalog: self.catalog, items: &items, inner: &mut *self.inner };
        let Some(place) = inner.column(target.val()) else { return false };
        inner.bounded(select.where_clause(), select.from_clause()).contains(&place.uid)
    }

    /// A column, maybe under a cast, a part of a document, or a function that keeps values apart.
    fn column(&self, node: Node<'_>) -> Option<Place> {
        match node {
            Node::ColumnRef(column) => self.named(column),
            Node::TypeCast(cast) => {
                let place = self.column(cast.arg())?;
                let boolean = cast.type_name().is_none_or(|t| {
                    t.names().iter().next_back().and_then(nodes::String::sval).is_none_or(|name| name == "bool")
                });
                Some(Place { two_valued: place.two_valued || boolean, ..place })
            }
            Node::CollateClause(collate) => self.column(collate.arg()),
            Node::A_Expr(expr) => {
                let part = matches!(last(expr.name().iter()), "->" | "->>" | "#>" | "#>>") && self.fixed(expr.rexpr());
                if part { self.column(expr.lexpr()) } else { None }
            }
            Node::FuncCall(call) => {
                let keeps = matches!(last(call.funcname().iter()), "lower" | "upper" | "btrim" | "date");
                if keeps { self.column(call.args().first()?) } else { None }
            }
            _ => None,
        }
    }

    /// The item of this level that a name certainly belongs to.
    fn named(&self, column: &nodes::ColumnRef) -> Option<Place> {
        let names: Vec<&str> = column.fields().iter().map(Node::as_str).collect::<Option<_>>()?;
        let (name, among): (&str, Vec<&Item>) = match names.as_slice() {
            [name] => (name, self.items.iter().filter(|i| !i.qualified_only).collect()),
            [item, name] => (name, self.items.iter().filter(|i| i.name.as_deref() == Some(*item)).collect()),
            [schema, relation, name] => {
                let oid = self.catalog.find(schema, relation)?.oid;
                (name, self.items.iter().filter(|i| i.plain == Some(oid)).collect())
            }
            _ => return None,
        };
        if let ("ctid", [item]) = (name, among.as_slice())
            && matches!(item.origin, Origin::Scan(_) | Origin::Target(_))
        {
            return Some(Place { uid: item.uid, two_valued: false });
        }
        let mut hits = among.into_iter().filter_map(|item| Some((item, item.column(name)?)));
        let (Some((item, col)), None) = (hits.next(), hits.next()) else { return None };
        let two_valued = match item.origin {
            Origin::Scan(oid) | Origin::Target(oid) | Origin::Proposed(oid) => {
                let column = self.catalog.relation(oid).and_then(|r| r.column(&col.real));
                column.is_none_or(|c| c.builtin.as_deref() == Some("bool"))
            }
            Origin::Derived => true,
        };
        Some(Place { uid: item.uid, two_valued })
    }

    /// Built of constants and parameters only, and of at least one.
    fn fixed(&self, node: Node<'_>) -> bool {
        match node {
            Node::A_Const(_) | Node::ParamRef(_) | Node::SQLValueFunction(_) => true,
            Node::TypeCast(cast) => self.fixed(cast.arg()),
            Node::NodeList(list) => !list.is_empty() && list.iter().all(|n| self.fixed(n)),
            Node::A_ArrayExpr(array) => array.elements().iter().all(|n| self.fixed(n)),
            Node::A_Expr(expr) => {
                expr.kind == A_Expr_Kind::AEXPR_OP
                    && (matches!(expr.lexpr(), Node::None) || self.fixed(expr.lexpr()))
                    && self.fixed(expr.rexpr())
            }
            Node::FuncCall(call) => {
                call.args().iter().all(|n| self.fixed(n)) && call.over().is_none() && !call.agg_star
            }
            // `(SELECT 5)`
            Node::SubLink(link) if link.sub_link_type == SubLinkType::EXPR_SUBLINK => match link.subselect() {
                Node::SelectStmt(select) => {
                    let plain = select.op == SetOperation::SETOP_NONE
                        && select.from_clause().is_empty()
                        && select.values_lists().is_empty();
                    plain
                        && !select.target_list().is_empty()
                        && select.target_list().iter().all(|t| self.fixed(t.val()))
                }
                _ => false,
            },
            _ => false,
        }
    }
}

fn last<'a>(mut names: impl DoubleEndedIterator<Item = Node<'a>>) -> &'a str {
    names.next_back().and_then(Node::as_str).unwrap_or_default()
}

fn text(node: Node<'_>) -> Option<&str> {
    match node {
        Node::A_Const(constant) => match constant.val() {
            Some(ConstValue::String(s)) => Some(s),
            _ => None,
        },
        Node::TypeCast(cast) => text(cast.arg()),
        _ => None,
    }
}

/// A constant pattern that asks for at least one certain character.
fn selects(pattern: Node<'_>) -> bool {
    text(pattern).is_some_and(|s| s.chars().any(|c| c != '%' && c != '_'))
}

/// A constant array or document that is not empty.
fn says_something(node: Node<'_>) -> bool {
    match node {
        Node::A_ArrayExpr(array) => array.elements().iter().next().is_some(),
        Node::TypeCast(cast) => says_something(cast.arg()),
        other => text(other).is_some_and(|s| s.contains(char::is_alphanumeric)),
    }
}
