//! Approvals without a cluster: requests in memory, shown as files, decided over `approve.sock`.
//!
//! Invariants: an event is on record before it has an effect; an approval is used at most once, only before it
//! expires and only for the digest it was given for; a user votes once; what was open at a restart is expired.
//! All changes take turns, and a caller that goes away does not stop a change half-way.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use crds::approval::{ApprovalRequest, Decision};
use parking_lot::Mutex;
use policy::approval::{ConsumeError, Standing as Tallied};
use policy::impact::Impact;
use policy::operation::Digest;
use policy::redact::Redacted;
use recording::entry::{Approval, ApprovalEvent, Vote, What};
use tokio::sync::{Notify, broadcast};

use crate::config::Approver;
use crate::ledger::Ledger;
use crate::metrics::{ApprovalOutcome, Metrics};
use crate::outside::{Answer, Approvals, Ask, AskError, NotConsumed, Ticket, Used};
use crate::recorder;
use crate::state::StateDir;
use crate::vital;

mod book;
mod files;
mod request;
mod restart;
mod socket;

use book::Book;
use files::Files;
use request::{Request, cut};

pub use socket::SocketError;

/// Open requests of all subjects together.
const MOST_OPEN: usize = 500;
/// Changes a watcher may lag behind before it gets the whole list again.
const CHANGES: usize = 64;
/// Longest reason of an approver, in characters.
const REASON_CHARS: usize = 500;
/// Refused attempts on record in one minute; more are counted in the next entry.
const REFUSALS_A_MINUTE: u32 = 20;

/// The approvals of one state directory.
#[derive(Clone)]
pub struct LocalApprovals {
    inner: Arc<Inner>,
}

struct Inner {
    book: Mutex<Book>,
    /// Held over a whole change, its record included.
    turn: tokio::sync::Mutex<()>,
    files: Arc<Files>,
    ledger: Arc<dyn Ledger>,
    metrics: Arc<Metrics>,
    approvers: Vec<Approver>,
    shared_user: bool,
    most_open: usize,
    changes: broadcast::Sender<Arc<ApprovalRequest>>,
    /// A deadline came or went.
    deadlines: Notify,
    refusals: Mutex<Refusals>,
    random: SystemRandom,
}

struct Refusals {
    since: Instant,
    count: u32,
}

// === impl LocalApprovals ===

impl std::fmt::Debug for LocalApprovals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalApprovals").field("approvers", &self.inner.approvers).finish_non_exhaustive()
    }
}

impl LocalApprovals {
    /// Takes over the folder `requests/`. Call it within the runtime; the socket is opened by [`Self::listen`].
    pub fn new(
        state: &StateDir,
        approvers: Vec<Approver>,
        shared_user: bool,
        most_open: usize,
        ledger: Arc<dyn Ledger>,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let files = Arc::new(Files::new(state.requests()));
        let mut book = Book::default();
        let expired = restart::take_over(&files, &mut book)?;
        let inner = Arc::new(Inner {
            book: Mutex::new(book),
            turn: tokio::sync::Mutex::default(),
            files: Arc::clone(&files),
            ledger: Arc::clone(&ledger),
            metrics,
            approvers,
            shared_user,
            most_open,
            changes: broadcast::Sender::new(CHANGES),
            deadlines: Notify::new(),
            refusals: Mutex::new(Refusals { since: Instant::now(), count: 0 }),
            random: SystemRandom::new(),
        });
        files.follow(Arc::clone(&ledger));
        let clock = Arc::clone(&inner);
        vital::spawn("approvals", async move {
            for entry in expired {
                // What was open before this start ends now whether it is on record or not.
                let _ = ledger.approval(entry).await;
            }
            clock.keep_time().await;
        });
        Ok(Self { inner })
    }

    /// Everything that is kept, pending first.
    pub fn list(&self) -> Vec<ApprovalRequest> {
        self.inner.book.lock().objects()
    }

    /// One vote of the user `uid`; answers the request as it stands now and one sentence for people.
    ///
    /// # Errors
    /// One sentence: the vote does not count, and nothing changed.
    pub async fn decide(
        &self,
        uid: u32,
        name: &str,
        decision: Decision,
        reason: Option<&str>,
    ) -> Result<(ApprovalRequest, String), String> {
        if !files::is_name(name) {
            return Err("this is not the name of a request: see `agentaccess approvals ls`".to_owned());
        }
        let Some(approver) = self.approver(uid) else { return Err(self.unlisted(uid, &format!("decide {name}"))) };
        let (inner, name, reason) = (Arc::clone(&self.inner), name.to_owned(), reason.map(str::to_owned));
        unstopped(async move { inner.vote(&approver, &name, decision, reason).await })
            .await
            .unwrap_or_else(|| Err("the sidecar is ending".to_owned()))
    }

