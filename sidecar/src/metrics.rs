//! The numbers that `/metrics` shows. Labels are bounded: names of policies and targets come from configuration and are
//! capped; nothing of an agent (statement, user, host, address) is ever a label.

use std::collections::HashSet;
use std::time::Duration;

use parking_lot::Mutex;
use policy::operation::{Protocol, Strictness};
use prometheus::core::Collector;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use recording::entry::Found;

/// Names from configuration that become label values; more are counted under `other`.
const MOST_NAMES: usize = 256;
const OTHER: &str = "other";

/// One registry for the process; every method is cheap and never blocks on IO.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    names: Mutex<HashSet<String>>,
    decisions: IntCounterVec,
    denied: IntCounterVec,
    decision_seconds: HistogramVec,
    sessions: IntGaugeVec,
    session_bytes: IntCounterVec,
    upstream_connect_seconds: HistogramVec,
    masked_partial: IntCounter,
    masked_redact: IntCounter,
    detected: IntCounterVec,
    approvals_pending: IntGauge,
    approvals: IntCounterVec,
    approval_wait_seconds: HistogramVec,
    fail_closed: IntGaugeVec,
    recording_write_errors: IntCounterVec,
    recording_entries: IntGaugeVec,
    recording_ship_errors: IntCounterVec,
    recording_refused: IntGauge,
    connections_refused: IntCounterVec,
    policy_reload_failed: IntGauge,
    policy_confirmed: IntGauge,
    panics: IntCounter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    FromAgent,
    ToAgent,
}

/// What became of an approval request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovalOutcome {
    Requested,
    Granted,
    Denied,
    Expired,
    Withdrawn,
    Revoked,
    Consumed,
    /// A vote that did not count.
    VoteRefused,
}

/// How well an entry of the recording is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Checkpointed,
    Countersigned,
    Stored,
    /// Before it was sealed.
    Replicated,
}

/// Why everything is being refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailClosed {
    Recording,
    PolicyAge,
}

/// Why a connection was closed before it became a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionRefused {
    Budget,
    Peer,
    /// The target or the login of the listener cannot be used now.
    Unavailable,
    /// No target stands behind what was dialled.
    Destination,
    /// It reached the door behind the fence without the redirect.
    Direct,
}

// === impl Metrics ===

/// Why a recording did not get away; there from the start, so that the first of each is an increase.
pub const SHIP_ERRORS: [&str; 9] =
    ["no_store", "away", "out_of_step", "full", "forbidden", "refused", "answer", "unreadable", "not_removed"];

