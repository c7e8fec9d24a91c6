//! SELECT, VALUES, TABLE, set operations and WITH.

use std::rc::Rc;

use pg_raw_parse::raw::SetOperation;
use pg_raw_parse::{ConstValue, Node, nodes};
use policy::operation::Verb;

use super::Resolver;
use super::expression::Seen;
use super::names::strings;
use super::row::Shape;
use super::scope::{Col, Ctes, Env, Output};
use crate::outputs::Outputs;
use crate::refused::Refused;

/// Where a query stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Its outputs go to the agent as they are.
    Top,
    Inner,
}

impl<'c> Resolver<'c> {
    /// Walks a query and returns its columns.
    pub(crate) fn select(
        &mut self,
        select: &nodes::SelectStmt,
        parent: Option<&Env<'_>>,
        ctes: &Ctes,
        level: Level,
    ) -> Result<Output, Refused> {
        if select.into_clause().is_some() {
            return Err(Refused::new("SELECT INTO inside of another statement"));
        }
        let ctes = self.with_clause(select.with_clause(), parent, ctes)?;
        if select.op != SetOperation::SETOP_NONE {
            return self.set_operation(select, parent, &ctes);
        }
        let brought = self.items_of(select.from_clause(), Vec::new(), parent, &ctes)?;
        let env = Env { parent, items: brought.items, ctes, merged: brought.merged.map(Rc::new) };
        self.locks(select, &env)?;
        let output = self.targets(select, &env, level)?;
        self.expr(select.where_clause(), &env)?;
        self.by_output(select.group_clause(), &env, &output)?;
        self.expr(select.having_clause(), &env)?;
        self.list(select.window_clause(), &env)?;
        let rows = self.list(select.values_lists(), &env)?;
        // `DISTINCT` alone is a list that holds one null.
        self.by_output(select.distinct_clause(), &env, &output)?;
        let sorts: Vec<Node<'_>> = select.sort_clause().iter().map(Node::SortBy).collect();
        self.by_output(sorts, &env, &output)?;
        self.expr(select.limit_offset(), &env)?;
        self.expr(select.limit_count(), &env)?;
        if level == Level::Top && !select.distinct_clause().is_empty() && self.has_deny_outputs() {
            return Err(only_output());
        }
        if select.values_lists().is_empty() { Ok(output) } else { Ok(values(select, rows)) }
    }

    fn set_operation(
        &mut self,
        select: &nodes::SelectStmt,
        parent: Option<&Env<'_>>,
        ctes: &Ctes,
    ) -> Result<Output, Refused> {
        let (Some(larg), Some(rarg)) = (select.larg(), select.rarg()) else {
            return Err(Refused::new("a set operation with one side"));
        };
        if !select.locking_clause().is_empty() {
            return Err(Refused::new("a row lock on a set operation"));
        }
        let mut output = self.select(larg, parent, ctes, Level::Inner)?;
        let right = self.select(rarg, parent, ctes, Level::Inner)?;
        output.masked |= right.masked;
        for (i, col) in output.cols.iter_mut().enumerate() {
            // The type of both is another one than that of either side.
            col.shape = Shape::Unknown;
            col.masked |= right.open || right.cols.get(i).is_some_and(|c| c.masked);
            col.method = col.method.max(right.cols.get(i).and_then(|c| c.method).filter(|_| !right.open));
        }
        output.outputs = output.outputs.or(&right.outputs);
        // Rows are compared with each other, and with constants of the other side.
        if output.masked && !(select.op == SetOperation::SETOP_UNION && select.all) {
            self.out.hide_all = true;
        }
        let uid = self.uid();
        let item = output.item(uid, None);
        let env = Env { parent, items: vec![item], ctes: ctes.clone(), merged: None };
        let sorts: Vec<Node<'_>> = select.sort_clause().iter().map(Node::SortBy).collect();
        self.by_output(sorts, &env, &output)?;
        self.expr(select.limit_offset(), &env)?;
        self.expr(select.limit_count(), &env)?;
        Ok(output)
    }

