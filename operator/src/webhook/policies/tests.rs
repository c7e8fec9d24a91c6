//! Tables: what is judged, and what is said of it in the API server's words.

use serde_json::json;

use super::*;

fn review(resource: &str, operation: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "kind": {"group": "agentaccess.dev", "version": "v1alpha1", "kind": "x"},
            "resource": {"group": "agentaccess.dev", "version": "v1alpha1", "resource": resource},
            "name": "support", "namespace": "agents", "operation": operation,
            "userInfo": {"username": "alice"}, "dryRun": true,
            "object": {"metadata": {"name": "support", "namespace": "agents"}, "spec": {"a": 1}},
            "oldObject": {"metadata": {"name": "support", "namespace": "agents"}, "spec": {"a": 2}},
        },
    })
}

fn step(review: &Value) -> Step {
    begin(review.to_string().as_bytes()).unwrap()
}

fn proposal(review: &Value) -> Proposal {
    match step(review) {
        Step::Judge(proposal) => *proposal,
        Step::Done(answer) => panic!("{answer:?}"),
    }
}

fn passed(review: &Value) -> Answer {
    match step(review) {
        Step::Done(answer) => {
            let response = answer.review.response.as_ref().unwrap();
            assert!(response.allowed && response.uid == "u-1" && response.patch.is_none());
            *answer
        }
        Step::Judge(proposal) => panic!("{proposal:?}"),
    }
}

fn concluded(wrong: &[Wrong], odd: &[Odd]) -> (Answer, Value) {
    let judged = Judged { wrong: wrong.to_vec(), odd: odd.to_vec() };
    let answer = proposal(&review("agentaccesspolicies", "CREATE")).conclude(&judged);
    let json = serde_json::to_value(&answer.review).unwrap();
    assert_eq!((&json["response"]["uid"], &json["apiVersion"]), (&json!("u-1"), &json!("admission.k8s.io/v1")));
    (answer, json["response"].clone())
}

fn wrong(path: &str, text: &str) -> Wrong {
    Wrong { path: path.to_owned(), text: text.to_owned() }
}

fn odd(path: &str, text: &str) -> Odd {
    Odd { path: path.to_owned(), text: text.to_owned(), of_others: false }
}

#[test]
fn policies_and_targets_are_judged_when_they_are_made_and_changed() {
    for (resource, kind) in [
        ("agentaccesspolicies", Kind::Policy),
        ("clusteragentaccesspolicies", Kind::ClusterPolicy),
        ("accesstargets", Kind::Target),
    ] {
        for operation in ["CREATE", "UPDATE"] {
            let proposal = proposal(&review(resource, operation));
            assert_eq!((proposal.kind, proposal.name.as_str()), (kind, "support"), "{resource} {operation}");
            assert_eq!((proposal.namespace.as_str(), &proposal.spec), ("agents", &json!({"a": 1})));
        }
    }
    let mut of_cluster = review("clusteragentaccesspolicies", "CREATE");
    of_cluster["request"].as_object_mut().unwrap().remove("namespace");
    assert_eq!(proposal(&of_cluster).namespace, "");
}

#[test]
fn what_leaves_the_spec_as_it_is_passes_however_bad_it_is() {
    for change in ["labels", "finalizers", "deletionTimestamp"] {
        let mut same = review("agentaccesspolicies", "UPDATE");
        same["request"]["oldObject"]["spec"] = json!({"a": 1});
        same["request"]["oldObject"]["metadata"][change] = json!("before");
        assert_eq!(passed(&same).outcome, Outcome::Unchanged, "{change}");
        // An object that is being deleted counts until it is gone.
        same["request"]["object"]["spec"] = json!({"a": 3});
        assert_eq!(proposal(&same).spec, json!({"a": 3}), "{change}");
    }
    // There is nothing before it.
    let mut made = review("agentaccesspolicies", "CREATE");
    made["request"]["oldObject"] = json!(null);
    assert_eq!(proposal(&made).spec, json!({"a": 1}));
}

