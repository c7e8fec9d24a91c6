//! Approvals on a real API server, with the chart's rights and its second wall: two replicas, people, forgers.
//!
//! KUBECONFIG names a cluster on which the chart is installed, and its operator is scaled to zero: this process stands in
//! for it. One test, because there is one leader.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod bounds;
mod grants;
mod notified;
mod scene;

use std::time::{Duration, Instant};

use crds::approval::{DECISION_ANNOTATION, RECORD_PREFIX};
use kube::api::{Patch, PatchParams};
use scene::{Scene, kubectl, shown, told, used};
use serde_json::{Value, json};
use tonic::Code;

const APPROVE: &str = "agentaccess.dev/decision=approve";
const DENY: &str = "agentaccess.dev/decision=deny";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn approvals_on_a_cluster() {
    let scene = Scene::new().await;
    approved_by_kubectl(&scene).await;
    one_person_once(&scene).await;
    at_once(&scene).await;
    denied_and_expired(&scene).await;
    who_may_not(&scene).await;
    forged(&scene).await;
    used_once(&scene).await;
    grants::granted_and_revoked(&scene).await;
    grants::broken(&scene).await;
    withdrawn_and_deleted(&scene).await;
    bounds::full(&scene).await;
    bounds::removed_in_time(&scene).await;
    notified::told(&scene).await;
    notified::failing(&scene).await;
    notified::by_the_next_leader(&scene).await;
    without_webhook(&scene).await;
    fast(&scene).await;
    // Last: the leader writes and tells of hundreds, and others would wait for it meanwhile.
    bounds::full_namespace(&scene).await;
}

async fn approved_by_kubectl(scene: &Scene) {
    let (name, mut standing, digest) = scene.open("two").await;
    assert_eq!(shown(&standing), "0/2");
    // The same question finds it again, on any replica.
    for replica in [0, 1] {
        assert_eq!(scene.ask(replica, digest[0], "two", 600).await.unwrap().0, name);
    }
    let (done, said) = scene.annotate("alice", &name, &[APPROVE, "agentaccess.dev/reason=INC-123"]);
    assert!(done && said.contains("Warning: recorded: approve by alice (1 of 2 needed)"), "{said}");
    told(&mut standing, "1/2").await;
    let (done, said) = scene.annotate("bob", &name, &[APPROVE]);
    assert!(done && said.contains("recorded: approve by bob (2 of 2 needed)"), "{said}");
    told(&mut standing, "approved by alice,bob").await;
    let status = scene.phase(&name, "Approved").await;
    assert_eq!((&status["approvals"], &status["decisions"][0]["reason"]), (&json!(2), &json!("INC-123")), "{status}");
    let stored = scene.stored(&name);
    let annotations = stored["metadata"]["annotations"].as_object().unwrap();
    assert!(!annotations.contains_key(DECISION_ANNOTATION) && annotations.len() == 3, "{stored}");
    let (_, text) = kubectl(&["get", "areq", &name, "-n", &scene.namespace], None);
    println!("{text}");
    scene
        .until("the Events are there", || async {
            let (_, text) = kubectl(&["describe", "areq", &name, "-n", &scene.namespace], None);
            ["ApprovalRequested", "approved by alice", "approved by bob", "how-to-decide"]
                .iter()
                .all(|word| text.contains(word))
        })
        .await;
    println!("{}", kubectl(&["describe", "areq", &name, "-n", &scene.namespace], None).1);
    let (done, said) = scene.annotate("p0", &name, &[DENY]);
    assert!(!done && said.contains("it is approved"), "{said}");
}

async fn one_person_once(scene: &Scene) {
    let (name, mut standing, _) = scene.open("two").await;
    assert!(scene.annotate("alice", &name, &[APPROVE]).0);
    let (done, said) = scene.annotate("alice", &name, &[APPROVE]);
    assert!(done && said.contains("recorded already: approve by alice; each person counts once"), "{said}");
    told(&mut standing, "1/2").await;
    assert!(scene.stored(&name)["metadata"]["annotations"].get(format!("{RECORD_PREFIX}2")).is_none());
    // She thinks again.
    let (done, said) = scene.annotate("alice", &name, &[DENY, "agentaccess.dev/reason=no"]);
    assert!(done, "{said}");
    told(&mut standing, "denied by alice: no").await;
    // A dry run leaves nothing.
    let (name, standing, _) = scene.open("one").await;
    assert!(scene.annotate("alice", &name, &[APPROVE, "--dry-run=server"]).0);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(shown(&standing), "0/1");
}