    fn approver(&self, uid: u32) -> Option<Approver> {
        self.inner.approvers.iter().find(|a| a.uid == uid).cloned()
    }

    /// Records that somebody who may not approve tried to, and gives the sentence for them.
    fn unlisted(&self, uid: u32, what: &str) -> String {
        self.inner.refused(&format!("uid {uid} tried to {what} and is not listed under approvers"));
        format!("uid {uid} is not an approver: ask for an entry under `approvers` in agentaccess.yaml")
    }
}

impl Approvals for LocalApprovals {
    fn ask(&self, ask: Ask) -> Answer<'_, Result<Ticket, AskError>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { unstopped(async move { inner.ask(ask).await }).await.unwrap_or(Err(AskError::Away)) })
    }

    fn knows(&self, ask: &Ask) -> bool {
        self.inner.book.lock().open_for(&ask.subject, &ask.target, ask.digest, ask.revision).is_some()
    }

    fn withdraw(&self, name: &str) -> Answer<'_, ()> {
        let (inner, name) = (Arc::clone(&self.inner), name.to_owned());
        Box::pin(async move {
            unstopped(async move { inner.withdraw(&name).await }).await;
        })
    }

    fn consume(&self, ticket: &Ticket, ask: &Ask) -> Answer<'_, Result<Used, NotConsumed>> {
        let (inner, name, digest) = (Arc::clone(&self.inner), ticket.name.clone(), ask.digest);
        Box::pin(async move {
            unstopped(async move { inner.consume(&name, digest).await })
                .await
                .unwrap_or(Err(NotConsumed("the sidecar is ending")))
        })
    }
}

/// Runs a change to its end although the caller may go away. `None` when the runtime ends.
async fn unstopped<T: Send + 'static>(change: impl Future<Output = T> + Send + 'static) -> Option<T> {
    vital::spawn("approvals", change).await.ok()
}

// === impl Inner ===

impl Inner {
    async fn ask(&self, ask: Ask) -> Result<Ticket, AskError> {
        let _turn = self.turn.lock().await;
        let (name, request) = {
            let book = self.book.lock();
            if let Some((name, open)) = book.open_for(&ask.subject, &ask.target, ask.digest, ask.revision) {
                return Ok(Ticket { name: name.clone(), standing: open.standing.subscribe() });
            }
            // One agent's questions must not keep another's from being asked.
            if book.open_of(&ask.subject) >= self.most_open {
                return Err(AskError::TooMany(self.most_open));
            }
            if book.open() >= MOST_OPEN {
                return Err(AskError::TooMany(MOST_OPEN));
            }
            (self.name(&book).ok_or(AskError::Away)?, Request::new(ask))
        };
        let mut entry = self.entry(&name, &request, ApprovalEvent::Requested);
        entry.display = Some(request.ask.statement.as_str().to_owned());
        entry.impact = request.ask.impact.as_ref().map(recorder::impact);
        self.ledger.approval(entry).await.map_err(|_| AskError::Away)?;
        let standing = request.standing.subscribe();
        self.book.lock().insert(name.clone(), request);
        self.metrics.approval(ApprovalOutcome::Requested);
        self.deadlines.notify_one();
        self.show(&name);
        tracing::info!(event = "approval_requested", request = name);
        Ok(Ticket { name, standing })
    }

    async fn withdraw(&self, name: &str) {
        let _turn = self.turn.lock().await;
        let entry = match self.book.lock().get_mut(name) {
            Some(request) if request.is_open() => {
                let age = request.age();
                request.tally.withdraw(age);
                self.entry(name, request, ApprovalEvent::Withdrawn)
            }
            _ => return,
        };
        // It ends whether it is on record or not: less is permitted after it than before.
        let _ = self.ledger.approval(entry).await;
        self.metrics.approval(ApprovalOutcome::Withdrawn);
        self.changed(name);
    }

