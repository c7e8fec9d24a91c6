//! What an entry holds. One JSON object a line, versioned; `code` is stable for each event.
//!
//! Every text must have been redacted and escaped by the caller; here only lengths are bounded, so that one line never
//! exceeds [`MAX_LINE`]. A kind or version that is not known is an error for readers, never skipped.

use serde::{Deserialize, Serialize};

mod approval;
mod bound;
mod marker;
mod own;
mod render;

pub use approval::{Approval, ApprovalEvent, Impact, Vote};
pub use marker::{Marker, What};
pub use own::{Checkpoint, Header, Resume};
pub(crate) use render::{Stamp, finish, middle};

/// Version of the line format.
pub const VERSION: u8 = 1;
/// Longest line in bytes, newline included.
pub const MAX_LINE: usize = 512 * 1024;
/// Longest identifier, in bytes (session, operation, approval name, digest).
pub const MAX_ID: usize = 256;
/// Longest name of a resource, rule, subject or target, in bytes.
pub const MAX_NAME: usize = 512;
/// Longest free text other than `display`, in bytes.
pub const MAX_TEXT: usize = 4 * 1024;
/// Longest `display` and longest inline data, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Most items in a list.
pub const MAX_ITEMS: usize = 64;
/// Most bytes of the names in the accesses of one operation, 16 more for each name.
pub const MAX_ACCESSES: usize = 16 * 1024;

/// What a caller submits. Times, `seq` and `prev` are added by the writer.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub session: Option<String>,
    pub op: Option<String>,
    pub body: Body,
}

impl Entry {
    /// An entry of a session.
    pub fn session(session: impl Into<String>, body: Body) -> Self {
        Self { session: Some(session.into()), op: None, body }
    }

    /// An entry of one operation of a session.
    pub fn operation(session: impl Into<String>, op: impl Into<String>, body: Body) -> Self {
        Self { session: Some(session.into()), op: Some(op.into()), body }
    }

    /// An entry that belongs to no session.
    pub fn global(body: Body) -> Self {
        Self { session: None, op: None, body }
    }
}

/// One line as read back.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Line {
    pub v: u8,
    /// Position in the recording, from 0, without gaps over all segments and restarts.
    pub seq: u64,
    pub code: String,
    /// Nanoseconds since the writer was opened; it starts again at a restart.
    pub mono_ns: u64,
    /// RFC 3339, UTC, milliseconds.
    pub wall: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    #[serde(flatten)]
    pub body: Body,
    /// `sha256:HEX` of the line before, as written, newline included; all zeros in the very first.
    pub prev: String,
}

/// The names of all kinds. A further one takes a further [`VERSION`].
pub(crate) const KINDS: [&str; 10] =
    ["header", "open", "close", "intent", "refusal", "approval", "data", "outcome", "marker", "checkpoint"];

/// The kinds of entry.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Body {
    /// First line of a segment; only the writer makes it.
    Header(Header),
    Open(Box<Open>),
    Close(Close),
    Intent(Box<Intent>),
    Refusal(Box<Refusal>),
    Approval(Box<Approval>),
    Data(Data),
    Outcome(Outcome),
    Marker(Marker),
    /// Only the writer makes it.
    Checkpoint(Checkpoint),
}

impl Body {
    /// The stable code of this event.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Header(_) => "SEGMENT_HEADER",
            Self::Open(_) => "SESSION_OPEN",
            Self::Close(_) => "SESSION_CLOSE",
            Self::Intent(_) => "OP_INTENT",
            Self::Refusal(_) => "OP_REFUSAL",
            Self::Approval(a) => a.event.code(),
            Self::Data(_) => "OP_DATA",
            Self::Outcome(_) => "OP_OUTCOME",
            Self::Marker(m) => m.what.code(),
            Self::Checkpoint(_) => "CHECKPOINT",
        }
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Open {
    pub subject: Subject,
    pub target: Target,
    /// Address of the agent, or what stands for it.
    pub peer: String,
    /// How the agent was authenticated, for example `scram-sha-256`, `peer-uid`, `none`.
    pub client_auth: String,
    /// Revision of the policies in force.
    pub revision: String,
    /// For example `TLSv1.3`; none for plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_downstream: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_upstream: Option<String>,
    /// `application_name` or the like, as the agent said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    pub namespace: String,
    pub service_account: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Name of the AccessTarget.
    pub name: String,
    pub protocol: String,
    pub host: String,
    pub port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The user on the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Close {
    pub reason: String,
    pub operations: u64,
    pub refusals: u64,
    /// Bytes from and to the agent.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration_us: u64,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decision {
    Allow,
    RequireApproval,
    #[default]
    Deny,
}

/// What the sidecar promises before the operation leaves.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// `write()` returned: survives a killed process.
    #[default]
    Written,
    /// `fdatasync` returned: survives power loss where the volume does.
    Synced,
    /// Synced here, and then acknowledged from a store elsewhere: survives the loss of this volume. The writer does the
    /// first half; whoever takes lines elsewhere ([`crate::outgoing`]) says when the second is done.
    Replicated,
}

