//! What `status` says of policies and targets, for people and for tools that wait: the leader's work, from what all
//! replicas hear of their sidecars.
//!
//! Nothing in a status decides anything. Invariants: a word that is not known to be true is not written; nothing is
//! written that the API server has already; no object is written more often than `pace` allows, and no object waits for
//! another one's failure. There are no finalizers: an object that is deleted is gone.

mod acks;
mod difference;
mod pace;
mod replicas;
mod report;
mod seen;
#[cfg(test)]
mod tests;
mod wanted;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Client;
use tokio::sync::mpsc;
use tokio::time::sleep;

pub use self::acks::{Acks, Stream, Unheard};
use self::difference::{Difference, difference};
use self::pace::{AT_ONCE, Done, Pace};
use self::replicas::Replicas;
use self::seen::Seen;
use self::wanted::Wanted;
use self::write::Writer;
use crate::config::Config;
use crate::index::{Index, Key, Object, Survey, World};
use crate::leader::Term;
use crate::metrics::Metrics;

/// After a change: what comes at once is said at once, sidecars that acknowledge it too.
const SETTLE: Duration = Duration::from_millis(500);
/// Between two looks while something changes or waits.
const BUSY: Duration = Duration::from_millis(500);
/// Between two looks when nothing changes: time alone changes something too.
const IDLE: Duration = Duration::from_secs(5);
/// Pods that are counted without letting go of the world.
const PODS: usize = 128;

/// All of it, for one replica.
#[derive(Debug)]
pub struct Statuses {
    /// What the gRPC server tells.
    pub acks: Arc<Acks>,
    index: Arc<Index>,
    replicas: Arc<Replicas>,
    writer: Writer,
    metrics: Arc<Metrics>,
    term: Term,
}

/// What is to be written of one object, and what of it cannot be said yet.
struct Look {
    uid: String,
    unsure: bool,
    difference: Option<Difference>,
}

/// What the leader remembers.
#[derive(Debug, Default)]
struct Memory {
    pace: Pace,
    seen: Seen,
    /// Since when the API server answers and is not followed.
    astray: Option<Instant>,
}

// === impl Statuses ===

impl Statuses {
    pub fn new(client: &Client, config: &Config, index: &Arc<Index>, metrics: &Arc<Metrics>) -> Arc<Self> {
        let acks = Acks::new();
        let replicas = Replicas::new(
            client.clone(),
            &config.namespace,
            &config.identity,
            Arc::clone(index),
            Arc::clone(&acks),
            Arc::clone(metrics),
        );
        Arc::new(Self {
            acks,
            index: Arc::clone(index),
            replicas,
            writer: Writer::new(client.clone(), &config.identity),
            metrics: Arc::clone(metrics),
            term: Term::default(),
        })
    }

    /// Begins to work. `watching` must not give up a read that is silent for less than 30 s.
    pub fn start(self: &Arc<Self>, watching: Client) {
        self.replicas.start(watching);
        tokio::spawn(Arc::clone(self).work());
    }

    /// This replica leads, for now; to be called again and again.
    pub async fn lead(&self) {
        self.term.begin();
        self.replicas.sweep().await;
    }

    /// This replica leads no longer, from now on; what was begun is finished.
    pub fn resign(&self) {
        self.term.end();
    }

    async fn work(self: Arc<Self>) {
        let (mut notes, mut acks, mut others) = (self.index.notes(), self.acks.changes(), self.replicas.changes());
        let (sender, mut finished) = mpsc::channel::<(Key, String, Done)>(AT_ONCE);
        let mut memory = Memory::default();
        let mut busy = false;
        loop {
            // Every arm is a wake-up and no more; what has finished is taken below.
            tokio::select! {
                _ = notes.changed() => {}
                _ = acks.changed() => {}
                _ = others.changed() => {}
                () = sleep(if busy { BUSY } else { IDLE }) => {}
            }
            sleep(SETTLE).await;
            notes.borrow_and_update();
            acks.borrow_and_update();
            others.borrow_and_update();
            while let Ok((key, uid, done)) = finished.try_recv() {
                memory.pace.done(&key, &uid, done);
            }
            if !self.term.is_on() {
                // Another replica writes: what this one knew of its own writes is old.
                if !memory.pace.is_empty() {
                    memory = Memory::default();
                }
                self.metrics.policy_lag(BTreeMap::new());
                self.metrics.pods(BTreeMap::new());
                busy = false;
                continue;
            }
            let begun = Instant::now();
            if let Some(looks) = self.look(&mut memory).await {
                busy = self.begin(looks, &mut memory.pace, &sender);
            }
            self.metrics.reconciled("status", begun.elapsed());
        }
    }

