//! One AdmissionReview and its answer: a pure function.
//!
//! A pod is admitted with the patch that governs it, or not admitted with the field to change. Invariant: an answer
//! without a patch that admits is given only to a pod that needs no change, and in namespaces that are never injected.

use std::collections::BTreeSet;

use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation};
use serde_json::Value;

use super::request::{Sent, Unreadable};
use crate::inject::{Injected, Moment, Settings, inject, patch};

/// A server cuts warnings that are many or long.
const MOST_WARNINGS: usize = 8;
const LONGEST_WARNING: usize = 200;
/// Without these a cluster does not start.
const NEVER: &[&str] = &["kube-node-lease", "kube-public", "kube-system"];

/// What an installation decides for every review.
#[derive(Clone, Debug)]
pub struct Rules {
    pub inject: Settings,
    /// Never injected, the operator's own among them: it must be able to start without itself.
    pub excluded: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Injected,
    /// The second call for one pod, and nothing changed in between.
    Unchanged,
    Refused,
    Excluded,
    /// Not the creation of a pod: the webhook configuration is wrong.
    Misused,
}

#[derive(Debug)]
pub struct Answer {
    pub review: AdmissionReview<DynamicObject>,
    pub outcome: Outcome,
    pub namespace: String,
    /// What was said to the user when the pod was refused.
    pub message: Option<String>,
}

/// Answers the review in `body`.
///
/// # Errors
/// When `body` is not one.
pub fn answer(body: &[u8], rules: &Rules, moment: &Moment<'_>) -> Result<Answer, Unreadable> {
    let Sent { request, object: pod, .. } = Sent::read(body)?;
    Ok(decide(&request, &pod, rules, moment))
}

fn decide(request: &AdmissionRequest<DynamicObject>, pod: &Value, rules: &Rules, moment: &Moment<'_>) -> Answer {
    let namespace = request.namespace.clone().unwrap_or_default();
    let mut response = AdmissionResponse::from(request);
    let done = |response: AdmissionResponse, outcome, message| Answer {
        review: response.into_review(),
        outcome,
        namespace: namespace.clone(),
        message,
    };
    let refuse = |response: AdmissionResponse, outcome, message: String| {
        let mut response = response.deny(&message);
        response.result.code = 403;
        response.result.reason = "Forbidden".to_owned();
        done(response, outcome, Some(message))
    };

    if !creates_pod(request) || namespace.is_empty() {
        let message = "agentaccess injects into pods when they are created, and into nothing else: \
                       the webhook configuration names more than that";
        return refuse(response, Outcome::Misused, message.to_owned());
    }
    if rules.excluded.contains(&namespace) || NEVER.contains(&namespace.as_str()) {
        let warning = format!("agentaccess: pods of namespace `{namespace}` are never governed");
        response.warnings = Some(vec![warning]);
        return done(response, Outcome::Excluded, None);
    }
    let Injected { pod: injected, warnings } = match inject(pod, &namespace, &rules.inject, moment) {
        Ok(injected) => injected,
        Err(refused) => return refuse(response, Outcome::Refused, refused.to_string()),
    };
    let patch = patch(pod, &injected);
    let outcome = if patch.0.is_empty() { Outcome::Unchanged } else { Outcome::Injected };
    let warnings: Vec<String> = warnings.iter().take(MOST_WARNINGS).map(|warning| warned(warning)).collect();
    response.warnings = (!warnings.is_empty()).then_some(warnings);
    response.audit_annotations.insert("injection".to_owned(), outcome.word().to_owned());
    if outcome == Outcome::Unchanged {
        return done(response, outcome, None);
    }
    // A patch that cannot be written is no reason to admit the pod without it.
    let kept = AdmissionResponse::from(request);
    match response.with_patch(patch) {
        Ok(response) => done(response, outcome, None),
        Err(error) => refuse(kept, Outcome::Refused, format!("agentaccess cannot write its patch: {error}")),
    }
}

fn creates_pod(request: &AdmissionRequest<DynamicObject>) -> bool {
    let resource = &request.resource;
    request.operation == Operation::Create
        && (resource.group.as_str(), resource.version.as_str(), resource.resource.as_str()) == ("", "v1", "pods")
        && request.sub_resource.as_deref().unwrap_or_default().is_empty()
}

fn warned(text: &str) -> String {
    // A line end in a name would end the header that carries the warning.
    let text = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    "agentaccess: ".chars().chain(text).take(LONGEST_WARNING).collect()
}

impl Outcome {
    /// For metrics and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::Excluded => "excluded",
            Self::Misused => "misused",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inject::tests as testing;

    fn rules() -> Rules {
        Rules { inject: testing::settings(), excluded: ["agentaccess-system".to_owned()].into() }
    }

