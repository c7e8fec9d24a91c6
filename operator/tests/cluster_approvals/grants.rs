//! Approvals that are good for more than one use, as two replicas count them.

use control::v1::{ConsumeRequest, Consumed, Cover, Question, Scope, Standing, Use};
use serde_json::json;
use tokio::sync::watch;
use tonic::{Code, Status};

use super::notified::events;
use super::scene::{Scene, shown, told};

const REASON: &str = "agentaccess.dev/reason=INC-9";

fn question(scene: &Scene, rule: &str, scope: Scope, digest: u8) -> Question {
    let mut question = scene.question(rule, digest, 600);
    let terms = question.terms.as_mut().unwrap();
    (terms.scope, terms.max_grant_seconds) = (scope.into(), if scope == Scope::Once { 0 } else { 1800 });
    let used = Use {
        verb: "Update".to_owned(),
        kind: "Relation".to_owned(),
        path: vec!["public".to_owned(), "orders".to_owned()],
        columns: vec!["id".to_owned(), "state".to_owned()],
        bounded: true,
        ..Use::default()
    };
    question.cover = Some(Cover { database: "shop".to_owned(), uses: vec![used] });
    question.session = "s-1".to_owned();
    question
}

async fn ask(scene: &Scene, replica: usize, pod: usize, question: Question) -> (String, watch::Receiver<Standing>) {
    scene.replicas[replica].approvals.desk.ask(&scene.pods[pod], question).await.unwrap()
}

async fn consume(
    scene: &Scene,
    replica: usize,
    pod: usize,
    name: &str,
    question: Question,
) -> Result<Consumed, Status> {
    let (name, digest) = (name.to_owned(), question.digest.clone());
    let request = ConsumeRequest { name, digest, question: Some(question) };
    scene.replicas[replica].approvals.desk.consume(&scene.pods[pod], request).await
}

fn refused(answer: Result<Consumed, Status>, why: &str) {
    let error = answer.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::FailedPrecondition, why));
}

pub(crate) async fn granted_and_revoked(scene: &Scene) {
    let asked = |digest: u8| question(scene, "pod", Scope::Duration, digest);
    let (name, mut standing) = ask(scene, 0, 0, asked(150)).await;
    refused(consume(scene, 0, 0, &name, asked(150)).await, "it is not approved");
    let stored = scene.stored(&name);
    assert_eq!(
        (&stored["spec"]["scope"], &stored["spec"]["grant"]["maxDuration"]),
        (&json!("Duration"), &json!("30m"))
    );
    let (done, said) =
        scene.annotate("alice", &name, &["agentaccess.dev/decision=approve", "agentaccess.dev/grant=20m"]);
    assert!(done && said.contains("it counts until"), "{said}");
    told(&mut standing, "approved by alice").await;
    // For other values, on any replica, again and again, and it is not used up.
    for (replica, digest) in [(0, 150), (1, 151), (0, 152), (1, 150)] {
        scene
            .until("this replica finds the grant", || async { ask(scene, replica, 0, asked(digest)).await.0 == name })
            .await;
        let used = consume(scene, replica, 0, &name, asked(digest)).await.unwrap();
        let grant = used.grant.unwrap();
        assert_eq!(
            (used.by, grant.scope, grant.broken.as_str()),
            (vec!["alice".to_owned()], Scope::Duration.into(), "")
        );
        assert!((1_100_000..=1_200_000).contains(&grant.left_milliseconds), "{}", grant.left_milliseconds);
    }
    // Followed again by its name, without a question to anybody.
    let only = Question { only: name.clone(), ..asked(153) };
    assert_eq!(ask(scene, 1, 0, only).await.0, name);
    let gone = Question { only: "areq-00000000".to_owned(), ..asked(153) };
    let gone = scene.replicas[0].approvals.desk.ask(&scene.pods[0], gone).await.map(drop);
    assert_eq!(gone.unwrap_err().code(), Code::NotFound);
    // Of another pod, and of another action, it is none.
    refused(consume(scene, 0, 1, &name, asked(150)).await, "there is no such request of this pod");
    let mut wider = asked(154);
    wider.cover.as_mut().unwrap().uses[0].bounded = false;
    refused(consume(scene, 0, 0, &name, wider.clone()).await, "it was asked for another operation");
    let (other, _) = ask(scene, 0, 0, wider).await;
    assert_ne!(other, name);

    let status = scene.phase(&name, "Approved").await;
    assert_eq!((&status["grant"]["scope"], &status["consumed"]), (&json!("Duration"), &json!(false)), "{status}");
    let revoke = &["agentaccess.dev/decision=revoke"];
    let (done, said) = scene.annotate("mallory", &name, revoke);
    assert!(!done && said.contains("approve"), "{said}");
    let (done, said) = scene.annotate("bob", &name, revoke);
    assert!(done && said.contains("recorded: revoke by bob"), "{said}");
    told(&mut standing, "Revoked").await;
    refused(consume(scene, 1, 0, &name, asked(150)).await, "it was revoked");
    scene.phase(&name, "Revoked").await;
    assert_ne!(ask(scene, 0, 0, asked(150)).await.0, name);
}

