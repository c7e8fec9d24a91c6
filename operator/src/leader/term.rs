//! The word that this replica leads, which is good for a while.
//!
//! Work that only the leader does asks before each piece of it. Whoever is not told again stops by itself: a leader that was
//! cut off does not go on beside its successor.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long one word is good.
const LENGTH: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub(crate) struct Term(Mutex<Option<Instant>>);

// === impl Term ===

impl Term {
    /// This replica leads, for now; to be said again and again.
    pub(crate) fn begin(&self) {
        *self.0.lock() = Instant::now().checked_add(LENGTH);
    }

    /// It leads no longer, from now on.
    pub(crate) fn end(&self) {
        *self.0.lock() = None;
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.lock().is_some_and(|until| Instant::now() < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_by_itself_or_at_once() {
        let term = Term::default();
        assert!(!term.is_on());
        term.begin();
        assert!(term.is_on());
        *term.0.lock() = Instant::now().checked_sub(Duration::from_millis(1));
        assert!(!term.is_on());
        term.begin();
        term.end();
        assert!(!term.is_on());
    }
}
