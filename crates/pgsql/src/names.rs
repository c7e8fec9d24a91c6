//! Whether the names that policies write exist in the databases that they are about.

use policy::operation::Access;

use crate::builtin::SYSTEM_COLUMNS;
use crate::catalog::{Catalog, Relation};
use crate::plan::Plan;
use crate::refused::Refused;

/// Why a change may not be made that gives a name to something, when the name is free only in the transaction that makes it
/// and everybody else still finds another relation under it. A table of columns is nothing else than it says, and may.
pub fn taken(plan: &Plan, own: &Catalog, public: &Catalog) -> Option<Refused> {
    if !["CREATE VIEW", "CREATE TABLE AS", "RENAME"].contains(&plan.action.as_str()) {
        return None;
    }
    let free_here = |access: &Access| match access.resource.path.as_slice() {
        [schema, name] if own.find(schema, name).is_none() => public.find(schema, name),
        _ => None,
    };
    let old = plan.accesses.iter().find_map(free_here)?;
    Some(
        Refused::new(format!("a name that `{}` has for everybody else", old.display()))
            .hint("commit the change that frees the name before, or use another"),
    )
}

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
