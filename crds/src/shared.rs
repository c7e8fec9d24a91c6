//! Pieces that several kinds use.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits;

/// The protocols that are governed. One word for CRD, operation and recording.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Postgres,
}

/// One key of a Secret in the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct SecretKeyRef {
    #[schemars(length(max = limits::NAME_CHARS), regex(pattern = limits::NAME))]
    pub name: String,
    #[schemars(length(max = limits::NAME_CHARS), regex(pattern = limits::SECRET_KEY))]
    pub key: String,
}

/// A reference to an object of the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct LocalRef {
    #[schemars(length(max = limits::NAME_CHARS), regex(pattern = limits::NAME))]
    pub name: String,
}

/// Kubernetes' label selector; empty selects everything.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = limits::LABELS,
        "additionalProperties" = {"type": "string", "maxLength": limits::LABEL_CHARS, "pattern": limits::LABEL_VALUE}
    ))]
    #[x_kube(
        validation = Rule::new("self.all(k, size(k) <= 317)").message("a label key has at most 317 characters")
    )]
    pub match_labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::LABELS))]
    pub match_expressions: Vec<SelectorRequirement>,
}

#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)")
        .message("values is given if and only if operator is In or NotIn")
)]
pub struct SelectorRequirement {
    #[schemars(length(max = 317), regex(pattern = limits::LABEL_KEY))]
    pub key: String,
    pub operator: SelectorOperator,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::LABELS), inner(length(max = limits::LABEL_CHARS), regex(pattern = limits::LABEL_VALUE)))]
    pub values: Vec<String>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectorOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}
