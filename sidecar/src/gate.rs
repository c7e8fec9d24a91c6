//! The one gate: decide, ask people, record, mint the `Permit`. All protocols pass here and nowhere else.
//!
//! Refused is: what policy denies, what people deny or do not answer, what cannot be recorded in time, and everything
//! while the policy is too old, or once the session's pod is another to policy than at its begin. Invariant: a `Permit` exists only after its intent is durable at the level that policy
//! asks for, under a verdict of the policy in force at that moment, and after the approval it needed was used.
//! The gate knows no protocol: it says hold, progress and refuse, and the protocol folder finds the words.

mod foresight;
mod labels;
mod lease;
mod permit;
mod refusal;
mod revoked;
mod running;
mod side;
mod trace;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use otel::Telemetry;
use policy::operation::{Operation, Origin, Protocol, Revision};
use policy::subject::Subject;
use policy::verdict::{ApprovalTerms, Decision, DenyReason, Verdict};
use policy::{View, decide};
use recording::entry::Status;
use tokio::time::{MissedTickBehavior, interval_at, sleep_until, timeout};

pub use permit::{Permit, Released};
pub use refusal::{NotHeld, Refusal, Refused};
pub use running::{Outcome, Running};
pub use side::{AgentSide, Told};
pub use trace::{Ended, OpTrace, SessionTrace};

use self::labels::{first_policy, policy_of};
use self::revoked::changed;
use crate::failpoint;
use crate::metrics::Metrics;
use crate::outside::{Approvals, Ask, AskError, Lease, Policies, Standing, Subjects, Target, Ticket};
use crate::recorder::{OpRef, Recorder, SessionRef, Unrecorded};
use crate::used::Used;

/// How long the approval service may take to open a request.
const ASK_DEADLINE: Duration = Duration::from_secs(5);
/// How often a waiting agent hears that it still waits: client timeouts that look at traffic stay quiet.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// How long after its time a request may take to be expired.
const EXPIRY: Duration = Duration::from_secs(2);

/// What the operation is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage<'a> {
    /// It is named or planned, nothing runs; a required approval is asked for when it runs.
    Prepare,
    /// The target plans it with its parameters, which may evaluate functions; what needs an approval has to run with it.
    Plan,
    Run,
    /// More rows of an operation that an approval released: no second one is asked for while the policy is the same.
    Continue(&'a Released),
}

/// Whether the agent may be kept waiting now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing is locked: `holdFor` counts.
    Idle,
    /// A transaction is open: only as policy says.
    InTransaction,
    /// Other work of the same batch is unfinished: never.
    InBatch,
}

pub struct Gate {
    recorder: Arc<Recorder>,
    approvals: Arc<dyn Approvals>,
    policies: Policies,
    metrics: Arc<Metrics>,
    used: Arc<Used>,
    telemetry: Option<Telemetry>,
    /// The session of our own operations; another one each start.
    internal: SessionRef,
    /// Operations of this life, so that no two have the same name.
    ops: AtomicU64,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

/// One session's way through the gate. It follows the policy as it changes.
#[derive(Debug)]
pub struct Desk {
    gate: Arc<Gate>,
    subjects: Subjects,
    /// As it was at the beginning: what was planned and masked counts for this one alone.
    subject: Arc<Subject>,
    target: Arc<Target>,
    session: SessionRef,
    policies: Policies,
    /// With a mark of its own: whoever looks at the view does not take a change away from who waits for one.
    changes: Policies,
    view: View,
    /// The grants under which something of this session was let through.
    leases: Vec<Lease>,
    /// Of the session, for the spans of its operations.
    link: trace::Link,
}

impl Gate {
    pub fn new(
        recorder: Arc<Recorder>,
        approvals: Arc<dyn Approvals>,
        policies: Policies,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Self::telling(recorder, approvals, policies, metrics, None)
    }

