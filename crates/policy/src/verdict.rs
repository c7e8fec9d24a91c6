//! What `decide` returns.

use std::sync::Arc;
use std::time::Duration;

pub use crds::policy::{Durability, Level, Scope};
use serde::Serialize;

use crate::operation::{Revision, Strictness};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    RequireApproval(ApprovalTerms),
    Deny(DenyReason),
}

impl Decision {
    pub fn strictness(&self) -> Strictness {
        match self {
            Self::Allow => Strictness::Allow,
            Self::RequireApproval(_) => Strictness::RequireApproval,
            Self::Deny(_) => Strictness::Deny,
        }
    }
}

/// The strictest of all settings that apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalTerms {
    /// Each rule that asked, in order of policy and rule name.
    pub asked_by: Vec<RuleId>,
    /// 1 to 5.
    pub required_approvals: u8,
    pub deny_threshold: u8,
    pub scope: Scope,
    /// How long a grant counts; `None` if and only if the scope is Once.
    pub max_grant: Option<Duration>,
    pub pending_ttl: Duration,
    pub hold_for: Duration,
    pub reason_required: bool,
    /// `None`: never held inside a transaction. At most 30 s.
    pub max_hold_in_transaction: Option<Duration>,
    /// What those who decide are shown besides the statement.
    pub preview: Preview,
}

/// What is found out before people are asked: all that any rule wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Preview {
    /// The planner's estimate.
    pub explain: bool,
    /// A bounded count.
    pub count: bool,
}

impl Preview {
    pub fn any(self) -> bool {
        self.explain || self.count
    }
}

/// Why it was denied. The texts hold names of resources and rules, never values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DenyReason {
    /// No policy selects this subject and target.
    NotSelected,
    /// No rule matched this access.
    NoRule(String),
    /// A Deny rule matched.
    Rule { id: RuleId, message: Option<String> },
    /// Audit mode: a RequireApproval rule matched, and nobody was asked.
    Unasked { id: RuleId },
    /// `denyAll` of a cluster policy.
    DenyAll { policy: String },
    /// `requireWhere` of a rule, and no effective condition.
    Unbounded { id: RuleId, resource: String },
    /// This kind of operation is never allowed.
    Ceiling(String),
    /// It was not understood.
    Opaque(String),
    /// The policies changed since the operation was planned; plan again.
    Stale,
    /// Evaluation failed.
    Evaluation(String),
}

/// `policy/rule`, or `builtin/session`; a cluster policy's id starts with `cluster:`.
#[derive(Serialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId {
    pub policy: String,
    pub rule: String,
    pub cluster: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub decision: Decision,
    pub obligations: Obligations,
    pub why: Explanation,
    /// Audit mode: what the decision would be were it enforced; `decision` is then Allow.
    pub would_deny: Option<DenyReason>,
}

/// Duties that come with an allow. They only accumulate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Obligations {
    /// Most rows that may be returned.
    pub max_rows: Option<u64>,
    /// Masks on what the operation touches, in order.
    pub masks: Vec<RuleId>,
    /// Detectors that look at what comes back, in order.
    pub detectors: Arc<[RuleId]>,
    pub level: Level,
    pub durability: Durability,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub revision: Revision,
    /// Every rule that matched, in order, with what it said.
    pub matched: Vec<Matched>,
}

#[derive(Serialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Matched {
    pub rule: RuleId,
    pub says: Strictness,
    /// The access it matched, for people.
    pub access: String,
}
