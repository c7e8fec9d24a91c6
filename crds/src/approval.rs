//! `ApprovalRequest`: one question to humans. Its spec is immutable; only our own side creates it.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::DurationText;
use crate::limits;
use crate::policy::Scope;
use crate::shared::Protocol;

/// Written by an approver: `approve`, `deny`, `revoke` or `break-glass`. The approvals webhook turns it into a record and takes it away.
pub const DECISION_ANNOTATION: &str = "agentaccess.dev/decision";
/// Written beside it: why.
pub const REASON_ANNOTATION: &str = "agentaccess.dev/reason";
/// Written beside it: for how long a grant counts, where that is less than the policy's longest.
pub const GRANT_ANNOTATION: &str = "agentaccess.dev/grant";
/// Before the number of a record, 1 to [`LAST_RECORD`]; only the webhook writes it.
pub const RECORD_PREFIX: &str = "agentaccess.dev/decision.";
pub const LAST_RECORD: u32 = 999;
/// The line that decides, for whoever reads the request.
pub const HOW_ANNOTATION: &str = "agentaccess.dev/how-to-decide";
/// Hash of who asks and what for: how an open request is found again.
pub const ASKED_LABEL: &str = "agentaccess.dev/asked";

#[derive(CustomResource, Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "agentaccess.dev",
    version = "v1alpha1",
    kind = "ApprovalRequest",
    plural = "approvalrequests",
    shortname = "areq",
    category = "agentaccess",
    namespaced,
    status = "ApprovalRequestStatus",
    derive = "PartialEq",
    doc = "One question to humans. Made only by agentaccess; its spec never changes.",
    selectable = ".spec.target.name",
    validation = Rule::new("self.spec == oldSelf.spec").message("the spec of an ApprovalRequest never changes"),
    printcolumn(name = "AGENT", type_ = "string", json_path = ".spec.subject.serviceAccount"),
    printcolumn(name = "TARGET", type_ = "string", json_path = ".spec.target.name"),
    printcolumn(name = "ACTION", type_ = "string", json_path = ".spec.action.verb"),
    printcolumn(name = "NEEDS", type_ = "integer", json_path = ".spec.requiredApprovals"),
    printcolumn(name = "HAVE", type_ = "integer", json_path = ".status.approvals"),
    printcolumn(name = "ROWS", type_ = "integer", json_path = ".spec.impact.countedRows", priority = 1),
    printcolumn(name = "ESTIMATE", type_ = "integer", json_path = ".spec.impact.estimatedRows", priority = 1),
    printcolumn(name = "PHASE", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "EXPIRES", type_ = "string", json_path = ".spec.expiresAt"),
    printcolumn(name = "GRANTED", type_ = "string", json_path = ".status.grant.notAfter", priority = 1),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApprovalRequestSpec {
    pub subject: RequestSubject,
    pub target: RequestTarget,
    pub protocol: Protocol,
    pub action: RequestAction,
    /// Redacted, control characters escaped, at most 256 characters.
    #[schemars(length(max = limits::TEXT_CHARS))]
    pub summary: String,
    /// The whole redacted statement a reviewer decides on.
    #[schemars(length(max = limits::STATEMENT_CHARS))]
    pub statement: String,
    /// `hmac-sha256:HEX` of the exact operation; the decision binds to it.
    #[schemars(length(max = 76), regex(pattern = limits::DIGEST))]
    pub digest: String,
    /// Each policy that asked.
    #[schemars(
        length(min = 1, max = limits::POLICY_REFS),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name", "rule"])
    )]
    pub policy_refs: Vec<PolicyRef>,
    #[schemars(range(min = 1, max = limits::QUORUM))]
    pub required_approvals: i32,
    #[schemars(range(min = 1, max = limits::QUORUM))]
    pub deny_threshold: i32,
    pub reason: crate::policy::Reason,
    pub scope: Scope,
    /// If and only if the scope is wider than Once: what its approval grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<RequestGrant>,
    /// The operation without its values: what a grant, and a break-glass approval, covers. Absent: it can be approved
    /// for one use and no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cover: Option<Cover>,
    /// What breaking the glass would let through, by whom and for how long, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = limits::GRANT_CHARS))]
    pub break_glass: Option<String>,
    /// What it would do, as it was found out when it was asked. Absent: the policy wants no preview.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<RequestImpact>,
    /// RFC 3339. Until then people may decide.
    #[schemars(length(max = 30), regex(pattern = limits::INSTANT))]
    pub expires_at: String,
}

