//! The control port over its own TLS, as sidecars meet it: who is let in, what a Watch tells, and how it ends. What the
//! API server decides is told to the index by hand; claims are tried on a real one, in `e2e`.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::PodName;
use control::v1::control_client::ControlClient;
use control::v1::enrolment_client::EnrolmentClient;
use control::v1::{
    ConsumeRequest, IssueRequest, Name, Question, RenewRequest, ReportRequest, Snapshot, Still, Update, WatchRequest,
    update,
};
use crds::manifest::SecretBytes;
use operator::approvals::key::Store;
use operator::approvals::{Book, Desk};
use operator::certificate::{self, Authorities, Authority, ClientKey, Current};
use operator::control::enrol::Enrol;
use operator::control::serve;
use operator::control::service::Service;
use operator::control::tls::Tls;
use operator::index::{Feed, Hosts, Index, Kind, Object, Pod, Present, SecretState};
use operator::metrics::Metrics;
use operator::status::Acks;
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status, Streaming};

const NAME: &str = "operator.agentaccess-system.svc";
const UID: &str = "0f8b1c9e-6a0d-4a57-9c1d-0123456789ab";
/// So that `Still` comes every 4 s.
const MAX_AGE: u32 = 12;

struct Served {
    address: SocketAddr,
    current: Current,
    index: Arc<Index>,
    acks: Arc<Acks>,
    metrics: Arc<Metrics>,
    stop: watch::Sender<bool>,
    ended: JoinHandle<()>,
}

/// Without a certificate yet, and an index that knows nothing.
async fn serve() -> Served {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (current, metrics) = (Current::default(), Arc::new(Metrics::new("0").unwrap()));
    let index = Index::new(MAX_AGE);
    let (stop, stopped) = watch::channel(false);
    // Nobody is there: what asks the API server fails.
    let client = kube::Client::try_from(kube::Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
    let key = Store::new(client.clone(), "agentaccess-system", "none").held();
    let book = Arc::new(Book::new(key.clone(), Arc::clone(&metrics), None));
    let desk = Arc::new(Desk::new(client.clone(), book, key));
    let enrol = Arc::new(Enrol::new(client, "agentaccess-system", "agentaccess.dev", current.clone()));
    let acks = Acks::new();
    let (known, heard) = (Arc::clone(&index), Arc::clone(&acks));
    let service = Service::new(enrol, known, desk, heard, MAX_AGE, stopped.clone(), Arc::clone(&metrics));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = Arc::new(Tls::new(current.clone()));
    let ended = tokio::spawn(serve::serve(listener, tls, service, stopped));
    Served { address, current, index, acks, metrics, stop, ended }
}

fn request(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

/// Certificate and key of a pod, in PEM.
fn identity(authority: &Authority, namespace: &str, now: u64) -> Identity {
    let key = KeyPair::generate().unwrap();
    let pod = PodName::new(namespace, UID).unwrap();
    let client = authority.client(&pod, &ClientKey::of_request(&request(&key)).unwrap(), now).unwrap();
    Identity::from_pem(pem(client.chain.first().unwrap()), key.serialize_pem())
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

impl Served {
    fn hold(&self) -> Arc<Authority> {
        let now = certificate::now();
        self.current.renew(Authority::make(now).unwrap().into(), &[NAME.to_owned()], now).unwrap();
        Arc::clone(&self.current.get().unwrap().authority)
    }

    async fn dial(&self, trusted: &Authority, identity: Option<Identity>) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusted.pem())).domain_name(NAME);
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        Endpoint::from_shared(format!("https://{}", self.address)).unwrap().tls_config(tls)?.connect().await
    }

    async fn pod(&self, authority: &Authority) -> ControlClient<Channel> {
        let identity = identity(authority, "shop", certificate::now());
        ControlClient::new(self.dial(authority, Some(identity)).await.unwrap())
    }

    fn fill(&self) {
        self.index.change(|world| {
            world.pulse(true);
            for feed in Feed::ALL {
                world.sync(feed, true);
            }
            world.set_namespace("shop", Default::default());
            world.set_pod(pod("x"));
            let spec = json!({
                "protocol": "Postgres", "host": "db.example", "port": 5432, "credentialRef": {"name": "login"},
                "postgres": {"databases": ["shop"]},
            });
            world.set_object(Kind::Target, Object::read(Kind::Target, "shop", "db", &spec));
            world.set_object(Kind::Policy, policy("public.orders"));
            let data = [("username", "u"), ("password", "p")];
            let data = data.map(|(key, value)| (key.to_owned(), SecretBytes::new(value.into()))).into();
            world.set_secret(
                "shop",
                "login",
                SecretState::Present(Present { version: "1".to_owned(), data, hosts: Hosts::Any }),
            )
        });
    }

    fn counted(&self, line: &str) -> bool {
        String::from_utf8(self.metrics.render().unwrap()).unwrap().lines().any(|one| one == line)
    }
}

