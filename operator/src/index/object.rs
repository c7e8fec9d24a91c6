//! One of our objects, as a sidecar is sent it: its name and its spec, nothing else, read as the sidecar will read it.

use std::path::Path;

use crds::manifest::{self, MAX_OBJECT_BYTES, Manifest};
use policy::subject::Subject;
use policy::{Input, Named, Selection};
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Policy,
    ClusterPolicy,
    Target,
}

#[derive(Clone, Debug)]
pub struct Object {
    pub namespace: String,
    pub name: String,
    /// What is sent.
    pub json: Vec<u8>,
    /// Or why a sidecar would refuse it.
    pub read: Result<Manifest, String>,
    /// Of a policy that could be read.
    selection: Option<Selection>,
}

// === impl Kind ===

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "AgentAccessPolicy",
            Self::ClusterPolicy => "ClusterAgentAccessPolicy",
            Self::Target => "AccessTarget",
        }
    }

    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Policy => "agentaccesspolicies",
            Self::ClusterPolicy => "clusteragentaccesspolicies",
            Self::Target => "accesstargets",
        }
    }
}

// === impl Object ===

impl Object {
    /// `namespace` is empty for a kind that has none.
    pub fn read(kind: Kind, namespace: &str, name: &str, spec: &Value) -> Self {
        let metadata = match kind {
            Kind::ClusterPolicy => json!({"name": name}),
            Kind::Policy | Kind::Target => json!({"name": name, "namespace": namespace}),
        };
        let json = json!({
            "apiVersion": crds::API_VERSION, "kind": kind.as_str(), "metadata": metadata, "spec": spec,
        });
        let text = json.to_string();
        let read = understood(&text).and_then(|manifest| sound(kind, manifest));
        let selection = read.as_ref().ok().and_then(selection);
        Self { namespace: namespace.to_owned(), name: name.to_owned(), json: text.into_bytes(), read, selection }
    }

    /// One that could not be read at all; what is known of it is its name.
    pub fn unread(namespace: &str, name: &str, error: &str) -> Self {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Self { namespace, name, json: Vec::new(), read: Err(error.to_owned()), selection: None }
    }

    /// Whether the policy speaks of this subject of its namespace. One that cannot be read may speak of anybody.
    pub fn selects(&self, subject: &Subject) -> bool {
        self.selection.as_ref().is_none_or(|selection| selection.selects(subject))
    }

    /// The targets that the policy names.
    pub(super) fn targets(&self) -> impl Iterator<Item = &str> {
        let policy = match &self.read {
            Ok(Manifest::AgentAccessPolicy(policy)) => Some(policy),
            _ => None,
        };
        policy.into_iter().flat_map(|policy| &policy.spec.targets).map(|target| target.target_ref.name.as_str())
    }

    /// For messages.
    pub(super) fn describe(&self, kind: Kind) -> String {
        match self.namespace.as_str() {
            "" => format!("{} {}", kind.as_str(), self.name),
            namespace => format!("{} {namespace}/{}", kind.as_str(), self.name),
        }
    }
}

fn selection(manifest: &Manifest) -> Option<Selection> {
    match manifest {
        Manifest::AgentAccessPolicy(policy) => Some(Selection::from(&policy.spec)),
        Manifest::ClusterAgentAccessPolicy(policy) => Some(Selection::from(&policy.spec)),
        Manifest::AccessTarget(_) | Manifest::Secret(_) => None,
    }
}

fn understood(text: &str) -> Result<Manifest, String> {
    if text.len() > MAX_OBJECT_BYTES {
        return Err(format!("it has {} bytes, of {MAX_OBJECT_BYTES} at most", text.len()));
    }
    let found = manifest::parse(text, Path::new("the API server"), "").map_err(|errors| {
        errors.0.iter().map(|error| format!("{} {}", error.path, error.problem)).collect::<Vec<_>>().join("; ")
    })?;
    match <[_; 1]>::try_from(found) {
        Ok([located]) => Ok(located.manifest),
        Err(_) => Err("it is not one object".to_owned()),
    }
}

/// Compiled alone: what is wrong then is wrong whatever stands beside it.
fn sound(kind: Kind, manifest: Manifest) -> Result<Manifest, String> {
    let mut input = Input::default();
    let added = add(&mut input, &manifest);
    if added != Some(kind) {
        return Err(format!("it is no {}", kind.as_str()));
    }
    match policy::compile(&input) {
        Ok(_) => Ok(manifest),
        Err(errors) => {
            Err(errors.iter().map(|error| format!("{}: {}", error.path, error.text)).collect::<Vec<_>>().join("; "))
        }
    }
}

/// Says what was added; Secrets are not.
pub(super) fn add(input: &mut Input, manifest: &Manifest) -> Option<Kind> {
    let namespace = manifest.namespace().unwrap_or_default().to_owned();
    let name = manifest.name().to_owned();
    match manifest {
        Manifest::AccessTarget(o) => input.targets.push(Named { namespace, name, spec: o.spec.clone() }),
        Manifest::AgentAccessPolicy(o) => input.policies.push(Named { namespace, name, spec: o.spec.clone() }),
        Manifest::ClusterAgentAccessPolicy(o) => input.cluster.push(Named { namespace, name, spec: o.spec.clone() }),
        Manifest::Secret(_) => return None,
    }
    Some(match manifest.kind() {
        manifest::Kind::AccessTarget => Kind::Target,
        manifest::Kind::AgentAccessPolicy => Kind::Policy,
        manifest::Kind::ClusterAgentAccessPolicy | manifest::Kind::Secret => Kind::ClusterPolicy,
    })
}
