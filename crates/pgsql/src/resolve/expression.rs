//! Expressions: every use of a column, function, operator, type, constant and parameter in them.
//!
//! An allow-list of node types; a node that is not on it is refused by its name.

use pg_raw_parse::raw::{A_Expr_Kind, SubLinkType};
use pg_raw_parse::{ConstValue, Node, nodes};
use policy::MaskMethod;
use policy::operation::Verb;

use super::names::strings;
use super::query::Level;
use super::scope::{Col, Env, Item, Origin};
use super::{Literal, Resolver};
use crate::builtin::{SYSTEM_COLUMNS, is_system_schema};
use crate::refused::Refused;
use crate::visit::{children, name};

/// What stands in an expression.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// A masked column, or a value that comes from one.
    pub(crate) masked: bool,
    /// The strictest method of those that are certain: for counts.
    pub(crate) method: Option<MaskMethod>,
    /// A column of a sub-query, whose values may come from constants elsewhere.
    pub(crate) derived: bool,
}

impl Seen {
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            masked: self.masked || other.masked,
            method: self.method.max(other.method),
            derived: self.derived || other.derived,
        }
    }
}

impl<'c> Resolver<'c> {
    /// Walks an expression; [`Node::None`] is fine. Constants beside a masked column are marked as hidden.
    pub(crate) fn expr(&mut self, node: Node<'_>, env: &Env<'_>) -> Result<Seen, Refused> {
        self.work(0)?;
        let start = self.out.literals.len();
        let seen = self.expr_inside(node, env)?;
        // The arms of AND and OR are conditions of their own.
        if seen.masked && !matches!(node, Node::BoolExpr(_) | Node::NodeList(_)) {
            self.out.hide_all |= seen.derived;
            self.hide_from(start, compares(node));
        }
        Ok(seen)
    }

    /// Hides the constants that were found since there were `start` of them.
    pub(super) fn hide_from(&mut self, start: usize, against: bool) {
        for literal in self.out.literals.iter_mut().skip(start) {
            literal.hidden = true;
            literal.against |= against;
        }
    }

    fn below(&mut self, node: Node<'_>, env: &Env<'_>) -> Result<Seen, Refused> {
        children(node)?.into_iter().try_fold(Seen::default(), |seen, child| match child.node {
            Node::String(_) => Ok(seen),
            inner => Ok(seen.and(self.expr(inner, env)?)),
        })
    }

    fn expr_inside(&mut self, node: Node<'_>, env: &Env<'_>) -> Result<Seen, Refused> {
        match node {
            Node::None => Ok(Seen::default()),
            Node::ColumnRef(column) => {
                let seen = self.column_ref(column, env, false)?;
                self.star_in_expression(column, env)?;
                Ok(seen)
            }
            Node::A_Const(constant) => self.constant(constant),
            Node::ParamRef(param) => {
                let number = u32::try_from(param.number).map_err(|_| Refused::new("a parameter number below 1"))?;
                self.out.params = self.out.params.max(number);
                self.out.literals.push(Literal {
                    location: param.location,
                    param: Some(number),
                    hidden: false,
                    against: false,
                });
                Ok(Seen::default())
            }
            Node::A_Expr(expr) => {
                self.expr_operator(expr)?;
                Ok(self.expr(expr.lexpr(), env)?.and(self.expr(expr.rexpr(), env)?))
            }
            Node::FuncCall(call) => {
                self.function(call, call.args().len())?;
                call.args().iter().for_each(|arg| self.stands_single(arg));
                self.below(node, env)
            }
            Node::SubLink(link) => self.sublink(link, env),
            Node::TypeCast(cast) => {
                let name = cast.type_name().ok_or_else(|| Refused::new("a cast without a type"))?;
                self.type_name(name)?;
                self.stands_single(cast.arg());
                self.expr(cast.arg(), env)
            }
            Node::CollateClause(collate) => self.expr(collate.arg(), env),
            Node::SortBy(sort) => {
                let operator = strings(sort.use_op())?;
                if !operator.is_empty() {
                    self.operator(&operator)?;
                }
                self.expr(sort.node(), env)
            }
            Node::CaseExpr(case) => {
                if !matches!(case.arg(), Node::None) {
                    self.operator(&["="])?;
                }
                self.below(node, env)
            }
            Node::A_Indirection(steps) => {
                let seen = self.below(node, env)?;
                self.attributes(steps, env)?;
                Ok(seen)
            }
            Node::A_ArrayExpr(_)
            | Node::A_Indices(_)
            | Node::BoolExpr(_)
            | Node::BooleanTest(_)
            | Node::CaseWhen(_)
            | Node::CoalesceExpr(_)
            | Node::GroupingFunc(_)
            | Node::GroupingSet(_)
            | Node::MinMaxExpr(_)
            | Node::MultiAssignRef(_)
            | Node::NamedArgExpr(_)
            | Node::NodeList(_)
            | Node::NullTest(_)
            | Node::RowExpr(_)
            | Node::WindowDef(_) => self.below(node, env),
            Node::SetToDefault(_) => {
                self.out.defaults = true;
                Ok(Seen::default())
            }
            Node::SQLValueFunction(_) | Node::A_Star(_) => Ok(Seen::default()),
            other => Err(Refused::new(format!("{} in an expression", name(other)))),
        }
    }

