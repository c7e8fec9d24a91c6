//! A Kubernetes Secret as a file. Its values show as `<secret>` and are never part of an error.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_yaml::{Mapping, Value};
use zeroize::Zeroizing;

use super::Fault;
use super::error::Problem;
use super::header::Header;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub namespace: String,
    pub name: String,
    /// `data` decoded, and `stringData`.
    pub data: BTreeMap<String, SecretBytes>,
}

/// Bytes that are wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Read by hand: serde's errors would quote the values.
pub(super) fn read(value: Value, header: &Header) -> Result<Secret, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut data = BTreeMap::new();
    if let Value::Mapping(mut root) = value {
        entries(root.remove("data"), "data", decode, &mut data, &mut faults);
        entries(root.remove("stringData"), "stringData", |text| Ok(text.into_bytes()), &mut data, &mut faults);
        if !matches!(root.get("type"), None | Some(Value::String(_))) {
            faults.push(invalid("type", "is not a text: write Opaque, or remove the line"));
        }
        if !matches!(root.get("immutable"), None | Some(Value::Bool(_))) {
            faults.push(invalid("immutable", "is neither true nor false"));
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Secret { namespace: header.namespace.clone().unwrap_or_default(), name: header.name.clone(), data })
}

fn entries(
    block: Option<Value>,
    block_name: &str,
    bytes: impl Fn(String) -> Result<Vec<u8>, &'static str>,
    data: &mut BTreeMap<String, SecretBytes>,
    faults: &mut Vec<Fault>,
) {
    let block = match block {
        None => Mapping::new(),
        Some(Value::Mapping(map)) => map,
        Some(_) => return faults.push(invalid(block_name, "is not a map of keys and values")),
    };
    for (key, value) in block {
        let key = match key {
            Value::String(key) if is_key(&key) => key,
            _ => {
                faults.push(invalid(block_name, "has a key that is not made of letters, digits, `-`, `_` and `.`"));
                continue;
            }
        };
        let path = format!("{block_name}.{key}");
        let Value::String(text) = value else {
            faults.push(invalid(path, "is not a text: put it in quotes"));
            continue;
        };
        match bytes(text) {
            Err(why) => faults.push(invalid(path, why)),
            Ok(_) if data.contains_key(&key) => {
                faults.push(invalid(path, "stands in data and in stringData: remove one of them"));
            }
            Ok(bytes) => {
                data.insert(key, SecretBytes::new(bytes));
            }
        }
    }
}

fn decode(text: String) -> Result<Vec<u8>, &'static str> {
    let mut text = Zeroizing::new(text);
    text.retain(|c| c != '\n' && c != '\r');
    STANDARD
        .decode(text.as_bytes())
        .map_err(|_| "is not base64: encode it with `base64 -w0`, or write the plain value under stringData")
}

fn is_key(key: &str) -> bool {
    (1..=253).contains(&key.len()) && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn invalid(path: impl Into<String>, text: &str) -> Fault {
    Fault::new(path, Problem::Invalid(text.to_owned()))
}
