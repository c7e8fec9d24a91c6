//! What counts for each governed pod, in memory, as the API server has it.
//!
//! [`World`] is a value and decides; [`Index`] shares it; the watches that feed it are in `feed` and `secrets`. Nothing
//! is told of a world that is not whole: before everything was listed once, and after a watch broke until it was listed
//! again. Invariant: of another namespace a pod hears nothing but the policies of the cluster.

mod content;
mod feed;
mod hosts;
mod object;
mod patience;
mod pod;
mod pulse;
mod secrets;
mod share;
mod survey;
#[cfg(test)]
pub(crate) mod tests;
mod told;
mod world;

use std::sync::Arc;

use control::{PodName, v1};
use kube::Client;
use parking_lot::RwLock;
use tokio::sync::watch;

pub use self::content::{SecretKey, secret_keys};
pub(crate) use self::feed::said as watch_error;
pub use self::hosts::{Hosts, NotFor, place};
pub(crate) use self::object::NO_STORE;
pub use self::object::{Kind, Object, Wrong};
use self::patience::Pauses;
pub use self::pod::Pod;
use self::secrets::Manner;
pub use self::secrets::{Present, State as SecretState};
pub use self::survey::{Blocked, Key, Survey, Tally};
pub use self::told::Told;
pub use self::world::{Feed, Judged, Odd, Withheld, World};
use crate::metrics::Metrics;

/// Shared by the watches that write it and the streams that read it.
#[derive(Debug)]
pub struct Index {
    world: RwLock<World>,
    /// Counts changes; who waits looks again.
    changed: watch::Sender<u64>,
    /// The same, and changes that no sidecar is told of.
    noted: watch::Sender<u64>,
}

// === impl Index ===

impl Index {
    /// `max_age` is what sidecars are told, in seconds.
    pub fn new(max_age: u32) -> Arc<Self> {
        Self::storing(max_age, false)
    }

    /// The same for an operator that has a store of recordings, or has none.
    pub fn storing(max_age: u32, stores: bool) -> Arc<Self> {
        let (changed, noted) = (watch::Sender::new(0), watch::Sender::new(0));
        Arc::new(Self { world: RwLock::new(World::new(max_age).storing(stores)), changed, noted })
    }

    /// Begins to follow the API server. `named_hosts`: a Secret that does not say for which hosts it is, is for none.
    pub fn follow(self: &Arc<Self>, client: &Client, metrics: &Arc<Metrics>, named_hosts: bool) {
        feed::follow(self, client, metrics);
        tokio::spawn(pulse::follow(Arc::clone(self), client.clone(), Arc::clone(metrics)));
        let manner = Manner { named_hosts, refused: Pauses::REFUSED };
        tokio::spawn(secrets::follow(Arc::clone(self), client.clone(), Arc::clone(metrics), manner));
    }

    /// Wakes whoever waits, if `change` says that something changed.
    pub fn change(&self, change: impl FnOnce(&mut World) -> bool) {
        let (changed, noted) = {
            let mut world = self.world.write();
            let before = world.noted();
            let changed = change(&mut world);
            (changed, changed || world.noted() != before)
        };
        for (sender, wakes) in [(&self.changed, changed), (&self.noted, noted)] {
            if wakes {
                sender.send_modify(|count| *count = count.wrapping_add(1));
            }
        }
    }

    /// Of what sidecars are told.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Of that, and of what is said of objects in their status.
    pub fn notes(&self) -> watch::Receiver<u64> {
        self.noted.subscribe()
    }

    /// Looks at the world, which nobody changes meanwhile: briefly.
    pub fn look<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.world.read())
    }

    /// Of the pod's snapshot, if it may be said now.
    ///
    /// # Errors
    /// See [`Withheld`].
    pub fn revision(&self, name: &PodName) -> Result<String, Withheld> {
        self.world.read().revision(name)
    }

    /// # Errors
    /// See [`Withheld`].
    pub fn snapshot(&self, name: &PodName) -> Result<v1::Snapshot, Withheld> {
        self.world.read().snapshot(name)
    }

    /// `None`: it is gone, or not known yet.
    pub fn pod(&self, uid: &str) -> Option<Pod> {
        self.world.read().pod(uid).cloned()
    }

    /// Whether every watch is in sync.
    pub fn whole(&self) -> bool {
        self.world.read().whole()
    }

    /// See [`World::judge`].
    pub fn judge(&self, kind: Kind, namespace: &str, name: &str, spec: &serde_json::Value) -> Judged {
        self.world.read().judge(kind, namespace, name, spec)
    }

    fn named_secrets(&self) -> share::Named {
        self.world.read().named_secrets()
    }
}