    /// The same, with somebody to tell of sessions and operations.
    pub fn telling(
        recorder: Arc<Recorder>,
        approvals: Arc<dyn Approvals>,
        policies: Policies,
        metrics: Arc<Metrics>,
        telemetry: Option<Telemetry>,
    ) -> Arc<Self> {
        // Only a name that differs from start to start.
        let start = RandomState::new().build_hasher().finish();
        let internal = SessionRef::new(&format!("internal-{:06x}", start & 0xff_ffff));
        let used = Arc::default();
        Arc::new(Self { recorder, approvals, policies, metrics, used, telemetry, internal, ops: AtomicU64::new(0) })
    }

    /// The revision in force.
    pub fn revision(&self) -> Revision {
        self.policies.borrow().set.revision()
    }

    /// A desk for operations of our own.
    pub fn internal_desk(self: &Arc<Self>, target: &Arc<Target>) -> Desk {
        self.desk(self.internal.clone(), Arc::new(Subject::default()), Arc::clone(target))
    }

    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// The rules that have matched.
    pub fn used(&self) -> Arc<Used> {
        Arc::clone(&self.used)
    }

    fn decided(&self, protocol: Protocol, verdict: &Verdict, took: Duration) {
        self.used.note(verdict);
        let (reason, policy) = match &verdict.decision {
            Decision::Allow => {
                (if verdict.would_deny.is_some() { "would_deny" } else { "rule" }, first_policy(verdict))
            }
            Decision::RequireApproval(terms) => ("rule", policy_of(terms)),
            Decision::Deny(reason) => (reason.word(), first_policy(verdict)),
        };
        self.metrics.decision(protocol, verdict.decision.strictness(), reason, policy, took);
    }

    /// A desk for one session.
    pub fn desk(self: &Arc<Self>, session: SessionRef, subjects: impl Into<Subjects>, target: Arc<Target>) -> Desk {
        let subjects = subjects.into();
        let subject = subjects.now();
        let mut policies = self.policies.clone();
        let view = policies.borrow_and_update().set.view(&subject, &target.key);
        let changes = policies.clone();
        let (gate, leases, link) = (Arc::clone(self), Vec::new(), self.telemetry.as_ref().and_then(Telemetry::begin));
        Desk { gate, subjects, subject, target, session, policies, changes, view, leases, link }
    }
}

impl Desk {
    /// The policy in force for this session; what is planned under an older one is `Stale` at the gate.
    pub fn view(&mut self) -> &View {
        if self.policies.has_changed().unwrap_or(false) {
            self.view = self.policies.borrow_and_update().set.view(&self.subject, &self.target.key);
        }
        &self.view
    }

    pub fn revision(&mut self) -> Revision {
        self.view().revision()
    }

    /// How old the policy is, when that is more than counts.
    fn too_old(&self) -> Option<Duration> {
        let snapshot = self.policies.borrow();
        snapshot.too_old().then(|| snapshot.confirmed.elapsed())
    }

    pub fn session(&self) -> &SessionRef {
        &self.session
    }

