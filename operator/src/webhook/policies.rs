//! The review of a policy or a target that somebody writes, in two pure steps around what the index says of it.
//!
//! Refused: what could not be in force, with each field, what is wrong with it and what to do. Let pass: everything else,
//! with warnings; a change that leaves `spec` as it is, so that no finalizer and no deletion ever waits for a bad object to
//! be mended; and whatever is none of these, because this webhook advises. What it does not see is judged again, by the
//! operator before it is told and by each sidecar.

use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation};
use kube::core::response::{StatusCause, StatusDetails};
use policy::compile::LONGEST_WARNING;
use serde_json::Value;

use super::request::{Sent, Unreadable};
use crate::index::{Judged, Kind, Odd, Wrong};

/// The API server passes on 4 KiB of warnings.
const MOST_WARNINGS: usize = 8;
/// Told one by one; a message is for people.
const MOST_WRONG: usize = 16;
const LONGEST_WRONG: usize = 400;
/// As Kubernetes names what it was given a beginning of.
const GENERATED: &str = "xxxxx";
const LONGEST_BEGINNING: usize = 58;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    /// Accepted, and told what is odd.
    Warned,
    Refused,
    /// Its `spec` stays as it is.
    Unchanged,
    /// None of ours: the webhook configuration names more than it should.
    Misused,
}

#[derive(Debug)]
pub struct Answer {
    pub review: AdmissionReview<DynamicObject>,
    pub outcome: Outcome,
    /// What was said to the user who was refused.
    pub message: Option<String>,
}

#[derive(Debug)]
pub enum Step {
    Done(Box<Answer>),
    Judge(Box<Proposal>),
}

/// An object as it would be stored.
#[derive(Debug)]
pub struct Proposal {
    response: AdmissionResponse,
    pub kind: Kind,
    /// Empty for a kind that has none.
    pub namespace: String,
    pub name: String,
    pub spec: Value,
}

/// Reads the review in `body`, and answers it where there is nothing to judge.
///
/// # Errors
/// When `body` is not one.
pub fn begin(body: &[u8]) -> Result<Step, Unreadable> {
    let Sent { request, mut object, old } = Sent::read(body)?;
    let mut response = AdmissionResponse::from(&request);
    let Some(kind) = judged(&request) else {
        let warning = "agentaccess judges its policies and targets: the webhook configuration names more than that";
        response.warnings = Some(vec![warning.to_owned()]);
        return Ok(Step::Done(Box::new(done(response, Outcome::Misused))));
    };
    let spec = object.get_mut("spec").map(Value::take).unwrap_or_default();
    if request.operation == Operation::Update && old.get("spec") == Some(&spec) {
        return Ok(Step::Done(Box::new(done(response, Outcome::Unchanged))));
    }
    let name = name(&request, &object);
    let namespace = request.namespace.unwrap_or_default();
    Ok(Step::Judge(Box::new(Proposal { response, kind, namespace, name, spec })))
}

/// `None`: it is not to be judged.
fn judged(request: &AdmissionRequest<DynamicObject>) -> Option<Kind> {
    let resource = &request.resource;
    let whole = request.sub_resource.as_deref().unwrap_or_default().is_empty()
        && matches!(request.operation, Operation::Create | Operation::Update);
    let ours = whole && (resource.group.as_str(), resource.version.as_str()) == (crds::GROUP, crds::VERSION);
    Kind::ALL.into_iter().find(|kind| ours && kind.plural() == resource.resource)
}

/// The name that it has, or one like that which it will be given.
fn name(request: &AdmissionRequest<DynamicObject>, object: &Value) -> String {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    match (request.name.as_str(), text("/metadata/name")) {
        ("", "") => text("/metadata/generateName").chars().take(LONGEST_BEGINNING).chain(GENERATED.chars()).collect(),
        ("", name) | (name, _) => name.to_owned(),
    }
}

// === impl Proposal ===

impl Proposal {
    pub fn conclude(&self, judged: &Judged) -> Answer {
        let response = self.response.clone();
        if judged.wrong.is_empty() { accept(response, &judged.odd) } else { self.refuse(response, &judged.wrong) }
    }

    /// In the form of the API server's own refusals, so that `kubectl` shows field by field.
    fn refuse(&self, response: AdmissionResponse, wrong: &[Wrong]) -> Answer {
        let mut causes: Vec<StatusCause> = wrong.iter().take(MOST_WRONG).map(cause).collect();
        let more = wrong.len().saturating_sub(MOST_WRONG);
        if more > 0 {
            causes.push(cause(&Wrong { path: "spec".to_owned(), text: format!("and {more} more") }));
        }
        let message = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message));
        let message = message.collect::<Vec<_>>().join("; ");
        let mut response = response.deny(&message);
        response.result.code = 422;
        response.result.reason = "Invalid".to_owned();
        response.result.details = Some(StatusDetails {
            name: self.name.clone(),
            group: crds::GROUP.to_owned(),
            kind: self.kind.as_str().to_owned(),
            uid: String::new(),
            causes,
            retry_after_seconds: 0,
        });
        Answer { review: response.into_review(), outcome: Outcome::Refused, message: Some(message) }
    }
}

fn accept(mut response: AdmissionResponse, odd: &[Odd]) -> Answer {
    let mut warnings: Vec<String> =
        odd.iter().map(|odd| shown(&format!("{}: {}", odd.path, odd.text), LONGEST_WARNING)).collect();
    let more = warnings.len().saturating_sub(MOST_WARNINGS);
    if more > 0 {
        warnings.truncate(MOST_WARNINGS.saturating_sub(1));
        warnings.push(format!("and {} more: `agentaccess lint` tells all of them", more.saturating_add(1)));
    }
    let outcome = if warnings.is_empty() { Outcome::Accepted } else { Outcome::Warned };
    response.warnings = (!warnings.is_empty()).then_some(warnings);
    done(response, outcome)
}

fn done(response: AdmissionResponse, outcome: Outcome) -> Answer {
    Answer { review: response.into_review(), outcome, message: None }
}

fn cause(wrong: &Wrong) -> StatusCause {
    StatusCause {
        reason: "FieldValueInvalid".to_owned(),
        message: shown(&wrong.text, LONGEST_WRONG),
        field: shown(if wrong.path.is_empty() { "spec" } else { &wrong.path }, LONGEST_WRONG),
    }
}

/// One line of this length at most. A line end in a name would end the header that carries a warning.
fn shown(text: &str, longest: usize) -> String {
    let line = |text: &str, longest| -> String {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(longest).collect()
    };
    match text.chars().count() > longest {
        true => line(text, longest.saturating_sub(1)) + "…",
        false => line(text, longest),
    }
}

impl Outcome {
    /// For metrics and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Warned => "warned",
            Self::Refused => "refused",
            Self::Unchanged => "unchanged",
            Self::Misused => "misused",
        }
    }
}

#[cfg(test)]
mod tests;
