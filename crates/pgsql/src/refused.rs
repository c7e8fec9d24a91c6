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
}

impl Refused {
    /// A refusal without advice.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: None }
    }

    /// Adds advice on what to do instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
