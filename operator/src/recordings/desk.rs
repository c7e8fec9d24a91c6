//! What sidecars ask of the store: begin, countersign, keep, replicate. Every replica answers.
//!
//! One call of a pod at a time, beside it one to replicate, for which operations wait, and a bound on the segments that are in memory. A call goes on when the sidecar has given
//! it up: what is slow is done at the next attempt. Refused: a pod that is not known and was not before, hashes that are
//! none, a segment that is too long, and whatever the shelf refuses, which is evidence and logged as an error.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use archive::{Meta, RecordingId, Shelf, ShelfError, Standing, Store};
use control::v1::{
    BeginRecordingRequest, CountersignRequest, Countersigned, RecordingStanding, ReplicateRequest, Replicated,
    SegmentPart,
};
use control::{LINE_HASHES, PodName, REPLICATE_LIMIT, SEGMENT_LIMIT};
use jiff::Timestamp;
use recording::VerifyingKey;
use recording::chain::Hash;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

use super::answer::{REFUSED, status, word};
use super::key::Held;
use crate::control::places::{Place, Places};
use crate::metrics::Metrics;

/// Segments in memory at a time, and how long one is that others need not wait for.
const SEGMENTS: usize = 8;
const SMALL: usize = 4 * 1024 * 1024;
/// Longer ones at a time.
const LARGE: usize = 1;
/// For room for a segment.
const ROOM: Duration = Duration::from_secs(5);

/// Who a pod is to the API server.
#[derive(Clone, Debug)]
pub struct Known {
    pub name: String,
    pub service_account: String,
}

pub struct Desk {
    store: Option<Store>,
    witness: Held,
    calls: Arc<Places>,
    replicating: Arc<Places>,
    segments: Arc<Semaphore>,
    large: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

// === impl Desk ===

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Desk {
    /// Without a store every call is answered with that.
    pub fn new(store: Option<Store>, witness: Held, metrics: Arc<Metrics>) -> Self {
        Self {
            store,
            witness,
            calls: Places::new(1),
            replicating: Places::new(1),
            segments: Arc::new(Semaphore::new(SEGMENTS)),
            large: Arc::new(Semaphore::new(LARGE)),
            metrics,
        }
    }

    /// `known` is nobody for a pod that has ended: only a recording that was begun before goes on then.
    ///
    /// # Errors
    /// In the codes of the contract.
    pub async fn begin(
        &self,
        pod: &PodName,
        known: Option<Known>,
        request: &BeginRecordingRequest,
    ) -> Result<RecordingStanding, Status> {
        let (shelf, place) = self.shelf(pod, &self.calls)?;
        let key: VerifyingKey =
            request.key.parse().map_err(|_| Status::invalid_argument("the key is none of the form NAME+ID+BASE64"))?;
        let begun = self.done("begin", pod, place, async move {
            match known {
                Some(Known { name, service_account }) => {
                    shelf.begin(&Meta { pod: name, service_account, key, begun: Timestamp::now() }).await
                }
                None => again(&shelf, key).await,
            }
        });
        begun.await.map(|standing| said(&standing))
    }

    /// # Errors
    /// In the codes of the contract.
    pub async fn countersign(&self, pod: &PodName, request: CountersignRequest) -> Result<Countersigned, Status> {
        let (shelf, place) = self.shelf(pod, &self.calls)?;
        let CountersignRequest { note, hashes, from } = request;
        let hashes = lines(&hashes)?;
        let Some(witness) = self.witness.get() else {
            return Err(Status::unavailable("there is no key to countersign with yet: the leader has to make it"));
        };
        let signed = self.done("countersign", pod, place, async move {
            match shelf.countersign(&note, &hashes, &witness).await {
                // Another replica went on meanwhile: the first of these it has had.
                Err(ShelfError::OutOfStep { expected, .. }) if expected > from => {
                    let had = usize::try_from(expected.saturating_sub(from)).unwrap_or(usize::MAX);
                    shelf.countersign(&note, hashes.get(had..).unwrap_or_default(), &witness).await
                }
                answer => answer,
            }
        });
        signed.await.map(|note| Countersigned { note })
    }

    /// `parts` of one segment.
    ///
    /// # Errors
    /// In the codes of the contract.
    pub async fn keep(
        &self,
        pod: &PodName,
        parts: impl Stream<Item = Result<SegmentPart, Status>> + Unpin,
    ) -> Result<RecordingStanding, Status> {
        let (shelf, place) = self.shelf(pod, &self.calls)?;
        let room = room(&self.segments).await?;
        let (segment, more) = self.read(parts).await?;
        let kept = self.done("keep", pod, place, async move {
            let kept = shelf.keep(&segment).await;
            drop((room, more));
            kept
        });
        kept.await.map(|standing| said(&standing))
    }

    /// Lines that are in the store for good once this answers.
    ///
    /// # Errors
    /// In the codes of the contract.
    pub async fn replicate(&self, pod: &PodName, request: ReplicateRequest) -> Result<Replicated, Status> {
        let (shelf, place) = self.shelf(pod, &self.replicating)?;
        let ReplicateRequest { from, lines } = request;
        if lines.len() > REPLICATE_LIMIT {
            return Err(Status::invalid_argument(format!(
                "at most {REPLICATE_LIMIT} bytes of lines are taken at once"
            )));
        }
        let lines = lines.into();
        let kept = self.done("replicate", pod, place, async move { shelf.replicate(from, lines).await }).await?;
        Ok(Replicated { size: kept.size, last: kept.last.0.to_vec() })
    }

    /// The whole segment, and the place that a long one takes.
    async fn read(
        &self,
        mut parts: impl Stream<Item = Result<SegmentPart, Status>> + Unpin,
    ) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Status> {
        let (mut segment, mut large) = (Vec::new(), None);
        while let Some(part) = parts.next().await {
            let SegmentPart { data } = part?;
            let bytes = segment.len().saturating_add(data.len());
            if bytes > SEGMENT_LIMIT {
                return Err(Status::invalid_argument(format!("a segment has at most {SEGMENT_LIMIT} bytes")));
            }
            if bytes > SMALL && large.is_none() {
                large = Some(room(&self.large).await?);
            }
            segment.extend_from_slice(&data);
        }
        Ok((segment, large))
    }

    fn shelf(&self, pod: &PodName, calls: &Arc<Places>) -> Result<(Shelf, Place), Status> {
        let store = self.store.as_ref().ok_or_else(|| Status::unimplemented("no store of recordings is configured"))?;
        let id = RecordingId::new(pod.namespace(), pod.uid());
        let id = id.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let busy = || Status::unavailable("a call of this pod is under way: try again");
        Ok((store.shelf(&id), calls.take(pod).ok_or_else(busy)?))
    }

    /// Does it to its end, whether somebody waits for it or not.
    async fn done<T: Send + 'static>(
        &self,
        call: &'static str,
        pod: &PodName,
        place: Place,
        work: impl Future<Output = Result<T, ShelfError>> + Send + 'static,
    ) -> Result<T, Status> {
        let (pod, metrics) = (pod.clone(), Arc::clone(&self.metrics));
        let task = tokio::spawn(async move {
            let result = work.await;
            drop(place);
            metrics.recording(call, result.as_ref().map_or_else(word, |_| "done"));
            result.map_err(|error| told(&error, call, &pod))
        });
        task.await.unwrap_or_else(|_| Err(Status::internal("it could not be done")))
    }
}

