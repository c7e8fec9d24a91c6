//! The operator's CA is replaced while pods are made and agents work. What takes eight months and then two hours by the
//! clock is made to be due by what stands in the Secret: the certificates are written again over their own keys, with
//! other dates. Everything else is the operator's and the sidecars' own doing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::cluster::Cluster;
use e2e::wait;
use e2e::world::Policy;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

use super::agent::{START, governed, pod, run};
use super::database::World;
use super::kept;

const SYSTEM: &str = "agentaccess-system";
const SECRET: &str = "agentaccess-webhook-ca";
/// Before eight digits that go by the key.
const NAME: &str = "agentaccess operator CA ";
const DAY: i64 = 24 * 60 * 60;
/// The operator looks every 15 s, in two places one after the other; a loaded machine takes longer.
const STEP: Duration = Duration::from_secs(75);
/// Between two pods that are asked for.
const PAUSE: Duration = Duration::from_millis(400);
/// Asked for at the least.
const PODS: usize = 51;
/// Of an agent, at the least.
const STATEMENTS: usize = 21;

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// A text of the Secret.
fn text(secret: &Value, key: &str) -> Option<String> {
    let bytes = STANDARD.decode(secret["data"][key].as_str()?).unwrap();
    Some(String::from_utf8(bytes).unwrap())
}

/// One line, as arguments and profiles have it.
fn line(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with("-----")).collect()
}

/// The same CA, from and until other times.
fn dated(certificate: &str, key: &str, begins: i64, ends: i64) -> String {
    let key = KeyPair::from_pem(key).unwrap();
    let der = STANDARD.decode(line(certificate)).unwrap();
    let said = String::from_utf8_lossy(&der);
    let (_, number) = said.split_once(NAME).unwrap();
    let number: String = number.chars().take(8).collect();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("{NAME}{number}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let at = |seconds: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.try_into().unwrap());
    (params.not_before, params.not_after) = (at(begins), at(ends));
    params.self_signed(&key).unwrap().pem()
}

struct Operator {
    cluster: Cluster,
}

// === impl Operator ===

impl Operator {
    fn secret(&self) -> Value {
        self.cluster.get(&["secret", "-n", SYSTEM, SECRET]).unwrap()
    }

    fn change(&self, data: &Value) {
        let patch = json!({"data": data}).to_string();
        let words = ["patch", "secret", "-n", SYSTEM, SECRET, "--type=merge", "-p", &patch];
        self.cluster.run(&words, None).unwrap().accepted("the Secret").unwrap();
    }

    /// What every pod of before must be let pass with, and this.
    fn let_pass(&self, roots: &str) {
        let profile = self.cluster.get(&["injectionprofile", "agentaccess"]).unwrap();
        let there = profile["status"]["roots"].as_array().unwrap().iter().map(|one| one.as_str().unwrap());
        let all: Vec<&str> = std::iter::once(roots).chain(there).take(4).collect();
        let patch = json!({"status": {"roots": all}}).to_string();
        let words = ["patch", "injectionprofile", "agentaccess", "--subresource=status", "--type=merge", "-p", &patch];
        self.cluster.run(&words, None).unwrap().accepted("the profile").unwrap();
    }

    /// When the certificate of each replica ends.
    fn ends(&self) -> Vec<f64> {
        let selector = "app.kubernetes.io/component=operator";
        let pods = self.cluster.get(&["pods", "-n", SYSTEM, "-l", selector]).unwrap();
        let names = pods["items"].as_array().unwrap().iter().map(|one| one["metadata"]["name"].as_str().unwrap());
        let end = |name: &str| {
            let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{name}:9090/proxy/metrics");
            let metrics = self.cluster.raw(&path).unwrap().text;
            let found = metrics
                .lines()
                .find_map(|line| line.strip_prefix("agentaccess_webhook_cert_expiry_timestamp_seconds "));
            found.and_then(|end| end.parse().ok()).unwrap_or(f64::NAN)
        };
        names.map(end).collect()
    }

    /// Every replica's certificate is of the CA that ends then, or is it not.
    fn shown(&self, what: &str, judge: impl Fn(f64) -> bool) {
        wait::eventually(what, STEP, || {
            let ends = self.ends();
            ends.len() == 2 && ends.iter().all(|end| judge(*end))
        })
        .unwrap();
    }

    fn trusted(&self) -> String {
        let webhooks = self.cluster.get(&["mutatingwebhookconfiguration", "agentaccess"]).unwrap();
        let bundles = webhooks["webhooks"].as_array().unwrap().iter();
        let bundles = bundles.map(|one| one["clientConfig"]["caBundle"].as_str().unwrap());
        bundles.map(|one| String::from_utf8(STANDARD.decode(one).unwrap()).unwrap()).collect::<Vec<_>>().join("\n\n")
    }
}

/// Asks for pods until it is told to stop; what was refused.
fn ask(cluster: &Cluster, namespace: &str, stop: &AtomicBool, asked: &AtomicUsize) -> Vec<String> {
    let mut refused = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let make = ["create", "-n", namespace, "--dry-run=server", "-o", "name", "-f", "-"];
        let answer = cluster.run(&make, Some(&pod("asked"))).unwrap();
        if !answer.accepted {
            refused.push(answer.text);
        }
        asked.fetch_add(1, Ordering::Relaxed);
        thread::sleep(PAUSE);
    }
    refused
}