pub(crate) async fn broken(scene: &Scene) {
    let asked = |digest: u8| question(scene, "five", Scope::Once, digest);
    let (name, mut standing) = ask(scene, 1, 0, asked(160)).await;
    let glass = "agentaccess.dev/decision=break-glass";
    for (who, words, why) in [
        ("alice", &[glass, REASON][..], "breakglass"),
        ("carol", &[glass][..], "says why"),
        ("carol", &[glass, REASON, "agentaccess.dev/grant=31m"][..], "at most 30m"),
    ] {
        let (done, said) = scene.annotate(who, &name, words);
        assert!(!done && said.contains(why), "{who}: {said}");
    }
    assert_eq!(shown(&standing), "0/5");
    let (done, said) = scene.annotate("carol", &name, &[glass, REASON]);
    assert!(done && said.contains("recorded: break-glass by carol; it counts until"), "{said}");
    told(&mut standing, "approved by carol").await;
    let grant = consume(scene, 0, 0, &name, asked(160)).await.unwrap().grant.unwrap();
    assert_eq!((grant.scope, grant.broken.as_str()), (Scope::Duration.into(), "INC-9"));
    consume(scene, 1, 0, &name, asked(161)).await.unwrap();
    refused(consume(scene, 1, 1, &name, asked(160)).await, "there is no such request of this pod");
    let status = scene.phase(&name, "Approved").await;
    assert_eq!(status["grant"]["breakGlass"], true, "{status}");
    scene
        .until("it is loud", || async {
            let told = super::scene::kubectl(&["describe", "areq", &name, "-n", &scene.namespace], None).1;
            told.contains("BreakGlass") && told.contains("carol broke the glass")
        })
        .await;
    let metrics = String::from_utf8(scene.replicas[0].metrics.render().unwrap()).unwrap();
    assert!(metrics.contains("agentaccess_break_glass_total{"), "{metrics}");
    // The record says it, signed; the chat was told who and why.
    let stored = scene.stored(&name);
    let record = stored["metadata"]["annotations"]["agentaccess.dev/decision.1"].as_str().unwrap();
    assert!(record.contains("\"decision\":\"break-glass\"") && record.contains("INC-9"), "{record}");
    scene.until("the chat is told", || async { events(scene, &name) == ["requested", "break-glass"] }).await;
    let told = scene.told_of(&name).remove(1);
    let text = told["text"].as_str().unwrap();
    assert!(text.starts_with("BREAK-GLASS: ") && text.contains("by `carol`, because `INC-9`"), "{text}");
    assert_eq!(told["agentaccess"]["grant"]["breakGlass"], true, "{told}");
}
