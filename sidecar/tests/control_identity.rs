//! The pod's identity, against an operator behind real TLS: how it comes about, what is refused, and that nothing is lost
//! when it is renewed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod operator;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::PodName;
use control::v1::WatchRequest;
use control::v1::control_client::ControlClient;
use operator::{Authority, NAMESPACE, Operator, TOKEN, UID, snapshot};
use parking_lot::Mutex;
use policy::TargetKey;
use policy::operation::{Digest, Protocol, Revision};
use policy::redact::Redacted;
use policy::verdict::ApprovalTerms;
use recording::entry::{Approval, What};
use sidecar::control::approvals::ClusterApprovals;
use sidecar::control::feed::Feed;
use sidecar::control::identity::{Claim, enrol};
use sidecar::control::line::{Line, Roots};
use sidecar::ledger::{Ledger, NotRecorded};
use sidecar::metrics::Metrics;
use sidecar::outside::{Answer, Approvals as _, Ask, Standing};
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

struct Silent;

impl Ledger for Silent {
    fn approval(&self, _: Approval) -> Answer<'_, Result<(), NotRecorded>> {
        Box::pin(async { Ok(()) })
    }

    fn marker(&self, _: What, _: String) {}
}

struct Place {
    operator: Arc<Operator>,
    claim: Claim,
    told: Arc<Mutex<Vec<String>>>,
    _folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        sidecar::tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, TOKEN).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("https://localhost:{}", socket.local_addr().unwrap().port());
        let authority = Authority::new();
        let roots: Roots = authority.root().parse().unwrap();
        let operator = Operator::serve(socket, authority, snapshot("1", "", &[]));
        let pod = PodName::new(NAMESPACE, UID).unwrap();
        let claim = Claim { operator: address.parse().unwrap(), roots, saved: folder.path().join("roots"), token, pod };
        Self { operator, claim, told: Arc::default(), _folder: folder }
    }

    /// Starts to enrol.
    fn enrol(&self) -> tokio::task::JoinHandle<Line> {
        let (claim, told) = (self.claim.clone(), Arc::clone(&self.told));
        let tell = Arc::new(move |text: String| {
            assert!(!text.contains(TOKEN), "{text}");
            told.lock().push(text);
        });
        tokio::spawn(async move { enrol(claim, tell).await.unwrap() })
    }

    async fn told(&self, what: &str) {
        eventually(what, || self.told.lock().iter().any(|text| text.contains(what))).await;
        let told = self.told.lock();
        assert!(told.iter().all(|text| text.starts_with("no identity from the operator since 20")), "{told:?}");
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn soon<T>(task: tokio::task::JoinHandle<T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), task).await.unwrap().unwrap()
}

#[tokio::test]
async fn only_the_operator_that_came_with_the_pod_gets_the_token() {
    let mut place = Place::new();
    let own = std::mem::replace(&mut place.claim.roots, Authority::new().root().parse().unwrap());
    let waiting = place.enrol();
    place.told("invalid peer certificate").await;
    waiting.abort();
    let spoken = || {
        let seen = place.operator.seen.lock();
        (seen.issued.len(), seen.refused)
    };
    assert_eq!(spoken(), (0, 0), "it spoke to a server that nobody vouches for");
    // The name counts too.
    place.claim.roots = own;
    place.claim.operator = place.claim.operator.to_string().replace("localhost", "127.0.0.1").parse().unwrap();
    let waiting = place.enrol();
    place.told("not valid for name").await;
    waiting.abort();
    assert_eq!(place.operator.seen.lock().issued.len(), 0);
}

#[tokio::test]
async fn it_tries_until_the_operator_lets_it_in_and_says_why_not() {
    let place = Place::new();
    std::fs::remove_file(&place.claim.token).unwrap();
    let waiting = place.enrol();
    place.told("cannot be read").await;
    std::fs::write(&place.claim.token, "another").unwrap();
    place.told("the token is not valid (Unauthenticated)").await;
    place.operator.does.lock().issue = Some(Status::already_exists("claimed"));
    // The kubelet writes it anew: it is read at each try.
    std::fs::write(&place.claim.token, TOKEN).unwrap();
    place.told("another process has claimed this pod").await;
    place.operator.does.lock().issue = None;
    soon(waiting).await;
    assert_eq!(place.operator.seen.lock().issued.len(), 1);
}

