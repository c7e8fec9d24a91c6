//! The four CustomResourceDefinitions, as they are installed.
//!
//! The YAML beside this crate is made from here by `generate`; a test and `generate --check` fail when it drifted.

use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::approval::ApprovalRequest;
use crate::policy::{AgentAccessPolicy, ClusterAgentAccessPolicy};
use crate::target::AccessTarget;

/// Writes the files again.
pub const MEND: &str = "cargo run -p crds --bin generate";

#[derive(thiserror::Error, Debug)]
pub enum DefinitionError {
    #[error("the definition of `{0}` is not a value that can be written")]
    Json(String, #[source] serde_json::Error),
    #[error("the definition of `{0}` cannot be written as YAML")]
    Yaml(String, #[source] serde_yaml::Error),
}

/// One generated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// For example `agentaccess.dev_accesstargets.yaml`.
    pub file: String,
    pub yaml: String,
}

/// The definitions, as JSON, by kind.
///
/// # Errors
/// When a type of this crate cannot be written, which the tests exclude.
pub fn values() -> Result<Vec<Value>, DefinitionError> {
    [AccessTarget::crd(), AgentAccessPolicy::crd(), ApprovalRequest::crd(), ClusterAgentAccessPolicy::crd()]
        .into_iter()
        .map(structural)
        .collect()
}

/// The definitions as files, in the order of their names.
///
/// # Errors
/// As [`values`].
pub fn files() -> Result<Vec<Definition>, DefinitionError> {
    values()?
        .into_iter()
        .map(|value| {
            let name = value.pointer("/spec/names/plural").and_then(Value::as_str).unwrap_or_default().to_owned();
            let body = serde_yaml::to_string(&value).map_err(|e| DefinitionError::Yaml(name.clone(), e))?;
            let yaml = format!("# Generated from crds/src by `{MEND}`; do not edit.\n---\n{body}");
            Ok(Definition { file: format!("{}_{name}.yaml", crate::GROUP), yaml })
        })
        .collect()
}

/// What differs between `folder` and the types: one line each, with the command that mends it.
///
/// # Errors
/// As [`values`]; a folder or file that cannot be read is a difference.
pub fn drift(folder: &Path) -> Result<Vec<String>, DefinitionError> {
    let files = files()?;
    let mut found = Vec::new();
    for Definition { file, yaml } in &files {
        if std::fs::read_to_string(folder.join(file)).ok().as_deref() != Some(yaml.as_str()) {
            found.push(format!("crds/{file}: differs from the types in crds/src: run `{MEND}`"));
        }
    }
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for name in names.map(|entry| entry.file_name().to_string_lossy().into_owned()) {
        if name.ends_with(".yaml") && !files.iter().any(|d| d.file == name) {
            found.push(format!("crds/{name}: is made from no type in crds/src: remove it"));
        }
    }
    found.sort();
    Ok(found)
}

fn structural(crd: CustomResourceDefinition) -> Result<Value, DefinitionError> {
    let name = crd.metadata.name.clone().unwrap_or_default();
    let mut value = serde_json::to_value(crd).map_err(|e| DefinitionError::Json(name, e))?;
    if let Some(versions) = value.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        versions.iter_mut().filter_map(|v| v.pointer_mut("/schema/openAPIV3Schema")).for_each(clean);
    }
    Ok(value)
}

/// Takes out what a structural schema must not have.
///
/// `additionalProperties: false` may not stand beside `properties`; the API server prunes unknown fields or, with
/// strict validation, refuses them, and serde always refuses them. `nullable` would let an explicit null pass as a
/// value: without it the API server drops nulls, so that `has()` means one thing.
fn clean(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    if map.get("additionalProperties") == Some(&Value::Bool(false)) {
        map.remove("additionalProperties");
    }
    map.remove("nullable");
    for bound in ["minimum", "maximum"] {
        // kube writes bounds as floating point numbers; every one of ours is whole.
        if let Some(whole) = map.get(bound).and_then(Value::as_f64).and_then(|n| format!("{n:.0}").parse::<i64>().ok())
        {
            map.insert(bound.to_owned(), whole.into());
        }
    }
    for (key, child) in map.iter_mut() {
        match (key.as_str(), child) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(clean),
            ("items" | "additionalProperties", child) => clean(child),
            _ => {}
        }
    }
}
