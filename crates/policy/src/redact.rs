//! `Redacted`: the only kind of text that may reach logs, recordings and approvals.

use std::fmt;

/// Text from which every governed value was taken out, with control and bidi characters escaped.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Redacted(String);

impl Redacted {
    /// Text of our own, with nothing of the agent's or the target's in it.
    pub fn constant(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    /// The caller has replaced every governed value. Control, ANSI and bidi characters are escaped here.
    pub fn danger_caller_redacted(text: &str) -> Self {
        Self(escape(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let bidi = matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        if (c.is_control() && c != '\n' && c != '\t') || bidi {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}
