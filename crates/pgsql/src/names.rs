//! Whether the names that policies write exist in the databases that they are about.

use crate::builtin::SYSTEM_COLUMNS;
use crate::catalog::{Catalog, Relation};

/// What is missing, when none of the catalogs has `schema.relation` or `schema.relation.column`.
///
/// `None` for names with a `*`, which may match later, and for system catalogs, which are not part of a [`Catalog`].
pub fn missing(catalogs: &[&Catalog], name: &str) -> Option<&'static str> {
    let parts: Vec<&str> = name.split('.').collect();
    match parts.as_slice() {
        _ if name.contains('*') => None,
        ["pg_catalog" | "information_schema", ..] => None,
        [schema, relation] => catalogs.iter().all(|c| c.find(schema, relation).is_none()).then_some("relation"),
        [schema, relation, column] => {
            // Those that every table has are read like any other, and are not part of a catalog either.
            let known = |r: &Relation| r.column(column).is_some() || SYSTEM_COLUMNS.contains(column);
            let has = |c: &&Catalog| c.find(schema, relation).is_some_and(known);
            (!catalogs.iter().any(has)).then_some("column")
        }
        _ => None,
    }
}
