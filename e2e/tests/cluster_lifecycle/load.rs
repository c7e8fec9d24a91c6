//! Agents at work: each holds one connection open and asks on it, and makes new ones; beside them pods are asked for. What
//! fails is kept with its time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::wait;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;

use super::agent::{START, pod, run};
use super::database::World;
use super::inside::sh;

/// Between two pods that are asked for.
const PAUSE: Duration = Duration::from_millis(400);

/// One line for each failure; /tmp/new and /tmp/long count what went well. A person who logs in names the role: any of ours.
const SCRIPT: &str = r#"
new() {
    n=0
    while [ ! -e /tmp/stop ]; do
        r=$(timeout 20 psql -XAtqc "SELECT id, current_user FROM orders WHERE id = 1" 2>&1 | tr '\n' ' ')
        case "$r" in
            "1|agent_db"*) n=$((n+1)); echo "$n ${r#1|}" >/tmp/new.new; mv /tmp/new.new /tmp/new;;
            *) echo "REFUSED $(date +%s) $r";;
        esac
        sleep 0.3
    done
}
long() {
    while [ ! -e /tmp/stop ]; do echo "SELECT 'long', id FROM orders WHERE id = 1;"; sleep 0.2; done |
        psql -XAtq -v ON_ERROR_STOP=1 >/tmp/long 2>/tmp/long.err
    [ -e /tmp/stop ] || echo "BROKEN $(date +%s) $(tail -n 1 /tmp/long.err)"
}
: >/tmp/new
: >/tmp/long
long &
new
wait
echo DONE
sleep 3600
"#;

/// Ends when it is dropped.
pub(crate) struct Load<'a> {
    world: &'a World,
    workers: Vec<String>,
    asking: Option<JoinHandle<()>>,
    pods: Arc<Pods>,
}

#[derive(Default)]
struct Pods {
    stop: AtomicBool,
    asked: AtomicU64,
    refused: Mutex<Vec<String>>,
    /// In milliseconds.
    longest: AtomicU64,
}

/// What has come of it until now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) admissions: u64,
    pub(crate) longest_admission_ms: u64,
    pub(crate) new_connections: u64,
    pub(crate) statements_on_open_ones: u64,
    /// Pods, new connections and open ones that were refused or broke, in the words of who refused.
    pub(crate) failed: Vec<String>,
}

// === impl Load ===

impl<'a> Load<'a> {
    /// Starts a worker of each name and asks for pods in a namespace of its own.
    pub(crate) fn start(world: &'a World, workers: &[&str]) -> Self {
        for worker in workers {
            run(&world.cluster, &world.namespace.name, &world.worker(worker, SCRIPT));
        }
        let (cluster, namespace, pods) = (world.cluster.clone(), world.namespace.name.clone(), Arc::<Pods>::default());
        let of_thread = Arc::clone(&pods);
        let asking = thread::spawn(move || ask(&cluster, &namespace, &of_thread));
        let load =
            Self { world, workers: workers.iter().map(|&name| name.to_owned()).collect(), asking: Some(asking), pods };
        load.works();
        load
    }

    /// One more worker, of the sidecar that is injected now.
    pub(crate) fn join(&mut self, worker: &str) {
        run(&self.world.cluster, &self.world.namespace.name, &self.world.worker(worker, SCRIPT));
        self.workers.push(worker.to_owned());
        self.works();
    }

    /// Waits until each worker has made a new connection since, and asked on its open one.
    pub(crate) fn works(&self) {
        let before: Vec<_> = self.workers.iter().map(|worker| self.counted(worker)).collect();
        let all = || {
            let mut now = self.workers.iter().map(|worker| self.counted(worker)).zip(&before);
            now.all(|(now, before)| now.new > before.new && now.long > before.long)
        };
        let worked = wait::eventually("every agent works", START, all);
        assert!(worked.is_ok(), "{:?}", self.seen());
    }

    /// The role at the database that each worker's newest connection has.
    pub(crate) fn roles(&self) -> Vec<String> {
        self.workers.iter().map(|worker| self.counted(worker).role).collect()
    }

    pub(crate) fn seen(&self) -> Seen {
        let mut seen = Seen {
            admissions: self.pods.asked.load(Ordering::Relaxed),
            longest_admission_ms: self.pods.longest.load(Ordering::Relaxed),
            failed: self.pods.refused.lock().clone(),
            ..Seen::default()
        };
        for worker in &self.workers {
            let counted = self.counted(worker);
            seen.new_connections += counted.new;
            seen.statements_on_open_ones += counted.long;
            let logs = ["logs", "-n", &self.world.namespace.name, worker, "-c", "agent"];
            let said = self.world.cluster.run(&logs, None).unwrap();
            said.accepted(worker).unwrap();
            seen.failed
                .extend(said.text.lines().filter(|line| *line != "DONE").map(|line| format!("{worker}: {line}")));
        }
        seen
    }

    fn counted(&self, worker: &str) -> Counted {
        let count = "cat /tmp/new; echo; grep -c '^long|1$' /tmp/long || true";
        let answer = sh(&self.world.cluster, &self.world.namespace.name, worker, count);
        answer.accepted(worker).unwrap();
        let mut lines = answer.text.lines().filter(|line| !line.trim().is_empty());
        let text = answer.text.as_str();
        let last = lines.next_back().and_then(|line| line.trim().parse().ok());
        let mut new = lines.next().unwrap_or("0 nobody").split_whitespace();
        let number = new.next().and_then(|word| word.parse().ok());
        let [Some(new_count), Some(long)] = [number, last] else { return Counted::none(text) };
        Counted { new: new_count, long, role: new.next().unwrap_or_default().to_owned() }
    }
}

#[derive(Debug)]
struct Counted {
    new: u64,
    long: u64,
    role: String,
}

impl Counted {
    /// Nothing yet.
    fn none(text: &str) -> Self {
        println!("not counted: {text:?}");
        Self { new: 0, long: 0, role: String::new() }
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.pods.stop.store(true, Ordering::Relaxed);
        if let Some(asking) = self.asking.take() {
            let _ = asking.join();
        }
    }
}

impl Seen {
    pub(crate) fn figures(&self) -> Value {
        let refused = |part: &str| self.failed.iter().filter(|one| one.contains(part)).count();
        let (connections, broken) = (refused(": REFUSED "), refused(": BROKEN "));
        json!({
            "admissions": self.admissions, "longest_admission_ms": self.longest_admission_ms,
            "new_connections": self.new_connections, "statements_on_open_connections": self.statements_on_open_ones,
            "pods_refused": self.failed.len() - connections - broken, "connections_refused": connections,
            "connections_broken": broken, "failed": self.failed,
        })
    }
}

/// Asks for pods until it is told to stop: all of admission runs, and nothing is stored.
fn ask(cluster: &Cluster, namespace: &str, pods: &Pods) {
    let mut asked = pod("asked");
    asked["metadata"]["namespace"] = json!(namespace);
    while !pods.stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        match cluster.would_create(&asked) {
            Ok(answer) if answer.accepted => {}
            Ok(answer) => pods.refused.lock().push(format!("pod: {}", answer.text)),
            Err(error) => pods.refused.lock().push(format!("pod: {error:#}")),
        }
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap();
        pods.longest.fetch_max(took, Ordering::Relaxed);
        pods.asked.fetch_add(1, Ordering::Relaxed);
        thread::sleep(PAUSE);
    }
}
