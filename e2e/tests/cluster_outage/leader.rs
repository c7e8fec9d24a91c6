//! The leader that is killed, and one that sleeps while another leads: how soon somebody leads again, what waits meanwhile,
//! and that nothing is said twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::wait;
use serde_json::{Value, json};

use super::agent::{START, governed, pod, run};
use super::asked::{Asked, PATIENCE};
use super::operators;
use super::watched::{Watched, came_back};

/// From the leader's end to somebody's first word as one.
const LEADS: Duration = Duration::from_secs(15);
/// For the API server to find the replica that is left.
const FOUND: Duration = Duration::from_secs(10);

/// Asks for a pod again and again, and makes none.
struct Asking {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u32, Vec<(Instant, String)>)>,
}

// === impl Asking ===

impl Asking {
    fn begin(cluster: &Cluster, namespace: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (cluster, ended) = (cluster.clone(), Arc::clone(&stop));
        let mut wanted = pod("asked-for");
        wanted["metadata"]["namespace"] = json!(namespace);
        let thread = thread::spawn(move || {
            let (mut count, mut refused) = (0, Vec::new());
            while !ended.load(Ordering::Relaxed) {
                let answer = cluster.would_create(&wanted).unwrap();
                count += 1;
                if !answer.accepted {
                    refused.push((Instant::now(), answer.text));
                }
                thread::sleep(Duration::from_millis(100));
            }
            (count, refused)
        });
        Self { stop, thread }
    }

