//! The SQL of a mask, by type, and the sub-select that stands for a masked relation.
//!
//! Invariants: an expression has the column's type, never fails on any value, names every function and operator with
//! `pg_catalog`, and masking its own result changes nothing. Redact does not mention the column, so that the database
//! may withhold it from the role. A column that is gone makes an error of the sub-select, never the whole row or a
//! function of it; which names further out could stand for it is for resolution to know.

use std::fmt::Write as _;

use policy::MaskMethod;

use super::{ColumnMask, RelationMasks};
use crate::catalog::{Catalog, Column, Relation};

/// The alias of the relation inside its template, with another `_` for each column that has the name.
const ROW: &str = "_t";
const REDACTED: &str = "'[redacted]'";

/// `"name"`, with quotes inside doubled.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `SELECT c1, mask(c2) AS c2, ... FROM [ONLY] schema.name AS _t`: all columns, in order, with their types.
/// Without masks it still shows no column that the catalog does not know.
pub(crate) fn template(catalog: &Catalog, relation: &Relation, masks: Option<&RelationMasks>, only: bool) -> String {
    selection(catalog, relation, masks, only, relation.columns.iter())
}

/// The same for some columns, and also for a relation without masks.
pub(crate) fn selection<'a>(
    catalog: &Catalog,
    relation: &Relation,
    masks: Option<&RelationMasks>,
    only: bool,
    columns: impl Iterator<Item = &'a Column>,
) -> String {
    let row = Row::of(catalog, relation);
    let mut out = String::from("SELECT ");
    for (i, column) in columns.enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        let name = quote(&column.name);
        // Writing to a String cannot fail.
        _ = match masks.and_then(|m| m.columns.get(&column.attnum)) {
            Some(mask) => write!(out, "{} AS {name}", expression(&row, column, mask)),
            None => write!(out, "{} AS {name}", row.value(column)),
        };
    }
    let only = if only { "ONLY " } else { "" };
    _ = write!(out, " FROM {only}{}.{} AS {}", quote(&relation.schema), quote(&relation.name), row.alias);
    out
}

/// The relation inside its template.
struct Row<'a> {
    catalog: &'a Catalog,
    alias: String,
}

impl<'a> Row<'a> {
    fn of(catalog: &'a Catalog, relation: &Relation) -> Self {
        let mut alias = ROW.to_owned();
        // Each step leaves one column behind, so this ends.
        while relation.column(&alias).is_some() {
            alias.push('_');
        }
        Self { catalog, alias }
    }

    /// A column. After a table and a dot a name may be a function too, alone it may be one of a query further out.
    fn value(&self, column: &Column) -> String {
        let name = quote(&column.name);
        if self.catalog.row_call(&column.name).is_some() { name } else { format!("{}.{name}", self.alias) }
    }
}

/// The method that the column's type takes.
pub(crate) fn in_effect(mask: &ColumnMask, column: &Column) -> MaskMethod {
    match (mask.method, column.builtin.as_deref()) {
        (MaskMethod::Partial, Some("text" | "varchar" | "bpchar" | "name" | "date" | "timestamp" | "timestamptz")) => {
            MaskMethod::Partial
        }
        (MaskMethod::Partial | MaskMethod::Redact, _) => MaskMethod::Redact,
    }
}

fn expression(row: &Row<'_>, column: &Column, mask: &ColumnMask) -> String {
    let partial = match in_effect(mask, column) {
        MaskMethod::Partial => column.builtin.as_deref().and_then(|builtin| partial(row, column, builtin)),
        MaskMethod::Redact => None,
    };
    let value = partial.unwrap_or_else(|| redact(column));
    format!("CAST({value} AS {})", column.type_sql)
}

fn redact(column: &Column) -> String {
    match column.builtin.as_deref() {
        Some("text" | "varchar" | "bpchar" | "name") => REDACTED.to_owned(),
        Some(builtin) if column.not_null => constant(builtin).unwrap_or("NULL").to_owned(),
        _ => "NULL".to_owned(),
    }
}

/// A value for columns that drivers trust to be present.
fn constant(builtin: &str) -> Option<&'static str> {
    Some(match builtin {
        "int2" | "int4" | "int8" | "float4" | "float8" | "numeric" | "oid" => "0",
        "money" => "'0'",
        "bool" => "false",
        "date" | "timestamp" => "'1970-01-01'",
        "timestamptz" => "'1970-01-01 00:00:00+00'",
        "time" => "'00:00:00'",
        "timetz" => "'00:00:00+00'",
        "interval" => "'0'",
        "uuid" => "'00000000-0000-0000-0000-000000000000'",
        "json" | "jsonb" => "'{}'",
        "bytea" | "tsvector" => "''",
        "char" => "'?'",
        "inet" => "'0.0.0.0'",
        "cidr" => "'0.0.0.0/0'",
        "macaddr" => "'00:00:00:00:00:00'",
        "int4range" | "int8range" | "numrange" | "tsrange" | "tstzrange" | "daterange" => "'empty'",
        array if array.starts_with('_') => "'{}'",
        _ => return None,
    })
}

fn partial(row: &Row<'_>, column: &Column, builtin: &str) -> Option<String> {
    let value = row.value(column);
    // What date_trunc cannot take stands outside these bounds.
    let absent = if column.not_null { "'1970-01-01'" } else { "NULL" };
    match builtin {
        "text" | "varchar" | "bpchar" | "name" => Some(partial_text(&format!("CAST({value} AS pg_catalog.text)"))),
        "date" | "timestamp" => Some(format!(
            "CASE WHEN {value} OPERATOR(pg_catalog.<) '4000-01-01 BC' OR {value} OPERATOR(pg_catalog.>) '290000-01-01' THEN {absent} \
             ELSE CAST(pg_catalog.date_trunc('year', CAST({value} AS timestamp without time zone)) AS {}) END",
            column.type_sql
        )),
        "timestamptz" => Some(format!(
            "CASE WHEN {value} OPERATOR(pg_catalog.<) '4000-01-01 00:00:00+00 BC' OR {value} OPERATOR(pg_catalog.>) '290000-01-01 00:00:00+00' \
             THEN {absent} ELSE pg_catalog.date_trunc('year', {value}, 'UTC') END"
        )),
        _ => None,
    }
}

/// An e-mail keeps its first letter and domain; a longer text its last four characters. Nine characters are kept as
/// `*****1234`, so the result of the second form is its own mask.
fn partial_text(value: &str) -> String {
    format!(
        "CASE WHEN {value} OPERATOR(pg_catalog.~) '^[^@[:space:]]+@[^@[:space:]]+$' THEN pg_catalog.left({value}, 1) \
         OPERATOR(pg_catalog.||) '***' OPERATOR(pg_catalog.||) pg_catalog.substr({value}, pg_catalog.strpos({value}, '@')) \
         WHEN {value} OPERATOR(pg_catalog.=) {REDACTED} THEN {REDACTED} \
         WHEN pg_catalog.length({value}) OPERATOR(pg_catalog.>) 8 THEN '*****' OPERATOR(pg_catalog.||) pg_catalog.right({value}, 4) \
         WHEN {value} IS NULL THEN NULL ELSE {REDACTED} END"
    )
}