/// Says it in the log, as loud as it is, and gives the answer.
fn told(error: &ShelfError, call: &'static str, pod: &PodName) -> Status {
    let (namespace, uid, reason) = (pod.namespace(), pod.uid(), word(error));
    match reason {
        // Somebody wrote a recording anew, in the pod or in the store.
        REFUSED | "damaged" => tracing::error!(event = "recording_refused", call, reason, namespace, uid, %error),
        "out_of_step" => tracing::debug!(event = "recording_out_of_step", call, namespace, uid, %error),
        _ => tracing::warn!(event = "recording_not_stored", call, reason, namespace, uid, %error),
    }
    status(error)
}

/// A pod that has ended goes on with what it began.
async fn again(shelf: &Shelf, key: VerifyingKey) -> Result<Standing, ShelfError> {
    let pinned = shelf.meta().await?.key.clone();
    if pinned != key {
        return Err(ShelfError::OtherKey { pinned: Box::new(pinned), offered: Box::new(key) });
    }
    shelf.standing().await
}

async fn room(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Status> {
    let full = || Status::unavailable("many segments are being stored: try again");
    timeout(ROOM, Arc::clone(places).acquire_owned()).await.map_err(|_| full())?.map_err(|_| full())
}

fn lines(hashes: &[u8]) -> Result<Vec<Hash>, Status> {
    let (lines, rest) = hashes.as_chunks::<32>();
    match rest.is_empty() && lines.len() <= LINE_HASHES {
        true => Ok(lines.iter().map(|hash| Hash(*hash)).collect()),
        false => Err(Status::invalid_argument(format!("at most {LINE_HASHES} hashes of 32 bytes are wanted"))),
    }
}

fn said(standing: &Standing) -> RecordingStanding {
    RecordingStanding { countersigned: standing.countersigned, stored: standing.archived }
}
