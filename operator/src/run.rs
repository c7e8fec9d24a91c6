//! The operator from its start to its end: every replica answers webhooks and sidecars, one of them leads.
//!
//! Losing the lease ends the process. Then, and on SIGTERM, `/readyz` fails first, so that no new request is sent here;
//! what was begun is finished.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use admin::Ready;
use anyhow::{Context as _, Result};
use kube::Client;
use otel::Telemetry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, watch};
use tokio::time::sleep;

use crate::approvals::Approvals;
use crate::certificate::bundle::Bundle;
use crate::certificate::keeper::Keeper;
use crate::certificate::profile::Profile;
use crate::certificate::replica::Replica;
use crate::certificate::store::Store;
use crate::certificate::{self, Current};
use crate::config::Config;
use crate::control;
use crate::control::enrol::Enrol;
use crate::control::service::Service;
use crate::control::tls::Tls;
use crate::index::Index;
use crate::leader::Election;
use crate::metrics::Metrics;
use crate::recordings::{self, Recordings};
use crate::status::Statuses;
use crate::ungoverned::Ungoverned;
use crate::webhook::serve::{self, Webhook};

/// Of one request to the API server.
const API: Duration = Duration::from_secs(10);
/// Without a byte on a watch: longer than the API server lets one live.
const WATCH: Duration = Duration::from_secs(90);
/// Between two looks at the CA: a part of what a hurried rotation waits for.
const LOOK: Duration = Duration::from_secs(5);
/// The same while there is no leaf yet.
const LOOK_FIRST: Duration = Duration::from_secs(1);
/// Between two looks for claims of pods that are gone.
const SWEEP: Duration = Duration::from_secs(60);
/// From `/readyz` failing to the last request that is sent here.
const UNLISTED: Duration = Duration::from_secs(5);
/// How long the last spans and log lines may take to be sent.
const LAST_TELEMETRY: Duration = Duration::from_secs(2);

