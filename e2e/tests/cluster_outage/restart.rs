//! An API server that is killed and started anew: what watchers knew of it is too old for it (410 Gone), so they list again.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::wait;
use e2e::world::Policy;
use serde_json::json;

use super::agent::{START, pod, run};
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
    let mut child = Command::new("nsenter")
        .arg(format!("--net={}", network.display()))
        .args(words.split_terminator('\0'))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0)
        .spawn()
        .unwrap();
    fs::write(pids, child.id().to_string()).unwrap();
    // It outlives this test; until then whoever started it waits for it.
    thread::spawn(move || child.wait());
}

/// How often the operator heard that what it knew is too old.
fn gone(cluster: &Cluster) -> usize {
    let operator = ["logs", "-n", "agentaccess-system", "-l", "app.kubernetes.io/component=operator", "--tail=-1"];
    let said = cluster.run(&operator, None).unwrap();
    said.accepted("the operator's log").unwrap();
    said.text.matches("too old resource version").count()
}

#[test]
fn a_new_api_server_is_listed_anew_and_nothing_stops_meanwhile() {
    let policy = Policy::default();
    let policy = Policy { approvals: policy.approvals.replace("holdFor: 15s", "holdFor: 55s"), ..policy };
    let world = World::new(&policy);
    let narrow = Policy { rules: policy.rules.replace("public.items, public.log", "public.log"), ..policy };
    let (cluster, namespace) = (&world.cluster, world.namespace.name.as_str());
    // Two lines a turn: of what stays allowed, and of what does not.
    let work = "n=0; while :; do n=$((n+1)); for t in orders items; do \
                r=$(timeout 20 psql -XAtqc \"SELECT id, $n AS turn FROM $t WHERE id = 1\" 2>&1 | tr '\\n' ' '); \
                echo \"$t $r\"; done; sleep 0.5; done";
    run(cluster, namespace, &world.worker("worker", work));
    // Whoever cannot be asked at once is asked again.
    let ask = "until psql -XAtqc 'DELETE FROM orders WHERE id = 7 RETURNING id'; do sleep 1; done; sleep 1000";
    run(cluster, namespace, &world.worker("asker", ask));
    let last =
        |table: &str| logs(&world, "worker").into_iter().rfind(|line| line.starts_with(table)).unwrap_or_default();
    wait::eventually("the agent works", START, || last("items").contains(" 1|")).unwrap();
    let question = wait::until("a question", START, || {
        let found = cluster.get(&["areq", "-n", namespace])?;
        Ok(found["items"][0]["metadata"]["name"].as_str().map(str::to_owned))
    })
    .unwrap();
    let before = gone(cluster);

    restart();
    wait::eventually("the API server", START, || cluster.raw("/readyz").is_ok_and(|answer| answer.accepted)).unwrap();
    assert_eq!(world.server.executed_with("DELETE FROM"), 0);
    let approve = ["-n", namespace, "annotate", "areq", &question, "agentaccess.dev/decision=approve"];
    let alice = cluster.user("alice");
    wait::eventually("a vote", START, || alice.run(&approve, None).unwrap().accepted).unwrap();
    wait::eventually("the answer", START, || logs(&world, "asker").contains(&"7".to_owned())).unwrap();
    let begun = Instant::now();
    world.apply_policy(&narrow);
    wait::eventually("the new policy", START, || !last("items").contains(" 1|")).unwrap();
    let learnt = begun.elapsed();
    assert!(learnt < Duration::from_secs(30), "{learnt:?}");
    println!("after the restart: a policy in force in {learnt:?}");
    // Of what both policies allow nothing was refused, before, during and after.
    let lines = logs(&world, "worker");
    let refused: Vec<&String> =
        lines.iter().filter(|line| line.starts_with("orders") && !line.contains(" 1|")).collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(world.server.executed_with("DELETE FROM"), 1);
    assert!(gone(cluster) > before, "no watch was too old: this proves nothing");
    // An API server learns every 30 s which kinds there are, and until it knows ours the second wall lets no pod in.
    let mut later = pod("later");
    later["metadata"]["namespace"] = json!(namespace);
    let begun = Instant::now();
    wait::eventually("pods are admitted", START, || cluster.would_create(&later).unwrap().accepted).unwrap();
    println!("after all of that pods were admitted again in {:?}", begun.elapsed());
}
