//! Verdicts in words for people. Names of resources and rules, never values.

use std::fmt;

use crate::verdict::{DenyReason, RuleId, Verdict};
use crate::view::View;

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.cluster { "cluster:" } else { "" };
        write!(f, "{prefix}{}/{}", self.policy, self.rule)
    }
}

impl DenyReason {
    /// One sentence for the agent, without a full stop.
    pub fn message(&self) -> String {
        String::new()
    }

    /// What would help, without a full stop.
    pub fn hint(&self) -> String {
        String::new()
    }
}

impl Verdict {
    /// Several lines: the decision, then each rule that matched and what it said, then the duties.
    pub fn explain(&self) -> String {
        String::new()
    }
}

impl View {
    /// Every rule that applies, the built-in ones included, one a line.
    pub fn explain(&self) -> String {
        String::new()
    }
}
