//! What operator and sidecar say to each other: the gRPC contract, its bounds, and the name in a certificate.
//!
//! Generated code and thin types, no IO. Refused: a name or a revision that is not exactly one that we write ([`PodName`],
//! [`Mark`]).

pub mod codec;
mod name;
mod revision;

pub use name::{NotAPodName, PodName};
pub use revision::{Mark, NotARevision, object_revision, roots_mark};

/// `agentaccess.v1`, generated from `proto/agentaccess/v1.proto`.
#[allow(clippy::all, clippy::pedantic, clippy::restriction, missing_debug_implementations, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("agentaccess.v1");
}

/// Longest message each way, in bytes. A longer one resets its stream.
pub const MESSAGE_LIMIT: usize = 4 * 1024 * 1024;
/// Objects in a snapshot; each object is bounded by the API server.
pub const OBJECTS: usize = 4_096;
/// Line hashes in one request for a countersignature.
pub const LINE_HASHES: usize = 65_536;
/// Longest segment of a recording, in bytes: it is held in memory while it is stored.
pub const SEGMENT_LIMIT: usize = 16 * 1024 * 1024;
/// Of one part of a segment.
pub const SEGMENT_PART: usize = 256 * 1024;
/// Lines in one request to replicate, in bytes.
pub const REPLICATE_LIMIT: usize = 1024 * 1024;
