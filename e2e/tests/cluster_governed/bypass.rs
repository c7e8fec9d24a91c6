//! Rows of the bypass table that only a real kubelet and API server can show. The oracle is a listener on the node, which
//! sees every connection that leaves a pod.

use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::wait;
use serde_json::{Value, json};

use super::agent::{START, container, governed, pod, run};
use super::inside::sh;

/// This machine, as pods of the test cluster see it.
const HERE: &str = "10.199.0.1";

/// Sees what reaches it, over TCP and UDP on one port.
struct Sink {
    port: u16,
    tcp: Arc<AtomicBool>,
    udp: Arc<AtomicBool>,
}

impl Sink {
    fn open() -> Self {
        let tcp = TcpListener::bind((HERE, 0)).unwrap();
        let port = tcp.local_addr().unwrap().port();
        let udp = UdpSocket::bind((HERE, port)).unwrap();
        let sink = Self { port, tcp: Arc::default(), udp: Arc::default() };
        let (by_tcp, by_udp) = (Arc::clone(&sink.tcp), Arc::clone(&sink.udp));
        thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                by_tcp.store(true, Ordering::Relaxed);
                let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
                let _ = stream.read(&mut [0; 64]);
            }
        });
        thread::spawn(move || {
            while udp.recv(&mut [0; 64]).is_ok() {
                by_udp.store(true, Ordering::Relaxed);
            }
        });
        sink
    }

    /// Whether anything came over TCP, over UDP.
    fn seen(&self) -> (bool, bool) {
        (self.tcp.load(Ordering::Relaxed), self.udp.load(Ordering::Relaxed))
    }

    /// Tries both ways, whatever comes of them.
    fn script(&self) -> String {
        let port = self.port;
        format!("echo x | nc -w 2 {HERE} {port}; timeout 2 tftp -g -r x -l /tmp/x {HERE} {port}; true")
    }
}

fn made(cluster: &Cluster, namespace: &str, name: &str) -> Value {
    cluster.get(&["pod", "-n", namespace, name]).unwrap()
}

/// Without it, an empty sink would prove nothing.
#[test]
fn a_pod_that_is_not_governed_reaches_the_sink() {
    let (cluster, sink) = (Cluster::connect().unwrap(), Sink::open());
    let free = cluster.namespace(&json!({})).unwrap();
    run(&cluster, &free.name, &pod("free"));
    sh(&cluster, &free.name, "free", &sink.script()).accepted("the probe").unwrap();
    wait::eventually("both ways", Duration::from_secs(5), || sink.seen() == (true, true)).unwrap();
}

#[test]
fn no_container_of_the_pod_is_outside_of_the_fence() {
    let (cluster, sink) = (Cluster::connect().unwrap(), Sink::open());
    let namespace = governed(&cluster);
    let mut many = pod("many");
    many["spec"]["initContainers"] = json!([container("before", &sink.script())]);
    // As another mesh's sidecar would stand there.
    let mesh = container("istio-proxy", &format!("{}; sleep 3600", sink.script()));
    many["spec"]["containers"].as_array_mut().unwrap().push(mesh);
    run(&cluster, &namespace.name, &many);
    sh(&cluster, &namespace.name, "many", &sink.script()).accepted("the probe").unwrap();

    // A debug container that the wall lets pass.
    let debug = ["debug", "-n", &namespace.name, "many", "--image=localhost/busybox:1", "--image-pull-policy=Never"];
    let words = ["--profile=restricted", "--container=debugger", "--", "sh", "-c"];
    let debugged = cluster.run(&[&debug[..], &words, &[&sink.script()]].concat(), None).unwrap();
    debugged.accepted("a debug container").unwrap();
    wait::eventually("the debug container ended", START, || {
        let status = made(&cluster, &namespace.name, "many");
        let all = status["status"]["ephemeralContainerStatuses"].as_array().cloned().unwrap_or_default();
        all.iter().any(|one| !one["state"]["terminated"].is_null())
    })
    .unwrap();
    assert_eq!(sink.seen(), (false, false));
}

/// The process of the sidecar of this pod, as the node sees it.
pub(crate) fn kill_sidecar(nonce: &str) {
    let killed = Command::new("pkill").args(["-KILL", "-f", &format!("proxy {nonce}")]).status().unwrap();
    assert!(killed.success(), "no sidecar with {nonce}");
}

#[test]
fn a_killed_sidecar_leaves_the_fence_and_comes_back() {
    let (cluster, sink) = (Cluster::connect().unwrap(), Sink::open());
    let namespace = governed(&cluster);
    run(&cluster, &namespace.name, &pod("victim"));
    let args = made(&cluster, &namespace.name, "victim")["spec"]["initContainers"][1]["args"].clone();
    let nonce = args[1].as_str().unwrap().to_owned();
    let restarts = || {
        let status = made(&cluster, &namespace.name, "victim")["status"]["initContainerStatuses"][1].clone();
        status["started"].as_bool().unwrap_or(false).then(|| status["restartCount"].as_u64().unwrap())
    };
    for turn in 1..=3 {
        kill_sidecar(&nonce);
        sh(&cluster, &namespace.name, "victim", &sink.script()).accepted("the probe").unwrap();
        wait::eventually("the sidecar is back", START, || restarts() >= Some(turn)).unwrap();
    }
    sh(&cluster, &namespace.name, "victim", &sink.script()).accepted("the probe").unwrap();
    assert_eq!(sink.seen(), (false, false));
}
