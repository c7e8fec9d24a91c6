//! An entry as the bytes of its line.
//!
//! `v` and `seq` stand first and `prev` last, so that everything between them is rendered before the writer's lock is
//! taken, and so that the field `prev` can be told from the rest of a line that was tampered with.

use std::io::Write as _;

use super::{Entry, VERSION, bound};
use crate::chain::Hash;

/// When an entry was submitted.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    pub(crate) mono_ns: u64,
    /// RFC 3339, UTC, milliseconds.
    pub(crate) wall: String,
}

/// Everything between `seq` and `prev`, after the lengths were bounded.
pub(crate) fn middle(entry: &mut Entry, stamp: &Stamp) -> Result<Vec<u8>, serde_json::Error> {
    bound::entry(entry);
    let body = serde_json::to_vec(&entry.body)?;
    let inner = body.strip_prefix(b"{").and_then(|b| b.strip_suffix(b"}")).unwrap_or_default();
    let mut out = Vec::with_capacity(inner.len() + 192);
    let io = serde_json::Error::io;
    write!(out, r#","code":"{}","mono_ns":{},"wall":"{}""#, entry.body.code(), stamp.mono_ns, stamp.wall)
        .map_err(io)?;
    for (name, value) in [("session", &entry.session), ("op", &entry.op)] {
        if let Some(value) = value {
            write!(out, r#","{name}":"#).map_err(io)?;
            serde_json::to_writer(&mut out, value)?;
        }
    }
    out.push(b',');
    out.extend_from_slice(inner);
    Ok(out)
}

/// Appends the whole line, newline included, to `out`.
pub(crate) fn finish(out: &mut Vec<u8>, seq: u64, middle: &[u8], prev: &Hash) {
    out.extend_from_slice(format!(r#"{{"v":{VERSION},"seq":{seq}"#).as_bytes());
    out.extend_from_slice(middle);
    out.extend_from_slice(br#","prev":"sha256:"#);
    out.extend_from_slice(prev.to_hex().as_bytes());
    out.extend_from_slice(b"\"}\n");
}
