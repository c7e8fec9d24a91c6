//! Keeps the policies in force the same as the folder on disk, within 2 s and without a restart.
//!
//! A reading that is bad in any way changes nothing: the old policies and Secrets stay in force, and log, metric and
//! recording say so. They are then no longer confirmed, so that after `MAX_POLICY_AGE` everything is denied.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use recording::entry::What;
use tokio::sync::watch;

use super::folder::{Fingerprint, Unusable, load};
use crate::config::Listener;
use crate::failpoint;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::outside::{MAX_POLICY_AGE, Policies, PolicySnapshot};
use crate::secret::{Held, Secrets};
use crate::vital;

/// A change must be seen twice before it counts, since editors write in pieces: two polls and one load are below 2 s.
const POLL: Duration = Duration::from_millis(400);

/// The first good reading, and all that follows from it.
#[derive(Debug)]
pub struct PolicyFolder {
    folder: PathBuf,
    listeners: Arc<[Listener]>,
    secrets: Arc<Secrets>,
    snapshots: watch::Sender<PolicySnapshot>,
    in_force: Option<Fingerprint>,
}

// === impl PolicyFolder ===

impl PolicyFolder {
    /// Reads the folder for the first time. Blocks; for the start only.
    ///
    /// # Errors
    /// Everything that is wrong in the folder.
    pub fn open(folder: PathBuf, listeners: Arc<[Listener]>) -> Result<Self, Unusable> {
        // Taken before: a change during the load is then found by the first poll.
        let in_force = Fingerprint::of(&folder).ok();
        let held = load(&folder, &listeners)?;
        failpoint::policy("policy_starts", held.set.revision());
        let first =
            PolicySnapshot { set: Arc::new(held.set.clone()), confirmed: Instant::now(), max_age: MAX_POLICY_AGE };
        Ok(Self { folder, listeners, secrets: Secrets::new(held), snapshots: watch::Sender::new(first), in_force })
    }

    pub fn policies(&self) -> Policies {
        self.snapshots.subscribe()
    }

    pub fn secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.secrets)
    }

    /// Follows the folder until the runtime ends.
    pub fn follow(mut self, metrics: Arc<Metrics>, ledger: Arc<dyn Ledger>) {
        let first = self.snapshots.borrow().set.clone();
        for warning in first.warnings() {
            tracing::warn!(event = "policy_warning", %warning);
        }
        metrics.policy_reload(false);
        metrics.policy_confirmed(jiff::Timestamp::now().as_second());
        vital::spawn("policies", async move {
            let mut last_seen = self.in_force;
            let mut told = None;
            loop {
                tokio::time::sleep(POLL).await;
                let folder = self.folder.clone();
                let seen = vital::blocking("policies", move || Fingerprint::of(&folder)).await;
                match seen {
                    Ok(seen) if Some(seen) == self.in_force => {
                        if told.take().is_some() {
                            self.restored(ledger.as_ref());
                            metrics.policy_reload(false);
                        }
                        self.confirm(&metrics);
                    }
                    Ok(seen) if Some(seen) != last_seen => last_seen = Some(seen),
                    // Bad, said, and the same as before.
                    Ok(seen) if told.as_ref().is_some_and(|(at, _)| *at == Some(seen)) => {}
                    Ok(seen) => match self.reload(seen).await {
                        Reload::Done(held) => {
                            let refused = told.take().is_some();
                            self.put_in_force(seen, held, refused, &metrics, ledger.as_ref());
                        }
                        Reload::Bad(error) => {
                            tell(&error, &mut told, Some(seen), &metrics, ledger.as_ref());
                        }
                        Reload::Moving => last_seen = None,
                    },
                    Err(error) => {
                        last_seen = None;
                        let text = format!("{}: cannot be read ({error}): restore it", self.folder.display());
                        let error = Unusable { folder: self.folder.clone(), lines: vec![text] };
                        tell(&error, &mut told, None, &metrics, ledger.as_ref());
                    }
                }
            }
        });
    }

    async fn reload(&self, seen: Fingerprint) -> Reload {
        let (folder, listeners) = (self.folder.clone(), Arc::clone(&self.listeners));
        vital::blocking("policies", move || {
            let loaded = load(&folder, &listeners);
            match Fingerprint::of(&folder) {
                Ok(after) if after == seen => match loaded {
                    Ok(held) => Reload::Done(held),
                    Err(error) => Reload::Bad(error),
                },
                Ok(_) | Err(_) => Reload::Moving,
            }
        })
        .await
    }

    /// `refused`: the reading before was bad.
    fn put_in_force(&mut self, seen: Fingerprint, held: Held, refused: bool, metrics: &Metrics, ledger: &dyn Ledger) {
        self.in_force = Some(seen);
        let set = Arc::new(held.set.clone());
        // Secrets first: whoever sees the new policies finds what they refer to.
        self.secrets.replace(held);
        let changed = self.snapshots.borrow().set.revision() != set.revision();
        if changed {
            let revision = set.revision();
            tracing::info!(event = "policy_reloaded", %revision);
            for warning in set.warnings() {
                tracing::warn!(event = "policy_warning", %warning);
            }
            ledger.marker(What::PolicyReload, format!("now in force: {revision}"));
        } else if refused {
            self.restored(ledger);
        }
        let revision = set.revision();
        failpoint::policy("policy_begins", revision);
        self.snapshots.send_if_modified(|current| {
            *current = PolicySnapshot { set, confirmed: Instant::now(), max_age: MAX_POLICY_AGE };
            changed
        });
        failpoint::policy("policy_ends", revision);
        metrics.policy_reload(false);
        self.confirm(metrics);
    }

    /// After a refusal that the recording tells of, so that nobody takes it for lasting.
    fn restored(&self, ledger: &dyn Ledger) {
        let revision = self.snapshots.borrow().set.revision();
        tracing::info!(event = "policy_restored", %revision, "the folder holds again what is in force");
        ledger.marker(What::PolicyReload, format!("restored, still in force: {revision}"));
    }

    /// Nobody is woken by it: only the age changes.
    fn confirm(&self, metrics: &Metrics) {
        self.snapshots.send_if_modified(|current| {
            current.confirmed = Instant::now();
            false
        });
        metrics.policy_confirmed(jiff::Timestamp::now().as_second());
    }
}

enum Reload {
    Done(Held),
    Bad(Unusable),
    /// It changed while it was read; look again.
    Moving,
}

type Told = Option<(Option<Fingerprint>, Unusable)>;

/// Once for each error, since it is found again at every poll.
fn tell(error: &Unusable, told: &mut Told, seen: Option<Fingerprint>, metrics: &Metrics, ledger: &dyn Ledger) {
    if told.as_ref().is_none_or(|(_, before)| before != error) {
        tracing::error!(event = "policy_reload_failed", %error, "the policies in force before stay in force");
        ledger.marker(What::PolicyReload, format!("refused, the old ones stay: {error}"));
    }
    metrics.policy_reload(true);
    *told = Some((seen, error.clone()));
}
