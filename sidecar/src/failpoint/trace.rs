//! What a test that looks on is told: one JSON line for each point, in the order in which they are passed.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::OnceLock;

use policy::operation::{Operation, Origin, Revision};
use policy::verdict::{Decision, DenyReason, Verdict};
use serde_json::{Value, json};

use super::failpoint;
use crate::gate::Stage;
use crate::recorder::OpRef;

/// Lines, in one write: the process may be killed after it.
pub(super) fn tell(lines: &[u8]) {
    static FILE: OnceLock<Option<File>> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let path = std::env::var_os("AGENTACCESS_TRACE")?;
        OpenOptions::new().create(true).append(true).open(path).ok()
    });
    if let Some(mut file) = file.as_ref() {
        // Nothing hangs on it but a test, which misses what is not there.
        let _ = file.write_all(lines);
    }
}

fn line(value: &Value) {
    tell(format!("{value}\n").as_bytes());
}

/// A point of the gate, which an operation passes.
pub(crate) fn step(name: &str, op: &OpRef) {
    line(&json!({"step": name, "op": op.to_string()}));
    failpoint(name);
}

/// `after_decide`, with what was decided.
pub(crate) fn decided(op: &OpRef, operation: &Operation, stage: Stage<'_>, verdict: &Verdict) {
    let word = match &verdict.decision {
        Decision::Allow => "allow",
        Decision::RequireApproval(_) => "ask",
        Decision::Deny(DenyReason::Stale) => "stale",
        Decision::Deny(_) => "deny",
    };
    let (stage, continues) = match stage {
        Stage::Prepare => ("prepare", None),
        Stage::Plan => ("plan", None),
        Stage::Run => ("run", None),
        Stage::Continue(released) => ("continue", Some(released.request())),
    };
    line(&json!({
        "step": "after_decide",
        "op": op.to_string(),
        "digest": operation.digest.to_string(),
        "internal": operation.origin == Origin::Internal,
        "planned": operation.planned.to_string(),
        "revision": verdict.why.revision.to_string(),
        "stage": stage,
        "continues": continues,
        "verdict": word,
    }));
    failpoint("after_decide");
}

/// Before and after another policy counts.
pub(crate) fn policy(when: &str, revision: Revision) {
    line(&json!({"step": when, "revision": revision.to_string()}));
}
