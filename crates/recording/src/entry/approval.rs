//! What people said about an operation, and what they were shown.

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalEvent {
    Requested,
    Vote,
    Granted,
    Denied,
    Expired,
    Withdrawn,
    Consumed,
}

impl ApprovalEvent {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Requested => "APPROVAL_REQUESTED",
            Self::Vote => "APPROVAL_VOTE",
            Self::Granted => "APPROVAL_GRANTED",
            Self::Denied => "APPROVAL_DENIED",
            Self::Expired => "APPROVAL_EXPIRED",
            Self::Withdrawn => "APPROVAL_WITHDRAWN",
            Self::Consumed => "APPROVAL_CONSUMED",
        }
    }
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Vote {
    Approve,
    Deny,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Name of the ApprovalRequest.
    pub name: String,
    pub event: ApprovalEvent,
    /// What the operation's intent will carry too.
    pub digest: String,
    /// RFC 3339.
    pub expires: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<Vote>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewer_uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The reviewer has the same system user as the sidecar: the agent could have been the reviewer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared_user: bool,
    /// The redacted statement the reviewers saw; with `requested` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    /// What the reviewers were told that it would do; with `requested` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<Impact>,
}

/// Numbers, and words of ours.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Impact {
    /// The sentence that they read.
    pub means: String,
    /// The planner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_rows: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_rows: Option<u64>,
    /// Counting stopped there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_above: Option<u64>,
}
