//! What approvers and the sidecar say to each other over `approve.sock` in standalone mode.
//!
//! One JSON object a line each way, at most 64 KiB a line. The approver is the peer's uid (SO_PEERCRED), never a
//! field of the message.

use serde::{Deserialize, Serialize};

use crate::approval::{ApprovalRequest, Decision};

#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub enum LocalCall {
    /// Answered by one `Requests`.
    List,
    /// Answered by one `Requests`, then by one `Request` for each change until the caller hangs up.
    Watch,
    /// Answered by one `Decided` or `Refused`.
    Decide {
        name: String,
        decision: Decision,
        #[serde(default)]
        reason: Option<String>,
    },
}

#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(tag = "is", rename_all = "lowercase", deny_unknown_fields)]
pub enum LocalAnswer {
    Requests {
        items: Vec<ApprovalRequest>,
    },
    Request {
        item: Box<ApprovalRequest>,
    },
    /// The vote counted; the request as it stands now and one sentence for people.
    Decided {
        item: Box<ApprovalRequest>,
        message: String,
    },
    Refused {
        message: String,
    },
}
