//! The sidecar's side of `control`, against a server of the same contract over a real connection.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::PodName;
use control::v1::control_client::ControlClient;
use control::v1::control_server::{Control, ControlServer};
use control::v1::*;
use parking_lot::Mutex;
use policy::TargetKey;
use policy::operation::{Digest, Protocol, Revision, Strictness};
use policy::redact::Redacted;
use policy::verdict::{ApprovalTerms, Decision, Explanation, Matched, Obligations, RuleId, Verdict};
use recording::entry::{Approval, What};
use secrecy::ExposeSecret as _;
use sidecar::control::approvals::ClusterApprovals;
use sidecar::control::feed::Feed;
use sidecar::control::line::Line;
use sidecar::ledger::{Ledger, NotRecorded};
use sidecar::metrics::Metrics;
use sidecar::outside::{
    Answer, Approvals as _, Ask, Credentials as _, NotConsumed, Policies, Standing as Stands, Target,
};
use sidecar::used::Used;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

type Sent<T> = mpsc::Sender<Result<T, Status>>;

/// An operator of memory: what the test puts into `next` is sent on the stream that is open, or on the next one.
#[derive(Default)]
struct Operator {
    watchers: Mutex<Vec<(String, Sent<Update>)>>,
    asked: Mutex<Vec<(Question, Sent<control::v1::Standing>)>>,
    consumed: Mutex<Vec<Vec<u8>>>,
    /// What each use answers; without one an approval is good once.
    grant: Mutex<Option<Result<Grant, Status>>>,
    /// Requests that are not there any more.
    gone: Mutex<bool>,
    used: Mutex<Vec<ConsumeRequest>>,
    withdrawn: Mutex<Vec<String>>,
    reports: Mutex<Vec<ReportRequest>>,
    /// One of a version that does not know them.
    deaf: Mutex<bool>,
}

struct Served(Arc<Operator>);

#[tonic::async_trait]
impl Control for Served {
    async fn renew(&self, _: Request<RenewRequest>) -> Result<Response<Certificate>, Status> {
        Err(Status::unimplemented("not of this test"))
    }

