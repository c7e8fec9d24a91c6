//! The webhook over its own TLS, as the API server meets it: what it answers, what it refuses to read, and how its
//! certificate changes and its end come without a lost request.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use operator::approvals::key::Held;
use operator::approvals::reviewer::Reviewer;
use operator::certificate::{self, Authority, Current};
use operator::index::{Feed, Index, Kind, Object};
use operator::inject::Settings;
use operator::metrics::Metrics;
use operator::webhook::review::Rules;
use operator::webhook::serve::{self, Webhook};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const NAME: &str = "operator.agentaccess-system.svc";

struct Served {
    address: SocketAddr,
    current: Current,
    metrics: Arc<Metrics>,
    index: Arc<Index>,
    leaving: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    ended: JoinHandle<()>,
}

/// Without a certificate yet.
async fn serve() -> Served {
    let inject = Settings {
        image: "sidecar@sha256:0".to_owned(),
        image_pull_policy: "Never".to_owned(),
        audience: "agentaccess.dev".to_owned(),
        operator: "https://agentaccess-operator.agentaccess-system.svc:9444".to_owned(),
        otel: Vec::new(),
        resources: Default::default(),
        state_size: "1Gi".to_owned(),
        secrets: Default::default(),
        csi_drivers: Default::default(),
    };
    let (current, metrics) = (Current::default(), Arc::new(Metrics::new("0").unwrap()));
    let rules = Rules { inject, excluded: Default::default() };
    // Nobody answers there: whose right cannot be asked for does not vote.
    let nowhere = kube::Client::try_from(kube::Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
    let approvals = Reviewer::new(nowhere, Held::default());
    let index = Index::new(900);
    let leaving = Arc::<AtomicBool>::default();
    let webhook = Webhook {
        rules,
        approvals,
        index: Arc::clone(&index),
        current: current.clone(),
        metrics: Arc::clone(&metrics),
        telemetry: otel::Telemetry::off().unwrap(),
        leaving: Arc::clone(&leaving),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let tls = serve::tls(current.clone()).unwrap();
    let ended = tokio::spawn(serve::serve(listener, tls, Arc::new(webhook), stopped));
    Served { address, current, metrics, index, leaving, stop, ended }
}

impl Served {
    fn hold(&self) -> Arc<Authority> {
        let now = certificate::now();
        let authority = Authority::make(now).unwrap();
        assert!(self.current.renew(authority.into(), &[NAME.to_owned()], now).unwrap());
        Arc::clone(&self.current.get().unwrap().authority)
    }

    /// As a client that trusts `authority` alone.
    async fn dial(&self, authority: &Authority) -> Result<TlsStream<TcpStream>, std::io::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).unwrap(), stream).await
    }

    fn counted(&self, result: &str) -> bool {
        let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
        text.contains(&format!("agentaccess_injections_total{{result=\"{result}\"}} 1"))
    }
}

fn head(method: &str, path: &str, length: usize) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: {length}\r\n\r\n")
}

/// Status and body of one answer.
async fn answer(stream: &mut TlsStream<TcpStream>) -> (u16, Vec<u8>) {
    let mut got = Vec::new();
    loop {
        if let Some(end) = got.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(got[..end].to_vec()).unwrap().to_lowercase();
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
            let mut body = got.split_off(end + 4);
            while body.len() < length {
                assert_ne!(stream.read_buf(&mut body).await.unwrap(), 0, "broken off");
            }
            return (status, body);
        }
        assert_ne!(stream.read_buf(&mut got).await.unwrap(), 0, "no answer: {}", String::from_utf8_lossy(&got));
    }
}

async fn ask(stream: &mut TlsStream<TcpStream>, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    stream.write_all(head(method, path, body.len()).as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    answer(stream).await
}

fn review(spec: &Value) -> Vec<u8> {
    let pod = json!({"metadata": {"name": "a"}, "spec": spec});
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "agents", "operation": "CREATE", "userInfo": {}, "object": pod,
        },
    });
    serde_json::to_vec(&review).unwrap()
}

#[tokio::test]
async fn pods_are_injected_or_refused_on_one_connection() {
    let served = serve().await;
    let mut stream = served.dial(&served.hold()).await.unwrap();
    let (status, body) =
        ask(&mut stream, "POST", "/inject?timeout=5s", &review(&json!({"containers": [{"name": "a"}]}))).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["response"]["allowed"]), (200, &json!(true)));
    assert!(body["response"]["patch"].is_array());
    let refused = review(&json!({"containers": [{"name": "a"}], "hostPID": true}));
    let (status, body) = ask(&mut stream, "POST", "/inject", &refused).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["response"]["allowed"]), (200, &json!(false)));
    assert!(served.counted("injected") && served.counted("refused"));
}

