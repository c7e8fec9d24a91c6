//! The metrics of operator and sidecars, as a real Prometheus reads them.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::wait;
use e2e::world::Policy;
use serde_json::{Value, json};

use super::agent::{START, container, run};
use super::database::{AGENT, World};

const SYSTEM: &str = "agentaccess-system";
/// Of the chart, and of every sidecar.
const PORTS: (u16, u16) = (9090, 15020);

/// What is at least there after one session with an allowed and a denied statement.
const SERIES: [&str; 15] = [
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
];

fn pods(cluster: &Cluster, namespace: &str, selector: &str) -> Vec<(String, String)> {
    let found = cluster.get(&["pods", "-n", namespace, "-l", selector]).unwrap();
    let text = |one: &Value, at: &str| one.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let all = found["items"].as_array().unwrap().iter();
    all.map(|one| (text(one, "/metadata/name"), text(one, "/status/podIP"))).collect()
}

/// A Prometheus in the cluster that reads these addresses each second.
fn prometheus(cluster: &Cluster, namespace: &str, targets: &[String]) {
    let config = json!({
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "agentaccess", "static_configs": [{"targets": targets}]}],
    });
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config", "namespace": namespace},
        "data": {"prometheus.yml": config.to_string()},
    });
    cluster.create(&map).unwrap().accepted("a ConfigMap").unwrap();
    let mut server = container("agent", "");
    server["image"] = json!("localhost/prometheus:1");
    server["command"] = json!([
        "/prometheus",
        "--config.file=/config/prometheus.yml",
        "--storage.tsdb.path=/data",
        "--web.listen-address=:9090"
    ]);
    server["volumeMounts"] =
        json!([{"name": "config", "mountPath": "/config"}, {"name": "data", "mountPath": "/data"}]);
    let mut pod = super::agent::pod("prometheus");
    pod["spec"]["containers"] = json!([server]);
    pod["spec"]["volumes"] =
        json!([{"name": "config", "configMap": {"name": "config"}}, {"name": "data", "emptyDir": {}}]);
    run(cluster, namespace, &pod);
}

/// The values of a query, or nothing while there are none.
fn query(cluster: &Cluster, namespace: &str, text: &str) -> Vec<f64> {
    let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let path = format!("/api/v1/namespaces/{namespace}/pods/prometheus:9090/proxy/api/v1/query?query={escaped}");
    let answer = cluster.run(&["get", "--raw", &path], None).unwrap();
    let Ok(found) = serde_json::from_str::<Value>(&answer.text) else { return Vec::new() };
    let all = found["data"]["result"].as_array().into_iter().flatten();
    all.filter_map(|one| one["value"][1].as_str()?.parse().ok()).collect()
}

/// Names, types and help as Prometheus wants them.
fn clean(cluster: &Cluster, namespace: &str, pod: &str, port: u16) {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics");
    let text = cluster.run(&["get", "--raw", &path], None).unwrap();
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
    assert_eq!(psql.ask("SELECT id FROM orders WHERE id = 1").as_deref(), Some("1\n"));
    assert!(psql.ask("DROP TABLE orders").unwrap().contains("migrations"));

    let name = world.namespace.name.as_str();
    let operators = pods(&world.cluster, SYSTEM, "app.kubernetes.io/component=operator");
    let sidecars = pods(&world.cluster, name, "agentaccess.dev/injected=true");
    assert_eq!((operators.len(), sidecars.len()), (2, 1));
    let at = |list: &[(String, String)], port: u16| -> Vec<String> {
        list.iter().map(|(_, address)| format!("{address}:{port}")).collect()
    };
    let targets = [at(&operators, PORTS.0), at(&sidecars, PORTS.1)].concat();
    let monitoring = world.cluster.namespace(&json!({})).unwrap();
    prometheus(&world.cluster, &monitoring.name, &targets);
    wait::eventually("every target is up", START, || query(&world.cluster, &monitoring.name, "up") == [1.0, 1.0, 1.0])
        .unwrap();
    // Bytes are counted when a session ends.
    drop(psql);
    for series in SERIES {
        wait::eventually(series, Duration::from_secs(10), || {
            !query(&world.cluster, &monitoring.name, series).is_empty()
        })
        .unwrap();
    }
    for (pod, _) in &operators {
        clean(&world.cluster, SYSTEM, pod, PORTS.0);
    }
    clean(&world.cluster, name, AGENT, PORTS.1);
}
