//! What has a bound: how many requests may be open, and how long one is kept that has ended.

use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, PostParams};
use tonic::Code;

use crds::approval::ApprovalRequest;

use super::scene::Scene;

/// Open requests of one pod.
const OF_ONE_POD: usize = 64;

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
    let refused = || async {
        let asked = scene.ask_as(busy, "one").await;
        asked.is_err_and(|status| {
            (status.code(), status.message()) == (Code::ResourceExhausted, "too many approval requests are open")
        })
    };
    scene.until("nothing more is taken", refused).await;
    scene.open_as(idle, "one").await;
    for name in &names {
        operator.delete(name, &DeleteParams::default()).await.unwrap();
    }
    scene.until("there is room again", || async { scene.ask_as(busy, "one").await.is_ok() }).await;
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
