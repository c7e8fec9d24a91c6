//! Writes the findings into a copy of the tree.
//!
//! Invariant: a tree comes out only if every `RangeVar` in it had an entry and every entry, those of stars and whole rows
//! included, was used; so no read of a masked relation can have been passed over. The templates themselves are not walked again.

use std::collections::{BTreeMap, BTreeSet};

use pg_raw_parse::make::{MemoryToken, PgStr, Unique, try_owned};
use pg_raw_parse::transform::{self, Assignable, Transform};
use pg_raw_parse::{Node, NodeMut, Owned, nodes};

use crate::catalog::Oid;
use crate::mask::expression::template;
use crate::parse::{Limits, Parsed, contained, parse};
use crate::plan::Context;
use crate::refused::Refused;
use crate::resolve::{Edits, Listed, RangeEdit};

type Templates = BTreeMap<(Oid, bool), Parsed>;

/// The copy, with relations qualified and masked ones replaced.
pub(crate) fn substitute(parsed: &Parsed, edits: &Edits, ctx: &Context<'_>) -> Result<Owned<nodes::RawStmt>, Refused> {
    let raw = parsed.raw().ok_or_else(|| Refused::new("no statement"))?;
    let mut templates = Templates::new();
    for edit in edits.ranges.values() {
        if let RangeEdit::Template { oid, only } = edit
            && !templates.contains_key(&(*oid, *only))
        {
            templates.insert((*oid, *only), parsed_template(*oid, *only, ctx)?);
        }
    }
    contained(|| {
        try_owned(|mem| {
            let mut copy = mem.make_unique(raw);
            let (done, written_out, rows) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            let mut apply = Apply { mem, edits, templates: &templates, done, written_out, rows, failed: None };
            apply.transform_raw_stmt(copy.as_mut());
            match apply.failed {
                Some(why) => Err(Refused::new(why)),
                None if apply.done.len() != edits.ranges.len()
                    || apply.written_out.len() != edits.stars.len()
                    || apply.rows.len() != edits.rows.len() =>
                {
                    Err(Refused::new("a relation, a star or a whole row that was found is not where it was found"))
                }
                None => Ok(copy),
            }
        })
    })
}

fn parsed_template(oid: Oid, only: bool, ctx: &Context<'_>) -> Result<Parsed, Refused> {
    let relation = ctx.catalog.relation(oid).ok_or_else(|| Refused::new("a relation that is not in the catalog"))?;
    // A table of 1,600 columns makes a template larger than any agent's statement may be.
    let limits = Limits { bytes: ctx.limits.bytes.saturating_mul(8), ..ctx.limits };
    parse(&template(ctx.catalog, relation, ctx.masks.relation(oid), only), &limits)
}

type Output<'mem> = Unique<'mem, &'mem nodes::ResTarget>;

struct Apply<'a, 'mem> {
    mem: MemoryToken<'mem>,
    edits: &'a Edits,
    templates: &'a Templates,
    done: BTreeSet<i32>,
    written_out: BTreeSet<i32>,
    rows: BTreeSet<i32>,
    failed: Option<&'static str>,
}

impl<'mem> Apply<'_, 'mem> {
    fn string(&self, text: &str) -> PgStr<'mem> {
        self.mem.copy_string(text)
    }

    /// The sub-select for one place, under the alias that the relation had or its name.
    fn stand_in(&mut self, range: &nodes::RangeVar) -> Option<pg_raw_parse::make::Unique<'mem, Node<'static>>> {
        let Some(RangeEdit::Template { oid, only }) = self.edits.ranges.get(&range.location) else { return None };
        let Some(Node::SelectStmt(select)) = self.templates.get(&(*oid, *only)).map(Parsed::root) else {
            self.failed = Some("a template that is not a SELECT");
            return None;
        };
        let alias = match range.alias() {
            Some(alias) => self.mem.make_unique(alias),
            None => {
                let mut alias = self.mem.make_node::<nodes::Alias>();
                alias.as_mut().set_aliasname(range.relname().map(|n| self.string(n)));
                alias
            }
        };
        let mut sub = self.mem.make_node::<nodes::RangeSubselect>();
        sub.as_mut().set_subquery(self.mem.make_unique(Node::SelectStmt(select)));
        sub.as_mut().set_alias(alias.as_option());
        self.done.insert(range.location);
        Some(sub.uncast())
    }

    /// The outputs that stand for a target, if it is a star that is written out.
    fn outputs(&mut self, target: Option<&nodes::ResTarget>) -> Option<Vec<Output<'mem>>> {
        let Node::ColumnRef(column) = target?.val() else { return None };
        let listed = self.edits.stars.get(&column.location)?;
        if !matches!(column.fields().iter().next_back(), Some(Node::A_Star(_))) {
            return None;
        }
        self.written_out.insert(column.location);
        Some(listed.iter().map(|one| self.output(one)).collect())
    }

    fn output(&self, listed: &Listed) -> Output<'mem> {
        let mut names: Vec<_> = listed.names.iter().map(|name| self.mem.make_string(Some(name)).uncast()).collect();
        if listed.star {
            names.push(self.mem.make_node::<nodes::A_Star>().uncast());
        }
        let column = self.mem.make_column_ref(self.mem.make_list(&names));
        self.mem.make_res_target(None, self.mem.empty(), column.uncast())
    }

    /// Puts a schema before the last name of a list of one.
    fn qualified(
        &self,
        schema: &str,
        name: Option<&str>,
    ) -> pg_raw_parse::make::Unique<'mem, &'mem pg_raw_parse::list::NodeList> {
        let schema = self.mem.make_string(Some(schema)).uncast();
        let name = self.mem.make_string(name).uncast();
        self.mem.make_list(&[schema, name])
    }
}

