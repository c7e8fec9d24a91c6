//! Every bound in one table: all on by default, all configurable, none "unlimited" (a value outside of its range is a
//! configuration error, and no range reaches infinity).

use std::time::Duration;

use serde::Deserialize;

use crate::config::units::{de_bytes, de_span, show_bytes};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The section `limits:` of `agentaccess.yaml`. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at the same time; over it new ones are closed at once.
    pub connections: usize,
    /// For each of: the first bytes, the TLS handshake, the authentication of an agent.
    #[serde(deserialize_with = "de_span")]
    pub handshake: Duration,
    /// For dialling a target, its TLS handshake and the login there, together.
    #[serde(deserialize_with = "de_span")]
    pub upstream_connect: Duration,
    /// A startup packet of Postgres.
    #[serde(deserialize_with = "de_bytes")]
    pub startup_packet: usize,
    /// Any later message from an agent.
    #[serde(deserialize_with = "de_bytes")]
    pub frontend_message: usize,
    /// SQL handed to the parser; longer text is opaque.
    #[serde(deserialize_with = "de_bytes")]
    pub sql_text: usize,
    /// Operations in one pipeline up to its Sync.
    pub statements_per_batch: usize,
    /// Prepared statements of one session.
    pub prepared_statements: usize,
    /// Portals of one session.
    pub portals: usize,
    /// Open approval requests of one subject.
    pub pending_approvals: usize,
    /// How long an operation waits until its intent is recorded.
    #[serde(deserialize_with = "de_span")]
    pub recording_append: Duration,
    /// A recorded body or the rows of one operation; the rest is recorded as digest.
    #[serde(deserialize_with = "de_bytes")]
    pub recorded_body: usize,
    /// A segment of the recording ends at this size, or after `recordingSegmentAge`.
    #[serde(deserialize_with = "de_bytes")]
    pub recording_segment: usize,
    #[serde(deserialize_with = "de_span")]
    pub recording_segment_age: Duration,
    /// With less free space on the disk of the recording, operations are refused.
    #[serde(deserialize_with = "de_bytes")]
    pub free_space_floor: usize,
    /// After SIGTERM: how long sessions may finish what they have begun.
    #[serde(deserialize_with = "de_span")]
    pub drain_grace: Duration,
    /// After SIGTERM: the process is gone by then.
    #[serde(deserialize_with = "de_span")]
    pub drain_total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1000,
            handshake: Duration::from_secs(10),
            upstream_connect: Duration::from_secs(10),
            startup_packet: 10_000,
            frontend_message: MIB,
            sql_text: 256 * KIB,
            statements_per_batch: 64,
            prepared_statements: 1000,
            portals: 256,
            pending_approvals: 32,
            recording_append: Duration::from_secs(1),
            recorded_body: 64 * KIB,
            recording_segment: 16 * MIB,
            recording_segment_age: Duration::from_secs(60),
            free_space_floor: 64 * MIB,
            drain_grace: Duration::from_secs(20),
            drain_total: Duration::from_secs(25),
        }
    }
}

/// A limit that no deployment can mean. The text names the field and the range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("`limits.{field}` is {value}: give a value from {min} to {max}")]
    Range { field: &'static str, value: String, min: String, max: String },
    #[error("`limits.{smaller}` is above `limits.{larger}`: lower the first or raise the second")]
    Order { smaller: &'static str, larger: &'static str },
}

impl Limits {
    /// Each value that lies outside of its range or contradicts another.
    pub fn validate(&self) -> Result<(), Vec<LimitError>> {
        let mut errors = Vec::new();
        for (field, value, min, max) in [
            ("connections", self.connections, 1, 100_000),
            ("statementsPerBatch", self.statements_per_batch, 1, 10_000),
            ("preparedStatements", self.prepared_statements, 1, 100_000),
            ("portals", self.portals, 1, 100_000),
            ("pendingApprovals", self.pending_approvals, 1, 500),
        ] {
            if !(min..=max).contains(&value) {
                let [value, min, max] = [value, min, max].map(|n| n.to_string());
                errors.push(LimitError::Range { field, value, min, max });
            }
        }
        for (field, value, min, max) in [
            ("startupPacket", self.startup_packet, 512, 64 * KIB),
            ("frontendMessage", self.frontend_message, 16 * KIB, 256 * MIB),
            ("sqlText", self.sql_text, KIB, 4 * MIB),
            ("recordedBody", self.recorded_body, KIB, MIB),
            ("recordingSegment", self.recording_segment, 64 * KIB, 1024 * MIB),
            ("freeSpaceFloor", self.free_space_floor, MIB, 65_536 * MIB),
        ] {
            if !(min..=max).contains(&value) {
                let [value, min, max] = [value, min, max].map(|n| show_bytes(u64::try_from(n).unwrap_or(u64::MAX)));
                errors.push(LimitError::Range { field, value, min, max });
            }
        }
        for (field, value, min, max) in [
            ("handshake", self.handshake, Duration::from_millis(100), Duration::from_secs(120)),
            ("upstreamConnect", self.upstream_connect, Duration::from_millis(100), Duration::from_secs(120)),
            ("recordingAppend", self.recording_append, Duration::from_millis(10), Duration::from_secs(30)),
            ("recordingSegmentAge", self.recording_segment_age, Duration::from_secs(1), Duration::from_secs(24 * 3600)),
            ("drainGrace", self.drain_grace, Duration::ZERO, Duration::from_secs(3600)),
            ("drainTotal", self.drain_total, Duration::from_secs(1), Duration::from_secs(3600)),
        ] {
            if !(min..=max).contains(&value) {
                let [value, min, max] = [value, min, max].map(|d| humantime::format_duration(d).to_string());
                errors.push(LimitError::Range { field, value, min, max });
            }
        }
        for (smaller, larger, holds) in [
            ("sqlText", "frontendMessage", self.sql_text <= self.frontend_message),
            ("drainGrace", "drainTotal", self.drain_grace <= self.drain_total),
        ] {
            if !holds {
                errors.push(LimitError::Order { smaller, larger });
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}
