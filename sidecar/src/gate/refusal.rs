//! What the gate says instead of a `Permit`, in no protocol's words.

use std::time::Duration;

use policy::verdict::DenyReason;

use crate::replicas::Missing;

/// Why an operation was not let out. Texts hold names of rules and resources, never values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Policy says no.
    Denied(DenyReason),
    /// People have been asked and have not answered yet; the request stays open.
    Pending { request: String, why: NotHeld },
    /// People said no.
    ApprovalDenied { request: String, reason: Option<String> },
    /// Nobody answered within the request's life.
    Expired { request: String },
    /// The agent cancelled while it waited.
    Withdrawn { request: String },
    /// An approval was there but did not count (used up, or out of time at the last moment).
    NotConsumed { request: String, why: &'static str },
    /// It needs an approval and was to be planned without being run.
    NotAlone,
    /// It needs an approval and cannot be shown whole: too long, or constants of its own are hidden with masked ones.
    CannotShow,
    /// People cannot be asked.
    CannotAsk(String),
    /// It could not be recorded, so it was not sent.
    Unrecorded(String),
    /// It is recorded here and could not be recorded outside of the pod first, so it was not sent.
    NotReplicated(Missing),
    /// The policy was last known to be current so long ago, which is longer than it counts.
    PolicyTooOld(Duration),
    /// The session may not go on at all.
    Revoked(&'static str),
    /// A limit of ours.
    Limit(String),
    /// The target is away.
    UpstreamAway(String),
}

impl Refusal {
    /// A stable word for the record.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Denied(_) => "denied",
            Self::Pending { .. } => "approval_pending",
            Self::ApprovalDenied { .. } => "approval_denied",
            Self::Expired { .. } => "approval_expired",
            Self::Withdrawn { .. } => "withdrawn",
            Self::NotConsumed { .. } => "approval_not_consumed",
            Self::NotAlone => "not_alone",
            Self::CannotShow => "cannot_show",
            Self::CannotAsk(_) => "cannot_ask",
            Self::Unrecorded(_) => "unrecorded",
            Self::NotReplicated(_) => "not_replicated",
            Self::PolicyTooOld(_) => "policy_too_old",
            Self::Revoked(_) => "revoked",
            Self::Limit(_) => "limit",
            Self::UpstreamAway(_) => "upstream_away",
        }
    }

    /// The approval request it is about.
    pub fn request(&self) -> Option<&str> {
        match self {
            Self::Pending { request, .. }
            | Self::ApprovalDenied { request, .. }
            | Self::Expired { request }
            | Self::Withdrawn { request }
            | Self::NotConsumed { request, .. } => Some(request),
            Self::Denied(_)
            | Self::NotAlone
            | Self::CannotShow
            | Self::CannotAsk(_)
            | Self::Unrecorded(_)
            | Self::NotReplicated(_)
            | Self::PolicyTooOld(_)
            | Self::Revoked(_)
            | Self::Limit(_)
            | Self::UpstreamAway(_) => None,
        }
    }
}

/// Why the connection was not kept waiting (any longer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHeld {
    /// `holdFor` is over.
    HoldOver,
    /// Inside a transaction that holds locks.
    InTransaction,
    /// Behind other work of the same batch that is not finished.
    InBatch,
}

/// A refusal with the id under which it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub refusal: Refusal,
    /// What the agent can name when it asks people: `SESSION/OP`.
    pub id: String,
}
