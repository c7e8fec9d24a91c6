//! The printed form of a tree: an oracle that shares no code with the visitor and the comparison.
#![expect(clippy::string_slice, clippy::indexing_slicing, reason = "test helpers")]

use std::collections::BTreeMap;

/// How often each node type is printed, leaving out what stands inside string values.
pub(crate) fn types(debug: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for part in outside_strings(debug) {
        for (at, _) in part.match_indices(" {") {
            let start = part[..at].rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(0, |n| n + 1);
            *found.entry(part[start..at].to_owned()).or_default() += 1;
        }
    }
    found
}

/// The printed tree without the byte offsets.
pub(crate) fn without_locations(debug: &str) -> String {
    let mut out = String::with_capacity(debug.len());
    let mut rest = debug;
    while let Some((before, number)) = rest.split_once(": ") {
        out.push_str(before);
        out.push_str(": ");
        let field = &before[before.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(0, |n| n + 1)..];
        rest = if field.ends_with("location")
            || field.ends_with("_start")
            || field.ends_with("_end")
            || field == "stmt_len"
        {
            number.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit())
        } else {
            number
        };
    }
    out + rest
}

fn outside_strings(debug: &str) -> Vec<&str> {
    let bytes = debug.as_bytes();
    let (mut parts, mut start, mut at) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        if bytes[at] == b'"' {
            parts.push(&debug[start..at]);
            at += 1;
            while bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            start = at + 1;
        }
        at += 1;
    }
    parts.push(&debug[start..]);
    parts
}
