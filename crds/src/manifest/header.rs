//! The part that all kinds share: `apiVersion`, `kind`, `metadata`, and which keys may stand beside them.

use std::fmt;

use serde_yaml::{Mapping, Value};

use super::Fault;
use super::error::Problem;
use crate::API_VERSION;

/// The kinds that are read from files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    AccessTarget,
    AgentAccessPolicy,
    ClusterAgentAccessPolicy,
    Secret,
}

#[derive(Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// `None` for a kind that has no namespace.
    pub(super) namespace: Option<String>,
}

/// Kubernetes' ObjectMeta, as `kubectl get -o yaml` prints it. `generateName` is missing: a file has a fixed name.
const METADATA: [&str; 14] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

// === impl Kind ===

impl Kind {
    pub const ALL: [Self; 4] =
        [Self::AccessTarget, Self::AgentAccessPolicy, Self::ClusterAgentAccessPolicy, Self::Secret];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessTarget => "AccessTarget",
            Self::AgentAccessPolicy => "AgentAccessPolicy",
            Self::ClusterAgentAccessPolicy => "ClusterAgentAccessPolicy",
            Self::Secret => "Secret",
        }
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::AccessTarget | Self::AgentAccessPolicy | Self::ClusterAgentAccessPolicy => API_VERSION,
            Self::Secret => "v1",
        }
    }

    fn namespaced(self) -> bool {
        !matches!(self, Self::ClusterAgentAccessPolicy)
    }

    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::AccessTarget | Self::AgentAccessPolicy | Self::ClusterAgentAccessPolicy => {
                &["apiVersion", "kind", "metadata", "spec"]
            }
            Self::Secret => &["apiVersion", "kind", "metadata", "type", "immutable", "data", "stringData"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Header ===

impl Header {
    pub(super) fn describe(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} {namespace}/{}", self.kind, self.name),
            None => format!("{} {}", self.kind, self.name),
        }
    }
}

pub(super) fn read(value: &Value, default_namespace: &str) -> Result<Header, Vec<Fault>> {
    let Value::Mapping(root) = value else {
        return Err(vec![Fault::new(
            "",
            Problem::Missing("a document is one object with apiVersion, kind and metadata"),
        )]);
    };
    let kind = kind(root).map_err(|f| vec![f])?;
    let mut faults = Vec::new();
    let name = match root.get("metadata") {
        Some(Value::Mapping(metadata)) => {
            unknown_keys(metadata, &METADATA, "metadata.", "metadata field", &mut faults);
            name(metadata, &mut faults)
        }
        _ => {
            faults.push(Fault::new("metadata", Problem::Missing("give the object a `metadata.name`")));
            None
        }
    };
    let namespace = namespace(root, kind, default_namespace, &mut faults);
    unknown_keys(root, kind.keys(), "", "field", &mut faults);
    unclear(value, &mut String::new(), &mut faults);
    match name {
        Some(name) if faults.is_empty() => Ok(Header { kind, name, namespace }),
        name => {
            let object = format!("{kind} {}", name.as_deref().unwrap_or("without a name"));
            Err(faults.into_iter().map(|f| f.of(object.clone())).collect())
        }
    }
}

fn kind(root: &Mapping) -> Result<Kind, Fault> {
    let text = |key: &'static str, what| match root.get(key) {
        Some(Value::String(text)) => Ok(text.as_str()),
        _ => Err(Fault::new(key, Problem::Missing(what))),
    };
    let found = text("kind", "write one of AccessTarget, AgentAccessPolicy, ClusterAgentAccessPolicy and Secret")?;
    let version = text("apiVersion", "write `agentaccess.dev/v1alpha1`, or `v1` for a Secret")?;
    let Some(kind) = Kind::ALL.into_iter().find(|k| k.as_str() == found) else {
        let expected = match found {
            "List" => "single objects: write each item as a document of its own, separated by `---`".to_owned(),
            "ApprovalRequest" => {
                "a kind that people write: requests are made by agentaccess, never read from files".to_owned()
            }
            _ => format!("one of {}", Kind::ALL.map(Kind::as_str).join(", ")),
        };
        return Err(Fault::new("kind", Problem::Unknown { what: "kind", found: short(found), expected }));
    };
    if version == kind.api_version() {
        return Ok(kind);
    }
    let expected = format!("`{}` for the kind {kind}", kind.api_version());
    Err(Fault::new("apiVersion", Problem::Unknown { what: "apiVersion", found: short(version), expected }))
}