    async fn consume(&self, name: &str, digest: Digest) -> Result<Used, NotConsumed> {
        let _turn = self.turn.lock().await;
        let (entry, deadline, by, rollback_above) = {
            let mut book = self.book.lock();
            let request = book.get_mut(name).ok_or(NotConsumed("there is no such request"))?;
            if request.ask.digest != digest {
                return Err(NotConsumed("it was given for another operation"));
            }
            let age = request.age();
            request.tally.consume(age).map_err(|error| match error {
                ConsumeError::Pending => NotConsumed("it is still pending"),
                ConsumeError::Closed(how) => NotConsumed(how),
            })?;
            let rollback_above = request.ask.impact.as_ref().and_then(Impact::rollback_above);
            let entry = self.entry(name, request, ApprovalEvent::Consumed);
            (entry, request.deadline(), request.approvers(), rollback_above)
        };
        // From here on it is used, also when the record fails: never twice is worth more than once.
        let recorded = self.ledger.approval(entry).await;
        self.metrics.approval(ApprovalOutcome::Consumed);
        self.changed(name);
        recorded.map_err(|_| NotConsumed("its use could not be recorded"))?;
        if deadline.is_some_and(|end| Instant::now() >= end) {
            return Err(NotConsumed("expired"));
        }
        Ok(Used { by, lease: None, rollback_above })
    }

    async fn vote(
        &self,
        approver: &Approver,
        name: &str,
        decision: Decision,
        reason: Option<String>,
    ) -> Result<(ApprovalRequest, String), String> {
        let _turn = self.turn.lock().await;
        let reason = reason.map(|r| Redacted::danger_caller_redacted(&cut(r.trim(), REASON_CHARS)).as_str().to_owned());
        // The vote is tried on a copy, so that it counts only once it is on record.
        let (tally, entries) = {
            let book = self.book.lock();
            let Some(request) = book.get(name) else {
                return Err(match book.knows(name) {
                    true => format!("`{name}` is of an earlier start of the sidecar and has expired"),
                    false => format!("there is no request `{name}`: see `agentaccess approvals ls`"),
                });
            };
            let mut tally = request.tally.clone();
            let after = match tally.vote(&approver.name, decision, reason.as_deref(), request.age()) {
                Ok(after) => after,
                Err(error) => {
                    drop(book);
                    self.refused(&format!("{} could not {decision:?} {name}: {error}", approver.name).to_lowercase());
                    return Err(error.to_string());
                }
            };
            let about = |event| Approval {
                vote: Some(match decision {
                    Decision::Approve => Vote::Approve,
                    Decision::Deny | Decision::Revoke | Decision::BreakGlass => Vote::Deny,
                }),
                reviewer: Some(approver.name.clone()),
                reviewer_uid: Some(approver.uid),
                reason: match decision {
                    Decision::Revoke => Some(format!("revoked: {}", reason.as_deref().unwrap_or("no reason given"))),
                    Decision::Approve | Decision::Deny | Decision::BreakGlass => reason.clone(),
                },
                ..self.entry(name, request, event)
            };
            let outcome = match after {
                Tallied::Approved => Some(ApprovalEvent::Granted),
                Tallied::Denied | Tallied::Revoked => Some(ApprovalEvent::Denied),
                Tallied::Pending { .. } | Tallied::Expired | Tallied::Withdrawn | Tallied::Consumed => None,
            };
            let entries: Vec<Approval> =
                [Some(ApprovalEvent::Vote), outcome].into_iter().flatten().map(about).collect();
            (tally, entries)
        };
        for entry in entries {
            if let Err(error) = self.ledger.approval(entry).await {
                return Err(format!("the vote cannot be recorded and does not count: {error}"));
            }
        }
        let (object, after) = {
            let mut book = self.book.lock();
            let request = book.get_mut(name).ok_or("the request is gone")?;
            // It may have expired while the record was written; then the vote came too late by itself.
            request.tally = tally;
            (request.object(name), request.tally.standing(request.age()))
        };
        let counted = match after {
            Tallied::Approved => Some(ApprovalOutcome::Granted),
            Tallied::Denied => Some(ApprovalOutcome::Denied),
            Tallied::Revoked => Some(ApprovalOutcome::Revoked),
            Tallied::Pending { .. } | Tallied::Expired | Tallied::Withdrawn | Tallied::Consumed => None,
        };
        counted.into_iter().for_each(|outcome| self.metrics.approval(outcome));
        self.changed(name);
        tracing::info!(event = "approval_vote", request = name, approver = approver.name, standing = ?after);
        Ok((object, sentence(approver, decision, after)))
    }

