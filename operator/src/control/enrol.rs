//! Certificates for pods: what `identity` judges is asked of the API server here.
//!
//! Refused: more claims at a time than `CLAIMS`, and what the API server does not answer in `PATIENCE`. The token is
//! in no log and no error. Invariant: no certificate is signed before the claim of its key is recorded.

use std::fmt;
use std::time::Duration;

use control::v1::Certificate;
use control::{PodName, v1};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, Client};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tonic::Status;

use super::identity::{self, Bearer, Claim, Entitled, Refusal};
use crate::certificate::{self, ClientKey, Current};
use crate::metrics::Metrics;

/// Claims that are judged at a time.
const CLAIMS: usize = 32;
/// For all that the API server is asked about one claim.
const PATIENCE: Duration = Duration::from_secs(8);
/// A projected token has about 1 KiB.
const LONGEST_TOKEN: usize = 16 * 1024;
/// A claim younger than this is kept, whatever the index says: it may lag behind the claim.
const YOUNGEST: i64 = 10 * 60;
const LABEL: &str = "agentaccess.dev/claim";

/// What answers `Issue` and `Renew`.
pub struct Enrol {
    client: Client,
    /// Of the claims: the operator's own.
    namespace: String,
    audience: String,
    current: Current,
    claims: Semaphore,
}

/// How an attempt ended, for the metric and the log.
#[derive(Debug)]
enum Failed {
    Refused(Refusal),
    /// The API server did not answer, or in a way that is no judgement.
    Away(String),
    /// Two claims at the same moment.
    Raced,
    Busy,
    Request(String),
    Unsigned(String),
}

// === impl Enrol ===

impl fmt::Debug for Enrol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrol").field("audience", &self.audience).finish_non_exhaustive()
    }
}

impl Enrol {
    pub fn new(client: Client, namespace: &str, audience: &str, current: Current) -> Self {
        let (namespace, audience) = (namespace.to_owned(), audience.to_owned());
        Self { client, namespace, audience, current, claims: Semaphore::new(CLAIMS) }
    }

    /// What certificates are signed with, and which roots come with them.
    pub fn current(&self) -> Current {
        self.current.clone()
    }

    /// # Errors
    /// See the contract.
    pub async fn issue(&self, request: v1::IssueRequest, metrics: &Metrics) -> Result<Certificate, Status> {
        let v1::IssueRequest { token, csr } = request;
        let (bearer, issued) = match self.claims.try_acquire() {
            Ok(_place) => timeout(PATIENCE, self.judge(token, &csr))
                .await
                .unwrap_or_else(|_| (None, Err(Failed::Away("no answer in time".to_owned())))),
            Err(_) => (None, Err(Failed::Busy)),
        };
        let namespace = bearer.as_ref().map(|bearer| bearer.pod.namespace());
        let uid = bearer.as_ref().map(|bearer| bearer.pod.uid());
        let pod = bearer.as_ref().map(|bearer| bearer.pod_name.as_str());
        match issued {
            Ok((entitled, certificate)) => {
                metrics.enrolment(entitled.word());
                tracing::info!(event = "enrolled", namespace, pod, uid, claim = %entitled);
                Ok(certificate)
            }
            Err(failed) => {
                let (status, result) = (failed.status(), failed.word());
                metrics.enrolment(result);
                tracing::warn!(event = "enrolment_refused", result, namespace, pod, uid, error = status.message());
                Err(status)
            }
        }
    }

    /// With whom the token proves, if it does.
    async fn judge(&self, token: String, csr: &[u8]) -> (Option<Bearer>, Result<(Entitled, Certificate), Failed>) {
        let key = match ClientKey::of_request(csr) {
            Ok(key) => key,
            Err(error) => return (None, Err(Failed::Request(error.to_string()))),
        };
        match self.bearer(token).await {
            Ok(bearer) => {
                let claimed = self.claim(&bearer, &key).await;
                (Some(bearer), claimed)
            }
            Err(failed) => (None, Err(failed)),
        }
    }

    async fn bearer(&self, token: String) -> Result<Bearer, Failed> {
        if token.is_empty() || token.len() > LONGEST_TOKEN {
            return Err(Refusal::Token.into());
        }
        let spec = TokenReviewSpec { audiences: Some(vec![self.audience.clone()]), token: Some(token) };
        let review = TokenReview { spec, ..Default::default() };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let review = reviews.create(&PostParams::default(), &review).await?;
        Ok(identity::bearer(&review, &self.audience)?)
    }

