//! Checks objects as the API server would, without one: the generated schema, then its CEL rules.
//!
//! For tools (`lint`, editors, tests). `policy::compile` refuses the same natively, so that the sidecar needs neither
//! an interpreter nor regular expressions.

mod structural;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use kube_cel::{CompiledSchema, compile_schema, validate_compiled};
use serde::Serialize;
use serde_json::Value;

use crate::approval::ApprovalRequest;
use crate::definitions;
use crate::manifest::Manifest;

use structural::Patterns;

/// One thing that the API server would refuse.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// For example `spec.targets[0].postgres.rules[2]`.
    pub path: String,
    pub message: String,
}

/// Everything that is wrong with the object, sorted by path. A Secret has no schema of ours.
pub fn validate(manifest: &Manifest) -> Vec<Violation> {
    match manifest {
        Manifest::AccessTarget(object) => check("AccessTarget", object, None),
        Manifest::AgentAccessPolicy(object) => check("AgentAccessPolicy", object, None),
        Manifest::ClusterAgentAccessPolicy(object) => check("ClusterAgentAccessPolicy", object, None),
        Manifest::Secret(_) => Vec::new(),
    }
}

/// The same for a request; with `old`, also what may not change.
pub fn validate_request(request: &ApprovalRequest, old: Option<&ApprovalRequest>) -> Vec<Violation> {
    check("ApprovalRequest", request, old)
}

struct Kind {
    schema: Value,
    compiled: CompiledSchema,
    patterns: Patterns,
}

static KINDS: LazyLock<BTreeMap<String, Kind>> = LazyLock::new(|| {
    let definitions = definitions::values().unwrap_or_default();
    definitions
        .iter()
        .filter_map(|definition| {
            let name = definition.pointer("/spec/names/kind")?.as_str()?.to_owned();
            let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema")?.clone();
            Some((name, Kind { compiled: compile_schema(&schema), patterns: Patterns::of(&schema), schema }))
        })
        .collect()
});

fn check<T: Serialize>(kind: &str, object: &T, old: Option<&T>) -> Vec<Violation> {
    let value = serde_json::to_value(object).ok();
    let old = old.map(serde_json::to_value).transpose().ok();
    match (KINDS.get(kind), value, old) {
        (Some(kind), Some(value), Some(old)) => check_value(kind, &value, old.as_ref()),
        _ => vec![Violation { path: String::new(), message: format!("the {kind} could not be checked") }],
    }
}

fn check_value(kind: &Kind, value: &Value, old: Option<&Value>) -> Vec<Violation> {
    let mut violations = structural::check(&kind.schema, &kind.patterns, value);
    if let Err(errors) = validate_compiled(&kind.compiled, value, old) {
        violations.extend(errors.into_iter().map(|e| Violation { path: e.field_path, message: e.message }));
    }
    violations.sort();
    violations.dedup();
    violations
}
