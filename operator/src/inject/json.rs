//! Editing JSON without ever failing: what has another shape than it must have counts as absent. The pod was read as a
//! `Pod` before, so nothing of the user's is lost by that. What was absent and stays empty is not written.

use serde_json::{Map, Value};

pub(super) type Object = Map<String, Value>;

/// Edits the value as an object.
pub(super) fn root(value: &mut Value, edit: impl FnOnce(&mut Object)) {
    let mut object = match value.take() {
        Value::Object(object) => object,
        _ => Object::new(),
    };
    edit(&mut object);
    *value = Value::Object(object);
}

/// Edits the object below `key`.
pub(super) fn object(parent: &mut Object, key: &str, edit: impl FnOnce(&mut Object)) {
    let there = parent.contains_key(key);
    let mut object = match parent.remove(key) {
        Some(Value::Object(object)) => object,
        _ => Object::new(),
    };
    edit(&mut object);
    if there || !object.is_empty() {
        parent.insert(key.to_owned(), Value::Object(object));
    }
}

/// Edits the list below `key`.
pub(super) fn list(parent: &mut Object, key: &str, edit: impl FnOnce(&mut Vec<Value>)) {
    let there = parent.contains_key(key);
    let mut items = parent.remove(key).map(items).unwrap_or_default();
    edit(&mut items);
    if there || !items.is_empty() {
        parent.insert(key.to_owned(), Value::Array(items));
    }
}

/// Edits every object in the list below `key`.
pub(super) fn each_object(parent: &mut Object, key: &str, mut edit: impl FnMut(&mut Object)) {
    list(parent, key, |items| items.iter_mut().for_each(|item| root(item, &mut edit)));
}

/// Sets what was left out; `null` says nothing either.
pub(super) fn default(object: &mut Object, key: &str, value: Value) {
    if object.get(key).is_none_or(Value::is_null) {
        object.insert(key.to_owned(), value);
    }
}

pub(super) fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

/// The elements below `key`, to be read.
pub(super) fn each<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// The text below `key`, or nothing.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
