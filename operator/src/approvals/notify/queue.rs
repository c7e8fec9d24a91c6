//! What waits to be told: pure; time and chance come from outside.
//!
//! It is filled anew from what is stored, again and again, so that it may forget but never lose what is still there. Of one
//! request things are told in their order, one at a time; of all requests those first for which the glass was broken.
//! Invariants: it never holds more than its bound, a thing that was told is not told again by this process, and what
//! fails waits longer each time, up to a bound, and is given up in the end.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crds::approval::Notice;
use jiff::Timestamp;

use super::fact::{Fact, notices, stale};
use crate::approvals::book::Counted;
use crate::approvals::request::Id;

/// Things that wait at once. Others of requests that are there are looked at again later.
const MOST: usize = 1_024;
/// Places beyond those for requests of which the glass was broken: an agent that asks without end takes none of them.
const KEPT: usize = 128;
/// After the first failure; each one after it doubles.
const FIRST: Duration = Duration::from_secs(1);
/// Between two tries of an endpoint that is away, and of one thing that it refuses.
const LONGEST: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(300));
/// Then a thing is given up: refused so often, or after such a time.
const TRIES: u32 = 50;
const AGE: Duration = Duration::from_secs(6 * 60 * 60);
/// After so many failures in a row people are told on the request itself.
const LOUD: u32 = 5;
/// Between two tries to write down what was told.
const MARK: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// By uid of the request.
    requests: HashMap<String, Entry>,
    waiting: usize,
    /// The endpoint is left alone until then.
    rests: Option<Instant>,
    /// Calls in a row that found it away.
    away: u32,
}

#[derive(Debug)]
struct Entry {
    counted: Counted,
    gone: bool,
    /// Told, given up, or too old: not again by this process.
    done: BTreeSet<Notice>,
    /// What the endpoint has taken.
    sent: BTreeSet<Notice>,
    /// What stands in the status.
    marked: BTreeSet<Notice>,
    mark_again: Option<Instant>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    fact: Fact,
    since: Instant,
    /// Calls for it that failed, and those of them that it was to blame for.
    failures: u32,
    refused: u32,
    not_before: Instant,
}

/// How a call ended that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// For every thing: it cannot be reached, is busy or broken. It may say for how long.
    Endpoint(Option<Duration>),
    /// For this thing.
    Thing,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Later,
    /// And people should hear of it.
    Loud,
    GivenUp,
}

/// What was told of one request and does not stand in its status yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) uid: String,
    pub(super) id: Id,
    pub(super) told: Vec<Notice>,
}

// === impl Queue ===

impl Queue {
    /// What is stored now, all of it. Says how many things were dropped, of requests that are gone and would not come again.
    pub(super) fn look(&mut self, all: &[Counted], wall: Timestamp, now: Instant) -> usize {
        let mut seen: Vec<(&Counted, Vec<Notice>)> = all.iter().map(|one| (one, notices(one, wall))).collect();
        seen.sort_by_key(|(_, notices)| !is_broken(notices));
        for (counted, notices) in seen {
            self.see(counted, notices, wall, now);
        }
        let there: HashSet<&str> = all.iter().map(|counted| counted.request.uid.as_str()).collect();
        let mut dropped = 0;
        for (_, entry) in self.requests.iter_mut().filter(|(uid, _)| !there.contains(uid.as_str())) {
            if entry.gone {
                continue;
            }
            entry.gone = true;
            if entry.counted.is_open(wall) && entry.lacks(Notice::Ended) {
                match self.waiting < room(&notices(&entry.counted, wall)) {
                    true => {
                        self.waiting = self.waiting.saturating_add(1);
                        entry.waits(Fact::of(Notice::Ended, &entry.counted, true, wall), now);
                    }
                    false => dropped += 1,
                }
            }
        }
        self.requests.retain(|_, entry| !entry.gone || !entry.waiting.is_empty());
        dropped
    }

    fn see(&mut self, counted: &Counted, notices: Vec<Notice>, wall: Timestamp, now: Instant) {
        let request = &counted.request;
        let marked: BTreeSet<Notice> =
            request.status.iter().flat_map(|status| status.notified.iter().copied()).collect();
        let entry = self.requests.entry(request.uid.clone()).or_insert_with(|| {
            let mut done = marked.clone();
            if marked.is_empty() && stale(counted, wall) {
                // But what one person let through alone is always told.
                done.extend(notices.iter().copied().filter(|notice| *notice != Notice::BreakGlass));
            }
            Entry::new(counted.clone(), done)
        });
        (entry.counted, entry.gone) = (counted.clone(), false);
        entry.marked.clone_from(&marked);
        // Another leader may have told it.
        entry.done.extend(marked);
        let room = room(&notices);
        for notice in notices {
            if self.waiting < room && entry.lacks(notice) {
                self.waiting = self.waiting.saturating_add(1);
                entry.waits(Fact::of(notice, counted, false, wall), now);
            }
        }
    }

