//! `agentaccess-sidecar run`: from a configuration to a serving process and back to a clean end.
//!
//! Everything that can be wrong at the start is found before the first port is bound.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policy::TargetKey;
use recording::entry::{Approval, What};
use recording::writer::Checkpointed;
use recording::{FsStorage, SigningKey, Writer, WriterConfig};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::approvals::{LocalApprovals, SocketError};
use super::folder::Unusable;
use super::pod::{self, PodError, Served};
use super::policies::PolicyFolder;
use super::preflight::unknown_names;
use super::state::{StateDir, StateError, write_whole};
use crate::admin;
use crate::config::{Auth, Bind, Config, Listener};
use crate::core::{Core, NoRandomness};
use crate::drain::{Drain, Drained};
use crate::gate::Gate;
use crate::ledger::{Ledger, NotRecorded};
use crate::listen::{self, Door, Doorman, ListenError, Lobby};
use crate::log;
use crate::metrics::{FailClosed, Metrics};
use crate::outside::{Answer, ClientAuth, Connections, Credentials, Policies, Reach, Target};
use crate::protocol;
use crate::recorder::Recorder;
use crate::secret::Secrets;
use crate::tls::{self, CaError, Downstream, LocalCa};

/// Files of the checkpoint key in `keys/`. The public half may be read by all.
pub const CHECKPOINT_KEY: &str = "checkpoint.key";
pub const CHECKPOINT_PUBLIC: &str = "checkpoint.pub";
/// How often the metrics of the process's own state are refreshed.
const REFRESH: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Policies(#[from] Unusable),
    #[error("the CA of this sidecar: {0}")]
    Ca(#[from] CaError),
    #[error(transparent)]
    Key(#[from] recording::keys::KeyError),
    #[error("{0}")]
    Recording(#[from] recording::OpenError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("approve.sock: {0}")]
    Approvals(#[from] SocketError),
    #[error("cannot {action} `{path}`: {source}")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("the targets are not as the policies need them:\n  {0}")]
    Targets(String),
    #[error("pod: {0}")]
    Pod(#[from] PodError),
    #[error(transparent)]
    Random(#[from] NoRandomness),
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl Ledger for Recorder {
    fn approval(&self, approval: Approval) -> Answer<'_, Result<(), NotRecorded>> {
        Box::pin(async move { Self::approval(self, approval).await.map_err(|e| NotRecorded(e.to_string())) })
    }

    fn marker(&self, what: What, detail: String) {
        Self::marker(self, None, what, detail);
    }
}

/// Serves until SIGTERM or SIGINT, then drains. Within the runtime.
///
/// # Errors
/// What is wrong at the start; then nothing was served.
pub async fn run(config: Config) -> Result<(), RunError> {
    let begun = start(config).await?;
    begun.serve().await;
    Ok(())
}

/// A sidecar that listens and has not begun to serve.
struct Started {
    config: Config,
    core: Arc<Core>,
    doors: Vec<Door>,
    pod: Option<Served>,
    lobby: Lobby,
    connections: Connections,
    writer: Writer,
    _state: StateDir,
}

async fn start(config: Config) -> Result<Started, RunError> {
    tls::install_provider();
    let state = StateDir::open(&config.state_dir)?;
    let listeners: Arc<[Listener]> = config.listeners.clone().into();
    let folder = PolicyFolder::open(config.policies.clone(), Arc::clone(&listeners))?;
    let mut names: Vec<String> = config.listeners.iter().flat_map(|l| l.tls_names.clone()).collect();
    names.extend(config.pod.iter().flat_map(|of| pod::hosts(of, &folder.secrets())));
    let tls = Downstream::new(&LocalCa::open(&state.keys())?, &names)?;
    let key = SigningKey::load_or_create(&state.keys().join(CHECKPOINT_KEY))?;
    let public = key.public().to_string();
    let public_file = state.keys().join(CHECKPOINT_PUBLIC);
    write_whole(&public_file, 0o644, format!("{public}\n").as_bytes()).map_err(io("write", &public_file))?;
    config.listeners.iter().try_for_each(listen::check)?;
    listen::unix::check(&state.approve_socket())?;
    if let Some(address) = config.metrics {
        check_metrics(address)?;
    }

    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"))?);
    let writer = open_recording(&config, &state, key)?;
    let recorder = Recorder::new(writer.clone(), config.limits.recording_append, Arc::clone(&metrics));
    let ledger: Arc<dyn Ledger> = recorder.clone();
    let approvals = LocalApprovals::new(
        &state,
        config.approvers.clone(),
        config.danger_shared_user,
        config.limits.pending_approvals,
        Arc::clone(&ledger),
        Arc::clone(&metrics),
    )
    .map_err(io("read", &state.requests()))?;
    let (policies, secrets) = (folder.policies(), folder.secrets());
    let gate = Gate::new(Arc::clone(&recorder), Arc::new(approvals.clone()), policies.clone(), Arc::clone(&metrics));
    let drain = Drain::new();
    let ca_file = tls.ca_file.clone();
    let core = Core::new(
        gate,
        Arc::clone(&secrets) as Arc<dyn Credentials>,
        config.limits.clone(),
        Arc::clone(&metrics),
        drain.clone(),
        tls,
        Some(state.catalog()),
    )?;

    let wrong = first_look(&core, &secrets, &config.listeners).await;
    if !wrong.is_empty() {
        return Err(RunError::Targets(wrong.join("\n  ")));
    }

    let doors = config.listeners.iter().cloned().map(Door::open).collect::<Result<Vec<_>, _>>()?;
    let served = |of: &crate::config::Pod| pod::open(of, &state.addresses(), &secrets, &policies);
    let pod = config.pod.as_ref().map(served).transpose()?;
    approvals.listen(&state.approve_socket(), config.approver_group)?;
    share_requests(&state, config.approver_group)?;
    let ready = readiness(Arc::clone(&recorder), policies.clone());
    let metrics_at = serve_metrics(config.metrics, &metrics, &ready)?;
    folder.follow(Arc::clone(&metrics), ledger);
    refresh(Arc::clone(&metrics), recorder, policies);

    let listening: Vec<String> = doors.iter().map(|d| format!("{} for {}", d.bound(), d.listener().target)).collect();
    tracing::info!(
        event = "ready",
        version = env!("CARGO_PKG_VERSION"),
        listeners = listening.join(", "),
        ports = doors.iter().filter_map(port).map(|p| p.to_string()).collect::<Vec<_>>().join(","),
        pod = pod.is_some(),
        metrics = metrics_at.map(|a| a.to_string()),
        ca = %ca_file.display(),
        checkpoint_key = public,
        state_dir = %state.root().display(),
    );
    for listener in config.listeners.iter().filter(|l| l.auth == Auth::DangerTrustAnyPeer) {
        tracing::warn!(event = "danger", listener = listener.field, "any local process is trusted as the agent");
    }
    if config.danger_shared_user {
        tracing::warn!(event = "danger", "approvers, agents and the sidecar may share a user (dangerSharedUser)");
    }
    let doorman = Arc::new(Doorkeeper { secrets });
    let (lobby, connections) = Lobby::new(doorman, config.limits.connections, drain, metrics);
    Ok(Started { config, core, doors, pod, lobby, connections, writer, _state: state })
}

impl Started {
    async fn serve(self) {
        let Self { config, core, doors, pod, lobby, mut connections, writer, _state } = self;
        for door in doors {
            tokio::spawn(door.serve(lobby.clone()));
        }
        if let Some(pod) = pod {
            pod.serve(&lobby, &core.metrics);
        }
        drop(lobby);
        let mut sessions = JoinSet::new();
        let mut signals = Signals::new();
        loop {
            // All arms are cancel-safe: `recv` and `join_next` lose nothing, signals are kept by the runtime.
            tokio::select! {
                connection = connections.recv() => match connection {
                    Some(connection) => { sessions.spawn(protocol::serve(connection, Arc::clone(&core))); }
                    None => break,
                },
                Some(ended) = sessions.join_next() => note_end(&ended, &core.metrics),
                () = signals.next() => {
                    tracing::info!(event = "drain", sessions = core.drain.sessions());
                    core.drain.start();
                }
            }
        }
        let draining = Instant::now();
        // Sessions run on by themselves; here is only waited for them.
        let drained = core.drain.finish(config.limits.drain_grace).await;
        if let Drained::Cut(cut) = drained {
            tracing::warn!(event = "drain_cut", sessions = cut, "the grace is over");
        }
        sessions.abort_all();
        while let Some(ended) = sessions.join_next().await {
            note_end(&ended, &core.metrics);
        }
        let left = config.limits.drain_total.saturating_sub(draining.elapsed()).max(REFRESH);
        let closed = tokio::time::timeout(left, tokio::task::spawn_blocking(move || writer.close())).await;
        match closed {
            Ok(Ok(Ok(head))) => tracing::info!(target: log::HEADS, event = "stopped", %head),
            Ok(Ok(Err(error))) => tracing::error!(event = "stopped", %error, "the recording was not closed in order"),
            Ok(Err(_)) | Err(_) => tracing::error!(event = "stopped", "the recording was not closed in time"),
        }
    }
}

/// A session that panicked has closed its connections; nothing else is touched.
fn note_end(ended: &Result<(), tokio::task::JoinError>, metrics: &Metrics) {
    if ended.as_ref().is_err_and(tokio::task::JoinError::is_panic) {
        metrics.panicked();
        tracing::error!(event = "session_panicked");
    }
}

fn open_recording(config: &Config, state: &StateDir, key: SigningKey) -> Result<Writer, RunError> {
    let limits = &config.limits;
    let bytes = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let folder = state.recordings();
    let storage = FsStorage::create(&folder).map_err(io("open", &folder))?;
    let writer_config = WriterConfig {
        max_bytes: config.recording_max_bytes,
        free_floor: bytes(limits.free_space_floor),
        segment_bytes: bytes(limits.recording_segment),
        segment_age: limits.recording_segment_age,
        // With one thread a disk that stalls in an inline write would stall everybody.
        inline: config.threads > 1,
        ..WriterConfig::default()
    };
    let tell = |c: &Checkpointed| tracing::info!(target: log::HEADS, event = "checkpoint", head = %c.head);
    let (writer, recovery) = Writer::open(writer_config, crate::failpoint::storage(storage), key, Box::new(tell))?;
    if recovery.entries > 0 {
        let (entries, cut, interrupted) = (recovery.entries, recovery.cut_bytes, recovery.interrupted);
        tracing::info!(event = "recording_continued", entries, cut_bytes = cut, interrupted);
    }
    Ok(writer)
}

/// Approvers of the group read the whole requests here; the set-group-id bit hands the group on to each file.
fn share_requests(state: &StateDir, group: Option<u32>) -> Result<(), RunError> {
    let (folder, Some(_)) = (state.requests(), group) else { return Ok(()) };
    std::os::unix::fs::chown(&folder, None, group)
        .and_then(|()| std::fs::set_permissions(&folder, Permissions::from_mode(0o2750)))
        .map_err(io("change the group of", &folder))
}

fn serve_metrics(
    address: Option<SocketAddr>,
    metrics: &Arc<Metrics>,
    ready: &admin::Ready,
) -> Result<Option<SocketAddr>, RunError> {
    let Some(address) = address else { return Ok(None) };
    let socket: TcpListener =
        listen::tcp(address).map_err(|e| listen::tcp_error("metrics.listen".to_owned(), address, e))?;
    let bound = socket.local_addr().unwrap_or(address);
    tokio::spawn(admin::serve(socket, Arc::clone(metrics), Arc::clone(ready)));
    Ok(Some(bound))
}

pub(super) fn check_metrics(address: SocketAddr) -> Result<(), ListenError> {
    let bound = std::net::TcpListener::bind(address);
    bound.map(drop).map_err(|e| listen::tcp_error("metrics.listen".to_owned(), address, e))
}

fn readiness(recorder: Arc<Recorder>, policies: Policies) -> admin::Ready {
    Arc::new(move || {
        recorder.ready().map_err(|e| e.to_string())?;
        match policies.borrow().too_old() {
            true => Err("the policies in force are too old: see the log for what is wrong with the folder".to_owned()),
            false => Ok(()),
        }
    })
}

fn refresh(metrics: Arc<Metrics>, recorder: Arc<Recorder>, policies: Policies) {
    tokio::spawn(async move {
        loop {
            metrics.fail_closed(FailClosed::Recording, recorder.ready().is_err());
            metrics.fail_closed(FailClosed::PolicyAge, policies.borrow().too_old());
            tokio::time::sleep(REFRESH).await;
        }
    });
}

/// Answers doors from what the folder of policies holds now.
struct Doorkeeper {
    secrets: Arc<Secrets>,
}

impl Doorman for Doorkeeper {
    fn target(&self, listener: &Listener) -> Result<Arc<Target>, String> {
        let held = self.secrets.held();
        target(&listener.target, held.set.targets().get(&listener.target)).map(Arc::new)
    }

    fn client_auth(&self, listener: &Listener) -> Result<ClientAuth, String> {
        Ok(match &listener.auth {
            Auth::Scram { username, password } => {
                let held = self.secrets.held();
                let password = held.secrets.text(&listener.subject.namespace, password).map_err(|e| e.to_string())?;
                ClientAuth::Scram { username: username.clone(), password }
            }
            Auth::PeerUid(_) => ClientAuth::Proven,
            Auth::DangerTrustAnyPeer => ClientAuth::DangerTrustAnyPeer,
        })
    }
}

/// Logs in to each database of each target that is listened for, reads its catalog and looks for what policies name.
/// While the sidecar runs, an unreachable target refuses its sessions and is tried again; at the start it is a mistake.
async fn first_look(core: &Arc<Core>, secrets: &Secrets, listeners: &[Listener]) -> Vec<String> {
    let held = secrets.held();
    let mut wrong = Vec::new();
    for key in listeners.iter().map(|listener| &listener.target).collect::<BTreeSet<_>>() {
        let target = match target(key, held.set.targets().get(key)) {
            Ok(target) => Arc::new(target),
            Err(error) => {
                wrong.push(error);
                continue;
            }
        };
        let mut catalogs = Vec::new();
        for database in &target.postgres.databases {
            match core.catalogs.slot(&target, database).current(core).await {
                Ok(loaded) => catalogs.push(loaded),
                Err(error) => {
                    wrong.push(format!("target {key}: {}:{}/{database}: {error}", target.host, target.port));
                }
            }
        }
        if catalogs.len() == target.postgres.databases.len() {
            let all: Vec<&pgsql::Catalog> = catalogs.iter().map(|loaded| &loaded.catalog).collect();
            wrong.extend(unknown_names(&held.set, listeners, key, &all));
        }
    }
    wrong
}

/// An AccessTarget as sessions need it.
pub(super) fn target(key: &TargetKey, spec: Option<&crds::target::AccessTargetSpec>) -> Result<Target, String> {
    let spec = spec.ok_or_else(|| format!("there is no AccessTarget `{key}` any more"))?;
    Ok(Target {
        key: key.clone(),
        host: spec.host.clone(),
        port: u16::try_from(spec.port).map_err(|_| format!("the port of AccessTarget `{key}` is not a port"))?,
        reach: Reach::Anywhere,
        tls: spec.tls.mode,
        postgres: spec.postgres.clone().ok_or_else(|| format!("AccessTarget `{key}` is not a Postgres target"))?,
    })
}

/// SIGTERM and SIGINT. Where one cannot be had, the process ends by it at once, as without us.
struct Signals(Vec<tokio::signal::unix::Signal>);

impl Signals {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self([SignalKind::terminate(), SignalKind::interrupt()].into_iter().filter_map(|k| signal(k).ok()).collect())
    }

    async fn next(&mut self) {
        std::future::poll_fn(|cx| match self.0.iter_mut().any(|s| s.poll_recv(cx).is_ready()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        })
        .await;
    }
}

fn port(door: &Door) -> Option<u16> {
    match door.bound() {
        Bind::Tcp(address) => Some(address.port()),
        Bind::Unix(_) => None,
    }
}

fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> RunError {
    let path = path.to_owned();
    move |source| RunError::Io { action, path, source }
}
