//! Traces and logs over OTLP (gRPC), for sidecar and operator. Off unless a destination is given; the environment is never
//! asked, so that nobody but who configures the program says where its telemetry goes.
//!
//! Invariants: nothing waits for the export. What a program has to tell goes into a queue with a bound, and is counted as
//! dropped when the queue is full, when the destination does not take it, or when the end comes first. A thread of its
//! own does the rest, with a deadline for each call. Refused is: a destination in clear that was not called insecure,
//! TLS without the CA to verify it by, and whatever else than `SCHEME://HOST:PORT`.

mod destination;
mod export;
mod ids;
mod layer;
mod log;
mod resource;
mod span;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounterVec, Opts};
use tokio::sync::{mpsc, watch};

pub use self::destination::{Destination, NotADestination};
pub use self::ids::{SpanId, TraceId};
pub use self::layer::layer;
pub use self::resource::Resource;
pub use self::span::{Attributes, Kind, Span, Value};

use self::ids::Ids;
use self::log::Log;

/// Records that wait to be sent, of each signal. Each has a bound too: a line 4 KiB of text, so that all lines are 8 MiB at most.
const WAITING: usize = 2048;

/// Why there is no telemetry.
#[derive(Debug, thiserror::Error)]
pub enum NoTelemetry {
    #[error("the CA of the OTLP endpoint cannot be used: {0}")]
    Tls(String),
    #[error("the system gives no random numbers")]
    Random,
    #[error("the thread that exports telemetry cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("the counter of dropped telemetry: {0}")]
    Counter(#[from] prometheus::Error),
}

/// What a program tells its telemetry to; cheap to clone. While it is off, nothing is made and nothing is kept.
#[derive(Clone, Debug)]
pub struct Telemetry {
    on: Option<Arc<On>>,
    dropped: IntCounterVec,
}

#[derive(Debug)]
struct On {
    ids: Ids,
    spans: mpsc::Sender<Span>,
    logs: mpsc::Sender<Log>,
    closing: watch::Sender<bool>,
    done: watch::Receiver<bool>,
}

/// The two kinds of records, as the label of the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Traces,
    Logs,
}

// === impl Signal ===

impl Signal {
    fn word(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
        }
    }
}

// === impl Telemetry ===

impl Telemetry {
    /// Nothing is told to anybody.
    ///
    /// # Errors
    /// When the counter cannot be made, which is a mistake in this file.
    pub fn off() -> Result<Self, NoTelemetry> {
        let dropped = IntCounterVec::new(
            Opts::new(
                "agentaccess_otel_dropped_total",
                "Spans and log lines that did not reach the OTLP endpoint: the queue was full, or it did not take them.",
            ),
            &["signal"],
        )?;
        // Both are there from the start: the first drop counts as an increase.
        for signal in [Signal::Traces, Signal::Logs] {
            dropped.with_label_values(&[signal.word()]).reset();
        }
        Ok(Self { on: None, dropped })
    }

    /// Begins to export, from a thread of its own. The crypto provider has to be installed.
    ///
    /// # Errors
    /// When the CA is none, or the system is out of something. That the destination is away is none.
    pub fn open(destination: Option<&Destination>, resource: Resource) -> Result<Self, NoTelemetry> {
        let off = Self::off()?;
        let Some(destination) = destination else { return Ok(off) };
        let endpoint = destination.endpoint().map_err(|error| NoTelemetry::Tls(export::chain(&error)))?;
        let ids = Ids::new().ok_or(NoTelemetry::Random)?;
        let (spans, waiting_spans) = mpsc::channel(WAITING);
        let (logs, waiting_logs) = mpsc::channel(WAITING);
        let (closing, is_closing) = watch::channel(false);
        let (ended, done) = watch::channel(false);
        let work = export::Work {
            endpoint,
            resource: resource.attributes(),
            spans: waiting_spans,
            logs: waiting_logs,
            closing: is_closing,
            dropped: off.dropped.clone(),
        };
        let run = move || {
            work.run();
            // Nobody waits for it: then nobody needs to know.
            let _ = ended.send(true);
        };
        std::thread::Builder::new().name("otel".to_owned()).spawn(run).map_err(NoTelemetry::Thread)?;
        Ok(Self { on: Some(Arc::new(On { ids, spans, logs, closing, done })), dropped: off.dropped })
    }

    /// To be registered where the program's metrics are; it is there while telemetry is off, too.
    pub fn dropped(&self) -> Box<IntCounterVec> {
        Box::new(self.dropped.clone())
    }

    /// Identifiers for a trace and its first span, or nothing while it is off: then nobody needs to make a span.
    pub fn begin(&self) -> Option<(TraceId, SpanId)> {
        self.on.as_ref().map(|on| (on.ids.trace(), on.ids.span()))
    }

    /// An identifier for a further span.
    pub fn child(&self) -> SpanId {
        self.on.as_ref().map_or(SpanId::default(), |on| on.ids.span())
    }

    /// Hands over a finished span. Never waits.
    pub fn span(&self, span: Span) {
        if let Some(on) = &self.on
            && on.spans.try_send(span).is_err()
        {
            self.lost(Signal::Traces);
        }
    }

    fn log(&self, log: Log) {
        if let Some(on) = &self.on
            && on.logs.try_send(log).is_err()
        {
            self.lost(Signal::Logs);
        }
    }

    fn lost(&self, signal: Signal) {
        self.dropped.with_label_values(&[signal.word()]).inc();
    }

    /// Sends what still waits, as long as `within` allows; what comes later is dropped.
    pub async fn close(&self, within: Duration) {
        let Some(on) = &self.on else { return };
        on.closing.send_replace(true);
        let mut done = on.done.clone();
        // Too late, or its thread has ended: in both cases there is nothing left to do.
        let _ = tokio::time::timeout(within, done.wait_for(|done| *done)).await;
    }
}
