//! INSERT, UPDATE and DELETE.
//!
//! The target of a change is never behind a template, so whatever the statement reads of it must not be masked.

use std::rc::Rc;

use pg_raw_parse::raw::{OnConflictAction, OverridingKind};
use pg_raw_parse::{Node, nodes};
use policy::operation::Verb;

use super::Resolver;
use super::from::aliased;
use super::merged::Brought;
use super::names::Named;
use super::query::Level;
use super::scope::{Ctes, Env, Item, Origin, Output};
use crate::catalog::{Relation, RelationKind};
use crate::refused::Refused;

impl<'c> Resolver<'c> {
    pub(crate) fn insert(
        &mut self,
        insert: &nodes::InsertStmt,
        parent: Option<&Env<'_>>,
        ctes: &Ctes,
    ) -> Result<Output, Refused> {
        let ctes = self.with_clause(insert.with_clause(), parent, ctes)?;
        let (relation, item) = self.change(insert.relation(), Verb::Create)?;
        if insert.override_ == OverridingKind::OVERRIDING_SYSTEM_VALUE {
            self.out.approve = true;
        }
        self.open(Verb::Create, relation.oid, None);
        let mut columns: Vec<String> = Vec::new();
        for col in insert.cols() {
            let Node::ResTarget(target) = col else { return Err(Refused::new("an INSERT column of an unknown form")) };
            let env = Env { parent, ctes: ctes.clone(), ..Env::default() };
            self.list(target.indirection().iter().filter(|n| !matches!(n, Node::String(_))), &env)?;
            columns.push(self.written(relation, target, Verb::Create)?);
        }
        if insert.cols().is_empty() {
            self.touch(Verb::Create, relation.oid, None);
            columns = relation.columns.iter().map(|c| c.name.clone()).collect();
        }
        self.source(insert, &item, &columns, parent, &ctes)?;
        let own = Env { parent, items: vec![item.clone()], ctes: ctes.clone(), merged: None };
        if let Some(conflict) = insert.on_conflict_clause() {
            self.conflict(conflict, relation, &item, &own, few_rows(insert.select_stmt(), self.ctx.catalog))?;
        }
        self.returning(insert.returning_clause(), &own)
    }

    /// The rows of an INSERT; what lands in a masked column is hidden.
    fn source(
        &mut self,
        insert: &nodes::InsertStmt,
        item: &Item,
        columns: &[String],
        parent: Option<&Env<'_>>,
        ctes: &Ctes,
    ) -> Result<(), Refused> {
        let masked = |name: &String| item.column(name).is_some_and(|c| c.masked);
        let Node::SelectStmt(select) = insert.select_stmt() else { return Ok(()) };
        let plain =
            !select.values_lists().is_empty() && select.with_clause().is_none() && select.sort_clause().is_empty();
        if !plain {
            self.select(select, parent, ctes, Level::Inner)?;
            self.out.hide_all |= columns.iter().any(masked);
            return Ok(());
        }
        let env = Env { parent, ctes: ctes.clone(), ..Env::default() };
        for row in select.values_lists() {
            for (i, value) in row.as_node_list().into_iter().flatten().enumerate() {
                let start = self.out.literals.len();
                self.expr(value, &env)?;
                if columns.get(i).is_none_or(masked) {
                    self.hide_from(start, true);
                }
            }
        }
        self.expr(select.limit_count(), &env)?;
        self.expr(select.limit_offset(), &env)?;
        Ok(())
    }

