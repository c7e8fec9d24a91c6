//! What has a bound: how many requests may be open, and how long one is kept that has ended.

use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, PostParams};
use operator::approvals::Asker;
use tonic::{Code, Status};

use crds::approval::ApprovalRequest;

use super::all;
use super::scene::Scene;

/// Open requests of one pod, and of all pods of a namespace.
const OF_ONE_POD: usize = 64;
const OF_ONE_NAMESPACE: usize = 500;
/// Requests that are made beside each other.
const BATCH: usize = 25;

fn is_full(status: &Status) -> bool {
    (status.code(), status.message()) == (Code::ResourceExhausted, "too many approval requests are open")
}

/// Another of the same words, as the operator would make it.
fn copy(one: &ApprovalRequest, name: &str) -> ApprovalRequest {
    let mut copy = ApprovalRequest::new(name, one.spec.clone());
    copy.metadata.labels.clone_from(&one.metadata.labels);
    copy.metadata.owner_references.clone_from(&one.metadata.owner_references);
    copy
}

/// A pod that has many open may open no more. That is no matter of others, nor for ever.
pub(crate) async fn full(scene: &Scene) {
    let (busy, idle) = (2, 3);
    let (name, _, _) = scene.open_as(busy, "one").await;
    let operator = scene.operator().await;
    let one = operator.get(&name).await.unwrap();
    let names: Vec<String> = (1..OF_ONE_POD).map(|n| format!("areq-full-{n}")).collect();
    for name in &names {
        operator.create(&PostParams::default(), &copy(&one, name)).await.unwrap();
    }
    let refused = || async { scene.ask_as(busy, "one").await.is_err_and(|status| is_full(&status)) };
    scene.until("nothing more is taken", refused).await;
    scene.open_as(idle, "one").await;
    for name in &names {
        operator.delete(name, &DeleteParams::default()).await.unwrap();
    }
    scene.until("there is room again", || async { scene.ask_as(busy, "one").await.is_ok() }).await;
}

/// A namespace in which many are open takes no more, whichever of its pods asks. That is no matter of other namespaces,
/// nor for ever. In a namespace of its own, where what is open can be counted.
pub(crate) async fn full_namespace(scene: &Scene) {
    let [busy, idle] = scene.elsewhere();
    let desk = &scene.replicas[1].approvals.desk;
    let ask =
        async |pod: &Asker, digest: u8| desk.ask(pod, scene.question("one", digest, 600)).await.map(|(name, _)| name);
    let name = ask(&busy, 1).await.unwrap();
    let operator = scene.operator_in(busy.pod.namespace()).await;
    let one = operator.get(&name).await.unwrap();
    let others: Vec<ApprovalRequest> = (1..OF_ONE_NAMESPACE)
        .map(|n| {
            let mut other = copy(&one, &format!("areq-full-{n}"));
            other.spec.subject.pod_uid = Some(format!("pod-{n}"));
            other
        })
        .collect();
    let how = PostParams::default();
    for batch in others.chunks(BATCH) {
        for made in all(batch.iter().map(|other| operator.create(&how, other)).collect()).await {
            made.unwrap();
        }
    }
    // What is taken before this replica has heard of them all is given up at once, and keeps no place.
    let refused = || async {
        match ask(&idle, 2).await {
            Ok(name) => {
                desk.withdraw(&idle, &name).await.unwrap();
                false
            }
            Err(status) => is_full(&status),
        }
    };
    scene.until("nothing more is taken", refused).await;
    scene.open_as(4, "one").await;
    // One that goes makes room for one.
    operator.delete("areq-full-1", &DeleteParams::default()).await.unwrap();
    scene.until("there is room again", || async { ask(&idle, 2).await.is_ok() }).await;
    let status = ask(&busy, 3).await.unwrap_err();
    assert!(is_full(&status), "{status}");
}

/// The leader removes what ended a day ago, and nothing before that.
pub(crate) async fn removed_in_time(scene: &Scene) {
    let (name, _, _) = scene.open("one").await;
    let operator = scene.operator().await;
    let one = operator.get(&name).await.unwrap();
    for (name, hours) in [("areq-old", 25), ("areq-young", 23)] {
        let mut ended = copy(&one, name);
        let expired = Timestamp::now() - SignedDuration::from_hours(hours);
        ended.spec.expires_at = format!("{expired:.0}");
        operator.create(&PostParams::default(), &ended).await.unwrap();
    }
    scene.phase("areq-young", "Expired").await;
    scene.until("the older one is gone", || async { operator.get_opt("areq-old").await.unwrap().is_none() }).await;
    assert!(operator.get_opt("areq-young").await.unwrap().is_some());
}
