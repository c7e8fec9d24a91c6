//! The part of a structural schema that our definitions use: types, bounds, patterns, list types.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::{Map, Value};

use super::Violation;

/// Every pattern of one schema, compiled once. `None` is a pattern that cannot be compiled: nothing matches it.
pub(super) struct Patterns(BTreeMap<String, Option<Regex>>);

impl Patterns {
    pub(super) fn of(schema: &Value) -> Self {
        let mut patterns = BTreeMap::new();
        collect(schema, &mut patterns);
        Self(patterns)
    }

    fn matches(&self, pattern: &str, text: &str) -> bool {
        self.0.get(pattern).and_then(Option::as_ref).is_some_and(|r| r.is_match(text))
    }
}

fn collect(schema: &Value, patterns: &mut BTreeMap<String, Option<Regex>>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(pattern)) = map.get("pattern") {
                patterns.entry(pattern.clone()).or_insert_with(|| Regex::new(pattern).ok());
            }
            map.values().for_each(|child| collect(child, patterns));
        }
        Value::Array(items) => items.iter().for_each(|child| collect(child, patterns)),
        _ => {}
    }
}

/// `apiVersion`, `kind` and `metadata` are the API server's own business.
pub(super) fn check(schema: &Value, patterns: &Patterns, object: &Value) -> Vec<Violation> {
    let mut walk = Walk { patterns, found: Vec::new() };
    for part in ["spec", "status"] {
        let schema = schema.pointer(&format!("/properties/{part}"));
        if let (Some(schema), Some(value)) = (schema, object.get(part)) {
            walk.value(schema, value, part);
        }
    }
    walk.found
}

struct Walk<'a> {
    patterns: &'a Patterns,
    found: Vec<Violation>,
}

impl Walk<'_> {
    fn say(&mut self, path: &str, message: impl Into<String>) {
        self.found.push(Violation { path: path.to_owned(), message: message.into() });
    }

    fn value(&mut self, schema: &Value, value: &Value, path: &str) {
        if let Some(Value::Array(allowed)) = schema.get("enum")
            && !allowed.contains(value)
        {
            let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
            self.say(path, format!("is not one of {}", allowed.join(", ")));
        }
        let expected = schema.get("type").and_then(Value::as_str).unwrap_or("object");
        match (expected, value) {
            ("object", Value::Object(map)) => self.object(schema, map, path),
            ("array", Value::Array(items)) => self.array(schema, items, path),
            ("string", Value::String(text)) => self.string(schema, text, path),
            ("integer", Value::Number(number)) => match number.as_i64() {
                Some(number) => self.range(schema, number, path),
                None => self.say(path, "is not a whole number"),
            },
            ("boolean", Value::Bool(_)) => {}
            _ => self.say(path, format!("is not of type {expected}")),
        }
    }

    fn object(&mut self, schema: &Value, map: &Map<String, Value>, path: &str) {
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !map.contains_key(name) {
                self.say(&format!("{path}.{name}"), "is required");
            }
        }
        self.count(schema, "maxProperties", "minProperties", map.len(), "entries", path);
        for (key, value) in map {
            let below = format!("{path}.{key}");
            let child =
                schema.get("properties").and_then(|p| p.get(key)).or_else(|| schema.get("additionalProperties"));
            match child {
                Some(child) => self.value(child, value, &below),
                None => self.say(&below, "is an unknown field"),
            }
        }
    }

    fn array(&mut self, schema: &Value, items: &[Value], path: &str) {
        self.count(schema, "maxItems", "minItems", items.len(), "entries", path);
        let keys: Option<Vec<&str>> = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => Some(Vec::new()),
            Some("map") => schema
                .get("x-kubernetes-list-map-keys")
                .and_then(Value::as_array)
                .map(|keys| keys.iter().filter_map(Value::as_str).collect()),
            _ => None,
        };
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let below = format!("{path}[{index}]");
            if let Some(schema) = schema.get("items") {
                self.value(schema, item, &below);
            }
            let Some(keys) = &keys else { continue };
            let identity = match keys.as_slice() {
                [] => item.to_string(),
                keys => keys
                    .iter()
                    .map(|k| item.get(k).map(Value::to_string).unwrap_or_default())
                    .collect::<Vec<_>>()
                    .join(" "),
            };
            if !seen.insert(identity.clone()) {
                let what = if keys.is_empty() { "value".to_owned() } else { keys.join(", ") };
                self.say(&below, format!("stands twice in the list: {what} {identity}"));
            }
        }
    }

    fn string(&mut self, schema: &Value, text: &str, path: &str) {
        self.count(schema, "maxLength", "minLength", text.chars().count(), "characters", path);
        if let Some(Value::String(pattern)) = schema.get("pattern")
            && !self.patterns.matches(pattern, text)
        {
            self.say(path, format!("does not match `{pattern}`"));
        }
    }

    fn range(&mut self, schema: &Value, number: i64, path: &str) {
        let bound = |name| schema.get(name).and_then(Value::as_i64);
        if let Some(least) = bound("minimum").filter(|least| number < *least) {
            self.say(path, format!("is less than {least}"));
        }
        if let Some(most) = bound("maximum").filter(|most| number > *most) {
            self.say(path, format!("is more than {most}"));
        }
    }

    fn count(&mut self, schema: &Value, most: &str, least: &str, count: usize, what: &str, path: &str) {
        let bound = |name| schema.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        if let Some(most) = bound(most).filter(|most| count > *most) {
            self.say(path, format!("has {count} {what}, more than {most}"));
        }
        if let Some(least) = bound(least).filter(|least| count < *least) {
            self.say(path, format!("has {count} {what}, less than {least}"));
        }
    }
}
