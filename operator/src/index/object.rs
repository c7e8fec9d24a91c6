//! One of our objects, as a sidecar is sent it: its name and its spec, nothing else, read as the sidecar will read it.
//! Beside it stands what the API server was told of it, which no sidecar hears of.

use std::fmt;
use std::path::Path;

use crds::manifest::{self, MAX_OBJECT_BYTES, Manifest};
use crds::policy::Durability;
use policy::subject::Subject;
use policy::{Input, Named, Selection};
use serde_json::{Value, json};

use super::told::Told;

const REPLICATED: &str = "spec.recording.durability";
/// What that means where there is nothing to replicate to.
pub(crate) const NO_STORE: &str = "Replicated needs a store of recordings and the operator has none: set `recordings.store` \
     of the chart, or write Synced; everything is denied until then";

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
    /// Of `json`.
    pub revision: String,
    pub told: Told,
    /// Of a policy that could be read.
    selection: Option<Selection>,
    /// The rules in it, if it could be read.
    pub(super) rules: usize,
}

/// Why a sidecar would refuse an object: where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// For example `spec.targets[0].postgres.rules[2].approval`.
    pub path: String,
    pub text: String,
}

// === impl Kind ===

impl Kind {
    pub const ALL: [Self; 3] = [Self::Policy, Self::ClusterPolicy, Self::Target];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "AgentAccessPolicy",
            Self::ClusterPolicy => "ClusterAgentAccessPolicy",
            Self::Target => "AccessTarget",
        }
    }

    pub(crate) fn plural(self) -> &'static str {
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
        Self::judged(kind, namespace, name, spec).0
    }

    /// The same, with each thing that is wrong by itself: it is empty if and only if the object could be read.
    pub fn judged(kind: Kind, namespace: &str, name: &str, spec: &Value) -> (Self, Vec<Wrong>) {
        let text = sent(kind, namespace, name, spec);
        let read = understood(&text).and_then(|manifest| sound(kind, manifest));
        let (read, rules, wrong) = match read {
            Ok((manifest, rules)) => (Ok(manifest), rules, Vec::new()),
            Err(wrong) => (Err(wrong.iter().map(Wrong::to_string).collect::<Vec<_>>().join("; ")), 0, wrong),
        };
        let selection = read.as_ref().ok().and_then(selection);
        let (namespace, name, json) = (namespace.to_owned(), name.to_owned(), text.into_bytes());
        let (revision, told) = (control::object_revision(&json), Told::default());
        (Self { namespace, name, json, read, revision, told, selection, rules }, wrong)
    }

    /// One that could not be read at all; what is known of it is its name.
    pub fn unread(namespace: &str, name: &str, error: &str) -> Self {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let (json, read) = (Vec::new(), Err(error.to_owned()));
        let (revision, told) = (String::new(), Told::default());
        Self { namespace, name, json, read, revision, told, selection: None, rules: 0 }
    }

    #[must_use]
    pub fn told(self, told: Told) -> Self {
        Self { told, ..self }
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

    /// Where it says that recordings are to be Replicated, if it does.
    pub(crate) fn replicated(&self) -> Option<&'static str> {
        let recording = match &self.read {
            Ok(Manifest::AgentAccessPolicy(policy)) => Some(&policy.spec.recording),
            Ok(Manifest::ClusterAgentAccessPolicy(policy)) => policy.spec.recording.as_ref(),
            Ok(Manifest::AccessTarget(_) | Manifest::Secret(_)) | Err(_) => None,
        };
        recording.is_some_and(|recording| recording.durability == Durability::Replicated).then_some(REPLICATED)
    }

    /// For messages.
    pub(crate) fn describe(&self, kind: Kind) -> String {
        match self.namespace.as_str() {
            "" => format!("{} {}", kind.as_str(), self.name),
            namespace => format!("{} {namespace}/{}", kind.as_str(), self.name),
        }
    }
}

/// As JSON; `namespace` is empty for a kind that has none.
pub(super) fn sent(kind: Kind, namespace: &str, name: &str, spec: &Value) -> String {
    let metadata = match kind {
        Kind::ClusterPolicy => json!({"name": name}),
        Kind::Policy | Kind::Target => json!({"name": name, "namespace": namespace}),
    };
    let json = json!({
        "apiVersion": crds::API_VERSION, "kind": kind.as_str(), "metadata": metadata, "spec": spec,
    });
    json.to_string()
}

fn selection(manifest: &Manifest) -> Option<Selection> {
    match manifest {
        Manifest::AgentAccessPolicy(policy) => Some(Selection::from(&policy.spec)),
        Manifest::ClusterAgentAccessPolicy(policy) => Some(Selection::from(&policy.spec)),
        Manifest::AccessTarget(_) | Manifest::Secret(_) => None,
    }
}

// === impl Wrong ===

impl Wrong {
    pub(super) fn new(path: &str, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), text: text.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}

fn understood(text: &str) -> Result<Manifest, Vec<Wrong>> {
    if text.len() > MAX_OBJECT_BYTES {
        let text = format!("it has {} bytes, of {MAX_OBJECT_BYTES} at most: divide it into several", text.len());
        return Err(vec![Wrong::new("spec", text)]);
    }
    let found = manifest::parse(text, Path::new("the API server"), "").map_err(|errors| {
        errors.0.iter().map(|error| Wrong::new(&error.path, error.problem.to_string())).collect::<Vec<_>>()
    })?;
    match <[_; 1]>::try_from(found) {
        Ok([located]) => Ok(located.manifest),
        Err(_) => Err(vec![Wrong::new("spec", "it is not one object")]),
    }
}

/// Compiled alone: what is wrong then is wrong whatever stands beside it. With the number of its rules.
fn sound(kind: Kind, manifest: Manifest) -> Result<(Manifest, usize), Vec<Wrong>> {
    let mut input = Input::default();
    let added = add(&mut input, &manifest);
    if added != Some(kind) {
        return Err(vec![Wrong::new("kind", format!("it is no {}", kind.as_str()))]);
    }
    match policy::compile(&input) {
        Ok(_) => Ok((manifest, input.rules())),
        Err(errors) => Err(errors.into_iter().map(|error| Wrong { path: error.path, text: error.text }).collect()),
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
