//! Objects to [`PolicySet`]. Re-checks every rule that the CRDs state in CEL, for those who have no API server.
//!
//! All or nothing: one error anywhere and there is no set, so that a misspelt Deny rule can never be left out. Every
//! error is reported, not only the first. A reference to an object that is not there is a warning, because objects
//! arrive in any order; what it would have permitted is denied meanwhile.

mod approvals;
mod check;
mod cluster;
mod detectors;
mod namespaced;
pub(crate) mod postgres;
mod report;
mod shadow;
mod target;
mod wide;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crds::policy::{AgentAccessPolicySpec, ClusterAgentAccessPolicySpec};
use crds::target::AccessTargetSpec;
use serde::Serialize;

use crate::compile::report::Report;
use crate::operation::Revision;
use crate::set::{Content, PolicySet, TargetKey};

/// Rules of all policies together.
pub const MAX_RULES: usize = 1_000;

/// The policy that our own rules belong to; no object may take its name.
pub(crate) const BUILTIN: &str = "builtin";

/// An object: where it is, what it is called, what it says. `namespace` is empty for cluster policies.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
pub struct Named<T> {
    pub namespace: String,
    pub name: String,
    pub spec: T,
}

/// Everything that may have a say, in any order.
#[derive(Serialize, Clone, Debug, Default, PartialEq)]
pub struct Input {
    pub targets: Vec<Named<AccessTargetSpec>>,
    pub policies: Vec<Named<AgentAccessPolicySpec>>,
    pub cluster: Vec<Named<ClusterAgentAccessPolicySpec>>,
}

/// What is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{object}: {path}: {text}")]
pub struct CompileError {
    /// For example `AgentAccessPolicy agents/support-agent`.
    pub object: String,
    /// For example `spec.targets[0].postgres.rules[2].approval`.
    pub path: String,
    pub text: String,
}

/// Legal, in force, and probably not what was meant.
#[derive(Serialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    pub object: String,
    pub path: String,
    /// Short: with a path and names of usual lengths it has a place in [`LONGEST_WARNING`] characters.
    pub text: String,
    /// Of other objects: who knows only some of them cannot say it.
    pub of_others: bool,
}

/// Path and text of a warning that the Kubernetes API passes on whole.
pub const LONGEST_WARNING: usize = 120;

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.object, self.path, self.text)
    }
}

// === impl Input ===

impl Input {
    /// What is held to [`MAX_RULES`].
    pub fn rules(&self) -> usize {
        let namespaced = self.policies.iter().flat_map(|policy| &policy.spec.targets);
        let namespaced = namespaced.filter_map(|target| target.postgres.as_ref()).map(|block| block.rules.len());
        namespaced.chain(self.cluster.iter().map(|policy| policy.spec.rules.len())).sum()
    }
}

/// # Errors
/// Everything that is wrong with any of the objects, in order of object and field.
pub fn compile(input: &Input) -> Result<PolicySet, Vec<CompileError>> {
    let mut report = Report::default();
    let mut content = Content::default();
    for object in &input.targets {
        report.object("AccessTarget", &object.namespace, &object.name);
        target::check(object, &mut report);
        let key = TargetKey { namespace: object.namespace.clone(), name: object.name.clone() };
        if content.targets.insert(key, object.spec.clone()).is_some() {
            report.error("metadata.name", "this object is given twice: remove one of them");
        }
    }
    for object in &input.policies {
        report.object("AgentAccessPolicy", &object.namespace, &object.name);
        let policy = namespaced::compile(object, &content.targets, &mut report);
        if content.policies.insert((object.namespace.clone(), object.name.clone()), policy).is_some() {
            report.error("metadata.name", "this object is given twice: remove one of them");
        }
    }
    for object in &input.cluster {
        report.object("ClusterAgentAccessPolicy", "", &object.name);
        let policy = cluster::compile(object, &content.targets, &mut report);
        if content.cluster.insert(object.name.clone(), policy).is_some() {
            report.error("metadata.name", "this object is given twice: remove one of them");
        }
    }
    let total = input.rules();
    if total > MAX_RULES {
        report.object("all policies", "", "");
        report.error("rules", &format!("{total} rules in all; at most {MAX_RULES} are allowed: merge or remove some"));
    }
    let (errors, warnings) = report.finish();
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut set = PolicySet { content: Arc::new(content), revision: Revision([0; 32]), warnings: Arc::from(warnings) };
    set.revision = revision(&set.render())
        .map_err(|text| vec![CompileError { object: "all policies".to_owned(), path: "revision".to_owned(), text }])?;
    Ok(set)
}

/// Over the canonical rendering, so that order, layout and spelling (`60s`, `1m`) of the files do not matter.
fn revision(canonical: &Input) -> Result<Revision, String> {
    const CONTEXT: &[u8] = b"agentaccess policy set v1\n";
    let text = serde_json::to_vec(canonical).map_err(|e| format!("the content cannot be rendered: {e}"))?;
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    hash.update(CONTEXT);
    hash.update(&text);
    let bytes =
        <[u8; 32]>::try_from(hash.finish().as_ref()).map_err(|e| format!("the hash has a wrong length: {e}"))?;
    Ok(Revision(bytes))
}

/// The first position of each name that stands earlier in the list already.
fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(usize, usize)> {
    let mut seen = BTreeMap::new();
    let mut again = Vec::new();
    for (at, name) in names.enumerate() {
        match seen.get(name) {
            Some(first) => again.push((at, *first)),
            None => {
                seen.insert(name, at);
            }
        }
    }
    again
}