fn pod(label: &str) -> Pod {
    Pod {
        uid: UID.to_owned(),
        namespace: "shop".to_owned(),
        name: "agent-0".to_owned(),
        service_account: "agent".to_owned(),
        labels: [("app".to_owned(), label.to_owned())].into(),
        job: None,
    }
}

fn policy(relation: &str) -> Object {
    let rules = json!([{"name": "r", "action": "Allow", "verbs": ["Select"], "relations": [relation]}]);
    let spec = json!({"podSelector": {}, "targets": [{"targetRef": {"name": "db"}, "postgres": {"rules": rules}}]});
    Object::read(Kind::Policy, "shop", "p", &spec)
}

async fn watch(client: &mut ControlClient<Channel>) -> Streaming<Update> {
    client.watch(WatchRequest { in_force: String::new() }).await.unwrap().into_inner()
}

async fn next(updates: &mut Streaming<Update>) -> Result<update::Update, Status> {
    let message = tokio::time::timeout(Duration::from_secs(20), updates.message()).await.expect("a word in time")?;
    Ok(message.expect("the stream goes on").update.unwrap())
}

async fn snapshot(updates: &mut Streaming<Update>) -> Snapshot {
    match next(updates).await.unwrap() {
        update::Update::Snapshot(snapshot) => snapshot,
        update::Update::Still(still) => panic!("{still:?}"),
    }
}

