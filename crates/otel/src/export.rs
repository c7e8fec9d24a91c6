//! The thread that sends: batches, deadlines, patience, and few words when nobody takes them.
//!
//! Invariant: what it holds is bounded, a batch and a queue of each signal; what it cannot send in a few tries is counted
//! and given up. It tells of trouble once in five minutes, by the code of the answer alone, never by its text.

use std::error::Error;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prometheus::{IntCounter, IntCounterVec};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, sleep_until, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::destination::CALL;
use crate::log::Log;
use crate::span::{Attributes, Span};
use crate::{Signal, wire};

/// Most records of one call.
pub(crate) const BATCH: usize = 512;
/// How long the first record of a batch waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// How often one batch is tried.
const TRIES: u32 = 3;
/// The longest pause between two tries.
const PAUSE: Duration = Duration::from_secs(30);
/// Between two lines about trouble.
const QUIET: Duration = Duration::from_secs(300);
/// Of an answer, in bytes.
const ANSWER: usize = 64 * 1024;

pub(crate) struct Work {
    pub(crate) endpoint: Endpoint,
    pub(crate) resource: Attributes,
    pub(crate) spans: mpsc::Receiver<Span>,
    pub(crate) logs: mpsc::Receiver<Log>,
    pub(crate) closing: watch::Receiver<bool>,
    pub(crate) dropped: IntCounterVec,
}

/// What is sent in one kind of call.
trait Record: Send + Sized {
    const SIGNAL: Signal;
    type Request: Clone + Send;
    fn request(resource: &Attributes, batch: Vec<Self>) -> Self::Request;
    /// How many of them were not taken.
    fn send(channel: Channel, request: Self::Request) -> impl Future<Output = Result<i64, Status>> + Send;
}

impl Record for Span {
    const SIGNAL: Signal = Signal::Traces;
    type Request = ExportTraceServiceRequest;

    fn request(resource: &Attributes, batch: Vec<Self>) -> Self::Request {
        wire::traces(resource, batch)
    }

    async fn send(channel: Channel, request: Self::Request) -> Result<i64, Status> {
        let mut client = TraceServiceClient::new(channel).max_decoding_message_size(ANSWER);
        let answer = client.export(request).await?.into_inner();
        Ok(answer.partial_success.map_or(0, |partial| partial.rejected_spans))
    }
}

impl Record for Log {
    const SIGNAL: Signal = Signal::Logs;
    type Request = ExportLogsServiceRequest;

    fn request(resource: &Attributes, batch: Vec<Self>) -> Self::Request {
        wire::logs(resource, batch)
    }

    async fn send(channel: Channel, request: Self::Request) -> Result<i64, Status> {
        let mut client = LogsServiceClient::new(channel).max_decoding_message_size(ANSWER);
        let answer = client.export(request).await?.into_inner();
        Ok(answer.partial_success.map_or(0, |partial| partial.rejected_log_records))
    }
}

// === impl Work ===

impl Work {
    /// Until it is closed and what waited was sent, or nobody can tell anything any more.
    pub(crate) fn run(self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::warn!(event = "otel_failed", %error, "nothing is exported");
                return;
            }
        };
        runtime.block_on(async {
            let channel = self.endpoint.connect_lazy();
            let spans = Pump::<Span>::new(&channel, &self.resource, &self.closing, &self.dropped);
            let logs = Pump::<Log>::new(&channel, &self.resource, &self.closing, &self.dropped);
            tokio::join!(spans.run(self.spans), logs.run(self.logs));
        });
        // A look-up of a name that hangs is not waited for.
        runtime.shutdown_background();
    }
}

struct Pump<T> {
    channel: Channel,
    resource: Attributes,
    closing: watch::Receiver<bool>,
    dropped: IntCounter,
    /// Tries since the last that went well.
    failures: u32,
    trouble: Trouble,
    kind: std::marker::PhantomData<fn(T)>,
}

impl<T: Record> Pump<T> {
    fn new(channel: &Channel, resource: &Attributes, closing: &watch::Receiver<bool>, dropped: &IntCounterVec) -> Self {
        Self {
            channel: channel.clone(),
            resource: resource.clone(),
            closing: closing.clone(),
            dropped: dropped.with_label_values(&[T::SIGNAL.word()]),
            failures: 0,
            trouble: Trouble::default(),
            kind: std::marker::PhantomData,
        }
    }

