//! What a session has run under: grants, each with its end.
//!
//! Invariant: a session of which something was let through under a grant does not outlive it. Whoever was told "for half
//! an hour" is right about an open transaction, a cursor and a statement that still runs, too.

use std::time::{Duration, Instant};

use policy::operation::Revision;
use tokio::time::{sleep, timeout};

use super::Desk;
use crate::outside::{Lease, Standing};

/// Between two looks at clock and standing.
const LOOK: Duration = Duration::from_millis(250);
/// For all that a session gives back.
const LAST_WORD: Duration = Duration::from_secs(5);
/// Of one session.
pub(super) const MOST: usize = 64;

const OVER: &str = "the approval that this connection ran under has ended: connect again and ask anew";
const REVOKED: &str = "the approval that this connection ran under was revoked: connect again and ask anew";
const OTHER_POLICY: &str =
    "the access policy changed, and ends the approval that this connection ran under: connect again and ask anew";

// === impl Lease ===

impl Lease {
    /// Why it does not count any more.
    pub(super) fn over(&self) -> Option<&'static str> {
        if Instant::now() >= self.ends {
            return Some(OVER);
        }
        match *self.standing.borrow() {
            Standing::Approved { .. } if self.standing.has_changed().is_ok() => None,
            Standing::Revoked => Some(REVOKED),
            // Or nobody tells any more how it stands.
            Standing::Approved { .. }
            | Standing::Pending { .. }
            | Standing::Denied { .. }
            | Standing::Expired
            | Standing::Withdrawn => Some(OVER),
        }
    }
}

impl Desk {
    /// From now on the session ends with this grant. Says whether there was room.
    pub(super) fn hold(&mut self, lease: Lease) -> bool {
        if let Some(held) = self.leases.iter_mut().find(|held| held.name == lease.name) {
            held.ends = held.ends.min(lease.ends);
            return true;
        }
        let room = self.leases.len() < MOST;
        if room {
            self.leases.push(lease);
        }
        room
    }

    /// Why the session has to end with a grant, if it has to.
    pub(super) fn lapsed(&self, revision: Revision) -> Option<&'static str> {
        let over = |lease: &Lease| match lease.revision == revision {
            true => lease.over(),
            false => Some(OTHER_POLICY),
        };
        self.leases.iter().find_map(over)
    }

    /// Whether this approval let something through as a grant and is none any more.
    pub(super) fn is_over(&self, request: &str) -> bool {
        self.leases.iter().any(|lease| lease.name == request && lease.over().is_some())
    }

    /// The session is over, and with it what was granted to it alone, and under a policy that is not in force any more:
    /// that one would count again if the policy came back.
    pub async fn close(&mut self) {
        let leases = std::mem::take(&mut self.leases);
        let revision = self.revision();
        let withdrawn = async {
            for lease in leases.iter().filter(|lease| lease.of_session || lease.revision != revision) {
                self.gate.approvals.withdraw(&lease.name).await;
            }
        };
        // What is not withdrawn cannot be used all the same: there is no such session any more.
        let _ = timeout(LAST_WORD, withdrawn).await;
    }
}

/// Resolves when one of them is over. Cancel-safe.
pub(super) async fn lapse(leases: &[Lease]) {
    if leases.is_empty() {
        std::future::pending::<()>().await;
    }
    while leases.iter().all(|lease| lease.over().is_none()) {
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    fn lease(life: Duration) -> (watch::Sender<Standing>, Lease) {
        let (sender, standing) = watch::channel(Standing::Approved { by: vec!["alice".to_owned()] });
        let ends = Instant::now() + life;
        let lease = Lease { name: "areq-1".to_owned(), ends, standing, revision: Revision([0; 32]), of_session: false };
        (sender, lease)
    }

    #[tokio::test]
    async fn a_lease_ends_by_its_clock_by_a_word_and_in_silence() {
        const LONG: Duration = Duration::from_secs(60);
        let soon = Duration::from_secs(2);
        let (told, late) = lease(Duration::from_millis(300));
        assert_eq!(late.over(), None);
        timeout(soon, lapse(std::slice::from_ref(&late))).await.unwrap();
        assert_eq!(late.over(), Some(OVER));
        drop(told);

        for (word, why) in [
            (Standing::Revoked, REVOKED),
            (Standing::Expired, OVER),
            (Standing::Withdrawn, OVER),
            (Standing::Denied { by: "eve".to_owned(), reason: None }, OVER),
            (Standing::Pending { have: 1, need: 2 }, OVER),
        ] {
            let (told, lease) = lease(LONG);
            assert!(timeout(Duration::from_millis(50), lapse(std::slice::from_ref(&lease))).await.is_err());
            told.send_replace(word);
            timeout(soon, lapse(std::slice::from_ref(&lease))).await.unwrap();
            assert_eq!(lease.over(), Some(why));
        }
        let (told, lease) = lease(LONG);
        drop(told);
        assert_eq!(lease.over(), Some(OVER));
        assert!(timeout(Duration::from_millis(50), lapse(&[])).await.is_err());
    }
}
