//! Ending: stop accepting, let sessions finish what they have begun, be gone in time.
//!
//! Durability never depends on a drain; a process that is killed instead loses no record.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// Shared by listeners and sessions; cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    draining: watch::Sender<bool>,
    sessions: watch::Sender<usize>,
}

/// Counts one session for as long as it lives.
#[derive(Debug)]
pub struct SessionGuard {
    shared: Arc<Shared>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    Complete,
    /// This many sessions had to be cut.
    Cut(usize),
}

// === impl Drain ===

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drain {
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared { draining: watch::Sender::new(false), sessions: watch::Sender::new(0) }) }
    }

    /// Begins the drain; again and again is the same as once.
    pub fn start(&self) {
        self.shared.draining.send_replace(true);
    }

    pub fn is_draining(&self) -> bool {
        *self.shared.draining.borrow()
    }

    /// Resolves when the drain begins. Cancel-safe.
    pub async fn draining(&self) {
        let mut seen = self.shared.draining.subscribe();
        // The sender lives as long as `self`, so that an error cannot happen.
        let _ = seen.wait_for(|started| *started).await;
    }

    /// To be held by a session from accept to its last record.
    pub fn session(&self) -> SessionGuard {
        self.shared.sessions.send_modify(|n| *n = n.saturating_add(1));
        SessionGuard { shared: Arc::clone(&self.shared) }
    }

    pub fn sessions(&self) -> usize {
        *self.shared.sessions.borrow()
    }

    /// Waits at most `grace` until no session is left.
    pub async fn finish(&self, grace: Duration) -> Drained {
        let mut left = self.shared.sessions.subscribe();
        match tokio::time::timeout(grace, left.wait_for(|n| *n == 0)).await {
            Ok(_) => Drained::Complete,
            Err(_) => match self.sessions() {
                0 => Drained::Complete,
                n => Drained::Cut(n),
            },
        }
    }
}

// === impl SessionGuard ===

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.shared.sessions.send_modify(|n| *n = n.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_sessions_and_cuts_at_the_grace() {
        let grace = Duration::from_millis(200);
        let drain = Drain::new();
        assert!(!drain.is_draining());
        assert_eq!(drain.finish(grace).await, Drained::Complete);

        let (first, second) = (drain.session(), drain.session());
        drain.start();
        drain.draining().await;
        assert!(drain.clone().is_draining());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(first);
        });
        let begun = tokio::time::Instant::now();
        assert_eq!(drain.finish(grace).await, Drained::Cut(1));
        assert!(begun.elapsed() >= grace);
        drop(second);
        assert_eq!(drain.finish(grace).await, Drained::Complete);
    }
}
