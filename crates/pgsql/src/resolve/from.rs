//! FROM clauses: which items they bring into scope.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pg_raw_parse::{Node, nodes};
use policy::InPredicates;
use policy::operation::Verb;

use super::expression::Seen;
use super::merged::Brought;
use super::names::{Named, strings};
use super::query::Level;
use super::row::Shape;
use super::scope::{Col, Ctes, Env, Item, Origin, Output};
use super::{RangeEdit, Resolver};
use crate::bounded::Bounds;
use crate::builtin::is_system_schema;
use crate::catalog::Relation;
use crate::functions::{columns_of, is_scalar_set};
use crate::mask::expression::in_effect;
use crate::outputs::Outputs;
use crate::refused::Refused;

/// Columns of system catalogs that are closed while masks are in force, and what they hold.
const CLOSED: &[(&str, &str, &str)] = &[
    // What rows older than the column have in it.
    ("pg_attribute", "attmissingval", "values of columns"),
    // It may hold keys of what the columns hold.
    ("pg_proc", "prosqlbody", "the source of a function"),
    ("pg_proc", "prosrc", "the source of a function"),
    ("routines", "routine_definition", "the source of a function"),
];

/// Of a column that may be one of a system catalog: which one it is, and what it holds.
pub(super) fn closed(column: &str) -> Option<(&'static str, &'static str)> {
    CLOSED.iter().find(|(_, name, _)| *name == column).map(|(relation, _, holds)| (*relation, *holds))
}

/// Whether a row of it has such a column.
pub(super) fn holds_closed(item: &Item) -> bool {
    CLOSED.iter().any(|(_, name, _)| item.column(name).is_some())
}