    /// A review as the API server sends it.
    fn review(pod: &Value) -> Value {
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u-1",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "name": "agent", "namespace": "agents", "operation": "CREATE",
                "userInfo": {"username": "alice"},
                "object": pod, "oldObject": null, "dryRun": true,
                "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
            },
        })
    }

    fn sent(review: &Value) -> (Value, Outcome) {
        let body = serde_json::to_vec(review).unwrap();
        let answer = answer(&body, &rules(), &testing::moment(42)).unwrap();
        (serde_json::to_value(answer.review).unwrap(), answer.outcome)
    }

    #[test]
    fn a_pod_is_admitted_with_its_patch() {
        let pod = testing::plain();
        let (answer, outcome) = sent(&review(&pod));
        assert_eq!(outcome, Outcome::Injected);
        assert_eq!(
            (&answer["apiVersion"], &answer["kind"]),
            (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
        );
        let response = &answer["response"];
        assert_eq!((&response["uid"], &response["allowed"]), (&json!("u-1"), &json!(true)));
        assert_eq!(response["patchType"], "JSONPatch");
        let warnings = response["warnings"].as_array().unwrap();
        assert!(warnings.iter().all(|w| w.as_str().unwrap().starts_with("agentaccess: ")), "{warnings:?}");

        // The patch, as the server applies it.
        let mut patched = pod;
        json_patch::patch(&mut patched, &decoded(&response["patch"])).unwrap();
        assert_eq!(patched["spec"]["initContainers"][1]["name"], "agentaccess-proxy");

        // Called again for the same pod: no patch at all.
        let (again, outcome) = sent(&review(&patched));
        assert_eq!(outcome, Outcome::Unchanged);
        assert_eq!(again["response"]["allowed"], true);
        assert!(again["response"].get("patch").is_none());
    }

    /// kube writes bytes as numbers, which the API server reads as well as base64.
    fn decoded(patch: &Value) -> json_patch::Patch {
        let bytes: Vec<u8> = serde_json::from_value(patch.clone()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn a_pod_that_cannot_be_governed_is_refused_with_its_field() {
        let mut pod = testing::plain();
        pod["spec"]["hostNetwork"] = json!(true);
        let (answer, outcome) = sent(&review(&pod));
        assert_eq!(outcome, Outcome::Refused);
        let response = &answer["response"];
        assert_eq!(response["allowed"], false);
        assert_eq!(response["status"]["code"], 403);
        assert!(response["status"]["message"].as_str().unwrap().contains("spec.hostNetwork must be false"));
        assert!(response.get("patch").is_none());
    }

    #[test]
    fn nothing_but_the_creation_of_a_pod_is_admitted() {
        let pod = testing::plain();
        for (field, value) in [
            ("operation", json!("UPDATE")),
            ("operation", json!("DELETE")),
            ("subResource", json!("ephemeralcontainers")),
            ("resource", json!({"group": "", "version": "v1", "resource": "services"})),
            ("resource", json!({"group": "x", "version": "v1", "resource": "pods"})),
            ("namespace", json!(null)),
        ] {
            let mut review = review(&pod);
            review["request"][field] = value.clone();
            let (answer, outcome) = sent(&review);
            assert_eq!((outcome, &answer["response"]["allowed"]), (Outcome::Misused, &json!(false)), "{field} {value}");
        }
        for object in [json!(null), json!({}), json!("x")] {
            assert_eq!(sent(&review(&object)).1, Outcome::Refused);
        }
    }

    #[test]
    fn namespaces_that_the_cluster_needs_are_left_alone() {
        for namespace in ["kube-system", "kube-public", "kube-node-lease", "agentaccess-system"] {
            let mut review = review(&testing::plain());
            review["request"]["namespace"] = json!(namespace);
            let (answer, outcome) = sent(&review);
            assert_eq!(outcome, Outcome::Excluded);
            assert_eq!(answer["response"]["allowed"], true);
            assert!(answer["response"].get("patch").is_none());
            assert!(answer["response"]["warnings"][0].as_str().unwrap().contains(namespace));
        }
    }

    #[test]
    fn what_is_no_review_has_no_answer() {
        let mut old = review(&testing::plain());
        old["apiVersion"] = json!("admission.k8s.io/v1beta1");
        let none = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"});
        for body in [b"".to_vec(), b"{}".to_vec(), b"[]".to_vec(), old.to_string().into(), none.to_string().into()] {
            assert!(answer(&body, &rules(), &testing::moment(0)).is_err(), "{}", String::from_utf8_lossy(&body));
        }
    }

    #[test]
    fn warnings_are_few_and_short_and_one_line_each() {
        let mut pod = testing::plain();
        let ports: Vec<Value> = (1..100).map(|port| json!({"containerPort": port, "protocol": "UDP"})).collect();
        pod["spec"]["containers"][0]["ports"] = json!(ports);
        pod["spec"]["containers"][0]["name"] = json!(format!("a\r\nb{}", "x".repeat(500)));
        let (answer, _) = sent(&review(&pod));
        let warnings = answer["response"]["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), MOST_WARNINGS);
        for warning in warnings.iter().map(|warning| warning.as_str().unwrap()) {
            assert!(warning.chars().count() <= LONGEST_WARNING && !warning.contains(['\r', '\n']), "{warning}");
        }
    }
}
