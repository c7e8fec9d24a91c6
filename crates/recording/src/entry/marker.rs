//! What happened to the recording or around it, and is no operation.

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The writer was opened; `count` is the number of bytes cut from a torn tail.
    Restart,
    /// A segment could not be written or synced; `detail` says which and why.
    SegmentFailed,
    /// Refusals that could not be recorded one by one.
    UnrecordedRefusals,
    /// Wall clock and monotonic clock moved apart; `detail` says by how much.
    ClockStep,
    /// A limit closed or refused something.
    LimitHit,
    /// A connection to a destination that no target names.
    UnknownDestination,
    /// A malformed or hostile message closed a session.
    Malformed,
    /// A client that did not authenticate.
    AuthenticationFailed,
    /// Policies changed; `detail` is the new revision or why the old ones stay.
    PolicyReload,
    /// The writer was closed in order; nothing follows before the next restart.
    Drain,
}

impl What {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Restart => "MARKER_RESTART",
            Self::SegmentFailed => "MARKER_SEGMENT_FAILED",
            Self::UnrecordedRefusals => "MARKER_UNRECORDED_REFUSALS",
            Self::ClockStep => "MARKER_CLOCK_STEP",
            Self::LimitHit => "MARKER_LIMIT_HIT",
            Self::UnknownDestination => "MARKER_UNKNOWN_DESTINATION",
            Self::Malformed => "MARKER_MALFORMED",
            Self::AuthenticationFailed => "MARKER_AUTHENTICATION_FAILED",
            Self::PolicyReload => "MARKER_POLICY_RELOAD",
            Self::Drain => "MARKER_DRAIN",
        }
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    pub what: What,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
