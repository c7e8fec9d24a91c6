//! When an object may be written. Pure: the time is given.
//!
//! Invariants: at most [`RATE`] writes begin in any second, at most one for each object in [`GAP`], and at most
//! [`AT_ONCE`] are under way. Whoever waits longest comes first. The same words again, because somebody wrote over them or
//! because they were not taken, wait twice as long each time.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crds::status::PolicyStatus;

use crate::index::Key;

/// Writes that begin in any second, of all objects.
pub(super) const RATE: usize = 20;
/// Writes under way.
pub(super) const AT_ONCE: usize = 16;
/// Between two writes of one object.
pub(super) const GAP: Duration = Duration::from_secs(5);
/// The same for the same words again and again.
pub(super) const LONGEST: Duration = Duration::from_secs(5 * 60);
/// For how long a word that will soon be known better is not said.
pub(super) const UNSURE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Pace {
    turns: BTreeMap<Key, Turn>,
    /// When the last ones began, at most [`RATE`].
    begun: VecDeque<Instant>,
}

/// Of one object, as long as it is there.
#[derive(Debug)]
struct Turn {
    uid: String,
    /// Since when there is something to write.
    waits: Option<Instant>,
    unsure: Option<Instant>,
    /// Not before.
    next: Option<Instant>,
    under_way: bool,
    /// What was said last, without its times, and how often without a break.
    said: Option<(PolicyStatus, u32)>,
    written: Option<PolicyStatus>,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Written(Box<PolicyStatus>),
    /// It is not there any more, or another of its name is.
    Gone,
    Failed,
}

// === impl Pace ===

impl Pace {
    /// These are all that there are, by uid; what is kept of others is let go.
    pub(super) fn only(&mut self, there: &BTreeMap<Key, String>) {
        self.turns.retain(|key, turn| turn.under_way || there.get(key) == Some(&turn.uid));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Whether anything waits or is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.turns.values().any(|turn| turn.under_way || turn.waits.is_some())
    }

    /// What was written last of this very object.
    pub(super) fn written(&self, key: &Key, uid: &str) -> Option<&PolicyStatus> {
        self.turns.get(key).filter(|turn| turn.uid == uid)?.written.as_ref()
    }

    /// Whether it may be said now that something is not known. To be asked at each look.
    pub(super) fn patient(&mut self, key: &Key, uid: &str, unsure: bool, now: Instant) -> bool {
        let turn = self.turn(key, uid);
        if !unsure {
            turn.unsure = None;
            return true;
        }
        let since = *turn.unsure.get_or_insert(now);
        now.saturating_duration_since(since) >= UNSURE
    }

    /// There is nothing to write.
    pub(super) fn settled(&mut self, key: &Key, uid: &str) {
        self.turn(key, uid).waits = None;
    }

    /// There is something to write.
    pub(super) fn waits(&mut self, key: &Key, uid: &str, now: Instant) {
        self.turn(key, uid).waits.get_or_insert(now);
    }

    /// Those that may be written now, who waits longest first. Each must be begun or is asked about again.
    pub(super) fn due(&self, now: Instant) -> Vec<Key> {
        let free = |turn: &Turn| !turn.under_way && turn.next.is_none_or(|next| next <= now);
        let due = self.turns.iter().filter(|(_, turn)| free(turn));
        let mut due: Vec<(Instant, &Key)> = due.filter_map(|(key, turn)| Some((turn.waits?, key))).collect();
        due.sort();
        let under_way = self.turns.values().filter(|turn| turn.under_way).count();
        let second = self.begun.iter().filter(|begun| now.saturating_duration_since(**begun) < Duration::from_secs(1));
        let room = RATE.saturating_sub(second.count()).min(AT_ONCE.saturating_sub(under_way));
        due.into_iter().take(room).map(|(_, key)| key.clone()).collect()
    }

    /// It is being written now.
    pub(super) fn begin(&mut self, key: &Key, uid: &str, said: &PolicyStatus, now: Instant) {
        if self.begun.len() >= RATE {
            self.begun.pop_front();
        }
        self.begun.push_back(now);
        let turn = self.turn(key, uid);
        let said = words(said);
        let again = match turn.said.take() {
            Some((before, again)) if before == said => again.saturating_add(1),
            _ => 0,
        };
        turn.said = Some((said, again));
        (turn.under_way, turn.waits, turn.next) = (true, None, now.checked_add(pause(again)));
    }

    pub(super) fn done(&mut self, key: &Key, uid: &str, done: Done) {
        let Some(turn) = self.turns.get_mut(key) else { return };
        turn.under_way = false;
        match done {
            Done::Written(status) if turn.uid == uid => turn.written = Some(*status),
            Done::Written(_) | Done::Gone | Done::Failed => {}
        }
    }

    fn turn(&mut self, key: &Key, uid: &str) -> &mut Turn {
        let new = |under_way| Turn {
            uid: uid.to_owned(),
            waits: None,
            unsure: None,
            next: None,
            under_way,
            said: None,
            written: None,
        };
        let turn = self.turns.entry(key.clone()).or_insert_with(|| new(false));
        if turn.uid != uid {
            // Another object of the same name; what is under way of the first one still is.
            *turn = new(turn.under_way);
        }
        turn
    }
}

/// A write that failed is tried again with the time of its own.
fn words(status: &PolicyStatus) -> PolicyStatus {
    let mut words = PolicyStatus { last_sync_time: None, ..status.clone() };
    words.conditions.iter_mut().for_each(|condition| condition.last_transition_time.clear());
    words
}

/// After words that were said `again` times before.
fn pause(again: u32) -> Duration {
    GAP.saturating_mul(1u32.checked_shl(again.min(16)).unwrap_or(u32::MAX)).min(LONGEST)
}

#[cfg(test)]
mod tests;
