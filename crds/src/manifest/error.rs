//! What is wrong with a file of objects, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Everything that is wrong; its text has one line for each.
#[derive(Debug)]
pub struct ManifestErrors(pub Vec<ManifestError>);

/// One thing that is wrong. Its text names the file, the document, the object, the field and what to do.
#[derive(Debug)]
pub struct ManifestError {
    pub file: PathBuf,
    /// From 1; `None` when the file as a whole is meant.
    pub document: Option<usize>,
    /// For example `AccessTarget agents/orders-db`, once that much was understood.
    pub object: Option<String>,
    /// For example `spec.targets[0].postgres`; empty for the document as a whole.
    pub path: String,
    pub problem: Problem,
}

#[derive(thiserror::Error, Debug)]
pub enum Problem {
    #[error("cannot be read ({0}): check the path and its permissions")]
    Unreadable(#[source] std::io::Error),
    #[error("is not UTF-8 text: save it as UTF-8")]
    NotText,
    #[error("{what} has at most {} KiB: split it", limit / 1024)]
    TooLarge { what: &'static str, limit: usize },
    #[error("has more than {0} YAML files: use fewer files, each with several documents")]
    TooMany(usize),
    #[error("is not valid YAML: {0}")]
    Syntax(String),
    #[error("is missing: {0}")]
    Missing(&'static str),
    #[error("unknown {what} `{found}`: expected {expected}")]
    Unknown { what: &'static str, found: String, expected: String },
    #[error("{0}")]
    Invalid(String),
    #[error("this object stands in {0} too: rename or remove one of them")]
    Duplicate(String),
}

impl ManifestError {
    pub(super) fn of_file(file: &Path, problem: Problem) -> Self {
        Self { file: file.to_owned(), document: None, object: None, path: String::new(), problem }
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.file.display().to_string();
        if let Some(document) = self.document {
            text.push_str(&format!(", document {document}"));
        }
        if let Some(object) = &self.object {
            text.push_str(&format!(" ({object})"));
        }
        if !self.path.is_empty() {
            text.push_str(&format!(": {}", self.path));
        }
        text.push_str(&format!(": {}", self.problem));
        // Names and keys come from the file: they must not steer a terminal or forge a second line.
        text.chars().try_for_each(|c| {
            let harmless = !c.is_control()
                && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}');
            if harmless { write!(f, "{c}") } else { write!(f, "{}", c.escape_unicode()) }
        })
    }
}

impl std::error::Error for ManifestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The text of the problem is part of ours already.
        std::error::Error::source(&self.problem)
    }
}

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(error, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ManifestErrors {}