async fn at_once(scene: &Scene) {
    for people in [2, 5, 12] {
        let rule = if people == 2 { "two" } else { "five" };
        let (name, mut standing, _) = scene.open(rule).await;
        let vote = |n: usize| {
            let name = name.clone();
            async move { scene.patch(&format!("p{n}"), &name, json!({DECISION_ANNOTATION: "approve"})).await }
        };
        let votes: Vec<_> = (0..people).map(vote).collect();
        let done = all(votes).await;
        let taken = done.iter().filter(|done| done.is_ok()).count();
        let need = if people == 2 { 2 } else { 5 };
        // Who came when it was approved is told so.
        for error in done.iter().filter_map(|done| done.as_ref().err()) {
            assert!(error.to_string().contains("it is approved"), "{error}");
        }
        assert_eq!(taken, need, "of {people}");
        told_begins(&mut standing, "approved by ").await;
        let stored = scene.stored(&name);
        let records = stored["metadata"]["annotations"].as_object().unwrap();
        assert_eq!(records.keys().filter(|key| key.starts_with(RECORD_PREFIX)).count(), need);
    }
}

/// Polls all of them beside each other.
async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(move |context| {
        let mut ready = true;
        for (future, output) in &mut futures {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(done) => *output = Some(done),
                    std::task::Poll::Pending => ready = false,
                }
            }
        }
        match ready {
            true => std::task::Poll::Ready(futures.iter_mut().filter_map(|(_, output)| output.take()).collect()),
            false => std::task::Poll::Pending,
        }
    })
    .await
}

async fn told_begins(standing: &mut tokio::sync::watch::Receiver<control::v1::Standing>, what: &str) {
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        while !shown(standing).starts_with(what) {
            standing.changed().await.unwrap();
        }
    });
    assert!(waited.await.is_ok(), "it is `{}`", shown(standing));
}

async fn denied_and_expired(scene: &Scene) {
    let (name, mut standing, digest) = scene.open("two").await;
    assert!(scene.annotate("bob", &name, &[DENY, "agentaccess.dev/reason=too risky"]).0);
    told(&mut standing, "denied by bob: too risky").await;
    scene.phase(&name, "Denied").await;
    // Asked again it is another request.
    assert_ne!(scene.ask(1, digest[0], "two", 600).await.unwrap().0, name);

    let (name, mut standing) = scene.ask(1, 201, "one", 3).await.unwrap();
    told(&mut standing, "Expired").await;
    let (done, said) = scene.annotate("alice", &name, &[APPROVE]);
    assert!(!done && said.contains("it has expired"), "{said}");
    scene.phase(&name, "Expired").await;
    let used = scene.replicas[0].approvals.desk.consume(&scene.pods[0], used(&name, &[201; 32])).await.unwrap_err();
    assert_eq!((used.code(), used.message()), (Code::FailedPrecondition, "it has expired"));

    let (name, mut standing, _) = scene.open("why").await;
    let (done, said) = scene.annotate("alice", &name, &[APPROVE]);
    assert!(!done && said.contains("a reason is required"), "{said}");
    let (done, said) = scene.annotate("alice", &name, &["agentaccess.dev/decision=yes", "agentaccess.dev/reason=x"]);
    assert!(!done && said.contains("`yes` is no decision: write approve, deny, revoke or break-glass"), "{said}");
    assert!(scene.annotate("alice", &name, &[APPROVE, "agentaccess.dev/reason=INC-9"]).0);
    told(&mut standing, "approved by alice").await;
}

async fn who_may_not(scene: &Scene) {
    let (name, standing, _) = scene.open("one").await;
    let own = format!("system:serviceaccount:{}:agent", scene.namespace);
    let other = format!("system:serviceaccount:{}:other", scene.namespace);
    for (user, why) in [
        (own.as_str(), "who asks cannot decide"),
        (other.as_str(), "no ServiceAccount does"),
        ("mallory", "mallory may not decide: it takes the verb `approve` on AgentAccessPolicy/support"),
        ("stranger", "cannot get resource"),
    ] {
        let (done, said) = scene.annotate(user, &name, &[APPROVE]);
        assert!(!done && said.contains(why), "{user}: {said}");
    }
    assert_eq!(shown(&standing), "0/1");
}