impl<'mem> Transform<'mem> for Apply<'_, 'mem> {
    fn transform_node<'r>(&mut self, node: Assignable<'mem, 'r>) {
        if let NodeMut::RangeVar(range) = &*node
            && let Some(new) = self.stand_in(range)
        {
            node.replace(new);
            return;
        }
        transform::transform_node(node.into_inner(), self);
    }

    fn transform_range_var<'r>(&mut self, mut node: nodes::RangeVarMut<'mem, 'r>) {
        match self.edits.ranges.get(&node.location) {
            Some(RangeEdit::Keep) => {}
            Some(RangeEdit::Qualify { schema }) => node.set_schemaname(Some(self.string(schema))),
            Some(RangeEdit::Template { .. }) => self.failed = Some("a masked relation where no sub-query can stand"),
            None => self.failed = Some("a relation at a place that is not known"),
        }
        self.done.insert(node.location);
    }

    fn transform_select_stmt<'r>(&mut self, mut node: nodes::SelectStmtMut<'mem, 'r>) {
        let mut targets = node.target_list_mut();
        let mut at = 0;
        while at < targets.len() {
            for (i, output) in self.outputs(targets.get(at)).into_iter().flatten().enumerate() {
                if i == 0 {
                    targets.set(at, output);
                } else {
                    at += 1;
                    targets.insert(self.mem, at, output);
                }
            }
            at += 1;
        }
        transform::transform_select_stmt(node, self);
    }

    fn transform_returning_clause<'r>(&mut self, mut node: nodes::ReturningClauseMut<'mem, 'r>) {
        let mut targets = node.exprs_mut();
        let mut at = 0;
        while at < targets.len() {
            let target = targets.get(at).and_then(|node| <&nodes::ResTarget>::try_from(node).ok());
            for (i, output) in self.outputs(target).into_iter().flatten().enumerate() {
                if i == 0 {
                    targets.set(at, output.uncast());
                } else {
                    at += 1;
                    targets.insert(self.mem, at, output.uncast());
                }
            }
            at += 1;
        }
        transform::transform_returning_clause(node, self);
    }

    fn transform_func_call<'r>(&mut self, mut node: nodes::FuncCallMut<'mem, 'r>) {
        if let Some(schema) = self.edits.functions.get(&node.location)
            && node.funcname().len() == 1
        {
            let names = self.qualified(schema, node.funcname().first().and_then(Node::as_str));
            node.set_funcname(names);
        }
        transform::transform_func_call(node, self);
    }

    fn transform_column_ref<'r>(&mut self, mut node: nodes::ColumnRefMut<'mem, 'r>) {
        if self.edits.columns.contains(&node.location) && node.fields().len() == 3 {
            let rest: Vec<_> = node.fields().iter().skip(1).map(|f| self.mem.make_unique(f)).collect();
            node.set_fields(self.mem.make_list(&rest));
        }
        if self.edits.rows.contains(&node.location) && node.fields().len() == 1 {
            let mut fields: Vec<_> = node.fields().iter().map(|f| self.mem.make_unique(f)).collect();
            fields.push(self.mem.make_node::<nodes::A_Star>().uncast());
            self.rows.insert(node.location);
            node.set_fields(self.mem.make_list(&fields));
        }
    }

    fn transform_type_name<'r>(&mut self, mut node: nodes::TypeNameMut<'mem, 'r>) {
        if let Some(schema) = self.edits.types.get(&node.location)
            && node.names().len() == 1
        {
            let name = self.mem.make_string(node.names().first().and_then(nodes::String::sval));
            let names = self.mem.make_list(&[self.mem.make_string(Some(schema)), name]);
            node.set_names(names);
        }
        transform::transform_type_name(node, self);
    }
}

/// The statement with every hidden constant shown as `'?'`.
pub(crate) fn hide(parsed: &Parsed, hidden: &BTreeSet<i32>) -> Result<Owned<nodes::RawStmt>, Refused> {
    let raw = parsed.raw().ok_or_else(|| Refused::new("no statement"))?;
    contained(|| {
        try_owned(|mem| {
            let mut copy = mem.make_unique(raw);
            Hide { mem, hidden }.transform_raw_stmt(copy.as_mut());
            Ok(copy)
        })
    })
}

struct Hide<'a, 'mem> {
    mem: MemoryToken<'mem>,
    hidden: &'a BTreeSet<i32>,
}

impl<'mem> Transform<'mem> for Hide<'_, 'mem> {
    fn transform_node<'r>(&mut self, node: Assignable<'mem, 'r>) {
        if let NodeMut::A_Const(constant) = &*node
            && self.hidden.contains(&constant.location)
        {
            node.replace(self.mem.make_a_const(pg_raw_parse::ConstValue::String("?")).uncast());
            return;
        }
        transform::transform_node(node.into_inner(), self);
    }
}
