//! What the operator counts. Labels are words of ours, so their number is bounded; no pod and no user is among them.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    injections: IntCounterVec,
    admission_seconds: HistogramVec,
    certificate_ends: IntGauge,
    leader: IntGauge,
    failures: IntCounterVec,
    enrolments: IntCounterVec,
    streams: IntGauge,
    snapshots: IntCounterVec,
    watches_lost: IntCounterVec,
    approvals_pending: IntGaugeVec,
    approvals_late: IntGaugeVec,
    approvals: IntCounterVec,
    grants: IntGaugeVec,
    break_glass: IntCounterVec,
    notifications: IntCounterVec,
    notifications_pending: IntGauge,
    notification_oldest: Gauge,
    approval_release_seconds: Histogram,
    approval_records_ignored: IntCounter,
    status_writes: IntCounterVec,
    reconcile_seconds: HistogramVec,
    reconcile_errors: IntCounterVec,
    policy_lag: GaugeVec,
    injected_pods: IntGaugeVec,
    governed_pods: IntGaugeVec,
    ungoverned_pods: IntGaugeVec,
    recordings: IntCounterVec,
    recordings_incomplete: IntCounterVec,
    recordings_expired: IntCounter,
}

/// What sidecars ask of the store, and the answers.
pub const RECORDING_CALLS: [&str; 3] = ["begin", "countersign", "keep"];
pub const RECORDING_ANSWERS: [&str; 8] =
    ["done", "away", "full", "forbidden", "unfit", "damaged", "out_of_step", "refused"];

/// What became of a call that tells of an approval: taken; the endpoint away, refusing, or not to be used as it is
/// configured. And of a message: given up, or dropped unsent.
pub const NOTIFICATIONS: [&str; 6] = ["sent", "away", "refused", "unready", "given_up", "dropped"];

/// Requests of one namespace that wait for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    pub pending: i64,
    /// Of which four fifths of the time are over.
    pub late: i64,
}

/// Injected pods of one namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    pub injected: usize,
    /// Of which the sidecar says that it has in force what counts now.
    pub governed: usize,
}

// === impl Metrics ===

