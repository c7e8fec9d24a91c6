//! A replica of the operator with a real store, over its own TLS, and the recorder of a pod that ships to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use archive::{Credentials, Location, RecordingId, Standing, Store};
use control::PodName;
use control::v1::control_client::ControlClient;
use operator::approvals::{Book, Desk};
use operator::certificate::{self, Authority, ClientKey, Current};
use operator::control::enrol::Enrol;
use operator::control::serve;
use operator::control::service::Service;
use operator::control::tls::Tls;
use operator::index::{Feed, Index, Pod};
use operator::metrics::Metrics;
use operator::recordings::key::Held;
use operator::status::Acks;
use rcgen::{CertificateParams, KeyPair};
use recording::entry::{Body, Decided, Entry, Intent, Outcome, Status};
use recording::{Durability, FsStorage, Position, SigningKey, Storage, WriteError, Writer, WriterConfig};
use sidecar::control::line::Line;
use sidecar::control::shipping::{Outbox, Pace, Replicating, Shipping};
use sidecar::replicas::Replicas;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

pub(crate) const NAME: &str = "operator.agentaccess-system.svc";
pub(crate) const UID: &str = "0f8b1c9e-6a0d-4a57-9c1d-0123456789ab";
pub(crate) const NAMESPACE: &str = "shop";

pub(crate) const PACE: Pace = Pace {
    look: Duration::from_millis(50),
    first: Duration::from_millis(20),
    last: Duration::from_millis(200),
    hopeless: Duration::from_millis(300),
    vain: Duration::from_secs(2),
};

// === the operator ===

pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    authority: Arc<Authority>,
    pub(crate) index: Arc<Index>,
    metrics: Arc<Metrics>,
    stop: watch::Sender<bool>,
}

pub(crate) fn store(folder: &Path) -> Store {
    Store::open(&Location::folder(folder).unwrap(), &Credentials::None).unwrap()
}

/// The key that all replicas have.
pub(crate) fn witness(folder: &Path) -> Held {
    Held::of(SigningKey::load_or_create(&folder.join("witness.key")).unwrap())
}

impl Replica {
    pub(crate) async fn serve(store: Option<Store>, witness: Held) -> Self {
        // Nobody is there: what asks the API server fails.
        Self::claimed_at(None, store, witness).await
    }

    /// The same with somebody who answers for the API server.
    pub(crate) async fn claimed_at(api: Option<SocketAddr>, store: Option<Store>, witness: Held) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (current, metrics) = (Current::default(), Arc::new(Metrics::new("0").unwrap()));
        let index = Index::new(60);
        let (stop, stopped) = watch::channel(false);
        let api = api.map_or("http://127.0.0.1:9".to_owned(), |api| format!("http://{api}"));
        let client = kube::Client::try_from(kube::Config::new(api.parse().unwrap())).unwrap();
        let key = operator::approvals::key::Store::new(client.clone(), "agentaccess-system", "none").held();
        let book = Arc::new(Book::new(key.clone(), Arc::clone(&metrics), None));
        let desk = Arc::new(Desk::new(client.clone(), book, key));
        let enrol = Arc::new(Enrol::new(client, "agentaccess-system", "agentaccess.dev", current.clone()));
        let kept = operator::recordings::Desk::new(store, witness, Arc::clone(&metrics));
        let (known, counts) = (Arc::clone(&index), Arc::clone(&metrics));
        let service = Service::new(enrol, known, desk, Acks::new(), 60, stopped.clone(), counts);
        let service = service.with_recordings(Arc::new(kept));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let now = certificate::now();
        current.renew(Authority::make(now).unwrap().into(), &[NAME.to_owned()], now).unwrap();
        let authority = Arc::clone(&current.get().unwrap().authority);
        let tls = Arc::new(Tls::new(current));
        drop(tokio::spawn(serve::serve(listener, tls, service, stopped)));
        let replica = Self { address, authority, index, metrics, stop };
        replica.index.change(|world| {
            world.pulse(true);
            for feed in Feed::ALL {
                world.sync(feed, true);
            }
            world.set_namespace(NAMESPACE, Default::default());
            world.set_pod(pod_of(UID))
        });
        replica
    }

    /// As the pod, over `address` or the replica's own.
    pub(crate) fn client_at(&self, address: SocketAddr, namespace: &str) -> ControlClient<Channel> {
        let key = KeyPair::generate().unwrap();
        let name = PodName::new(namespace, UID).unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
        let client = ClientKey::of_request(&csr).unwrap();
        let client = self.authority.client(&name, &client, certificate::now()).unwrap();
        let identity = Identity::from_pem(pem(client.chain.first().unwrap()), key.serialize_pem());
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.authority.pem()))
            .domain_name(NAME)
            .identity(identity);
        let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
        ControlClient::new(endpoint.tls_config(tls).unwrap().connect_timeout(Duration::from_secs(2)).connect_lazy())
    }

    pub(crate) fn client(&self) -> ControlClient<Channel> {
        self.client_at(self.address, NAMESPACE)
    }

    pub(crate) fn counted(&self, line: &str) -> bool {
        let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
        text.lines().any(|one| one.starts_with(line) && !one.ends_with(" 0"))
    }

    /// As the sidecar's argument has them.
    pub(crate) fn roots(&self) -> String {
        self.authority.pem().lines().filter(|line| !line.starts_with('-')).collect()
    }

    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }
}

