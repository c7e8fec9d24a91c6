//! Lines that are not sealed yet, on their way into a store: judged by what each says of the one before it.
//!
//! Refused: half a line, what is no line of this version, and one that does not continue the last. Not looked at is what
//! needs the whole segment, its header and the signatures of its checkpoints: that is [`crate::segment`]'s, once it is
//! sealed, and `verify`'s. Invariant: two stretches that follow the same end and agree in their last line are the same.

use crate::chain::Hash;
use crate::entry::{KINDS, MAX_LINE, VERSION};
use crate::walk::Lean;

/// Where lines end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// How many there are from the first.
    pub size: u64,
    /// Hash of the last one.
    pub last: Hash,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TailError {
    #[error("half a line stands where entry {seq} should")]
    Torn { seq: u64 },
    #[error("what stands where entry {seq} should is none: {why}")]
    Line { seq: u64, why: String },
    /// Of the right place, or of another one, it continues other lines than those before it.
    #[error("the line that comes as entry {seq} does not continue the one before it")]
    NotNext { seq: u64 },
}

/// Where `lines` end, which must continue `start`.
///
/// # Errors
/// With the first thing that is wrong.
pub fn follow(lines: &[u8], start: End) -> Result<End, TailError> {
    let mut end = start;
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let seq = end.size;
        let bad = |why: String| TailError::Line { seq, why };
        if !line.ends_with(b"\n") {
            return Err(TailError::Torn { seq });
        }
        if line.len() > MAX_LINE {
            return Err(bad(format!("it has {} bytes, of {MAX_LINE} at most", line.len())));
        }
        let lean: Lean<'_> = serde_json::from_slice(line).map_err(|error| bad(error.to_string()))?;
        if lean.v != u64::from(VERSION) {
            return Err(bad(format!("it has version {} of the format, this program knows {VERSION}", lean.v)));
        }
        if !KINDS.contains(&&*lean.kind) {
            return Err(bad("it is of no kind that is known".to_owned()));
        }
        if lean.seq != seq || !lean.links(&end.last) {
            return Err(TailError::NotNext { seq });
        }
        end = End { size: seq.saturating_add(1), last: Hash::of(line) };
    }
    Ok(end)
}
