//! `Redacted`: the only kind of text that may reach logs, recordings and approvals.

use std::fmt;
use std::sync::Arc;

mod flat;

pub use flat::{flat, remark, summary};

/// Text from which every governed value was taken out, with control characters and what cannot be seen escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    text: Arc<str>,
    /// Something was left out, because it was too long or hidden too widely: a person must not decide on it.
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

    /// The caller has replaced every governed value. Control, ANSI and bidi characters and those that cannot be seen are escaped here.
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

    /// Nothing in it starts a new line: only such a text may be shown to a person who decides.
    pub fn is_flat(&self) -> bool {
        !self.text.contains(['\n', '\t'])
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

/// Characters that show nothing, change the order of others or look like a space: format characters and default ignorable
/// ones of Unicode 16, separators but for the space, and the blank pattern of Braille.
const UNSEEN: &[(char, char)] = &[
    ('\u{a0}', '\u{a0}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{2000}', '\u{200f}'),
    ('\u{2028}', '\u{202f}'),
    ('\u{205f}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3000}', '\u{3000}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

fn unseen(c: char) -> bool {
    let at = UNSEEN.partition_point(|(_, last)| *last < c);
    UNSEEN.get(at).is_some_and(|(first, _)| *first <= c)
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if (c.is_control() && c != '\n' && c != '\t') || unseen(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        assert!(UNSEEN.is_sorted() && UNSEEN.iter().all(|(first, last)| first <= last));
        for c in [
            '\0',
            '\u{1b}',
            '\r',
            '\u{7f}',
            '\u{9b}',
            '\u{a0}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{1160}',
            '\u{17b4}',
            '\u{180e}',
            '\u{2003}',
            '\u{200b}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202e}',
            '\u{202f}',
            '\u{2060}',
            '\u{2065}',
            '\u{2069}',
            '\u{206f}',
            '\u{2800}',
            '\u{3000}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{110bd}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e01ef}',
        ] {
            assert_eq!(escape(&format!("a{c}b")), format!("a\\u{{{:x}}}b", u32::from(c)));
        }
        let plain = "a b\n\tzéñ 日本語 ñ ا 'ß' 😀 €–…";
        assert_eq!(escape(plain), plain);
    }
}
