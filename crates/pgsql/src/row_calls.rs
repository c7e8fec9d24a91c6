//! Functions that `t.name` calls on the whole row of `t` when `t` has no column `name`.
//!
//! Invariant: the list has every name that could show something of the row. It may have more than that, at the price of
//! a template; what takes only values of a known other kind is not in it.

use std::collections::BTreeMap;

use crate::builtin::builtin_type;
use crate::catalog::{Catalog, Function};

/// What a name would call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RowCall {
    /// Only an aggregate: an error in a statement that changes rows.
    Aggregate,
    Function,
}

/// Functions of `pg_catalog` that take any row and show something of it; sorted.
const FUNCTIONS: &[&str] = &[
    "any_out",
    "anycompatible_out",
    "anycompatiblenonarray_out",
    "anyelement_out",
    "anynonarray_out",
    "concat",
    "hash_record",
    "json_build_array",
    "json_build_object",
    "jsonb_build_array",
    "jsonb_build_object",
    "num_nonnulls",
    "num_nulls",
    "pg_column_size",
    "quote_literal",
    "quote_nullable",
    "record_out",
    "record_send",
    "row_to_json",
    "to_json",
    "to_jsonb",
];

/// Aggregates of the same kind; sorted. `count` shows nothing.
const AGGREGATES: &[&str] =
    &["any_value", "array_agg", "json_agg", "json_agg_strict", "jsonb_agg", "jsonb_agg_strict", "max", "min"];

/// How `format_type` writes the built-in types that it does not call by their own names.
const SPELLED: &[&str] = &[
    "\"char\"",
    "bigint",
    "bit",
    "bit varying",
    "boolean",
    "character",
    "character varying",
    "double precision",
    "integer",
    "interval",
    "numeric",
    "real",
    "smallint",
    "time with time zone",
    "time without time zone",
    "timestamp with time zone",
    "timestamp without time zone",
];

pub(crate) fn builtin(name: &str) -> Option<RowCall> {
    if FUNCTIONS.binary_search(&name).is_ok() {
        Some(RowCall::Function)
    } else if AGGREGATES.binary_search(&name).is_ok() {
        Some(RowCall::Aggregate)
    } else {
        None
    }
}

/// The same of the database's own: functions, and types that a row can be cast to as if they were functions.
pub(crate) fn of_users(catalog: &Catalog) -> BTreeMap<String, RowCall> {
    let mut found = BTreeMap::new();
    let casts = catalog.user_cast_types();
    // With a cast of its own a row fits where its type does not.
    let rows_are_cast = casts.iter().any(|t| catalog.find(&t.schema, &t.name).is_some());
    for function in catalog.functions.iter().filter(|f| catalog.search_path.contains(&f.schema)) {
        if takes_one(function).is_some_and(|argument| rows_are_cast || maybe_row(catalog, argument)) {
            let call = if function.kind == "a" { RowCall::Aggregate } else { RowCall::Function };
            let known = found.entry(function.name.clone()).or_insert(call);
            *known = call.max(*known);
        }
    }
    let domains = catalog.types.iter().filter(|t| t.rows).map(|t| &t.name);
    for name in domains.chain(casts.iter().map(|t| &t.name)) {
        found.insert(name.clone(), RowCall::Function);
    }
    found
}

/// The type of the argument, of a function that can be called with one.
fn takes_one(function: &Function) -> Option<&str> {
    let first = function.arguments.first()?;
    let least = function.arguments.len().saturating_sub(usize::from(function.defaults));
    match (function.variadic, least) {
        (true, 0..=1) if function.arguments.len() == 1 => Some(first.strip_suffix("[]").unwrap_or(first)),
        (true, 0..=2) | (false, 0..=1) => Some(first),
        _ => None,
    }
}

/// Whether a row may be a value of a type, as `format_type` writes it.
fn maybe_row(catalog: &Catalog, written: &str) -> bool {
    if written.ends_with("[]") || SPELLED.contains(&written) || builtin_type(written).is_some() {
        return false;
    }
    let name = written.rsplit('.').next().unwrap_or(written).trim_matches('"');
    let scalar = |kind: &str| matches!(kind, "b" | "e" | "m" | "r");
    let mut types = catalog.types.iter().filter(|t| t.name == name).peekable();
    types.peek().is_none()
        || types.any(|t| !scalar(&t.kind) && (t.kind != "d" || t.rows))
        || catalog.relations.values().any(|r| r.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_can_be_searched() {
        assert!(FUNCTIONS.is_sorted() && AGGREGATES.is_sorted());
        assert_eq!(builtin("to_json"), Some(RowCall::Function));
        assert_eq!(builtin("max"), Some(RowCall::Aggregate));
        assert_eq!(builtin("count"), None);
    }
}
