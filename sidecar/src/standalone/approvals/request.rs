//! One approval request: what was asked, who voted, and how both look as an `ApprovalRequest` object.

use std::time::{Duration, Instant};

use crds::approval::{
    ApprovalRequest, ApprovalRequestSpec, ApprovalRequestStatus, ApproverDecision, Decision, Phase, PolicyRef,
    RequestAction, RequestSubject, RequestTarget,
};
use crds::limits::{POLICY_REFS, REQUEST_RESOURCES, STATEMENT_CHARS, TEXT_CHARS};
use crds::policy::{Reason, Scope};
use jiff::Timestamp;
use policy::approval::{Standing as Tallied, Tally, Vote};
use policy::impact::Impact;
use policy::redact::{Redacted, remark, summary};
use tokio::sync::watch;

use crate::outside::{Ask, Standing};

/// The requester as the tally knows it. No approver can have this name: `/` is not allowed in theirs.
const REQUESTER: &str = "agent/";

/// What is kept of a request that ended: hundreds of them are kept for a day, and nobody decides on them any more.
const ENDED_CHARS: usize = 4 * 1024;
const ENDED_RESOURCES: usize = 16;
/// The note on what was left out is shorter.
const NOTE_CHARS: usize = 128;

/// A request of this life of the process.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) ask: Ask,
    pub(super) tally: Tally,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) ended: Option<Instant>,
    opened: Instant,
    opened_at: Timestamp,
}

// === impl Request ===

impl Request {
    pub(super) fn new(ask: Ask) -> Self {
        let tally = Tally::new(&ask.terms, REQUESTER);
        let standing = watch::Sender::new(Standing::Pending { have: 0, need: ask.terms.required_approvals });
        Self { ask, tally, standing, ended: None, opened: Instant::now(), opened_at: Timestamp::now() }
    }

    /// Monotonic: a clock that is set does not move it.
    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.opened.checked_add(self.ask.terms.pending_ttl)
    }

    /// Pending, or approved and not yet used.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.tally.standing(self.age()), Tallied::Pending { .. } | Tallied::Approved)
    }

    pub(super) fn is_pending(&self) -> bool {
        matches!(self.tally.standing(self.age()), Tallied::Pending { .. })
    }

    pub(super) fn expires(&self) -> String {
        at(self.opened_at, self.ask.terms.pending_ttl)
    }

    /// Those whose approval counts.
    pub(super) fn approvers(&self) -> Vec<String> {
        self.votes(Decision::Approve).map(|v| v.approver.clone()).collect()
    }

    fn votes(&self, decision: Decision) -> impl Iterator<Item = &Vote> {
        self.tally.votes().iter().filter(move |v| v.decision == decision)
    }

    /// As sessions see it. A used approval looks approved: `consume` says that it is used.
    pub(super) fn outward(&self) -> Standing {
        match self.tally.standing(self.age()) {
            Tallied::Pending { have, need } => Standing::Pending { have, need },
            Tallied::Approved | Tallied::Consumed => Standing::Approved { by: self.approvers() },
            Tallied::Denied => {
                let last = self.votes(Decision::Deny).last();
                Standing::Denied {
                    by: last.map(|v| v.approver.clone()).unwrap_or_default(),
                    reason: last.and_then(|v| v.reason.clone()),
                }
            }
            Tallied::Expired => Standing::Expired,
            Tallied::Withdrawn => Standing::Withdrawn,
            Tallied::Revoked => Standing::Revoked,
        }
    }

    /// Tells sessions and notes the moment at which it ended.
    pub(super) fn publish(&mut self) {
        if !self.is_open() && self.ended.is_none() {
            self.ended = Some(Instant::now());
            self.ask.statement =
                Redacted::danger_caller_redacted_and_cut(&beginning(self.ask.statement.as_str(), ENDED_CHARS));
            self.ask.resources.truncate(ENDED_RESOURCES);
        }
        let now = self.outward();
        self.standing.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }

    pub(super) fn object(&self, name: &str) -> ApprovalRequest {
        let ask = &self.ask;
        let standing = self.tally.standing(self.age());
        let spec = ApprovalRequestSpec {
            subject: RequestSubject {
                namespace: ask.subject.namespace.clone(),
                service_account: ask.subject.service_account.clone(),
                pod: ask.subject.pod.clone(),
                pod_uid: ask.subject.pod_uid.clone(),
            },
            target: RequestTarget { name: ask.target.name.clone(), host: ask.host.clone(), port: ask.port.into() },
            protocol: ask.protocol,
            action: RequestAction {
                verb: ask.action.clone(),
                resources: ask.resources.iter().take(REQUEST_RESOURCES).cloned().collect(),
            },
            summary: summary(ask.statement.as_str(), TEXT_CHARS),
            statement: cut(ask.statement.as_str(), STATEMENT_CHARS),
            digest: ask.digest.to_string(),
            policy_refs: ask.terms.asked_by.iter().take(POLICY_REFS).map(|id| policy_ref(id, ask)).collect(),
            required_approvals: ask.terms.required_approvals.into(),
            deny_threshold: ask.terms.deny_threshold.into(),
            reason: if ask.terms.reason_required { Reason::Required } else { Reason::Optional },
            scope: Scope::Once,
            grant: None,
            cover: None,
            break_glass: None,
            impact: ask.impact.as_ref().map(Impact::shown),
            expires_at: self.expires(),
        };
        let mut object = ApprovalRequest::new(name, spec);
        object.metadata.namespace = Some(ask.subject.namespace.clone());
        // The type of the field is not ours to name; a time always fits it.
        object.metadata.creation_timestamp = serde_json::from_value(at(self.opened_at, Duration::ZERO).into()).ok();
        object.status = Some(ApprovalRequestStatus {
            phase: standing.phase(),
            approvals: self.tally.approvals().into(),
            decisions: self
                .tally
                .votes()
                .iter()
                .map(|vote| ApproverDecision {
                    user: vote.approver.clone(),
                    decision: vote.decision,
                    reason: vote.reason.clone(),
                    time: at(self.opened_at, vote.at),
                })
                .collect(),
            consumed: standing == Tallied::Consumed,
            grant: None,
            notified: Vec::new(),
        });
        object
    }
}

