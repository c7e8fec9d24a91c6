//! When to ask again for what we were told that we may not read: a role may come at any time, and every question costs
//! the API server something. Pure.
//!
//! Invariant: between two questions lie [`Pauses::first`] at least and [`Pauses::last`] at most.

use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses {
    pub(super) first: Duration,
    pub(super) last: Duration,
}

/// Of one thing that is asked for.
#[derive(Debug)]
pub(super) struct Patience {
    pauses: Pauses,
    /// Of the first refusal since it was read, or since somebody changed what is wanted.
    since: Option<Instant>,
}

// === impl Pauses ===

impl Pauses {
    /// Of Secrets.
    pub(super) const REFUSED: Self = Self { first: Duration::from_secs(10), last: Duration::from_secs(300) };
}

// === impl Patience ===

impl Patience {
    pub(super) fn new(pauses: Pauses) -> Self {
        Self { pauses, since: None }
    }

    /// After a refusal: as long again as it has been refused, so that who grants a role soon is not kept waiting.
    pub(super) fn refused(&mut self, now: Instant) -> Duration {
        let since = *self.since.get_or_insert(now);
        now.saturating_duration_since(since).clamp(self.pauses.first, self.pauses.last)
    }

    /// It was read, or is wanted anew: the pause from the last question on.
    pub(super) fn reset(&mut self) -> Duration {
        self.since = None;
        self.pauses.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When it is asked, in seconds, until `end`.
    fn asked(patience: &mut Patience, start: Instant, from: u64, end: u64) -> Vec<u64> {
        let (mut at, mut all) = (from, Vec::new());
        while at <= end {
            all.push(at);
            at += patience.refused(start + Duration::from_secs(at)).as_secs();
        }
        all
    }

    #[test]
    fn pauses_double_up_to_five_minutes_and_begin_anew() {
        let (mut patience, start) = (Patience::new(Pauses::REFUSED), Instant::now());
        let first = asked(&mut patience, start, 0, 1_000);
        assert_eq!(first, [0, 10, 20, 40, 80, 160, 320, 620, 920]);
        assert_eq!(patience.reset(), Duration::from_secs(10));
        assert_eq!(asked(&mut patience, start, 1_000, 1_100), [1_000, 1_010, 1_020, 1_040, 1_080]);
        // An hour and more: still every five minutes.
        assert_eq!(asked(&mut patience, start, 9_000, 9_600), [9_000, 9_300, 9_600]);
    }
}
