//! What every session shares: the gate, the outside, limits, keys.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use policy::TargetKey;
use policy::operation::Protocol;

use crate::drain::Drain;
use crate::gate::Gate;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::outside::{Credentials, Target};
use crate::protocol::postgres::cancel::CancelKeys;
use crate::protocol::postgres::preview::Previews;
use crate::protocol::postgres::session::login::{self, LoggedIn, LoginError};
use crate::protocol::postgres::session::snapshot::Catalogs;
use crate::tls::Downstream;

pub struct Core {
    pub gate: Arc<Gate>,
    pub credentials: Arc<dyn Credentials>,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
    pub drain: Drain,
    /// What agents see when they ask for TLS.
    pub tls: Arc<Downstream>,
    /// 32 random bytes a start, in memory only: digests of different lives cannot be compared.
    pub digest_key: hmac::Key,
    pub catalogs: Catalogs,
    pub cancel_keys: CancelKeys,
    pub previews: Previews,
    /// Where catalog snapshots are saved for `simulate`.
    pub catalog_dir: Option<PathBuf>,
    random: SystemRandom,
    saved: parking_lot::Mutex<HashMap<(TargetKey, String), String>>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

impl Core {
    pub fn new(
        gate: Arc<Gate>,
        credentials: Arc<dyn Credentials>,
        limits: Limits,
        metrics: Arc<Metrics>,
        drain: Drain,
        tls: Arc<Downstream>,
        catalog_dir: Option<PathBuf>,
    ) -> Result<Arc<Self>, NoRandomness> {
        let random = SystemRandom::new();
        let mut key = [0; 32];
        random.fill(&mut key).map_err(|_| NoRandomness)?;
        Ok(Arc::new(Self {
            gate,
            credentials,
            limits,
            metrics,
            drain,
            tls,
            digest_key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            catalogs: Catalogs::default(),
            cancel_keys: CancelKeys::default(),
            previews: Previews::default(),
            catalog_dir,
            random,
            saved: parking_lot::Mutex::default(),
        }))
    }

    pub fn random<const N: usize>(&self) -> Result<[u8; N], NoRandomness> {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(bytes)
    }

    /// The limits in the codec's terms.
    pub fn codec_limits(&self) -> pgcodec::Limits {
        pgcodec::Limits {
            startup: self.limits.startup_packet,
            frontend_message: self.limits.frontend_message,
            bind_message: self.limits.frontend_message,
            statements: self.limits.prepared_statements,
            portals: self.limits.portals,
            batch: self.limits.statements_per_batch,
            ..pgcodec::Limits::default()
        }
    }

    /// A connection to the target with the credential of this moment.
    pub async fn log_in(
        &self,
        target: &Target,
        database: &str,
        extra: &[(String, String)],
    ) -> Result<LoggedIn, LoginError> {
        let credential = self.credentials.current(target)?;
        let anchor = self.credentials.trust_anchor(&target.key)?;
        let begun = Instant::now();
        let limits = self.codec_limits();
        let deadline = self.limits.upstream_connect;
        let result = login::login(target, &credential, anchor.as_deref(), database, extra, &limits, deadline).await;
        if result.is_ok() {
            self.metrics.upstream_connected(Protocol::Postgres, &target.key.name, begun.elapsed());
        }
        result
    }

    /// Saves a snapshot for `simulate`, when it differs from the last one saved. Never in the way of a session.
    pub fn save_catalog(&self, target: &TargetKey, database: &str, catalog: &pgsql::catalog::Catalog) {
        let Some(dir) = &self.catalog_dir else { return };
        let key = (target.clone(), database.to_owned());
        if self.saved.lock().insert(key, catalog.revision.clone()).as_deref() == Some(catalog.revision.as_str()) {
            return;
        }
        let Ok(json) = serde_json::to_vec(catalog) else { return };
        let path = dir.join(format!("{}.{}.{}.json", target.namespace, target.name, file_part(database)));
        drop(tokio::task::spawn_blocking(move || {
            let partial = path.with_extension("json.new");
            if let Err(error) = std::fs::write(&partial, json).and_then(|()| std::fs::rename(&partial, &path)) {
                tracing::warn!(target: "agentaccess", path = %path.display(), %error, "catalog snapshot not saved");
            }
        }));
    }
}

/// A database name as part of a file name.
fn file_part(database: &str) -> String {
    database.chars().map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' }).collect()
}