pub(crate) fn pod_of(uid: &str) -> Pod {
    Pod {
        uid: uid.to_owned(),
        namespace: NAMESPACE.to_owned(),
        name: "agent-0".to_owned(),
        service_account: "agent".to_owned(),
        labels: Default::default(),
        job: None,
    }
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

// === the pod ===

/// What a sidecar records with, in a folder that outlives it.
pub(crate) struct Recorder {
    pub(crate) writer: Writer,
    outbox: Outbox,
    folder: PathBuf,
    pub(crate) metrics: Arc<sidecar::metrics::Metrics>,
}

pub(crate) fn config() -> WriterConfig {
    WriterConfig {
        max_bytes: 8 << 20,
        free_floor: 0,
        segment_bytes: 8 * 1024,
        segment_age: Duration::from_millis(500),
        checkpoint_entries: 20,
        checkpoint_age: Duration::from_millis(100),
        ..WriterConfig::default()
    }
}

impl Recorder {
    /// Goes on with what is in `folder`, with the key in `key`.
    pub(crate) fn open(folder: &Path, key: &Path, config: WriterConfig) -> Self {
        let key = SigningKey::load_or_create(key).unwrap();
        let public = key.public().to_string();
        let storage: Arc<dyn Storage> = Arc::new(FsStorage::create(folder).unwrap());
        let (heads, told) = watch::channel(0);
        let witness = Box::new(move |c: &recording::writer::Checkpointed| {
            heads.send_replace(c.head.size);
        });
        let (writer, _) = Writer::open(config, Arc::clone(&storage), key, witness).unwrap();
        let outbox = Outbox { writer: writer.clone(), storage, key: public, told };
        let metrics = Arc::new(sidecar::metrics::Metrics::new("0").unwrap());
        Self { writer, outbox, folder: folder.to_owned(), metrics }
    }

    pub(crate) fn ship(&self, line: impl Into<Line>) -> Shipping {
        Shipping::start(line.into(), self.outbox.clone(), PACE, Arc::clone(&self.metrics))
    }

    /// What takes lines to the operator before they are sealed, for who waits for them.
    pub(crate) fn replicate(&self, line: impl Into<Line>) -> Replicas {
        let (replicas, behind) = Replicas::new();
        Replicating::start(line.into(), &self.outbox, behind, Arc::clone(&self.metrics));
        replicas
    }

    async fn entry(&self, entry: Entry, level: Durability) -> Result<Position, WriteError> {
        let (done, answer) = oneshot::channel();
        self.writer.submit(entry, level, move |result| drop(done.send(result))).unwrap();
        answer.await.unwrap()
    }

    /// An intent that is to be replicated, as far as the writer goes with it.
    pub(crate) async fn replicated(&self, number: u64) -> Position {
        self.entry(intent(number), Durability::Replicated).await.unwrap()
    }

    /// One operation: its intent, which may be refused, and its outcome.
    pub(crate) async fn operation(&self, number: u64) -> Result<(), WriteError> {
        self.entry(intent(number), Durability::Written).await?;
        let outcome = Body::Outcome(Outcome::bare(Status::Ok));
        self.entry(Entry::operation("s-1", format!("o-{number}"), outcome), Durability::Written).await.unwrap();
        Ok(())
    }

    pub(crate) async fn operations(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.operation(number).await.unwrap();
        }
    }

    /// Ends as a sidecar does that is told to.
    pub(crate) async fn end(&self, shipping: Shipping) {
        let writer = self.writer.clone();
        let closed = tokio::task::spawn_blocking(move || writer.close()).await.unwrap();
        shipping.finish(closed.is_ok(), Duration::from_secs(20)).await;
    }

    pub(crate) fn shows(&self, line: &str) -> bool {
        let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
        text.lines().any(|one| one == line)
    }

    pub(crate) fn counted(&self, line: &str) -> bool {
        let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
        text.lines().any(|one| one.starts_with(line) && !one.ends_with(" 0"))
    }

    /// Every line that is here, in order.
    pub(crate) fn lines(&self) -> Vec<u8> {
        let mut names: Vec<_> = std::fs::read_dir(&self.folder).unwrap().map(|e| e.unwrap().path()).collect();
        names.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("segment-")));
        names.sort();
        names.iter().flat_map(|path| std::fs::read(path).unwrap()).collect()
    }
}

fn intent(number: u64) -> Entry {
    let decided = Decided {
        protocol: "postgres".to_owned(),
        action: "SELECT".to_owned(),
        resources: vec!["Select Relation public.orders".to_owned()],
        digest: "hmac-sha256:00".to_owned(),
        display: Some(format!("SELECT {number} FROM orders WHERE id = $1")),
        ..Decided::default()
    };
    let intent = Body::Intent(Box::new(Intent { decided, ..Intent::default() }));
    Entry::operation("s-1", format!("o-{number}"), intent)
}

// === the store ===

/// Every line that is in the store, in order.
pub(crate) fn stored(folder: &Path) -> Vec<u8> {
    let folder = folder.join("recordings").join(NAMESPACE).join(UID).join("segments");
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> = files.map(|e| e.unwrap().path()).collect();
    names.retain(|path| path.to_string_lossy().ends_with(".jsonl.zst"));
    names.sort();
    names.iter().flat_map(|path| zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()).collect()
}

pub(crate) async fn standing(folder: &Path) -> Standing {
    store(folder).shelf(&RecordingId::new(NAMESPACE, UID).unwrap()).standing().await.unwrap()
}

/// `seq` of each line, which must follow each other from the first one.
pub(crate) fn whole(lines: &[u8]) -> usize {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .enumerate()
        .map(|(at, line)| {
            let line: serde_json::Value = serde_json::from_slice(line).unwrap();
            assert_eq!(line.get("seq").and_then(serde_json::Value::as_u64), u64::try_from(at).ok());
        })
        .count()
}

pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