    pub(crate) fn list<'a>(
        &mut self,
        nodes: impl IntoIterator<Item = Node<'a>>,
        env: &Env<'_>,
    ) -> Result<Seen, Refused> {
        nodes.into_iter().try_fold(Seen::default(), |seen, node| Ok(seen.and(self.expr(node, env)?)))
    }

    fn constant(&mut self, constant: &nodes::A_Const) -> Result<Seen, Refused> {
        if let Some(ConstValue::Float(text)) = constant.val()
            && self.ctx.catalog.version < 160_000
            && text.contains(['_', 'x', 'X', 'o', 'O', 'b', 'B'])
        {
            return Err(Refused::new("a number of a form that this server does not know"));
        }
        self.out.literals.push(Literal { location: constant.location, param: None, hidden: false, against: false });
        Ok(Seen::default())
    }

    pub(crate) fn expr_operator(&mut self, expr: &nodes::A_Expr) -> Result<(), Refused> {
        // BETWEEN is written with its own name; the operators behind it are those of comparison.
        let names: &[&str] = match expr.kind {
            A_Expr_Kind::AEXPR_BETWEEN | A_Expr_Kind::AEXPR_BETWEEN_SYM => &["<=", ">="],
            A_Expr_Kind::AEXPR_NOT_BETWEEN | A_Expr_Kind::AEXPR_NOT_BETWEEN_SYM => &["<", ">"],
            _ => return self.operator(&strings(expr.name())?),
        };
        names.iter().try_for_each(|n| self.operator(&[n]))
    }

    fn sublink(&mut self, link: &nodes::SubLink, env: &Env<'_>) -> Result<Seen, Refused> {
        let test = self.expr(link.testexpr(), env)?;
        let operator = strings(link.oper_name())?;
        if !operator.is_empty() {
            self.operator(&operator)?;
        } else if matches!(link.sub_link_type, SubLinkType::ANY_SUBLINK) {
            self.operator(&["="])?;
        }
        let Node::SelectStmt(select) = link.subselect() else {
            return Err(Refused::new("a sub-query that is not a SELECT"));
        };
        let output = self.select(select, Some(env), &env.ctes, Level::Inner)?;
        // EXISTS shows no value of the sub-query.
        let value = !matches!(link.sub_link_type, SubLinkType::EXISTS_SUBLINK);
        let method = output.outputs.strictest().filter(|_| value);
        Ok(test.and(Seen { masked: value && output.masked, method, derived: value }))
    }

    /// A name that may be a column, a whole row or a star. `bare`: it is a top-level output by itself.
    pub(crate) fn column_ref(&mut self, column: &nodes::ColumnRef, env: &Env<'_>, bare: bool) -> Result<Seen, Refused> {
        let mut parts: Vec<Node<'_>> = column.fields().iter().collect();
        let star = matches!(parts.last(), Some(Node::A_Star(_)));
        if star {
            parts.pop();
        }
        let names = strings(parts)?;
        match (names.as_slice(), star) {
            ([], true) => {
                let mut seen = Seen::default();
                for item in env.items.iter().filter(|i| !i.qualified_only) {
                    seen = seen.and(self.whole(item, bare)?);
                }
                Ok(seen)
            }
            ([item], true) => self.whole_of(env.named(item), item, bare),
            ([schema, item], true) => {
                let items = self.plain_items(column, env, schema, item)?;
                self.whole_of(items, item, bare)
            }
            ([name], false) => self.bare_name(name, column.location, env, bare),
            ([item, name], false) => self.column_of(env.named(item), item, name, bare),
            ([schema, item, name], false) => {
                let items = self.plain_items(column, env, schema, item)?;
                self.column_of(items, item, name, bare)
            }
            _ => Err(Refused::new("a column with the name of a database before it")),
        }
    }

    /// The items meant by `schema.relation`. Behind a template the schema has to go, so the rest must still be unique.
    fn plain_items<'e>(
        &mut self,
        column: &nodes::ColumnRef,
        env: &'e Env<'_>,
        schema: &str,
        name: &str,
    ) -> Result<Vec<&'e Item>, Refused> {
        if is_system_schema(schema) {
            // The columns of a system catalog are not known, so nothing of a user is meant by them.
            return Ok(env.named(name).into_iter().filter(|i| i.open && i.origin == Origin::Derived).collect());
        }
        let relation = self.ctx.catalog.find(schema, name);
        let Some(relation) = relation else {
            return Err(Refused::new(format!("column reference through `{schema}.{name}`, which is not in FROM"))
                .hint("use an alias"));
        };
        let items = env.plain(relation.oid);
        if items.iter().any(|i| i.substituted) {
            let by_name: Vec<u32> = env.named(name).iter().map(|i| i.uid).collect();
            if !items.iter().map(|i| i.uid).eq(by_name) || items.len() != 1 {
                return Err(
                    Refused::new(format!("`{schema}.{name}` and another relation of that name")).hint("use aliases")
                );
            }
            self.out.edits.columns.insert(column.location);
        }
        Ok(items)
    }

    fn bare_name(&mut self, name: &str, at: i32, env: &Env<'_>, bare: bool) -> Result<Seen, Refused> {
        self.work(env.levels().flat_map(|l| &l.items).map(|i| i.cols.len().saturating_add(1)).sum())?;
        let found = env.column(name);
        let maybe = Seen { masked: found.maybe_masked, method: None, derived: found.maybe };
        let mut seen = maybe;
        for (item, col) in &found.hits {
            seen = seen.and(self.use_column(item, col, bare)?);
        }
        let hit = !found.hits.is_empty();
        if hit || found.maybe {
            self.bare_may_change(name, env)?;
        }
        if hit {
            return Ok(seen);
        }
        let mut known = found.maybe;
        if SYSTEM_COLUMNS.contains(&name) {
            for item in env.levels().flat_map(|level| &level.items) {
                known |= self.system_column(item, name)?;
            }
        }
        let items = env.named(name);
        if !items.is_empty() {
            items.iter().try_for_each(|item| self.exposed(item))?;
            self.row_may_change(name, at, env, found.maybe)?;
            return Ok(seen.and(self.whole_of(items, name, false)?));
        }
        if known {
            Ok(seen)
        } else {
            Err(Refused::new(format!("column `{name}` does not exist")).code(crate::refused::Code::UndefinedColumn))
        }
    }

    fn column_of(&mut self, items: Vec<&Item>, item_name: &str, name: &str, bare: bool) -> Result<Seen, Refused> {
        if items.is_empty() {
            return Err(Refused::new(format!("`{item_name}` is not in FROM")));
        }
        let mut seen = Seen::default();
        for item in items {
            self.work(item.cols.len())?;
            if let Some(col) = item.column(name) {
                seen = seen.and(self.use_column(item, col, bare)?);
                self.qualified_may_change(item, name)?;
            } else if item.open {
                self.unknown_may_call(item, name)?;
                seen = seen.and(Seen { masked: item.open_masked, method: None, derived: true });
            } else if SYSTEM_COLUMNS.contains(&name) && self.system_column(item, name)? {
                continue;
            } else {
                // `item.f` would call a function of a user on the whole row.
                return Err(Refused::new(format!("column `{item_name}.{name}` does not exist"))
                    .code(crate::refused::Code::UndefinedColumn));
            }
        }
        Ok(seen)
    }

    /// A column such as `ctid` of a relation. In which partition a row is tells a masked value by which it was put there.
    fn system_column(&mut self, item: &Item, name: &str) -> Result<bool, Refused> {
        let (Origin::Scan(oid) | Origin::Target(oid)) = item.origin else { return Ok(false) };
        if self.ctx.masks.divides(oid) {
            return Err(Refused::new(format!(
                "the system column `{name}` of a relation that is divided by masked columns"
            )));
        }
        self.out.system_column = true;
        self.touch(Verb::Read, oid, Some(name));
        Ok(true)
    }

    fn whole_of(&mut self, items: Vec<&Item>, name: &str, bare: bool) -> Result<Seen, Refused> {
        if items.is_empty() {
            return Err(Refused::new(format!("`{name}` is not in FROM")));
        }
        items.into_iter().try_fold(Seen::default(), |seen, item| Ok(seen.and(self.whole(item, bare)?)))
    }

    /// Every column of an item.
    pub(super) fn whole(&mut self, item: &Item, bare: bool) -> Result<Seen, Refused> {
        self.work(item.cols.len())?;
        let mut seen = Seen { masked: item.open_masked, method: None, derived: item.open };
        for col in item.cols.iter() {
            seen = seen.and(self.use_column(item, col, bare)?);
        }
        match item.origin {
            Origin::Scan(oid) => self.touch(Verb::Read, oid, None),
            Origin::Target(oid) => {
                self.touch(Verb::Read, oid, None);
                if seen.masked {
                    return Err(masked_target());
                }
            }
            Origin::Proposed(oid) => self.touch(Verb::Read, oid, None),
            Origin::Derived => {}
        }
        Ok(seen)
    }

    /// One use of one column.
    pub(super) fn use_column(&mut self, item: &Item, col: &Col, bare: bool) -> Result<Seen, Refused> {
        match item.origin {
            Origin::Scan(oid) => self.touch(Verb::Read, oid, Some(&col.real)),
            Origin::Target(oid) => {
                self.touch(Verb::Read, oid, Some(&col.real));
                if col.masked {
                    return Err(masked_target());
                }
            }
            Origin::Proposed(_) if col.masked => return Err(masked_target()),
            // The server asks for the right to read it too: triggers and defaults may have filled it.
            Origin::Proposed(oid) => self.touch(Verb::Read, oid, Some(&col.real)),
            Origin::Derived => {}
        }
        if item.origin == Origin::Derived
            && item.open
            && self.ctx.masks.any()
            && let Some((relation, holds)) = super::from::closed(&col.real)
        {
            return Err(Refused::new(format!("column `{}` of {relation}, which holds {holds}", col.real))
                .hint("name the other columns, without `*`"));
        }
        if col.deny && !bare {
            return Err(Refused::new(format!("column `{}` may be an output only", col.real))
                .hint("name it alone in the outermost SELECT, without sorting, grouping or comparing it"));
        }
        Ok(Seen { masked: col.masked, method: col.method, derived: item.origin == Origin::Derived })
    }
}