    /// The common table expressions in scope of what a WITH clause belongs to.
    pub(super) fn with_clause(
        &mut self,
        with: Option<&nodes::WithClause>,
        parent: Option<&Env<'_>>,
        outer: &Ctes,
    ) -> Result<Ctes, Refused> {
        let Some(with) = with else { return Ok(outer.clone()) };
        let all: Vec<&nodes::CommonTableExpr> = with.ctes().iter().collect();
        let mut done = outer.clone();
        for (i, cte) in all.iter().enumerate() {
            self.work(all.len())?;
            // RECURSIVE sees itself and later siblings too, whose columns are not known yet.
            let visible = match with.recursive {
                true => all.iter().skip(i).try_fold(done.clone(), |ctes, later| {
                    Ok::<_, Refused>(ctes.with(cte_name(later)?, Rc::new(self.unknown(later)?)))
                })?,
                false => done.clone(),
            };
            let mut output = match cte.ctequery() {
                Node::SelectStmt(select) => self.select(select, parent, &visible, Level::Inner)?,
                Node::InsertStmt(insert) => self.insert(insert, parent, &visible)?,
                Node::UpdateStmt(update) => self.update(update, parent, &visible)?,
                Node::DeleteStmt(delete) => self.delete(delete, parent, &visible)?,
                other => return Err(Refused::new(format!("{} in a WITH clause", crate::visit::name(other)))),
            };
            if let Some(cycle) = cte.cycle_clause() {
                let env = Env { parent, ..Env::default() };
                self.expr(cycle.cycle_mark_value(), &env)?;
                self.expr(cycle.cycle_mark_default(), &env)?;
                output.open = true;
            }
            output.open |= cte.search_clause().is_some();
            let names: Vec<String> = strings(cte.aliascolnames())?.into_iter().map(str::to_owned).collect();
            let mut item = output.item(0, None);
            item.rename(&names);
            output.cols = item.cols.to_vec();
            done = done.with(cte_name(cte)?, Rc::new(output));
        }
        Ok(done)
    }

    /// A common table expression before its query was walked.
    fn unknown(&self, cte: &nodes::CommonTableExpr) -> Result<Output, Refused> {
        let masked = self.ctx.masks.any();
        let col = |name: &str| Col {
            name: name.to_owned(),
            real: name.to_owned(),
            masked,
            method: None,
            deny: false,
            shape: Shape::Unknown,
        };
        let cols = strings(cte.aliascolnames())?.into_iter().map(col).collect();
        let mut outputs = Outputs::default();
        outputs.push_unknown();
        Ok(Output { cols, outputs, open: true, masked })
    }

    /// The target list: its uses and the names of its columns.
    fn targets(&mut self, select: &nodes::SelectStmt, env: &Env<'_>, level: Level) -> Result<Output, Refused> {
        let mut output = Output::default();
        for (i, target) in select.target_list().iter().enumerate() {
            self.target(target, env, level, i.saturating_add(1), &mut output)?;
        }
        Ok(output)
    }

    pub(super) fn target(
        &mut self,
        target: &nodes::ResTarget,
        env: &Env<'_>,
        level: Level,
        position: usize,
        output: &mut Output,
    ) -> Result<Seen, Refused> {
        let bare = level == Level::Top;
        let seen = match target.val() {
            Node::ColumnRef(column) => self.column_ref(column, env, bare)?,
            other => self.expr(other, env)?,
        };
        if let Node::ColumnRef(column) = target.val() {
            if bare && seen.masked {
                self.note_deny(column, target, env, position);
            }
            if matches!(column.fields().iter().next_back(), Some(Node::A_Star(_))) {
                self.star(column, env, output)?;
                return Ok(seen);
            }
        }
        output.outputs.push(seen.method);
        match target.name().map(str::to_owned).or_else(|| figured(target.val())) {
            Some(name) => {
                let shape = self.shape(target.val(), env)?;
                output.push_shaped(&name, seen.masked, seen.method, shape);
            }
            None => {
                output.open = true;
                output.masked |= seen.masked;
            }
        }
        Ok(seen)
    }

    /// Remembers outputs of columns that may be nothing else.
    fn note_deny(&mut self, column: &nodes::ColumnRef, target: &nodes::ResTarget, env: &Env<'_>, position: usize) {
        let deny: Vec<String> =
            env.items.iter().flat_map(|i| i.cols.iter()).filter(|c| c.deny).map(|c| c.name.clone()).collect();
        let last = column.fields().iter().next_back();
        let star = matches!(last, Some(Node::A_Star(_)));
        let name = last.and_then(Node::as_str).unwrap_or_default();
        if star {
            self.out.deny_outputs.extend(deny.into_iter().map(|n| (position, n)));
        } else if deny.iter().any(|n| n == name) {
            self.out.deny_outputs.push((position, target.name().unwrap_or(name).to_owned()));
        }
    }

    pub(super) fn has_deny_outputs(&self) -> bool {
        !self.out.deny_outputs.is_empty()
    }