impl Metrics {
    /// Registers every metric. An error is a mistake in this file.
    pub fn new(version: &str) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let made = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(made.clone())).map(|()| made)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let made = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(made.clone())).map(|()| made)
        };
        let gauge = |name: &str, help: &str| {
            let made = IntGauge::new(name, help)?;
            registry.register(Box::new(made.clone())).map(|()| made)
        };
        let seconds = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let made = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?;
            registry.register(Box::new(made.clone())).map(|()| made)
        };
        gauges("agentaccess_build_info", "Version of this process; always 1.", &["version"])?
            .with_label_values(&[version])
            .set(1);
        let panics = IntCounter::new("agentaccess_panics_total", "Sessions that ended by a panic.")?;
        registry.register(Box::new(panics.clone()))?;
        // Both are there from the start: the first value counts as an increase.
        let masked = counters(
            "agentaccess_masked_values_total",
            "Values that agents got with a mask in or over them, NULL left out; of COPY also NULLs and the heading.",
            &["kind"],
        )?;
        let detected = counters(
            "agentaccess_detected_values_total",
            "Values that detectors found in what came back; whether they were covered.",
            &["kind", "action"],
        )?;
        for kind in detect::KINDS.map(detect::Kind::word) {
            for action in ["redact", "report"] {
                detected.with_label_values(&[kind, action]).inc_by(0);
            }
        }
        let ship_errors = counters(
            "agentaccess_recording_ship_errors_total",
            "Attempts to take the recording to the operator's store that failed.",
            &["reason"],
        )?;
        for reason in SHIP_ERRORS {
            ship_errors.with_label_values(&[reason]).inc_by(0);
        }
        Ok(Self {
            names: Mutex::default(),
            decisions: counters(
                "agentaccess_decisions_total",
                "Operations decided.",
                &["protocol", "decision", "reason", "policy"],
            )?,
            denied: counters(
                "agentaccess_denied_operations_total",
                "Operations that were denied, by target.",
                &["protocol", "target"],
            )?,
            decision_seconds: seconds(
                "agentaccess_decision_duration_seconds",
                "From the whole operation read to its verdict.",
                &["protocol"],
                &[0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.1, 1.0],
            )?,
            sessions: gauges("agentaccess_sessions_active", "Open sessions.", &["protocol"])?,
            session_bytes: counters(
                "agentaccess_session_bytes_total",
                "Bytes exchanged with agents.",
                &["direction", "protocol"],
            )?,
            upstream_connect_seconds: seconds(
                "agentaccess_upstream_connect_duration_seconds",
                "Dialling a target, TLS and login.",
                &["protocol", "target"],
                &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0],
            )?,
            masked_partial: masked.with_label_values(&["partial"]),
            masked_redact: masked.with_label_values(&["redact"]),
            detected,
            approvals_pending: gauge("agentaccess_approvals_pending", "Requests that wait for a human.")?,
            approvals: counters("agentaccess_approvals_total", "Events of approval requests.", &["outcome"])?,
            approval_wait_seconds: seconds(
                "agentaccess_approval_wait_seconds",
                "From the request to its decision.",
                &["policy"],
                &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0],
            )?,
            fail_closed: gauges("agentaccess_sidecar_fail_closed", "1 while every operation is refused.", &["reason"])?,
            recording_write_errors: counters(
                "agentaccess_recording_write_errors_total",
                "Failed writes of the recording.",
                &["reason"],
            )?,
            recording_entries: gauges(
                "agentaccess_recording_entries",
                "Entries that a checkpoint covers here, that the operator countersigned, that are in its store.",
                &["kept"],
            )?,
            recording_ship_errors: ship_errors,
            recording_refused: gauge(
                "agentaccess_recording_refused",
                "1 while the operator says that this is not the recording that it knows of this pod.",
            )?,
            connections_refused: counters(
                "agentaccess_connections_refused_total",
                "Connections closed before they became a session.",
                &["reason"],
            )?,
            policy_reload_failed: gauge(
                "agentaccess_policy_reload_failed",
                "1 while the policies on disk are bad and older ones are in force.",
            )?,
            policy_confirmed: gauge(
                "agentaccess_policy_confirmed_timestamp_seconds",
                "When the policies in force were last read without an error.",
            )?,
            panics,
            registry,
        })
    }

    /// Shows what another part counts, too.
    ///
    /// # Errors
    /// When there is one of that name already.
    pub fn also(&self, counted: Box<dyn Collector>) -> Result<(), prometheus::Error> {
        self.registry.register(counted)
    }

    /// The text format of Prometheus, version 0.0.4.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// One decided operation. `reason` is a word of ours; `policy` the deciding policy or empty.
    pub fn decision(&self, protocol: Protocol, says: Strictness, reason: &'static str, policy: &str, took: Duration) {
        let decision = match says {
            Strictness::Allow => "allow",
            Strictness::RequireApproval => "require_approval",
            Strictness::Deny => "deny",
        };
        self.bounded(policy, |policy| {
            self.decisions.with_label_values(&[word(protocol), decision, reason, policy]).inc();
        });
        self.decision_seconds.with_label_values(&[word(protocol)]).observe(took.as_secs_f64());
    }

    /// One operation on this target was denied.
    pub fn denied(&self, protocol: Protocol, target: &str) {
        self.bounded(target, |target| self.denied.with_label_values(&[word(protocol), target]).inc());
    }

    pub fn session_opened(&self, protocol: Protocol) {
        self.sessions.with_label_values(&[word(protocol)]).inc();
    }

    pub fn session_closed(&self, protocol: Protocol) {
        self.sessions.with_label_values(&[word(protocol)]).dec();
    }

    pub fn session_bytes(&self, protocol: Protocol, direction: Direction, bytes: u64) {
        let direction = match direction {
            Direction::FromAgent => "from_agent",
            Direction::ToAgent => "to_agent",
        };
        self.session_bytes.with_label_values(&[direction, word(protocol)]).inc_by(bytes);
    }

    pub fn upstream_connected(&self, protocol: Protocol, target: &str, took: Duration) {
        self.bounded(target, |target| {
            self.upstream_connect_seconds.with_label_values(&[word(protocol), target]).observe(took.as_secs_f64());
        });
    }

    /// Values of one row or line, by the method of their mask.
    pub fn masked(&self, partial: u64, redact: u64) {
        self.masked_partial.inc_by(partial);
        self.masked_redact.inc_by(redact);
    }

    /// What detectors found in one answer.
    pub fn detected(&self, found: &[Found]) {
        for found in found {
            let action = if found.redacted { "redact" } else { "report" };
            self.detected.with_label_values(&[&found.kind, action]).inc_by(found.values);
        }
    }

    pub fn approvals_pending(&self, pending: usize) {
        self.approvals_pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
    }

    pub fn approval(&self, outcome: ApprovalOutcome) {
        let outcome = match outcome {
            ApprovalOutcome::Requested => "requested",
            ApprovalOutcome::Granted => "granted",
            ApprovalOutcome::Denied => "denied",
            ApprovalOutcome::Expired => "expired",
            ApprovalOutcome::Withdrawn => "withdrawn",
            ApprovalOutcome::Revoked => "revoked",
            ApprovalOutcome::Consumed => "consumed",
            ApprovalOutcome::VoteRefused => "vote_refused",
        };
        self.approvals.with_label_values(&[outcome]).inc();
    }

    pub fn approval_waited(&self, policy: &str, waited: Duration) {
        self.bounded(policy, |policy| {
            self.approval_wait_seconds.with_label_values(&[policy]).observe(waited.as_secs_f64());
        });
    }

    pub fn fail_closed(&self, reason: FailClosed, on: bool) {
        let reason = match reason {
            FailClosed::Recording => "recording",
            FailClosed::PolicyAge => "policy_age",
        };
        self.fail_closed.with_label_values(&[reason]).set(i64::from(on));
    }

    /// `reason` is a word of ours, for example `full` or `io`.
    pub fn recording_write_error(&self, reason: &'static str) {
        self.recording_write_errors.with_label_values(&[reason]).inc();
    }

    pub fn recording_entries(&self, kept: Kept, entries: u64) {
        let kept = match kept {
            Kept::Checkpointed => "checkpointed",
            Kept::Countersigned => "countersigned",
            Kept::Stored => "stored",
            Kept::Replicated => "replicated",
        };
        self.recording_entries.with_label_values(&[kept]).set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// `reason` is one of [`SHIP_ERRORS`].
    pub fn recording_ship_error(&self, reason: &'static str) {
        self.recording_ship_errors.with_label_values(&[reason]).inc();
    }

    pub fn recording_refused(&self, refused: bool) {
        self.recording_refused.set(i64::from(refused));
    }

    pub fn connection_refused(&self, reason: ConnectionRefused) {
        let reason = match reason {
            ConnectionRefused::Budget => "budget",
            ConnectionRefused::Peer => "peer",
            ConnectionRefused::Unavailable => "unavailable",
            ConnectionRefused::Destination => "destination",
            ConnectionRefused::Direct => "direct",
        };
        self.connections_refused.with_label_values(&[reason]).inc();
    }

    pub fn policy_reload(&self, failed: bool) {
        self.policy_reload_failed.set(i64::from(failed));
    }

    /// The policies in force were read again without an error, at this Unix time in seconds.
    pub fn policy_confirmed(&self, at: i64) {
        self.policy_confirmed.set(at);
    }

    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// Calls `with` with the name, or with `other` when too many names were seen.
    fn bounded(&self, name: &str, with: impl FnOnce(&str)) {
        let known = {
            let mut names = self.names.lock();
            names.contains(name) || (names.len() < MOST_NAMES && names.insert(name.to_owned()))
        };
        with(if known { name } else { OTHER });
    }
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Postgres => "postgres",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_and_bounds_labels() {
        let metrics = Metrics::new("1.2.3").unwrap();
        for n in 0..2 * MOST_NAMES {
            metrics.decision(
                Protocol::Postgres,
                Strictness::Deny,
                "no_rule",
                &format!("policy-{n}"),
                Duration::from_micros(30),
            );
        }
        metrics.session_opened(Protocol::Postgres);
        metrics.fail_closed(FailClosed::Recording, true);
        metrics.panicked();
        metrics.masked(2, 0);
        metrics.detected(&[Found { kind: "card_number".to_owned(), values: 3, redacted: true }]);
        metrics.denied(Protocol::Postgres, "late");
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        for line in [
            "agentaccess_build_info{version=\"1.2.3\"} 1",
            "agentaccess_sessions_active{protocol=\"postgres\"} 1",
            "agentaccess_sidecar_fail_closed{reason=\"recording\"} 1",
            "agentaccess_panics_total 1",
            "agentaccess_denied_operations_total{protocol=\"postgres\",target=\"other\"} 1",
            "agentaccess_masked_values_total{kind=\"partial\"} 2",
            "agentaccess_masked_values_total{kind=\"redact\"} 0",
            "agentaccess_detected_values_total{action=\"redact\",kind=\"card_number\"} 3",
            "agentaccess_detected_values_total{action=\"report\",kind=\"access_token\"} 0",
            "policy=\"other\",protocol=\"postgres\",reason=\"no_rule\"} 256",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert_eq!(text.lines().filter(|l| l.starts_with("agentaccess_decisions_total{")).count(), MOST_NAMES + 1);
    }
}
