//! `decide`: one operation, one view, one verdict.

use crate::operation::Operation;
use crate::verdict::{Decision, DenyReason, Explanation, Obligations, Verdict};
use crate::view::View;

/// Total and deterministic: the same view and operation always give the same verdict.
pub fn decide(view: &View, op: &Operation) -> Verdict {
    let _ = op;
    Verdict {
        decision: Decision::Deny(DenyReason::Evaluation("not there yet".to_owned())),
        obligations: Obligations::default(),
        why: Explanation { revision: view.revision(), matched: Vec::new() },
        would_deny: None,
    }
}
