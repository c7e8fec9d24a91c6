//! Bounds on looking ahead: how often, and how many at once.
//!
//! An agent that sends a thousand different statements must not have the target plan and count for each; whoever sends the
//! same again while its request is open is not looked for again (see the gate). Invariant: in one minute no more than
//! `A_MINUTE` previews of one target are begun, whichever connections ask.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use policy::TargetKey;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const MINUTE: Duration = Duration::from_secs(60);
/// Previews of one target.
const A_MINUTE: usize = 30;
/// Connections of our own for previews, to all targets together.
const AT_ONCE: usize = 4;

#[derive(Debug)]
pub struct Previews {
    begun: parking_lot::Mutex<HashMap<TargetKey, VecDeque<Instant>>>,
    places: Arc<Semaphore>,
}

impl Default for Previews {
    fn default() -> Self {
        Self { begun: parking_lot::Mutex::default(), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Previews {
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
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
