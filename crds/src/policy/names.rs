//! Lists of relations, columns and functions, as rules and masks of both policies name them: one schema each.

use schemars::{Schema, SchemaGenerator, json_schema};

use crate::limits::{COLUMN, COLUMN_CHARS, FUNCTION, FUNCTION_CHARS, RELATION, RELATION_CHARS, RESOURCES};

pub(super) fn relations(_: &mut SchemaGenerator) -> Schema {
    set(RELATION_CHARS, RELATION)
}

pub(super) fn columns(_: &mut SchemaGenerator) -> Schema {
    set(COLUMN_CHARS, COLUMN)
}

/// A mask of no column would be a mistake.
pub(super) fn some_columns(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = columns(generator);
    schema.insert("minItems".to_owned(), 1.into());
    schema
}

pub(super) fn functions(_: &mut SchemaGenerator) -> Schema {
    set(FUNCTION_CHARS, FUNCTION)
}

fn set(chars: usize, pattern: &str) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "string", "maxLength": chars, "pattern": pattern},
        "maxItems": RESOURCES,
        "x-kubernetes-list-type": "set",
    })
}