/// Runs until SIGTERM.
///
/// # Errors
/// When it cannot start, or when the lease is lost.
pub async fn run(config: Config, telemetry: Telemetry) -> Result<()> {
    // A name that cannot stand in a certificate, before anything is bound.
    certificate::Authority::make(certificate::now())?.leaf(&config.names(), certificate::now())?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"))?);
    let store = recordings::open(&config).context("--recordings-store cannot be used")?;
    metrics.also(telemetry.dropped())?;
    let client = client(API).await?;
    let authority = Store::new(client.clone(), &config.namespace, &config.ca_secret);
    let replica = Replica::new(authority.clone(), config.names());
    let bundle = Bundle::new(&client, &config.webhook_configuration);
    let keeper = Keeper::new(authority, bundle, Profile::new(client.clone(), &config.injection_profile));
    let index = Index::storing(config.max_policy_age, store.is_some());
    let enrol = Arc::new(Enrol::new(client.clone(), &config.namespace, &config.audience, replica.current()));
    let work = Mutex::new(Work { keeper, enrol: Arc::clone(&enrol), index: Arc::clone(&index), swept: None });
    let watching = self::client(WATCH).await?;
    let approvals = Approvals::new(&client, &config, &metrics, Some(Arc::clone(&index)), telemetry.clone());
    let statuses = Statuses::new(&client, &config, &index, &metrics);
    let recordings = Recordings::new(&client, &config, store, &index, &metrics);
    let ungoverned = Ungoverned::start(client.clone(), Arc::clone(&index), Arc::clone(&metrics));
    let election = Election {
        client,
        namespace: config.namespace.clone(),
        lease: config.lease.clone(),
        identity: config.identity.clone(),
    };

    let webhook = bind(config.webhook).await?;
    let dialled = bind(config.control).await?;
    let admin = bind(config.metrics).await?;
    let stopping = Arc::new(AtomicBool::new(false));
    let ready = ready(replica.current(), Arc::clone(&index), Arc::clone(&stopping));
    let shown = Arc::clone(&metrics);
    let shown = Arc::new(move || shown.render().map_err(|error| error.to_string()));
    tokio::spawn(admin::serve(admin, shown, ready));
    index.follow(&watching, &metrics, config.secrets_name_hosts);
    let (stop, stopped) = watch::channel(false);
    let service = Service::new(
        enrol,
        Arc::clone(&index),
        Arc::clone(&approvals.desk),
        Arc::clone(&statuses.acks),
        config.max_policy_age,
        stopped.clone(),
        Arc::clone(&metrics),
    )
    .with_recordings(Arc::clone(&recordings.desk));
    let pods = Arc::new(Tls::new(replica.current()));
    let governed = tokio::spawn(control::serve::serve(dialled, pods, service, stopped.clone()));
    let tls = serve::tls(replica.current())?;
    let shared = Arc::new(Webhook {
        rules: config.rules(),
        approvals: approvals.reviewer.clone(),
        index,
        current: replica.current(),
        metrics: Arc::clone(&metrics),
        telemetry: telemetry.clone(),
        leaving: Arc::clone(&stopping),
    });
    let served = tokio::spawn(serve::serve(webhook, tls, shared, stopped));
    tokio::spawn(renew(replica, Arc::clone(&metrics)));
    approvals.start(watching.clone());
    recordings.start();
    statuses.start(watching);
    tracing::info!(event = "started", version = env!("CARGO_PKG_VERSION"), identity = config.identity);

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Whichever ends first ends the process, so what the others lose does not matter.
    let lost = tokio::select! {
        lost = election.lead(&metrics, || keep(&work, &approvals, &recordings, &statuses, &ungoverned, &metrics)) => Some(lost),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    stopping.store(true, Ordering::Relaxed);
    // Its successor would find its words written over.
    statuses.resign();
    tracing::info!(event = "stopping");
    sleep(UNLISTED).await;
    // Nobody listens any more: it has ended.
    let _ = stop.send(true);
    served.await.context("the webhook ended early")?;
    governed.await.context("the control server ended early")?;
    telemetry.close(LAST_TELEMETRY).await;
    lost.map_or(Ok(()), |lost| Err(lost.into()))
}

async fn client(silence: Duration) -> Result<Client> {
    let mut config = kube::Config::infer().await.context("no way to the API server is configured")?;
    (config.connect_timeout, config.read_timeout, config.write_timeout) = (Some(API), Some(silence), Some(API));
    Client::try_from(config).context("cannot set up the way to the API server")
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

fn ready(current: Current, index: Arc<Index>, stopping: Arc<AtomicBool>) -> Ready {
    // Once: an API server that is away later sends nobody here anyway.
    let followed = AtomicBool::new(false);
    let whole = move || {
        let whole = index.whole();
        followed.fetch_or(whole, Ordering::Relaxed) || whole
    };
    Arc::new(move || match current.get() {
        _ if stopping.load(Ordering::Relaxed) => Err("stopping".to_owned()),
        None => Err("no certificate yet: the leader has to make the CA".to_owned()),
        Some(held) if !held.leaf.life.holds(certificate::now()) => Err("the certificate is not in force".to_owned()),
        Some(_) if whole() => Ok(()),
        Some(_) => Err("the API server is not followed yet".to_owned()),
    })
}

/// Keeps this replica's leaf fresh.
async fn renew(replica: Replica, metrics: Arc<Metrics>) {
    loop {
        match replica.step(certificate::now()).await {
            Ok(true) => tracing::info!(event = "leaf_renewed"),
            Ok(false) => {}
            Err(error) => {
                metrics.certificate_failed("leaf");
                tracing::warn!(event = "leaf_not_renewed", %error);
            }
        }
        let held = replica.current().get();
        if let Some(held) = &held {
            metrics.certificate_ends(held.leaf.life.ends);
        }
        sleep(if held.is_some() { LOOK } else { LOOK_FIRST }).await;
    }
}

/// What the leader needs for its work.
struct Work {
    keeper: Keeper,
    enrol: Arc<Enrol>,
    index: Arc<Index>,
    swept: Option<Instant>,
}

/// The leader's work.
async fn keep(
    work: &Mutex<Work>,
    approvals: &Approvals,
    recordings: &Recordings,
    statuses: &Statuses,
    ungoverned: &Ungoverned,
    metrics: &Metrics,
) {
    approvals.lead().await;
    recordings.lead().await;
    ungoverned.lead();
    statuses.lead().await;
    let mut work = work.lock().await;
    if let Err(error) = work.keeper.step(certificate::now()).await {
        metrics.certificate_failed("ca");
        tracing::warn!(event = "ca_not_kept", %error);
    }
    // An index that is not whole would say of pods that live that they are gone.
    if work.swept.is_none_or(|swept| swept.elapsed() >= SWEEP) && work.index.whole() {
        work.swept = Some(Instant::now());
        match work.enrol.sweep(|uid| work.index.pod(uid).is_some()).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(event = "claims_ended", count),
            Err(error) => tracing::warn!(event = "claims_not_ended", %error),
        }
    }
}
