//! What the operator says about policies and targets in their `status`: for people, and for tools that wait.
//!
//! Nothing reads it to decide anything. Everything is bounded, and pods are counted, never listed. Read leniently, so
//! that the words of another version stand in nobody's way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits;

/// The object can be enforced as it stands.
pub const ACCEPTED: &str = "Accepted";
/// What it refers to is there.
pub const RESOLVED_REFS: &str = "ResolvedRefs";
/// Every pod that it selects has it in force.
pub const PROGRAMMED: &str = "Programmed";

/// Kubernetes' own Condition.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = limits::NAME_CHARS))]
    pub type_: String,
    pub status: ConditionStatus,
    /// One word, for programs.
    #[schemars(length(min = 1, max = limits::LABEL_CHARS), regex(pattern = limits::CONDITION_REASON))]
    pub reason: String,
    /// For people: what is the case, and what to do.
    #[serde(default)]
    #[schemars(length(max = limits::CONDITION_CHARS))]
    pub message: String,
    /// The `metadata.generation` that this was said of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = limits::GENERATION))]
    pub observed_generation: Option<i64>,
    /// When `status` became what it is; RFC 3339.
    #[schemars(length(max = 30), regex(pattern = limits::INSTANT))]
    pub last_transition_time: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// Of an `AgentAccessPolicy` or a `ClusterAgentAccessPolicy`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// The `metadata.generation` that this was said of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = limits::GENERATION))]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::CONDITIONS),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// Governed pods that it selects.
    #[serde(default)]
    #[schemars(range(min = 0, max = i32::MAX))]
    pub matched_pods: i32,
    /// Those of them that have it in force, in its current form, with all that stands beside it.
    #[serde(default)]
    #[schemars(range(min = 0, max = i32::MAX))]
    pub synced_pods: i32,
    /// Hash of the object as sidecars are sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71), regex(pattern = limits::REVISION))]
    pub revision: Option<String>,
    /// When `syncedPods` last grew, or a new revision was first in force; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 30), regex(pattern = limits::INSTANT))]
    pub last_sync_time: Option<String>,
    /// Rules that matched no operation since this form of the policy was first seen. A hint, and of at most 256 rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::UNUSED_RULES),
        inner(length(max = limits::LABEL_CHARS), regex(pattern = limits::LABEL))
    )]
    pub unused_rules: Vec<String>,
}

/// Of an `AccessTarget`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// The `metadata.generation` that this was said of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = limits::GENERATION))]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::CONDITIONS),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}
