//! An API server that is killed and started anew: what watchers knew of it is too old for it (410 Gone), so they list again.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::wait;
use e2e::world::Policy;

use super::agent::{START, run};
use super::database::World;
use super::logs;

/// The cluster is our own, so its processes can be killed: see e2e/cluster/up.sh.
fn state() -> PathBuf {
    let config = std::env::var_os("KUBECONFIG").unwrap();
    Path::new(&config).parent().unwrap().to_owned()
}

/// The same words again, in the network of the cluster.
fn restart() {
    let state = state();
    let pids = state.join("pids/kube-apiserver");
    let pid = fs::read_to_string(&pids).unwrap().trim().to_owned();
    let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    let killed = Command::new("kill").args(["-9", &pid]).status().unwrap();
    assert!(killed.success());
    wait::eventually("it is gone", START, || !Path::new(&format!("/proc/{pid}/cmdline")).exists()).unwrap();
    let network = Path::new("/run/netns").join(state.file_name().unwrap());
    let log = fs::OpenOptions::new().append(true).open(state.join("log/kube-apiserver")).unwrap();
    let child = Command::new("nsenter")
        .arg(format!("--net={}", network.display()))
        .args(words.split_terminator('\0'))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0)
        .spawn()
        .unwrap();
    fs::write(pids, child.id().to_string()).unwrap();
}

/// How often it said to a watch of ours that it is too old.
fn gone(cluster: &Cluster) -> u64 {
    let metrics = cluster.run(&["get", "--raw", "/metrics"], None).unwrap();
    metrics.accepted("metrics").unwrap();
    let ours = |line: &&str| {
        line.starts_with("apiserver_request_total{")
            && ["code=\"410\"", "group=\"agentaccess.dev\"", "verb=\"WATCH\""].iter().all(|word| line.contains(word))
    };
    metrics.text.lines().filter(ours).map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn a_new_api_server_is_listed_anew_and_nothing_stops_meanwhile() {
    let world = World::new(&Policy::default());
    // Two lines a second: of what stays allowed, and of what does not.
    let script = "n=0; while :; do n=$((n+1)); for t in orders items; do \
                  r=$(timeout 20 psql -XAtqc \"SELECT id, $n AS turn FROM $t WHERE id = 1\" 2>&1 | tr '\\n' ' '); \
                  echo \"$t $r\"; done; sleep 0.5; done";
    run(&world.cluster, &world.namespace.name, &world.worker("worker", script));
    let last =
        |table: &str| logs(&world, "worker").into_iter().rfind(|line| line.starts_with(table)).unwrap_or_default();
    wait::eventually("the agent works", START, || last("items").contains(" 1|")).unwrap();

    restart();
    let ready = || world.cluster.run(&["get", "--raw", "/readyz"], None).unwrap().accepted;
    wait::eventually("the API server", START, ready).unwrap();
    let begun = Instant::now();
    let policy = Policy::default();
    let narrow = Policy { rules: policy.rules.replace("public.items, public.log", "public.log"), ..policy };
    world.apply_policy(&narrow);
    wait::eventually("the new policy", START, || !last("items").contains(" 1|")).unwrap();
    let learnt = begun.elapsed();
    println!("a policy after the restart: in force in {learnt:?}; 410 Gone heard {} times", gone(&world.cluster));
    assert!(learnt < Duration::from_secs(30), "{learnt:?}");
    assert!(gone(&world.cluster) > 0, "no watch was too old: this test proves nothing");
    // Of what both policies allow nothing was refused, before, during and after.
    let refused: Vec<String> =
        logs(&world, "worker").into_iter().filter(|line| line.starts_with("orders") && !line.contains(" 1|")).collect();
    assert!(refused.is_empty(), "{refused:?}");
}
