//! Names that would mean something else if a table has changed since the catalog was read.
//!
//! The server takes a bare name for a column of the nearest query that has one; if none has, for the whole row of the
//! item that is called so. It takes `t.name` for a column; if there is none, for a function on the whole row. So a column
//! that came, went or was renamed could turn a harmless name into a masked value. Invariant: while any mask is in force,
//! a relation for which that is possible is read through a template, whose columns are certain, or the statement is
//! refused. A relation that is changed has no template.

use pg_raw_parse::Node;

use super::Resolver;
use super::from::holds_closed;
use super::scope::{Env, Item, Origin};
use crate::catalog::Relation;
use crate::refused::Refused;
use crate::row_calls::RowCall;

impl Resolver<'_> {
    /// A bare name that means a column.
    pub(super) fn bare_may_change(&mut self, name: &str, env: &Env<'_>) -> Result<(), Refused> {
        if !self.ctx.masks.any() {
            return Ok(());
        }
        let levels: Vec<&Env<'_>> = env.levels().collect();
        self.work(levels.iter().flat_map(|l| &l.items).map(|i| i.cols.len().saturating_add(1)).sum())?;
        let found = levels.iter().position(|level| level.items.iter().any(|item| can_be(item, name)));
        // Beside the known one a new column would be ambiguous, in a nearer query it would come first.
        let last_open = || levels.iter().rposition(|level| level.items.iter().any(|item| item.open));
        let nearer = found.or_else(last_open).unwrap_or_default();
        for level in levels.iter().take(nearer) {
            self.none_gets(name, level)?;
        }
        // What a sub-query or a template shows under a name is certain.
        let may_go = |level: &&Env<'_>| level.items.iter().any(|item| can_be(item, name) && item.is_bare());
        match found {
            Some(level) if levels.get(level).is_some_and(may_go) => self.if_gone(name, env, level.saturating_add(1)),
            _ => Ok(()),
        }
    }

    /// A bare name that means a whole row: a new column of any relation in scope would come first.
    pub(super) fn row_may_change(
        &mut self,
        name: &str,
        at: i32,
        env: &Env<'_>,
        maybe_column: bool,
    ) -> Result<(), Refused> {
        if !self.ctx.masks.any() || !env.levels().flat_map(|level| &level.items).any(Item::is_bare) {
            return Ok(());
        }
        if !maybe_column && self.single.contains(&at) {
            // `name.*` is never a column.
            self.out.edits.rows.insert(at);
            return Ok(());
        }
        env.levels().try_for_each(|level| self.none_gets(name, level))
    }

    /// Remembers a bare name in a place where `name.*` means the whole row.
    pub(super) fn stands_single(&mut self, node: Node<'_>) {
        if let Node::ColumnRef(column) = node
            && column.location >= 0
            && column.fields().len() == 1
        {
            self.single.insert(column.location);
        }
    }

    /// No relation of one query may get a column of this name.
    fn none_gets(&mut self, name: &str, level: &Env<'_>) -> Result<(), Refused> {
        for item in level.items.iter().filter(|item| !item.qualified_only && !can_be(item, name)) {
            self.certain(item, || {
                Refused::new(format!("`{name}`, which could become a column of a relation that is changed"))
                    .hint("write a name and a dot before it; give a function in FROM names for its columns: AS f(x)")
            })?;
        }
        Ok(())
    }

    /// What a column is taken for if it is gone: one further out, else a whole row.
    fn if_gone(&mut self, name: &str, env: &Env<'_>, further: usize) -> Result<(), Refused> {
        let hidden = |item: &&Item| item.origin != Origin::Derived && !item.substituted && !item.qualified_only;
        let mut outer = env.levels().skip(further).flat_map(|level| &level.items).filter(hidden);
        if outer.any(|item| item.column(name).is_some_and(|column| column.masked)) {
            return Err(Refused::new(format!("`{name}` without the name of its table, beside a masked column"))
                .hint("write the table or its alias before it"));
        }
        for item in env.named(name) {
            if item.open && holds_closed(item) {
                return Err(Refused::new(format!("`{name}` as the name of a column and of a system catalog"))
                    .hint("use another alias"));
            }
            self.certain(item, || {
                Refused::new(format!("`{name}` as the name of a column and of a relation that is changed"))
                    .hint("use another alias, or write the table or its alias before the column")
            })?;
        }
        Ok(())
    }

    /// USING compares one column of each side and shows that of the left or the right one: which ones must be certain.
    pub(super) fn both_have(&mut self, left: &[Item], right: &[Item], name: &str) -> Result<(), Refused> {
        for side in [left, right] {
            if side.iter().any(|item| can_be(item, name)) {
                continue;
            }
            if !side.iter().any(|item| item.open) {
                return Err(Refused::new(format!("column `{name}` of USING does not exist on both sides"))
                    .code(crate::refused::Code::UndefinedColumn));
            }
            for item in side {
                self.certain(item, || Refused::new(format!("USING of `{name}`, which a changed relation could get")))?;
            }
        }
        Ok(())
    }

    /// `item.name`, of a known column.
    pub(super) fn qualified_may_change(&mut self, item: &Item, name: &str) -> Result<(), Refused> {
        match (self.ctx.catalog.row_call(name), item.origin) {
            (None, _) | (Some(RowCall::Aggregate), Origin::Target(_) | Origin::Proposed(_)) => Ok(()),
            (Some(_), _) => self.certain(item, || {
                Refused::new(format!("`{name}` with a table before it, which is the name of a function too"))
                    .hint("write the column alone")
            }),
        }
    }

    /// `item.name`, of an item whose columns are not all known: a function of a user runs with an access of its own.
    pub(super) fn unknown_may_call(&self, item: &Item, name: &str) -> Result<(), Refused> {
        let catalog = self.ctx.catalog;
        let holds_values = self.ctx.masks.any() && holds_closed(item);
        if catalog.user_row_call(name).is_some() || (holds_values && catalog.row_call(name).is_some()) {
            return Err(Refused::new(format!("`{name}` with a name before it, which is the name of a function too"))
                .hint("write it alone, or call the function as f(x)"));
        }
        Ok(())
    }

    /// The columns that a template writes alone must not be taken for something further out.
    pub(super) fn template_reads(&mut self, relation: &Relation, parent: Option<&Env<'_>>) -> Result<(), Refused> {
        let Some(env) = parent else { return Ok(()) };
        for column in relation.columns.iter().filter(|column| self.ctx.catalog.row_call(&column.name).is_some()) {
            self.work(env.levels().map(|level| level.items.len()).sum())?;
            self.if_gone(&column.name, env, 0)?;
        }
        Ok(())
    }

    /// Whether the columns of a changed relation can be listed without its name, one of which is `name`.
    pub(super) fn means_alone(&self, name: &str, env: &Env<'_>) -> bool {
        let found = env.column(name);
        env.parent.is_none() && !found.maybe && found.hits.len() == 1 && env.named(name).is_empty()
    }

    /// The columns of an item are those that were judged; a relation that is read gets a template for it.
    pub(super) fn certain(&mut self, item: &Item, refused: impl Fn() -> Refused) -> Result<(), Refused> {
        if !self.ctx.masks.any() || !item.is_bare() {
            return Ok(());
        }
        match (item.origin, item.at) {
            (Origin::Scan(_), Some(at)) => {
                self.out.exposed.insert(at);
                Ok(())
            }
            _ => Err(refused()),
        }
    }
}

/// Whether a bare name may mean a column of the item, as far as is known.
fn can_be(item: &Item, name: &str) -> bool {
    !item.qualified_only && item.column(name).is_some()
}