impl<'c> Resolver<'c> {
    /// All items of a FROM clause. Those to the left are visible to LATERAL items to the right.
    pub(super) fn items_of<'a>(
        &mut self,
        nodes: impl IntoIterator<Item = Node<'a>>,
        mut left: Vec<Item>,
        parent: Option<&Env<'_>>,
        ctes: &Ctes,
    ) -> Result<Brought, Refused> {
        let mut out = Brought::default();
        for node in nodes {
            self.work(left.len())?;
            let brought = self.item_of(node, &left, parent, ctes)?;
            left.extend(brought.items.iter().cloned());
            out = out.and(brought);
        }
        apart(&left)?;
        Ok(out)
    }

    fn item_of(
        &mut self,
        node: Node<'_>,
        left: &[Item],
        parent: Option<&Env<'_>>,
        ctes: &Ctes,
    ) -> Result<Brought, Refused> {
        let lateral = || Env { parent, items: left.to_vec(), ctes: ctes.clone(), merged: None };
        let item = match node {
            Node::RangeVar(range) => self.scan(range, parent, ctes)?,
            Node::RangeSubselect(sub) => {
                let Node::SelectStmt(select) = sub.subquery() else {
                    return Err(Refused::new("a sub-query in FROM that is not a SELECT"));
                };
                let output = if sub.lateral {
                    let env = lateral();
                    self.select(select, Some(&env), ctes, Level::Inner)?
                } else {
                    self.select(select, parent, ctes, Level::Inner)?
                };
                let uid = self.uid();
                aliased(output.item(uid, None), sub.alias())?
            }
            Node::RangeFunction(function) => {
                let env = lateral();
                self.range_function(function, &env)?
            }
            Node::JoinExpr(join) => return self.join(join, left, parent, ctes),
            Node::RangeTableSample(sample) => {
                let Node::RangeVar(range) = sample.relation() else {
                    return Err(Refused::new("TABLESAMPLE of something that is not a relation"));
                };
                let item = self.scan(range, parent, ctes)?;
                if item.substituted {
                    return Err(Refused::new("TABLESAMPLE on a relation with masked columns or used as a whole row"));
                }
                let method = strings(sample.method())?;
                if !matches!(method.as_slice(), ["system" | "bernoulli"]) {
                    return Err(Refused::new("a TABLESAMPLE method other than system and bernoulli"));
                }
                let env = lateral();
                for arg in sample.args() {
                    self.expr(arg, &env)?;
                }
                self.expr(sample.repeatable(), &env)?;
                item
            }
            other => return Err(Refused::new(format!("{} in a FROM clause", crate::visit::name(other)))),
        };
        Ok(Brought::one(item))
    }

    /// A relation or a common table expression that is read.
    fn scan(&mut self, range: &nodes::RangeVar, parent: Option<&Env<'_>>, ctes: &Ctes) -> Result<Item, Refused> {
        let uid = self.uid();
        let name = range.relname().map(str::to_owned);
        let item = match self.range(range, ctes)? {
            Named::Cte(output) => output.item(uid, name),
            Named::Catalog(schema, relation) => {
                let mut output = Output { open: true, ..Output::default() };
                output.outputs.push_unknown();
                for (_, column, _) in CLOSED.iter().filter(|(of, ..)| *of == relation && self.ctx.masks.any()) {
                    if range.alias().is_some_and(|a| !a.colnames().is_empty()) {
                        return Err(Refused::new(format!("{relation} under other names for its columns")));
                    }
                    output.push(column, false, None);
                }
                self.out.catalogs.insert((schema, relation));
                self.weigh(Verb::Read);
                output.item(uid, name)
            }
            Named::Relation(relation) => {
                self.open(Verb::Read, relation.oid, None);
                self.weigh(Verb::Read);
                self.one_partition(relation);
                let mut item = self.base(relation, Origin::Scan(relation.oid));
                item.at = Some(range.location);
                if self.stands_behind_template(relation, range) {
                    self.edit_range(range, RangeEdit::Template { oid: relation.oid, only: !range.inh })?;
                    self.template_reads(relation, parent)?;
                    self.out.substituted.insert(relation.oid);
                    item.substituted = true;
                }
                if range.alias().is_none() {
                    item.plain = Some(relation.oid);
                }
                item
            }
        };
        self.work(item.cols.len())?;
        aliased(item, range.alias())
    }

    /// Which rows one partition has tells of the masked values that put them there: a person decides.
    pub(crate) fn one_partition(&mut self, relation: &Relation) {
        self.out.approve |= relation.partition && self.ctx.masks.divides(relation.oid);
    }

    /// An item with the columns of a relation.
    pub(crate) fn base(&mut self, relation: &Relation, origin: Origin) -> Item {
        let masks = self.ctx.masks.relation(relation.oid);
        let mut outputs = Outputs::default();
        let cols: Rc<[Col]> = relation
            .columns
            .iter()
            .map(|column| {
                let mask = masks.and_then(|m| m.columns.get(&column.attnum));
                Col {
                    name: column.name.clone(),
                    real: column.name.clone(),
                    masked: mask.is_some(),
                    method: mask.map(|mask| in_effect(mask, column)),
                    deny: mask.is_some_and(|m| m.in_predicates == InPredicates::Deny),
                    shape: Shape::of(self.ctx.catalog, column),
                }
            })
            .collect();
        cols.iter().for_each(|col| outputs.push(col.method));
        Item {
            uid: self.uid(),
            name: Some(relation.name.clone()),
            plain: None,
            origin,
            cols,
            outputs: Rc::new(outputs),
            open: false,
            open_masked: false,
            qualified_only: false,
            function: false,
            substituted: false,
            at: None,
        }
    }

    /// The items of this level that WHERE and the joins of FROM bound.
    pub(super) fn bounds<'a>(
        &mut self,
        env: &Env<'_>,
        condition: Node<'a>,
        from: impl IntoIterator<Item = Node<'a>>,
    ) -> BTreeSet<u32> {
        let catalog = self.ctx.catalog;
        let mut inner = |select: &nodes::SelectStmt| {
            let mut items = Vec::new();
            select.from_clause().iter().for_each(|node| self.outline(node, &env.ctes, &mut items));
            items
        };
        Bounds { catalog, items: &env.items, inner: &mut inner }.bounded(condition, from)
    }

    /// The items of a FROM clause by their names, with the columns of relations and common table expressions only.
    fn outline(&mut self, node: Node<'_>, ctes: &Ctes, items: &mut Vec<Item>) {
        let uid = self.uid();
        let unknown = |alias: Option<&nodes::Alias>| {
            Output { open: true, ..Output::default() }
                .item(uid, alias.and_then(nodes::Alias::aliasname).map(str::to_owned))
        };
        let item = match node {
            Node::RangeVar(range) => {
                let name = range.relname().unwrap_or_default();
                let catalog = self.ctx.catalog;
                let cte = if range.schemaname().is_none() { ctes.find(name) } else { None };
                let relation = match range.schemaname() {
                    Some(schema) => catalog.find(schema, name),
                    None => catalog.find_in_path(name),
                };
                let item = match (cte, relation) {
                    (Some(output), _) => output.item(uid, Some(name.to_owned())),
                    (None, Some(relation)) => {
                        let plain = range.alias().is_none().then_some(relation.oid);
                        Item { plain, ..self.base(relation, Origin::Scan(relation.oid)) }
                    }
                    (None, None) => unknown(None),
                };
                aliased(item, range.alias()).unwrap_or_else(|_| unknown(None))
            }
            Node::JoinExpr(join) if join.alias().is_none() => {
                self.outline(join.larg(), ctes, items);
                self.outline(join.rarg(), ctes, items);
                return;
            }
            Node::RangeSubselect(sub) => unknown(sub.alias()),
            _ => unknown(None),
        };
        items.push(item);
    }

    /// A function in FROM. Its columns are those that it surely has; nothing else of it is ever taken for one.
    fn range_function(&mut self, function: &nodes::RangeFunction, env: &Env<'_>) -> Result<Item, Refused> {
        let mut name: Option<&str> = None;
        let mut seen = Seen::default();
        let mut pairs = 0_usize;
        let mut columns: Vec<&str> = Vec::new();
        for pair in function.functions() {
            let Node::NodeList(pair) = pair else {
                return Err(Refused::new("a function in FROM of an unknown form"));
            };
            pairs = pairs.saturating_add(1);
            for part in pair {
                match part {
                    Node::NodeList(definitions) => {
                        for definition in definitions {
                            columns.push(self.definition(definition)?);
                        }
                    }
                    Node::None => {}
                    call => {
                        seen = seen.and(self.expr(call, env)?);
                        if let Node::FuncCall(call) = call {
                            let names = strings(call.funcname())?;
                            name = names.last().copied();
                            columns.extend(known_columns(&names, function.alias()));
                        }
                    }
                }
            }
        }
        for definition in function.coldeflist() {
            columns.push(self.definition(Node::ColumnDef(definition))?);
        }
        let uid = self.uid();
        let mut output = Output { open: true, masked: seen.masked, ..Output::default() };
        output.outputs.push_unknown();
        if pairs != 1 {
            (name, columns) = (None, Vec::new());
        }
        columns.iter().for_each(|column| output.push(column, seen.masked, seen.method));
        let mut item = output.item(uid, name.map(str::to_owned));
        item.function = true;
        aliased(item, function.alias())
    }

    /// `name type` of a function that returns records.
    fn definition<'a>(&mut self, node: Node<'a>) -> Result<&'a str, Refused> {
        match node {
            Node::ColumnDef(def) if def.constraints().is_empty() => match (def.type_name(), def.colname()) {
                (Some(type_name), Some(name)) => self.type_name(type_name).map(|()| name),
                _ => Err(Refused::new("a column definition without a name or a type")),
            },
            _ => Err(Refused::new("a column definition of an unknown form")),
        }
    }

    fn join(
        &mut self,
        join: &nodes::JoinExpr,
        left: &[Item],
        parent: Option<&Env<'_>>,
        ctes: &Ctes,
    ) -> Result<Brought, Refused> {
        let larg = self.item_of(join.larg(), left, parent, ctes)?;
        let mut both_left = left.to_vec();
        both_left.extend(larg.items.iter().cloned());
        let rarg = self.item_of(join.rarg(), &both_left, parent, ctes)?;
        let mut using = Vec::new();
        let natural = join.is_natural.then(|| self.natural(&larg.items, &rarg.items)).transpose()?;
        for name in join.using_clause() {
            let name = name.sval().ok_or_else(|| Refused::new("USING of something that is not a column"))?;
            using.push(name.to_owned());
            self.merge(&larg.items, &rarg.items, name)?;
        }
        self.work(larg.width().saturating_add(rarg.width()))?;
        let Brought { mut items, merged } = match natural {
            Some(common) => larg.merge(rarg, common.as_deref()),
            None if !using.is_empty() => larg.merge(rarg, Some(&using)),
            None => larg.and(rarg),
        };
        {
            // ON sees the two sides and the outer levels, not the siblings to the left.
            let env = Env { parent, items: items.clone(), ctes: ctes.clone(), merged: merged.clone().map(Rc::new) };
            self.expr(join.quals(), &env)?;
        }
        if let Some(alias) = join.join_using_alias() {
            let mut output = Output::default();
            for name in &using {
                let masked = items.iter().any(|i| i.column(name).is_some_and(|c| c.masked) || i.open_masked);
                output.push(name, masked, items.iter().filter_map(|i| i.column(name)?.method).max());
            }
            let uid = self.uid();
            let mut item = output.item(uid, alias.aliasname().map(str::to_owned));
            item.qualified_only = true;
            items.push(item);
        }
        let Some(alias) = join.alias() else { return Ok(Brought { items, merged }) };
        apart(&items)?;
        // The alias hides the names inside; its columns are not traced, so all of them count.
        let mut output = Output { open: merged.is_some(), ..Output::default() };
        match &merged {
            None => items.iter().filter(|i| !i.qualified_only).for_each(|i| output.outputs.append(&i.outputs)),
            Some(Some(star)) => star.iter().for_each(|(_, method)| output.outputs.push(*method)),
            Some(None) => output.outputs.push_unknown(),
        }
        for item in &items {
            self.whole(item, false)?;
            self.exposed(item)?;
            output.open |= item.open;
            output.masked |= item.open_masked;
            item.cols.iter().filter(|_| !item.qualified_only).for_each(|c| output.push(&c.name, c.masked, c.method));
        }
        let uid = self.uid();
        let item = aliased(output.item(uid, None), Some(alias))?;
        Ok(Brought::one(item))
    }

    /// Columns of the same name on both sides are compared: these, where all are known.
    fn natural(&mut self, left: &[Item], right: &[Item]) -> Result<Option<Vec<String>>, Refused> {
        // Columns that are not known yet would be compared too.
        left.iter().chain(right).try_for_each(|i| self.exposed(i))?;
        if left.iter().chain(right).any(|i| i.open) {
            self.operator(&["="])?;
            left.iter().chain(right).try_for_each(|i| self.whole(i, false).map(drop))?;
            return Ok(None);
        }
        let known: BTreeSet<&str> = right.iter().flat_map(|i| i.cols.iter()).map(|c| c.name.as_str()).collect();
        let names: Vec<String> = left
            .iter()
            .flat_map(|i| i.cols.iter())
            .filter(|c| known.contains(c.name.as_str()))
            .map(|c| c.name.clone())
            .collect();
        names.iter().try_for_each(|name| self.merge(left, right, name))?;
        Ok(Some(names))
    }

    fn merge(&mut self, left: &[Item], right: &[Item], name: &str) -> Result<(), Refused> {
        self.operator(&["="])?;
        self.work(left.iter().chain(right).map(|i| i.cols.len()).sum())?;
        self.both_have(left, right, name)?;
        let mut masked = false;
        let mut derived = false;
        for item in left.iter().chain(right) {
            if let Some(col) = item.column(name) {
                let seen = self.use_column(item, col, false)?;
                masked |= seen.masked;
                derived |= seen.derived;
            } else {
                derived |= item.open;
                masked |= item.open_masked;
            }
        }
        self.out.hide_all |= masked && derived;
        Ok(())
    }
}

