//! What a chat is told of requests, by a leader who writes down what was told.

use std::time::Duration;

use e2e::receiver::Answer;
use serde_json::json;

use super::scene::{Scene, kubectl};
use super::{APPROVE, DENY};

/// Of this request, in order.
pub(crate) fn events(scene: &Scene, name: &str) -> Vec<String> {
    scene.told_of(name).iter().map(|told| told["agentaccess"]["event"].as_str().unwrap().to_owned()).collect()
}

pub(crate) async fn told(scene: &Scene) {
    let (name, ..) = scene.open("two").await;
    scene.until("the chat is asked", || async { events(scene, &name) == ["requested"] }).await;
    let asked = scene.told_of(&name).remove(0);
    let text = asked["text"].as_str().unwrap();
    // What it says to paste does what it says.
    let approve = format!("kubectl annotate areq {name} -n {} {APPROVE}", scene.namespace);
    assert!(text.contains(&approve) && text.contains("UPDATE public.orders SET state"), "{text}");
    let line = asked["agentaccess"]["commands"]["approve"].as_str().unwrap();
    assert_eq!(line, approve);
    let words: Vec<&str> = line.split(' ').skip(1).chain(["--as=alice"]).collect();
    let (done, said) = kubectl(&words, None);
    assert!(done && said.contains("recorded: approve by alice (1 of 2 needed)"), "{said}");
    assert!(scene.annotate("bob", &name, &[APPROVE]).0);
    scene.until("the chat is told", || async { events(scene, &name) == ["requested", "approved"] }).await;
    // It stands in the status, beside what the leader writes there, and hinders no use.
    scene
        .until("it is written down", || async {
            let status = scene.stored(&name)["status"].clone();
            status["notified"] == json!(["Requested", "Approved"])
                && status["phase"] == "Approved"
                && status["approvals"] == 2
        })
        .await;

    let (name, ..) = scene.open("one").await;
    assert!(scene.annotate("bob", &name, &[DENY, "agentaccess.dev/reason=<!channel>"]).0);
    scene.until("the chat is told", || async { events(scene, &name) == ["requested", "denied"] }).await;
    let text = scene.told_of(&name).remove(1)["text"].as_str().unwrap().to_owned();
    assert!(text.contains("by `bob`, because `&lt;!channel&gt;`") && !text.contains("<!channel>"), "{text}");

    let (name, ..) = scene.open("one").await;
    scene.until("the chat is asked", || async { events(scene, &name) == ["requested"] }).await;
    assert!(kubectl(&["delete", "areq", &name, "-n", &scene.namespace], None).0);
    scene.until("the chat is told", || async { events(scene, &name) == ["requested", "ended"] }).await;
}

/// The endpoint fails: approvals go on, people see it on the request, and nothing is lost.
pub(crate) async fn failing(scene: &Scene) {
    scene.chat.answer(Answer::Status(500));
    let (name, mut standing, digest) = scene.open("one").await;
    assert!(scene.annotate("alice", &name, &[APPROVE]).0);
    super::told(&mut standing, "approved by alice").await;
    scene.replicas[1].approvals.desk.consume(&scene.pods[0], super::used(&name, &digest)).await.unwrap();
    let described = || kubectl(&["describe", "areq", &name, "-n", &scene.namespace], None).1;
    scene.until("an Event says so", || async { described().contains("NotificationDelayed") }).await;
    assert!(!described().contains("/chat"), "{}", described());
    scene.chat.answer(Answer::Status(200));
    let done = || async {
        let events = events(scene, &name);
        let first = events.iter().take_while(|event| *event == "requested").count();
        first > 1 && events[first..] == ["approved"]
    };
    scene.until("the chat is told in the end", done).await;
    // Until then another leader would tell it again, and may.
    scene
        .until("it is written down", || async {
            scene.stored(&name)["status"]["notified"] == json!(["Requested", "Approved"])
        })
        .await;
    let metrics = String::from_utf8(scene.replicas[0].metrics.render().unwrap()).unwrap();
    let counted = |outcome: &str| {
        let line = format!("agentaccess_notifications_total{{outcome=\"{outcome}\"}} ");
        let text = metrics.lines().find_map(|text| text.strip_prefix(&line)).unwrap();
        text.parse::<u64>().unwrap()
    };
    assert!(counted("away") >= 5 && counted("sent") >= 2 && counted("given_up") == 0, "{metrics}");
}

pub(crate) async fn by_the_next_leader(scene: &Scene) {
    let (name, ..) = scene.open("two").await;
    scene
        .until("it is told and written down", || async {
            scene.stored(&name)["status"]["notified"] == json!(["Requested"])
        })
        .await;
    // Others try things in namespaces of their own.
    let heard = || {
        let told = scene.chat.heard().into_iter().map(|heard| heard.json().unwrap()["agentaccess"].clone());
        told.filter(|told| told["request"]["namespace"] == scene.namespace.as_str())
            .map(|told| told["id"].clone())
            .collect::<Vec<_>>()
    };
    let before = heard();
    let _next = scene.another_leader().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    // What happens meanwhile is news, and both of them lead.
    let since = heard().split_off(before.len());
    let again: Vec<_> = since.iter().filter(|id| before.contains(id)).collect();
    assert!(again.is_empty(), "what was told is told again: {again:?}");
    assert_eq!(events(scene, &name), ["requested"]);
}
