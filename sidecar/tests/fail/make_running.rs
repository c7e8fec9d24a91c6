//! An operation under way cannot be invented: it would owe an outcome to an intent that does not exist.
use std::sync::Arc;

use sidecar::gate::Running;
use sidecar::recorder::{OpRef, Recorder};

fn invent(op: OpRef, recorder: Arc<Recorder>) -> Running {
    Running::new(op, recorder)
}

fn main() {
    let _ = invent;
}