#[tokio::test]
async fn votes_are_reviewed_on_a_path_of_their_own() {
    let served = serve().await;
    let mut stream = served.dial(&served.hold()).await.unwrap();
    let request = json!({
        "uid": "u", "kind": {"group": "agentaccess.dev", "version": "v1alpha1", "kind": "ApprovalRequest"},
        "resource": {"group": "agentaccess.dev", "version": "v1alpha1", "resource": "approvalrequests"},
        "namespace": "agents", "operation": "CREATE", "userInfo": {}, "object": {"metadata": {"name": "a"}},
    });
    let mut review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    let (status, body) = ask(&mut stream, "POST", "/approvals?timeout=5s", review.to_string().as_bytes()).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["response"]["allowed"]), (200, &json!(true)));
    review["request"]["object"]["metadata"]["annotations"] = json!({"agentaccess.dev/decision.1": "x"});
    let (status, body) = ask(&mut stream, "POST", "/approvals", review.to_string().as_bytes()).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["response"]["allowed"]), (200, &json!(false)));
    // A pod is none of its business, nor is a vote one of the other's.
    let pod = pod_review();
    let (_, body) = ask(&mut stream, "POST", "/approvals", &pod).await;
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["response"]["allowed"], false);
    assert_eq!(ask(&mut stream, "POST", "/approvals", b"{}").await.0, 400);
}

/// Status and answer to a policy for one target.
async fn propose(stream: &mut TlsStream<TcpStream>, target: &str, action: &str) -> Value {
    let rule = json!({"name": "r", "action": action, "verbs": ["DDL"], "message": "no"});
    let spec = json!({"podSelector": {}, "targets": [{"targetRef": {"name": target}, "postgres": {"rules": [rule]}}]});
    let request = json!({
        "uid": "u", "kind": {"group": "agentaccess.dev", "version": "v1alpha1", "kind": "AgentAccessPolicy"},
        "resource": {"group": "agentaccess.dev", "version": "v1alpha1", "resource": "agentaccesspolicies"},
        "name": "p", "namespace": "agents", "operation": "CREATE", "userInfo": {},
        "object": {"metadata": {"name": "p"}, "spec": spec},
    });
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    let (status, body) = ask(stream, "POST", "/policies?timeout=5s", review.to_string().as_bytes()).await;
    assert_eq!(status, 200);
    serde_json::from_slice::<Value>(&body).unwrap()["response"].clone()
}

fn target(name: &str) -> Object {
    let spec = json!({
        "protocol": "Postgres", "host": "db.example", "port": 5432, "credentialRef": {"name": "login"},
        "postgres": {"databases": ["shop"]},
    });
    Object::read(Kind::Target, "agents", name, &spec)
}