#[tokio::test]
async fn a_certificate_that_is_not_ours_is_none() {
    let place = Place::new();
    place.operator.does.lock().ended = true;
    let waiting = place.enrol();
    place.told("it has ended").await;
    {
        let mut does = place.operator.does.lock();
        (does.ended, does.foreign_key) = (false, true);
    }
    place.told("it is over another key").await;
    {
        let mut does = place.operator.does.lock();
        (does.foreign_key, does.uid) = (false, UID.replace('0', "1"));
    }
    place.told("it names another pod").await;
    place.operator.does.lock().uid = UID.to_owned();
    let mut line = soon(waiting).await;
    let watch = WatchRequest { in_force: String::new() };
    line.client().watch(watch.clone()).await.unwrap();
    // The same server lets nobody in without it.
    let bare = bare(&place).await.watch(watch).await.unwrap_err();
    assert_eq!(bare.code(), tonic::Code::Unauthenticated, "{bare:?}");
}

/// The CA of the operator was replaced twice since the pod was made, and its sidecar starts again.
#[tokio::test]
async fn roots_that_came_later_outlive_the_process() {
    let mut place = Place::new();
    let next = Authority::new();
    place.operator.does.lock().next_root = Some(next.der.clone());
    soon(place.enrol()).await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://localhost:{}", socket.local_addr().unwrap().port());
    place.operator = Operator::serve(socket, next, snapshot("1", "", &[]));
    place.claim.operator = address.parse().unwrap();
    soon(place.enrol()).await;
    assert_eq!(place.operator.seen.lock().issued.len(), 1);
    // A file that says nothing is as none: those of the pod count.
    std::fs::write(&place.claim.saved, "nonsense").unwrap();
    let waiting = place.enrol();
    place.told("invalid peer certificate").await;
    waiting.abort();
}

/// A client that verifies the operator and has no certificate.
async fn bare(place: &Place) -> ControlClient<Channel> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(place.operator.root()));
    let endpoint = Endpoint::from_shared(place.claim.operator.to_string()).unwrap();
    ControlClient::new(endpoint.tls_config(tls).unwrap().connect().await.unwrap())
}

#[tokio::test]
async fn renewal_moves_the_feed_and_held_approvals_to_the_new_certificate() {
    let place = Place::new();
    place.operator.does.lock().life = Duration::from_secs(6);
    let line = soon(place.enrol()).await;
    let issued = Instant::now();
    let metrics = Arc::new(Metrics::new("test").unwrap());
    let pod = place.claim.pod.clone();
    let feed = Feed::first(line.clone(), pod, Arc::new(|_| ()), metrics, Arc::new(Silent)).await;
    let policies = feed.policies();
    feed.follow(Arc::default());
    let approvals = ClusterApprovals::new(line, Arc::new(Silent));
    let ticket = approvals.ask(ask()).await.unwrap();
    let certificates = || {
        let seen = place.operator.seen.lock();
        (seen.watches.last().unwrap().0.clone(), seen.asked.last().unwrap().clone())
    };
    let (first, held) = certificates();
    assert_eq!(first, held);
    place.operator.does.lock().life = Duration::from_secs(3600);

    eventually("a renewal", || place.operator.seen.lock().renewed.len() == 1).await;
    let at = issued.elapsed();
    assert!((Duration::from_millis(2_800)..Duration::from_millis(5_500)).contains(&at), "{at:?}");
    eventually("the feed and the approval to move", || {
        let (feed, held) = certificates();
        feed != first && feed == held
    })
    .await;
    {
        let seen = place.operator.seen.lock();
        assert_eq!((&seen.issued, seen.issued.len()), (&seen.renewed, 1), "the key stays");
        assert_eq!(seen.watches.last().unwrap().1, "1", "what is in force stays");
    }
    // The mock sends no snapshot where it is known already; one that it does send is said to be in force.
    place.operator.snapshot.send_modify(|snapshot| snapshot.revision = "2".to_owned());
    eventually("a report", || place.operator.seen.lock().reported == ["2"]).await;
    let confirmed = policies.borrow().confirmed;
    eventually("it is confirmed", || policies.borrow().confirmed > confirmed).await;

    assert_eq!(*ticket.standing.borrow(), Standing::Pending { have: 0, need: 1 });
    place.operator.approved.send_replace(true);
    let approved = Standing::Approved { by: vec!["alice".to_owned()] };
    eventually("the approval", || *ticket.standing.borrow() == approved).await;
    assert_eq!(approvals.consume(&ticket, &ask()).await.unwrap().by, ["alice"]);
    assert!(place.told.lock().is_empty(), "{:?}", place.told.lock());
}

