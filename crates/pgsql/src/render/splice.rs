//! The second way to write a change: into the source text, at the places of its nodes.
//!
//! Refuses texts with a backslash, `U&`, a dollar quote or a comment, where a byte offset alone does not tell what the
//! server reads. It lexes only names, so its result proves nothing: [`super::render_checked`] compares it.

use crate::{Parsed, Refused};

/// One change in the source text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Byte offset of the node (`RangeVar.location`, `ColumnRef.location`).
    pub location: i32,
    /// How many dotted names to replace from there on; 0 inserts before the location.
    pub names: usize,
    /// Whether a `*` after the names (`FROM t *`) goes with them.
    pub star: bool,
    /// What to put there.
    pub text: String,
}

/// The source text with `edits` made. Not proven to mean anything.
///
/// # Errors
/// [`Refused`] when the text has lexical forms the splice does not read, or an edit does not meet names.
pub fn substitute_text(source: &Parsed, edits: &[Edit]) -> Result<String, Refused> {
    splice(source.text(), edits)
}

fn splice(text: &str, edits: &[Edit]) -> Result<String, Refused> {
    if !plain(text) {
        return Err(Refused::new(
            "a text with a backslash, `U&`, a dollar quote or a comment cannot be changed in place",
        ));
    }
    let mut edits: Vec<&Edit> = edits.iter().collect();
    edits.sort_by_key(|edit| edit.location);
    let mut out = String::with_capacity(text.len());
    let mut done = 0_usize;
    for edit in edits {
        let start = usize::try_from(edit.location).map_err(|_| misplaced())?;
        let end =
            start.checked_add(names_len(text.get(start..).ok_or_else(misplaced)?, edit)?).ok_or_else(misplaced)?;
        out.push_str(text.get(done..start).ok_or_else(misplaced)?);
        out.push_str(&edit.text);
        done = end;
    }
    out.push_str(text.get(done..).ok_or_else(misplaced)?);
    Ok(out)
}

fn misplaced() -> Refused {
    Refused::new("a change in the text does not meet a name")
}

/// Whether only quotes, names, numbers, operators and `$n` occur, as far as bytes tell.
fn plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let pairs = bytes.iter().zip(bytes.iter().skip(1).chain(std::iter::once(&b' ')));
    for (byte, next) in pairs {
        let odd = match (byte, next) {
            (b'\\', _) | (b'-', b'-') | (b'/', b'*') | (b'u' | b'U', b'&') => true,
            (b'$', next) => !next.is_ascii_digit(),
            _ => false,
        };
        if odd {
            return false;
        }
    }
    true
}

/// Bytes of `edit.names` dotted names, and of the star, at the start of `text`.
fn names_len(text: &str, edit: &Edit) -> Result<usize, Refused> {
    let mut rest = text;
    for number in 0..edit.names {
        if number > 0 {
            rest = blank(blank(rest).strip_prefix('.').ok_or_else(misplaced)?);
        }
        rest = after_name(rest).ok_or_else(misplaced)?;
    }
    if edit.star
        && let Some(after) = blank(rest).strip_prefix('*')
    {
        rest = after;
    }
    text.len().checked_sub(rest.len()).ok_or_else(misplaced)
}

fn blank(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}'])
}

/// What follows one name, plain or in double quotes.
fn after_name(text: &str) -> Option<&str> {
    if let Some(mut rest) = text.strip_prefix('"') {
        loop {
            let (_, after) = rest.split_once('"')?;
            match after.strip_prefix('"') {
                Some(more) => rest = more,
                None => return Some(after),
            }
        }
    }
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii());
    (rest.len() < text.len() && !text.starts_with(|c: char| c.is_ascii_digit() || c == '$')).then_some(rest)
}