async fn forged(scene: &Scene) {
    let (other, _, _) = scene.open("two").await;
    assert!(scene.annotate("alice", &other, &[APPROVE]).0);
    let record =
        scene.stored(&other)["metadata"]["annotations"][format!("{RECORD_PREFIX}1")].as_str().unwrap().to_owned();
    let (name, standing, _) = scene.open("two").await;
    let first = format!("{RECORD_PREFIX}1={record}");
    let (done, said) = scene.annotate("alice", &name, &[&first]);
    assert!(!done && said.contains("records are written by agentaccess only"), "{said}");
    let (done, said) = scene.annotate("alice", &other, &["--overwrite", &first.replace("approve", "deny")]);
    assert!(!done && said.contains("records are written by agentaccess only"), "{said}");
    let (done, said) = scene.annotate("alice", &other, &[&format!("{RECORD_PREFIX}1-")]);
    assert!(!done && said.contains("records are written by agentaccess only"), "{said}");
    // Through the status, as one who may write that: annotations are dropped, and its words approve nothing.
    let status = json!({"metadata": {"annotations": {format!("{RECORD_PREFIX}1"): record}}, "status": {"phase": "Approved", "approvals": 2}});
    let arguments = ["patch", "areq", &name, "-n", &scene.namespace, "--subresource=status", "--type=merge", "-p"];
    let (done, said) = kubectl(&[&arguments[..], &[&status.to_string()]].concat(), None);
    assert!(done, "{said}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(shown(&standing), "0/2");
    // And the leader sets it right.
    scene.phase(&name, "Pending").await;
}

async fn used_once(scene: &Scene) {
    let (name, mut standing, digest) = scene.open("one").await;
    let desk = |replica: usize| &scene.replicas[replica].approvals.desk;
    let refused = |error: tonic::Status, why: &str| {
        assert_eq!((error.code(), error.message()), (Code::FailedPrecondition, why));
    };
    refused(desk(0).consume(&scene.pods[0], used(&name, &digest)).await.unwrap_err(), "it is not approved");
    assert!(scene.annotate("alice", &name, &[APPROVE]).0);
    told(&mut standing, "approved by alice").await;
    refused(
        desk(0).consume(&scene.pods[0], used(&name, &[7; 32])).await.unwrap_err(),
        "it was asked for another operation",
    );
    refused(
        desk(0).consume(&scene.pods[1], used(&name, &digest)).await.unwrap_err(),
        "there is no such request of this pod",
    );
    // An approved one is found again until it is used.
    assert_eq!(scene.ask(0, digest[0], "one", 600).await.unwrap().0, name);
    let calls: Vec<_> = (0..16).map(|n| desk(n % 2).consume(&scene.pods[0], used(&name, &digest))).collect();
    let (used, not): (Vec<_>, Vec<_>) = all(calls).await.into_iter().partition(Result::is_ok);
    assert_eq!((used.len(), not.len()), (1, 15));
    assert_eq!(used[0].as_ref().unwrap().by, ["alice"]);
    for error in not {
        refused(error.unwrap_err(), "it was used");
    }
    assert_eq!(scene.phase(&name, "Approved").await["consumed"], true);
    // Used, it still looks approved to who waits; asked for again, it is another.
    assert_eq!(shown(&standing), "approved by alice");
    assert_ne!(scene.ask(0, digest[0], "one", 600).await.unwrap().0, name);
}

async fn withdrawn_and_deleted(scene: &Scene) {
    let (name, mut standing, _) = scene.open("one").await;
    // Of another pod nothing happens.
    scene.replicas[0].approvals.desk.withdraw(&scene.pods[1], &name).await.unwrap();
    assert_eq!(shown(&standing), "0/1");
    scene.replicas[0].approvals.desk.withdraw(&scene.pods[0], &name).await.unwrap();
    told(&mut standing, "Withdrawn").await;
    let (done, said) = scene.annotate("alice", &name, &[APPROVE]);
    assert!(!done && said.contains("the agent has given it up"), "{said}");
    scene.phase(&name, "Withdrawn").await;
    let (name, mut standing, _) = scene.open("one").await;
    assert!(kubectl(&["delete", "areq", &name, "-n", &scene.namespace], None).0);
    told(&mut standing, "Revoked").await;
}

/// What the second wall lets pass when somebody takes the webhook away: the signature decides.
async fn without_webhook(scene: &Scene) {
    let (name, mut standing, _) = scene.open("two").await;
    assert!(scene.annotate("alice", &name, &[APPROVE]).0);
    told(&mut standing, "1/2").await;
    let record =
        |object: &Value| object["metadata"]["annotations"][format!("{RECORD_PREFIX}1")].as_str().unwrap().to_owned();
    let (other, _, _) = scene.open("two").await;
    assert!(scene.annotate("bob", &other, &[APPROVE]).0);
    let bobs = record(&scene.stored(&other));
    scene.webhook(false);
    let ignored = || {
        let text = String::from_utf8(scene.replicas[1].metrics.render().unwrap()).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("agentaccess_approval_records_ignored_total"))
            .unwrap()
            .to_owned();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let before = ignored();
    scene.until("the webhook is gone", || async {
        let forged = json!({format!("{RECORD_PREFIX}2"): "{\"user\":\"bob\",\"decision\":\"approve\",\"mac\":\"hmac-sha256:00\"}"});
        scene.patch("bob", &name, forged).await.is_ok()
    }).await;
    // A record of his own of another request.
    scene.patch("bob", &name, json!({format!("{RECORD_PREFIX}3"): bobs})).await.unwrap();
    scene.until("both were seen", || async { ignored() >= before + 3 }).await;
    assert_eq!(shown(&standing), "1/2");
    // Nor is a decision taken that nobody would sign.
    let (done, said) = scene.annotate("bob", &name, &[APPROVE]);
    assert!(!done && said.contains("is it there?"), "{said}");
    // Edited, once the wall is gone here too; others test it beside us.
    let wall = |but: &Value| {
        let selector =
            json!({"spec": {"matchResources": {"namespaceSelector": {"matchExpressions": but}}}}).to_string();
        let binding = ["patch", "validatingadmissionpolicybinding", "agentaccess-approvals", "--type=merge", "-p"];
        let (done, said) = kubectl(&[&binding[..], &[&selector]].concat(), None);
        assert!(done, "{said}");
    };
    wall(&json!([{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [scene.namespace]}]));
    let edited = record(&scene.stored(&name)).replace("\"reason\":\"\"", "\"reason\":\"INC-1\"");
    scene
        .until("the wall is gone", || async {
            scene.patch("alice", &name, json!({format!("{RECORD_PREFIX}1"): edited})).await.is_ok()
        })
        .await;
    told(&mut standing, "0/2").await;
    wall(&Value::Null);
    scene.webhook(true);
    // With both again, what is unsigned is in nobody's way.
    scene
        .until("the webhook is back", || async {
            scene.patch("alice", &name, json!({DECISION_ANNOTATION: "approve"})).await.is_ok()
        })
        .await;
    assert!(scene.annotate("bob", &name, &[APPROVE]).0);
    told(&mut standing, "approved by alice,bob").await;
}

/// From `annotate` to the word to the sidecar, on the replica that the webhook did not call.
async fn fast(scene: &Scene) {
    let alice = scene.person("alice").await;
    let (mut whole, mut after) = (Vec::new(), Vec::new());
    for turn in 0..60 {
        // Of each pod so few that it does not meet the limit on new requests.
        let pod = 1 + turn % (scene.pods.len() - 1);
        let (name, mut standing, _) = scene.open_as(pod, "one").await;
        let patch = json!({"metadata": {"annotations": {DECISION_ANNOTATION: "approve"}}});
        let begun = Instant::now();
        let annotated = async {
            alice.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
            Instant::now()
        };
        let released = async {
            told(&mut standing, "approved by alice").await;
            Instant::now()
        };
        let (annotated, released) = tokio::join!(annotated, released);
        whole.push(released - begun);
        after.push(released.saturating_duration_since(annotated));
        scene.replicas[1].approvals.desk.withdraw(&scene.pods[pod], &name).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let at = |times: &mut Vec<Duration>, part: usize| {
        times.sort();
        times[(times.len() - 1) * part / 100]
    };
    println!("sent to released: p50 {:?}, p99 {:?}", at(&mut whole, 50), at(&mut whole, 99));
    println!("answered to released: p50 {:?}, p99 {:?}", at(&mut after, 50), at(&mut after, 99));
    assert!(at(&mut whole, 50) <= Duration::from_millis(300));
}
