//! Grants that this sidecar has used, so that an operation that one of them covers is not asked about again.
//!
//! Nothing is let through by them: each use is the operator's to allow. They only say under which name to ask for it,
//! and what is on record of them already.

use std::time::Instant;

use parking_lot::Mutex;
use policy::cover::covers;

use crate::outside::{Ask, Lease, Standing, Ticket};

/// As many as a pod can have open, and room for those that its Job shares.
const MOST: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Granted(Mutex<Vec<Kept>>);

#[derive(Debug)]
struct Kept {
    ask: Ask,
    lease: Lease,
}

// === impl Granted ===

impl Granted {
    /// A grant that was used for the same or for more.
    pub(super) fn find(&self, ask: &Ask) -> Option<Ticket> {
        let mut kept = self.0.lock();
        kept.retain(|one| one.lives());
        let found = kept.iter().find(|one| one.covers(ask))?;
        Some(Ticket { name: found.lease.name.clone(), standing: found.lease.standing.clone() })
    }

    /// Says whether it is the first use that this process makes of it.
    pub(super) fn keep(&self, ask: &Ask, lease: &Lease) -> bool {
        let mut kept = self.0.lock();
        kept.retain(|one| one.lives());
        let first = kept.iter().all(|one| one.lease.name != lease.name);
        let covered = kept.iter().any(|one| one.lease.name == lease.name && one.covers(ask));
        // Without room it is asked for again, and no more.
        if !covered && kept.len() < MOST {
            kept.push(Kept { ask: ask.clone(), lease: lease.clone() });
        }
        first
    }

    /// It counts no more.
    pub(super) fn forget(&self, name: &str) {
        self.0.lock().retain(|one| one.lease.name != name);
    }

    /// Those of another policy, which ended with it.
    pub(super) fn outdated(&self, ask: &Ask) -> Vec<String> {
        let mut kept = self.0.lock();
        let mut names: Vec<String> = kept
            .extract_if(.., |one| one.ask.target == ask.target && one.ask.revision != ask.revision)
            .map(|one| one.lease.name)
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

// === impl Kept ===

impl Kept {
    fn lives(&self) -> bool {
        Instant::now() < self.lease.ends
            && matches!(*self.lease.standing.borrow(), Standing::Approved { .. })
            && self.lease.standing.has_changed().is_ok()
    }

    fn covers(&self, ask: &Ask) -> bool {
        let cover = self.ask.cover.as_ref().zip(ask.cover.as_ref());
        self.ask.target == ask.target
            && self.ask.revision == ask.revision
            && (!self.lease.of_session || self.ask.session == ask.session)
            && ask.terms.asked_by.iter().all(|rule| self.ask.terms.asked_by.contains(rule))
            && cover.is_some_and(|(granted, asked)| covers(granted, asked))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use crds::approval::{Cover, CoveredUse};
    use policy::TargetKey;
    use policy::operation::{Digest, Protocol, Revision};
    use policy::redact::Redacted;
    use policy::verdict::{ApprovalTerms, RuleId, Scope};
    use tokio::sync::watch;

    use super::*;

    fn ask() -> Ask {
        let used = CoveredUse {
            verb: "Delete".to_owned(),
            kind: "Relation".to_owned(),
            path: vec!["public".to_owned(), "orders".to_owned()],
            columns: None,
            bounded: true,
            indirect: false,
        };
        let rule = |rule: &str| RuleId { policy: "p".to_owned(), rule: rule.to_owned(), cluster: false };
        Ask {
            subject: Arc::default(),
            target: TargetKey { namespace: "shop".to_owned(), name: "db".to_owned() },
            host: "db.example".to_owned(),
            port: 5432,
            protocol: Protocol::Postgres,
            action: "DELETE".to_owned(),
            resources: Vec::new(),
            statement: Redacted::constant("-"),
            digest: Digest([7; 32]),
            terms: ApprovalTerms {
                asked_by: vec![rule("a"), rule("b")],
                required_approvals: 1,
                deny_threshold: 1,
                scope: Scope::Duration,
                max_grant: Some(Duration::from_secs(60)),
                pending_ttl: Duration::from_secs(60),
                hold_for: Duration::from_secs(60),
                reason_required: false,
                max_hold_in_transaction: None,
                preview: policy::verdict::Preview::default(),
            },
            revision: Revision([1; 32]),
            cover: Some(Cover { action: "DELETE".to_owned(), database: "shop".to_owned(), uses: vec![used] }),
            session: "s-1".to_owned(),
            impact: None,
        }
    }

    fn lease(of_session: bool) -> (watch::Sender<Standing>, Lease) {
        let (told, standing) = watch::channel(Standing::Approved { by: Vec::new() });
        let ends = Instant::now() + Duration::from_secs(60);
        (told, Lease { name: "areq-1".to_owned(), ends, standing, revision: Revision([1; 32]), of_session })
    }

    #[test]
    fn a_grant_is_found_for_what_it_covers_while_it_lasts() {
        let (told, lease) = lease(false);
        let granted = Granted::default();
        assert!(granted.find(&ask()).is_none());
        assert!(granted.keep(&ask(), &lease));
        assert!(!granted.keep(&ask(), &lease));
        let with = |edit: fn(&mut Ask)| {
            let mut ask = ask();
            edit(&mut ask);
            granted.find(&ask).is_some()
        };
        assert!(with(|_| {}));
        assert!(with(|ask| ask.digest = Digest([8; 32])));
        assert!(with(|ask| ask.session = "s-2".to_owned()));
        assert!(with(|ask| drop(ask.terms.asked_by.pop())));
        assert!(!with(|ask| ask.terms.asked_by.iter_mut().for_each(|rule| rule.rule = "c".to_owned())));
        assert!(!with(|ask| ask.revision = Revision([2; 32])));
        assert!(!with(|ask| ask.target.name = "other".to_owned()));
        assert!(!with(|ask| ask.cover = None));
        assert!(!with(|ask| ask.cover.iter_mut().for_each(|cover| cover.action = "MERGE".to_owned())));
        assert!(granted.outdated(&ask()).is_empty());
        assert_eq!(granted.outdated(&Ask { revision: Revision([2; 32]), ..ask() }), ["areq-1"]);
        assert!(!with(|_| {}));

        granted.keep(&ask(), &lease);
        granted.forget("areq-1");
        assert!(!with(|_| {}));
        granted.keep(&ask(), &lease);
        told.send_replace(Standing::Revoked);
        assert!(!with(|_| {}));
    }

    #[test]
    fn one_of_a_session_is_of_no_other() {
        let (_told, lease) = lease(true);
        let granted = Granted::default();
        granted.keep(&ask(), &lease);
        assert!(granted.find(&ask()).is_some());
        assert!(granted.find(&Ask { session: "s-2".to_owned(), ..ask() }).is_none());
    }
}