    async fn run(mut self, mut queue: mpsc::Receiver<T>) {
        loop {
            let mut batch = Vec::new();
            // Both arms are cancel-safe: what is not received stays in the queue, the mark stays set.
            let open = tokio::select! {
                received = queue.recv_many(&mut batch, BATCH) => received > 0,
                () = closed(&mut self.closing) => false,
            };
            let end = tokio::time::Instant::now() + LINGER;
            while open && batch.len() < BATCH {
                let room = BATCH.saturating_sub(batch.len());
                // As above; the timer may be made anew.
                tokio::select! {
                    received = queue.recv_many(&mut batch, room) => if received == 0 { break },
                    () = sleep_until(end) => break,
                    () = closed(&mut self.closing) => break,
                }
            }
            while !open && batch.len() < BATCH {
                let Ok(record) = queue.try_recv() else { break };
                batch.push(record);
            }
            if batch.is_empty() {
                return;
            }
            self.deliver(batch).await;
        }
    }

    /// Sends a batch, or gives it up.
    async fn deliver(&mut self, batch: Vec<T>) {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let request = T::request(&self.resource, batch);
        for tried in 1..=TRIES {
            self.pause().await;
            let code = match timeout(CALL, T::send(self.channel.clone(), request.clone())).await {
                Ok(Ok(refused)) => {
                    self.failures = 0;
                    let refused = u64::try_from(refused).unwrap_or_default().min(count);
                    self.dropped.inc_by(refused);
                    match refused {
                        0 => self.trouble.none(T::SIGNAL, self.dropped.get()),
                        _ => self.trouble.told(T::SIGNAL, "some were refused", self.dropped.get()),
                    }
                    return;
                }
                Ok(Err(status)) => status.code(),
                Err(_) => Code::DeadlineExceeded,
            };
            self.failures = self.failures.saturating_add(1);
            if tried == TRIES || *self.closing.borrow() || !may_come_back(code) {
                self.dropped.inc_by(count);
                self.trouble.told(T::SIGNAL, code.description(), self.dropped.get());
                return;
            }
        }
    }

    /// Between tries, longer each time; not at the end.
    async fn pause(&mut self) {
        if self.failures == 0 {
            return;
        }
        let pause = Duration::from_secs(1_u64.checked_shl(self.failures.min(8)).unwrap_or(u64::MAX) / 2).min(PAUSE);
        // Nothing is lost when either ends first.
        tokio::select! {
            () = sleep(pause) => {}
            () = closed(&mut self.closing) => {}
        }
    }
}

/// Resolves when the end has come. Cancel-safe.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could say so: then it has come, too.
    let _ = closing.wait_for(|closing| *closing).await;
}

/// As the specification of OTLP has it; and `Unknown`, which is also how the transport says that the connection broke.
fn may_come_back(code: Code) -> bool {
    use Code::{Aborted, Cancelled, DataLoss, DeadlineExceeded, OutOfRange, ResourceExhausted, Unavailable, Unknown};
    matches!(
        code,
        Aborted | Cancelled | DataLoss | DeadlineExceeded | OutOfRange | ResourceExhausted | Unavailable | Unknown
    )
}

/// What was said of trouble, and when.
#[derive(Debug, Default)]
struct Trouble {
    said: Option<Instant>,
    /// There was a line about trouble, and none since that it is over.
    open: bool,
    /// Dropped when it was last looked at.
    dropped: u64,
}

impl Trouble {
    fn told(&mut self, signal: Signal, why: &str, dropped: u64) {
        self.dropped = dropped;
        if self.said.is_some_and(|said| said.elapsed() < QUIET) {
            return;
        }
        (self.said, self.open) = (Some(Instant::now()), true);
        let signal = signal.word();
        tracing::warn!(event = "otel_dropped", signal, why, dropped, "the OTLP endpoint does not take what it is sent");
    }

    /// A call went well.
    fn none(&mut self, signal: Signal, dropped: u64) {
        if dropped > self.dropped {
            return self.told(signal, "the queue was full", dropped);
        }
        if std::mem::take(&mut self.open) {
            tracing::info!(event = "otel_resumed", signal = signal.word(), dropped);
        }
    }
}

/// An error with its causes: the transport keeps the reason to itself.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_once_and_its_end_once() {
        let mut trouble = Trouble::default();
        trouble.told(Signal::Traces, "x", 1);
        let first = trouble.said;
        assert!(first.is_some() && trouble.open);
        trouble.told(Signal::Traces, "x", 2);
        trouble.none(Signal::Traces, 3);
        assert_eq!((trouble.said, trouble.open, trouble.dropped), (first, true, 3));
        trouble.none(Signal::Traces, 3);
        assert!(!trouble.open);
        trouble.told(Signal::Traces, "x", 4);
        assert_eq!((trouble.said, trouble.open), (first, false));
    }
}
