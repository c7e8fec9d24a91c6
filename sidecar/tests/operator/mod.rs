//! An operator of memory behind real TLS: it issues and renews certificates as the real one does, demands them for
//! everything else, and sends whatever snapshot the test wants.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use control::roots_mark;
use control::v1::control_server::{Control, ControlServer};
use control::v1::enrolment_server::{Enrolment, EnrolmentServer};
use control::v1::*;
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SignatureAlgorithm,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

pub(crate) const NAME: &str = "agentaccess-operator.agentaccess.svc";
pub(crate) const NAMESPACE: &str = "local";
pub(crate) const UID: &str = "0f8b1c9e-6a0d-4a57-9c1d-0123456789ab";
pub(crate) const TOKEN: &str = "canary-token-4711";

/// Signs what the operator presents, and what it issues.
pub(crate) struct Authority {
    key: KeyPair,
    params: CertificateParams,
    pub(crate) der: Vec<u8>,
}

pub(crate) struct Operator {
    authority: Authority,
    pub(crate) does: Mutex<Does>,
    pub(crate) seen: Mutex<Seen>,
    pub(crate) snapshot: watch::Sender<Snapshot>,
    pub(crate) approved: watch::Sender<bool>,
    /// None: it has no store of recordings.
    pub(crate) kept: Mutex<Option<Kept>>,
}

/// The recording of the pod, as it left it.
#[derive(Default)]
pub(crate) struct Kept {
    key: Option<String>,
    chain: recording::chain::Chain,
    pub(crate) lines: Vec<u8>,
}

/// What it does from now on.
#[derive(Clone)]
pub(crate) struct Does {
    pub(crate) token: String,
    /// From its issue; one that has passed makes a certificate that has ended.
    pub(crate) life: Duration,
    pub(crate) ended: bool,
    pub(crate) uid: String,
    /// Instead of an answer.
    pub(crate) issue: Option<Status>,
    pub(crate) renew: Option<Status>,
    pub(crate) foreign_key: bool,
    /// Streams stay open and nothing comes.
    pub(crate) silent: bool,
    /// Told besides its own root.
    pub(crate) next_root: Option<Vec<u8>>,
    /// Each update says which roots it has. One of the version before does not.
    pub(crate) says_roots: bool,
    /// What an approval grants, where it is good for more than once.
    pub(crate) grant: Option<Grant>,
    /// How every request has ended.
    pub(crate) over: Option<Ended>,
}

#[derive(Default)]
pub(crate) struct Seen {
    /// The keys of all that were issued to, as they came.
    pub(crate) issued: Vec<Vec<u8>>,
    pub(crate) renewed: Vec<Vec<u8>>,
    pub(crate) refused: usize,
    /// Certificate and revision of each watch, in its order.
    pub(crate) watches: Vec<(Vec<u8>, String)>,
    pub(crate) asked: Vec<Vec<u8>>,
    pub(crate) reported: Vec<String>,
}

struct Key(Vec<u8>);

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { key, params, der }
    }

    /// As the argument `--roots` has it.
    pub(crate) fn root(&self) -> String {
        STANDARD.encode(&self.der)
    }

    fn sign(&self, params: &CertificateParams, key: &impl PublicKeyData) -> rcgen::Certificate {
        params.signed_by(key, &Issuer::from_params(&self.params, &self.key)).unwrap()
    }
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
}

