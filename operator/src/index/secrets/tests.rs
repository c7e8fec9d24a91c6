//! The followers against an API server that is made up here: what they ask, how often, and what they make of it.

use std::collections::BTreeMap;
use std::convert::Infallible;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::index::tests::{fill, target};
use crate::index::{Kind, Object};

const PATIENCE: Duration = Duration::from_secs(20);

/// What the API server has, and what it was asked.
#[derive(Debug, Default)]
struct Api {
    /// By name; who is not here is forbidden.
    secrets: Mutex<BTreeMap<String, Value>>,
    lists: Mutex<BTreeMap<String, usize>>,
    changed: Notify,
}

// === impl Api ===

impl Api {
    /// Serves until the test ends.
    async fn serve(self: &Arc<Self>) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let api = Arc::clone(&api);
                tokio::spawn(async move {
                    let answer = service_fn(|request| {
                        let api = Arc::clone(&api);
                        async move { Ok::<_, Infallible>(api.answer(&request).await) }
                    });
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await
                });
            }
        });
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Client::try_from(kube::Config::new(format!("http://{address}").parse().unwrap())).unwrap()
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let query = request.uri().query().unwrap_or_default();
        let (_, name) = query.split_once("metadata.name%3D").or(query.split_once("metadata.name=")).unwrap();
        let name = name.split('&').next().unwrap().to_owned();
        let found = self.secrets.lock().get(&name).cloned();
        let (code, body) = match found {
            None => (
                403,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no role",
                                 "reason": "Forbidden", "code": 403}),
            ),
            Some(_) if query.contains("watch=true") => {
                (200, json!({"type": "MODIFIED", "object": self.other(&name, query).await}))
            }
            Some(secret) => (
                200,
                json!({"kind": "SecretList", "apiVersion": "v1",
                                         "metadata": {"resourceVersion": secret["metadata"]["resourceVersion"]}, "items": [secret]}),
            ),
        };
        if !query.contains("watch=true") {
            *self.lists.lock().entry(name).or_default() += 1;
        }
        Response::builder()
            .status(code)
            .header("content-type", "application/json")
            .body(Full::from(body.to_string() + "\n"))
            .unwrap()
    }

    /// The Secret when it has another version than the query, which may be so already.
    async fn other(&self, name: &str, query: &str) -> Value {
        loop {
            let changed = self.changed.notified();
            let secret = self.secrets.lock().get(name).cloned().unwrap_or_default();
            let version = secret["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            if !query.split('&').any(|part| part == format!("resourceVersion={version}")) {
                return secret;
            }
            changed.await;
        }
    }

    fn put(&self, name: &str, version: &str, annotation: Option<&str>) {
        let annotations = annotation.map(|text| json!({"agentaccess.dev/hosts": text}));
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": "shop", "uid": "u", "resourceVersion": version, "annotations": annotations},
            "data": {"username": "dQ==", "password": "aHVudGVyMg=="},
        });
        self.secrets.lock().insert(name.to_owned(), secret);
        self.changed.notify_waiters();
    }

    fn asked(&self, name: &str) -> usize {
        self.lists.lock().get(name).copied().unwrap_or_default()
    }
}

/// With the target `db`, which names `login`, and a policy.
fn index() -> Arc<Index> {
    let index = Index::new(900);
    index.change(|world| {
        fill(world);
        world.remove_secret("shop", "login");
        true
    });
    index
}

fn start(index: &Arc<Index>, client: Client, named_hosts: bool, refused: Pauses) {
    let metrics = Arc::new(Metrics::new("0").unwrap());
    tokio::spawn(follow(Arc::clone(index), client, metrics, Manner { named_hosts, refused }));
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn state(index: &Index, name: &str) -> Option<State> {
    index.look(|world| world.secrets().get(&("shop".to_owned(), name.to_owned())).cloned())
}

fn hosts(index: &Index, name: &str) -> Option<Hosts> {
    match state(index, name) {
        Some(State::Present(present)) => Some(present.hosts),
        _ => None,
    }
}

#[tokio::test]
async fn what_the_owner_writes_on_a_secret_is_followed() {
    let api = Arc::new(Api::default());
    api.put("login", "1", Some("other.example"));
    let index = index();
    start(&index, api.serve().await, false, Pauses::REFUSED);
    until("the Secret is read", || hosts(&index, "login") == Some(Hosts::of(Some("other.example"), false))).await;
    api.put("login", "2", Some("db.example:5432"));
    until("the annotation changes", || hosts(&index, "login") == Some(Hosts::of(Some("db.example:5432"), false))).await;
    api.put("login", "3", None);
    until("the annotation goes", || hosts(&index, "login") == Some(Hosts::Any)).await;

    let strict = self::index();
    start(&strict, api.serve().await, true, Pauses::REFUSED);
    until("one is wanted", || hosts(&strict, "login") == Some(Hosts::Unsaid)).await;
}

#[tokio::test]
async fn what_may_not_be_read_is_asked_for_less_and_less_and_again_when_a_target_changes() {
    let (api, index) = (Arc::new(Api::default()), index());
    let first = Duration::from_millis(10);
    start(&index, api.serve().await, false, Pauses { first, last: Duration::from_secs(3_600) });
    until("it is refused", || state(&index, "login") == Some(State::Missing)).await;
    // Each pause is as long as all before it: after the tenth question that is two seconds and a half at least.
    let begun = Instant::now();
    until("it is asked for", || api.asked("login") >= 10).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(2_000), "ten questions in {took:?}");
    // Without a change it would not be asked for so soon.
    index.change(|world| world.set_object(Kind::Target, renamed("db.example.org")));
    let changed = Instant::now();
    until("it is asked for again", || api.asked("login") >= 11).await;
    let took = changed.elapsed();
    assert!(took < Duration::from_millis(2_000), "{took:?}");
    // A role comes: it is found by the next question, and followed from then on.
    api.put("login", "1", None);
    until("it is read", || hosts(&index, "login") == Some(Hosts::Any)).await;
}

fn renamed(host: &str) -> Object {
    let spec = json!({"protocol": "Postgres", "host": host, "port": 5432, "credentialRef": {"name": "login"},
        "postgres": {"databases": ["shop"]}});
    Object::read(Kind::Target, "shop", "db", &spec)
}

#[tokio::test]
async fn what_is_beyond_the_share_is_not_asked_for() {
    let (api, index) = (Arc::new(Api::default()), index());
    // By their names before `login`, to which a policy leads.
    let name = |n: usize| format!("a{n:03}");
    index.change(|world| {
        (0..share::SHARE + 2).fold(false, |_, n| world.set_object(Kind::Target, target("shop", &name(n), &name(n))))
    });
    start(&index, api.serve().await, false, Pauses::REFUSED);
    until("all are asked for", || (0..share::SHARE - 1).all(|n| api.asked(&name(n)) == 1)).await;
    until("and that of the policy", || state(&index, "login") == Some(State::Missing)).await;
    for n in share::SHARE - 1..share::SHARE + 2 {
        assert_eq!((api.asked(&name(n)), state(&index, &name(n))), (0, Some(State::Beyond)), "{n}");
    }
    // A place that is left is taken, and what nobody names any more is forgotten.
    index.change(|world| world.remove_object(Kind::Target, "shop", &name(0)));
    until("the next one is asked for", || api.asked(&name(share::SHARE - 1)) == 1).await;
    index.change(|world| world.remove_object(Kind::Target, "shop", &name(share::SHARE + 1)));
    until("it is forgotten", || state(&index, &name(share::SHARE + 1)).is_none()).await;
    until("so is the first", || state(&index, &name(0)).is_none()).await;
}