    pub fn subject(&self) -> &Arc<Subject> {
        &self.subject
    }

    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Decides, asks, records; then a permit for exactly the payload of `op`, or the refusal, recorded too.
    ///
    /// `Refusal::Denied(DenyReason::Stale)` is the one refusal that is not recorded: the caller plans again.
    pub async fn admit<A: AgentSide>(
        &mut self,
        op: &Operation,
        stage: Stage<'_>,
        moment: Moment,
        agent: &mut A,
    ) -> Result<Permit, Refused> {
        let op_ref = OpRef::new(&self.session, self.gate.ops.fetch_add(1, Ordering::Relaxed).saturating_add(1));
        let trace = OpTrace::begin(self, &op_ref, op, stage);
        let op_ref = op_ref.traced(trace);
        if let Some(age) = self.too_old().filter(|_| op.origin == Origin::Agent) {
            return Err(self.refuse(&op_ref, op, None, Refusal::PolicyTooOld(age), agent).await);
        }
        // Also while much of it is read at once, and nobody has looked in between.
        if let Some(why) = self.ended().filter(|_| op.origin == Origin::Agent) {
            return Err(self.refuse(&op_ref, op, None, Refusal::Revoked(why), agent).await);
        }
        let begun = Instant::now();
        let verdict = decide(self.view(), op);
        let took = begun.elapsed();
        self.gate.decided(op.protocol, &verdict, took);
        op_ref.trace().decided(&verdict, took);
        if let Decision::Deny(_) = verdict.decision {
            self.gate.metrics.denied(op.protocol, &self.target.key.name);
        }
        failpoint::decided(&op_ref, op, stage, &verdict);
        match (&verdict.decision, stage) {
            (Decision::Deny(DenyReason::Stale), _) => {
                Err(Refused { refusal: Refusal::Denied(DenyReason::Stale), id: op_ref.to_string() })
            }
            (Decision::Deny(reason), _) => {
                let refusal = Refusal::Denied(reason.clone());
                Err(self.refuse(&op_ref, op, Some(&verdict), refusal, agent).await)
            }
            (Decision::Allow, _) | (Decision::RequireApproval(_), Stage::Prepare) => {
                self.permit(op_ref, op, &verdict, None, agent).await
            }
            (Decision::RequireApproval(_), Stage::Plan) => {
                Err(self.refuse(&op_ref, op, Some(&verdict), Refusal::NotAlone, agent).await)
            }
            (Decision::RequireApproval(_), Stage::Continue(released))
                if released.covers(op) && !self.is_over(released.request()) =>
            {
                let permit = self.permit(op_ref, op, &verdict, Some((released.request(), None)), agent).await?;
                Ok(permit.released(released.clone()))
            }
            (Decision::RequireApproval(terms), Stage::Run | Stage::Continue(_)) => {
                let since = Instant::now();
                // Boxed: what is rare takes no room in each session.
                let approved = Box::pin(self.approve(op, terms, moment, agent)).await;
                let request = approved.as_ref().map_or_else(Refusal::request, |(ticket, _)| Some(ticket.name.as_str()));
                op_ref.trace().waited(since, request);
                match approved {
                    Ok((ticket, ask)) => self.after_approval(op_ref, op, ticket, &ask, agent).await,
                    Err(refusal) => Err(self.refuse(&op_ref, op, Some(&verdict), refusal, agent).await),
                }
            }
        }
    }

    /// Asks people and waits as long as this moment allows.
    async fn approve<A: AgentSide>(
        &mut self,
        op: &Operation,
        terms: &ApprovalTerms,
        moment: Moment,
        agent: &mut A,
    ) -> Result<(Ticket, Ask), Refusal> {
        if !op.display.is_whole() || !op.display.is_flat() {
            return Err(Refusal::CannotShow);
        }
        let mut ask = Ask {
            subject: Arc::clone(&self.subject),
            target: self.target.key.clone(),
            host: self.target.host.clone(),
            port: self.target.port,
            protocol: op.protocol,
            action: op.action.clone(),
            resources: op.accesses.iter().map(|a| a.resource.to_string()).collect(),
            statement: op.display.clone(),
            digest: op.digest,
            terms: terms.clone(),
            revision: op.planned,
            cover: policy::cover::of(op),
            session: self.session.as_str().to_owned(),
            impact: None,
        };
        // Those who asked before know it already.
        if terms.preview.any() && !self.gate.approvals.knows(&ask) {
            let free = foresight::is_free(self.view(), op);
            ask.impact = Some(foresight::impact(op, terms, moment, free, agent).await);
        }
        let ticket = match timeout(ASK_DEADLINE, self.gate.approvals.ask(ask.clone())).await {
            Ok(Ok(ticket)) => ticket,
            Ok(Err(error @ (AskError::TooMany(_) | AskError::Away))) => {
                return Err(Refusal::CannotAsk(error.to_string()));
            }
            Err(_) => return Err(Refusal::CannotAsk("the approval service did not answer in time".to_owned())),
        };
        let (hold, why) = match (moment, terms.max_hold_in_transaction) {
            (Moment::Idle, _) => (terms.hold_for, NotHeld::HoldOver),
            (Moment::InTransaction, Some(hold)) => (hold.min(terms.hold_for), NotHeld::HoldOver),
            (Moment::InTransaction, None) => (Duration::ZERO, NotHeld::InTransaction),
            (Moment::InBatch, _) => (Duration::ZERO, NotHeld::InBatch),
        };
        Ok((self.wait(ticket, terms, hold, why, agent).await?, ask))
    }

