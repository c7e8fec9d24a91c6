//! Why a pod cannot be governed: one sentence each, that begins with the field to change.

use std::fmt;

/// How many sentences one answer holds; the rest is counted.
const MOST: usize = 8;
/// A name that the user chose stands in a sentence; it does not become the sentence.
const LONGEST: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub field: String,
    pub rule: String,
}

/// Every refusal of one pod, at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused(Vec<Refusal>);

impl Refused {
    pub(super) fn one(field: impl Into<String>, rule: impl Into<String>) -> Self {
        let mut refused = Self::default();
        refused.add(field, rule);
        refused
    }

    pub(super) fn add(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        self.0.push(Refusal { field: short(field.into()), rule: short(rule.into()) });
    }

    /// Ends the injection when there is a refusal.
    pub(super) fn none(&mut self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(std::mem::take(self)) }
    }

    pub fn all(&self) -> &[Refusal] {
        &self.0
    }
}

fn short(text: String) -> String {
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("agentaccess cannot govern this pod: ")?;
        for (n, Refusal { field, rule }) in self.0.iter().take(MOST).enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{field} {rule}")?;
        }
        match self.0.len().saturating_sub(MOST) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for Refused {}
