//! `ClusterAgentAccessPolicy`: guardrails over namespaces. It may only tighten, so it has no Allow.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ApprovalSettings, Detector, InPredicates, MaskMethod, PostgresVerb, RecordingSettings, names};
use crate::limits;
use crate::shared::Selector;

#[derive(CustomResource, Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "agentaccess.dev",
    version = "v1alpha1",
    kind = "ClusterAgentAccessPolicy",
    plural = "clusteragentaccesspolicies",
    shortname = "caap",
    category = "agentaccess",
    status = "crate::status::PolicyStatus",
    derive = "PartialEq",
    doc = "Guardrails for the agents of many namespaces. They only tighten what namespaced policies allow.",
    printcolumn(name = "DENYALL", type_ = "boolean", json_path = ".spec.denyAll"),
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
        "!has(self.rules) || self.rules.all(r, !has(r.approval) || \
         (has(self.approvals) && self.approvals.exists(a, a.name == r.approval)))"
    )
    .message("approval names no entry of spec.approvals")
)]
pub struct ClusterAgentAccessPolicySpec {
    pub namespace_selector: Selector,
    pub pod_selector: Selector,
    /// The kill switch: every operation of the selected pods is denied.
    #[serde(default)]
    pub deny_all: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingSettings>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::APPROVALS),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub approvals: Vec<ApprovalSettings>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::RULES),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub rules: Vec<ClusterRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::RULES),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub masks: Vec<ClusterMask>,
    /// What to look for in all that comes back from any target, behind the masks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::DETECTORS),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub detectors: Vec<Detector>,
}

#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.action in ['Deny', 'RequireApproval']")
        .message("a cluster policy only tightens: action is Deny or RequireApproval"),
    validation = Rule::new("has(self.approval) == (self.action == 'RequireApproval')")
        .message("approval is given if and only if action is RequireApproval"),
    validation = Rule::new("[has(self.postgres)].exists_one(x, x)")
        .message("a rule has exactly one protocol block: postgres"),
    validation = Rule::new(
        "self.action == 'Deny' || !has(self.postgres) || self.postgres.verbs.all(v, !(v in ['Copy', 'Grant', 'Set']))"
    )
    .message("the verbs Copy, Grant and Set stand only in Deny rules: nobody can be allowed them"),
    validation = Rule::new("self.action != 'Deny' || !has(self.postgres) || !self.postgres.requireWhere")
        .message("requireWhere has no meaning in a Deny rule")
)]
pub struct ClusterRule {
    #[schemars(length(max = limits::LABEL_CHARS), regex(pattern = limits::LABEL))]
    pub name: String,
    /// Deny or RequireApproval: a cluster policy only tightens.
    pub action: Action,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::LABEL_CHARS), regex(pattern = limits::LABEL))]
    pub approval: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<ClusterPostgresMatch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::TEXT_CHARS))]
    pub message: Option<String>,
}

#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!has(self.functions) || self.verbs.exists(v, v == 'Call')")
        .message("functions is given only with the verb Call"),
    validation = Rule::new("!self.requireWhere || self.verbs.exists(v, v in ['Update', 'Delete'])")
        .message("requireWhere is given only with the verbs Update or Delete")
)]
pub struct ClusterPostgresMatch {
    /// Host patterns of the targets meant; `*` is any run of characters.
    #[schemars(
        length(min = 1, max = limits::HOSTS),
        inner(length(min = 1, max = limits::NAME_CHARS), regex(pattern = limits::HOST_PATTERN)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub hosts: Vec<String>,
    #[schemars(length(min = 1, max = limits::VERBS), extend("x-kubernetes-list-type" = "set"))]
    pub verbs: Vec<PostgresVerb>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "names::relations")]
    pub relations: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "names::columns")]
    pub columns: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "names::functions")]
    pub functions: Vec<String>,
    #[serde(default)]
    pub require_where: bool,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterMask {
    #[schemars(length(max = limits::LABEL_CHARS), regex(pattern = limits::LABEL))]
    pub name: String,
    pub postgres: ClusterPostgresColumns,
    pub method: MaskMethod,
    #[serde(default)]
    pub in_predicates: InPredicates,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterPostgresColumns {
    #[schemars(schema_with = "names::some_columns")]
    pub columns: Vec<String>,
}
