//! The metrics of operator and sidecars, as a real Prometheus reads them.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::wait;
use e2e::world::Policy;
use serde_json::json;

use super::agent::{pod, run};
use super::database::World;
use super::prometheus::{Prometheus, Target, targets};

/// For one series: the leader counts pods without sidecar every 30 s.
const SOON: Duration = Duration::from_secs(45);

/// What is at least there after one session with an allowed and a denied statement.
const SERIES: [&str; 22] = [
    "agentaccess_build_info",
    "agentaccess_decisions_total{decision=\"allow\"}",
    "agentaccess_decisions_total{decision=\"deny\"}",
    "agentaccess_decision_duration_seconds_count",
    "agentaccess_sessions_active",
    "agentaccess_session_bytes_total",
    "agentaccess_upstream_connect_duration_seconds_count",
    "agentaccess_sidecar_fail_closed",
    "agentaccess_injections_total",
    "agentaccess_admission_duration_seconds_count",
    "agentaccess_webhook_cert_expiry_timestamp_seconds",
    "agentaccess_leader == 1",
    "agentaccess_status_writes_total{kind=\"AgentAccessPolicy\",result=\"written\"}",
    "agentaccess_reconcile_duration_seconds_count{controller=\"status\"}",
    "agentaccess_policy_revision_lag_seconds",
    "agentaccess_denied_operations_total{target=\"db\"}",
    "agentaccess_injected_pods == agentaccess_governed_pods",
    "agentaccess_ungoverned_pods == 0",
    "process_cpu_seconds_total{container=\"agentaccess-proxy\"}",
    "process_resident_memory_bytes{container=\"agentaccess-proxy\"}",
    "process_open_fds{container=\"agentaccess-proxy\"}",
    "process_resident_memory_bytes{container=\"operator\"}",
];

/// Names, types and help as Prometheus wants them.
fn clean(cluster: &Cluster, target: &Target) {
    let Target { namespace, pod, port, .. } = target;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics");
    let text = cluster.raw(&path).unwrap();
    text.accepted("metrics").unwrap();
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(text.text.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.is_empty(), "{pod}: {said}");
}

#[test]
fn a_prometheus_reads_all_of_them() {
    let world = World::new(&Policy::default());
    let mut psql = world.psql();
    // Three e-mails, of which one is NULL, and three numbers.
    assert_eq!(psql.ask("SELECT email, pin FROM customers").unwrap().lines().count(), 3);
    assert_eq!(psql.ask("SELECT id FROM orders WHERE id = 1").as_deref(), Some("1\n"));
    assert!(psql.ask("DROP TABLE orders").unwrap().contains("migrations"));

    let (operators, sidecars) = targets(&world.cluster, &world.namespace.name);
    assert_eq!((operators.len(), sidecars.len()), (2, 1));
    let prometheus = Prometheus::new(&world.cluster, &operators, &sidecars);
    // Bytes are counted when a session ends.
    drop(psql);
    for series in SERIES {
        wait::eventually(series, SOON, || !prometheus.query(series).is_empty()).unwrap();
    }
    let masked = |kind: &str| prometheus.query(&format!("agentaccess_masked_values_total{{kind=\"{kind}\"}}"));
    wait::eventually("masked values", SOON, || masked("partial") == [2.0] && masked("redact") == [3.0]).unwrap();
    ungoverned(&world.cluster, &prometheus);
    for target in operators.iter().chain(&sidecars) {
        clean(&world.cluster, target);
    }
}

/// A pod that was there before its namespace was to be governed.
fn ungoverned(cluster: &Cluster, prometheus: &Prometheus<'_>) {
    let namespace = cluster.namespace(&json!({})).unwrap();
    run(cluster, &namespace.name, &pod("early"));
    let label = ["label", "namespace", &namespace.name, "agentaccess.dev/injection=enabled"];
    cluster.run(&label, None).unwrap().accepted("a label").unwrap();
    let count = |value: u8| {
        let query = format!("agentaccess_ungoverned_pods{{namespace=\"{}\"}} == {value}", namespace.name);
        // The leader counts every 30 s.
        wait::eventually(&query, Duration::from_secs(60), || !prometheus.query(&query).is_empty()).unwrap();
    };
    count(1);
    let gone = ["delete", "pod", "-n", &namespace.name, "early", "--wait=true"];
    cluster.run(&gone, None).unwrap().accepted("away with it").unwrap();
    count(0);
}
