//! What standalone mode and a pod have in common: from an open recording to sessions that are served, and back to a
//! clean end. Neither knows the other; what differs is where policies and approvals come from and which doors there are.
//!
//! Invariant: nothing is accepted before the recording is open, and the process ends in time, whatever sessions do.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use otel::Telemetry;
use parking_lot::Mutex;
use recording::entry::{Approval, What};
use recording::writer::Checkpointed;
use recording::{FsStorage, SigningKey, Writer, WriterConfig};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::control::shipping::{Outbox, Shipping};
use crate::core::{Core, NoRandomness};
use crate::drain::{Drain, Drained};
use crate::gate::Gate;
use crate::ledger::{Ledger, NotRecorded};
use crate::limits::Limits;
use crate::listen::{self, Door, Doorman, ListenError, Lobby};
use crate::log;
use crate::metrics::{FailClosed, Metrics};
use crate::outside::{Answer, Approvals, Credentials, Policies};
use crate::pod::{PodError, Served};
use crate::protocol;
use crate::recorder::Recorder;
use crate::replicas::Replicas;
use crate::secret::Secrets;
use crate::state::{StateDir, StateError, write_whole};
use crate::tls::{CaError, Downstream};

/// Files of the checkpoint key in `keys/`. The public half may be read by all.
pub(crate) const CHECKPOINT_KEY: &str = "checkpoint.key";
const CHECKPOINT_PUBLIC: &str = "checkpoint.pub";
/// How often the metrics of the process's own state are refreshed.
const REFRESH: Duration = Duration::from_secs(1);
/// How long the last spans and log lines may take to be sent.
const LAST_TELEMETRY: Duration = Duration::from_secs(2);