    /// ORDER BY, GROUP BY and DISTINCT ON, where a bare name may also mean an output.
    fn by_output<'a>(
        &mut self,
        nodes: impl IntoIterator<Item = Node<'a>>,
        env: &Env<'_>,
        output: &Output,
    ) -> Result<(), Refused> {
        for node in nodes {
            let inner = match node {
                Node::SortBy(sort) => sort.node(),
                other => other,
            };
            self.work(output.cols.len())?;
            if self.has_deny_outputs() && self.means_output(inner) {
                return Err(only_output());
            }
            if let Node::ColumnRef(column) = inner
                && let [name] = strings(column.fields().iter().filter(|f| !matches!(f, Node::A_Star(_))))?.as_slice()
                && (output.open || output.cols.iter().any(|c| c.name == *name))
                && env.column(name).hits.is_empty()
                && env.named(name).is_empty()
            {
                continue;
            }
            self.expr(node, env)?;
        }
        Ok(())
    }

    /// Whether a sort or group key is an output that may be nothing but an output, by position or name.
    fn means_output(&self, key: Node<'_>) -> bool {
        match key {
            Node::A_Const(constant) => match constant.val() {
                Some(ConstValue::Integer(i)) => {
                    let first = self.out.deny_outputs.iter().map(|(p, _)| *p).min().unwrap_or(usize::MAX);
                    // A star before it moves the positions: from the first one on, all are suspect.
                    usize::try_from(i).is_ok_and(|i| i >= first)
                }
                _ => false,
            },
            Node::ColumnRef(column) => {
                let name = column.fields().iter().next_back().and_then(Node::as_str).unwrap_or_default();
                self.out.deny_outputs.iter().any(|(_, n)| n == name)
            }
            // Each key inside means what it would mean alone; GROUP BY takes a row in parentheses for its members.
            Node::GroupingSet(set) => set.content().iter().any(|inner| self.means_output(inner)),
            Node::RowExpr(row) => row.args().iter().any(|inner| self.means_output(inner)),
            _ => false,
        }
    }

    /// FOR UPDATE and its weaker forms change what other sessions can do: Update on all that FROM reads.
    fn locks(&mut self, select: &nodes::SelectStmt, env: &Env<'_>) -> Result<(), Refused> {
        if select.locking_clause().is_empty() {
            return Ok(());
        }
        for lock in select.locking_clause() {
            for relation in lock.locked_rels() {
                let Node::RangeVar(range) = relation else {
                    return Err(Refused::new("a row lock on something that is not a relation"));
                };
                self.edit_range(range, super::RangeEdit::Keep)?;
            }
        }
        let bounded = self.bounds(env, select.where_clause(), select.from_clause());
        for item in &env.items {
            match item.origin {
                super::scope::Origin::Scan(oid) => {
                    // The server locks what a sub-select reads; a mask would hide which rows.
                    if self.ctx.masks.relation(oid).is_some() {
                        return Err(Refused::new("a row lock on a relation with masked columns"));
                    }
                    self.open(Verb::Update, oid, Some(bounded.contains(&item.uid)));
                }
                // Locks reach into sub-queries.
                _ => return Err(Refused::new("a row lock on something that is not a table").hint("lock tables only")),
            }
        }
        Ok(())
    }
}

fn only_output() -> Refused {
    Refused::new("sorting, grouping or comparing a column that may be an output only")
}

fn cte_name(cte: &nodes::CommonTableExpr) -> Result<&str, Refused> {
    cte.ctename().ok_or_else(|| Refused::new("a WITH query without a name"))
}

/// The name that the server gives to an output without one, where it is certain.
fn figured(node: Node<'_>) -> Option<String> {
    match node {
        Node::ColumnRef(column) => column.fields().iter().next_back()?.as_str().map(str::to_owned),
        Node::FuncCall(call) => call.funcname().iter().next_back()?.as_str().map(str::to_owned),
        Node::TypeCast(cast) => match cast.arg() {
            inner @ (Node::ColumnRef(_) | Node::FuncCall(_)) => figured(inner),
            _ => None,
        },
        Node::CollateClause(collate) => figured(collate.arg()),
        _ => None,
    }
}

/// The columns of VALUES.
fn values(select: &nodes::SelectStmt, seen: Seen) -> Output {
    let width = select.values_lists().iter().filter_map(|row| row.as_node_list().map(|l| l.len())).max().unwrap_or(0);
    let mut output = Output::default();
    // Which of them the masked values are in was not looked at.
    (1..=width).for_each(|i| output.push(&format!("column{i}"), seen.masked, None));
    match seen.method {
        None => (0..width).for_each(|_| output.outputs.push(None)),
        Some(_) => output.outputs.push_unknown(),
    }
    output
}
