//! The two services, each call with who calls: a pod that its certificate names, or nobody known.

use std::sync::Arc;
use std::time::Duration;

use control::PodName;
use control::v1::control_server::Control;
use control::v1::enrolment_server::Enrolment;
use control::v1::{
    BeginRecordingRequest, Certificate, ConsumeRequest, Consumed, CountersignRequest, Countersigned, IssueRequest,
    Name, Question, RecordingStanding, RenewRequest, ReplicateRequest, Replicated, ReportRequest, Reported,
    SegmentPart, Update, WatchRequest, Withdrawn,
};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status, Streaming};

use super::ask::{Standings, follow};
use super::enrol::Enrol;
use super::follow::Follow;
use super::places::Places;
use super::said::{self, Said};
use super::serve::Caller;
use super::tls::Peer;
use crate::approvals::{Asker, Desk};
use crate::certificate;
use crate::index::{Index, Pod};
use crate::metrics::Metrics;
use crate::recordings::{Desk as RecordingsDesk, Known, key};
use crate::status::{Acks, Unheard};

/// Watches of one pod at a time: one, and those of connections that are not known to be dead yet.
const WATCHES: usize = 4;

#[derive(Clone, Debug)]
pub struct Service {
    enrol: Arc<Enrol>,
    index: Arc<Index>,
    desk: Arc<Desk>,
    recordings: Arc<RecordingsDesk>,
    acks: Arc<Acks>,
    max_age: u32,
    stop: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
    watches: Arc<Places>,
}

// === impl Service ===

impl Service {
    /// `max_age` is what sidecars are told, in seconds; at `stop` every stream ends.
    pub fn new(
        enrol: Arc<Enrol>,
        index: Arc<Index>,
        desk: Arc<Desk>,
        acks: Arc<Acks>,
        max_age: u32,
        stop: watch::Receiver<bool>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let recordings = Arc::new(RecordingsDesk::new(None, key::Held::default(), Arc::clone(&metrics)));
        Self { enrol, index, desk, recordings, acks, max_age, stop, metrics, watches: Places::new(WATCHES) }
    }

    /// With a place for recordings; without it every call for one is answered with that.
    #[must_use]
    pub fn with_recordings(self, recordings: Arc<RecordingsDesk>) -> Self {
        Self { recordings, ..self }
    }

    /// The pod as the API server has it now.
    fn pod(&self, name: &PodName) -> Result<Pod, Status> {
        if !self.index.whole() {
            return Err(Status::unavailable("the API server is not being followed at the moment"));
        }
        let pod = self.index.pod(name.uid()).filter(|pod| pod.namespace == name.namespace());
        pod.ok_or_else(|| Status::not_found("the pod is not there, or not governed"))
    }

    /// Whom the certificate and the API server say that it is.
    fn asker(&self, peer: &Peer) -> Result<Asker, Status> {
        let Pod { name, service_account, job, .. } = self.pod(&peer.pod)?;
        Ok(Asker { pod: peer.pod.clone(), pod_name: name, service_account, job })
    }
}

/// The pod that calls, while its certificate is good.
fn peer<T>(request: &Request<T>) -> Result<Arc<Peer>, Status> {
    let caller = request.extensions().get::<Caller>();
    match caller.and_then(|caller| caller.peer.as_ref()) {
        Some(peer) if certificate::now() < peer.ends => Ok(Arc::clone(peer)),
        Some(_) => Err(Status::unauthenticated("the certificate has ended")),
        None => Err(Status::unauthenticated("a client certificate of the operator is needed: ask Enrolment for it")),
    }
}

fn until(peer: &Peer) -> Instant {
    Instant::now() + Duration::from_secs(peer.ends.saturating_sub(certificate::now()))
}

#[tonic::async_trait]
impl Enrolment for Service {
    async fn issue(&self, request: Request<IssueRequest>) -> Result<Response<Certificate>, Status> {
        self.enrol.issue(request.into_inner(), &self.metrics).await.map(Response::new)
    }
}