/// Why there is nothing to serve with.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("the CA of this sidecar: {0}")]
    Ca(#[from] CaError),
    #[error(transparent)]
    Key(#[from] recording::keys::KeyError),
    #[error("{0}")]
    Recording(#[from] recording::OpenError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot {action} `{path}`: {source}")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("pod: {0}")]
    Pod(#[from] PodError),
    #[error(transparent)]
    Random(#[from] NoRandomness),
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl StartError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl Ledger for Recorder {
    fn approval(&self, approval: Approval) -> Answer<'_, Result<(), NotRecorded>> {
        Box::pin(async move { Self::approval(self, approval).await.map_err(|e| NotRecorded(e.to_string())) })
    }

    fn marker(&self, what: What, detail: String) {
        Self::marker(self, None, what, detail);
    }
}

// === ground ===

/// What stands before there is any policy: the recording, its key, metrics.
pub(crate) struct Ground {
    pub(crate) state: StateDir,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) recorder: Arc<Recorder>,
    /// The public half.
    pub(crate) checkpoint_key: String,
    /// What goes out of the pod.
    pub(crate) outbox: Outbox,
    drain: Drain,
    writer: Writer,
    telemetry: Telemetry,
}

impl Ground {
    /// Opens the recording, which makes what is missing and goes on with what is there.
    pub(crate) fn open(
        state: StateDir,
        limits: Limits,
        recording_max_bytes: u64,
        threads: usize,
        replicas: Replicas,
        telemetry: Telemetry,
    ) -> Result<Self, StartError> {
        let key = SigningKey::load_or_create(&state.keys().join(CHECKPOINT_KEY))?;
        let checkpoint_key = key.public().to_string();
        let public = state.keys().join(CHECKPOINT_PUBLIC);
        let line = format!("{checkpoint_key}\n");
        // From the second start on it is there, and to write it is to wait for the disk.
        if fs::read_to_string(&public).ok().as_ref() != Some(&line) {
            write_whole(&public, 0o644, line.as_bytes()).map_err(StartError::io("write", &public))?;
        }
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"))?);
        metrics.also(telemetry.dropped())?;
        let config = writer_config(&limits, recording_max_bytes, threads);
        let folder = state.recordings();
        let storage = FsStorage::create(&folder).map_err(StartError::io("open", &folder))?;
        let (heads, told) = watch::channel(0);
        let tell = move |c: &Checkpointed| {
            tracing::info!(target: log::HEADS, event = "checkpoint", head = %c.head);
            heads.send_replace(c.head.size);
        };
        let storage = crate::failpoint::storage(storage);
        let (writer, recovery) = Writer::open(config, Arc::clone(&storage), key, Box::new(tell))?;
        if recovery.entries > 0 {
            let (entries, cut, interrupted) = (recovery.entries, recovery.cut_bytes, recovery.interrupted);
            tracing::info!(event = "recording_continued", entries, cut_bytes = cut, interrupted);
        }
        let (wait, counts) = (limits.recording_append, Arc::clone(&metrics));
        let recorder = Recorder::replicating(writer.clone(), replicas, wait, counts);
        let outbox = Outbox { writer: writer.clone(), storage, key: checkpoint_key.clone(), told };
        let drain = Drain::new();
        Ok(Self { state, limits, metrics, recorder, checkpoint_key, outbox, drain, writer, telemetry })
    }

    pub(crate) fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.recorder) as Arc<dyn Ledger>
    }

    /// The gate over these policies and approvals, and what sessions share.
    pub(crate) fn core(
        &self,
        policies: Policies,
        secrets: &Arc<Secrets>,
        approvals: Arc<dyn Approvals>,
        tls: Arc<Downstream>,
    ) -> Result<Arc<Core>, NoRandomness> {
        let telemetry = Some(self.telemetry.clone());
        let gate = Gate::telling(Arc::clone(&self.recorder), approvals, policies, Arc::clone(&self.metrics), telemetry);
        Core::new(
            gate,
            Arc::clone(secrets) as Arc<dyn Credentials>,
            self.limits.clone(),
            Arc::clone(&self.metrics),
            self.drain.clone(),
            tls,
            Some(self.state.catalog()),
        )
    }

    /// Whether the recording can be written and the policies are young enough; `too_old` says what is wrong if not.
    pub(crate) fn ready(&self, policies: Policies, too_old: &'static str) -> admin::Ready {
        let recorder = Arc::clone(&self.recorder);
        Arc::new(move || {
            recorder.ready().map_err(|e| e.to_string())?;
            let snapshot = policies.borrow();
            match snapshot.too_old() {
                true => Err(format!("{too_old} (last confirmed {} s ago)", snapshot.confirmed.elapsed().as_secs())),
                false => Ok(()),
            }
        })
    }

    /// Keeps the metrics of our own state fresh, until the runtime ends.
    pub(crate) fn refresh(&self, policies: Policies) {
        let (metrics, recorder) = (Arc::clone(&self.metrics), Arc::clone(&self.recorder));
        tokio::spawn(async move {
            loop {
                metrics.fail_closed(FailClosed::Recording, recorder.ready().is_err());
                metrics.fail_closed(FailClosed::PolicyAge, policies.borrow().too_old());
                tokio::time::sleep(REFRESH).await;
            }
        });
    }

    /// Serves `/metrics`, `/healthz` and `/readyz`; where.
    pub(crate) fn serve_admin(
        &self,
        field: &str,
        address: SocketAddr,
        ready: &admin::Ready,
    ) -> Result<SocketAddr, ListenError> {
        let socket = listen::tcp(address).map_err(|e| listen::tcp_error(field.to_owned(), address, e))?;
        let bound = socket.local_addr().unwrap_or(address);
        let metrics = Arc::clone(&self.metrics);
        let metrics = Arc::new(move || metrics.render().map_err(|error| error.to_string()));
        tokio::spawn(admin::serve(socket, metrics, Arc::clone(ready)));
        Ok(bound)
    }
}

fn writer_config(limits: &Limits, max_bytes: u64, threads: usize) -> WriterConfig {
    let bytes = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    WriterConfig {
        max_bytes,
        free_floor: bytes(limits.free_space_floor),
        segment_bytes: bytes(limits.recording_segment),
        segment_age: limits.recording_segment_age,
        // With one thread a disk that stalls in an inline write would stall everybody.
        inline: threads > 1,
        ..WriterConfig::default()
    }
}

// === serving ===

/// A sidecar that listens and has not begun to serve.
pub(crate) struct Serving {
    pub(crate) ground: Ground,
    pub(crate) core: Arc<Core>,
    /// Of the configuration, with who answers at them.
    pub(crate) doors: Vec<Door>,
    pub(crate) doorman: Arc<dyn Doorman>,
    /// Behind the fence.
    pub(crate) pod: Option<Served>,
    /// What takes the recording out of the pod.
    pub(crate) shipping: Option<Shipping>,
}

impl Serving {
    /// Serves until a signal, then drains.
    pub(crate) async fn until_ended(self, mut signals: Signals) {
        let Self { ground, core, doors, doorman, pod, shipping } = self;
        let Ground { limits, metrics, drain, writer, telemetry, state: _held, .. } = ground;
        let (lobby, mut connections) = Lobby::new(doorman, limits.connections, drain, Arc::clone(&metrics));
        for door in doors {
            tokio::spawn(door.serve(lobby.clone()));
        }
        if let Some(pod) = pod {
            pod.serve(&lobby, &metrics);
        }
        drop(lobby);
        let mut sessions = JoinSet::new();
        loop {
            // All arms are cancel-safe: `recv` and `join_next` lose nothing, signals are kept by the runtime.
            tokio::select! {
                connection = connections.recv() => match connection {
                    Some(connection) => { sessions.spawn(protocol::serve(connection, Arc::clone(&core))); }
                    None => break,
                },
                Some(ended) = sessions.join_next() => note_end(&ended, &metrics),
                () = signals.next() => {
                    tracing::info!(event = "drain", sessions = core.drain.sessions());
                    core.drain.start();
                }
            }
        }
        let draining = Instant::now();
        // Sessions run on by themselves; here is only waited for them.
        let drained = core.drain.finish(limits.drain_grace).await;
        if let Drained::Cut(cut) = drained {
            tracing::warn!(event = "drain_cut", sessions = cut, "the grace is over");
        }
        sessions.abort_all();
        while let Some(ended) = sessions.join_next().await {
            note_end(&ended, &metrics);
        }
        let left = || limits.drain_total.saturating_sub(draining.elapsed());
        let closed = close(writer, left().max(REFRESH)).await;
        if let Some(shipping) = shipping {
            shipping.finish(closed, left().max(REFRESH)).await;
        }
        // Last, and only in the time that is left: no record depends on it.
        telemetry.close(left().min(LAST_TELEMETRY)).await;
    }
}

/// Whether it was closed in order.
async fn close(writer: Writer, within: Duration) -> bool {
    let closed = tokio::time::timeout(within, tokio::task::spawn_blocking(move || writer.close())).await;
    match closed {
        Ok(Ok(Ok(head))) => {
            tracing::info!(target: log::HEADS, event = "stopped", %head);
            return true;
        }
        Ok(Ok(Err(error))) => tracing::error!(event = "stopped", %error, "the recording was not closed in order"),
        Ok(Err(_)) | Err(_) => tracing::error!(event = "stopped", "the recording was not closed in time"),
    }
    false
}

/// A session that panicked has closed its connections; nothing else is touched.
fn note_end(ended: &Result<(), tokio::task::JoinError>, metrics: &Metrics) {
    if ended.as_ref().is_err_and(tokio::task::JoinError::is_panic) {
        metrics.panicked();
        tracing::error!(event = "session_panicked");
    }
}

/// SIGTERM and SIGINT. Where one cannot be had, the process ends by it at once, as without us.
pub(crate) struct Signals(Vec<tokio::signal::unix::Signal>);

impl Signals {
    pub(crate) fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self([SignalKind::terminate(), SignalKind::interrupt()].into_iter().filter_map(|k| signal(k).ok()).collect())
    }

    /// Cancel-safe.
    pub(crate) async fn next(&mut self) {
        std::future::poll_fn(|cx| match self.0.iter_mut().any(|s| s.poll_recv(cx).is_ready()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        })
        .await;
    }
}

// === readiness ===

/// What `/readyz` says while a start takes its time, and afterwards.
pub(crate) struct Readiness(Mutex<Standing>);

enum Standing {
    Waiting(String),
    Begun(admin::Ready),
}

impl Readiness {
    pub(crate) fn waiting(what: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Standing::Waiting(what.to_owned()))))
    }

    /// What is waited for now. Of no effect once it has begun.
    pub(crate) fn waits(&self, what: String) {
        if let standing @ Standing::Waiting(_) = &mut *self.0.lock() {
            *standing = Standing::Waiting(what);
        }
    }

    pub(crate) fn begun(&self, ready: admin::Ready) {
        *self.0.lock() = Standing::Begun(ready);
    }

    pub(crate) fn asked(self: &Arc<Self>) -> admin::Ready {
        let readiness = Arc::clone(self);
        Arc::new(move || {
            let begun = match &*readiness.0.lock() {
                Standing::Waiting(what) => return Err(what.clone()),
                Standing::Begun(ready) => Arc::clone(ready),
            };
            begun()
        })
    }
}
