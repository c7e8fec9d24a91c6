//! Every open and recent request as this replica sees it, counted, and who follows which.
//!
//! It holds what the watch says. Invariant: what followers are told is the count of the newest version that was seen,
//! with this replica's own clock; a version never gives way to an older one. A request that goes is over for them, and so
//! is one that nobody is left to use: its pod, or the Job that it was granted to, has ended.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use control::v1::{self, standing};
use crds::policy::Scope;
use jiff::Timestamp;
use parking_lot::Mutex;
use policy::approval::Standing;
use tokio::sync::{Notify, watch};

use super::asker::Asker;
use super::key::Held;
use super::life::Lives;
use super::question::Checked;
use super::request::{Id, Request};
use super::tally::{Ballot, Tally};
use crate::index::Index;
use crate::metrics::{Metrics, Waiting};

#[derive(Debug)]
pub struct Book {
    inner: Mutex<Inner>,
    key: Held,
    metrics: Arc<Metrics>,
    changed: Notify,
    lives: Lives,
}

#[derive(Debug, Default)]
struct Inner {
    requests: HashMap<Id, Counted>,
    followers: HashMap<Id, watch::Sender<v1::Standing>>,
    /// What a list that is still coming has named so far.
    listed: Option<HashSet<Id>>,
    /// The first list is complete.
    synced: bool,
    /// Pods with open requests that were seen alive.
    seen: HashSet<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) request: Arc<Request>,
    pub(super) ballot: Arc<Ballot>,
    /// Nobody is left who could use it.
    pub(super) over: bool,
}

// === impl Book ===

impl Book {
    /// `index` knows which pods live.
    pub fn new(key: Held, metrics: Arc<Metrics>, index: Option<Arc<Index>>) -> Self {
        Self { inner: Mutex::default(), key, metrics, changed: Notify::new(), lives: Lives::new(index) }
    }

    /// It holds all there are, and can count votes.
    pub fn is_ready(&self) -> bool {
        self.key.is_there() && self.inner.lock().synced
    }

    /// Waits for the next change; one waiter.
    pub(super) async fn change(&self) {
        self.changed.notified().await;
    }

    pub(super) fn list_begins(&self) {
        self.inner.lock().listed = Some(HashSet::new());
    }

