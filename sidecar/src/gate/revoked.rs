//! What reaches a session that is open: that policy lets it do nothing any more, that its pod is another to policy, or
//! that a grant which it ran under has ended.
//!
//! A session is planned and masked for one subject. With other labels the pod gets another session; this one ends.

use std::sync::Arc;

use super::Desk;
use super::lease::lapse;
use crate::outside::{Lease, Policies, Subjects};

/// The words for a session whose pod has other labels now.
const ANOTHER: &str = "the labels of this pod changed: connect again";

impl Desk {
    /// Resolves when policy or subject change, or a grant ends. Cancel-safe.
    pub async fn changed(&mut self) {
        changed(&mut self.changes, &mut self.subjects, &self.leases).await;
    }

    /// Why this session has to end now, if it has to: nothing of it could be allowed any more, or it was begun by
    /// another one to policy, or what let something of it through is over.
    pub fn revoked(&mut self) -> Option<&'static str> {
        if let Some(why) = self.ended() {
            return Some(why);
        }
        let view = self.view();
        if view.deny_all().is_some() {
            return Some("an access policy stops everything (denyAll)");
        }
        if !view.selected() {
            return Some("no access policy lets this agent use this target any more");
        }
        let held = Arc::clone(&self.policies.borrow().set);
        match held.targets().get(&self.target.key) {
            Some(spec) if spec.host == self.target.host && spec.port == i32::from(self.target.port) => None,
            _ => Some("the target was removed, or is another server now: connect again"),
        }
    }

    /// Why nothing more of this session is let through, whatever policy says of it.
    pub(super) fn ended(&mut self) -> Option<&'static str> {
        if self.is_another() {
            return Some(ANOTHER);
        }
        let revision = self.revision();
        self.lapsed(revision)
    }

    fn is_another(&self) -> bool {
        *self.subjects.now() != *self.subject
    }
}

/// Resolves when one of them changes; cancel-safe.
pub(super) async fn changed(policies: &mut Policies, subjects: &mut Subjects, leases: &[Lease]) {
    tokio::select! {
        changed = policies.changed() => if changed.is_err() {
            std::future::pending::<()>().await;
        },
        () = subjects.changed() => {}
        () = lapse(leases) => {}
    }
}
