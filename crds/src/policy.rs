//! `AgentAccessPolicy` and `ClusterAgentAccessPolicy`: what agents may do.
//!
//! There is no default action and no "on unparseable": both are always Deny.

mod cluster;
mod detector;
mod names;
mod postgres;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::DurationText;
use crate::limits;
use crate::shared::{LocalRef, Selector};

pub use cluster::{
    ClusterAgentAccessPolicy, ClusterAgentAccessPolicySpec, ClusterMask, ClusterPostgresColumns, ClusterPostgresMatch,
    ClusterRule,
};
pub use detector::{Detector, OnDetected, Sensitive};
pub use postgres::{InPredicates, MaskMethod, PostgresMask, PostgresRule, PostgresRules, PostgresVerb, RuleLimits};

#[derive(CustomResource, Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "agentaccess.dev",
    version = "v1alpha1",
    kind = "AgentAccessPolicy",
    plural = "agentaccesspolicies",
    shortname = "aap",
    category = "agentaccess",
    namespaced,
    status = "crate::status::PolicyStatus",
    derive = "PartialEq",
    doc = "What the selected agents of a namespace may do. What no rule allows is denied.",
    printcolumn(name = "MODE", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "PODS", type_ = "integer", json_path = ".status.matchedPods"),
    printcolumn(name = "SYNCED", type_ = "integer", json_path = ".status.syncedPods"),
    printcolumn(name = "ACCEPTED", type_ = "string", json_path = ".status.conditions[?(@.type==\"Accepted\")].status"),
    printcolumn(
        name = "PROGRAMMED",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Programmed\")].status"
    ),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new(
        "self.targets.all(t, !has(t.postgres) || !has(t.postgres.rules) || t.postgres.rules.all(r, !has(r.approval) || \
         (has(self.approvals) && self.approvals.exists(a, a.name == r.approval))))"
    )
    .message("approval names no entry of spec.approvals")
)]
pub struct AgentAccessPolicySpec {
    /// Which pods; `{}` is all of the namespace.
    pub pod_selector: Selector,
    /// When given, the pod's service account must be one of these too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::SERVICE_ACCOUNTS),
        inner(length(max = limits::NAME_CHARS), regex(pattern = limits::NAME)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub service_account_names: Vec<String>,
    #[serde(default)]
    pub mode: Mode,
    #[serde(default)]
    pub recording: RecordingSettings,
    /// Named settings that RequireApproval rules refer to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::APPROVALS),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub approvals: Vec<ApprovalSettings>,
    #[schemars(length(min = 1, max = limits::TARGETS))]
    pub targets: Vec<TargetRules>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Enforce,
    /// What would be denied passes, and its record says `wouldDeny`. Only if every policy of the pod is in Audit.
    Audit,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordingSettings {
    #[serde(default)]
    pub level: Level,
    #[serde(default)]
    pub durability: Durability,
}

/// How much content is kept.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Verbs, resources, decisions, counts.
    Metadata,
    /// And the masked statement.
    #[default]
    Statements,
    /// And masked rows up to 64 KiB an operation.
    Payload,
}

/// What must have happened to the intent before the operation leaves.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Survives a killed process.
    #[default]
    Written,
    /// Survives power loss.
    Synced,
    /// Survives the loss of pod and node: the operator has it in its store. Without a store everything is denied.
    Replicated,
}

// CEL's duration() knows no days, and days have no leading zero (`DurationText`): a `d` means at least 24 hours.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new(
        "self.pendingTTL == '1d' || (!self.pendingTTL.contains('d') && duration(self.pendingTTL) <= duration('24h'))"
    )
    .message("pendingTTL is at most 24h"),
    validation = Rule::new(
        "!self.holdFor.contains('d') && duration(self.holdFor) <= duration('24h') && \
         (self.pendingTTL.contains('d') || duration(self.holdFor) <= duration(self.pendingTTL))"
    )
    .message("holdFor is at most pendingTTL, and at most 24h"),
    validation = Rule::new("(self.scope == 'Once') != has(self.maxGrantDuration)")
        .message("maxGrantDuration stands with scope Session, Duration and Task, and with no other"),
    validation = Rule::new(
        "!has(self.maxGrantDuration) || self.maxGrantDuration == '1d' || \
         (!self.maxGrantDuration.contains('d') && duration(self.maxGrantDuration) <= duration('24h'))"
    )
    .message("maxGrantDuration is at most 24h")
)]
pub struct ApprovalSettings {
    #[schemars(length(max = limits::LABEL_CHARS), regex(pattern = limits::LABEL))]
    pub name: String,
    /// 1 to 5 different approvers.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = limits::QUORUM))]
    pub required_approvals: i32,
    /// This many denials end the request; 1 to 5.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = limits::QUORUM))]
    pub deny_threshold: i32,
    /// What one approval counts for; default Once.
    #[serde(default)]
    pub scope: Scope,
    /// How long an approval of scope Session, Duration or Task counts at most; at most 24h. Who approves may shorten it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_grant_duration: Option<DurationText>,
    /// How long the request lives; default 15m, at most 24h.
    #[serde(default = "fifteen_minutes")]
    #[serde(rename = "pendingTTL")]
    pub pending_ttl: DurationText,
    /// How long one connection waits; default 20s, at most pendingTTL.
    #[serde(default = "twenty_seconds")]
    pub hold_for: DurationText,
    /// Whether the approver must give a reason.
    #[serde(default)]
    pub reason: crate::policy::Reason,
    /// Absent: an operation inside a transaction is never held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_transaction: Option<InTransaction>,
    /// What a request shows besides the statement: its impact, as far as it can be told before it runs. Only what the agent may
    /// read without a person is looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::PREVIEWS), extend("x-kubernetes-list-type" = "set"))]
    pub preview: Vec<Preview>,
}

/// What is found out for the people who decide. It never changes the verdict, and never runs the statement.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preview {
    /// How many rows the target's planner expects: a guess from statistics.
    Explain,
    /// How many rows an UPDATE or DELETE of one table would change now, counted in the target. It costs the target a read.
    Count,
    /// The statement itself, redacted. It is shown whether this stands here or not.
    MaskedStatement,
}

fn one() -> i32 {
    1
}
fn fifteen_minutes() -> DurationText {
    DurationText("15m".to_owned())
}
fn twenty_seconds() -> DurationText {
    DurationText("20s".to_owned())
}

/// The narrowest first: of several rules that ask, the narrowest counts.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The one operation that asked.
    #[default]
    Once,
    /// The same action, on the connection that asked.
    Session,
    /// The same action, by the pod that asked.
    Duration,
    /// The same action, by the pods of the Job that the asking pod belongs to, until it ends; of a pod without a Job, by
    /// that pod.
    Task,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    #[default]
    Optional,
    Required,
}

#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!self.maxHold.contains('d') && duration(self.maxHold) <= duration('30s')")
        .message("maxHold is at most 30s: other sessions wait on the transaction's locks")
)]
pub struct InTransaction {
    /// At most 30s: other sessions wait on the transaction's locks.
    pub max_hold: DurationText,
    pub on_timeout: OnTimeout,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTimeout {
    Rollback,
}

#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("[has(self.postgres)].exists_one(x, x)")
        .message("a target has exactly one protocol block: postgres")
)]
pub struct TargetRules {
    pub target_ref: LocalRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresRules>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Allow,
    RequireApproval,
    Deny,
}