    pub(super) fn list_ends(&self) {
        let mut inner = self.inner.lock();
        inner.synced = true;
        let Some(listed) = inner.listed.take() else { return };
        let gone: Vec<Id> = inner.requests.keys().filter(|id| !listed.contains(*id)).cloned().collect();
        for id in gone {
            inner.remove(&id);
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// A version of a request that somebody saw.
    pub(super) fn put(&self, request: Request, now: Timestamp) {
        let ballot = self.count(&request);
        let mut inner = self.inner.lock();
        if let Some(listed) = &mut inner.listed {
            listed.insert(request.id.clone());
        }
        let id = request.id.clone();
        let mut counted = Counted { request: Arc::new(request.slim()), ballot: Arc::new(ballot), over: false };
        match inner.requests.entry(id.clone()) {
            Entry::Occupied(mut old) => {
                let known = &old.get().request;
                if known.uid == counted.request.uid && !counted.request.newer_than(known) {
                    return;
                }
                counted.over = known.uid == counted.request.uid && old.get().over;
                old.insert(counted);
            }
            Entry::Vacant(place) => {
                place.insert(counted);
            }
        }
        inner.tell(&id, now, &self.metrics);
        drop(inner);
        self.changed.notify_one();
    }

    pub(super) fn remove(&self, id: &Id) {
        self.inner.lock().remove(id);
        self.changed.notify_one();
    }

    /// Another key counts other votes.
    pub(super) fn count_again(&self, now: Timestamp) {
        let all: Vec<Arc<Request>> = self.all().into_iter().map(|counted| counted.request).collect();
        for request in all {
            let ballot = Arc::new(self.count(&request));
            let mut inner = self.inner.lock();
            if let Some(counted) = inner.requests.get_mut(&request.id)
                && Arc::ptr_eq(&counted.request, &request)
            {
                counted.ballot = ballot;
                inner.tell(&request.id, now, &self.metrics);
            }
        }
        self.changed.notify_one();
    }

    /// Time passes: what has expired ends, what nobody follows any more is let go.
    pub(super) fn tick(&self, now: Timestamp) {
        let mut inner = self.inner.lock();
        if inner.bury(&self.lives, now) {
            self.changed.notify_one();
        }
        inner.followers.retain(|_, sender| sender.receiver_count() > 0);
        let followed: Vec<Id> = inner.followers.keys().cloned().collect();
        for id in followed {
            inner.tell(&id, now, &self.metrics);
        }
    }

    /// How the request stands, now and from now on. `None`: it is gone already.
    pub(super) fn follow(&self, id: &Id, now: Timestamp) -> Option<watch::Receiver<v1::Standing>> {
        let mut inner = self.inner.lock();
        let counted = inner.requests.get(id)?;
        let standing = outward(counted, now);
        let sender = inner.followers.entry(id.clone()).or_insert_with(|| watch::Sender::new(standing));
        let receiver = sender.subscribe();
        inner.tell(id, now, &self.metrics);
        Some(receiver)
    }

    /// Open requests of the namespace, and of the pod among them.
    pub(super) fn open(&self, namespace: &str, pod: &str, now: Timestamp) -> (usize, usize) {
        let inner = self.inner.lock();
        let open = inner.requests.values().filter(|counted| counted.request.id.0 == namespace && counted.is_open(now));
        let of_pod = |counted: &&Counted| counted.request.spec.subject.pod_uid.as_deref() == Some(pod);
        open.fold((0, 0), |(all, own), counted| (all + 1, own + usize::from(of_pod(&counted))))
    }

    pub(super) fn all(&self) -> Vec<Counted> {
        self.inner.lock().requests.values().cloned().collect()
    }

    /// The request whose grant covers this question, or would: an approved one first. All replicas that see the same
    /// find the same one.
    pub(super) fn granted(&self, asker: &Asker, checked: &Checked, now: Timestamp) -> Option<Id> {
        let inner = self.inner.lock();
        let near = |counted: &&Counted| {
            counted.request.id.0 == asker.pod.namespace() && counted.request.spec.target.name == checked.question.target
        };
        let covering = inner.requests.values().filter(near).filter_map(|counted| {
            let spec = &counted.request.spec;
            let tally = counted.tally(now);
            let approved = match (&tally.standing, &tally.grant) {
                (Standing::Approved, Some(grant)) => {
                    checked.is_covered(asker, spec, grant.scope, grant.broken.is_some()).then_some(true)
                }
                (Standing::Pending { .. }, _) => checked.is_covered(asker, spec, spec.scope, false).then_some(false),
                _ => None,
            }?;
            Some((!approved, counted.request.expires, &counted.request.uid, &counted.request.id))
        });
        covering.min().map(|(.., id)| id.clone())
    }

    pub(super) fn lives(&self) -> &Lives {
        &self.lives
    }

    /// Grants that count, by scope.
    pub(super) fn grants(&self, now: Timestamp) -> BTreeMap<&'static str, i64> {
        let mut grants = BTreeMap::new();
        for counted in self.inner.lock().requests.values() {
            let tally = counted.tally(now);
            if let (Standing::Approved, Some(grant)) = (&tally.standing, &tally.grant) {
                *grants.entry(grant.word()).or_insert(0_i64) += 1;
            }
        }
        grants
    }

    /// Pending requests by namespace.
    pub(super) fn pending(&self, now: Timestamp) -> BTreeMap<String, Waiting> {
        let mut pending: BTreeMap<String, Waiting> = BTreeMap::new();
        for counted in self.inner.lock().requests.values() {
            if matches!(counted.tally(now).standing, Standing::Pending { .. }) {
                let waiting = pending.entry(counted.request.id.0.clone()).or_default();
                waiting.pending = waiting.pending.saturating_add(1);
                waiting.late = waiting.late.saturating_add(i64::from(counted.request.late(now)));
            }
        }
        pending
    }

    /// What its own call ended; the rest is counted by the leader.
    pub(super) fn ended(&self, outcome: &'static str) {
        self.metrics.approval_ended(outcome);
    }

    fn count(&self, request: &Request) -> Ballot {
        let Some(key) = self.key.get() else { return Ballot::default() };
        let ballot = Ballot::read(request, &key);
        if ballot.ignored > 0 {
            self.metrics.approval_records_ignored(ballot.ignored);
            let (namespace, name) = &request.id;
            tracing::warn!(event = "approval_record_ignored", namespace, name, records = ballot.ignored);
        }
        ballot
    }
}

// === impl Inner ===

impl Inner {
    fn tell(&mut self, id: &Id, now: Timestamp, metrics: &Metrics) {
        let (Some(counted), Some(sender)) = (self.requests.get(id), self.followers.get(id)) else { return };
        let standing = outward(counted, now);
        let approved = |told: &v1::Standing| matches!(told.standing, Some(standing::Standing::Approved(_)));
        let mut released = false;
        sender.send_if_modified(|told| {
            released = approved(&standing) && !approved(told);
            let changed = *told != standing;
            *told = standing;
            changed
        });
        if released && let Some(last) = counted.ballot.last() {
            metrics.approval_released(now.duration_since(last).try_into().unwrap_or_default());
        }
    }