fn name(metadata: &Mapping, faults: &mut Vec<Fault>) -> Option<String> {
    match metadata.get("name") {
        Some(Value::String(name)) if is_name(name, 253, true) => return Some(name.clone()),
        Some(Value::String(name)) => {
            let text = format!("`{}` is no object name: use at most 253 of a-z, 0-9, `-` and `.`", short(name));
            faults.push(Fault::new("metadata.name", Problem::Invalid(text)));
        }
        Some(_) => faults.push(Fault::new("metadata.name", Problem::Invalid("is not a text: put it in quotes".into()))),
        None => faults.push(Fault::new("metadata.name", Problem::Missing("give the object a name"))),
    }
    None
}

fn namespace(root: &Mapping, kind: Kind, default: &str, faults: &mut Vec<Fault>) -> Option<String> {
    let given = root.get("metadata").and_then(|m| m.get("namespace"));
    let mut wrong = |text: String| faults.push(Fault::new("metadata.namespace", Problem::Invalid(text)));
    match given {
        Some(_) if !kind.namespaced() => wrong(format!("a {kind} has no namespace: remove the line")),
        Some(Value::String(namespace)) if is_name(namespace, 63, false) => return Some(namespace.clone()),
        Some(Value::String(namespace)) => {
            wrong(format!("`{}` is no namespace: use at most 63 of a-z, 0-9 and `-`", short(namespace)));
        }
        Some(_) => wrong("is not a text: put it in quotes, or remove the line".into()),
        None if kind.namespaced() => return Some(default.to_owned()),
        None => {}
    }
    None
}

fn unknown_keys(map: &Mapping, known: &[&str], prefix: &str, what: &'static str, faults: &mut Vec<Fault>) {
    for key in map.keys() {
        let found = match key {
            Value::String(text) if known.contains(&text.as_str()) => continue,
            Value::String(text) => short(text),
            _ => "(not a text)".to_owned(),
        };
        let path = format!("{prefix}{found}");
        let expected = format!("one of {}", known.join(", "));
        faults.push(Fault::new(path, Problem::Unknown { what, found, expected }));
    }
}

/// A tag of one's own asks for a meaning that nothing here gives it. A line of a spec whose value was forgotten would
/// be read as "nothing given", which for `serviceAccountNames` means everyone.
fn unclear(value: &Value, path: &mut String, faults: &mut Vec<Fault>) {
    let length = path.len();
    let mut below = |path: &mut String, step: &str, child: &Value| {
        path.push_str(step);
        unclear(child, path, faults);
        path.truncate(length);
    };
    match value {
        Value::Tagged(tagged) => {
            let text = format!("the tag `{}` has no meaning here: remove it", short(&tagged.tag.to_string()));
            faults.push(Fault::new(path.clone(), Problem::Invalid(text)));
        }
        Value::Sequence(items) => {
            items.iter().enumerate().for_each(|(index, child)| below(path, &format!("[{index}]"), child));
        }
        Value::Mapping(map) => {
            for (key, child) in map {
                let dot = if length == 0 { "" } else { "." };
                below(path, &format!("{dot}{}", short(key.as_str().unwrap_or("?"))), child);
            }
        }
        Value::Null if path.starts_with("spec") => {
            let text = "has no value: give one, or remove the line".to_owned();
            faults.push(Fault::new(path.clone(), Problem::Invalid(text)));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_name(text: &str, most: usize, dots: bool) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || (dots && c == '.');
    text.len() <= most && edge(text.chars().next()) && edge(text.chars().last()) && text.chars().all(inner)
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}
