//! Bind parameters as reviewers see them: every value but those that are written to or compared with masked columns.

/// Longest value shown, in characters.
const SHOWN: usize = 200;

#[derive(Clone, Copy, Debug)]
pub struct Parameter<'a> {
    /// 0 where neither the client nor the server has said.
    pub type_oid: u32,
    pub binary: bool,
    pub value: Option<&'a [u8]>,
}

/// One line for each parameter, `$1 = 'paid'`; numbers in `hidden` show `?`.
pub fn display<'a>(parameters: &'a [Parameter<'a>], hidden: &'a [u32]) -> impl Iterator<Item = String> + 'a {
    (1_u32..).zip(parameters).map(|(number, parameter)| {
        let shown = if hidden.contains(&number) { "?".to_owned() } else { value(parameter) };
        format!("${number} = {shown}")
    })
}

fn value(parameter: &Parameter<'_>) -> String {
    let Some(bytes) = parameter.value else { return "NULL".to_owned() };
    if parameter.binary {
        return binary(parameter.type_oid, bytes).unwrap_or_else(|| hex(bytes));
    }
    std::str::from_utf8(bytes).map_or_else(|_| hex(bytes), quoted)
}

/// One cell of a result, for the recording: text without quotes, tabs and line ends escaped as COPY does.
pub fn cell(value: &Parameter<'_>) -> String {
    let Some(bytes) = value.value else { return "\\N".to_owned() };
    let shown = if value.binary && ![19, 25, 1042, 1043].contains(&value.type_oid) {
        binary(value.type_oid, bytes)
    } else {
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    };
    shown
        .unwrap_or_else(|| hex(bytes))
        .replace('\\', "\\\\")
        .replace('\t', "\\t")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
}

fn quoted(text: &str) -> String {
    let mut out = format!("'{}", text.chars().take(SHOWN).collect::<String>().replace('\'', "''"));
    out.push('\'');
    let total = text.chars().count();
    if total > SHOWN {
        out.push_str(&format!(" (first {SHOWN} of {total} characters)"));
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::from("'\\x");
    for byte in bytes.iter().take(SHOWN / 2) {
        out.push_str(&format!("{byte:02x}"));
    }
    out.push('\'');
    if bytes.len() > SHOWN / 2 {
        out.push_str(&format!(" (first {} of {} bytes)", SHOWN / 2, bytes.len()));
    }
    out
}

/// The binary forms that drivers use for everyday types (`typsend` of PostgreSQL); others are shown in hex.
fn binary(type_oid: u32, bytes: &[u8]) -> Option<String> {
    Some(match type_oid {
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
        19 | 25 | 1042 | 1043 => quoted(std::str::from_utf8(bytes).ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_but_the_hidden_ones() {
        let rows: [(Parameter<'_>, &str); 7] = [
            (Parameter { type_oid: 0, binary: false, value: None }, "NULL"),
            (Parameter { type_oid: 0, binary: false, value: Some(b"it's") }, "'it''s'"),
            (Parameter { type_oid: 23, binary: true, value: Some(&[0, 0, 1, 0]) }, "256"),
            (Parameter { type_oid: 23, binary: true, value: Some(&[1]) }, "'\\x01'"),
            (Parameter { type_oid: 16, binary: true, value: Some(&[1]) }, "true"),
            (Parameter { type_oid: 25, binary: true, value: Some(b"a") }, "'a'"),
            (Parameter { type_oid: 17, binary: true, value: Some(&[0xde, 0xad]) }, "'\\xdead'"),
        ];
        for (parameter, expected) in rows {
            assert_eq!(display(&[parameter], &[]).collect::<Vec<_>>(), vec![format!("$1 = {expected}")]);
            assert_eq!(display(&[parameter], &[1]).collect::<Vec<_>>(), vec!["$1 = ?".to_owned()]);
        }
    }

    #[test]
    fn long_values_are_cut_and_say_so() {
        let text = "x".repeat(500);
        let parameters = [Parameter { type_oid: 25, binary: false, value: Some(text.as_bytes()) }];
        let shown: Vec<String> = display(&parameters, &[]).collect();
        assert!(shown[0].ends_with("(first 200 of 500 characters)"), "{shown:?}");
    }
}
