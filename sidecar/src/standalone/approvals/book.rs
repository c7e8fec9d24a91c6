//! All requests that are open, and those that ended not long ago. No IO and no waiting here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crds::approval::ApprovalRequest;
use policy::TargetKey;
use policy::operation::{Digest, Revision};
use policy::subject::Subject;

use super::request::Request;

/// Ended requests are shown for this long.
pub(super) const KEEP_ENDED: Duration = Duration::from_secs(24 * 3600);
/// Most ended requests that are kept; the oldest goes first.
pub(super) const MOST_ENDED: usize = 500;

#[derive(Debug, Default)]
pub(super) struct Book {
    requests: BTreeMap<String, Request>,
    /// Of earlier lives of the process, all ended, with the moment at which they go.
    past: BTreeMap<String, (ApprovalRequest, Instant)>,
}

// === impl Book ===

impl Book {
    pub(super) fn get(&self, name: &str) -> Option<&Request> {
        self.requests.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Request> {
        self.requests.get_mut(name)
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.requests.contains_key(name) || self.past.contains_key(name)
    }

    pub(super) fn insert(&mut self, name: String, request: Request) {
        self.requests.insert(name, request);
    }

    pub(super) fn insert_past(&mut self, name: String, object: ApprovalRequest, goes: Instant) {
        self.past.insert(name, (object, goes));
    }

    /// The open or approved request for exactly this: same subject, target, operation and policies.
    pub(super) fn open_for(
        &self,
        subject: &Subject,
        target: &TargetKey,
        digest: Digest,
        revision: Revision,
    ) -> Option<(&String, &Request)> {
        self.requests.iter().find(|(_, r)| {
            r.ask.digest == digest
                && r.ask.revision == revision
                && r.ask.target == *target
                && *r.ask.subject == *subject
                && r.is_open()
        })
    }

    pub(super) fn pending(&self) -> usize {
        self.requests.values().filter(|r| r.is_pending()).count()
    }

    /// Open ones of one subject, including approved ones that nobody used yet.
    pub(super) fn open_of(&self, subject: &policy::subject::Subject) -> usize {
        self.requests.values().filter(|r| r.is_open() && *r.ask.subject == *subject).count()
    }

    /// Open ones, including approved ones that nobody used yet.
    pub(super) fn open(&self) -> usize {
        self.requests.values().filter(|r| r.is_open()).count()
    }

    /// Those whose time is over and who were not told so yet.
    pub(super) fn expired(&self) -> Vec<String> {
        self.requests.iter().filter(|(_, r)| r.ended.is_none() && !r.is_open()).map(|(name, _)| name.clone()).collect()
    }

    /// When something happens without anybody acting.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let requests = self.requests.values().filter_map(|r| match r.ended {
            None => r.deadline(),
            Some(ended) => ended.checked_add(KEEP_ENDED),
        });
        requests.chain(self.past.values().map(|(_, goes)| *goes)).min()
    }

    /// Forgets what ended long ago or is too much, and names it.
    pub(super) fn forget(&mut self) -> Vec<String> {
        let now = Instant::now();
        let mut gone: Vec<String> =
            self.past.iter().filter(|(_, (_, goes))| *goes <= now).map(|(name, _)| name.clone()).collect();
        let mut ended: Vec<(Instant, &String)> =
            self.requests.iter().filter_map(|(name, r)| Some((r.ended?, name))).collect();
        ended.sort();
        let too_many = ended.len().saturating_sub(MOST_ENDED);
        let old = |at: &Instant| at.checked_add(KEEP_ENDED).is_none_or(|goes| goes <= now);
        gone.extend(
            ended.iter().enumerate().filter(|(n, (at, _))| *n < too_many || old(at)).map(|(_, (_, n))| (*n).clone()),
        );
        for name in &gone {
            self.past.remove(name);
            self.requests.remove(name);
        }
        gone
    }

    /// Everything as objects: pending ones first, then by age, the newest first.
    pub(super) fn objects(&self) -> Vec<ApprovalRequest> {
        let mut requests: Vec<(&String, &Request)> = self.requests.iter().collect();
        requests.sort_by_key(|(_, r)| (!r.is_pending(), r.age()));
        let past = self.past.values().map(|(object, _)| object.clone());
        requests.into_iter().map(|(name, r)| r.object(name)).chain(past).collect()
    }

    pub(super) fn object(&self, name: &str) -> Option<ApprovalRequest> {
        self.requests.get(name).map(|r| r.object(name)).or_else(|| self.past.get(name).map(|(o, _)| o.clone()))
    }
}
