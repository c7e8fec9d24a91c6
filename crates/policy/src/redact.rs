//! `Redacted`: the only kind of text that may reach logs, recordings and approvals.

use std::fmt;
use std::sync::Arc;

/// Text from which every governed value was taken out, with control and bidi characters escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    text: Arc<str>,
    /// Something was left out because it was too long: a person must not decide on it.
    cut: bool,
}

impl Default for Redacted {
    fn default() -> Self {
        Self::constant("")
    }
}

impl Redacted {
    /// Text of our own, with nothing of the agent's or the target's in it.
    pub fn constant(text: &'static str) -> Self {
        Self { text: Arc::from(text), cut: false }
    }

    /// The caller has replaced every governed value. Control, ANSI and bidi characters are escaped here.
    pub fn danger_caller_redacted(text: &str) -> Self {
        Self { text: Arc::from(escape(text)), cut: false }
    }

    /// As [`Self::danger_caller_redacted`], for a text of which something was left out.
    pub fn danger_caller_redacted_and_cut(text: &str) -> Self {
        Self { text: Arc::from(escape(text)), cut: true }
    }

    /// Nothing was left out.
    pub fn is_whole(&self) -> bool {
        !self.cut
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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
