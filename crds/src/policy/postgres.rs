//! The Postgres block of an `AgentAccessPolicy`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, Detector, names};
use crate::limits;

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresRules {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::RULES),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub rules: Vec<PostgresRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::RULES),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub masks: Vec<PostgresMask>,
    /// What to look for in all that comes back, behind the masks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::DETECTORS),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub detectors: Vec<Detector>,
}

// `crates/policy` maps them to neutral verbs.
/// The words of a Postgres rule.
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
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.approval) == (self.action == 'RequireApproval')")
        .message("approval is given if and only if action is RequireApproval"),
    validation = Rule::new("self.action == 'Deny' || self.verbs.all(v, !(v in ['Copy', 'Grant', 'Set']))")
        .message("the verbs Copy, Grant and Set stand only in Deny rules: nobody can be allowed them"),
    validation = Rule::new("self.action != 'Allow' || self.verbs.all(v, !(v in ['CopyFrom', 'Call', 'Do', 'DDL']))")
        .message("the verbs CopyFrom, Call, Do and DDL cannot be allowed: use action RequireApproval"),
    validation = Rule::new("!has(self.functions) || self.verbs.exists(v, v == 'Call')")
        .message("functions is given only with the verb Call"),
    validation = Rule::new("!self.requireWhere || self.verbs.exists(v, v in ['Update', 'Delete'])")
        .message("requireWhere is given only with the verbs Update or Delete"),
    validation = Rule::new("!self.requireWhere || self.action != 'Deny'")
        .message("requireWhere has no meaning in a Deny rule")
)]
pub struct PostgresRule {
    #[schemars(length(max = limits::LABEL_CHARS), regex(pattern = limits::LABEL))]
    pub name: String,
    pub action: Action,
    /// An entry of `approvals`; if and only if action is RequireApproval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::LABEL_CHARS), regex(pattern = limits::LABEL))]
    pub approval: Option<String>,
    #[schemars(length(min = 1, max = limits::VERBS), extend("x-kubernetes-list-type" = "set"))]
    pub verbs: Vec<PostgresVerb>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "names::relations")]
    pub relations: Vec<String>,
    /// Allow: only these columns. RequireApproval and Deny: as soon as one of these is touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "names::columns")]
    pub columns: Vec<String>,
    /// `schema.name(type, type)`, for the verb Call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "names::functions")]
    pub functions: Vec<String>,
    /// UPDATE and DELETE without an effective WHERE are denied.
    #[serde(default)]
    pub require_where: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<RuleLimits>,
    /// What the agent is told when this rule refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::TEXT_CHARS))]
    pub message: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleLimits {
    /// Most rows that one operation may return.
    #[schemars(range(min = 1, max = i32::MAX))]
    pub rows: i32,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresMask {
    #[schemars(length(max = limits::LABEL_CHARS), regex(pattern = limits::LABEL))]
    pub name: String,
    /// `schema.relation.column`; `*` stands for any part of one segment.
    #[schemars(schema_with = "names::some_columns")]
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
