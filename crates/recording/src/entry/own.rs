//! Entries that only the writer makes: what begins a segment and what signs it.

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of the segment, from 1.
    pub segment: u64,
    /// Public half of the key that signs the checkpoints, for information: `verify` never trusts it.
    pub key: String,
    /// Version of the program that wrote it.
    pub program: String,
    /// How many bytes of the segment before belong to the recording, when a failed write could not be cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_bytes: Option<u64>,
    /// Where the recording stands before this line, so that opening it need not read older segments. Absent in the first
    /// segment, and when too much is open to be said here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

/// The state of a recording in front of a segment. Proven by the next checkpoint, whose root covers this line and
/// cannot be computed from another tree.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Roots of the perfect subtrees over all lines before, largest first, in base64.
    pub tree: Vec<String>,
    /// Sessions without a close.
    pub sessions: Vec<String>,
    /// Session and operation of each intent without an outcome.
    pub ops: Vec<(String, String)>,
}

/// A signed note over every line before this one.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub note: String,
}
