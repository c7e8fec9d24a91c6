//! Recordings outside of their pods: what sidecars send is countersigned and put into the store, by every replica; the
//! leader removes what is old and says of which pods the end never arrived.
//!
//! Whose recording it is says the certificate, never a field. Refused: what does not extend what was countersigned or
//! stored before, from whomever it comes. Without a store configured nothing is kept and every call says so.

mod answer;
mod desk;
mod janitor;
pub mod key;
mod loss;

use std::sync::Arc;
use std::time::{Duration, Instant};

use archive::{Credentials, Store, StoreError};
use kube::Client;
use parking_lot::Mutex;

pub use self::desk::{Desk, Known};
use self::janitor::Janitor;
use crate::config::Config;
use crate::index::Index;
use crate::leader::Term;
use crate::metrics::Metrics;

/// Between two looks at the key, and the same while there is none.
const LOOK: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(1));

/// Between two looks of the leader whether the key is where it belongs.
const KEPT: Duration = Duration::from_secs(60);

/// All of it, for one replica.
#[derive(Debug)]
pub struct Recordings {
    /// What the gRPC server calls.
    pub desk: Arc<Desk>,
    store: Option<Store>,
    key: key::Store,
    janitor: Option<Arc<Janitor>>,
    /// When the key was last seen to be where it belongs.
    kept: Mutex<Option<Instant>>,
}

/// Opens the store that the configuration names, if it names one. Nothing is asked of it yet.
///
/// # Errors
/// When it cannot be one: a folder that is not there, credentials that are none, a CA where no server is checked.
pub fn open(config: &Config) -> Result<Option<Store>, StoreError> {
    let Some(location) = &config.recordings_store else { return Ok(None) };
    let credentials = match (location.is_remote(), &config.recordings_credentials) {
        (false, _) => Credentials::None,
        (true, Some(folder)) => Credentials::Folder(folder.clone()),
        (true, None) => Credentials::Environment,
    };
    let trust = config.recordings_ca.clone().unwrap_or_default();
    Store::open_trusting(location, &credentials, &trust).map(Some)
}

// === impl Recordings ===

impl Recordings {
    pub fn new(
        client: &Client,
        config: &Config,
        store: Option<Store>,
        index: &Arc<Index>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let key = key::Store::new(client, &config.namespace, &config.recording_key);
        let desk = Desk::new(store.clone(), key.held(), Arc::clone(metrics));
        let janitor = store.clone().map(|store| {
            Arc::new(Janitor {
                store,
                witness: key.held(),
                retention: Duration::from_secs(config.recordings_retention),
                index: Arc::clone(index),
                events: janitor::recorder(client, &config.identity),
                metrics: Arc::clone(metrics),
                term: Term::default(),
            })
        });
        Self { desk: Arc::new(desk), store, key, janitor, kept: Mutex::default() }
    }

    /// Begins to work. Within the runtime.
    pub fn start(&self) {
        let Some(store) = self.store.clone() else { return };
        tokio::spawn(probe(store));
        tokio::spawn(read(self.key.clone()));
        if let Some(janitor) = &self.janitor {
            tokio::spawn(Arc::clone(janitor).work());
        }
    }

    /// The leader's part, to be called again and again.
    pub async fn lead(&self) {
        let Some(janitor) = &self.janitor else { return };
        janitor.lead();
        if self.kept.lock().is_some_and(|at| at.elapsed() < KEPT) {
            return;
        }
        match self.keep_key().await {
            Ok(whole) => *self.kept.lock() = whole.then(Instant::now),
            Err(error) => tracing::warn!(event = "recording_key_not_kept", %error),
        }
    }

    /// Makes the key and says its public half, where either is missing; whether both are there now.
    async fn keep_key(&self) -> Result<bool, key::KeyError> {
        if self.key.fill().await? {
            tracing::info!(event = "recording_key_made");
        }
        if self.key.publish().await? {
            tracing::info!(event = "recording_key_published");
        }
        // What was made just now is read by every replica for itself, this one too.
        Ok(self.key.held().get().is_some())
    }
}

/// Whether the store does what is wanted of one; people read it, nothing waits for it.
async fn probe(store: Store) {
    match store.probe().await {
        Ok(()) => tracing::info!(event = "recordings_store", %store, "it can be written"),
        Err(error) => tracing::error!(event = "recordings_store", %store, %error, "no recording leaves its pod"),
    }
}

async fn read(key: key::Store) {
    loop {
        match key.read().await {
            Ok(true) => tracing::info!(event = "recording_key_read"),
            Ok(false) => {}
            Err(error @ key::KeyError::Empty) => tracing::debug!(event = "recording_key_not_read", %error),
            Err(error) => tracing::warn!(event = "recording_key_not_read", %error),
        }
        tokio::time::sleep(if key.held().get().is_some() { LOOK.0 } else { LOOK.1 }).await;
    }
}