/// A new CA of the operator is known here long before the certificate is old.
#[tokio::test]
async fn other_roots_of_the_operator_are_fetched_soon_and_once() {
    let place = Place::new();
    place.operator.does.lock().says_roots = false;
    let line = soon(place.enrol()).await;
    let metrics = Arc::new(Metrics::new("test").unwrap());
    let feed = Feed::first(line.clone(), place.claim.pod.clone(), Arc::new(|_| ()), metrics, Arc::new(Silent)).await;
    feed.follow(Arc::default());
    let renewed = || place.operator.seen.lock().renewed.len();
    let known = |next: &Authority| {
        let saved = std::fs::read_to_string(&place.claim.saved).unwrap_or_default();
        saved.split(',').any(|root| root == next.root())
    };
    // An operator of the version before has other roots and does not say so.
    let [first, second] = [0; 2].map(|_| Authority::new());
    place.operator.does.lock().next_root = Some(first.der.clone());
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(renewed(), 0);
    place.operator.does.lock().says_roots = true;
    eventually("the roots", || known(&first)).await;
    assert_eq!(renewed(), 1);
    // The same again is no news; others are.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(renewed(), 1);
    place.operator.does.lock().next_root = Some(second.der.clone());
    eventually("the roots of after", || known(&second)).await;
    assert_eq!((renewed(), place.operator.seen.lock().issued.len()), (2, 1));
    assert!(place.told.lock().is_empty(), "{:?}", place.told.lock());
}

#[tokio::test]
async fn a_certificate_that_ended_is_replaced_for_the_same_key() {
    let place = Place::new();
    {
        let mut does = place.operator.does.lock();
        (does.life, does.renew) = (Duration::from_secs(3), Some(Status::unavailable("starting")));
    }
    let mut line = soon(place.enrol()).await;
    place.told("starting (Unavailable)").await;
    assert_eq!(place.operator.seen.lock().issued.len(), 1);
    place.operator.does.lock().life = Duration::from_secs(3600);
    eventually("another claim", || place.operator.seen.lock().issued.len() == 2).await;
    {
        let seen = place.operator.seen.lock();
        assert_eq!((seen.issued.first(), seen.renewed.len()), (seen.issued.last(), 0));
    }
    line.moved().await;
    line.client().watch(WatchRequest { in_force: String::new() }).await.unwrap();
}

fn ask() -> Ask {
    Ask {
        subject: Arc::default(),
        target: TargetKey { namespace: NAMESPACE.to_owned(), name: "db".to_owned() },
        host: "db.example".to_owned(),
        port: 5432,
        protocol: Protocol::Postgres,
        action: "DELETE".to_owned(),
        resources: vec!["public.orders".to_owned()],
        statement: Redacted::constant("DELETE FROM orders"),
        digest: Digest([7; 32]),
        terms: ApprovalTerms {
            asked_by: Vec::new(),
            required_approvals: 1,
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