    fn conflict(
        &mut self,
        conflict: &nodes::OnConflictClause,
        relation: &Relation,
        item: &Item,
        own: &Env<'_>,
        few: bool,
    ) -> Result<(), Refused> {
        if let Some(infer) = conflict.infer() {
            for node in infer.index_elems() {
                let Node::IndexElem(elem) = node else { return Err(Refused::new("ON CONFLICT of an unknown form")) };
                if let Some(name) = elem.name() {
                    // Which rows are in conflict tells which values exist.
                    self.touch(Verb::Create, relation.oid, Some(name));
                }
                if !elem.opclass().is_empty() || !elem.opclassopts().is_empty() {
                    return Err(Refused::new("ON CONFLICT with an operator class"));
                }
                self.expr(elem.expr(), own)?;
            }
            self.expr(infer.where_clause(), own)?;
        }
        if conflict.action != OnConflictAction::ONCONFLICT_UPDATE {
            return Ok(());
        }
        self.open(Verb::Update, relation.oid, Some(few));
        let mut excluded = item.clone();
        excluded.uid = self.uid();
        excluded.name = Some("excluded".to_owned());
        excluded.origin = Origin::Proposed(relation.oid);
        excluded.plain = None;
        excluded.qualified_only = true;
        let env = Env { items: vec![item.clone(), excluded], ..own.clone() };
        self.assignments(relation, item, conflict.target_list(), &env)?;
        self.expr(conflict.where_clause(), &env)?;
        Ok(())
    }

    pub(crate) fn update(
        &mut self,
        update: &nodes::UpdateStmt,
        parent: Option<&Env<'_>>,
        ctes: &Ctes,
    ) -> Result<Output, Refused> {
        let ctes = self.with_clause(update.with_clause(), parent, ctes)?;
        let (relation, item) = self.change(update.relation(), Verb::Update)?;
        let brought = self.items_of(update.from_clause(), vec![item.clone()], parent, &ctes)?;
        let brought = Brought::one(item.clone()).and(brought);
        let env = Env { parent, items: brought.items, ctes, merged: brought.merged.map(Rc::new) };
        let within = self.bounds(&env, update.where_clause(), update.from_clause()).contains(&item.uid);
        self.open(Verb::Update, relation.oid, Some(within));
        self.assignments(relation, &item, update.target_list(), &env)?;
        self.expr(update.where_clause(), &env)?;
        self.returning(update.returning_clause(), &env)
    }

    pub(crate) fn delete(
        &mut self,
        delete: &nodes::DeleteStmt,
        parent: Option<&Env<'_>>,
        ctes: &Ctes,
    ) -> Result<Output, Refused> {
        let ctes = self.with_clause(delete.with_clause(), parent, ctes)?;
        let (relation, item) = self.change(delete.relation(), Verb::Delete)?;
        self.touch(Verb::Delete, relation.oid, None);
        let brought = self.items_of(delete.using_clause(), vec![item.clone()], parent, &ctes)?;
        let uid = item.uid;
        let brought = Brought::one(item).and(brought);
        let env = Env { parent, items: brought.items, ctes, merged: brought.merged.map(Rc::new) };
        let within = self.bounds(&env, delete.where_clause(), delete.using_clause()).contains(&uid);
        self.open(Verb::Delete, relation.oid, Some(within));
        self.expr(delete.where_clause(), &env)?;
        self.returning(delete.returning_clause(), &env)
    }

    /// The target of a change: a table, or a view, without rules.
    fn change(&mut self, range: Option<&nodes::RangeVar>, verb: Verb) -> Result<(&'c Relation, Item), Refused> {
        let range = range.ok_or_else(|| Refused::new("a change without a target"))?;
        self.weigh(verb);
        let Named::Relation(relation) = self.relation(range)? else {
            return Err(Refused::new("a change of a system catalog"));
        };
        if relation.rules {
            return Err(Refused::new(format!("a change of `{}`, which has rewrite rules", relation.display())));
        }
        match relation.kind {
            RelationKind::Table | RelationKind::Partitioned | RelationKind::View | RelationKind::Foreign => {}
            RelationKind::Materialized | RelationKind::Sequence => {
                return Err(Refused::new("a change of a materialized view or a sequence"));
            }
        }
        if verb != Verb::Create {
            self.one_partition(relation);
        }
        let mut item = self.base(relation, Origin::Target(relation.oid));
        if range.alias().is_none() {
            item.plain = Some(relation.oid);
        }
        Ok((relation, aliased(item, range.alias())?))
    }

