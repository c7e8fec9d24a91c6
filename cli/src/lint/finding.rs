//! One thing that is wrong, under a code that does not change.

use anyhow::Result;
use crds::manifest::Problem;
use serde::{Serialize, Serializer};

use crate::screen::{Paint, Screen, line};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Code {
    Unreadable,
    Syntax,
    Missing,
    Unknown,
    Invalid,
    Duplicate,
    TooLarge,
    Exposed,
    Schema,
    NotCompiled,
    Suspicious,
    NoSuchName,
    KeptOlder,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(super) enum Weight {
    Error,
    Warning,
}

#[derive(Serialize, Debug)]
pub(super) struct Finding {
    pub(super) code: Code,
    pub(super) weight: Weight,
    pub(super) file: Option<String>,
    /// From 1.
    pub(super) document: Option<usize>,
    pub(super) object: Option<String>,
    /// For example `spec.targets[0].postgres`; empty for the whole.
    pub(super) field: String,
    /// What is wrong and what to do.
    pub(super) text: String,
}

impl Code {
    pub(super) fn of_problem(problem: &Problem) -> Self {
        match problem {
            Problem::Unreadable(_) | Problem::NotText => Self::Unreadable,
            Problem::TooLarge { .. } | Problem::TooMany(_) => Self::TooLarge,
            Problem::Syntax(_) => Self::Syntax,
            Problem::Missing(_) => Self::Missing,
            Problem::Unknown { .. } => Self::Unknown,
            // A field that is not known is told by the reader of the object.
            Problem::Invalid(text) if text.starts_with("unknown ") => Self::Unknown,
            Problem::Invalid(text) if text.starts_with("missing ") => Self::Missing,
            Problem::Invalid(_) => Self::Invalid,
            Problem::Duplicate(_) => Self::Duplicate,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Unreadable => "AA0101",
            Self::Syntax => "AA0102",
            Self::Missing => "AA0103",
            Self::Unknown => "AA0104",
            Self::Invalid => "AA0105",
            Self::Duplicate => "AA0106",
            Self::TooLarge => "AA0107",
            Self::Exposed => "AA0108",
            Self::Schema => "AA0110",
            Self::NotCompiled => "AA0111",
            Self::Suspicious => "AA0120",
            Self::NoSuchName => "AA0121",
            Self::KeptOlder => "AA0130",
        }
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

impl Finding {
    /// The place on one line, what is wrong on the next.
    pub(super) fn say(&self, screen: &mut Screen) -> Result<()> {
        let (paint, word) = match self.weight {
            Weight::Error => (Paint::Bad, "error"),
            Weight::Warning => (Paint::Waiting, "warning"),
        };
        let mut place = self.file.clone().unwrap_or_default();
        if let Some(document) = self.document {
            place.push_str(&format!(", document {document}"));
        }
        if let Some(object) = &self.object {
            let object = if place.is_empty() { object.clone() } else { format!(" ({object})") };
            place.push_str(&object);
        }
        let field = if self.field.is_empty() { String::new() } else { format!("{}: ", self.field) };
        let head = screen.paint(&format!("{word} {}", self.code.text()), paint);
        screen.say(&format!("{head}  {}", line(&place)))?;
        screen.say(&format!("    {}", line(&format!("{field}{}", self.text))))
    }
}