    fn end(self) -> (u32, Vec<(Instant, String)>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn a_question_outlives_whichever_replica_is_killed() {
    let mut asked = Asked::new("{name: person, pendingTTL: 60s, holdFor: 50s}");
    let held = asked.hold(1);
    let (cluster, namespace) = (asked.world.cluster.clone(), asked.world.namespace.name.clone());
    let told = || {
        let events = cluster.get(&["events", "-n", &namespace]).unwrap();
        let asked_for =
            |one: &&Value| one["reason"] == "ApprovalRequested" && one["involvedObject"]["name"] == held.name.as_str();
        events["items"].as_array().unwrap().iter().filter(asked_for).cloned().collect::<Vec<_>>()
    };
    // The leader has said all that there is to say; who follows it must not say it again.
    wait::eventually("people are told", PATIENCE, || !told().is_empty()).unwrap();
    let request = Watched::begin("areq", &held.name, &namespace);
    let asking = Asking::begin(&cluster, &namespace);
    let (leader, _) = operators::lease(&cluster);

    operators::signal(&leader, "-KILL");
    let killed = Instant::now();
    let (_, last) = operators::lease(&cluster);
    // The other replica takes the vote, and the sidecar hears of it wherever it asks now.
    wait::eventually("a vote", START, || asked.approve("alice", &held).accepted).unwrap();
    assert!(asked.answer(&held).contains('1'));
    let released = killed.elapsed();
    wait::eventually("somebody leads", LEADS, || operators::lease(&cluster).1 != last).unwrap();
    let leads = killed.elapsed();
    wait::eventually("the leader says who approved", PATIENCE, || {
        let status = asked.status(&held);
        status["consumed"] == true && status["decisions"].as_array().is_some_and(|all| all.len() == 1)
    })
    .unwrap();
    let said = killed.elapsed();
    wait::eventually("both are ready", START, || operators::ready(&cluster, ":1")).unwrap();

    let (count, refused) = asking.end();
    println!(
        "the leader killed: released after {released:?}, led after {leads:?}, said after {said:?}; \
         {} of {count} pods refused",
        refused.len()
    );
    assert!(leads < LEADS, "{leads:?}");
    // For a moment the API server still calls who is gone; nobody is let past.
    let late = refused.iter().find(|(at, _)| at.duration_since(killed) > FOUND);
    assert!(late.is_none(), "{late:?}");
    let other = refused.iter().find(|(_, text)| !text.contains("failed calling webhook"));
    assert!(other.is_none(), "{other:?}");
    let forms = request.end();
    assert_eq!(came_back(&forms), Vec::<&str>::new(), "{forms:#?}");
    let told = told();
    assert!(told.len() == 1 && told[0]["series"].is_null(), "{told:#?}");
    assert_eq!(asked.deleted(), 1);

    // The sidecar follows one of the two: the other one goes as well.
    let held = asked.hold(2);
    let leader = operators::leader(&cluster);
    let pods = operators::pods(&cluster);
    let mut names = pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str());
    let other = names.find(|name| *name != leader).unwrap();
    let restarts = || container(&cluster, other)["restartCount"].as_u64().unwrap();
    let before = restarts();
    operators::signal(other, "-KILL");
    wait::eventually("a vote", START, || asked.approve("alice", &held).accepted).unwrap();
    assert!(asked.answer(&held).contains('2'));
    assert_eq!(asked.deleted(), 2);
    // Until the kubelet sees that it is gone its status says ready.
    wait::eventually("it starts again", START, || restarts() > before).unwrap();
    wait::eventually("both are ready", START, || operators::ready(&cluster, ":1")).unwrap();
}

/// Goes on even when the test fails.
struct Asleep(String);

impl Asleep {
    fn new(pod: &str) -> Self {
        operators::signal(pod, "-STOP");
        Self(pod.to_owned())
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        operators::signal(&self.0, "-CONT");
    }
}

fn container(cluster: &Cluster, name: &str) -> Value {
    let pod = cluster.get(&["pod", name, "-n", operators::SYSTEM]).unwrap();
    pod["status"]["containerStatuses"][0].clone()
}

/// What a status says is known to the leader, and the sidecars follow whom they find.
#[test]
fn the_pods_of_both_replicas_are_counted_by_whoever_leads() {
    const PODS: usize = 6;
    let cluster = Cluster::connect().unwrap();
    let home = governed(&cluster);
    let name = home.name.as_str();
    let guard = |level: &str| {
        json!({
            "apiVersion": "agentaccess.dev/v1alpha1", "kind": "ClusterAgentAccessPolicy", "metadata": {"name": name},
            "spec": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}, "podSelector": {},
                "recording": {"level": level}},
        })
    };
    let apply = |level: &str| {
        cluster.run(&["apply", "-f", "-"], Some(&guard(level))).unwrap().accepted("a policy").unwrap();
    };
    apply("Payload");
    for n in 0..PODS {
        run(&cluster, name, &pod(&format!("agent-{n}")));
    }
    let synced = || {
        let policy = cluster.get(&["caap", name]).unwrap();
        let status = &policy["status"];
        let current = status["observedGeneration"] == policy["metadata"]["generation"];
        current && status["matchedPods"] == json!(PODS) && status["syncedPods"] == json!(PODS)
    };
    wait::eventually("all of them are synced", START, synced).unwrap();

    // How many each replica speaks for: twelve bytes a pod, in base64.
    let leases = ["leases", "-n", "agentaccess-system", "-l", "agentaccess.dev/report"];
    let spoken = || -> Vec<usize> {
        let running = cluster.get(&["pods", "-n", "agentaccess-system"]).unwrap().to_string();
        let all = cluster.get(&leases).unwrap();
        let all = all["items"].as_array().unwrap().iter();
        let of = |one: &&Value| running.contains(one["spec"]["holderIdentity"].as_str().unwrap());
        let length =
            |one: &Value| one["metadata"]["annotations"]["agentaccess.dev/in-force"].as_str().unwrap().len() / 16;
        all.filter(of).map(length).collect()
    };
    let both = || spoken().len() == 2 && spoken().iter().all(|count| *count > 0);
    // A pod that is made anew dials anew; that all of them find one replica is rare.
    for n in (0..PODS).cycle().take(4 * PODS) {
        if wait::eventually("both replicas have some", Duration::from_secs(8), both).is_ok() {
            break;
        }
        let agent = format!("agent-{n}");
        cluster.run(&["delete", "pod", "-n", name, &agent, "--now"], None).unwrap().accepted("a pod ends").unwrap();
        run(&cluster, name, &pod(&agent));
    }
    println!("sidecars at each replica: {:?}", spoken());
    assert!(both(), "{:?}", spoken());
    wait::eventually("all of them are synced", START, synced).unwrap();

    // The leader sleeps past its lease; another one counts what follows whom.
    let leader = operators::leader(&cluster);
    let restarts = || container(&cluster, &leader)["restartCount"].as_u64().unwrap();
    let before = restarts();
    let status = Watched::begin("caap", name, name);
    let asleep = Asleep::new(&leader);
    let begun = Instant::now();
    apply("Statements");
    // A lease that has run out is nobody's for a moment.
    wait::eventually("another one leads", LEADS, || {
        ![String::new(), leader.clone()].contains(&operators::leader(&cluster))
    })
    .unwrap();
    let leads = begun.elapsed();
    // It wakes, hears that it leads no more, and ends before it says a word.
    drop(asleep);
    wait::eventually("its end", START, || restarts() > before).unwrap();
    let ended = container(&cluster, &leader)["lastState"]["terminated"].clone();
    assert!(ended["exitCode"].as_i64().is_some_and(|code| code != 0), "{ended:#}");
    let logs = ["logs", "-n", operators::SYSTEM, leader.as_str(), "--previous", "--tail=40"];
    let logs = cluster.run(&logs, None).unwrap().text;
    assert!(logs.contains("was lost to"), "{logs}");
    wait::eventually("another leader's word", START, synced).unwrap();
    println!(
        "another one led after {leads:?}; a change is acknowledged and said {:?} after the leader slept",
        begun.elapsed()
    );
    let forms = status.end();
    assert_eq!(came_back(&forms), Vec::<&str>::new(), "{forms:#?}");
    cluster.run(&["delete", "caap", name], None).unwrap().accepted("away").unwrap();
    wait::eventually("both are ready", START, || operators::ready(&cluster, ":1")).unwrap();
}