impl Operator {
    /// On this socket, within the runtime.
    pub(crate) fn serve(socket: TcpListener, authority: Authority, first: Snapshot) -> Arc<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let params = CertificateParams::new(vec![NAME.to_owned(), "localhost".to_owned()]).unwrap();
        let leaf = authority.sign(&params, &key);
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(pem(leaf.der()), key.serialize_pem()))
            .client_ca_root(tonic::transport::Certificate::from_pem(pem(&authority.der)))
            .client_auth_optional(true);
        let does = Does {
            token: TOKEN.to_owned(),
            life: Duration::from_secs(3600),
            ended: false,
            uid: UID.to_owned(),
            issue: None,
            renew: None,
            foreign_key: false,
            silent: false,
            next_root: None,
            says_roots: true,
            grant: None,
            over: None,
        };
        let operator = Arc::new(Self {
            authority,
            does: Mutex::new(does),
            seen: Mutex::default(),
            snapshot: watch::Sender::new(first),
            approved: watch::Sender::new(false),
            kept: Mutex::default(),
        });
        socket.set_nonblocking(true).unwrap();
        let listener = TcpListenerStream::new(tokio::net::TcpListener::from_std(socket).unwrap());
        let server = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(EnrolmentServer::new(Served(Arc::clone(&operator))))
            .add_service(ControlServer::new(Served(Arc::clone(&operator))))
            .serve_with_incoming(listener);
        tokio::spawn(async move { server.await.unwrap() });
        operator
    }

    /// PEM of the root.
    pub(crate) fn root(&self) -> String {
        pem(&self.authority.der)
    }

    fn certificate(&self, csr: &[u8]) -> (Vec<u8>, Certificate) {
        let does = self.does.lock().clone();
        let (_, csr) = X509CertificationRequest::from_der(csr).unwrap();
        let spki = &csr.certification_request_info.subject_pki;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &spki.subject_public_key.data)
            .verify(csr.certification_request_info.raw, &csr.signature_value.data)
            .unwrap();
        let mut params = CertificateParams::default();
        let name = format!("agentaccess://{NAMESPACE}/{}", does.uid);
        params.subject_alt_names = vec![SanType::URI(name.as_str().try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let now = SystemTime::now();
        params.not_before = now.into();
        params.not_after = (now + does.life).into();
        if does.ended {
            params.not_before = (now - Duration::from_secs(7200)).into();
            params.not_after = (now - Duration::from_secs(3600)).into();
        }
        let key = match does.foreign_key {
            true => Key(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().der_bytes().to_vec()),
            false => Key(spki.subject_public_key.data.to_vec()),
        };
        let leaf = self.authority.sign(&params, &key);
        (spki.raw.to_vec(), Certificate { chain: vec![leaf.der().to_vec()], roots: self.roots() })
    }

    fn roots(&self) -> Vec<Vec<u8>> {
        [self.authority.der.clone()].into_iter().chain(self.does.lock().next_root.clone()).collect()
    }
}

struct Served(Arc<Operator>);

/// The client's certificate, which rustls has verified, its life included.
fn certificate<T>(request: &Request<T>) -> Result<Vec<u8>, Status> {
    let leaf = request.peer_certs().and_then(|chain| chain.first().map(|leaf| leaf.to_vec()));
    leaf.ok_or_else(|| Status::unauthenticated("no client certificate"))
}

#[tonic::async_trait]
impl Enrolment for Served {
    async fn issue(&self, request: Request<IssueRequest>) -> Result<Response<Certificate>, Status> {
        let IssueRequest { token, csr } = request.into_inner();
        let does = self.0.does.lock().clone();
        let refusal = (token != does.token).then(|| Status::unauthenticated("the token is not valid"));
        if let Some(status) = refusal.or(does.issue) {
            self.0.seen.lock().refused += 1;
            return Err(status);
        }
        let (key, certificate) = self.0.certificate(&csr);
        self.0.seen.lock().issued.push(key);
        Ok(Response::new(certificate))
    }
}

#[tonic::async_trait]
impl Control for Served {
    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<Certificate>, Status> {
        certificate(&request)?;
        if let Some(status) = self.0.does.lock().renew.clone() {
            self.0.seen.lock().refused += 1;
            return Err(status);
        }
        let (key, certificate) = self.0.certificate(&request.into_inner().csr);
        self.0.seen.lock().renewed.push(key);
        Ok(Response::new(certificate))
    }