    /// Marks what nobody can use any more; says whether there was any.
    fn bury(&mut self, lives: &Lives, now: Timestamp) -> bool {
        let mut open = HashSet::new();
        let mut buried = false;
        for counted in self.requests.values_mut().filter(|counted| counted.is_open(now)) {
            let spec = &counted.request.spec;
            let grant = counted.tally(now).grant;
            let scope = grant.map_or(spec.scope, |grant| grant.scope);
            let job = spec.grant.as_ref().and_then(|grant| grant.job.as_ref()).filter(|_| scope == Scope::Task);
            let over = match (job, &spec.subject.pod_uid) {
                (Some(job), _) => lives.job_is_over(&job.uid) == Some(true),
                (None, None) => false,
                (None, Some(pod)) => match lives.pod_lives(pod) {
                    None => {
                        open.insert(pod.clone());
                        false
                    }
                    Some(true) => {
                        self.seen.insert(pod.clone());
                        open.insert(pod.clone());
                        false
                    }
                    // One that was never seen may not have been heard of yet.
                    Some(false) => self.seen.contains(pod),
                },
            };
            counted.over |= over;
            buried |= over;
        }
        self.seen.retain(|pod| open.contains(pod));
        buried
    }

    fn remove(&mut self, id: &Id) {
        self.requests.remove(id);
        if let Some(sender) = self.followers.remove(id) {
            sender.send_modify(|told| told.standing = Some(standing::Standing::Ended(v1::Ended::Revoked.into())));
        }
    }
}

// === impl Counted ===

impl Counted {
    pub(super) fn tally(&self, now: Timestamp) -> Tally {
        let mut tally = Tally::of(&self.request, &self.ballot, now);
        if self.over && matches!(tally.standing, Standing::Pending { .. } | Standing::Approved) {
            tally.standing = Standing::Revoked;
        }
        tally
    }

    pub(super) fn is_open(&self, now: Timestamp) -> bool {
        matches!(self.tally(now).standing, Standing::Pending { .. } | Standing::Approved)
    }
}

/// As sidecars see it. A used approval looks approved: using it again says that it is used.
fn outward(counted: &Counted, now: Timestamp) -> v1::Standing {
    let tally = counted.tally(now);
    let ended = |how: v1::Ended| standing::Standing::Ended(how.into());
    let standing = match tally.standing {
        Standing::Pending { have, need } => {
            standing::Standing::Pending(v1::Pending { have: have.into(), need: need.into() })
        }
        Standing::Approved | Standing::Consumed => standing::Standing::Approved(v1::Approved { by: tally.approvers }),
        Standing::Denied => {
            let (by, reason) = tally.denied.unwrap_or_default();
            standing::Standing::Denied(v1::Denied { by, reason })
        }
        Standing::Expired => ended(v1::Ended::Expired),
        Standing::Withdrawn => ended(v1::Ended::Withdrawn),
        Standing::Revoked => ended(v1::Ended::Revoked),
    };
    v1::Standing { name: counted.request.id.1.clone(), standing: Some(standing) }
}

#[cfg(test)]
mod tests;
