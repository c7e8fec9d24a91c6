//! Bind parameters as reviewers see them: every value but those that are written to or compared with masked columns.

use policy::redact::flat;

/// Most bytes of a value that are shown: a statement with a longer one nobody can approve.
const SHOWN: usize = 4 * 1024;

#[derive(Clone, Copy, Debug)]
pub struct Parameter<'a> {
    /// 0 where neither the client nor the server has said.
    pub type_oid: u32,
    pub binary: bool,
    pub value: Option<&'a [u8]>,
}

/// A value in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub text: String,
    /// Nothing was left out because it was too long.
    pub whole: bool,
}

/// Each parameter, flat: `$1 = 'paid'`; numbers in `hidden` show `?`.
pub fn display<'a>(parameters: &'a [Parameter<'a>], hidden: &'a [u32]) -> impl Iterator<Item = Shown> + 'a {
    (1_u32..).zip(parameters).map(|(number, parameter)| {
        let shown = if hidden.contains(&number) { whole("?") } else { value(parameter) };
        Shown { text: format!("${number} = {}", flat(&shown.text)), ..shown }
    })
}

fn whole(text: impl Into<String>) -> Shown {
    Shown { text: text.into(), whole: true }
}

fn value(parameter: &Parameter<'_>) -> Shown {
    let Some(bytes) = parameter.value else { return whole("NULL") };
    if parameter.binary {
        return binary(parameter.type_oid, bytes).unwrap_or_else(|| hex(bytes));
    }
    std::str::from_utf8(bytes).map_or_else(|_| hex(bytes), quoted)
}

/// One cell of a result, for the recording: text without quotes, tabs and line ends escaped as COPY does.
pub fn cell(value: &Parameter<'_>) -> String {
    let Some(bytes) = value.value else { return "\\N".to_owned() };
    let shown = if value.binary && ![19, 25, 1042, 1043].contains(&value.type_oid) {
        binary(value.type_oid, bytes).map(|shown| shown.text)
    } else {
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    };
    shown
        .unwrap_or_else(|| hex(bytes).text)
        .replace('\\', "\\\\")
        .replace('\t', "\\t")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
}

/// A value of one line, so that none looks like the next parameter.
fn quoted(text: &str) -> Shown {
    let shown = text.get(..text.floor_char_boundary(SHOWN)).unwrap_or_default();
    let mut out = match shown.contains(['\n', '\r', '\t']) {
        true => {
            let escaped = shown.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
            format!("E'{}'", escaped.replace('\'', "''"))
        }
        false => format!("'{}'", shown.replace('\'', "''")),
    };
    let whole = shown.len() == text.len();
    if !whole {
        out.push_str(&format!(" (first {} of {} bytes)", shown.len(), text.len()));
    }
    Shown { text: out, whole }
}

fn hex(bytes: &[u8]) -> Shown {
    let mut out = String::from("'\\x");
    for byte in bytes.iter().take(SHOWN) {
        out.push_str(&format!("{byte:02x}"));
    }
    out.push('\'');
    let whole = bytes.len() <= SHOWN;
    if !whole {
        out.push_str(&format!(" (first {SHOWN} of {} bytes)", bytes.len()));
    }
    Shown { text: out, whole }
}

/// The binary forms that drivers use for everyday types (`typsend` of PostgreSQL); others are shown in hex.
fn binary(type_oid: u32, bytes: &[u8]) -> Option<Shown> {
    Some(whole(match type_oid {
        16 => match bytes {
            [0] => "false".to_owned(),
            [1] => "true".to_owned(),
            _ => return None,
        },
        20 => i64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        21 => i16::from_be_bytes(bytes.try_into().ok()?).to_string(),
        23 => i32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        26 => u32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        700 => f32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        701 => f64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        19 | 25 | 1042 | 1043 => return Some(quoted(std::str::from_utf8(bytes).ok()?)),
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_but_the_hidden_ones() {
        let rows: [(Parameter<'_>, &str); 8] = [
            (Parameter { type_oid: 0, binary: false, value: None }, "NULL"),
            (Parameter { type_oid: 0, binary: false, value: Some(b"it's") }, "'it''s'"),
            (Parameter { type_oid: 0, binary: false, value: Some(b"a\n$2 = 'b\\'") }, r"E'a\n$2 = ''b\\'''"),
            (Parameter { type_oid: 23, binary: true, value: Some(&[0, 0, 1, 0]) }, "256"),
            (Parameter { type_oid: 23, binary: true, value: Some(&[1]) }, "'\\x01'"),
            (Parameter { type_oid: 16, binary: true, value: Some(&[1]) }, "true"),
            (Parameter { type_oid: 25, binary: true, value: Some(b"a") }, "'a'"),
            (Parameter { type_oid: 17, binary: true, value: Some(&[0xde, 0xad]) }, "'\\xdead'"),
        ];
        for (parameter, expected) in rows {
            assert_eq!(display(&[parameter], &[]).collect::<Vec<_>>(), [whole(format!("$1 = {expected}"))]);
            assert_eq!(display(&[parameter], &[1]).collect::<Vec<_>>(), [whole("$1 = ?")]);
        }
    }

    #[test]
    fn a_value_is_shown_whole_or_says_that_it_is_not() {
        let one = |value: &[u8], binary, type_oid| {
            display(&[Parameter { type_oid, binary, value: Some(value) }], &[]).next().unwrap()
        };
        for (text, fits) in [("x".repeat(SHOWN), true), ("x".repeat(SHOWN + 1), false), ("é".repeat(SHOWN), false)] {
            for (binary, type_oid) in [(false, 0), (false, 25), (true, 25), (true, 17), (true, 114)] {
                let shown = one(text.as_bytes(), binary, type_oid);
                assert_eq!(shown.whole, fits, "{shown:?}");
                assert_eq!(shown.text.contains(&format!("(first {SHOWN} of {} bytes)", text.len())), !fits);
            }
        }
        // Nothing after the blanks is lost, and no value ends the brackets around it.
        let array = format!("{{1{},2,3}}", " ".repeat(220));
        assert_eq!(one(array.as_bytes(), false, 1007), whole("$1 = '{1 ⟪220 blanks⟫ ,2,3}'"));
        assert_eq!(one("a⟫ ⟪$2 = 7".as_bytes(), false, 25), whole(r"$1 = 'a\u{27eb} \u{27ea}$2 = 7'"));
    }
}
