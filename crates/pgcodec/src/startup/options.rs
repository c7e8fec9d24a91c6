//! The `options` startup parameter: command-line switches for the server process (`pg_split_opts`, `process_postgres_switches`).
//!
//! What is refused: everything but `-c name=value`, `-cname=value` and `--name=value`, a switch without a value, and a name
//! that is not one of a setting. Nothing is passed on as text: the caller rebuilds what its policy allows.

use crate::Violation;

/// Splits an `options` value into settings in their order. `-` in a name written with `--` means `_`, as for the server.
/// Names come back in lower case; a name may occur more than once, the last one counts.
///
/// # Errors
/// See the module documentation.
pub fn parse_options(options: &str) -> Result<Vec<(String, String)>, Violation> {
    let mut words = split(options).into_iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let setting = if let Some(long) = word.strip_prefix("--") {
            long.to_owned()
        } else if word == "-c" {
            words.next().ok_or_else(|| malformed("options ends after -c"))?
        } else if let Some(short) = word.strip_prefix("-c") {
            short.to_owned()
        } else {
            return Err(malformed("options holds more than -c name=value and --name=value"));
        };
        let (name, value) = setting.split_once('=').ok_or_else(|| malformed("a setting in options has no value"))?;
        // ParseLongOption turns every dash of the name into an underscore, for both forms.
        let name = name.replace('-', "_").to_ascii_lowercase();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(malformed("a setting in options has no proper name"));
        }
        settings.push((name, value.to_owned()));
    }
    Ok(settings)
}

/// Words between white space; a backslash takes the next character as it is (`pg_split_opts`).
fn split(options: &str) -> Vec<String> {
    // isspace() in the C locale, which has vertical tab and form feed but none of Unicode's.
    let space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}');
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        if space(c) {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_default();
        match c {
            // A backslash at the very end is dropped, as the server does.
            '\\' => word.extend(chars.next()),
            c => word.push(c),
        }
    }
    words.extend(word);
    words
}

fn malformed(what: &'static str) -> Violation {
    Violation::Malformed { message: "startup", what }
}