#[test]
fn what_is_none_of_ours_is_let_pass_with_a_word() {
    for (field, value) in [
        ("operation", json!("DELETE")),
        ("operation", json!("CONNECT")),
        ("subResource", json!("status")),
        ("resource", json!({"group": "agentaccess.dev", "version": "v1alpha1", "resource": "approvalrequests"})),
        ("resource", json!({"group": "agentaccess.dev", "version": "v2", "resource": "accesstargets"})),
        ("resource", json!({"group": "", "version": "v1", "resource": "pods"})),
    ] {
        let mut other = review("agentaccesspolicies", "UPDATE");
        other["request"][field] = value.clone();
        let answer = passed(&other);
        assert_eq!(answer.outcome, Outcome::Misused, "{field} {value}");
        assert!(answer.review.response.unwrap().warnings.unwrap()[0].contains("configuration"), "{field} {value}");
    }
    for body in [&b"{}"[..], b"", b"[]", br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}"#] {
        begin(body).expect_err("no review");
    }
}

#[test]
fn a_name_that_is_not_given_yet_is_judged_as_one_that_will_be() {
    let mut unnamed = review("agentaccesspolicies", "CREATE");
    unnamed["request"]["name"] = json!("");
    unnamed["request"]["object"]["metadata"] = json!({"generateName": format!("{}.", "a".repeat(80))});
    let name = proposal(&unnamed).name;
    assert!(name.len() == 63 && name.ends_with("axxxxx"), "{name}");
    unnamed["request"]["object"]["metadata"] = json!({"name": "other"});
    assert_eq!(proposal(&unnamed).name, "other");
}

#[test]
fn a_refusal_names_each_field_in_the_form_of_the_api_server() {
    let (answer, response) = concluded(&[wrong("spec.a", "is bad: mend it"), wrong("", "is\nworse")], &[]);
    assert_eq!(answer.outcome, Outcome::Refused);
    assert_eq!(response["allowed"], false);
    assert_eq!(
        response["status"],
        json!({
            "code": 422, "reason": "Invalid", "message": "spec.a: is bad: mend it; spec: is worse",
            "details": {
                "name": "support", "group": "agentaccess.dev", "kind": "AgentAccessPolicy",
                "causes": [
                    {"reason": "FieldValueInvalid", "field": "spec.a", "message": "is bad: mend it"},
                    {"reason": "FieldValueInvalid", "field": "spec", "message": "is worse"},
                ],
            },
        })
    );
    assert_eq!(answer.message.unwrap(), "spec.a: is bad: mend it; spec: is worse");
}

#[test]
fn a_refusal_has_an_end() {
    let many: Vec<Wrong> = (0..1_000).map(|n| wrong(&format!("spec.{n}"), &"x".repeat(5_000))).collect();
    let (answer, response) = concluded(&many, &[]);
    assert_eq!(response["status"]["details"]["causes"].as_array().unwrap().len(), MOST_WRONG + 1);
    let message = answer.message.unwrap();
    assert!(message.ends_with("…; spec: and 984 more"), "{message}");
    assert!(message.len() < 8 * 1024, "{}", message.len());
}

#[test]
fn warnings_are_few_and_short_and_refuse_nothing() {
    let (answer, response) = concluded(&[], &[]);
    assert_eq!((answer.outcome, &response["allowed"]), (Outcome::Accepted, &json!(true)));
    assert!(response.get("warnings").is_none());

    let (answer, response) = concluded(&[], &[odd("spec.a", "is odd"), odd("spec.b", &"long ".repeat(50))]);
    assert_eq!((answer.outcome, &response["allowed"]), (Outcome::Warned, &json!(true)));
    assert_eq!(response["warnings"][0], "spec.a: is odd");
    let long = response["warnings"][1].as_str().unwrap();
    assert!(long.chars().count() == LONGEST_WARNING && long.ends_with('…'), "{long}");

    let many: Vec<Odd> = (0..20).map(|n| odd(&format!("spec.{n}"), "a\r\nb")).collect();
    let (_, response) = concluded(&[], &many);
    let warnings: Vec<&str> = response["warnings"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    assert_eq!((warnings.len(), warnings[6]), (MOST_WARNINGS, "spec.6: a  b"));
    assert!(warnings[7].starts_with("and 13 more"), "{warnings:?}");
    assert!(warnings.iter().all(|warning| warning.chars().count() <= LONGEST_WARNING));
    // What is wrong is told alone.
    assert!(concluded(&[wrong("spec", "x")], &many).1.get("warnings").is_none());
}
