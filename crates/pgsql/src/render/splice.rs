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
    // A node the tree shares is reached, and reported, more than once.
    edits.dedup();
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

#[cfg(test)]
mod tests {
    use super::{Edit, splice};

    fn change(text: &str, at: &str, names: usize, star: bool, with: &str) -> Option<String> {
        let location = i32::try_from(text.find(at).unwrap()).unwrap();
        splice(text, &[Edit { location, names, star, text: with.to_owned() }]).ok()
    }

    #[test]
    fn names_are_replaced_as_far_as_asked() {
        let rows = [
            ("SELECT a FROM t", "t", 1, false, "X", "SELECT a FROM X"),
            ("SELECT a FROM t", "t", 0, false, "s.", "SELECT a FROM s.t"),
            ("SELECT a FROM s.t x", "s.", 2, false, "X", "SELECT a FROM X x"),
            ("SELECT a FROM s \n. \t t", "s \n", 2, false, "X", "SELECT a FROM X"),
            ("SELECT a FROM \"s\".\"t\"\".\" b", "\"s", 2, false, "X", "SELECT a FROM X b"),
            ("SELECT a FROM t *, u", "t *", 1, true, "X", "SELECT a FROM X, u"),
            ("SELECT a FROM t, u", "t,", 1, true, "X", "SELECT a FROM X, u"),
            ("SELECT täb.a FROM täb", "täb", 2, false, "X", "SELECT X FROM täb"),
            ("SELECT t.* FROM t", "t.", 1, false, "X", "SELECT X.* FROM t"),
            ("SELECT $1 FROM t_$1", "t_", 1, false, "X", "SELECT $1 FROM X"),
        ];
        for (text, at, names, star, with, expected) in rows {
            assert_eq!(change(text, at, names, star, with).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_name_or_not_there_is_refused() {
        let rows = [
            ("SELECT 'a'", "'a'", 1),
            ("SELECT 1", "1", 1),
            ("SELECT a.1", "a", 2),
            ("SELECT a", "a", 2),
            ("SELECT \"a", "\"a", 1),
        ];
        for (text, at, names) in rows {
            assert_eq!(change(text, at, names, false, "X"), None, "{text}");
        }
        for location in [-1, 9, i32::MAX] {
            assert!(splice("SELECT a", &[Edit { location, names: 1, star: false, text: String::new() }]).is_err());
        }
        // Inside a character of two bytes.
        assert!(splice("SELECT \u{e4}", &[Edit { location: 8, names: 1, star: false, text: String::new() }]).is_err());
    }

    #[test]
    fn several_edits_keep_their_places_and_a_shared_one_counts_once() {
        let edit = |location, text: &str| Edit { location, names: 1, star: false, text: text.to_owned() };
        let text = "SELECT a FROM t, u";
        let both = [edit(17, "U"), edit(14, "(TT)"), edit(17, "U")];
        assert_eq!(splice(text, &both).unwrap(), "SELECT a FROM (TT), U");
        assert!(splice(text, &[edit(17, "U"), edit(17, "V")]).is_err());
        let overlap = [Edit { names: 2, ..edit(0, "X") }, edit(2, "Y")];
        assert!(splice("a.b", &overlap).is_err());
    }

    #[test]
    fn lexical_forms_that_bytes_do_not_tell_are_refused() {
        for text in ["'\\' FROM t", "U&'x', t", "u&\"x\" t", "$$ $$, t", "$a$t$a$", "t -- c", "t /* c */", "a$"] {
            assert!(splice(text, &[]).is_err(), "{text}");
        }
        assert_eq!(splice("a - b / c * $1 & u & d", &[]).unwrap(), "a - b / c * $1 & u & d");
    }
}