/// A template has the name that the relation had, and the server tells relations of one name apart by their schemas only.
fn apart(items: &[Item]) -> Result<(), Refused> {
    let mut seen: BTreeMap<&str, bool> = BTreeMap::new();
    for item in items {
        let Some(name) = item.name.as_deref() else { continue };
        if let Some(other) = seen.insert(name, item.substituted)
            && (other || item.substituted)
        {
            return Err(Refused::new(format!("two relations of the name `{name}`, where columns are masked"))
                .hint("use aliases"));
        }
    }
    Ok(())
}

/// The columns of a built-in function in FROM, where the list has them.
fn known_columns<'a>(names: &[&'a str], alias: Option<&'a nodes::Alias>) -> Vec<&'a str> {
    let (builtin, name) = match names {
        [name] => (true, *name),
        [schema, name] => (is_system_schema(schema), *name),
        _ => (false, ""),
    };
    match columns_of(name) {
        Some(columns) if builtin => columns.to_vec(),
        _ if builtin && is_scalar_set(name) => vec![alias.and_then(nodes::Alias::aliasname).unwrap_or(name)],
        _ => Vec::new(),
    }
}

/// The item under its alias and the alias's column names.
pub(super) fn aliased(mut item: Item, alias: Option<&nodes::Alias>) -> Result<Item, Refused> {
    if let Some(alias) = alias {
        item.name = alias.aliasname().map(str::to_owned);
        let names: Vec<String> = strings(alias.colnames())?.into_iter().map(str::to_owned).collect();
        item.rename(&names);
    }
    Ok(item)
}
