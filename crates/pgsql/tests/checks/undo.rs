//! A statement in the words of the agent again: templates become the relations for which they stand, and what the plan
//! qualified loses its schema. What was meant and what is sent print alike then.

use pg_raw_parse::make::{MemoryToken, owned};
use pg_raw_parse::transform::{self, Assignable, Transform};
use pg_raw_parse::{Node, NodeMut, Owned, nodes};
use pgsql::Parsed;

use super::world::World;

/// The printed tree without the byte offsets.
pub(super) fn printed(node: Node<'_>) -> String {
    let debug = format!("{node:?}");
    let mut out = String::with_capacity(debug.len());
    let mut rest = debug.as_str();
    while let Some((before, number)) = rest.split_once(": ") {
        out.push_str(before);
        out.push_str(": ");
        let start = before.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(0, |at| at + 1);
        let field = before.get(start..).unwrap_or_default();
        let place = field.ends_with("location") || field.ends_with("_start") || field.ends_with("_end");
        rest = if place || field == "stmt_len" {
            number.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit())
        } else {
            number
        };
    }
    out + rest
}

/// As the agent wrote it, but for names that mean the same.
pub(super) fn undone(parsed: &Parsed, world: &World, templates: bool) -> Option<Owned<nodes::RawStmt>> {
    let raw = parsed.raw()?;
    Some(owned(|mem| {
        let mut copy = mem.make_unique(raw);
        Undo { mem, world, templates }.transform_raw_stmt(copy.as_mut());
        copy
    }))
}

struct Undo<'a, 'mem> {
    mem: MemoryToken<'mem>,
    world: &'a World,
    templates: bool,
}

impl<'mem> Transform<'mem> for Undo<'_, 'mem> {
    fn transform_node<'r>(&mut self, node: Assignable<'mem, 'r>) {
        if self.templates
            && let NodeMut::RangeSubselect(sub) = &*node
            && let Node::SelectStmt(select) = sub.subquery()
            && let Some(range) = self.world.stands_for(select)
        {
            let mut range = self.mem.make_unique(range);
            let alias = sub.alias().map(|alias| self.mem.make_unique(alias));
            match alias {
                Some(alias) => range.as_mut().set_alias(alias.as_option()),
                None => range.as_mut().set_alias(self.mem.make_unique(None::<&nodes::Alias>)),
            }
            self.transform_range_var(range.as_mut());
            node.replace(range.uncast());
            return;
        }
        transform::transform_node(node.into_inner(), self);
    }

    fn transform_range_var<'r>(&mut self, mut range: nodes::RangeVarMut<'mem, 'r>) {
        let schema = range.schemaname().map(str::to_owned);
        let name = range.relname().unwrap_or_default().to_owned();
        let found = self.world.catalog.find_in_path(&name).map(|relation| relation.schema.as_str());
        if schema.as_deref() == Some("pg_catalog") || (schema.is_some() && schema.as_deref() == found) {
            range.set_schemaname(None);
        }
        let superfluous =
            range.alias().is_some_and(|a| a.aliasname() == Some(name.as_str()) && a.colnames().is_empty());
        if superfluous {
            range.set_alias(self.mem.make_unique(None::<&nodes::Alias>));
        }
    }

    fn transform_column_ref<'r>(&mut self, mut node: nodes::ColumnRefMut<'mem, 'r>) {
        let mut fields: Vec<_> = node.fields().iter().collect();
        if fields.len() == 3 {
            fields.remove(0);
        }
        // A whole row, however it is written.
        if fields.len() == 2 && matches!(fields.last(), Some(Node::A_Star(_))) {
            fields.pop();
        }
        let fields: Vec<_> = fields.into_iter().map(|field| self.mem.make_unique(field)).collect();
        node.set_fields(self.mem.make_list(&fields));
    }

    fn transform_func_call<'r>(&mut self, mut node: nodes::FuncCallMut<'mem, 'r>) {
        if let Some(name) = last_of_two(node.funcname().iter().filter_map(Node::as_str)) {
            let name = self.mem.make_string(Some(&name)).uncast();
            node.set_funcname(self.mem.make_list(&[name]));
        }
        transform::transform_func_call(node, self);
    }

    fn transform_type_name<'r>(&mut self, mut node: nodes::TypeNameMut<'mem, 'r>) {
        if let Some(name) = last_of_two(node.names().iter().filter_map(nodes::String::sval)) {
            let name = self.mem.make_string(Some(&name));
            node.set_names(self.mem.make_list(&[name]));
        }
        transform::transform_type_name(node, self);
    }
}

/// Of a name with a schema of the search path.
fn last_of_two<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    match names.collect::<Vec<_>>().as_slice() {
        ["public" | "pg_catalog", name] => Some((*name).to_owned()),
        _ => None,
    }
}