impl Metrics {
    /// # Errors
    /// When two metrics have one name.
    pub fn new(version: &str) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let info = IntGaugeVec::new(Opts::new("agentaccess_build_info", "1, with the version."), &["version"])?;
        info.with_label_values(&[version]).set(1);
        register(&registry, info)?;
        let injections = Opts::new("agentaccess_injections_total", "Pods that were judged, by what became of them.");
        let seconds = HistogramOpts::new(
            "agentaccess_admission_duration_seconds",
            "From the head of an admission request to its answer.",
        )
        .buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0]);
        let ends = "agentaccess_webhook_cert_expiry_timestamp_seconds";
        let failures = Opts::new("agentaccess_certificate_errors_total", "Steps for certificates that failed.");
        let enrolments =
            Opts::new("agentaccess_enrolments_total", "Certificates that sidecars asked for, by the answer.");
        let snapshots = Opts::new("agentaccess_snapshots_total", "Snapshots for sidecars, by what became of them.");
        let lost = Opts::new("agentaccess_watch_errors_total", "Watches of the API server that broke.");
        let pending = Opts::new("agentaccess_approvals_pending", "Requests that wait for people, told by the leader.");
        let grants = Opts::new("agentaccess_grants", "Approvals that count for more than one use, told by the leader.");
        let glass = Opts::new("agentaccess_break_glass_total", "Times that one person broke the glass.");
        let notifications = Opts::new(
            "agentaccess_notifications_total",
            "Calls of the notification webhook by how they ended, and messages that were given up or dropped.",
        );
        let notifications = IntCounterVec::new(notifications, &["outcome"])?;
        for outcome in NOTIFICATIONS {
            // There from the start: the first failure is an increase then.
            notifications.with_label_values(&[outcome]).inc_by(0);
        }
        let waiting = "agentaccess_notifications_pending";
        let waiting = IntGauge::new(waiting, "Messages that wait to be told, told by the leader.")?;
        let oldest = "agentaccess_notification_oldest_seconds";
        let oldest = Gauge::new(oldest, "How long the oldest message has waited to be told, told by the leader.")?;
        let late = Opts::new(
            "agentaccess_approvals_near_expiry",
            "Requests that wait for people and have used four fifths of their time, told by the leader.",
        );
        let injected = Opts::new("agentaccess_injected_pods", "Pods with our sidecar, told by the leader.");
        let governed = Opts::new(
            "agentaccess_governed_pods",
            "Pods whose sidecar says that it has in force what counts now, told by the leader.",
        );
        let ungoverned = Opts::new(
            "agentaccess_ungoverned_pods",
            "Pods without our sidecar in namespaces that are to be governed, 500 at most, told by the leader.",
        );
        let approvals = Opts::new("agentaccess_approvals_total", "Approval requests, by what became of them.");
        let release = HistogramOpts::new(
            "agentaccess_approval_release_seconds",
            "From the last vote that was needed to the word to the sidecar.",
        )
        .buckets(vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0]);
        let ignored = "agentaccess_approval_records_ignored_total";
        let ignored = IntCounter::new(ignored, "Records of votes that were seen and not signed by us.")?;
        let writes =
            Opts::new("agentaccess_status_writes_total", "Writes of a status, by the kind of object and result.");
        let reconciled = HistogramOpts::new(
            "agentaccess_reconcile_duration_seconds",
            "One look at all objects of a controller, told by the leader.",
        )
        .buckets(vec![0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0]);
        let failed = Opts::new("agentaccess_reconcile_errors_total", "Writes of a controller that failed.");
        let lag = Opts::new(
            "agentaccess_policy_revision_lag_seconds",
            "For how long the slowest pod of a namespace has not had in force what counts now, told by the leader.",
        );
        let recordings =
            Opts::new("agentaccess_recordings_total", "What sidecars asked of the store of recordings, by the answer.");
        let recordings = IntCounterVec::new(recordings, &["call", "result"])?;
        for call in RECORDING_CALLS {
            for answer in RECORDING_ANSWERS {
                recordings.with_label_values(&[call, answer]).inc_by(0);
            }
        }
        let incomplete = Opts::new(
            "agentaccess_recordings_incomplete_total",
            "Pods that are gone and of whose recording the end is not in the store.",
        );
        let expired = "agentaccess_recordings_expired_segments_total";
        let expired = IntCounter::new(expired, "Segments of recordings that were older than the retention.")?;
        Ok(Self {
            recordings: register(&registry, recordings)?,
            recordings_incomplete: register(&registry, IntCounterVec::new(incomplete, &["namespace"])?)?,
            recordings_expired: register(&registry, expired)?,
            status_writes: register(&registry, IntCounterVec::new(writes, &["kind", "result"])?)?,
            reconcile_seconds: register(&registry, HistogramVec::new(reconciled, &["controller"])?)?,
            reconcile_errors: register(&registry, IntCounterVec::new(failed, &["controller", "reason"])?)?,
            policy_lag: register(&registry, GaugeVec::new(lag, &["namespace"])?)?,
            injected_pods: register(&registry, IntGaugeVec::new(injected, &["namespace"])?)?,
            governed_pods: register(&registry, IntGaugeVec::new(governed, &["namespace"])?)?,
            ungoverned_pods: register(&registry, IntGaugeVec::new(ungoverned, &["namespace"])?)?,
            approvals_late: register(&registry, IntGaugeVec::new(late, &["namespace"])?)?,
            enrolments: register(&registry, IntCounterVec::new(enrolments, &["result"])?)?,
            streams: register(&registry, IntGauge::new("agentaccess_sidecars", "Sidecars that follow this replica.")?)?,
            snapshots: register(&registry, IntCounterVec::new(snapshots, &["result"])?)?,
            watches_lost: register(&registry, IntCounterVec::new(lost, &["of"])?)?,
            approvals_pending: register(&registry, IntGaugeVec::new(pending, &["namespace"])?)?,
            grants: register(&registry, IntGaugeVec::new(grants, &["scope"])?)?,
            break_glass: register(&registry, IntCounterVec::new(glass, &["namespace"])?)?,
            notifications: register(&registry, notifications)?,
            notifications_pending: register(&registry, waiting)?,
            notification_oldest: register(&registry, oldest)?,
            approvals: register(&registry, IntCounterVec::new(approvals, &["outcome"])?)?,
            approval_release_seconds: register(&registry, Histogram::with_opts(release)?)?,
            approval_records_ignored: register(&registry, ignored)?,
            injections: register(&registry, IntCounterVec::new(injections, &["result"])?)?,
            admission_seconds: register(&registry, HistogramVec::new(seconds, &["webhook", "result"])?)?,
            certificate_ends: register(&registry, IntGauge::new(ends, "When the webhook's certificate expires.")?)?,
            leader: register(&registry, IntGauge::new("agentaccess_leader", "1 while this replica leads.")?)?,
            failures: register(&registry, IntCounterVec::new(failures, &["part"])?)?,
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
    ///
    /// # Errors
    /// When a metric cannot be written as text.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// One answered request; both are words of ours.
    pub fn admission(&self, webhook: &'static str, result: &'static str, took: Duration) {
        self.admission_seconds.with_label_values(&[webhook, result]).observe(took.as_secs_f64());
        if webhook == "inject" {
            self.injections.with_label_values(&[result]).inc();
        }
    }

    pub fn certificate_ends(&self, at: u64) {
        self.certificate_ends.set(i64::try_from(at).unwrap_or(i64::MAX));
    }

    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// `result` is a word of ours.
    pub fn enrolment(&self, result: &'static str) {
        self.enrolments.with_label_values(&[result]).inc();
    }

    /// A sidecar follows us, or does no longer.
    pub fn follows(&self, follows: bool) {
        if follows { self.streams.inc() } else { self.streams.dec() }
    }

    /// `result` is a word of ours.
    pub fn snapshot(&self, result: &'static str) {
        self.snapshots.with_label_values(&[result]).inc();
    }

    /// `of` is a word of ours.
    pub fn watch_lost(&self, of: &'static str) {
        self.watches_lost.with_label_values(&[of]).inc();
    }

    /// `part` is `ca` or `leaf`.
    pub fn certificate_failed(&self, part: &'static str) {
        self.failures.with_label_values(&[part]).inc();
    }

    /// Of the leader; `None`: this replica leads no longer.
    pub fn approvals_pending(&self, by_namespace: Option<BTreeMap<String, Waiting>>) {
        self.approvals_pending.reset();
        self.approvals_late.reset();
        for (namespace, waiting) in by_namespace.into_iter().flatten() {
            // There before the first glass is broken, which is an increase then.
            self.break_glass.with_label_values(&[&namespace]).inc_by(0);
            self.approvals_pending.with_label_values(&[&namespace]).set(waiting.pending);
            self.approvals_late.with_label_values(&[&namespace]).set(waiting.late);
        }
    }

    /// Of the leader, by a word of ours; `None`: this replica leads no longer.
    pub fn grants(&self, by_scope: Option<BTreeMap<&'static str, i64>>) {
        self.grants.reset();
        for (scope, count) in by_scope.into_iter().flatten() {
            self.grants.with_label_values(&[scope]).set(count);
        }
    }

    pub fn glass_broken(&self, namespace: &str) {
        self.break_glass.with_label_values(&[namespace]).inc();
    }

    /// `outcome` is one of [`NOTIFICATIONS`].
    pub fn notification(&self, outcome: &'static str) {
        self.notifications.with_label_values(&[outcome]).inc();
    }

    /// Of the leader; another replica has none.
    pub fn notifications_waiting(&self, count: usize, oldest: Duration) {
        self.notifications_pending.set(number(count));
        self.notification_oldest.set(oldest.as_secs_f64());
    }

    /// `outcome` is a word of ours.
    pub fn approval_ended(&self, outcome: &'static str) {
        self.approvals.with_label_values(&[outcome]).inc();
    }

    pub fn approval_released(&self, after: Duration) {
        self.approval_release_seconds.observe(after.as_secs_f64());
    }

    /// Both are words of ours.
    pub fn status_write(&self, kind: &'static str, result: &'static str) {
        self.status_writes.with_label_values(&[kind, result]).inc();
    }

    /// `controller` is a word of ours.
    pub fn reconciled(&self, controller: &'static str, took: Duration) {
        self.reconcile_seconds.with_label_values(&[controller]).observe(took.as_secs_f64());
    }

    /// Both are words of ours.
    pub fn reconcile_failed(&self, controller: &'static str, reason: &'static str) {
        self.reconcile_errors.with_label_values(&[controller, reason]).inc();
    }

    /// By namespace, of the leader; another replica tells of none.
    pub fn policy_lag(&self, by_namespace: BTreeMap<String, Duration>) {
        self.policy_lag.reset();
        for (namespace, lag) in by_namespace {
            self.policy_lag.with_label_values(&[namespace]).set(lag.as_secs_f64());
        }
    }

    /// By namespace, of the leader; another replica tells of none.
    pub fn pods(&self, by_namespace: BTreeMap<String, Pods>) {
        self.injected_pods.reset();
        self.governed_pods.reset();
        for (namespace, pods) in by_namespace {
            self.injected_pods.with_label_values(&[&namespace]).set(number(pods.injected));
            self.governed_pods.with_label_values(&[&namespace]).set(number(pods.governed));
        }
    }

    /// By namespace, of the leader; another replica tells of none.
    pub fn ungoverned(&self, by_namespace: BTreeMap<String, usize>) {
        self.ungoverned_pods.reset();
        for (namespace, pods) in by_namespace {
            self.ungoverned_pods.with_label_values(&[namespace]).set(number(pods));
        }
    }

    /// Both are words of ours.
    pub fn recording(&self, call: &'static str, result: &'static str) {
        self.recordings.with_label_values(&[call, result]).inc();
    }

    /// There are recordings of this namespace: the first that is incomplete is an increase then.
    pub fn recorded(&self, namespace: &str) {
        self.recordings_incomplete.with_label_values(&[namespace]).inc_by(0);
    }

    pub fn recording_incomplete(&self, namespace: &str) {
        self.recordings_incomplete.with_label_values(&[namespace]).inc();
    }

    pub fn recording_expired(&self, segments: u64) {
        self.recordings_expired.inc_by(segments);
    }

    pub fn approval_records_ignored(&self, count: usize) {
        self.approval_records_ignored.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_what_was_counted() {
        let metrics = Metrics::new("1.2.3").unwrap();
        metrics.admission("inject", "refused", Duration::from_millis(3));
        metrics.certificate_ends(1_800_000_000);
        metrics.leads(true);
        metrics.certificate_failed("ca");
        metrics.enrolment("claimed");
        metrics.follows(true);
        metrics.snapshot("sent");
        metrics.watch_lost("pods");
        metrics.status_write("AccessTarget", "written");
        metrics.reconciled("status", Duration::from_millis(3));
        metrics.reconcile_failed("status", "slow");
        metrics.policy_lag([("shop".to_owned(), Duration::from_millis(1_500))].into());
        metrics.approvals_pending(Some([("shop".to_owned(), Waiting { pending: 3, late: 1 })].into()));
        metrics.pods([("shop".to_owned(), Pods { injected: 2, governed: 1 })].into());
        metrics.ungoverned([("shop".to_owned(), 4)].into());
        metrics.recorded("shop");
        metrics.notification("sent");
        metrics.notifications_waiting(2, Duration::from_millis(1_500));
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        for line in [
            "agentaccess_build_info{version=\"1.2.3\"} 1",
            "agentaccess_injections_total{result=\"refused\"} 1",
            "agentaccess_admission_duration_seconds_count{result=\"refused\",webhook=\"inject\"} 1",
            "agentaccess_webhook_cert_expiry_timestamp_seconds 1800000000",
            "agentaccess_leader 1",
            "agentaccess_certificate_errors_total{part=\"ca\"} 1",
            "agentaccess_enrolments_total{result=\"claimed\"} 1",
            "agentaccess_sidecars 1",
            "agentaccess_snapshots_total{result=\"sent\"} 1",
            "agentaccess_watch_errors_total{of=\"pods\"} 1",
            "agentaccess_status_writes_total{kind=\"AccessTarget\",result=\"written\"} 1",
            "agentaccess_reconcile_duration_seconds_count{controller=\"status\"} 1",
            "agentaccess_reconcile_errors_total{controller=\"status\",reason=\"slow\"} 1",
            "agentaccess_policy_revision_lag_seconds{namespace=\"shop\"} 1.5",
            "agentaccess_approvals_pending{namespace=\"shop\"} 3",
            "agentaccess_approvals_near_expiry{namespace=\"shop\"} 1",
            "agentaccess_injected_pods{namespace=\"shop\"} 2",
            "agentaccess_governed_pods{namespace=\"shop\"} 1",
            "agentaccess_ungoverned_pods{namespace=\"shop\"} 4",
            "agentaccess_notifications_total{outcome=\"sent\"} 1",
            "agentaccess_notifications_total{outcome=\"given_up\"} 0",
            "agentaccess_recordings_total{call=\"keep\",result=\"full\"} 0",
            "agentaccess_break_glass_total{namespace=\"shop\"} 0",
            "agentaccess_recordings_incomplete_total{namespace=\"shop\"} 0",
            "agentaccess_notifications_pending 2",
            "agentaccess_notification_oldest_seconds 1.5",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