    /// What differs between the world and what is said of it; `None` while that is not known.
    async fn look(&self, memory: &mut Memory) -> Option<BTreeMap<Key, Look>> {
        let (alive, whole) = self.index.look(|world| (world.alive(), world.whole()));
        let now = Instant::now();
        if !whole {
            let since = *memory.astray.get_or_insert(now);
            // An API server that is away takes no words either.
            if !alive || now.saturating_duration_since(since) < pace::UNSURE {
                return None;
            }
            let unknown = |key: &Key, _: &Object| Wanted::unknown(key.kind);
            return Some(self.index.look(|world| looks(world, &memory.pace, unknown, |_| None)));
        }
        memory.astray = None;
        memory.seen.say(self.replicas.in_force(), now);
        let survey = self.survey(&memory.seen).await;
        self.metrics.policy_lag(memory.seen.lag(&survey, now));
        self.metrics.pods(survey.pods());
        Some(self.index.look(|world| {
            let used = self.replicas.used(world);
            let wanted = |key: &Key, object: &Object| Wanted::of(world, key, object, &survey.tally(key));
            looks(world, &memory.pace, wanted, |key| used.get(key).map(|(_, rules)| rules))
        }))
    }

    async fn survey(&self, seen: &Seen) -> Survey {
        let mut survey = Survey::default();
        let mut after: Option<String> = None;
        loop {
            let from = after.as_deref();
            after = self
                .index
                .look(|world| world.survey(from, PODS, &|mark: &control::Mark| seen.is_in_force(mark), &mut survey));
            if after.is_none() {
                return survey;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Begins what may be written now; says whether anything waits.
    fn begin(
        &self,
        mut looks: BTreeMap<Key, Look>,
        pace: &mut Pace,
        sender: &mpsc::Sender<(Key, String, Done)>,
    ) -> bool {
        let now = Instant::now();
        pace.only(&looks.iter().map(|(key, look)| (key.clone(), look.uid.clone())).collect());
        for (key, look) in &looks {
            let sayable = pace.patient(key, &look.uid, look.unsure, now);
            match look.difference.is_some() && sayable {
                true => pace.waits(key, &look.uid, now),
                false => pace.settled(key, &look.uid),
            }
        }
        let due = pace.due(now);
        for key in due {
            let Some(Look { uid, difference: Some(difference), .. }) = looks.remove(&key) else { continue };
            pace.begin(&key, &uid, &difference.status, now);
            let (writer, metrics, sender) = (self.writer.clone(), Arc::clone(&self.metrics), sender.clone());
            tokio::spawn(async move {
                let done = writer.write(&key, &uid, difference, &metrics).await;
                // There is room for as many as are under way.
                let _ = sender.send((key, uid, done)).await;
            });
        }
        pace.is_busy()
    }
}

fn looks<'a>(
    world: &World,
    pace: &Pace,
    wanted: impl Fn(&Key, &Object) -> Wanted,
    used: impl Fn(&Key) -> Option<&'a BTreeSet<String>>,
) -> BTreeMap<Key, Look> {
    let (now, none) = (Timestamp::now(), BTreeSet::new());
    let look = |(key, object): (Key, &Object)| {
        let wanted = wanted(&key, object);
        let uid = object.told.uid.clone();
        let remembered = pace.written(&key, &uid);
        let used = used(&key).unwrap_or(&none);
        let difference = difference(&wanted, &object.told, remembered, used, now);
        (key, Look { uid, unsure: wanted.unsure, difference })
    };
    world.all_objects().map(look).collect()
}
