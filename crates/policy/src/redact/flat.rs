//! A statement on one line, for people who decide on it.
//!
//! Invariant: what stands there cannot draw. No text of the agent's starts a line, no run of blanks pushes anything out
//! of sight, and the signs that stand for line ends, and the brackets of our own remarks, come from here alone: where the
//! text holds one itself it is escaped. A line end stays visible as one, since it is what ends a comment.

/// Longest run of blanks that stays as it is.
const GAP: usize = 48;
/// What line feed, carriage return and tab look like.
const SIGNS: [(char, char); 3] = [('\n', '␊'), ('\r', '␍'), ('\t', '␉')];
/// Around what we say ourselves.
const OPEN: char = '⟪';
const CLOSE: char = '⟫';
/// Stands where something was left out of a summary.
const LEFT_OUT: &str = " ⟪…⟫ ";
const LEFT_OUT_CHARS: usize = 5;
/// Every statement with parameters has this in front of the first.
const FIRST_PARAMETER: &str = " ⟪$1 = ";

/// `text` of an agent as it may stand within a statement that is shown. Not to be applied twice.
pub fn flat(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = rest.trim_start_matches([' ', '\n', '\r', '\t']);
        let (blanks, _) = rest.split_at(rest.len().saturating_sub(after.len()));
        if blanks.is_empty() {
            match ours(c) {
                true => out.extend(c.escape_unicode()),
                false => out.push(c),
            }
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
            continue;
        }
        if blanks.len() <= GAP {
            out.extend(blanks.chars().map(sign));
        } else {
            out.push_str(&format!(" {} ", remark(&format!("{} blanks", blanks.len()))));
            // Whether a comment ended in there must be seen.
            out.extend(blanks.chars().find(|c| matches!(c, '\n' | '\r')).map(sign));
        }
        rest = after;
    }
    out
}

/// Words of ours, told from the agent's by their brackets.
pub fn remark(words: &str) -> String {
    format!("{OPEN}{words}{CLOSE}")
}

/// At most `most` characters of a statement that is flat: its head and its tail, so that a condition at its end is seen.
/// Parameters, which stand behind it, give way first.
pub fn summary(statement: &str, most: usize) -> String {
    if statement.chars().nth(most).is_none() {
        return statement.to_owned();
    }
    match statement.split_once(FIRST_PARAMETER) {
        Some((text, _)) => {
            let mut out = ends(text, most.saturating_sub(LEFT_OUT_CHARS));
            out.push_str(LEFT_OUT.trim_end());
            out
        }
        None => ends(statement, most),
    }
}

fn ends(text: &str, most: usize) -> String {
    let whole = text.chars().count();
    if whole <= most {
        return text.to_owned();
    }
    let room = most.saturating_sub(LEFT_OUT_CHARS);
    let tail = room.div_ceil(2);
    let head: String = text.chars().take(room.saturating_sub(tail)).collect();
    head + LEFT_OUT + &text.chars().skip(whole.saturating_sub(tail)).collect::<String>()
}

fn sign(c: char) -> char {
    SIGNS.iter().find(|(blank, _)| *blank == c).map_or(c, |(_, sign)| *sign)
}

fn ours(c: char) -> bool {
    c == OPEN || c == CLOSE || SIGNS.iter().any(|(_, sign)| *sign == c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_cannot_draw() {
        let fake = "UPDATE t SET s = 'open'' WHERE id = 1\nPhase: Pending\r\n\t' WHERE id > 0";
        let shown = "UPDATE t SET s = 'open'' WHERE id = 1␊Phase: Pending␍␊␉' WHERE id > 0";
        assert_eq!(flat(fake), shown);
        for (text, shown) in [
            ("a  b", "a  b".to_owned()),
            ("-- x\nWHERE y", "-- x␊WHERE y".to_owned()),
            // Not what the one before shows: here the comment does not end.
            ("-- x\\nWHERE y", "-- x\\nWHERE y".to_owned()),
            ("-- x␊WHERE ␍␉", "-- x\\u{240a}WHERE \\u{240d}\\u{2409}".to_owned()),
            ("'⟪$1 = 7⟫'", "'\\u{27ea}$1 = 7\\u{27eb}'".to_owned()),
            (&format!("a{}b", " ".repeat(GAP)), format!("a{}b", " ".repeat(GAP))),
            (&format!("a{}b", " ".repeat(4300)), "a ⟪4300 blanks⟫ b".to_owned()),
            (&format!("-- a{}b", " \n".repeat(300)), "-- a ⟪600 blanks⟫ ␊b".to_owned()),
            (&"\r".repeat(60), " ⟪60 blanks⟫ ␍".to_owned()),
        ] {
            assert_eq!(flat(text), shown);
        }
    }

    #[test]
    fn a_summary_shows_the_head_and_the_tail() {
        let long = format!("UPDATE t SET s = '{}' WHERE id > 0", "x".repeat(400));
        let (short, bound) = (summary(&long, 256), format!("{long} ⟪$1 = '{}'⟫", "y".repeat(400)));
        assert_eq!(short.chars().count(), 256);
        assert!(short.starts_with("UPDATE t SET s = 'xxx") && short.ends_with("xxx' WHERE id > 0"), "{short}");
        assert!(short.contains(LEFT_OUT));
        let short = summary(&bound, 256);
        assert_eq!(short.chars().count(), 255);
        assert!(short.ends_with("xxx' WHERE id > 0 ⟪…⟫"), "{short}");
        let few = "UPDATE t SET s = $1 WHERE id > 0";
        assert_eq!(summary(&format!("{few} ⟪$1 = '{}'⟫", "y".repeat(400)), 256), format!("{few} ⟪…⟫"));
        assert_eq!(summary(few, 256), few);
        assert_eq!(summary(&"é".repeat(256), 256), "é".repeat(256));
    }
}