    type WatchStream = ReceiverStream<Result<Update, Status>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, receiver) = mpsc::channel(16);
        self.0.watchers.lock().push((request.into_inner().in_force, sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<Reported>, Status> {
        self.0.reports.lock().push(request.into_inner());
        match *self.0.deaf.lock() {
            true => Err(Status::unimplemented("what is that?")),
            false => Ok(Response::new(Reported {})),
        }
    }

    type AskStream = ReceiverStream<Result<control::v1::Standing, Status>>;

    async fn ask(&self, request: Request<Question>) -> Result<Response<Self::AskStream>, Status> {
        if *self.0.gone.lock() && !request.get_ref().only.is_empty() {
            return Err(Status::not_found("there is no such request of this pod"));
        }
        let (sender, receiver) = mpsc::channel(16);
        sender.try_send(Ok(pending(0))).unwrap();
        self.0.asked.lock().push((request.into_inner(), sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn withdraw(&self, request: Request<Name>) -> Result<Response<Withdrawn>, Status> {
        self.0.withdrawn.lock().push(request.into_inner().name);
        Ok(Response::new(Withdrawn {}))
    }

    async fn consume(&self, request: Request<ConsumeRequest>) -> Result<Response<Consumed>, Status> {
        let mut consumed = self.0.consumed.lock();
        self.0.used.lock().push(request.get_ref().clone());
        if let Some(grant) = self.0.grant.lock().clone() {
            return Ok(Response::new(Consumed {
                by: vec!["alice".to_owned()],
                grant: Some(grant?),
                rollback_above: None,
            }));
        }
        // What it was shown with, as the stored request would have it.
        let shown = request.get_ref().question.as_ref().and_then(|question| question.impact.as_ref());
        let rollback_above = shown.filter(|impact| impact.compared).and_then(|impact| impact.counted_rows);
        let digest = request.into_inner().digest;
        if consumed.contains(&digest) {
            return Err(Status::failed_precondition("used"));
        }
        consumed.push(digest);
        Ok(Response::new(Consumed { by: vec!["alice".to_owned()], grant: None, rollback_above }))
    }

    async fn begin_recording(&self, _: Request<BeginRecordingRequest>) -> Result<Response<RecordingStanding>, Status> {
        Err(Status::unimplemented("no store"))
    }

    async fn countersign(&self, _: Request<CountersignRequest>) -> Result<Response<Countersigned>, Status> {
        Err(Status::unimplemented("no store"))
    }

    async fn keep(&self, _: Request<Streaming<SegmentPart>>) -> Result<Response<RecordingStanding>, Status> {
        Err(Status::unimplemented("no store"))
    }

    async fn replicate(
        &self,
        _: Request<control::v1::ReplicateRequest>,
    ) -> Result<Response<control::v1::Replicated>, Status> {
        Err(Status::unimplemented("no store"))
    }
}

#[derive(Default)]
struct Book(Mutex<Vec<String>>);

impl Ledger for Book {
    fn approval(&self, approval: Approval) -> Answer<'_, Result<(), NotRecorded>> {
        let by = approval.reviewer.unwrap_or_default();
        let why = approval.reason.map(|why| format!(" {why}")).unwrap_or_default();
        self.0.lock().push(format!("{:?} {} {by}{why}", approval.event, approval.name));
        Box::pin(async { Ok(()) })
    }

    fn marker(&self, _: What, detail: String) {
        self.0.lock().push(detail);
    }
}

async fn serve() -> (Arc<Operator>, ControlClient<Channel>) {
    let operator = Arc::new(Operator::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let service = ControlServer::new(Served(Arc::clone(&operator)));
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
    (operator, ControlClient::new(channel))
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Operator {
    async fn send(&self, update: update::Update) {
        eventually("a watcher", || self.watchers.lock().last().is_some_and(|(_, sender)| !sender.is_closed())).await;
        let sender = self.watchers.lock().last().unwrap().1.clone();
        sender.send(Ok(Update { update: Some(update), roots: Vec::new() })).await.unwrap();
    }
}

fn snapshot(revision: &str, relation: &str, password: &str) -> Snapshot {
    let target = r#"{"apiVersion":"agentaccess.dev/v1alpha1","kind":"AccessTarget","metadata":{"name":"db","namespace":"shop"},
        "spec":{"protocol":"Postgres","host":"db.example","port":5432,"tls":{"mode":"VerifyFull"},"credentialRef":{"name":"login"},
        "postgres":{"databases":["shop"]}}}"#;
    let policy = format!(
        r#"{{"apiVersion":"agentaccess.dev/v1alpha1","kind":"AgentAccessPolicy","metadata":{{"name":"p","namespace":"shop"}},
        "spec":{{"podSelector":{{}},"targets":[{{"targetRef":{{"name":"db"}},"postgres":{{"rules":[
        {{"name":"r","action":"Allow","verbs":["Select"],"relations":["{relation}"]}}]}}}}]}}}}"#
    );
    Snapshot {
        revision: revision.to_owned(),
        subject: Some(Subject {
            namespace: "shop".to_owned(),
            service_account: "agent".to_owned(),
            pod: "agent-0".to_owned(),
            pod_uid: "0f8b1c9e-6a0d-4a57-9c1d-0123456789ab".to_owned(),
            labels: HashMap::from([("app".to_owned(), "agent".to_owned())]),
            namespace_labels: HashMap::new(),
        }),
        objects: vec![target.into(), policy.into()],
        secrets: vec![Secret {
            namespace: "shop".to_owned(),
            name: "login".to_owned(),
            data: HashMap::from([("username".to_owned(), "u".into()), ("password".to_owned(), password.into())]),
        }],
        max_policy_age_seconds: 60,
    }
}

fn pending(have: u32) -> control::v1::Standing {
    let standing = Some(standing::Standing::Pending(Pending { have, need: 2 }));
    control::v1::Standing { name: "areq-1".to_owned(), standing }
}

#[tokio::test]
async fn what_the_operator_says_is_in_force_and_what_is_not_usable_changes_nothing() {
    let (operator, client) = serve().await;
    let (metrics, book) = (Arc::new(Metrics::new("test").unwrap()), Arc::new(Book::default()));
    let told = Arc::new(Mutex::new(Vec::new()));
    let first = tokio::spawn({
        let (line, book) = (Line::from(client.clone()), Arc::clone(&book) as Arc<dyn Ledger>);
        let (metrics, told) = (Arc::clone(&metrics), Arc::clone(&told));
        let pod = PodName::new("shop", "0f8b1c9e-6a0d-4a57-9c1d-0123456789ab").unwrap();
        async move { Feed::first(line, pod, Arc::new(move |text| told.lock().push(text)), metrics, book).await }
    });
    // Not usable at first, then another pod's: it waits for its own.
    operator.send(update::Update::Snapshot(Snapshot { objects: vec!["{".into()], ..snapshot("0", "a.b", "x") })).await;
    eventually("another try", || operator.watchers.lock().len() == 2).await;
    assert!(told.lock()[0].contains("no policy from the operator since 20"), "{:?}", told.lock());
    let mut others = snapshot("0", "a.b", "x");
    others.subject.as_mut().unwrap().pod_uid = "0f8b1c9e-6a0d-4a57-9c1d-00000000000a".to_owned();
    operator.send(update::Update::Snapshot(others)).await;
    eventually("a third try", || operator.watchers.lock().len() == 3).await;
    assert!(told.lock().last().unwrap().contains("a pod keeps its identity"), "{:?}", told.lock());
    operator.send(update::Update::Snapshot(snapshot("1", "public.orders", "one"))).await;
    let feed = tokio::time::timeout(Duration::from_secs(20), first).await.unwrap().unwrap();
    let (policies, secrets) = (feed.policies(), feed.secrets());
    let in_force = || policies.borrow().set.revision();
    let password = || {
        let key = TargetKey { namespace: "shop".to_owned(), name: "db".to_owned() };
        let target = Target::of(&key, secrets.held().set.targets().get(&key)).unwrap();
        secrets.current(&target).unwrap().password.expose_secret().to_owned()
    };
    assert_eq!((password().as_str(), policies.borrow().max_age), ("one", Duration::from_secs(60)));
    assert_eq!(feed.subject().borrow().pod.as_deref(), Some("agent-0"));
    feed.follow(Arc::default());
    eventually("it follows", || operator.watchers.lock().last().unwrap().0 == "1").await;

    // A rotated secret alone, then a policy.
    let one = in_force();
    operator.send(update::Update::Snapshot(snapshot("2", "public.orders", "two"))).await;
    eventually("the new secret", || password() == "two").await;
    assert_eq!(in_force(), one);
    operator.send(update::Update::Snapshot(snapshot("3", "public.items", "two"))).await;
    eventually("the new policy", || in_force() != one).await;
    let three = in_force();

    // Still confirms, and only what is in force.
    let confirmed = policies.borrow().confirmed;
    operator.send(update::Update::Still(Still { revision: "3".to_owned() })).await;
    eventually("it is confirmed", || policies.borrow().confirmed > confirmed).await;
    let streams = operator.watchers.lock().len();
    operator.send(update::Update::Still(Still { revision: "7".to_owned() })).await;
    eventually("a new stream", || operator.watchers.lock().len() > streams).await;
    assert_eq!(operator.watchers.lock().last().unwrap().0, "3");

    // What is wrong changes nothing, confirms nothing and is on record.
    let other = |change: fn(&mut Snapshot)| {
        let mut wrong = snapshot("4", "public.vault", "four");
        change(&mut wrong);
        wrong
    };
    for wrong in [
        other(|s| s.objects.push("{}".into())),
        other(|s| s.objects[0] = s.objects[1].clone()),
        other(|s| s.objects.push(vec![0xff])),
        other(|s| s.objects.push("apiVersion: v1\nkind: Secret\nmetadata: {name: x}".into())),
        other(|s| s.objects.push(r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}"#.into())),
        other(|s| s.max_policy_age_seconds = 0),
        other(|s| s.subject = None),
        other(|s| s.subject.as_mut().unwrap().pod_uid = "another".to_owned()),
        other(|s| s.subject.as_mut().unwrap().namespace = "bank".to_owned()),
    ] {
        let (confirmed, told) = (policies.borrow().confirmed, book.0.lock().len());
        let streams = operator.watchers.lock().len();
        operator.send(update::Update::Snapshot(wrong)).await;
        eventually("it is on record", || book.0.lock().len() > told).await;
        assert!(book.0.lock().last().unwrap().starts_with("refused, the old ones stay"));
        assert_eq!((in_force(), password().as_str()), (three, "two"));
        assert_eq!(policies.borrow().confirmed, confirmed);
        // What is sent on the stream that just ended would be lost.
        eventually("a new stream", || operator.watchers.lock().len() > streams).await;
    }

    // An operator that comes back is followed again.
    operator.send(update::Update::Snapshot(snapshot("5", "public.orders", "five"))).await;
    eventually("the first policy again", || in_force() == one && password() == "five").await;
}

/// A feed that has its first snapshot, `1`, and follows.
async fn following(operator: &Arc<Operator>, client: &ControlClient<Channel>) -> (Policies, Arc<Used>) {
    let (metrics, book) = (Arc::new(Metrics::new("test").unwrap()), Arc::new(Book::default()));
    let pod = PodName::new("shop", "0f8b1c9e-6a0d-4a57-9c1d-0123456789ab").unwrap();
    let first = tokio::spawn(Feed::first(Line::from(client.clone()), pod, Arc::new(|_| {}), metrics, book));
    operator.send(update::Update::Snapshot(snapshot("1", "public.orders", "one"))).await;
    let feed = tokio::time::timeout(Duration::from_secs(20), first).await.unwrap().unwrap();
    let (policies, used) = (feed.policies(), Arc::new(Used::default()));
    feed.follow(Arc::clone(&used));
    eventually("it follows", || operator.watchers.lock().last().unwrap().0 == "1").await;
    (policies, used)
}

impl Operator {
    /// What was said of this snapshot: the used rules, as `policy/rule`.
    async fn reported(&self, revision: &str) -> Vec<String> {
        eventually("a report", || self.reports.lock().last().is_some_and(|last| last.in_force == revision)).await;
        let last = self.reports.lock().last().unwrap().clone();
        last.used.iter().flat_map(|one| one.rules.iter().map(|rule| format!("{}/{rule}", one.policy))).collect()
    }

    /// A new stream; what was sent on the one before is not lost.
    async fn anew(&self) {
        let streams = self.watchers.lock().len();
        self.send(update::Update::Still(Still { revision: "none".to_owned() })).await;
        eventually("a new stream", || self.watchers.lock().len() > streams).await;
    }
}

#[tokio::test]
async fn the_operator_hears_what_is_in_force_and_which_rules_were_used() {
    let (operator, client) = serve().await;
    let (policies, used) = following(&operator, &client).await;
    operator.send(update::Update::Snapshot(snapshot("2", "public.orders", "two"))).await;
    assert_eq!(operator.reported("2").await, [""; 0]);
    let rule = |policy: &str| RuleId { policy: policy.to_owned(), rule: "r".to_owned(), cluster: false };
    let matched = |rule| Matched { rule, says: Strictness::Allow, access: String::new() };
    used.note(&Verdict {
        decision: Decision::Allow,
        obligations: Obligations::default(),
        why: Explanation {
            revision: policies.borrow().set.revision(),
            matched: vec![matched(rule("p")), matched(rule("builtin"))],
        },
        would_deny: None,
    });
    operator.send(update::Update::Snapshot(snapshot("3", "public.orders", "three"))).await;
    assert_eq!(operator.reported("3").await, ["p/r"]);
    // The operator's own word for the policy, over the bytes that it sent.
    let form = control::object_revision(&snapshot("3", "public.orders", "three").objects[1]);
    assert_eq!(operator.reports.lock().last().unwrap().used[0].revision, form);
    // Said once, and again to whom may not have heard it.
    operator.send(update::Update::Snapshot(snapshot("4", "public.orders", "four"))).await;
    assert_eq!(operator.reported("4").await, [""; 0]);
    operator.anew().await;
    operator.send(update::Update::Snapshot(snapshot("5", "public.orders", "five"))).await;
    assert_eq!(operator.reported("5").await, ["p/r"]);
    // Of another form of the policy nothing was used yet.
    operator.send(update::Update::Snapshot(snapshot("6", "public.items", "six"))).await;
    assert_eq!(operator.reported("6").await, [""; 0]);
    assert!(used.rules().is_empty());
    // What is not usable is not said to be in force.
    let wrong = Snapshot { objects: vec!["{".into()], ..snapshot("7", "a.b", "x") };
    let streams = operator.watchers.lock().len();
    operator.send(update::Update::Snapshot(wrong)).await;
    eventually("a new stream", || operator.watchers.lock().len() > streams).await;
    operator.send(update::Update::Snapshot(snapshot("8", "public.items", "eight"))).await;
    operator.reported("8").await;
    assert!(operator.reports.lock().iter().all(|one| one.in_force != "7"));
}

#[tokio::test]
async fn an_operator_that_does_not_listen_is_told_once_a_stream_and_is_followed() {
    let (operator, client) = serve().await;
    *operator.deaf.lock() = true;
    let (policies, _used) = following(&operator, &client).await;
    let mut before = policies.borrow().set.revision();
    for (number, relation) in ["public.a", "public.b", "public.c"].into_iter().enumerate() {
        operator.send(update::Update::Snapshot(snapshot(&format!("s{number}"), relation, "x"))).await;
        eventually("it is in force", || policies.borrow().set.revision() != before).await;
        before = policies.borrow().set.revision();
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    assert_eq!(operator.reports.lock().len(), 1);
    // It may have been replaced.
    *operator.deaf.lock() = false;
    operator.anew().await;
    operator.send(update::Update::Snapshot(snapshot("9", "public.a", "x"))).await;
    operator.reported("9").await;
    assert_eq!(operator.reports.lock().len(), 2);
}

fn ask(digest: Digest) -> Ask {
    Ask {
        subject: Arc::default(),
        target: TargetKey { namespace: "shop".to_owned(), name: "db".to_owned() },
        host: "db.example".to_owned(),
        port: 5432,
        protocol: Protocol::Postgres,
        action: "DELETE".to_owned(),
        resources: vec!["public.orders".to_owned()],
        statement: Redacted::constant("DELETE FROM orders"),
        digest,
        terms: ApprovalTerms {
            asked_by: Vec::new(),
            required_approvals: 2,
            deny_threshold: 1,
            scope: policy::verdict::Scope::Once,
            max_grant: None,
            pending_ttl: Duration::from_secs(60),
            hold_for: Duration::from_secs(5),
            reason_required: false,
            max_hold_in_transaction: None,
            preview: policy::verdict::Preview::default(),
        },
        revision: Revision([1; 32]),
        cover: None,
        session: "s-1".to_owned(),
        impact: None,
    }
}

#[tokio::test]
async fn what_it_would_do_goes_to_the_operator_and_its_bound_comes_back() {
    let (operator, client) = serve().await;
    let book = Arc::new(Book::default());
    let approvals = ClusterApprovals::new(client.into(), book as Arc<dyn Ledger>);
    let plain = ask(Digest([8; 32]));
    let counted = Some(policy::impact::Counted { rows: 7, more: false });
    let impact = policy::impact::Impact { estimated: None, counted, compared: true, remark: "a remark".to_owned() };
    let told = Ask { impact: Some(impact), ..ask(Digest([9; 32])) };
    for ask in [&plain, &told] {
        assert!(!approvals.knows(ask), "of requests the operator knows alone");
    }
    let ticket = approvals.ask(told.clone()).await.unwrap();
    let sent = operator.asked.lock()[0].0.impact.clone().unwrap();
    assert_eq!((sent.estimated_rows, sent.counted_rows, sent.more, sent.compared), (None, Some(7), false, true));
    assert_eq!(sent.remark, "a remark");
    assert_eq!(approvals.consume(&ticket, &told).await.unwrap().rollback_above, Some(7));
    // An operator of an earlier version answers so, and so does one that was told nothing.
    assert_eq!(approvals.consume(&ticket, &plain).await.unwrap().rollback_above, None);
}

#[tokio::test]
async fn an_approval_is_followed_over_broken_streams_and_counts_once() {
    let (operator, client) = serve().await;
    let book = Arc::new(Book::default());
    let approvals = ClusterApprovals::new(client.into(), Arc::clone(&book) as Arc<dyn Ledger>);
    let digest = Digest([7; 32]);
    let ask = ask(digest);
    let ticket = approvals.ask(ask.clone()).await.unwrap();
    assert_eq!(
        (ticket.name.as_str(), ticket.standing.borrow().clone()),
        ("areq-1", Stands::Pending { have: 0, need: 2 })
    );
    assert_eq!(operator.asked.lock()[0].0.digest, digest.0);
    operator.asked.lock()[0].1.try_send(Ok(pending(1))).unwrap();
    eventually("one approval", || *ticket.standing.borrow() == Stands::Pending { have: 1, need: 2 }).await;
    // The stream breaks: the same question finds the same request.
    operator.asked.lock().remove(0);
    eventually("it asks again", || operator.asked.lock().len() == 1).await;
    assert_eq!(operator.asked.lock()[0].0.digest, digest.0);
    assert_eq!(operator.asked.lock()[0].0.only, "areq-1");
    let approved = standing::Standing::Approved(Approved { by: vec!["alice".to_owned(), "bob".to_owned()] });
    let approved = control::v1::Standing { name: "areq-1".to_owned(), standing: Some(approved) };
    operator.asked.lock()[0].1.try_send(Ok(approved)).unwrap();
    let by = vec!["alice".to_owned(), "bob".to_owned()];
    eventually("it is approved", || *ticket.standing.borrow() == Stands::Approved { by: by.clone() }).await;

    assert_eq!(approvals.consume(&ticket, &ask).await.unwrap().by, ["alice"]);
    let again = approvals.consume(&ticket, &ask).await;
    assert_eq!(again.unwrap_err(), NotConsumed("it was used, withdrawn or revoked, or has expired"));
    let told = ["Requested areq-1 ", "Vote areq-1 alice", "Granted areq-1 ", "Consumed areq-1 "];
    assert_eq!(*book.0.lock(), told);
    approvals.withdraw("areq-1").await;
    assert_eq!(*operator.withdrawn.lock(), ["areq-1"]);
    // Nobody waits any more: the stream is let go.
    drop(ticket);
    eventually("the stream is closed", || operator.asked.lock()[0].1.is_closed()).await;
}

fn granting(digest: u8) -> Ask {
    let used = crds::approval::CoveredUse {
        verb: "Delete".to_owned(),
        kind: "Relation".to_owned(),
        path: vec!["public".to_owned(), "orders".to_owned()],
        columns: Some(vec!["id".to_owned()]),
        bounded: true,
        indirect: false,
    };
    let database = "shop".to_owned();
    let mut ask = ask(Digest([digest; 32]));
    ask.cover = Some(crds::approval::Cover { action: ask.action.clone(), database, uses: vec![used] });
    (ask.terms.scope, ask.terms.max_grant) = (policy::verdict::Scope::Task, Some(Duration::from_secs(1800)));
    ask
}

fn approved() -> control::v1::Standing {
    let approved = standing::Standing::Approved(Approved { by: vec!["alice".to_owned()] });
    control::v1::Standing { name: "areq-1".to_owned(), standing: Some(approved) }
}

#[tokio::test]
async fn a_grant_is_used_again_without_asking_and_each_use_is_the_operators_to_allow() {
    let (operator, client) = serve().await;
    let book = Arc::new(Book::default());
    let approvals = ClusterApprovals::new(client.into(), Arc::clone(&book) as Arc<dyn Ledger>);
    let grant = Grant { scope: Scope::Task.into(), left_milliseconds: 60_000, broken: String::new() };
    *operator.grant.lock() = Some(Ok(grant.clone()));
    let ticket = approvals.ask(granting(1)).await.unwrap();
    let asked = operator.asked.lock()[0].0.clone();
    let terms = asked.terms.unwrap();
    assert_eq!((terms.scope, terms.max_grant_seconds, asked.session.as_str()), (Scope::Task.into(), 1800, "s-1"));
    let told = &asked.cover.unwrap().uses[0];
    assert_eq!((told.verb.as_str(), told.columns.as_slice(), told.bounded), ("Delete", &["id".to_owned()][..], true));
    operator.asked.lock()[0].1.try_send(Ok(approved())).unwrap();
    eventually("the approval", || matches!(*ticket.standing.borrow(), Stands::Approved { .. })).await;

    let before = Instant::now();
    let lease = approvals.consume(&ticket, &granting(1)).await.unwrap().lease.unwrap();
    assert!(lease.ends >= before + Duration::from_secs(59) && lease.ends <= Instant::now() + Duration::from_secs(60));
    assert!(!lease.of_session && lease.name == "areq-1");
    // Another digest, and nobody is asked; but it is the operator that allows it, and it is told what for.
    let again = approvals.ask(granting(2)).await.unwrap();
    assert_eq!((again.name.as_str(), operator.asked.lock().len()), ("areq-1", 1));
    approvals.consume(&again, &granting(2)).await.unwrap();
    let used = operator.used.lock().clone();
    assert_eq!((used[1].name.as_str(), &used[1].digest), ("areq-1", &vec![2; 32]));
    assert_eq!(used[1].question.as_ref().unwrap().digest, vec![2; 32]);
    let told = ["Requested areq-1 ", "Vote areq-1 alice", "Granted areq-1 ", "Consumed areq-1 ", "Consumed areq-1 "];
    assert_eq!(*book.0.lock(), told);
    // What it does not cover is a question.
    let mut other = granting(3);
    other.cover.as_mut().unwrap().uses[0].bounded = false;
    approvals.ask(other).await.unwrap();
    assert_eq!(operator.asked.lock().len(), 2);

    // The operator does not allow it any more: then people are asked, whatever the stream says.
    *operator.grant.lock() = Some(Err(Status::failed_precondition("it was revoked")));
    approvals.consume(&again, &granting(4)).await.unwrap_err();
    approvals.ask(granting(5)).await.unwrap();
    assert_eq!(operator.asked.lock().len(), 3);

    // Under another policy it is over, and the operator is told.
    *operator.grant.lock() = Some(Ok(grant));
    approvals.consume(&ticket, &granting(1)).await.unwrap();
    approvals.ask(Ask { revision: Revision([2; 32]), ..granting(1) }).await.unwrap();
    eventually("it is withdrawn", || *operator.withdrawn.lock() == ["areq-1"]).await;
}

#[tokio::test]
async fn a_revocation_reaches_what_runs_under_a_grant_and_so_does_a_request_that_is_gone() {
    for gone in [false, true] {
        let (operator, client) = serve().await;
        let book = Arc::new(Book::default());
        let approvals = ClusterApprovals::new(client.into(), Arc::clone(&book) as Arc<dyn Ledger>);
        let broken = "INC-9".to_owned();
        let grant = Grant { scope: Scope::Duration.into(), left_milliseconds: 60_000, broken };
        *operator.grant.lock() = Some(Ok(grant));
        let ticket = approvals.ask(granting(1)).await.unwrap();
        operator.asked.lock()[0].1.try_send(Ok(approved())).unwrap();
        eventually("the approval", || matches!(*ticket.standing.borrow(), Stands::Approved { .. })).await;
        let lease = approvals.consume(&ticket, &granting(1)).await.unwrap().lease.unwrap();
        drop(ticket);
        assert!(book.0.lock().contains(&"Vote areq-1 alice break-glass: INC-9".to_owned()), "{:?}", book.0.lock());
        if gone {
            // The stream breaks, and when it is asked for again there is nothing: no new request is made of it.
            *operator.gone.lock() = true;
            operator.asked.lock().clear();
            eventually("its end", || *lease.standing.borrow() == Stands::Expired).await;
            assert!(operator.asked.lock().is_empty());
        } else {
            let revoked = standing::Standing::Ended(Ended::Revoked.into());
            let revoked = control::v1::Standing { name: "areq-1".to_owned(), standing: Some(revoked) };
            operator.asked.lock()[0].1.try_send(Ok(revoked)).unwrap();
            eventually("its end", || *lease.standing.borrow() == Stands::Revoked).await;
        }
        approvals.ask(granting(2)).await.unwrap();
        assert!(!operator.asked.lock().is_empty(), "people are asked anew");
    }
}