#[test]
fn a_new_ca_takes_over_without_a_refused_pod_or_statement() {
    let operator = Operator { cluster: Cluster::connect().unwrap() };
    let cluster = &operator.cluster;
    let namespace = governed(cluster);
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let asking = scope.spawn(|| ask(cluster, &namespace.name, &stop, &asked));
        // A failure ends the other thread too.
        let stopping = Stopping(&stop);
        rotate(&operator, &namespace.name);
        let enough = || asked.load(Ordering::Relaxed) >= PODS;
        wait::eventually("enough pods that were asked for", STEP, enough).unwrap();
        drop(stopping);
        let refused = asking.join().unwrap();
        let count = asked.load(Ordering::Relaxed);
        assert!(refused.is_empty(), "of {count} pods: {refused:?}");
        println!("of {count} pods that were asked for meanwhile none was refused");
    });
}

struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn rotate(operator: &Operator, namespace: &str) {
    let begun = Instant::now();
    let told = |what: &str| println!("{what} after {:?}", begun.elapsed());
    // === the CA is old ===
    // What ends soon is renewed soon: the sidecars' certificates end with it.
    let before = operator.secret();
    let (certificate, key) = (text(&before, "ca.crt").unwrap(), text(&before, "ca.key").unwrap());
    let end = now() + 15 * 60;
    let old = dated(&certificate, &key, now() - 300 * DAY, end);
    let previous = text(&before, "previous.crt").map(|pem| line(&pem));
    let roots: Vec<String> = std::iter::once(line(&old)).chain(previous).collect();
    operator.let_pass(&roots.join(","));
    // What a run before may have left.
    operator.change(&json!({"next.crt": null, "next.key": null, "ca.crt": STANDARD.encode(&old)}));
    let soon = |at: f64| at < (end + DAY) as f64;
    operator.shown("every replica has the old CA", soon);
    told("every replica has the old CA");

    // === a new one is announced, and trusted before it signs ===
    let announced = wait::until("a CA is announced", STEP, || Ok(text(&operator.secret(), "next.crt"))).unwrap();
    let next = operator.secret();
    let trusted = operator.trusted();
    assert!(trusted.contains(announced.trim()) && trusted.contains(old.trim()), "both are trusted: {trusted}");
    assert_eq!(text(&next, "ca.crt").unwrap(), old, "the old one signs");
    assert!(operator.ends().into_iter().all(soon));
    told("a new CA is announced");

    // An agent that works all the while, in a pod of the old CA.
    let world = World::new(&Policy::default());
    let script = "n=0; while :; do n=$((n+1)); \
                  psql -XAtqc \"SELECT id, $n AS turn FROM orders WHERE id = 1\" 2>&1 | tr '\\n' ' '; echo; sleep 0.5; done";
    run(&world.cluster, &world.namespace.name, &world.worker("worker", script));
    let new = line(&announced);
    // A pod that waits for a node, and begins when all of it is over. A replica reads of the new CA within 15 s.
    let mut waiting = pod("waiting");
    waiting["spec"]["schedulingGates"] = json!([{"name": "e2e.agentaccess.dev/wait"}]);
    let make = ["create", "-n", namespace, "-o", "json", "-f", "-"];
    wait::eventually("pods are told of the new CA", STEP, || {
        let made = operator.cluster.run(&make, Some(&waiting)).unwrap();
        let told = made.text.contains(&new);
        if !told {
            let away = ["delete", "pod", "-n", namespace, "waiting", "--force", "--grace-period=0"];
            operator.cluster.run(&away, None).unwrap().accepted("another try").unwrap();
        }
        made.accepted && told
    })
    .unwrap();
    // Each of our sidecars has renewed since, and heard of it: what the two hours are for. Those of others that began
    // before the old CA was to end soon renew too late here.
    let known = || {
        let spaces = [namespace, &world.namespace.name];
        spaces.into_iter().flat_map(|space| kept::roots(&operator.cluster, space)).collect::<Vec<_>>()
    };
    wait::eventually("the sidecars know the new CA", STEP * 2, || {
        let all = known();
        all.len() == 3 && all.iter().all(|(_, roots)| roots.contains(&new))
    })
    .unwrap();
    told("the sidecars know the new CA");

    // === it takes over ===
    let due = dated(&announced, &text(&next, "next.key").unwrap(), now() - 4 * 60 * 60, now() + 365 * DAY);
    let previous = text(&next, "previous.crt").map(|pem| line(&pem));
    let roots: Vec<String> = [line(&old), line(&due)].into_iter().chain(previous).collect();
    operator.let_pass(&roots.join(","));
    operator.change(&json!({"next.crt": STANDARD.encode(&due)}));
    wait::eventually("it signs", STEP, || text(&operator.secret(), "ca.crt").as_ref() == Some(&due)).unwrap();
    let after = operator.secret();
    assert_eq!((text(&after, "previous.crt"), text(&after, "next.crt")), (Some(old), None));
    operator.shown("every replica has the new CA", |at| at > (now() + 6 * DAY) as f64);
    told("every replica has the new CA");

    // === who lives goes on, and who is new begins ===
    let first =
        |uid: &str| known().into_iter().find(|(pod, _)| pod == uid).and_then(|(_, roots)| roots.into_iter().next());
    let uid = |namespace: &str, name: &str| {
        let pod = world.cluster.get(&["pod", "-n", namespace, name]).unwrap();
        pod["metadata"]["uid"].as_str().unwrap().to_owned()
    };
    let worker = uid(&world.namespace.name, "worker");
    wait::eventually("the sidecar has a certificate of the new CA", STEP, || first(&worker) == Some(line(&due)))
        .unwrap();
    told("a live sidecar has a certificate of the new CA");
    run(&operator.cluster, namespace, &pod("after"));
    let made = operator.cluster.get(&["pod", "-n", namespace, "after"]).unwrap();
    let roots = format!("--roots={}", line(&due));
    let argued = made["spec"]["initContainers"][1]["args"].to_string();
    assert!(argued.contains(&roots), "a new pod begins with the new CA: {argued}");
    assert_eq!(first(&uid(namespace, "after")), Some(line(&due)));
    let free = json!({"spec": {"schedulingGates": []}}).to_string();
    let patch = ["patch", "pod", "waiting", "-n", namespace, "--type=merge", "-p", &free];
    operator.cluster.run(&patch, None).unwrap().accepted("a node for it").unwrap();
    let waited = || operator.cluster.get(&["pod", "-n", namespace, "waiting"]).unwrap()["status"].clone();
    let runs = wait::eventually("a pod of before runs", START, || waited()["phase"] == "Running");
    assert!(runs.is_ok(), "{:#}", waited());
    told("a pod that was made before has begun");
    // A policy arrives over the connection of the new CA.
    let mut psql = world.psql();
    let sql = "SELECT id FROM items WHERE id = 1";
    assert_eq!(psql.ask(sql).as_deref(), Some("1\n"));
    let policy = Policy::default();
    let narrow = Policy { rules: policy.rules.replace("public.items, public.log", "public.log"), ..policy };
    world.apply_policy(&narrow);
    wait::eventually("the new policy", START, || psql.ask(sql).unwrap() != "1\n").unwrap();

    let logs = ["logs", "-n", &world.namespace.name, "worker", "-c", "agent"];
    let said = || world.cluster.run(&logs, None).unwrap().text;
    let enough = || said().lines().count() >= STATEMENTS;
    wait::eventually("enough statements of the agent", STEP, enough).unwrap();
    let said = said();
    let failed: Vec<&str> = said.lines().filter(|line| !line.starts_with("1|")).collect();
    assert!(failed.is_empty(), "of {} statements: {failed:?}", said.lines().count());
    println!("{} statements of an agent meanwhile, none failed", said.lines().count());
    told("done");
}
