//! Why a statement is not handled.
//!
//! Invariant: the texts name constructs, node types, fields and limits, never a value of the statement. They reach the
//! agent, logs and recordings, where a literal or an identifier of the statement may be governed data.

/// A statement, or a part of it, that is not understood and therefore not passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// What is refused: names of constructs or objects only.
    pub reason: String,
    /// What the caller can do instead.
    pub hint: Option<String>,
    /// What it is in PostgreSQL's own terms, so that agents and drivers recognise their everyday mistakes.
    pub code: Code,
}

/// The kind of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Code {
    /// Not supported, not provable, or never allowed.
    #[default]
    NotUnderstood,
    /// The grammar does not accept it.
    Syntax,
    UndefinedRelation,
    UndefinedColumn,
}

impl Code {
    /// The SQLSTATE (PostgreSQL documentation, appendix A).
    pub fn sqlstate(self) -> &'static str {
        match self {
            Self::NotUnderstood => "42501",
            Self::Syntax => "42601",
            Self::UndefinedRelation => "42P01",
            Self::UndefinedColumn => "42703",
        }
    }
}

impl Refused {
    /// A refusal without advice.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: None, code: Code::default() }
    }

    /// Says what it is in PostgreSQL's own terms.
    #[must_use]
    pub fn code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// Adds advice on what to do instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
