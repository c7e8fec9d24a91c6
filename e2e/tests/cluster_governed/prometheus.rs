//! A real Prometheus in the cluster, which reads the operator's replicas and the sidecars of one namespace with the labels
//! that ServiceMonitor and PodMonitor would give them.

use e2e::cluster::{Cluster, Namespace};
use e2e::wait;
use serde_json::{Value, json};

use super::agent::{START, container, run};

pub(crate) const SYSTEM: &str = "agentaccess-system";
/// Of the chart, and of every sidecar.
pub(crate) const PORTS: (u16, u16) = (9090, 15020);
/// The Prometheus itself.
pub(crate) const POD: &str = "prometheus";

/// One place to read.
pub(crate) struct Target {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    address: String,
    pub(crate) port: u16,
}

pub(crate) struct Prometheus<'c> {
    cluster: &'c Cluster,
    pub(crate) namespace: Namespace,
}

/// The pods of the operator, and injected ones of this namespace.
pub(crate) fn targets(cluster: &Cluster, namespace: &str) -> (Vec<Target>, Vec<Target>) {
    let operators = pods(cluster, SYSTEM, "app.kubernetes.io/component=operator", PORTS.0);
    (operators, pods(cluster, namespace, "agentaccess.dev/injected=true", PORTS.1))
}

fn pods(cluster: &Cluster, namespace: &str, selector: &str, port: u16) -> Vec<Target> {
    let found = cluster.get(&["pods", "-n", namespace, "-l", selector]).unwrap();
    let text = |one: &Value, at: &str| one.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let all = found["items"].as_array().unwrap().iter();
    let target = |one: &Value| Target {
        namespace: namespace.to_owned(),
        pod: text(one, "/metadata/name"),
        address: text(one, "/status/podIP"),
        port,
    };
    all.map(target).collect()
}

fn job(name: &str, container: &str, targets: &[Target]) -> Value {
    let each = targets.iter().map(|target| {
        json!({"targets": [format!("{}:{}", target.address, target.port)],
               "labels": {"namespace": target.namespace, "pod": target.pod, "container": container}})
    });
    // As in the ServiceMonitor: the operator tells of other namespaces than its own.
    json!({"job_name": name, "honor_labels": name == "operator", "static_configs": each.collect::<Vec<_>>()})
}

impl<'c> Prometheus<'c> {
    /// Reads them each second, and is up when all of them are.
    pub(crate) fn new(cluster: &'c Cluster, operators: &[Target], sidecars: &[Target]) -> Self {
        let made = Self { cluster, namespace: cluster.namespace(&json!({})).unwrap() };
        let namespace = &made.namespace.name;
        let config = json!({
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [job("operator", "operator", operators), job("sidecar", "agentaccess-proxy", sidecars)],
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
        let mut pod = super::agent::pod(POD);
        pod["spec"]["containers"] = json!([server]);
        pod["spec"]["volumes"] =
            json!([{"name": "config", "configMap": {"name": "config"}}, {"name": "data", "emptyDir": {}}]);
        run(cluster, namespace, &pod);
        let all = operators.len() + sidecars.len();
        wait::eventually("every target is up", START, || made.query("up") == vec![1.0; all]).unwrap();
        made
    }

    /// The values of a query, or nothing while there are none.
    pub(crate) fn query(&self, text: &str) -> Vec<f64> {
        let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let namespace = &self.namespace.name;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{POD}:9090/proxy/api/v1/query?query={escaped}");
        let answer = self.cluster.raw(&path).unwrap();
        // What it does not take it answers with 400.
        assert!(!answer.text.contains("bad_data") && !answer.text.contains("BadRequest"), "{text}: {}", answer.text);
        let Ok(found) = serde_json::from_str::<Value>(&answer.text) else { return Vec::new() };
        let all = found["data"]["result"].as_array().into_iter().flatten();
        all.filter_map(|one| one["value"][1].as_str()?.parse().ok()).collect()
    }
}
