//! The difference between two pods as a JSON patch (RFC 6902).
//!
//! Whole members of `spec`, `metadata.labels` and `metadata.annotations` are set; nothing inside of a list is edited by
//! its position, so the patch means the same whatever stands there.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation};
use serde_json::Value;

/// Objects whose members are compared one by one.
const DEEPER: &[&[&str]] = &[&[], &["metadata"], &["metadata", "labels"], &["metadata", "annotations"], &["spec"]];

/// The patch that turns `from` into `to`; empty when they are equal.
pub fn patch(from: &Value, to: &Value) -> Patch {
    let mut operations = Vec::new();
    compare(&mut Vec::new(), from, to, &mut operations);
    Patch(operations)
}

fn compare(path: &mut Vec<String>, from: &Value, to: &Value, operations: &mut Vec<PatchOperation>) {
    if from == to {
        return;
    }
    let deeper = DEEPER.iter().any(|one| one.len() == path.len() && one.iter().zip(&*path).all(|(a, b)| a == b));
    let (Value::Object(old), Value::Object(new), true) = (from, to, deeper) else {
        // On a member that is there, `add` replaces.
        let path = PointerBuf::from_tokens(&*path);
        operations.push(PatchOperation::Add(AddOperation { path, value: to.clone() }));
        return;
    };
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        path.push(key.clone());
        operations.push(PatchOperation::Remove(RemoveOperation { path: PointerBuf::from_tokens(&*path) }));
        path.pop();
    }
    for (key, value) in new {
        path.push(key.clone());
        match old.get(key) {
            Some(before) => compare(path, before, value, operations),
            None => {
                let path = PointerBuf::from_tokens(&*path);
                operations.push(PatchOperation::Add(AddOperation { path, value: value.clone() }));
            }
        }
        path.pop();
    }
}
