//! `AgentAccessPolicy` and `ClusterAgentAccessPolicy`: what agents may do.
//!
//! There is no default action and no "on unparseable": both are always Deny.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::DurationText;
use crate::shared::{LocalRef, Selector};

#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "agentaccess.dev",
    version = "v1alpha1",
    kind = "AgentAccessPolicy",
    plural = "agentaccesspolicies",
    shortname = "aap",
    category = "agentaccess",
    namespaced
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentAccessPolicySpec {
    /// Which pods; `{}` is all of the namespace.
    pub pod_selector: Selector,
    /// When given, the pod's service account must be one of these too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_account_names: Vec<String>,
    #[serde(default)]
    pub mode: Mode,
    #[serde(default)]
    pub recording: RecordingSettings,
    /// Named settings that RequireApproval rules refer to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovalSettings>,
    pub targets: Vec<TargetRules>,
}

#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "agentaccess.dev",
    version = "v1alpha1",
    kind = "ClusterAgentAccessPolicy",
    plural = "clusteragentaccesspolicies",
    shortname = "caap",
    category = "agentaccess"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterAgentAccessPolicySpec {
    pub namespace_selector: Selector,
    pub pod_selector: Selector,
    /// The kill switch: every operation of the selected pods is denied.
    #[serde(default)]
    pub deny_all: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingSettings>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovalSettings>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<ClusterRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<ClusterMask>,
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
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApprovalSettings {
    pub name: String,
    /// 1 to 5 different approvers.
    #[serde(default = "one")]
    pub required_approvals: i32,
    /// This many denials end the request.
    #[serde(default = "one")]
    pub deny_threshold: i32,
    #[serde(default)]
    pub scope: Scope,
    /// How long the request lives; default 15m.
    #[serde(default = "fifteen_minutes")]
    #[serde(rename = "pendingTTL")]
    pub pending_ttl: DurationText,
    /// How long one connection waits; default 20s, at most pendingTTL.
    #[serde(default = "twenty_seconds")]
    pub hold_for: DurationText,
    /// Whether the approver must give a reason.
    #[serde(default)]
    pub reason: Reason,
    /// Absent: an operation inside a transaction is never held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_transaction: Option<InTransaction>,
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

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    #[default]
    Once,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    #[default]
    Optional,
    Required,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InTransaction {
    /// At most 30s: other sessions wait on the transaction's locks.
    pub max_hold: DurationText,
    pub on_timeout: OnTimeout,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTimeout {
    Rollback,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetRules {
    pub target_ref: LocalRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresRules>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresRules {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<PostgresRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<PostgresMask>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Allow,
    RequireApproval,
    Deny,
}

/// The words of a Postgres rule; `crates/policy` maps them to neutral verbs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PostgresVerb {
    Select,
    Insert,
    Update,
    Delete,
    /// COPY ... FROM STDIN; at most RequireApproval.
    CopyFrom,
    /// CALL and user functions; at most RequireApproval.
    Call,
    /// DO blocks; at most RequireApproval.
    Do,
    /// CREATE, ALTER, DROP, TRUNCATE and the like; at most RequireApproval.
    #[serde(rename = "DDL")]
    Ddl,
    Listen,
    Notify,
    /// Only in Deny rules: COPY to or from a file or program.
    Copy,
    /// Only in Deny rules: GRANT, REVOKE and roles.
    Grant,
    /// Only in Deny rules: SET of anything but the session settings that are always allowed.
    Set,
}

/// One rule. A list that is absent matches everything of its kind; `relations` and `functions` are matched against
/// `schema.name`, where `*` stands for any part of one segment.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresRule {
    pub name: String,
    pub action: Action,
    /// An entry of `approvals`; if and only if action is RequireApproval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    pub verbs: Vec<PostgresVerb>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<String>,
    /// Allow: only these columns. RequireApproval and Deny: as soon as one of these is touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// `schema.name(type, type)`, for the verb Call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
    /// UPDATE and DELETE without an effective WHERE are denied.
    #[serde(default)]
    pub require_where: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<RuleLimits>,
    /// What the agent is told when this rule refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleLimits {
    /// Most rows that one operation may return.
    pub rows: i32,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresMask {
    pub name: String,
    /// `schema.relation.column`; `*` stands for any part of one segment.
    pub columns: Vec<String>,
    pub method: MaskMethod,
    #[serde(default)]
    pub in_predicates: InPredicates,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MaskMethod {
    /// Keeps a little of a text (an e-mail's first letter and domain, the last four characters); Redact on other types.
    Partial,
    /// Nothing of the value is left.
    Redact,
}

/// What a predicate over a masked column does.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum InPredicates {
    /// It sees the masked value.
    #[default]
    Allow,
    /// Any use but as a bare output is refused.
    Deny,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterRule {
    pub name: String,
    /// Deny or RequireApproval: a cluster policy only tightens.
    pub action: Action,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<ClusterPostgresMatch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterPostgresMatch {
    /// Host patterns of the targets meant; `*` is any run of characters.
    pub hosts: Vec<String>,
    pub verbs: Vec<PostgresVerb>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
    #[serde(default)]
    pub require_where: bool,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterMask {
    pub name: String,
    pub postgres: ClusterPostgresColumns,
    pub method: MaskMethod,
    #[serde(default)]
    pub in_predicates: InPredicates,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterPostgresColumns {
    pub columns: Vec<String>,
}
