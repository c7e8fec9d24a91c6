//! Stars and whole rows: where a column could come through that the catalog does not know yet.
//!
//! Masks go by names, so a column that was added or renamed after the catalog was read may need one. Invariant: while any
//! mask is in force, no star and no whole row of a relation is left to the server. A star in a target list is written out
//! as the columns that are known; a relation whose whole row is used otherwise (in an expression, by NATURAL, by merged or
//! renamed columns) is read through a template, masked or not. Of a relation that is changed a whole row is refused.

use pg_raw_parse::{Node, nodes};

use super::Resolver;
use super::names::strings;
use super::scope::{Env, Item, Origin, Output};
use crate::builtin::is_system_schema;
use crate::catalog::Relation;
use crate::refused::Refused;

/// One output, or all of one item, that stands for a part of a star.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) names: Vec<String>,
    /// `names.*`: of an item whose columns cannot be others than those that were judged.
    pub(crate) star: bool,
}

impl Item {
    /// A relation that the statement reads or changes as it is.
    pub(super) fn is_bare(&self) -> bool {
        !self.substituted && self.origin != Origin::Derived
    }
}

impl Resolver<'_> {
    /// Whether a relation that is read is replaced by a sub-select.
    pub(super) fn stands_behind_template(&self, relation: &Relation, range: &nodes::RangeVar) -> bool {
        // `AS t(a, b)` names columns by their position: which ones they are must be certain.
        let renamed = || range.alias().is_some_and(|alias| !alias.colnames().is_empty());
        self.ctx.masks.relation(relation.oid).is_some()
            || (self.ctx.masks.any() && (self.listed.contains(&range.location) || renamed()))
    }

    /// The whole row of an item is used where no list of columns can stand.
    pub(super) fn exposed(&mut self, item: &Item) -> Result<(), Refused> {
        self.certain(item, || {
            Refused::new("a whole row of a relation that is changed, where columns are masked")
                .hint("name its columns, or a `*` of its own in RETURNING")
        })
    }

    /// A star that is not an output by itself: `ROW(t.*)`, `f(t.*)`.
    pub(super) fn star_in_expression(&mut self, column: &nodes::ColumnRef, env: &Env<'_>) -> Result<(), Refused> {
        if !self.ctx.masks.any() || !ends_in_star(column) {
            return Ok(());
        }
        let (_, items) = self.star_items(column, env)?;
        items.into_iter().try_for_each(|item| self.exposed(item))
    }

    /// A star in a target list: its columns, and how they are written.
    pub(super) fn star(
        &mut self,
        column: &nodes::ColumnRef,
        env: &Env<'_>,
        output: &mut Output,
    ) -> Result<(), Refused> {
        let (names, items) = self.star_items(column, env)?;
        output.open |= env.merged.is_some() && names.is_empty();
        match &env.merged {
            Some(star) if names.is_empty() => match star.as_ref() {
                Some(columns) => columns.iter().for_each(|(_, method)| output.outputs.push(*method)),
                None => output.outputs.push_unknown(),
            },
            _ => items.iter().for_each(|item| output.outputs.append(&item.outputs)),
        }
        for item in &items {
            output.open |= item.open;
            output.masked |= item.open_masked;
            if output.cols.len().saturating_add(item.cols.len()) > super::MAX_COLUMNS {
                return Err(Refused::new(format!("a query with more than {} columns", super::MAX_COLUMNS)));
            }
            self.work(item.cols.len())?;
            item.cols.iter().for_each(|c| output.push_shaped(&c.name, c.masked, c.method, c.shape.clone()));
        }
        if !self.ctx.masks.any() || !items.iter().any(|item| item.is_bare()) {
            return Ok(());
        }
        // `t.name` could be a function: a template, and in the walk with it a star.
        let calls = |item: &&&Item| matches!(item.origin, Origin::Scan(_)) && item.is_bare() && self.calls(item);
        let templates: Vec<&Item> = items.iter().filter(calls).copied().collect();
        templates.into_iter().try_for_each(|item| self.exposed(item))?;
        match self.written_out(&names, &items, env) {
            // `TABLE t` has no star in the text.
            Some(outputs) if column.location >= 0 => _ = self.out.edits.stars.insert(column.location, outputs),
            _ => items.into_iter().try_for_each(|item| self.exposed(item))?,
        }
        Ok(())
    }

    /// Whether a column of the item has the name of a function that takes a row.
    fn calls(&self, item: &Item) -> bool {
        item.cols.iter().any(|col| self.ctx.catalog.row_call(&col.real).is_some())
    }

    /// The outputs that the server would make of the star, if names alone can say them.
    fn written_out(&self, names: &[&str], items: &[&Item], env: &Env<'_>) -> Option<Vec<Listed>> {
        let mut outputs = Vec::new();
        for item in items {
            let before: Vec<String> = match names {
                // The order of merged columns is not that of the items.
                [] if env.merged.is_some() => return None,
                [] => {
                    let name = item.name.as_ref()?;
                    let alone = items.iter().filter(|other| other.name.as_ref() == Some(name)).count() == 1;
                    match item.plain.and_then(|oid| self.ctx.catalog.relation(oid)) {
                        _ if alone => vec![name.clone()],
                        Some(relation) if item.is_bare() => vec![relation.schema.clone(), relation.name.clone()],
                        _ => return None,
                    }
                }
                _ if items.len() != 1 => return None,
                given => given.iter().map(|name| (*name).to_owned()).collect(),
            };
            if !item.is_bare() || (matches!(item.origin, Origin::Scan(_)) && self.calls(item)) {
                outputs.push(Listed { names: before, star: true });
                continue;
            }
            // No columns cannot be written as names.
            item.cols.first()?;
            for col in item.cols.iter() {
                let mut names = before.clone();
                if self.ctx.catalog.row_call(&col.name).is_some() {
                    if !self.means_alone(&col.name, env) {
                        return None;
                    }
                    names.clear();
                }
                names.push(col.name.clone());
                outputs.push(Listed { names, star: false });
            }
        }
        Some(outputs)
    }

    /// The names before a star, and what it stands for.
    fn star_items<'c, 'e>(
        &self,
        column: &'c nodes::ColumnRef,
        env: &'e Env<'_>,
    ) -> Result<(Vec<&'c str>, Vec<&'e Item>), Refused> {
        let names = strings(column.fields().iter().filter(|field| !matches!(field, Node::A_Star(_))))?;
        let items = match names.as_slice() {
            [] => env.items.iter().filter(|i| !i.qualified_only).collect(),
            // With a schema another relation may be meant than by the bare name.
            [schema, name] if !is_system_schema(schema) => {
                let relation = self.ctx.catalog.find(schema, name);
                relation.map(|relation| env.plain(relation.oid)).unwrap_or_default()
            }
            [.., name] => env.named(name),
        };
        Ok((names, items))
    }
}

fn ends_in_star(column: &nodes::ColumnRef) -> bool {
    matches!(column.fields().iter().next_back(), Some(Node::A_Star(_)))
}
