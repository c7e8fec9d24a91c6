//! A finished span, with attributes whose names are ours: nothing that an agent or a target says becomes a name.

use std::borrow::Cow;
use std::time::SystemTime;

use crate::ids::{SpanId, TraceId};

/// Longest text of one value, in bytes; the rest is left out.
pub(crate) const MOST_TEXT: usize = 256;
/// Most texts in one value.
const MOST_TEXTS: usize = 16;

#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub trace: TraceId,
    pub id: SpanId,
    pub parent: Option<SpanId>,
    /// A span of another trace that this one belongs to.
    pub link: Option<(TraceId, SpanId)>,
    pub name: Cow<'static, str>,
    pub kind: Kind,
    pub begin: SystemTime,
    pub end: SystemTime,
    pub attributes: Attributes,
    /// A word of ours for what went wrong.
    pub failed: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Internal,
    Server,
    Client,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Word(&'static str),
    Texts(Vec<String>),
    Number(i64),
    Flag(bool),
}

/// Names and values, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub(crate) Vec<(&'static str, Value)>);

// === impl Attributes ===

impl Attributes {
    pub fn text(&mut self, name: &'static str, text: &str) {
        self.0.push((name, Value::Text(cut(text, MOST_TEXT).to_owned())));
    }

    /// The same for a text that may not be there.
    pub fn maybe(&mut self, name: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    pub fn word(&mut self, name: &'static str, word: &'static str) {
        self.0.push((name, Value::Word(word)));
    }

    pub fn texts<'a>(&mut self, name: &'static str, texts: impl IntoIterator<Item = &'a str>) {
        let texts = texts.into_iter().take(MOST_TEXTS).map(|text| cut(text, MOST_TEXT).to_owned());
        self.0.push((name, Value::Texts(texts.collect())));
    }

    /// What is larger than a number of OTLP is told as the largest.
    pub fn number(&mut self, name: &'static str, number: u64) {
        self.0.push((name, Value::Number(i64::try_from(number).unwrap_or(i64::MAX))));
    }

    pub fn flag(&mut self, name: &'static str, flag: bool) {
        self.0.push((name, Value::Flag(flag)));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }
}

/// As much of it as fits, whole characters only.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    text.split_at_checked(text.floor_char_boundary(most)).map_or(text, |(kept, _)| kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_a_bound() {
        let mut attributes = Attributes::default();
        attributes.text("a", &"é".repeat(1000));
        attributes.texts("b", std::iter::repeat_n("x", 1000));
        attributes.number("c", u64::MAX);
        let values: Vec<_> = attributes.iter().map(|(_, value)| value.clone()).collect();
        assert_eq!(values[0], Value::Text("é".repeat(MOST_TEXT / 2)));
        assert_eq!(values[1], Value::Texts(vec!["x".to_owned(); MOST_TEXTS]));
        assert_eq!(values[2], Value::Number(i64::MAX));
        assert_eq!(cut("aé", 2), "a");
    }
}