    async fn claim(&self, bearer: &Bearer, key: &ClientKey) -> Result<(Entitled, Certificate), Failed> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), bearer.pod.namespace());
        let pod = pods.get_opt(&bearer.pod_name).await?;
        let restarts = identity::restarts(pod.as_ref(), bearer)?;
        let leases = self.leases();
        let recorded = leases.get_opt(&name(&bearer.pod)).await?;
        let claim = recorded.as_ref().map(Claim::read).transpose()?;
        let entitled = identity::entitled(claim.as_ref(), &key.id(), restarts)?;
        let metadata = recorded.map(|lease| lease.metadata);
        match (entitled, metadata) {
            (Entitled::First, _) => {
                let lease = record(metadata_of(&bearer.pod), key, restarts);
                leases.create(&PostParams::default(), &lease).await?;
            }
            // With the resourceVersion of what was judged.
            (Entitled::Successor, Some(metadata)) => {
                let lease = record(metadata, key, restarts);
                leases.replace(&name(&bearer.pod), &PostParams::default(), &lease).await?;
            }
            (Entitled::Again, _) | (Entitled::Successor, None) => {}
        }
        Ok((entitled, self.sign(&bearer.pod, key)?))
    }

    /// A certificate after the one that `pod` has, whose key it keeps.
    ///
    /// # Errors
    /// When the key is another, or is not the one of the claim any more.
    pub async fn renew(
        &self,
        pod: &PodName,
        held: &ClientKey,
        csr: &[u8],
        metrics: &Metrics,
    ) -> Result<Certificate, Status> {
        let renewed = timeout(PATIENCE, async {
            let key = ClientKey::of_request(csr).map_err(|error| Failed::Request(error.to_string()))?;
            if key != *held {
                return Err(Failed::Request("a certificate is renewed for the key that it has".to_owned()));
            }
            let recorded = self.leases().get_opt(&name(pod)).await?.ok_or(Refusal::Gone)?;
            if Claim::read(&recorded)?.key != key.id() {
                return Err(Refusal::Claimed.into());
            }
            self.sign(pod, &key)
        });
        let renewed = renewed.await.unwrap_or_else(|_| Err(Failed::Away("no answer in time".to_owned())));
        metrics.enrolment(renewed.as_ref().map_or_else(Failed::word, |_| "renewed"));
        renewed.map_err(|failed| {
            let (status, result) = (failed.status(), failed.word());
            let (namespace, uid) = (pod.namespace(), pod.uid());
            tracing::warn!(event = "renewal_refused", result, namespace, uid, error = status.message());
            status
        })
    }

    fn sign(&self, pod: &PodName, key: &ClientKey) -> Result<Certificate, Failed> {
        let held = self.current.get().ok_or_else(|| Failed::Unsigned("there is no CA yet".to_owned()))?;
        let client = held.authority.client(pod, key, certificate::now());
        let client = client.map_err(|error| Failed::Unsigned(error.to_string()))?;
        let der = |all: &[rustls_pki_types::CertificateDer<'_>]| all.iter().map(|one| one.to_vec()).collect();
        Ok(Certificate { chain: der(&client.chain), roots: der(&held.trusted) })
    }

    /// The leader's part: claims of pods that are gone end. `lives` says whether a pod of this uid is there.
    ///
    /// # Errors
    /// When the API server is away.
    pub async fn sweep(&self, lives: impl Fn(&str) -> bool) -> Result<usize, kube::Error> {
        let leases = self.leases();
        let mut swept = 0;
        let now = Timestamp::now().as_second();
        for lease in leases.list(&ListParams::default().labels(LABEL)).await? {
            let Some(name) = lease.metadata.name else { continue };
            let Some(uid) = name.strip_prefix(PREFIX) else { continue };
            let made = lease.metadata.creation_timestamp.map(|time| time.0.as_second());
            if lives(uid) || made.is_none_or(|made| now < made.saturating_add(YOUNGEST)) {
                continue;
            }
            let same = Preconditions { uid: lease.metadata.uid, resource_version: lease.metadata.resource_version };
            leases.delete(&name, &DeleteParams::default().preconditions(same)).await?;
            swept += 1;
        }
        Ok(swept)
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

const PREFIX: &str = "claim-";

fn name(pod: &PodName) -> String {
    format!("{PREFIX}{}", pod.uid())
}

fn metadata_of(pod: &PodName) -> ObjectMeta {
    let labels = [(LABEL.to_owned(), pod.namespace().to_owned())];
    ObjectMeta { name: Some(name(pod)), labels: Some(labels.into()), ..Default::default() }
}

fn record(metadata: ObjectMeta, key: &ClientKey, restarts: i32) -> Lease {
    let spec = LeaseSpec {
        holder_identity: Some(key.id()),
        lease_transitions: Some(restarts),
        acquire_time: Some(MicroTime(Timestamp::now())),
        ..Default::default()
    };
    Lease { metadata, spec: Some(spec) }
}

// === impl Failed ===

impl Failed {
    fn word(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.word(),
            Self::Away(_) => "away",
            Self::Raced => "raced",
            Self::Busy => "busy",
            Self::Request(_) => "request",
            Self::Unsigned(_) => "unsigned",
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::Refused(refusal @ Refusal::Claimed) => Status::already_exists(refusal.to_string()),
            Self::Refused(refusal @ Refusal::Record) => Status::failed_precondition(refusal.to_string()),
            Self::Refused(refusal) => Status::unauthenticated(refusal.to_string()),
            Self::Away(error) => Status::unavailable(format!("the API server: {error}")),
            Self::Raced => Status::unavailable("the pod was claimed at this moment: ask again"),
            Self::Busy => Status::unavailable("too many claims at a time: ask again"),
            Self::Request(error) => Status::invalid_argument(format!("the certificate request: {error}")),
            Self::Unsigned(error) => Status::unavailable(format!("no certificate can be signed: {error}")),
        }
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<kube::Error> for Failed {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 409 => Self::Raced,
            // Other errors can hold the body of a request, in which the token stands.
            kube::Error::Api(status) => Self::Away(format!("{} ({})", status.reason, status.code)),
            _ => Self::Away("it cannot be asked".to_owned()),
        }
    }
}
