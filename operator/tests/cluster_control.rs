//! The operator as a process against a real API server, with its own service account and no more rights than it needs:
//! who gets a certificate, what a sidecar is told, and how fast.
//!
//! Not run by `make test`: the feature `cluster` builds it. It wants KUBECONFIG, and a cluster that nobody needs.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

#[allow(dead_code, reason = "the other test uses the rest")]
#[path = "cluster_control/dialled.rs"]
mod dialled;
#[allow(dead_code, reason = "the other test uses the rest")]
#[path = "cluster_control/installed.rs"]
mod installed;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use control::v1::control_client::ControlClient;
use control::v1::{RenewRequest, Snapshot, Update, WatchRequest, update};
use e2e::cluster::Cluster;
use rcgen::KeyPair;
use serde_json::{Value, json};
use tonic::{Code, Status, Streaming};

use dialled::{AUDIENCE, csr, identity, issue};
use installed::{Installed, Program};

async fn next(updates: &mut Streaming<Update>) -> Result<update::Update, Status> {
    let message = tokio::time::timeout(Duration::from_secs(20), updates.message()).await.expect("a word in time")?;
    Ok(message.expect("the stream goes on").update.unwrap())
}

async fn snapshot_of(updates: &mut Streaming<Update>) -> Snapshot {
    loop {
        if let update::Update::Snapshot(snapshot) = next(updates).await.unwrap() {
            return snapshot;
        }
    }
}

/// A governed pod as far as the operator sees it: the label, the proxy, and a token that the kubelet projects.
fn pod(namespace: &str, name: &str) -> Value {
    let mount = json!([{"name": "agentaccess-token", "mountPath": "/token"}]);
    let run = |name: &str, command: &[&str]| json!({"name": name, "image": "localhost/busybox:1", "imagePullPolicy": "Never", "command": command, "volumeMounts": mount});
    let mut proxy =
        run("agentaccess-proxy", &["sh", "-c", "trap exit TERM; while [ ! -e /tmp/die ]; do sleep 0.1; done"]);
    proxy["restartPolicy"] = json!("Always");
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"agentaccess.dev/injected": "true", "app": "agent"}},
        "spec": {
            "serviceAccountName": "agent", "terminationGracePeriodSeconds": 0,
            "initContainers": [proxy],
            "containers": [run("agent", &["sleep", "3600"])],
            "volumes": [{"name": "agentaccess-token", "projected": {"sources": [
                {"serviceAccountToken": {"audience": AUDIENCE, "expirationSeconds": 600, "path": "token"}},
                {"serviceAccountToken": {"audience": "https://elsewhere.example", "expirationSeconds": 600, "path": "other"}},
            ]}}],
        },
    })
}

fn target() -> Value {
    json!({"apiVersion": "agentaccess.dev/v1alpha1", "kind": "AccessTarget", "metadata": {"name": "db"}, "spec": {
        "protocol": "Postgres", "host": "db.example", "port": 5432, "credentialRef": {"name": "login"},
        "postgres": {"databases": ["shop"]},
    }})
}

fn policy(relation: &str) -> Value {
    let rules = json!([{"name": "r", "action": "Allow", "verbs": ["Select"], "relations": [relation]}]);
    json!({"apiVersion": "agentaccess.dev/v1alpha1", "kind": "AgentAccessPolicy", "metadata": {"name": "p"}, "spec": {
        "podSelector": {"matchLabels": {"app": "agent"}},
        "targets": [{"targetRef": {"name": "db"}, "postgres": {"rules": rules}}],
    }})
}

fn apply(cluster: &Cluster, namespace: &str, object: &Value) {
    cluster.run(&["apply", "-n", namespace, "-f", "-"], Some(object)).unwrap().accepted("apply").unwrap();
}

fn cat(cluster: &Cluster, namespace: &str, pod: &str, file: &str) -> String {
    let answer = cluster.run(&["exec", "-n", namespace, pod, "-c", "agent", "--", "cat", file], None).unwrap();
    answer.accepted(file).unwrap();
    answer.text.trim().to_owned()
}

fn mentions(snapshot: &Snapshot, text: &str) -> bool {
    snapshot.objects.iter().any(|json| String::from_utf8_lossy(json).contains(text))
}