/// One use of one resource. Names only, never a value.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// For example `Read`.
    pub verb: String,
    /// For example `Relation`.
    pub kind: String,
    /// For example `[public, users]`.
    pub path: Vec<String>,
    /// None: all of them, or it is not known which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<String>>,
    /// For Update and Delete: whether an effective condition bounds it. None: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounded: Option<bool>,
    /// Reached through another access of the list, as the tables behind a view.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub indirect: bool,
}

/// What was asked and what was decided; shared by intent and refusal.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    pub protocol: String,
    /// The protocol's own word, for example `SELECT`.
    pub action: String,
    /// For example `Read Relation public.users (id, email)`.
    pub resources: Vec<String>,
    /// The same for programs: all of it, or nothing when it is too much or was recorded before there was this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accesses: Option<Vec<Access>>,
    /// `hmac-sha256:HEX` of the operation.
    pub digest: String,
    /// The redacted statement; absent at level Metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    pub decision: Decision,
    /// Mode Audit: why it would be denied were it enforced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_deny: Option<String>,
    /// The same in one word, such as `no_rule`, `rule`, `unasked`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_deny_word: Option<String>,
    /// `policy/rule` of every rule that matched.
    pub rules: Vec<String>,
    pub revision: String,
    /// An operation of our own, not the agent's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
    /// The trace of OpenTelemetry that tells of it, as 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    #[serde(flatten)]
    pub decided: Decided,
    /// For example `mask:support/email`, `detect:support/cards`, `maxRows:100`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obligations: Vec<String>,
    pub durability: Durability,
    /// The approval that released it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// If it changes more rows than this, it is rolled back: a bound on what its approvers were shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_above: Option<u64>,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    #[serde(flatten)]
    pub decided: Decided,
    pub reason: String,
    /// The protocol's code, for Postgres the SQLSTATE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    /// What the agent was told.
    pub told: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Upstream,
    Downstream,
}

/// Masked bytes of a stream or a result. Up to 64 KiB an operation is kept; after it the digest in the outcome only.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Data {
    pub direction: Direction,
    /// Offset of the first byte in its direction of this operation.
    pub offset: u64,
    /// Length before anything was cut, in bytes.
    pub length: u64,
    pub content: Content,
    /// Bytes were left out here, or none are kept from here on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl Data {
    /// `masked` must be masked. What exceeds [`MAX_PAYLOAD`] is cut and marked.
    pub fn new(direction: Direction, offset: u64, masked: &[u8]) -> Self {
        let (content, truncated) = Content::new(masked);
        let length = u64::try_from(masked.len()).unwrap_or(u64::MAX);
        Self { direction, offset, length, content, truncated }
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    Text(String),
    /// Standard alphabet, padded.
    Base64(String),
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Ok,
    Error,
    /// It was sent and what became of it is not known.
    Unknown,
    /// The recorder restarted before the outcome: it may have executed.
    Interrupted,
    RolledBack,
    Cancelled,
    /// Nothing of it was sent.
    NotSent,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Bytes sent to the agent.
    pub bytes: u64,
    /// `sha256:HEX` of the masked response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    /// What detectors found in what came back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<Found>,
    pub duration_us: u64,
}

/// Values of one kind that a detector found. How many, never which.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// For example `card_number`.
    pub kind: String,
    pub values: u64,
    /// They were covered before the agent saw them.
    pub redacted: bool,
}

impl Outcome {
    /// An outcome of which only the status is known.
    pub fn bare(status: Status) -> Self {
        Self { status, rows: None, bytes: 0, digest: None, sqlstate: None, found: Vec::new(), duration_us: 0 }
    }
}
