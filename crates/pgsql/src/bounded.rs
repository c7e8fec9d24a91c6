//! Whether a WHERE clause really limits which rows are changed.
//!
//! A guard against accidents, not against ill will: a column has to be compared with a parameter or a constant, and no
//! arm of an OR may do without. What is always true, a column compared with itself, and tests for NULL count as none.

use pg_raw_parse::raw::{A_Expr_Kind, BoolExprType, SubLinkType};
use pg_raw_parse::{ConstValue, Node};

/// Whether the condition compares a column with something fixed, on every way through it.
pub(crate) fn bounded(condition: Node<'_>) -> bool {
    bounds(condition, false)
}

/// `strict`: inside of an OR, where two ranges may cover everything.
fn bounds(condition: Node<'_>, strict: bool) -> bool {
    match condition {
        Node::BoolExpr(expr) if expr.boolop == BoolExprType::AND_EXPR => {
            expr.args().iter().any(|arg| bounds(arg, strict))
        }
        Node::BoolExpr(expr) if expr.boolop == BoolExprType::OR_EXPR => {
            !expr.args().is_empty() && expr.args().iter().all(|arg| bounds(arg, true))
        }
        Node::A_Expr(expr) => {
            let (left, right) = (expr.lexpr(), expr.rexpr());
            let name = expr.name().iter().next_back().and_then(Node::as_str).unwrap_or_default();
            match expr.kind {
                A_Expr_Kind::AEXPR_OP => {
                    let equal = name == "=";
                    let range = matches!(
                        name,
                        "<" | ">" | "<=" | ">=" | "<>" | "!=" | "~" | "~*" | "@>" | "<@" | "&&" | "?" | "@@"
                    );
                    (equal || (range && !strict)) && pair(left, right)
                }
                A_Expr_Kind::AEXPR_OP_ANY | A_Expr_Kind::AEXPR_IN => name == "=" && column(left) && fixed(right),
                A_Expr_Kind::AEXPR_NOT_DISTINCT => pair(left, right),
                A_Expr_Kind::AEXPR_BETWEEN | A_Expr_Kind::AEXPR_BETWEEN_SYM => !strict && column(left) && fixed(right),
                A_Expr_Kind::AEXPR_LIKE | A_Expr_Kind::AEXPR_ILIKE => {
                    !name.starts_with('!') && column(left) && fixed(right) && !matches_all(right)
                }
                _ => false,
            }
        }
        Node::SubLink(link) => {
            let equal = link.oper_name().is_empty();
            link.sub_link_type == SubLinkType::ANY_SUBLINK
                && equal
                && column(link.testexpr())
                && matches!(link.subselect(), Node::SelectStmt(s) if bounds(s.where_clause(), strict))
        }
        _ => false,
    }
}

fn pair(left: Node<'_>, right: Node<'_>) -> bool {
    (column(left) && fixed(right)) || (fixed(left) && column(right))
}

/// A column, maybe under a cast, a part of a document, or a function that keeps values apart.
fn column(node: Node<'_>) -> bool {
    match node {
        Node::ColumnRef(_) => true,
        Node::TypeCast(cast) => column(cast.arg()),
        Node::CollateClause(collate) => column(collate.arg()),
        Node::A_Expr(expr) => {
            let name = expr.name().iter().next_back().and_then(Node::as_str).unwrap_or_default();
            matches!(name, "->" | "->>" | "#>" | "#>>") && column(expr.lexpr()) && fixed(expr.rexpr())
        }
        Node::FuncCall(call) => {
            let name = call.funcname().iter().next_back().and_then(Node::as_str).unwrap_or_default();
            matches!(name, "lower" | "upper" | "btrim" | "date") && call.args().first().is_some_and(column)
        }
        _ => false,
    }
}

/// Built of constants and parameters only, and of at least one.
fn fixed(node: Node<'_>) -> bool {
    match node {
        Node::A_Const(_) | Node::ParamRef(_) | Node::SQLValueFunction(_) => true,
        Node::TypeCast(cast) => fixed(cast.arg()),
        Node::NodeList(list) => !list.is_empty() && list.iter().all(fixed),
        Node::A_ArrayExpr(array) => array.elements().iter().all(fixed),
        Node::A_Expr(expr) => {
            expr.kind == A_Expr_Kind::AEXPR_OP
                && (matches!(expr.lexpr(), Node::None) || fixed(expr.lexpr()))
                && fixed(expr.rexpr())
        }
        Node::FuncCall(call) => call.args().iter().all(fixed) && call.over().is_none() && !call.agg_star,
        _ => false,
    }
}

fn matches_all(pattern: Node<'_>) -> bool {
    match pattern {
        Node::A_Const(c) => {
            matches!(c.val(), Some(ConstValue::String(s)) if s.chars().all(|c| c == '%' || c == '_'))
        }
        Node::TypeCast(cast) => matches_all(cast.arg()),
        _ => false,
    }
}
