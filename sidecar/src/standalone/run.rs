//! `agentaccess-sidecar run`: from a configuration to a serving process and back to a clean end.
//!
//! Everything that can be wrong at the start is found before the first port is bound.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use otel::Telemetry;

use super::approvals::{LocalApprovals, SocketError};
use super::folder::Unusable;
use super::policies::PolicyFolder;
use super::preflight::unknown_names;
use crate::config::{Auth, Bind, Config, Listener};
use crate::core::Core;
use crate::listen::{self, Door, Doorman, ListenError};
use crate::outside::{ClientAuth, Target};
use crate::pod;
use crate::replicas::Replicas;
use crate::secret::Secrets;
use crate::serving::{Ground, Serving, Signals, StartError};
use crate::state::StateDir;
use crate::tls::{self, Downstream, LocalCa};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Policies(#[from] Unusable),
    #[error("approve.sock: {0}")]
    Approvals(#[from] SocketError),
    #[error("the targets are not as the policies need them:\n  {0}")]
    Targets(String),
}

/// Serves until SIGTERM or SIGINT, then drains. Within the runtime.
///
/// # Errors
/// What is wrong at the start; then nothing was served.
pub async fn run(config: Config, telemetry: Telemetry) -> Result<(), RunError> {
    let begun = start(config, telemetry).await?;
    begun.until_ended(Signals::new()).await;
    Ok(())
}

async fn start(config: Config, telemetry: Telemetry) -> Result<Serving, RunError> {
    tls::install_provider();
    let state = StateDir::open(&config.state_dir).map_err(StartError::from)?;
    let listeners: Arc<[Listener]> = config.listeners.clone().into();
    let folder = PolicyFolder::open(config.policies.clone(), Arc::clone(&listeners))?;
    let names: Vec<String> = config.listeners.iter().flat_map(|l| l.tls_names.clone()).collect();
    let tls = LocalCa::open(&state.keys()).and_then(|ca| Downstream::new(ca, &names)).map_err(StartError::from)?;
    let tls = Arc::new(tls);
    free_ports(&config).map_err(StartError::from)?;
    listen::unix::check(&state.approve_socket()).map_err(RunError::Approvals)?;

    let (limits, most) = (config.limits.clone(), config.recording_max_bytes);
    let ground = Ground::open(state, limits, most, config.threads, Replicas::none(), telemetry)?;
    let (state, ledger) = (&ground.state, ground.ledger());
    let approvals = LocalApprovals::new(
        state,
        config.approvers.clone(),
        config.danger_shared_user,
        config.limits.pending_approvals,
        Arc::clone(&ledger),
        Arc::clone(&ground.metrics),
    )
    .map_err(StartError::io("read", &state.requests()))?;
    let (policies, secrets) = (folder.policies(), folder.secrets());
    let core = ground
        .core(policies.clone(), &secrets, Arc::new(approvals.clone()), Arc::clone(&tls))
        .map_err(StartError::from)?;

    let wrong = first_look(&core, &secrets, &config.listeners).await;
    if !wrong.is_empty() {
        return Err(RunError::Targets(wrong.join("\n  ")));
    }

    let doors = config.listeners.iter().cloned().map(Door::open).collect::<Result<Vec<_>, _>>();
    let doors = doors.map_err(StartError::from)?;
    let served = |of: &crate::config::Pod| {
        pod::open(Arc::clone(&of.subject).into(), &of.nonce, &state.addresses(), &secrets, &policies)
    };
    let pod = config.pod.as_ref().map(served).transpose().map_err(StartError::from)?;
    approvals.listen(&state.approve_socket(), config.approver_group)?;
    share_requests(state, config.approver_group)?;
    let ready = ground.ready(policies.clone(), "the policies in force are too old: see the log for why");
    let serve_metrics = |address: SocketAddr| ground.serve_admin(METRICS, address, &ready);
    let metrics_at = config.metrics.map(serve_metrics).transpose().map_err(StartError::from)?;
    folder.follow(Arc::clone(&ground.metrics), ledger);
    ground.refresh(policies);

    let listening: Vec<String> = doors.iter().map(|d| format!("{} for {}", d.bound(), d.listener().target)).collect();
    tracing::info!(
        event = "ready",
        version = env!("CARGO_PKG_VERSION"),
        listeners = listening.join(", "),
        ports = doors.iter().filter_map(port).map(|p| p.to_string()).collect::<Vec<_>>().join(","),
        pod = pod.is_some(),
        metrics = metrics_at.map(|a| a.to_string()),
        otel = config.otel.as_ref().map(|to| to.to_string()),
        ca = %tls.ca_file().display(),
        checkpoint_key = ground.checkpoint_key,
        state_dir = %state.root().display(),
    );
    for listener in config.listeners.iter().filter(|l| l.auth == Auth::DangerTrustAnyPeer) {
        tracing::warn!(event = "danger", listener = listener.field, "any local process is trusted as the agent");
    }
    if config.danger_shared_user {
        tracing::warn!(event = "danger", "approvers, agents and the sidecar may share a user (dangerSharedUser)");
    }
    Ok(Serving { ground, core, doors, doorman: Arc::new(Doorkeeper { secrets }), pod, shipping: None })
}

/// Before anything is made, so that a start that cannot succeed leaves nothing behind.
fn free_ports(config: &Config) -> Result<(), ListenError> {
    config.listeners.iter().try_for_each(listen::check)?;
    config.metrics.map_or(Ok(()), check_metrics)
}

/// Approvers of the group read the whole requests here; the set-group-id bit hands the group on to each file.
fn share_requests(state: &StateDir, group: Option<u32>) -> Result<(), StartError> {
    let (folder, Some(_)) = (state.requests(), group) else { return Ok(()) };
    std::os::unix::fs::chown(&folder, None, group)
        .and_then(|()| std::fs::set_permissions(&folder, Permissions::from_mode(0o2750)))
        .map_err(StartError::io("change the group of", &folder))
}

pub(super) fn check_metrics(address: SocketAddr) -> Result<(), ListenError> {
    let bound = std::net::TcpListener::bind(address);
    bound.map(drop).map_err(|e| listen::tcp_error(METRICS.to_owned(), address, e))
}

const METRICS: &str = "metrics.listen";

/// Answers doors from what the folder of policies holds now.
struct Doorkeeper {
    secrets: Arc<Secrets>,
}

impl Doorman for Doorkeeper {
    fn target(&self, listener: &Listener) -> Result<Arc<Target>, String> {
        let held = self.secrets.held();
        Target::of(&listener.target, held.set.targets().get(&listener.target)).map(Arc::new)
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
        let target = match Target::of(key, held.set.targets().get(key)) {
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

fn port(door: &Door) -> Option<u16> {
    match door.bound() {
        Bind::Tcp(address) => Some(address.port()),
        Bind::Unix(_) => None,
    }
}