/// A request of an earlier life can release nothing: the key of its digest is gone. Only its beginning is kept.
pub(super) fn expire_object(object: &mut ApprovalRequest) -> bool {
    object.spec.statement = beginning(&object.spec.statement, ENDED_CHARS);
    object.spec.action.resources.truncate(ENDED_RESOURCES);
    let status = object.status.get_or_insert_default();
    let open = match status.phase {
        Phase::Pending => true,
        Phase::Approved => !status.consumed,
        Phase::Denied | Phase::Expired | Phase::Withdrawn | Phase::Revoked => false,
    };
    if open {
        status.phase = Phase::Expired;
    }
    open
}

fn policy_ref(id: &policy::verdict::RuleId, ask: &Ask) -> PolicyRef {
    PolicyRef {
        kind: if id.cluster { "ClusterAgentAccessPolicy" } else { "AgentAccessPolicy" }.to_owned(),
        name: id.policy.clone(),
        rule: id.rule.clone(),
        revision: ask.revision.to_string(),
    }
}

/// RFC 3339, to the second.
fn at(from: Timestamp, after: Duration) -> String {
    let moment = jiff::SignedDuration::try_from(after).ok().and_then(|d| from.checked_add(d).ok()).unwrap_or(from);
    moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What does not fit is left out and counted. A text that was cut before stays as it is.
fn beginning(text: &str, chars: usize) -> String {
    let whole = text.chars().count();
    if whole <= chars.saturating_add(NOTE_CHARS) {
        return text.to_owned();
    }
    let start: String = text.chars().take(chars).collect();
    format!("{start} {}", remark(&format!("cut: {whole} characters; the recording has more")))
}

/// What does not fit ends with a mark.
pub(super) fn cut(text: &str, chars: usize) -> String {
    if text.chars().nth(chars).is_none() {
        return text.to_owned();
    }
    text.chars().take(chars.saturating_sub(1)).chain(['…']).collect()
}