/// Numbers, and words of ours: nothing of a row, of a plan or of an error of the target.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestImpact {
    /// All of it in a sentence.
    #[schemars(length(min = 1, max = limits::IMPACT_CHARS))]
    pub means: String,
    /// Rows that the target's planner expects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = limits::ROWS))]
    pub estimated_rows: Option<i64>,
    /// Rows that would have been changed when it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = limits::ROWS))]
    pub counted_rows: Option<i64>,
    /// Counting stopped there: there are more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// When it runs and changes more rows than this, all of it is rolled back. Absent: nothing is compared then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = limits::ROWS))]
    pub rollback_above: Option<i64>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestSubject {
    #[schemars(length(max = limits::LABEL_CHARS), regex(pattern = limits::LABEL))]
    pub namespace: String,
    #[schemars(length(max = limits::NAME_CHARS), regex(pattern = limits::NAME))]
    pub service_account: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::NAME_CHARS), regex(pattern = limits::NAME))]
    pub pod: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "podUID")]
    #[schemars(length(max = 64), regex(pattern = "^[-0-9A-Za-z]+$"))]
    pub pod_uid: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestTarget {
    #[schemars(length(max = limits::NAME_CHARS), regex(pattern = limits::NAME))]
    pub name: String,
    #[schemars(length(min = 1, max = limits::NAME_CHARS), regex(pattern = limits::HOST))]
    pub host: String,
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i32,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestAction {
    /// The protocol's own word, for example `UPDATE`.
    #[schemars(length(min = 1, max = limits::LABEL_CHARS))]
    pub verb: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::REQUEST_RESOURCES), inner(length(max = limits::FUNCTION_CHARS)))]
    pub resources: Vec<String>,
}

/// For people first, then for the machine.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestGrant {
    /// What one approval lets through, by whom and for how long, in a sentence.
    #[schemars(length(min = 1, max = limits::GRANT_CHARS))]
    pub means: String,
    pub max_duration: DurationText,
    /// Of scope Session: the connection that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = limits::LABEL_CHARS))]
    pub session: Option<String>,
    /// Of scope Task, where the pod belongs to a Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobRef>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobRef {
    #[schemars(length(max = limits::NAME_CHARS), regex(pattern = limits::NAME))]
    pub name: String,
    #[schemars(length(max = 64), regex(pattern = "^[-0-9A-Za-z]+$"))]
    pub uid: String,
}

/// An operation without its values: its word, and all that it uses.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cover {
    /// The protocol's own word, for example `UPDATE`.
    #[schemars(length(min = 1, max = limits::LABEL_CHARS))]
    pub action: String,
    #[schemars(length(min = 1, max = limits::LABEL_CHARS))]
    pub database: String,
    #[schemars(length(min = 1, max = limits::COVERED))]
    pub uses: Vec<CoveredUse>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CoveredUse {
    /// Our own word, for example `Update`.
    #[schemars(length(min = 1, max = limits::LABEL_CHARS))]
    pub verb: String,
    /// For example `Relation`.
    #[schemars(length(min = 1, max = limits::LABEL_CHARS))]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::PATH), inner(length(max = limits::FUNCTION_CHARS)))]
    pub path: Vec<String>,
    /// These columns or fewer; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::COVERED), inner(length(max = limits::LABEL_CHARS)))]
    pub columns: Option<Vec<String>>,
    /// Only with a condition that bounds it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bounded: bool,
    /// Reached through another resource.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub indirect: bool,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyRef {
    #[schemars(length(max = 63), regex(pattern = "^(Cluster)?AgentAccessPolicy$"))]
    pub kind: String,
    #[schemars(length(max = limits::NAME_CHARS), regex(pattern = limits::NAME))]
    pub name: String,
    #[schemars(length(max = limits::LABEL_CHARS), regex(pattern = limits::LABEL))]
    pub rule: String,
    #[schemars(length(max = 71), regex(pattern = limits::REVISION))]
    pub revision: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApprovalRequestStatus {
    #[serde(default)]
    pub phase: Phase,
    #[serde(default)]
    #[schemars(range(min = 0, max = limits::QUORUM))]
    pub approvals: i32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::DECISIONS))]
    pub decisions: Vec<ApproverDecision>,
    /// The operation it released has been sent; a Once approval does not count again.
    #[serde(default)]
    pub consumed: bool,
    /// What was granted, where it was more than one use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantStatus>,
    /// What the notification webhook was told of this request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::NOTICES), extend("x-kubernetes-list-type" = "set"))]
    pub notified: Vec<Notice>,
}

/// What can be told of a request, each at most once, in this order.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    Requested,
    /// By its quorum.
    Approved,
    /// By one person alone.
    BreakGlass,
    Denied,
    /// Nobody decided, or used the approval, in time.
    Expired,
    /// The agent gave it up.
    Withdrawn,
    /// By a person.
    Revoked,
    /// Early, by nobody: the request is gone, or whoever it was for.
    Ended,
}

/// For people: what counts is counted from the records.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantStatus {
    pub scope: Scope,
    /// RFC 3339.
    #[schemars(length(max = 30), regex(pattern = limits::INSTANT))]
    pub not_before: String,
    /// RFC 3339.
    #[schemars(length(max = 30), regex(pattern = limits::INSTANT))]
    pub not_after: String,
    /// It stands on one person's break-glass.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Pending,
    Approved,
    Denied,
    Expired,
    /// The agent cancelled the query that asked.
    Withdrawn,
    Revoked,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApproverDecision {
    #[schemars(length(min = 1, max = limits::TEXT_CHARS))]
    pub user: String,
    pub decision: Decision,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::TEXT_CHARS))]
    pub reason: Option<String>,
    /// RFC 3339.
    #[schemars(length(max = 30), regex(pattern = limits::INSTANT))]
    pub time: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Approve,
    Deny,
    Revoke,
    /// One person's approval where the policy wants several, for a short time and loudly.
    #[serde(rename = "break-glass")]
    BreakGlass,
}