#[tokio::test]
async fn a_pod_is_told_the_whole_and_each_change_and_that_nothing_changed() {
    let served = serve().await;
    let authority = served.hold();
    served.fill();
    let mut client = served.pod(&authority).await;
    let mut updates = watch(&mut client).await;
    let first = snapshot(&mut updates).await;
    assert_eq!((first.objects.len(), first.secrets.len(), first.max_policy_age_seconds), (2, 1, MAX_AGE));
    assert!(served.counted("agentaccess_sidecars 1"));

    let begun = Instant::now();
    let update::Update::Still(Still { revision }) = next(&mut updates).await.unwrap() else { panic!("a Still") };
    assert_eq!(revision, first.revision);
    assert!(begun.elapsed() < Duration::from_secs(MAX_AGE.into()) / 2, "{:?}", begun.elapsed());

    let begun = Instant::now();
    served.index.change(|world| world.set_object(Kind::Policy, policy("public.items")));
    let second = snapshot(&mut updates).await;
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    assert_ne!(second.revision, first.revision);
    assert!(second.objects.iter().any(|json| String::from_utf8_lossy(json).contains("public.items")));

    // Which roots a certificate would come with now.
    let hold = |current: &Authority, next: Option<&Authority>| {
        let current = Authority::read(current.pem(), &current.key_pem(), certificate::now()).unwrap();
        let authorities = Authorities { next: next.map(|next| next.der().clone()), ..Authorities::from(current) };
        served.current.renew(authorities, &[NAME.to_owned()], certificate::now()).unwrap();
    };
    let said = async |updates: &mut Streaming<Update>| updates.message().await.unwrap().unwrap().roots;
    assert_eq!(said(&mut updates).await, control::roots_mark([authority.der()]));
    let announced = Authority::make(certificate::now()).unwrap();
    hold(&authority, Some(&announced));
    assert_eq!(said(&mut updates).await, control::roots_mark([authority.der(), announced.der()]));

    // Many at once: the last comes, and not each of them.
    for n in 0..50 {
        served.index.change(|world| world.set_object(Kind::Policy, policy(&format!("public.t{n}"))));
    }
    let mut seen = 0;
    loop {
        seen += 1;
        let snapshot = snapshot(&mut updates).await;
        if snapshot.objects.iter().any(|json| String::from_utf8_lossy(json).contains("public.t49")) {
            break;
        }
    }
    assert!(seen <= 3, "{seen} snapshots for one burst");

    // What concerns others wakes nobody.
    served.index.change(|world| world.set_namespace("bank", Default::default()));
    assert!(matches!(next(&mut updates).await.unwrap(), update::Update::Still(_)));

    served.index.change(|world| world.set_pod(pod("y")));
    assert_eq!(snapshot(&mut updates).await.subject.unwrap().labels.get("app").unwrap(), "y");
    served.index.change(|world| world.remove_pod(UID));
    assert_eq!(next(&mut updates).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn what_a_pod_says_is_in_force_counts_while_it_is_true() {
    let served = serve().await;
    let authority = served.hold();
    served.fill();
    let mut client = served.pod(&authority).await;
    let say = async |client: &mut ControlClient<Channel>, in_force: &str| {
        // Reports of one pod come one after another.
        tokio::time::sleep(Duration::from_millis(120)).await;
        let request = ReportRequest { in_force: in_force.to_owned(), used: Vec::new() };
        client.report(request).await.map(drop).map_err(|status| status.code())
    };
    let known = || served.acks.acknowledged().len();
    let none = format!("sha256:{}", "0".repeat(64));
    assert_eq!(say(&mut client, &none).await, Err(Code::FailedPrecondition), "nothing is followed");
    let mut updates = watch(&mut client).await;
    let first = snapshot(&mut updates).await.revision;
    assert_eq!(say(&mut client, "what?").await, Err(Code::InvalidArgument));
    assert_eq!((say(&mut client, &none).await, known()), (Ok(()), 0));
    assert_eq!((say(&mut client, &first).await, known()), (Ok(()), 1));
    // Another pod's word is its own, whatever it says.
    let other = identity(&authority, "bank", certificate::now());
    let mut other = ControlClient::new(served.dial(&authority, Some(other)).await.unwrap());
    assert_eq!(say(&mut other, &first).await, Err(Code::FailedPrecondition));

    served.index.change(|world| world.set_object(Kind::Policy, policy("public.items")));
    let second = snapshot(&mut updates).await.revision;
    assert_eq!(known(), 0);
    assert_eq!((say(&mut client, &first).await, known()), (Ok(()), 0));
    assert_eq!((say(&mut client, &second).await, known()), (Ok(()), 1));
    drop(updates);
    let begun = Instant::now();
    while known() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it ends with the stream");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn nobody_is_let_in_who_shows_no_certificate_of_ours() {
    let served = serve().await;
    let stranger = Authority::make(certificate::now()).unwrap();
    served.dial(&stranger, None).await.expect_err("there is no CA yet");
    let authority = served.hold();
    served.fill();
    served.dial(&stranger, None).await.expect_err("it is not the CA of the server");

    let mut unknown = ControlClient::new(served.dial(&authority, None).await.unwrap());
    let codes = [
        unknown.watch(WatchRequest::default()).await.map(drop).unwrap_err().code(),
        unknown.renew(RenewRequest::default()).await.map(drop).unwrap_err().code(),
        unknown.report(ReportRequest::default()).await.map(drop).unwrap_err().code(),
        unknown.ask(Question::default()).await.map(drop).unwrap_err().code(),
        unknown.withdraw(Name::default()).await.map(drop).unwrap_err().code(),
        unknown.consume(ConsumeRequest::default()).await.map(drop).unwrap_err().code(),
    ];
    assert_eq!(codes, [Code::Unauthenticated; 6]);

    // In TLS 1.3 the refusal comes after the client believes that it is connected.
    let two_hours_ago = certificate::now() - 2 * 3600;
    for (what, identity) in [
        ("another CA", identity(&stranger, "shop", certificate::now())),
        ("ended", identity(&authority, "shop", two_hours_ago)),
    ] {
        let refused = match served.dial(&authority, Some(identity)).await {
            Ok(channel) => ControlClient::new(channel).watch(WatchRequest::default()).await.is_err(),
            Err(_) => true,
        };
        assert!(refused, "{what}");
    }
    // A pod of another name is not told of this one.
    let other = identity(&authority, "bank", certificate::now());
    let mut other = ControlClient::new(served.dial(&authority, Some(other)).await.unwrap());
    assert_eq!(other.consume(ConsumeRequest::default()).await.unwrap_err().code(), Code::NotFound);
    let mut updates = watch(&mut other).await;
    assert_eq!(next(&mut updates).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_certificate_is_not_issued_while_the_api_server_is_away() {
    let served = serve().await;
    let authority = served.hold();
    let mut client = EnrolmentClient::new(served.dial(&authority, None).await.unwrap());
    let key = KeyPair::generate().unwrap();
    let mut issue = async |token: &str, csr: Vec<u8>| {
        client.issue(IssueRequest { token: token.to_owned(), csr }).await.unwrap_err()
    };
    let status = issue("secret-token", request(&key)).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(!status.message().contains("secret-token"), "{status:?}");
    assert_eq!(issue("", request(&key)).await.code(), Code::Unauthenticated);
    assert_eq!(issue(&"x".repeat(20_000), request(&key)).await.code(), Code::Unauthenticated);
    assert_eq!(issue("t", b"no request".to_vec()).await.code(), Code::InvalidArgument);
    assert_eq!(issue(&"x".repeat(70_000), request(&key)).await.code(), Code::OutOfRange);
    assert!(served.counted("agentaccess_enrolments_total{result=\"token\"} 2"));
    assert!(served.counted("agentaccess_enrolments_total{result=\"away\"} 1"));

    // Nor renewed for another key, whatever is recorded.
    served.fill();
    let mut pod = served.pod(&authority).await;
    let status = pod.renew(RenewRequest { csr: request(&key) }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_replica_that_does_not_know_says_nothing_and_then_ends() {
    let served = serve().await;
    let authority = served.hold();
    served.fill();
    let mut client = served.pod(&authority).await;
    let mut updates = watch(&mut client).await;
    snapshot(&mut updates).await;
    let begun = Instant::now();
    served.index.change(|world| world.sync(Feed::Policies, false));
    // Neither this change nor a Still, until the sidecar is sent to another replica.
    served.index.change(|world| world.set_object(Kind::Policy, policy("public.items")));
    assert_eq!(next(&mut updates).await.unwrap_err().code(), Code::Unavailable);
    assert!((10..20).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    // One that is back in time goes on.
    let mut updates = watch(&mut client).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    served.index.change(|world| world.sync(Feed::Policies, true));
    snapshot(&mut updates).await;
    // A policy that cannot be in force is named.
    served.index.change(|world| world.set_object(Kind::Policy, Object::unread("shop", "bad", "it is old")));
    let status = next(&mut updates).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("AgentAccessPolicy shop/bad"), "{}", status.message());
    assert!(served.counted("agentaccess_snapshots_total{result=\"unsound\"} 1"));
}

#[tokio::test]
async fn streams_end_at_the_stop_and_nobody_is_let_in_after() {
    let served = serve().await;
    let authority = served.hold();
    served.fill();
    let mut client = served.pod(&authority).await;
    let mut updates = watch(&mut client).await;
    snapshot(&mut updates).await;
    let begun = Instant::now();
    served.stop.send(true).unwrap();
    assert_eq!(next(&mut updates).await.unwrap_err().code(), Code::Unavailable);
    tokio::time::timeout(Duration::from_secs(5), served.ended).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    TcpStream::connect(served.address).await.expect_err("nobody listens");
}

#[tokio::test]
async fn a_pod_of_the_ca_before_is_known_until_its_certificate_ends() {
    let served = serve().await;
    let first = served.hold();
    served.fill();
    let now = certificate::now();
    let second = Arc::new(Authority::make(now).unwrap());
    let authorities = Authorities { current: Arc::clone(&second), next: None, previous: Some(first.der().clone()) };
    served.current.renew(authorities, &[NAME.to_owned()], now).unwrap();
    let old = || identity(&first, "shop", now);
    let mut client = ControlClient::new(served.dial(&second, Some(old())).await.unwrap());
    snapshot(&mut watch(&mut client).await).await;
    served.current.renew(Arc::clone(&second).into_alone(), &[NAME.to_owned()], now).unwrap();
    let refused = match served.dial(&second, Some(old())).await {
        Ok(channel) => ControlClient::new(channel).watch(WatchRequest::default()).await.is_err(),
        Err(_) => true,
    };
    assert!(refused, "its CA counts no longer");
}

trait IntoAlone {
    fn into_alone(self) -> Authorities;
}

impl IntoAlone for Arc<Authority> {
    fn into_alone(self) -> Authorities {
        Authorities { current: self, next: None, previous: None }
    }
}

#[tokio::test]
async fn one_pod_has_few_watches_and_few_connections() {
    let served = serve().await;
    let authority = served.hold();
    served.fill();
    let mut client = served.pod(&authority).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(watch(&mut client).await);
    }
    assert_eq!(client.watch(WatchRequest::default()).await.unwrap_err().code(), Code::ResourceExhausted);
    drop(open);
    tokio::time::sleep(Duration::from_millis(500)).await;
    snapshot(&mut watch(&mut client).await).await;

    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(served.pod(&authority).await);
    }
    let identity = identity(&authority, "shop", certificate::now());
    let refused = match served.dial(&authority, Some(identity)).await {
        Ok(channel) => ControlClient::new(channel).watch(WatchRequest::default()).await.is_err(),
        Err(_) => true,
    };
    assert!(refused, "a fifth connection");
}

/// A pod that was made before a new CA was announced, and begins after that one signs: it knows the old one alone.
#[tokio::test]
async fn who_knows_the_ca_before_reaches_the_operator() {
    let served = serve().await;
    let old = served.hold();
    served.fill();
    let client = identity(&old, "shop", certificate::now());
    let mut new = Authority::make(certificate::now()).unwrap();
    let hold = |new: &Authority, vouched: Option<&str>| {
        let read = Authority::read(new.pem(), &new.key_pem(), certificate::now()).unwrap();
        let current = vouched.into_iter().fold(read, |read, pem| read.with_vouched(pem, certificate::now()));
        let authorities = Authorities { previous: Some(old.der().clone()), ..Authorities::from(current) };
        served.current.renew(authorities, &[NAME.to_owned()], certificate::now()).unwrap()
    };
    assert!(hold(&new, None));
    served.dial(&old, Some(client.clone())).await.expect_err("nobody vouches for it");
    new = Authority::make(certificate::now()).unwrap();
    old.vouch(&mut new).unwrap();
    assert!(hold(&new, new.vouched()));
    let mut client = ControlClient::new(served.dial(&old, Some(client)).await.unwrap());
    assert_eq!(snapshot(&mut watch(&mut client).await).await.objects.len(), 2);
    served.dial(&new, None).await.unwrap();
}
