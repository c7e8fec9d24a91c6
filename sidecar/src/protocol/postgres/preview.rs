//! Bounds on looking ahead: how often, how many at once, and what was found a moment ago.
//!
//! An agent that sends the same again while its request is open, or a thousand different statements, must not have the
//! target plan and count for each. Invariant: in one minute no more than `A_MINUTE` previews of one target are begun,
//! whichever connections ask, and one of the same operation is begun at most once in `FRESH`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use policy::TargetKey;
use policy::impact::Impact;
use policy::operation::{Digest, Revision};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long what was found is good for the same operation.
const FRESH: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);
/// Previews of one target.
const A_MINUTE: usize = 30;
/// Connections of our own for previews, to all targets together.
const AT_ONCE: usize = 4;
/// Operations whose impact is remembered.
const MOST: usize = 256;

/// An operation under the policy that it was planned under.
pub type Key = (Digest, Revision);

#[derive(Debug)]
pub struct Previews {
    found: parking_lot::Mutex<HashMap<Key, (Instant, Impact)>>,
    begun: parking_lot::Mutex<HashMap<TargetKey, VecDeque<Instant>>>,
    places: Arc<Semaphore>,
}

impl Default for Previews {
    fn default() -> Self {
        Self {
            found: parking_lot::Mutex::default(),
            begun: parking_lot::Mutex::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Previews {
    /// What was found out about the same operation a moment ago.
    pub fn recent(&self, key: &Key) -> Option<Impact> {
        let found = self.found.lock();
        found.get(key).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, impact)| impact.clone())
    }

    /// A place for one preview.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub fn begin(&self, target: &TargetKey) -> Result<OwnedSemaphorePermit, &'static str> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| "too many were made at the same time")?;
        let now = Instant::now();
        let mut all = self.begun.lock();
        // A target that is gone is not remembered.
        all.retain(|_, begun| begun.back().is_some_and(|last| now.duration_since(*last) < MINUTE));
        let begun = all.entry(target.clone()).or_default();
        while begun.front().is_some_and(|first| now.duration_since(*first) >= MINUTE) {
            begun.pop_front();
        }
        if begun.len() >= A_MINUTE {
            return Err("too many were made in the last minute");
        }
        begun.push_back(now);
        Ok(place)
    }

    pub fn keep(&self, key: Key, impact: Impact) {
        let mut found = self.found.lock();
        if found.len() >= MOST {
            found.retain(|_, (at, _)| at.elapsed() < FRESH);
        }
        if found.len() < MOST {
            found.insert(key, (Instant::now(), impact));
        }
    }

    /// Its approval was used: whoever sends it again is told of the moment of that.
    pub fn forget(&self, key: &Key) {
        self.found.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u16) -> Key {
        let mut digest = [0; 32];
        digest[..2].copy_from_slice(&n.to_be_bytes());
        (Digest(digest), Revision([1; 32]))
    }

    fn target(name: &str) -> TargetKey {
        TargetKey { namespace: "local".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn so_many_of_one_target_in_a_minute_and_so_many_at_once() {
        let previews = Previews::default();
        let held: Vec<_> = (0..AT_ONCE).map(|_| previews.begin(&target("a")).unwrap()).collect();
        assert_eq!(previews.begin(&target("b")).unwrap_err(), "too many were made at the same time");
        drop(held);
        for _ in AT_ONCE..A_MINUTE {
            drop(previews.begin(&target("a")).unwrap());
        }
        assert_eq!(previews.begin(&target("a")).unwrap_err(), "too many were made in the last minute");
        drop(previews.begin(&target("b")).unwrap());
    }

    #[test]
    fn what_was_found_is_remembered_and_not_without_end() {
        let previews = Previews::default();
        assert_eq!(previews.recent(&key(0)), None);
        for n in 0..1_000 {
            previews.keep(key(n), Impact::none("why"));
        }
        assert_eq!(previews.found.lock().len(), MOST);
        assert_eq!(previews.recent(&key(0)), Some(Impact::none("why")));
        assert_eq!(
            previews.recent(&(key(0).0, Revision([2; 32]))),
            None,
            "under another policy it is another operation"
        );
        previews.forget(&key(0));
        assert_eq!(previews.recent(&key(0)), None);
    }
}
