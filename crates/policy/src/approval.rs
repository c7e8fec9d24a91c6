//! The count of one approval request. Time is how long ago the request was made, told by the caller.

use std::time::Duration;

use crds::approval::{Decision, Phase};

use crate::verdict::ApprovalTerms;

/// Who voted what on one request, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    requester: String,
    required_approvals: u8,
    deny_threshold: u8,
    pending_ttl: Duration,
    reason_required: bool,
    votes: Vec<Vote>,
    ended: Option<Ended>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    pub approver: String,
    pub decision: Decision,
    pub reason: Option<String>,
    /// Since the request was made.
    pub at: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Denied,
    Revoked,
    Withdrawn,
    Consumed,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// `have` of `need` approvals.
    Pending {
        have: u8,
        need: u8,
    },
    /// It may be consumed, once.
    Approved,
    Denied,
    Expired,
    Withdrawn,
    Revoked,
    /// The operation it released was sent.
    Consumed,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoteError {
    #[error("the requester cannot decide on its own request; ask somebody else")]
    Requester,
    #[error("`{0}` has voted already; each approver counts once")]
    AlreadyVoted(String),
    #[error("a reason is required; give one")]
    ReasonRequired,
    #[error("the request is closed: {0}")]
    Closed(&'static str),
    #[error("break-glass is for clusters; here, approve or deny")]
    BreakGlass,
    #[error("there is nothing to revoke: the request is not approved; deny it instead")]
    NotApproved,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsumeError {
    #[error("the request is still pending")]
    Pending,
    #[error("the request is closed: {0}")]
    Closed(&'static str),
}

impl Tally {
    /// `requester` is named as approvers are, for example by its uid.
    pub fn new(terms: &ApprovalTerms, requester: impl Into<String>) -> Self {
        Self {
            requester: requester.into(),
            required_approvals: terms.required_approvals,
            deny_threshold: terms.deny_threshold,
            pending_ttl: terms.pending_ttl,
            reason_required: terms.reason_required,
            votes: Vec::new(),
            ended: None,
        }
    }

    /// Counts one vote; `now` is the time since the request was made.
    ///
    /// # Errors
    /// The vote does not count, and nothing changed.
    pub fn vote(
        &mut self,
        approver: &str,
        decision: Decision,
        reason: Option<&str>,
        now: Duration,
    ) -> Result<Standing, VoteError> {
        if decision == Decision::BreakGlass {
            return Err(VoteError::BreakGlass);
        }
        let closed = match self.standing(now) {
            Standing::Pending { .. } => None,
            Standing::Approved if decision == Decision::Revoke => None,
            standing => Some(standing),
        };
        if approver == self.requester {
            return Err(VoteError::Requester);
        }
        if let Some(standing) = closed {
            return Err(VoteError::Closed(standing.word()));
        }
        let pending = matches!(self.standing(now), Standing::Pending { .. });
        if decision == Decision::Revoke && pending {
            return Err(VoteError::NotApproved);
        }
        let reason = reason.map(str::trim).filter(|r| !r.is_empty());
        if self.reason_required && reason.is_none() {
            return Err(VoteError::ReasonRequired);
        }
        if decision != Decision::Revoke {
            // Who approved may still come to deny: of both, the denial counts. Never the other way round.
            let before = self.votes.iter().position(|v| v.approver == approver);
            match before.map(|at| self.votes.get(at).map(|v| v.decision)) {
                None => {}
                Some(Some(Decision::Approve)) if decision == Decision::Deny => {
                    self.votes.retain(|v| v.approver != approver);
                }
                Some(_) => return Err(VoteError::AlreadyVoted(approver.to_owned())),
            }
        }
        self.votes.push(Vote { approver: approver.to_owned(), decision, reason: reason.map(str::to_owned), at: now });
        match decision {
            Decision::Revoke => self.ended = Some(Ended::Revoked),
            Decision::Deny if self.count(Decision::Deny) >= self.deny_threshold => self.ended = Some(Ended::Denied),
            Decision::Deny | Decision::Approve | Decision::BreakGlass => {}
        }
        Ok(self.standing(now))
    }

    /// Where it stands at this moment.
    pub fn standing(&self, now: Duration) -> Standing {
        match self.ended {
            Some(Ended::Denied) => Standing::Denied,
            Some(Ended::Revoked) => Standing::Revoked,
            Some(Ended::Withdrawn) => Standing::Withdrawn,
            Some(Ended::Consumed) => Standing::Consumed,
            None if now >= self.pending_ttl => Standing::Expired,
            None => {
                let have = self.count(Decision::Approve);
                match have >= self.required_approvals {
                    true => Standing::Approved,
                    false => Standing::Pending { have, need: self.required_approvals },
                }
            }
        }
    }

    /// Takes the approval for one operation. It succeeds at most once, and only before the request expires.
    ///
    /// # Errors
    /// There is no approval to take.
    pub fn consume(&mut self, now: Duration) -> Result<(), ConsumeError> {
        match self.standing(now) {
            Standing::Approved => {
                self.ended = Some(Ended::Consumed);
                Ok(())
            }
            Standing::Pending { .. } => Err(ConsumeError::Pending),
            standing => Err(ConsumeError::Closed(standing.word())),
        }
    }

    /// The agent no longer wants it. What has ended stays as it ended.
    pub fn withdraw(&mut self, now: Duration) -> Standing {
        if matches!(self.standing(now), Standing::Pending { .. } | Standing::Approved) {
            self.ended = Some(Ended::Withdrawn);
        }
        self.standing(now)
    }

    /// Votes that count, in the order in which they came.
    pub fn votes(&self) -> &[Vote] {
        &self.votes
    }

    /// Different approvers whose approval counts.
    pub fn approvals(&self) -> u8 {
        self.count(Decision::Approve)
    }

    fn count(&self, decision: Decision) -> u8 {
        u8::try_from(self.votes.iter().filter(|v| v.decision == decision).count()).unwrap_or(u8::MAX)
    }
}

impl Standing {
    /// As the object's status says it; that it was consumed is a field of its own there.
    pub fn phase(self) -> Phase {
        match self {
            Self::Pending { .. } => Phase::Pending,
            Self::Approved | Self::Consumed => Phase::Approved,
            Self::Denied => Phase::Denied,
            Self::Expired => Phase::Expired,
            Self::Withdrawn => Phase::Withdrawn,
            Self::Revoked => Phase::Revoked,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::Revoked => "revoked",
            Self::Consumed => "used",
        }
    }
}