    async fn wait<A: AgentSide>(
        &mut self,
        mut ticket: Ticket,
        terms: &ApprovalTerms,
        hold: Duration,
        why: NotHeld,
        agent: &mut A,
    ) -> Result<Ticket, Refusal> {
        let begun = tokio::time::Instant::now();
        // A request that ends with the hold is told as expired, in whatever order the two clocks strike.
        let end = if hold >= terms.pending_ttl { begun + hold + EXPIRY } else { begun + hold };
        let mut ticks = interval_at(begun, PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Marks of their own, so that the session learns of the change too.
        let (mut policies, mut subjects) = (self.changes.clone(), self.subjects.clone());
        let leases = self.leases.clone();
        loop {
            let standing = ticket.standing.borrow_and_update().clone();
            let request = ticket.name.clone();
            let (have, need) = match standing {
                Standing::Approved { .. } => {
                    self.gate.metrics.approval_waited(policy_of(terms), begun.elapsed());
                    return Ok(ticket);
                }
                Standing::Denied { reason, .. } => return Err(Refusal::ApprovalDenied { request, reason }),
                Standing::Expired => return Err(Refusal::Expired { request }),
                Standing::Withdrawn => return Err(Refusal::Withdrawn { request }),
                Standing::Revoked => return Err(Refusal::ApprovalDenied { request, reason: None }),
                Standing::Pending { have, need } => (have, need),
            };
            if tokio::time::Instant::now() >= end {
                return Err(Refusal::Pending { request, why });
            }
            // Every arm may be dropped at any time: watches, two timers, and `gave_up`, which promises it.
            let tick = tokio::select! {
                changed = ticket.standing.changed() => {
                    if changed.is_err() {
                        return Err(Refusal::CannotAsk("the approval service is away".to_owned()));
                    }
                    false
                }
                () = sleep_until(end) => false,
                _ = ticks.tick() => true,
                () = changed(&mut policies, &mut subjects, &leases) => {
                    if let Some(why) = self.revoked() {
                        self.gate.approvals.withdraw(&request).await;
                        return Err(Refusal::Revoked(why));
                    }
                    false
                }
                () = agent.gave_up() => {
                    self.gate.approvals.withdraw(&request).await;
                    return Err(Refusal::Withdrawn { request });
                }
            };
            if tick {
                agent.progress(&request, have, need).await;
            }
        }
    }

    /// The approval is there: decide again on the policy of this moment, use the approval up, then record and permit.
    async fn after_approval<A: AgentSide>(
        &mut self,
        op_ref: OpRef,
        op: &Operation,
        ticket: Ticket,
        ask: &Ask,
        agent: &mut A,
    ) -> Result<Permit, Refused> {
        let verdict = self.still(&op_ref, op, agent).await?;
        match timeout(ASK_DEADLINE, self.gate.approvals.consume(&ticket, ask)).await {
            Ok(Ok(used)) => {
                failpoint::step("approval_consumed", &op_ref);
                if used.lease.is_some_and(|lease| !self.hold(lease)) {
                    let refusal = Refusal::Limit(format!("more than {} grants in one session", lease::MOST));
                    return Err(self.refuse(&op_ref, op, Some(&verdict), refusal, agent).await);
                }
                // Its use took its time, too.
                let verdict = self.still(&op_ref, op, agent).await?;
                let bound = used.rollback_above;
                let permit = self.permit(op_ref, op, &verdict, Some((&ticket.name, bound)), agent).await?;
                Ok(permit.released(Released::new(ticket.name, op, bound)))
            }
            Ok(Err(why)) => {
                let refusal = Refusal::NotConsumed { request: ticket.name, why: why.0 };
                Err(self.refuse(&op_ref, op, Some(&verdict), refusal, agent).await)
            }
            Err(_) => {
                let refusal = Refusal::CannotAsk("the approval service did not answer in time".to_owned());
                Err(self.refuse(&op_ref, op, Some(&verdict), refusal, agent).await)
            }
        }
    }

    /// What waited, decided once more.
    async fn still<A: AgentSide>(&mut self, op_ref: &OpRef, op: &Operation, agent: &A) -> Result<Verdict, Refused> {
        let verdict = decide(self.view(), op);
        let refusal = match (self.too_old().map(Refusal::PolicyTooOld), self.ended(), &verdict.decision) {
            (Some(too_old), _, _) => too_old,
            (None, Some(why), _) => Refusal::Revoked(why),
            (None, None, Decision::Deny(DenyReason::Stale)) => {
                return Err(Refused { refusal: Refusal::Denied(DenyReason::Stale), id: op_ref.to_string() });
            }
            (None, None, Decision::Deny(reason)) => Refusal::Denied(reason.clone()),
            // The rule may have gone meanwhile; the approval is used up all the same.
            (None, None, Decision::Allow | Decision::RequireApproval(_)) => return Ok(verdict),
        };
        Err(self.refuse(op_ref, op, Some(&verdict), refusal, agent).await)
    }

    /// Whether deciding anew could say something else: under the same revision it is the same verdict.
    fn is_outdated(&mut self, op: &Operation) -> bool {
        self.too_old().is_some() || self.ended().is_some() || self.revision() != op.planned
    }

    /// Records the intent at the durability that policy asks for; only then, if nothing changed meanwhile, the permit.
    async fn permit<A: AgentSide>(
        &mut self,
        op_ref: OpRef,
        op: &Operation,
        verdict: &Verdict,
        approval: Option<(&str, Option<u64>)>,
        agent: &A,
    ) -> Result<Permit, Refused> {
        failpoint::step("before_intent", &op_ref);
        let begun = Instant::now();
        let (approval, rollback_above) = (approval.map(|(name, _)| name), approval.and_then(|(_, bound)| bound));
        match self.gate.recorder.intent(&op_ref, op, verdict, approval, rollback_above).await {
            Ok(()) => {
                // The record took its time, too. After this look nobody waits before the permit.
                if op.origin == Origin::Agent && self.is_outdated(op) {
                    self.gate.recorder.outcome(&op_ref, &Outcome::of(Status::NotSent), begun.elapsed());
                    return Err(match self.still(&op_ref, op, agent).await {
                        Err(refused) => refused,
                        // It is as it was by now, and the intent has its end: the caller plans again.
                        Ok(_) => Refused { refusal: Refusal::Denied(DenyReason::Stale), id: op_ref.to_string() },
                    });
                }
                failpoint::step("after_intent", &op_ref);
                let running = Running::new(op_ref, Arc::clone(&self.gate.recorder));
                Ok(Permit::new(op.payload, op.digest, verdict.obligations.clone(), running))
            }
            // It can be recorded here, and so can the refusal.
            Err(Unrecorded::NotReplicated(missing)) => {
                Err(self.refuse(&op_ref, op, Some(verdict), Refusal::NotReplicated(missing), agent).await)
            }
            Err(error) => {
                self.gate.recorder.unrecorded_refusal();
                let refused = Refused { refusal: Refusal::Unrecorded(error.to_string()), id: op_ref.to_string() };
                op_ref.trace().refused(&refused, None);
                Err(refused)
            }
        }
    }

    async fn refuse<A: AgentSide>(
        &self,
        op_ref: &OpRef,
        op: &Operation,
        verdict: Option<&Verdict>,
        refusal: Refusal,
        agent: &A,
    ) -> Refused {
        let refused = Refused { refusal, id: op_ref.to_string() };
        // A refusal that cannot be written is still a refusal; the recorder counts it for a marker.
        let told = agent.told(&refused);
        self.gate.recorder.refusal(op_ref, op, verdict, &refused, &told).await;
        op_ref.trace().refused(&refused, told.code.as_deref());
        refused
    }
}