    /// SET: the columns written, and what is read for it. Constants that land in a masked column are hidden.
    fn assignments<'a>(
        &mut self,
        relation: &Relation,
        item: &Item,
        targets: impl IntoIterator<Item = &'a nodes::ResTarget>,
        env: &Env<'_>,
    ) -> Result<(), Refused> {
        for target in targets {
            let name = self.written(relation, target, Verb::Update)?;
            let masked = item.cols.iter().any(|c| c.real == name && c.masked);
            let start = self.out.literals.len();
            self.list(target.indirection().iter().filter(|n| !matches!(n, Node::String(_))), env)?;
            if masked && proposed_itself(target.val(), &name) {
                self.touch(Verb::Read, relation.oid, Some(&name));
            } else {
                let seen = self.expr(target.val(), env)?;
                self.out.hide_all |= masked && (seen.derived || matches!(target.val(), Node::MultiAssignRef(_)));
            }
            if masked {
                self.hide_from(start, true);
            }
        }
        Ok(())
    }

    fn written(&mut self, relation: &Relation, target: &nodes::ResTarget, verb: Verb) -> Result<String, Refused> {
        let name = target.name().ok_or_else(|| Refused::new("a written column without a name"))?;
        if relation.column(name).is_none() {
            return Err(Refused::new(format!("column `{name}` of `{}` does not exist", relation.display()))
                .code(crate::refused::Code::UndefinedColumn));
        }
        self.touch(verb, relation.oid, Some(name));
        Ok(name.to_owned())
    }

    fn returning(&mut self, returning: Option<&nodes::ReturningClause>, env: &Env<'_>) -> Result<Output, Refused> {
        let mut output = Output::default();
        let Some(returning) = returning else { return Ok(output) };
        if !returning.options().is_empty() {
            return Err(Refused::new("RETURNING WITH"));
        }
        // `old` and `new` of PostgreSQL 18 are the target under other names.
        let mut env = env.clone();
        if self.ctx.catalog.version >= 180_000 {
            for name in ["old", "new"] {
                if env.named(name).is_empty()
                    && let Some(first) = env.items.first().cloned()
                {
                    let uid = self.uid();
                    let name = Some(name.to_owned());
                    env.items.push(Item { uid, name, plain: None, qualified_only: true, ..first });
                }
            }
        }
        for (i, node) in returning.exprs().iter().enumerate() {
            let Node::ResTarget(target) = node else { return Err(Refused::new("RETURNING of an unknown form")) };
            self.target(target, &env, Level::Inner, i, &mut output)?;
        }
        Ok(output)
    }
}

/// The rows are written out one by one, so no more than those are in conflict.
fn few_rows(source: Node<'_>, catalog: &crate::catalog::Catalog) -> bool {
    const SETS: [&str; 9] =
        ["series", "subscripts", "unnest", "_table", "_each", "_elements", "_keys", "_query", "matches"];
    let Node::SelectStmt(select) = source else { return matches!(source, Node::None) };
    if select.values_lists().is_empty() || select.op != pg_raw_parse::raw::SetOperation::SETOP_NONE {
        return false;
    }
    // One row of a function that returns a set is many.
    let set = |call: &nodes::FuncCall| {
        let name = call.funcname().iter().next_back().and_then(Node::as_str).unwrap_or_default();
        SETS.iter().any(|part| name.contains(part)) || catalog.functions.iter().any(|f| f.returns_set && f.name == name)
    };
    let mut many = false;
    let walked = crate::visit::walk(source, &crate::parse::Limits::default(), |visit| {
        many |= matches!(visit.node, Node::FuncCall(call) if set(call));
        Ok(crate::visit::Next::Into)
    });
    walked.is_ok() && !many
}

/// `SET c = excluded.c`: the agent's own value, whatever the mask.
fn proposed_itself(value: Node<'_>, column: &str) -> bool {
    let Node::ColumnRef(reference) = value else { return false };
    reference.fields().iter().map(Node::as_str).eq([Some("excluded"), Some(column)])
}