    type WatchStream = ReceiverStream<Result<Update, Status>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let certificate = certificate(&request)?;
        let in_force = request.into_inner().in_force;
        self.0.seen.lock().watches.push((certificate, in_force.clone()));
        let (sender, receiver) = mpsc::channel(4);
        let mut snapshots = self.0.snapshot.subscribe();
        let operator = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut sent = in_force;
            loop {
                if operator.does.lock().silent {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
                let snapshot = snapshots.borrow_and_update().clone();
                let update = match snapshot.revision == sent {
                    true => update::Update::Still(Still { revision: sent.clone() }),
                    false => {
                        sent = snapshot.revision.clone();
                        update::Update::Snapshot(snapshot)
                    }
                };
                let roots = if operator.does.lock().says_roots { roots_mark(operator.roots()) } else { Vec::new() };
                if sender.send(Ok(Update { update: Some(update), roots })).await.is_err() {
                    return;
                }
                let _ = tokio::time::timeout(Duration::from_millis(200), snapshots.changed()).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<Reported>, Status> {
        certificate(&request)?;
        self.0.seen.lock().reported.push(request.into_inner().in_force);
        Ok(Response::new(Reported {}))
    }

    type AskStream = ReceiverStream<Result<Standing, Status>>;

    async fn ask(&self, request: Request<Question>) -> Result<Response<Self::AskStream>, Status> {
        let certificate = certificate(&request)?;
        self.0.seen.lock().asked.push(certificate);
        let (sender, receiver) = mpsc::channel(4);
        let operator = Arc::clone(&self.0);
        let mut approved = operator.approved.subscribe();
        tokio::spawn(async move {
            loop {
                let is_approved = *approved.borrow_and_update();
                let over = operator.does.lock().over;
                let standing = match (over, is_approved) {
                    (Some(over), _) => standing::Standing::Ended(over.into()),
                    (None, true) => standing::Standing::Approved(Approved { by: vec!["alice".to_owned()] }),
                    (None, false) => standing::Standing::Pending(Pending { have: 0, need: 1 }),
                };
                let standing = Standing { name: "areq-1".to_owned(), standing: Some(standing) };
                if sender.send(Ok(standing)).await.is_err() || approved.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn withdraw(&self, request: Request<Name>) -> Result<Response<Withdrawn>, Status> {
        certificate(&request)?;
        Ok(Response::new(Withdrawn {}))
    }

    async fn consume(&self, request: Request<ConsumeRequest>) -> Result<Response<Consumed>, Status> {
        certificate(&request)?;
        let grant = self.0.does.lock().grant.clone();
        Ok(Response::new(Consumed { by: vec!["alice".to_owned()], grant, rollback_above: None }))
    }

    async fn begin_recording(
        &self,
        request: Request<BeginRecordingRequest>,
    ) -> Result<Response<RecordingStanding>, Status> {
        certificate(&request)?;
        let mut kept = self.0.kept.lock();
        let kept = kept.as_mut().ok_or_else(|| Status::unimplemented("no store"))?;
        let BeginRecordingRequest { key } = request.into_inner();
        if *kept.key.get_or_insert(key.clone()) != key {
            return Err(Status::failed_precondition("another key"));
        }
        Ok(Response::new(kept.standing()))
    }

    async fn countersign(&self, request: Request<CountersignRequest>) -> Result<Response<Countersigned>, Status> {
        certificate(&request)?;
        let mut kept = self.0.kept.lock();
        let kept = kept.as_mut().ok_or_else(|| Status::unimplemented("no store"))?;
        let CountersignRequest { note, hashes, from } = request.into_inner();
        let (hashes, rest) = hashes.as_chunks::<32>();
        if from != kept.chain.size() || !rest.is_empty() {
            return Err(Status::aborted("other hashes are wanted"));
        }
        let mut chain = kept.chain.clone();
        hashes.iter().for_each(|hash| chain.push_hash(recording::chain::Hash(*hash)));
        let key = kept.key.as_ref().unwrap().parse().unwrap();
        if recording::note::countersigned_head(&note, &key) != Some(chain.head()) {
            return Err(Status::failed_precondition("it extends nothing"));
        }
        kept.chain = chain;
        let mut note = recording::note::SignedNote::parse(&note).unwrap();
        note.add(&recording::SigningKey::generate("witness").unwrap());
        Ok(Response::new(Countersigned { note: note.to_string() }))
    }

    async fn keep(&self, request: Request<Streaming<SegmentPart>>) -> Result<Response<RecordingStanding>, Status> {
        certificate(&request)?;
        let mut parts = request.into_inner();
        let mut segment = Vec::new();
        while let Some(SegmentPart { data }) = parts.message().await? {
            segment.extend(data);
        }
        let mut kept = self.0.kept.lock();
        let kept = kept.as_mut().ok_or_else(|| Status::unimplemented("no store"))?;
        kept.lines.extend(segment);
        Ok(Response::new(kept.standing()))
    }

    /// As an operator of a version before there was this call.
    async fn replicate(&self, request: Request<ReplicateRequest>) -> Result<Response<Replicated>, Status> {
        certificate(&request)?;
        Err(Status::unimplemented("no such method"))
    }
}

impl Kept {
    fn standing(&self) -> RecordingStanding {
        let stored = self.lines.iter().filter(|byte| **byte == b'\n').count();
        RecordingStanding { countersigned: self.chain.size(), stored: u64::try_from(stored).unwrap() }
    }
}

/// Of these objects, as YAML; Secrets among them go where Secrets go.
pub(crate) fn snapshot(revision: &str, objects: &str, labels: &[(&str, &str)]) -> Snapshot {
    let mut plain = Vec::new();
    let mut secrets = Vec::new();
    for document in serde_yaml::Deserializer::from_str(objects) {
        let object: serde_json::Value = serde::Deserialize::deserialize(document).unwrap();
        if object.is_null() {
            continue;
        }
        let text = |path: &str| object.pointer(path).and_then(|value| value.as_str()).unwrap().to_owned();
        if text("/kind") != "Secret" {
            plain.push(object.to_string().into_bytes());
            continue;
        }
        let data = object.get("stringData").unwrap().as_object().unwrap();
        secrets.push(Secret {
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
            data: data.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().as_bytes().to_vec())).collect(),
        });
    }
    Snapshot {
        revision: revision.to_owned(),
        subject: Some(Subject {
            namespace: NAMESPACE.to_owned(),
            service_account: "agent".to_owned(),
            pod: "agent-0".to_owned(),
            pod_uid: UID.to_owned(),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            namespace_labels: HashMap::new(),
        }),
        objects: plain,
        secrets,
        max_policy_age_seconds: 10,
    }
}
