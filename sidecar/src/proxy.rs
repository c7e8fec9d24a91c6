//! `agentaccess-sidecar proxy`: in an injected pod, behind its fence, fed by the operator.
//!
//! Everything that another container of the pod waits for is written before the first call is taken and `/readyz` says yes,
//! which is when a snapshot of the operator is in force: `verify` waits for it, and every container after that for
//! `verify`. Until then `/readyz` says what is waited for and since when. A target that is away stops nothing: its
//! sessions are refused, one by one.

mod agent_files;
mod settings;

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crds::pod::{CA_FOLDER, HEALTH_PORT};
use otel::Telemetry;

pub use self::agent_files::AgentFilesError;
pub use self::settings::{Folders, Settings, SettingsError};
use crate::config::Listener;
use crate::control::approvals::ClusterApprovals;
use crate::control::feed::Feed;
use crate::control::identity::{self, Claim, NoKey};
use crate::control::shipping::{Pace, Replicating, Shipping};
use crate::listen::Doorman;
use crate::outside::{ClientAuth, Target};
use crate::pod;
use crate::replicas::Replicas;
use crate::serving::{Ground, Readiness, Serving, Signals, StartError};
use crate::state::StateDir;
use crate::tls::{self, Downstream, LocalCa};

#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    AgentFiles(#[from] AgentFilesError),
    #[error(transparent)]
    Key(#[from] NoKey),
}

/// Serves until SIGTERM or SIGINT, then drains. Within the runtime.
///
/// # Errors
/// What is wrong in the pod itself; an operator or a target that is away is waited for.
pub async fn run(settings: Settings, telemetry: Telemetry) -> Result<(), ProxyError> {
    // From the first moment: process 1 of a container does not end by a signal that it does not ask for.
    let mut signals = Signals::new();
    let started = tokio::select! {
        started = start(settings, telemetry) => started?,
        () = signals.next() => {
            tracing::info!(event = "stopped", "before it was ready");
            return Ok(());
        }
    };
    started.until_ended(signals).await;
    Ok(())
}

async fn start(settings: Settings, telemetry: Telemetry) -> Result<Serving, ProxyError> {
    tls::install_provider();
    let Settings { nonce, operator, roots, pod, folders, limits, recording_bytes } = settings;
    let state = StateDir::open(&folders.state()).map_err(StartError::from)?;
    let ca = LocalCa::open_in_pod(&folders.at(CA_FOLDER)).map_err(StartError::from)?;
    agent_files::write(&folders, &ca, pod.namespace())?;
    let tls = Arc::new(Downstream::new(ca, &[]).map_err(StartError::from)?);
    let (replicas, behind) = Replicas::new();
    let ground = Ground::open(state, limits, recording_bytes, 1, replicas, telemetry)?;

    let readiness = Readiness::waiting("it starts");
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, HEALTH_PORT));
    let health = ground.serve_admin("pod", everywhere, &readiness.asked()).map_err(StartError::from)?;
    let tell = {
        let readiness = Arc::clone(&readiness);
        Arc::new(move |what| readiness.waits(what))
    };

    let claim = Claim {
        operator: operator.clone(),
        roots,
        saved: folders.saved_roots(),
        token: folders.token(),
        pod: pod.clone(),
    };
    let line = identity::enrol(claim, tell.clone()).await?;
    let metrics = Arc::clone(&ground.metrics);
    Replicating::start(line.clone(), &ground.outbox, behind, Arc::clone(&metrics));
    let shipping = Shipping::start(line.clone(), ground.outbox.clone(), Pace::default(), metrics);
    readiness.waits("the first policy from the operator is waited for".to_owned());
    let feed = Feed::first(line.clone(), pod, tell, Arc::clone(&ground.metrics), ground.ledger()).await;
    let (policies, secrets, subject) = (feed.policies(), feed.secrets(), feed.subject());

    let approvals = Arc::new(ClusterApprovals::new(line, ground.ledger()));
    let core = ground.core(policies.clone(), &secrets, approvals, Arc::clone(&tls)).map_err(StartError::from)?;
    let behind = pod::open(subject.into(), &nonce, &ground.state.addresses(), &secrets, &policies);
    let behind = behind.map_err(StartError::from)?;
    feed.follow(core.gate.used());
    ground.refresh(policies.clone());
    readiness.begun(ground.ready(policies, "the policies in force are too old: the operator is away"));
    tracing::info!(
        event = "ready",
        version = env!("CARGO_PKG_VERSION"),
        operator = %operator,
        metrics = %health,
        ca = %tls.ca_file().display(),
        checkpoint_key = ground.checkpoint_key,
        state_dir = %ground.state.root().display(),
    );
    let (doorman, shipping) = (Arc::new(NoDoors), Some(shipping));
    Ok(Serving { ground, core, doors: Vec::new(), doorman, pod: Some(behind), shipping })
}

/// There is no door but the one behind the fence, whose connections the kernel explains.
struct NoDoors;

impl Doorman for NoDoors {
    fn target(&self, _: &Listener) -> Result<Arc<Target>, String> {
        Err("a pod has no listeners".to_owned())
    }

    fn client_auth(&self, _: &Listener) -> Result<ClientAuth, String> {
        Err("a pod has no listeners".to_owned())
    }
}
