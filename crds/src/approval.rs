//! `ApprovalRequest`: one question to humans. Its spec is immutable; only our own side creates it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::{Reason, Scope};
use crate::shared::Protocol;

#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "agentaccess.dev",
    version = "v1alpha1",
    kind = "ApprovalRequest",
    plural = "approvalrequests",
    shortname = "areq",
    category = "agentaccess",
    namespaced,
    status = "ApprovalRequestStatus"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApprovalRequestSpec {
    pub subject: RequestSubject,
    pub target: RequestTarget,
    pub protocol: Protocol,
    pub action: RequestAction,
    /// Redacted, control characters escaped, at most 256 characters.
    pub summary: String,
    /// The whole redacted statement a reviewer decides on.
    pub statement: String,
    /// `hmac-sha256:HEX` of the exact operation; the decision binds to it.
    pub digest: String,
    /// Each policy that asked.
    pub policy_refs: Vec<PolicyRef>,
    pub required_approvals: i32,
    pub deny_threshold: i32,
    pub reason: Reason,
    pub scope: Scope,
    /// RFC 3339.
    pub expires_at: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestSubject {
    pub namespace: String,
    pub service_account: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "podUID")]
    pub pod_uid: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestTarget {
    pub name: String,
    pub host: String,
    pub port: i32,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestAction {
    /// The protocol's own word, for example `UPDATE`.
    pub verb: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyRef {
    pub kind: String,
    pub name: String,
    pub rule: String,
    pub revision: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApprovalRequestStatus {
    #[serde(default)]
    pub phase: Phase,
    #[serde(default)]
    pub approvals: i32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<ApproverDecision>,
    /// The operation it released has been sent; a Once approval does not count again.
    #[serde(default)]
    pub consumed: bool,
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
    pub user: String,
    pub decision: Decision,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// RFC 3339.
    pub time: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Approve,
    Deny,
    Revoke,
}