/// Whether constants are compared with one column, and with nothing else.
fn compares(node: Node<'_>) -> bool {
    let Node::A_Expr(expr) = node else { return false };
    let (left, right) = (expr.lexpr(), expr.rexpr());
    (is_column(left) && is_constant(right)) || (is_column(right) && is_constant(left))
}

fn is_column(node: Node<'_>) -> bool {
    match node {
        Node::ColumnRef(column) => !matches!(column.fields().iter().next_back(), Some(Node::A_Star(_))),
        Node::TypeCast(cast) => is_column(cast.arg()),
        Node::CollateClause(collate) => is_column(collate.arg()),
        Node::FuncCall(call) => match call.args().iter().collect::<Vec<_>>().as_slice() {
            [argument] => {
                is_column(*argument)
                    && matches!(call.agg_filter(), Node::None)
                    && call.agg_order().is_empty()
                    && call.over().is_none()
            }
            _ => false,
        },
        _ => false,
    }
}

fn is_constant(node: Node<'_>) -> bool {
    match node {
        Node::A_Const(_) | Node::ParamRef(_) => true,
        Node::TypeCast(cast) => is_constant(cast.arg()),
        Node::CollateClause(collate) => is_constant(collate.arg()),
        Node::NodeList(list) => list.iter().all(is_constant),
        Node::A_ArrayExpr(array) => array.elements().iter().all(is_constant),
        _ => false,
    }
}

fn masked_target() -> Refused {
    Refused::new("a statement that changes a relation and reads a masked column of it")
        .hint("name other columns in WHERE and RETURNING, without `*`")
}
