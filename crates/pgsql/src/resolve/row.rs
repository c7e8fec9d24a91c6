//! Attributes of values: `(value).name`.
//!
//! The server takes `(value).name` for an attribute of the value; if it has none, for a call of the function `name`, or a
//! cast to the type `name`, whatever the type of the value. Such a call has no access of its own. Invariant: the form passes
//! only where the value is known to be a row with that attribute and no function of a user could be meant instead. A value
//! whose type is not known here has no attributes.

use std::rc::Rc;

use pg_raw_parse::{Node, nodes};

use super::Resolver;
use super::names::strings;
use super::scope::{Col, Env, Item};
use crate::builtin::is_system_schema;
use crate::catalog::{Catalog, Column, Oid};
use crate::functions::columns_of;
use crate::refused::Refused;

/// What is known of the type of a value.
#[derive(Clone, Debug, Default)]
pub(crate) enum Shape {
    #[default]
    Unknown,
    /// The row of a relation, or of a composite type.
    Of(Oid),
    /// The row of an item of FROM.
    Row(Rc<[Col]>),
    /// The row that a built-in function returns.
    Called(&'static [&'static str]),
    Array(Oid),
}

impl Shape {
    /// Of a column of a relation.
    pub(crate) fn of(catalog: &Catalog, column: &Column) -> Self {
        let Some(rows) = catalog.row_types.get(&column.type_oid) else { return Self::Unknown };
        let (written, array) = match column.type_sql.strip_suffix("[]") {
            Some(element) => (element, true),
            None => (column.type_sql.as_str(), false),
        };
        // `rows` has the types at any depth: of these, the one that the column is declared with.
        let written = written.replace('"', "");
        let mut found = rows.iter().filter(|oid| {
            let relation = catalog.relation(**oid).map(|r| (&r.schema, &r.name));
            let composite = || catalog.composites.get(oid).map(|c| (&c.schema, &c.name));
            relation
                .or_else(composite)
                .is_some_and(|(schema, name)| format!("{schema}.{name}").replace('"', "") == written)
        });
        match (found.next(), found.next(), array) {
            (Some(oid), None, false) => Self::Of(*oid),
            (Some(oid), None, true) => Self::Array(*oid),
            _ => Self::Unknown,
        }
    }

    /// The whole row of an item under its name.
    fn whole(item: &Item) -> Self {
        let own_names = item.cols.iter().all(|col| col.name == col.real);
        if item.open || item.function || item.qualified_only || !own_names {
            return Self::Unknown;
        }
        Self::Row(Rc::clone(&item.cols))
    }

    fn attribute(&self, name: &str, catalog: &Catalog) -> Option<Self> {
        match self {
            Self::Unknown | Self::Array(_) => None,
            Self::Of(oid) => match catalog.relation(*oid) {
                Some(relation) => relation.column(name).map(|column| Self::of(catalog, column)),
                None => {
                    let composite = catalog.composites.get(oid)?;
                    composite.columns.iter().any(|column| column == name).then_some(Self::Unknown)
                }
            },
            Self::Row(cols) => {
                let mut named = cols.iter().filter(|col| col.name == name);
                match (named.next(), named.next()) {
                    (Some(col), None) => Some(col.shape.clone()),
                    _ => None,
                }
            }
            Self::Called(columns) => columns.contains(&name).then_some(Self::Unknown),
        }
    }
}

