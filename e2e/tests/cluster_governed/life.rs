//! A governed pod from its first probe to its last word.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::wait;
use e2e::world::Policy;
use serde_json::json;

use super::agent::{START, governed, pod, run};
use super::database::World;

/// Longer than a connection in the cluster takes, and short enough to wait for it.
const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn probes_and_declared_ports_come_in_and_nothing_else_does() {
    let cluster = Cluster::connect().unwrap();
    let namespace = governed(&cluster);
    let name = namespace.name.as_str();
    let mut server = pod("server");
    let listen = "httpd -p 8080 -h /etc; httpd -p 8081 -h /etc; httpd -p 8082 -h /etc; sleep 3600";
    server["spec"]["containers"][0]["command"][2] = json!(listen);
    server["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8080}]);
    // A probe of a port that nothing else declares.
    server["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/passwd", "port": 8081}, "periodSeconds": 1});
    run(&cluster, name, &server);
    let status = || cluster.get(&["pod", "-n", name, "server"]).unwrap()["status"].clone();
    wait::eventually("the probe comes in", START, || status()["containerStatuses"][0]["ready"] == true).unwrap();

    let place = |port: u16| SocketAddr::new(status()["podIP"].as_str().unwrap().parse().unwrap(), port);
    let reached = |port| TcpStream::connect_timeout(&place(port), PATIENCE).map_err(|error| error.kind());
    for port in [8080, 8081, 15_020] {
        assert!(reached(port).is_ok(), "{port}: {:?}", reached(port));
    }
    // The agent listens there; who knocks is told nothing.
    for port in [8082, 15_001, 15_053, 9] {
        assert_eq!(reached(port).unwrap_err(), std::io::ErrorKind::TimedOut, "{port}");
    }
    let inside = super::inside::sh(&cluster, name, "server", "wget -q -O- http://127.0.0.1:8082/passwd");
    inside.accepted("it does listen").unwrap();
}

/// An agent's last operations are governed too: the database's log has what was allowed, and not what was not.
#[test]
fn the_sidecar_outlives_its_agent() {
    let world = World::new(&Policy::default());
    let name = world.namespace.name.as_str();
    let last = "trap 'sleep 3; psql -XAtqc \"INSERT INTO log VALUES (7654321, 1)\"; psql -XAtqc \"DROP TABLE orders\"; \
                exit' TERM; echo ready; while :; do sleep 0.2; done";
    let mut worker = world.worker("worker", last);
    worker["spec"]["terminationGracePeriodSeconds"] = json!(30);
    run(&world.cluster, name, &worker);
    let logs = ["logs", "-n", name, "worker", "-c", "agent"];
    wait::eventually("the agent waits for its end", START, || {
        world.cluster.run(&logs, None).unwrap().text.contains("ready")
    })
    .unwrap();
    let nonce = super::node::nonce(&world.cluster, name, "worker");
    let sidecar = super::node::sidecar(&nonce);
    let delete = ["delete", "pod", "-n", name, "worker", "--wait=false"];
    world.cluster.run(&delete, None).unwrap().accepted("the end").unwrap();
    let proc = std::path::PathBuf::from(format!("/proc/{sidecar}"));
    let said = || world.server.executed_with("7654321");
    wait::eventually("the last word", START, || said() == 1).unwrap();
    // And then it goes too, long before it would be killed.
    wait::eventually("the sidecar ends", Duration::from_secs(15), || !proc.exists()).unwrap();
    wait::eventually("the pod is gone", START, || {
        !world.cluster.run(&["get", "pod", "-n", name, "worker"], None).unwrap().accepted
    })
    .unwrap();
    assert_eq!(world.server.executed_with("DROP TABLE"), 0);
}
