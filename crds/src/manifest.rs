//! Our objects as YAML files: one folder, any number of files, any number of documents in each.
//!
//! Refused, with the file, the document, the field and what to do: unknown kinds, versions and fields, keys that stand
//! twice, tags, objects without a name or given twice, and anything above the bounds. Everything that is wrong is
//! reported at once, and then nothing is loaded: half a set of policies is another policy.
//!
//! No error holds a value of a Secret.

mod error;
mod folder;
mod header;
mod secret;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_yaml::Value;

use crate::policy::{AgentAccessPolicy, ClusterAgentAccessPolicy};
use crate::target::AccessTarget;

pub use error::{ManifestError, ManifestErrors, Problem};
pub use folder::{MAX_FILE_BYTES, MAX_FILES, read_file, read_folder};
pub use header::Kind;
pub use secret::{Secret, SecretBytes};

/// Bytes of the keys and values of one object.
pub const MAX_OBJECT_BYTES: usize = 256 * 1024;

/// One object. Its name is always there; so is its namespace, unless the kind has none.
#[derive(Clone, Debug)]
pub enum Manifest {
    AccessTarget(AccessTarget),
    AgentAccessPolicy(AgentAccessPolicy),
    ClusterAgentAccessPolicy(ClusterAgentAccessPolicy),
    Secret(Secret),
}

/// An object and where it was read: whoever takes a Secret checks who else can read that file.
#[derive(Clone, Debug)]
pub struct Located {
    pub manifest: Manifest,
    pub file: PathBuf,
    /// From 1.
    pub document: usize,
}

// === impl Manifest ===

impl Manifest {
    pub fn kind(&self) -> Kind {
        match self {
            Self::AccessTarget(_) => Kind::AccessTarget,
            Self::AgentAccessPolicy(_) => Kind::AgentAccessPolicy,
            Self::ClusterAgentAccessPolicy(_) => Kind::ClusterAgentAccessPolicy,
            Self::Secret(_) => Kind::Secret,
        }
    }

    /// `None` for a kind that has no namespace.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::AccessTarget(o) => o.metadata.namespace.as_deref(),
            Self::AgentAccessPolicy(o) => o.metadata.namespace.as_deref(),
            Self::ClusterAgentAccessPolicy(_) => None,
            Self::Secret(o) => Some(&o.namespace),
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::AccessTarget(o) => o.metadata.name.as_deref().unwrap_or_default(),
            Self::AgentAccessPolicy(o) => o.metadata.name.as_deref().unwrap_or_default(),
            Self::ClusterAgentAccessPolicy(o) => o.metadata.name.as_deref().unwrap_or_default(),
            Self::Secret(o) => &o.name,
        }
    }

    /// For messages, for example `AccessTarget agents/orders-db`.
    pub fn describe(&self) -> String {
        match self.namespace() {
            Some(namespace) => format!("{} {namespace}/{}", self.kind(), self.name()),
            None => format!("{} {}", self.kind(), self.name()),
        }
    }
}

/// Reads all documents of `text`; `file` only names it in results and errors.
///
/// An object without `metadata.namespace` is put in `default_namespace`. Empty documents are skipped.
///
/// # Errors
/// Everything that is wrong in the text, not only the first.
pub fn parse(text: &str, file: &Path, default_namespace: &str) -> Result<Vec<Located>, ManifestErrors> {
    let mut read = Read::default();
    read.text(text, file, default_namespace);
    read.finish()
}

/// What was read so far, over one or many files.
#[derive(Default)]
struct Read {
    found: Vec<Located>,
    errors: Vec<ManifestError>,
    /// Where each object was first seen.
    seen: BTreeMap<(Kind, String, String), String>,
}

impl Read {
    fn text(&mut self, text: &str, file: &Path, default_namespace: &str) {
        if text.len() > MAX_FILE_BYTES {
            let problem = Problem::TooLarge { what: "a file", limit: MAX_FILE_BYTES };
            return self.errors.push(ManifestError::of_file(file, problem));
        }
        let last = broken(text);
        for (index, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
            let document_number = index.saturating_add(1);
            match one(document, default_namespace) {
                Ok(None) => {}
                Ok(Some(manifest)) => self.keep(manifest, file, document_number),
                Err(faults) => {
                    // After a syntax error the parser has lost its place: it would repeat the error for ever.
                    let lost = faults.iter().any(|f| matches!(f.problem, Problem::Syntax(_)));
                    self.errors.extend(faults.into_iter().map(|f| f.at(file, document_number)));
                    if lost {
                        break;
                    }
                }
            }
            if last == Some(document_number) {
                break;
            }
        }
    }

