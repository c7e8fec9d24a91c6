//! Rows of the bypass table that only a real kubelet and API server can show. The oracle is a listener on the node, which
//! sees every connection that leaves a pod.

use std::thread;
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::wait;
use serde_json::{Value, json};

use super::agent::{START, container, governed, pod, run};
use super::inside::sh;
use super::node::{kill_sidecar, nonce};
use super::sink::{HERE, Sink};

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

#[test]
fn a_killed_sidecar_leaves_the_fence_and_comes_back() {
    let (cluster, sink) = (Cluster::connect().unwrap(), Sink::open());
    let namespace = governed(&cluster);
    run(&cluster, &namespace.name, &pod("victim"));
    let nonce = nonce(&cluster, &namespace.name, "victim");
    let restarts = || {
        let status = made(&cluster, &namespace.name, "victim")["status"]["initContainerStatuses"][1].clone();
        status["started"].as_bool().unwrap_or(false).then(|| status["restartCount"].as_u64().unwrap())
    };
    // The sidecar takes the connection and says nothing; without it nobody does.
    let (name, dial) = (namespace.name.as_str(), format!("nc -w 1 {HERE} {} </dev/null 2>&1", sink.port));
    let governed = sh(&cluster, name, "victim", &format!("for n in 1 2 3; do {dial}; done; true")).text;
    assert!(!governed.contains("refused"), "{governed}");
    let until_refused = format!("for n in $(seq 2000); do {dial} | grep refused && exit; done");
    for turn in 1..=3 {
        let down = thread::scope(|scope| {
            let dialling = scope.spawn(|| sh(&cluster, name, "victim", &until_refused));
            // Some dials before it.
            thread::sleep(Duration::from_millis(500));
            kill_sidecar(&nonce);
            dialling.join().unwrap()
        });
        down.accepted("a dial while the sidecar is away").unwrap();
        assert!(down.text.contains("Connection refused"), "{}", down.text);
        sh(&cluster, name, "victim", &sink.script()).accepted("the probe").unwrap();
        wait::eventually("the sidecar is back", START, || restarts() >= Some(turn)).unwrap();
    }
    sh(&cluster, &namespace.name, "victim", &sink.script()).accepted("the probe").unwrap();
    assert_eq!(sink.seen(), (false, false));
}