#[tokio::test]
async fn policies_are_judged_by_what_the_index_knows() {
    let served = serve().await;
    let mut stream = served.dial(&served.hold()).await.unwrap();
    // Before anything is known, too.
    let refused = propose(&mut stream, "db", "Allow").await;
    assert_eq!((&refused["allowed"], &refused["status"]["code"]), (&json!(false), &json!(422)));
    let field = "spec.targets[0].postgres.rules[0].verbs[0]";
    assert_eq!(refused["status"]["details"]["causes"][0]["field"], field);
    let accepted = propose(&mut stream, "db", "Deny").await;
    assert_eq!((&accepted["allowed"], accepted.get("warnings")), (&json!(true), None));

    served.index.change(|world| {
        world.pulse(true);
        Feed::ALL.iter().for_each(|feed| {
            world.sync(*feed, true);
        });
        world.set_object(Kind::Target, target("db"))
    });
    let known = propose(&mut stream, "db", "Deny").await;
    assert_eq!((&known["allowed"], known.get("warnings")), (&json!(true), None));
    let begun = Instant::now();
    let unknown = propose(&mut stream, "late", "Deny").await;
    assert_eq!(unknown["allowed"], true);
    assert!(unknown["warnings"].to_string().contains("there is no AccessTarget `late` here"), "{unknown}");
    assert!((250..2_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    // It was stored just before, and we hear of it a moment later.
    let index = Arc::clone(&served.index);
    let news = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        index.change(|world| world.set_object(Kind::Target, target("late")));
    });
    let known = propose(&mut stream, "late", "Deny").await;
    assert_eq!((&known["allowed"], known.get("warnings")), (&json!(true), None));
    news.await.unwrap();

    assert_eq!(ask(&mut stream, "POST", "/policies", b"{}").await.0, 400);
    let text = String::from_utf8(served.metrics.render().unwrap()).unwrap();
    for (result, count) in [("accepted", 3), ("warned", 1), ("refused", 1), ("unreadable", 1)] {
        let line =
            format!("agentaccess_admission_duration_seconds_count{{result=\"{result}\",webhook=\"policies\"}} {count}");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

fn pod_review() -> Vec<u8> {
    review(&json!({"containers": [{"name": "a"}]}))
}

#[tokio::test]
async fn what_is_no_review_is_not_answered_in_its_words() {
    let served = serve().await;
    let authority = served.hold();
    for (method, path, body, status) in [
        ("POST", "/", "{}", 404),
        ("POST", "/metrics", "{}", 404),
        ("GET", "/inject", "", 405),
        ("POST", "/inject", "", 400),
        ("POST", "/inject", "{}", 400),
    ] {
        // A body that nobody reads ends the connection.
        let mut stream = served.dial(&authority).await.unwrap();
        assert_eq!(ask(&mut stream, method, path, body.as_bytes()).await.0, status, "{method} {path} {body}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_or_too_slow_is_not_waited_for() {
    let served = serve().await;
    let authority = served.hold();
    let mut stream = served.dial(&authority).await.unwrap();
    stream.write_all(head("POST", "/inject", 5 << 20).as_bytes()).await.unwrap();
    stream.write_all(b"{").await.unwrap();
    assert_eq!(answer(&mut stream).await.0, 413);
    // Not announced: counted while it comes. One byte too many, so that nothing is left unread.
    let mut stream = served.dial(&authority).await.unwrap();
    let chunked = format!("POST /inject HTTP/1.1\r\nhost: {NAME}\r\ntransfer-encoding: chunked\r\n\r\n400001\r\n");
    stream.write_all(chunked.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; (4 << 20) + 1]).await.unwrap();
    assert_eq!(answer(&mut stream).await.0, 413);

    let mut stream = served.dial(&authority).await.unwrap();
    let begun = Instant::now();
    stream.write_all(head("POST", "/inject", 100).as_bytes()).await.unwrap();
    stream.write_all(b"{").await.unwrap();
    assert_eq!(answer(&mut stream).await.0, 408);
    assert!((4..8).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());

    // Nor is a handshake.
    let begun = Instant::now();
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap(), 0);
    assert!((4..8).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_certificate_changes_under_open_connections() {
    let served = serve().await;
    let stranger = Authority::make(certificate::now()).unwrap();
    served.dial(&stranger).await.expect_err("there is no certificate yet");
    let first = served.hold();
    let mut before = served.dial(&first).await.unwrap();
    let second = served.hold();
    served.dial(&first).await.expect_err("it is another CA");
    let mut after = served.dial(&second).await.unwrap();
    let body = review(&json!({"containers": [{"name": "a"}]}));
    assert_eq!(ask(&mut before, "POST", "/inject", &body).await.0, 200);
    assert_eq!(ask(&mut after, "POST", "/inject", &body).await.0, 200);
}

/// The API server does not send a POST again on a connection that was closed under it.
#[tokio::test]
async fn who_is_about_to_end_closes_connections_with_an_answer() {
    let served = serve().await;
    let authority = served.hold();
    let mut stream = served.dial(&authority).await.unwrap();
    assert_eq!(ask(&mut stream, "POST", "/inject", &pod_review()).await.0, 200);
    served.leaving.store(true, Ordering::Relaxed);
    // It is answered, and then nothing follows.
    assert_eq!(ask(&mut stream, "POST", "/inject", &pod_review()).await.0, 200);
    let end = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0])).await.unwrap();
    assert_eq!(end.unwrap_or_default(), 0);
    // Who comes all the same is answered too.
    let mut late = served.dial(&authority).await.unwrap();
    assert_eq!(ask(&mut late, "POST", "/inject", &pod_review()).await.0, 200);
}

#[tokio::test]
async fn what_was_begun_is_answered_before_the_end() {
    let served = serve().await;
    let authority = served.hold();
    let mut idle = served.dial(&authority).await.unwrap();
    let mut begun = served.dial(&authority).await.unwrap();
    let body = review(&json!({"containers": [{"name": "a"}]}));
    begun.write_all(head("POST", "/inject", body.len()).as_bytes()).await.unwrap();
    begun.write_all(&body[..10]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    served.stop.send(true).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(idle.read(&mut [0; 16]).await.unwrap_or(0), 0, "nothing was asked on it");
    TcpStream::connect(served.address).await.expect_err("nobody listens");
    begun.write_all(&body[10..]).await.unwrap();
    assert_eq!(answer(&mut begun).await.0, 200);
    tokio::time::timeout(Duration::from_secs(2), served.ended).await.unwrap().unwrap();
}