    fn keep(&mut self, manifest: Manifest, file: &Path, document: usize) {
        let key = (manifest.kind(), manifest.namespace().unwrap_or_default().to_owned(), manifest.name().to_owned());
        let here = format!("{}, document {document}", file.display());
        if let Some(before) = self.seen.get(&key) {
            let fault = Fault::new("metadata.name", Problem::Duplicate(before.clone()));
            return self.errors.push(fault.of(manifest.describe()).at(file, document));
        }
        self.seen.insert(key, here);
        self.found.push(Located { manifest, file: file.to_owned(), document });
    }

    fn finish(self) -> Result<Vec<Located>, ManifestErrors> {
        if self.errors.is_empty() { Ok(self.found) } else { Err(ManifestErrors(self.errors)) }
    }
}

/// The document in which the parser loses its place, from 1. Another fault that it finds before says nothing of that, and what
/// it would take for the next document is the rest of this one.
fn broken(text: &str) -> Option<usize> {
    let mut documents = serde_yaml::Deserializer::from_str(text);
    documents.position(|document| IgnoredAny::deserialize(document).is_err()).map(|index| index.saturating_add(1))
}

/// What is wrong in one document, before its place is known.
struct Fault {
    object: Option<String>,
    path: String,
    problem: Problem,
}

impl Fault {
    fn new(path: impl Into<String>, problem: Problem) -> Self {
        Self { object: None, path: path.into(), problem }
    }

    fn of(mut self, object: String) -> Self {
        self.object = Some(object);
        self
    }

    fn at(self, file: &Path, document: usize) -> ManifestError {
        ManifestError {
            file: file.to_owned(),
            document: Some(document),
            object: self.object,
            path: self.path,
            problem: self.problem,
        }
    }
}

fn one(document: serde_yaml::Deserializer<'_>, default_namespace: &str) -> Result<Option<Manifest>, Vec<Fault>> {
    let mut value = Value::deserialize(document).map_err(|e| vec![Fault::new("", syntax(&e))])?;
    if value.is_null() {
        return Ok(None);
    }
    // An object as `kubectl get -o yaml` prints it: what the operator said of it there is no wish.
    if let Value::Mapping(root) = &mut value
        && root.get("apiVersion").and_then(Value::as_str) == Some(crate::API_VERSION)
    {
        root.remove("status");
    }
    if weight(&value) > MAX_OBJECT_BYTES {
        return Err(vec![Fault::new("", Problem::TooLarge { what: "an object", limit: MAX_OBJECT_BYTES })]);
    }
    let header = header::read(&value, default_namespace)?;
    let describe = |f: Fault| f.of(header.describe());
    let manifest = match header.kind {
        Kind::AccessTarget => typed(value).map(|mut o: AccessTarget| {
            o.metadata.namespace.clone_from(&header.namespace);
            Manifest::AccessTarget(o)
        }),
        Kind::AgentAccessPolicy => typed(value).map(|mut o: AgentAccessPolicy| {
            o.metadata.namespace.clone_from(&header.namespace);
            Manifest::AgentAccessPolicy(o)
        }),
        Kind::ClusterAgentAccessPolicy => typed(value).map(Manifest::ClusterAgentAccessPolicy),
        Kind::Secret => secret::read(value, &header).map(Manifest::Secret),
    };
    manifest.map(Some).map_err(|faults| faults.into_iter().map(describe).collect())
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Vec<Fault>> {
    serde_path_to_error::deserialize(value).map_err(|e| {
        let path = match e.path().to_string() {
            dot if dot == "." => String::new(),
            path => path,
        };
        vec![Fault::new(path, Problem::Invalid(e.inner().to_string()))]
    })
}

/// Why a document is no value. [`Problem::Syntax`] means that the documents after it cannot be read.
///
/// A value that contradicts its own tag is quoted by the parser, and could be a secret: such texts are replaced.
fn syntax(error: &serde_yaml::Error) -> Problem {
    let text = error.to_string();
    if text.contains("invalid type") || text.contains("invalid value") {
        let place =
            error.location().map(|l| format!(" at line {} column {}", l.line(), l.column())).unwrap_or_default();
        return Problem::Invalid(format!("is not valid YAML: a value contradicts its tag{place}"));
    }
    if text.contains("duplicate entry") {
        return Problem::Invalid(format!("is not valid YAML: {text}"));
    }
    Problem::Syntax(text)
}

/// Bytes of all keys and scalars, aliases expanded.
fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(s) => s.len(),
        Value::Sequence(items) => items.iter().fold(8, |sum, v| sum.saturating_add(weight(v))),
        Value::Mapping(map) => {
            map.iter().fold(8, |sum, (k, v)| sum.saturating_add(weight(k)).saturating_add(weight(v)))
        }
        Value::Tagged(tagged) => weight(&tagged.value).saturating_add(8),
    }
}
