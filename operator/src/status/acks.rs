//! What the sidecars that follow this replica have said: which snapshot is in force there, and which rules were used.
//!
//! Believed is what can be checked: a snapshot that counts for the pod at that moment, and a rule of a policy that
//! selects the pod, in its current form. Everything else is passed over, and who follows nothing is not heard. Bounded:
//! one mark for each pod with a stream, and of rules those that a status still calls unused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::v1::{ReportRequest, UsedRules};
use control::{Mark, PodName};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::index::{Index, Key, Kind, Object, World};

/// Policies in one report, and rules of all of them; a sidecar has no more.
const RULES: usize = 1_024;
/// Between two reports of one pod.
const GAP: Duration = Duration::from_millis(100);

/// Why a report is not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unheard {
    #[error("no stream of this pod is followed here: begin one")]
    NoStream,
    #[error("the pod has reported just now: wait")]
    TooSoon,
    #[error("this is not the revision of a snapshot")]
    NotARevision,
    #[error("of at most {RULES} rules may be said that they were used")]
    TooMany,
}

#[derive(Debug)]
pub struct Acks {
    pods: Mutex<BTreeMap<PodName, Live>>,
    used: Mutex<Used>,
    /// Counts changes.
    changed: watch::Sender<u64>,
}

/// A pod with streams to this replica.
#[derive(Debug, Default)]
struct Live {
    streams: usize,
    acknowledged: Option<Mark>,
    heard: Option<Instant>,
}

/// By policy: the form of it, and which of its rules.
pub(super) type Used = BTreeMap<Key, (String, BTreeSet<String>)>;

/// One stream; the pod's last one takes its word with it.
#[derive(Debug)]
pub struct Stream {
    acks: Arc<Acks>,
    pod: PodName,
}

// === impl Acks ===

impl Acks {
    pub fn new() -> Arc<Self> {
        let (pods, used) = (Mutex::default(), Mutex::default());
        Arc::new(Self { pods, used, changed: watch::Sender::new(0) })
    }

    pub fn begin(self: &Arc<Self>, pod: &PodName) -> Stream {
        let mut pods = self.pods.lock();
        let live = pods.entry(pod.clone()).or_default();
        live.streams = live.streams.saturating_add(1);
        Stream { acks: Arc::clone(self), pod: pod.clone() }
    }

    /// A sidecar says what is in force there, and which rules it used.
    ///
    /// # Errors
    /// See [`Unheard`].
    pub fn report(&self, index: &Index, pod: &PodName, report: &ReportRequest) -> Result<(), Unheard> {
        let in_force: Mark = report.in_force.parse().map_err(|_| Unheard::NotARevision)?;
        let rules = report.used.iter().map(|policy| policy.rules.len()).fold(report.used.len(), usize::saturating_add);
        if rules > RULES.saturating_mul(2) {
            return Err(Unheard::TooMany);
        }
        self.hear(pod, Instant::now())?;
        let mut changed = false;
        if index.revision(pod).is_ok_and(|revision| revision.parse() == Ok(in_force))
            && let Some(live) = self.pods.lock().get_mut(pod)
        {
            changed = live.acknowledged.replace(in_force) != Some(in_force);
        }
        if !report.used.is_empty() {
            let found = index.look(|world| believed(world, pod, &report.used));
            changed |= self.remember(found);
        }
        if changed {
            self.wake();
        }
        Ok(())
    }

    fn hear(&self, pod: &PodName, now: Instant) -> Result<(), Unheard> {
        let mut pods = self.pods.lock();
        let live = pods.get_mut(pod).ok_or(Unheard::NoStream)?;
        if live.heard.is_some_and(|heard| now.saturating_duration_since(heard) < GAP) {
            return Err(Unheard::TooSoon);
        }
        live.heard = Some(now);
        Ok(())
    }

    fn remember(&self, found: Used) -> bool {
        let mut used = self.used.lock();
        let mut changed = false;
        for (key, (revision, rules)) in found {
            let known = used.entry(key).or_default();
            if known.0 != revision {
                *known = (revision, BTreeSet::new());
            }
            for rule in rules {
                changed |= known.1.insert(rule);
            }
        }
        changed
    }

    /// Of the pods that follow this replica now.
    pub fn acknowledged(&self) -> BTreeSet<Mark> {
        self.pods.lock().values().filter_map(|live| live.acknowledged).collect()
    }

    /// The rules that a status does not know yet as used; the others are forgotten.
    pub(super) fn used(&self, world: &World) -> Used {
        let mut used = self.used.lock();
        used.retain(|key, (revision, rules)| {
            let object = world.object(key).filter(|object| object.revision == *revision);
            if let Some(object) = object {
                rules.retain(|rule| is_news(object, rule));
            }
            object.is_some() && !rules.is_empty()
        });
        used.clone()
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn wake(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

fn believed(world: &World, name: &PodName, used: &[UsedRules]) -> Used {
    let mut found = Used::new();
    let Some(pod) = world.pod(name.uid()).filter(|pod| pod.namespace == name.namespace()) else { return found };
    let (cluster, policies) = world.selecting(pod);
    for UsedRules { policy, cluster: of_cluster, revision, rules } in used {
        let (kind, selecting) = match of_cluster {
            true => (Kind::ClusterPolicy, &cluster),
            false => (Kind::Policy, &policies),
        };
        let object = selecting.iter().find(|object| object.name == *policy && object.revision == *revision);
        for rule in rules {
            if let Some(object) = object.filter(|object| is_news(object, rule)) {
                let known = found.entry(Key::of(kind, object)).or_insert_with(|| (revision.clone(), BTreeSet::new()));
                known.1.insert(rule.clone());
            }
        }
    }
    found
}

/// Whether the rule is one that is followed and not known as used.
fn is_news(object: &Object, rule: &str) -> bool {
    let status = object.told.status.as_ref().filter(|status| status.revision.as_ref() == Some(&object.revision));
    match status {
        Some(status) => status.unused_rules.iter().any(|unused| unused == rule),
        // Nothing was said of this form yet.
        None => super::wanted::rules(object).iter().any(|known| known == rule),
    }
}

impl Stream {
    /// Another snapshot is on its way: what was said before is not said of it.
    pub fn sent(&self) {
        self.forget(|live| live.acknowledged.take().is_some());
    }

    fn forget(&self, change: impl FnOnce(&mut Live) -> bool) {
        let changed = self.acks.pods.lock().get_mut(&self.pod).is_some_and(change);
        if changed {
            self.acks.wake();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut pods = self.acks.pods.lock();
        let left = pods.get_mut(&self.pod).map(|live| {
            live.streams = live.streams.saturating_sub(1);
            live.streams
        });
        let gone = if left == Some(0) { pods.remove(&self.pod) } else { None };
        drop(pods);
        if gone.is_some_and(|live| live.acknowledged.is_some()) {
            self.acks.wake();
        }
    }
}

#[cfg(test)]
mod tests;