    /// What is to be told now, with the uid of its request.
    pub(super) fn next(&self, now: Instant) -> Option<(String, Fact)> {
        if self.rests.is_some_and(|until| now < until) {
            return None;
        }
        let due = self.requests.iter().filter_map(|(uid, entry)| {
            let head = entry.waiting.front().filter(|head| head.not_before <= now)?;
            let loud = entry.waiting.iter().any(|one| one.fact.notice == Notice::BreakGlass);
            Some((!loud, head.since, uid, head))
        });
        let first = due.min_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)));
        first.map(|(.., uid, head)| (uid.clone(), head.fact.clone()))
    }

    /// The endpoint took it.
    pub(super) fn sent(&mut self, uid: &str, notice: Notice) {
        (self.away, self.rests) = (0, None);
        if let Some(entry) = self.requests.get_mut(uid) {
            entry.sent.insert(notice);
        }
        self.close(uid, notice);
    }

    /// It did not. `chance` makes waits of many differ.
    pub(super) fn failed(&mut self, uid: &str, notice: Notice, fault: Fault, now: Instant, chance: u16) -> Next {
        match fault {
            Fault::Endpoint(asked) => {
                self.away = self.away.saturating_add(1);
                let rest = pause(self.away, LONGEST.0, chance).max(asked.unwrap_or_default().min(LONGEST.1));
                self.rests = now.checked_add(rest);
            }
            Fault::Thing => {
                self.away = 0;
                // Many that are refused are no flood.
                self.rests = now.checked_add(pause(1, LONGEST.0, chance));
            }
        }
        let head = self.requests.get_mut(uid).and_then(|entry| entry.waiting.front_mut());
        let Some(head) = head.filter(|head| head.fact.notice == notice) else { return Next::Later };
        head.failures = head.failures.saturating_add(1);
        if fault == Fault::Thing {
            head.refused = head.refused.saturating_add(1);
            head.not_before = now.checked_add(pause(head.refused, LONGEST.1, chance)).unwrap_or(now);
        }
        let (failures, age) = (head.failures, now.saturating_duration_since(head.since));
        if head.refused >= TRIES || age >= AGE {
            self.close(uid, notice);
            return Next::GivenUp;
        }
        if failures == LOUD { Next::Loud } else { Next::Later }
    }

    /// The endpoint is another one now: nothing that was found out about the old one counts.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        (self.away, self.rests) = (0, None);
        for head in self.requests.values_mut().filter_map(|entry| entry.waiting.front_mut()) {
            head.not_before = now;
        }
    }

    /// What is to be written down. Before it stands in the status it is handed out again, now and then.
    pub(super) fn marks(&mut self, now: Instant) -> Vec<Mark> {
        let mut marks = Vec::new();
        for (uid, entry) in &mut self.requests {
            // The leader's own word comes first in a status.
            let written = entry.counted.request.status.is_some() && !entry.gone;
            let due = entry.mark_again.is_none_or(|at| at <= now);
            if written && due && !entry.sent.is_subset(&entry.marked) {
                entry.mark_again = now.checked_add(MARK);
                let told = entry.sent.union(&entry.marked).copied().collect();
                marks.push(Mark { uid: uid.clone(), id: entry.counted.request.id.clone(), told });
            }
        }
        marks
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// How long the oldest has waited.
    pub(super) fn oldest(&self, now: Instant) -> Duration {
        let heads = self.requests.values().filter_map(|entry| entry.waiting.front());
        heads.map(|head| now.saturating_duration_since(head.since)).max().unwrap_or_default()
    }

    fn close(&mut self, uid: &str, notice: Notice) {
        let Some(entry) = self.requests.get_mut(uid) else { return };
        entry.done.insert(notice);
        if entry.waiting.pop_front_if(|head| head.fact.notice == notice).is_some() {
            self.waiting = self.waiting.saturating_sub(1);
        }
    }
}

// === impl Entry ===

impl Entry {
    fn new(counted: Counted, done: BTreeSet<Notice>) -> Self {
        Self {
            counted,
            gone: false,
            done,
            sent: BTreeSet::new(),
            marked: BTreeSet::new(),
            mark_again: None,
            waiting: VecDeque::new(),
        }
    }

    fn lacks(&self, notice: Notice) -> bool {
        !self.done.contains(&notice) && !self.waiting.iter().any(|one| one.fact.notice == notice)
    }

    fn waits(&mut self, fact: Fact, now: Instant) {
        self.waiting.push_back(Waiting { fact, since: now, failures: 0, refused: 0, not_before: now });
    }
}

fn is_broken(notices: &[Notice]) -> bool {
    notices.contains(&Notice::BreakGlass)
}

/// How many things may wait when one of these is added.
fn room(notices: &[Notice]) -> usize {
    if is_broken(notices) { MOST.saturating_add(KEPT) } else { MOST }
}

/// Doubles up to `longest`; half of it is chance.
fn pause(failures: u32, longest: Duration, chance: u16) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let half = FIRST.saturating_mul(doubled).min(longest).checked_div(2).unwrap_or(FIRST);
    half.saturating_add(half.saturating_mul(u32::from(chance)).checked_div(u32::from(u16::MAX)).unwrap_or_default())
}

#[cfg(test)]
mod tests;