#[tonic::async_trait]
impl Control for Service {
    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<Certificate>, Status> {
        let peer = peer(&request)?;
        self.pod(&peer.pod)?;
        let csr = request.into_inner().csr;
        self.enrol.renew(&peer.pod, &peer.key, &csr, &self.metrics).await.map(Response::new)
    }

    type WatchStream = Said<Update>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let peer = peer(&request)?;
        let Some(place) = self.watches.take(&peer.pod) else {
            return Err(Status::resource_exhausted(format!("the pod has {WATCHES} watches open")));
        };
        let follow = Follow {
            index: Arc::clone(&self.index),
            current: self.enrol.current(),
            pod: peer.pod.clone(),
            heard: self.acks.begin(&peer.pod),
            max_age: self.max_age,
            until: until(&peer),
            stop: self.stop.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        let (namespace, uid, in_force) = (peer.pod.namespace(), peer.pod.uid(), request.get_ref().in_force.as_str());
        let in_force: String = in_force.chars().filter(|c| c.is_ascii_graphic()).take(80).collect();
        tracing::info!(event = "stream_begun", namespace, uid, in_force);
        let (sender, said) = said::channel();
        tokio::spawn(async move {
            follow.run(sender).await;
            drop(place);
        });
        Ok(Response::new(said))
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<Reported>, Status> {
        let peer = peer(&request)?;
        self.acks.report(&self.index, &peer.pod, request.get_ref()).map_err(|unheard| {
            let text = unheard.to_string();
            match unheard {
                Unheard::NoStream => Status::failed_precondition(text),
                Unheard::TooSoon => Status::resource_exhausted(text),
                Unheard::NotARevision | Unheard::TooMany => Status::invalid_argument(text),
            }
        })?;
        Ok(Response::new(Reported {}))
    }

    type AskStream = Standings;

    async fn ask(&self, request: Request<Question>) -> Result<Response<Self::AskStream>, Status> {
        let peer = peer(&request)?;
        let (_, standing) = self.desk.ask(&self.asker(&peer)?, request.into_inner()).await?;
        Ok(Response::new(follow(standing, until(&peer), self.stop.clone())))
    }

    async fn withdraw(&self, request: Request<Name>) -> Result<Response<Withdrawn>, Status> {
        let asker = self.asker(&*peer(&request)?)?;
        self.desk.withdraw(&asker, &request.into_inner().name).await?;
        Ok(Response::new(Withdrawn {}))
    }

    async fn consume(&self, request: Request<ConsumeRequest>) -> Result<Response<Consumed>, Status> {
        let asker = self.asker(&*peer(&request)?)?;
        let consumed = self.desk.consume(&asker, request.into_inner()).await?;
        Ok(Response::new(consumed))
    }

    async fn begin_recording(
        &self,
        request: Request<BeginRecordingRequest>,
    ) -> Result<Response<RecordingStanding>, Status> {
        let peer = peer(&request)?;
        // One that has ended sends the rest of what it began: the certificate says whose it is.
        let known = match self.pod(&peer.pod) {
            Ok(Pod { name, service_account, .. }) => Some(Known { name, service_account }),
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => return Err(status),
        };
        self.recordings.begin(&peer.pod, known, request.get_ref()).await.map(Response::new)
    }

    async fn countersign(&self, request: Request<CountersignRequest>) -> Result<Response<Countersigned>, Status> {
        let peer = peer(&request)?;
        self.recordings.countersign(&peer.pod, request.into_inner()).await.map(Response::new)
    }

    async fn keep(&self, request: Request<Streaming<SegmentPart>>) -> Result<Response<RecordingStanding>, Status> {
        let peer = peer(&request)?;
        self.recordings.keep(&peer.pod, request.into_inner()).await.map(Response::new)
    }

    async fn replicate(&self, request: Request<ReplicateRequest>) -> Result<Response<Replicated>, Status> {
        let peer = peer(&request)?;
        self.recordings.replicate(&peer.pod, request.into_inner()).await.map(Response::new)
    }
}
