//! What a trace tells of the gate, one thing after another.

use crate::op::Outcome;
use crate::rules::Verdict;

/// What was seen. Names are those of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first policy in force, and each start after a kill.
    Started {
        policy: String,
    },
    /// `decide` was called for an operation of a session, and said this under the revision in force; `None`: stale.
    Decided {
        session: String,
        op: String,
        digest: String,
        doing: Doing,
        planned: String,
        revision: String,
        verdict: Option<Verdict>,
    },
    Requested {
        request: String,
        digest: String,
    },
    Granted {
        request: String,
    },
    Denied {
        request: String,
    },
    Expired {
        request: String,
    },
    Withdrawn {
        request: String,
    },
    /// The use of it is on record.
    Consumed {
        request: String,
        digest: String,
    },
    /// The gate heard that it may use what it took.
    Used {
        op: String,
    },
    Ready {
        op: String,
    },
    Intent {
        op: String,
    },
    Permitted {
        op: String,
    },
    Sending {
        op: String,
    },
    Finishing {
        op: String,
    },
    Ended {
        op: String,
        outcome: Outcome,
    },
    PolicyBegins {
        revision: String,
    },
    PolicyEnds {
        revision: String,
    },
    Killed,
}

/// The stage of an operation, as a trace can tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doing {
    Prepare,
    Plan,
    Run,
    /// More of what this request released.
    Continue {
        request: String,
    },
}