fn password(snapshot: &Snapshot) -> Option<Vec<u8>> {
    snapshot.secrets.first().and_then(|secret| secret.data.get("password").cloned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_proves_itself_and_is_told_what_counts() {
    let cluster = Cluster::connect().unwrap();
    let installed = Installed::start(&cluster, &Program::default());
    let namespace = cluster.namespace(&json!({"team": "a"})).unwrap();
    let shop = namespace.name.as_str();
    installed.may_read(shop, "login");
    cluster.run(&["create", "serviceaccount", "agent", "-n", shop], None).unwrap().accepted("account").unwrap();
    for name in ["one", "two"] {
        cluster.create(&pod(shop, name)).unwrap().accepted("a pod").unwrap();
    }
    let secret = |password: &str| {
        let data = json!({"username": "u", "password": password, "other": "x"});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "stringData": data})
    };
    apply(&cluster, shop, &secret("first"));
    apply(&cluster, shop, &target());
    apply(&cluster, shop, &policy("public.orders"));
    let ready = ["wait", "-n", shop, "--for=condition=Ready", "pod/one", "pod/two", "--timeout=60s"];
    cluster.run(&ready, None).unwrap().accepted("pods").unwrap();

    // === who gets a certificate ===
    let key = KeyPair::generate().unwrap();
    let token = cat(&cluster, shop, "one", "/token/token");
    let refused = |status: Result<control::v1::Certificate, Status>| status.unwrap_err().code();
    let other = cat(&cluster, shop, "one", "/token/other");
    assert_eq!(refused(issue(&installed.dialled, &other, &key).await), Code::Unauthenticated, "another audience");
    let unbound = ["create", "token", "agent", "-n", shop, "--audience", AUDIENCE];
    let unbound = cluster.run(&unbound, None).unwrap().text.trim().to_owned();
    assert_eq!(refused(issue(&installed.dialled, &unbound, &key).await), Code::Unauthenticated, "bound to no pod");
    assert_eq!(refused(issue(&installed.dialled, "x.y.z", &key).await), Code::Unauthenticated, "no token");
    // In the signature, and not its last character, of which not every bit counts.
    let (said, signature) = token.rsplit_once('.').unwrap();
    let turned = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{said}.{turned}{}", &signature[1..]);
    assert_eq!(refused(issue(&installed.dialled, &forged, &key).await), Code::Unauthenticated, "forged");

    let certificate = issue(&installed.dialled, &token, &key).await.unwrap();
    assert_eq!((certificate.chain.len(), certificate.roots.len()), (2, 1));
    issue(&installed.dialled, &token, &key).await.expect("the same key again");
    let thief = KeyPair::generate().unwrap();
    assert_eq!(refused(issue(&installed.dialled, &token, &thief).await), Code::AlreadyExists, "a second claimant");
    let second = issue(&installed.dialled, &cat(&cluster, shop, "two", "/token/token"), &thief).await.unwrap();

    let mut client = ControlClient::new(installed.dialled.dial(Some(identity(&certificate, &key))).await.unwrap());
    let renewed = client.renew(RenewRequest { csr: csr(&key) }).await.unwrap().into_inner();
    assert_ne!(renewed.chain[0], certificate.chain[0]);
    let status = client.renew(RenewRequest { csr: csr(&thief) }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "for another key");

    // === what counts ===
    let mut updates = client.watch(WatchRequest::default()).await.unwrap().into_inner();
    let first = snapshot_of(&mut updates).await;
    let subject = first.subject.clone().unwrap();
    assert_eq!((subject.namespace.as_str(), subject.service_account.as_str()), (shop, "agent"));
    assert_eq!((subject.pod.as_str(), subject.namespace_labels["team"].as_str()), ("one", "a"));
    assert_eq!(subject.labels["app"], "agent");
    assert!(mentions(&first, "public.orders") && !mentions(&first, "last-applied"));
    let keys: Vec<&String> = first.secrets[0].data.keys().collect();
    assert!(keys.len() == 2 && password(&first).unwrap() == b"first", "{keys:?}");

    apply(&cluster, shop, &secret("second"));
    let rotated = snapshot_of(&mut updates).await;
    assert_eq!(password(&rotated).unwrap(), b"second");
    // What is of another namespace is not told.
    let elsewhere = cluster.namespace(&json!({})).unwrap();
    apply(&cluster, &elsewhere.name, &policy("public.vault"));
    let label = ["label", "pod", "one", "-n", shop, "colour=red"];
    cluster.run(&label, None).unwrap().accepted("label").unwrap();
    let labelled = snapshot_of(&mut updates).await;
    assert_eq!(labelled.subject.as_ref().unwrap().labels["colour"], "red");
    assert!(!mentions(&labelled, "vault"));
    let off = json!({"apiVersion": "agentaccess.dev/v1alpha1", "kind": "ClusterAgentAccessPolicy",
        "metadata": {"name": "e2e-off"}, "spec": {"namespaceSelector": {}, "podSelector": {}, "denyAll": true}});
    cluster.create(&off).unwrap().accepted("the kill switch").unwrap();
    assert!(mentions(&snapshot_of(&mut updates).await, "denyAll"));
    let delete = ["delete", "clusteragentaccesspolicy", "e2e-off"];
    cluster.run(&delete, None).unwrap().accepted("off").unwrap();
    assert!(!mentions(&snapshot_of(&mut updates).await, "denyAll"));
    // A Secret that may not be read is as if there were none.
    let mut hidden = target();
    hidden["metadata"]["name"] = json!("hidden");
    hidden["spec"]["credentialRef"]["name"] = json!("not-ours");
    apply(&cluster, shop, &hidden);
    let snapshot = snapshot_of(&mut updates).await;
    assert!(mentions(&snapshot, "not-ours") && snapshot.secrets.len() == 1);

    latencies(&installed, shop, &mut updates).await;

    // === a sidecar that starts anew, and a pod that ends ===
    let kill = ["exec", "-n", shop, "two", "-c", "agentaccess-proxy", "--", "touch", "/tmp/die"];
    cluster.run(&kill, None).unwrap().accepted("kill").unwrap();
    let successor = KeyPair::generate().unwrap();
    let begun = Instant::now();
    let token = cat(&cluster, shop, "two", "/token/token");
    loop {
        match issue(&installed.dialled, &token, &successor).await {
            Ok(_) => break,
            Err(status) => assert_eq!(status.code(), Code::AlreadyExists),
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "a restarted proxy is let in");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("a successor is let in {:?} after the proxy ended", begun.elapsed());
    let mut ousted = ControlClient::new(installed.dialled.dial(Some(identity(&second, &thief))).await.unwrap());
    let status = ousted.renew(RenewRequest { csr: csr(&thief) }).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists, "its successor has claimed the pod");

    let delete = ["delete", "pod", "one", "-n", shop, "--now"];
    cluster.run(&delete, None).unwrap().accepted("delete").unwrap();
    let ended = loop {
        match next(&mut updates).await {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::NotFound, "{ended:?}");
    let status = issue(&installed.dialled, &token_of_gone(&cluster, shop), &key).await;
    assert_eq!(refused(status), Code::Unauthenticated, "of a pod that is gone");

    // What the admission policies let pass was written before the CA.
    let profile = cluster.get(&["injectionprofile", "agentaccess"]).unwrap();
    let roots = profile["status"]["roots"].as_array().unwrap();
    assert_eq!(pem_of(roots[0].as_str().unwrap()), installed.dialled.ca.replace('\n', ""));
    let metrics = installed.metrics();
    for line in [
        "agentaccess_enrolments_total{result=\"claimed\"}",
        "agentaccess_enrolments_total{result=\"successor\"} 1",
        "agentaccess_enrolments_total{result=\"first\"} 2",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(!installed.log().contains(&token), "a token in the log");
}

/// The token outlives its pod; a new pod of the same name is another.
fn token_of_gone(cluster: &Cluster, namespace: &str) -> String {
    cluster.create(&pod(namespace, "one")).unwrap().accepted("a pod of the same name").unwrap();
    let create = ["create", "token", "agent", "-n", namespace, "--audience", AUDIENCE, "--bound-object-kind", "Pod"];
    let answer = cluster.run(&[&create[..], &["--bound-object-name", "one"]].concat(), None).unwrap();
    answer.accepted("a token").unwrap();
    let token = answer.text.trim().to_owned();
    let delete = ["delete", "pod", "one", "-n", namespace, "--now"];
    cluster.run(&delete, None).unwrap().accepted("delete").unwrap();
    token
}

fn pem_of(root: &str) -> String {
    format!("-----BEGIN CERTIFICATE-----{root}-----END CERTIFICATE-----")
}

/// From the answer to a change of the policy to the snapshot that has it.
async fn latencies(installed: &Installed, namespace: &str, updates: &mut Streaming<Update>) {
    let mut from_request: Vec<Duration> = Vec::new();
    let mut from_answer = Vec::new();
    for n in 0..200 {
        let relation = format!("public.t{n}");
        let begun = Instant::now();
        let (answered, snapshot) = tokio::join!(
            async {
                installed.change(namespace, &policy(&relation)).await;
                Instant::now()
            },
            async {
                loop {
                    let snapshot = snapshot_of(updates).await;
                    if mentions(&snapshot, &format!("\"{relation}\"")) {
                        return Instant::now();
                    }
                }
            }
        );
        from_request.push(snapshot - begun);
        from_answer.push(snapshot.saturating_duration_since(answered));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut figures = BTreeMap::new();
    for (what, mut all) in [("request", from_request), ("answer", from_answer)] {
        all.sort();
        figures.insert(what, (all[all.len() / 2], all[all.len() * 99 / 100], all[all.len() - 1]));
    }
    println!("policy to snapshot, p50, p99 and the longest: {figures:?}");
    assert!(figures["request"].1 < Duration::from_secs(2), "{figures:?}");
}