impl Resolver<'_> {
    /// Refuses what is not surely an attribute.
    pub(super) fn attributes(&mut self, node: &nodes::A_Indirection, env: &Env<'_>) -> Result<(), Refused> {
        self.work(env.levels().flat_map(|l| &l.items).map(|i| i.cols.len().saturating_add(1)).sum())?;
        let shape = self.shape(node.arg(), env)?;
        self.steps_of(shape, node, |resolver, name, known| {
            let catalog = resolver.ctx.catalog;
            let maybe = if resolver.ctx.masks.any() { catalog.row_call(name) } else { catalog.user_row_call(name) };
            if known && maybe.is_none() {
                return Ok(());
            }
            Err(Refused::new(format!(
                "`{name}` of a value that is not known to be a row with it, which could be a function"
            ))
            .hint("write f(x) for a function; give the row's source a name in FROM, and take its columns"))
        })
        .map(drop)
    }

    /// What is known of a value. A name that could be several things is none. Of a name this looks up no more than
    /// [`Resolver::column_ref`] has counted.
    pub(super) fn shape(&mut self, node: Node<'_>, env: &Env<'_>) -> Result<Shape, Refused> {
        self.work(0)?;
        match node {
            Node::ColumnRef(column) => self.shape_of_name(column, env),
            Node::A_Indirection(inner) => {
                let shape = self.shape(inner.arg(), env)?;
                self.steps_of(shape, inner, |_, _, _| Ok(()))
            }
            Node::FuncCall(call) => {
                let names = strings(call.funcname())?;
                let columns = match names.as_slice() {
                    [name] => columns_of(name),
                    [schema, name] if is_system_schema(schema) => columns_of(name),
                    _ => None,
                };
                // One column is no row.
                Ok(columns.filter(|c| c.len() > 1).map_or(Shape::Unknown, Shape::Called))
            }
            _ => Ok(Shape::Unknown),
        }
    }

    fn shape_of_name(&self, column: &nodes::ColumnRef, env: &Env<'_>) -> Result<Shape, Refused> {
        let mut parts: Vec<Node<'_>> = column.fields().iter().collect();
        let star = matches!(parts.last(), Some(Node::A_Star(_)));
        if star {
            parts.pop();
        }
        let names = strings(parts)?;
        let of_column = |items: Vec<&Item>, name: &str| match items.as_slice() {
            [item] => item.column(name).map(|col| col.shape.clone()).unwrap_or_default(),
            _ => Shape::Unknown,
        };
        let of_row = |items: Vec<&Item>| match items.as_slice() {
            [item] => Shape::whole(item),
            _ => Shape::Unknown,
        };
        Ok(match (names.as_slice(), star) {
            ([name], false) => {
                let found = env.column(name);
                match found.hits.as_slice() {
                    _ if found.maybe => Shape::Unknown,
                    [] => of_row(env.named(name)),
                    [(_, col)] => col.shape.clone(),
                    _ => Shape::Unknown,
                }
            }
            ([item], true) => of_row(env.named(item)),
            ([item, name], false) => of_column(env.named(item), name),
            ([schema, item, name], false) => match self.ctx.catalog.find(schema, item) {
                Some(relation) => of_column(env.plain(relation.oid), name),
                None => Shape::Unknown,
            },
            _ => Shape::Unknown,
        })
    }

    /// Follows `[...]` and `.name`; `seen` is told of each name and whether the value has it.
    fn steps_of(
        &mut self,
        mut shape: Shape,
        node: &nodes::A_Indirection,
        seen: impl Fn(&Self, &str, bool) -> Result<(), Refused>,
    ) -> Result<Shape, Refused> {
        let steps: Vec<Node<'_>> = node.indirection().iter().collect();
        let mut at = 0;
        while let Some(step) = steps.get(at) {
            match step {
                Node::A_Indices(_) => {
                    let run =
                        steps.iter().skip(at).map_while(|s| if let Node::A_Indices(i) = s { Some(i) } else { None });
                    let (many, slice) =
                        run.fold((0_usize, false), |(n, slice), i| (n.saturating_add(1), slice || i.is_slice));
                    // Brackets that follow each other take one element, of any number of dimensions.
                    shape = match shape {
                        Shape::Array(oid) if !slice => Shape::Of(oid),
                        Shape::Array(oid) => Shape::Array(oid),
                        _ => Shape::Unknown,
                    };
                    at = at.saturating_add(many);
                    continue;
                }
                Node::String(name) => {
                    let name = name.sval().unwrap_or_default();
                    let attribute = shape.attribute(name, self.ctx.catalog);
                    seen(self, name, attribute.is_some())?;
                    shape = attribute.unwrap_or_default();
                }
                _ => shape = Shape::Unknown,
            }
            at = at.saturating_add(1);
        }
        Ok(shape)
    }
}