    /// Ends what has run out of time and forgets what ended long ago, for as long as the runtime lives.
    async fn keep_time(&self) {
        loop {
            let next = self.book.lock().next_deadline();
            let sleep =
                next.map(|at| at.saturating_duration_since(Instant::now())).unwrap_or(Duration::from_secs(3600));
            // Both arms are cancel-safe: a lost sleep is computed anew, a permit of `Notify` is kept.
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = self.deadlines.notified() => {}
            }
            let _turn = self.turn.lock().await;
            let expired = self.book.lock().expired();
            for name in expired {
                let entry = self.book.lock().get(&name).map(|r| self.entry(&name, r, ApprovalEvent::Expired));
                if let Some(entry) = entry {
                    let _ = self.ledger.approval(entry).await;
                }
                self.metrics.approval(ApprovalOutcome::Expired);
                self.changed(&name);
            }
            let gone = self.book.lock().forget();
            gone.iter().for_each(|name| self.files.remove(name));
        }
    }

    /// Tells everybody: sessions, watchers, the file, the metric.
    fn changed(&self, name: &str) {
        if let Some(request) = self.book.lock().get_mut(name) {
            request.publish();
        }
        self.deadlines.notify_one();
        self.show(name);
    }

    fn show(&self, name: &str) {
        let (object, pending) = {
            let book = self.book.lock();
            (book.object(name), book.pending())
        };
        self.metrics.approvals_pending(pending);
        if let Some(object) = object {
            self.files.put(name, &object);
            // Nobody may be watching.
            let _ = self.changes.send(Arc::new(object));
        }
    }

    fn entry(&self, name: &str, request: &Request, event: ApprovalEvent) -> Approval {
        Approval {
            name: name.to_owned(),
            event,
            digest: request.ask.digest.to_string(),
            expires: request.expires(),
            vote: None,
            reviewer: None,
            reviewer_uid: None,
            reason: None,
            shared_user: self.shared_user,
            display: None,
            impact: None,
        }
    }

    /// An attempt that was refused: counted each time, on record up to a rate.
    fn refused(&self, what: &str) {
        self.metrics.approval(ApprovalOutcome::VoteRefused);
        let mut refusals = self.refusals.lock();
        if refusals.since.elapsed() >= Duration::from_secs(60) {
            let more = refusals.count.saturating_sub(REFUSALS_A_MINUTE);
            *refusals = Refusals { since: Instant::now(), count: 0 };
            if more > 0 {
                self.ledger.marker(What::AuthenticationFailed, format!("{more} more refused attempts at approve.sock"));
            }
        }
        refusals.count = refusals.count.saturating_add(1);
        if refusals.count <= REFUSALS_A_MINUTE {
            tracing::warn!(event = "approval_refused", what);
            self.ledger.marker(What::AuthenticationFailed, what.to_owned());
        }
    }

    /// `areq-` and 6 characters of base32, short enough to read out; none that is known already.
    fn name(&self, book: &Book) -> Option<String> {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut tried = HashSet::new();
        while tried.len() < 100 {
            let mut random = [0; 6];
            self.random.fill(&mut random).ok()?;
            let letters = random.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 32))).map(|b| char::from(*b));
            let name: String = "areq-".chars().chain(letters).collect();
            if !book.knows(&name) {
                return Some(name);
            }
            tried.insert(name);
        }
        None
    }
}

fn sentence(approver: &Approver, decision: Decision, after: Tallied) -> String {
    let word = match decision {
        Decision::Approve => "approve",
        Decision::Deny => "deny",
        Decision::Revoke => "revoke",
        Decision::BreakGlass => "break-glass",
    };
    let rest = match after {
        Tallied::Pending { have, need } => format!("{have} of {need} needed"),
        Tallied::Approved => "approved".to_owned(),
        Tallied::Denied => "denied".to_owned(),
        Tallied::Revoked => "revoked".to_owned(),
        Tallied::Expired => "too late, it has expired".to_owned(),
        Tallied::Withdrawn => "the agent withdrew it".to_owned(),
        Tallied::Consumed => "used already".to_owned(),
    };
    format!("recorded: {word} by {} ({rest})", approver.name)
}
