//! Every rule of the schema: the base object passes, one edit of it is refused, at that field, with that message.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test helpers")]

#[path = "rules/table.rs"]
mod table;

use std::collections::BTreeSet;

use crds::approval::ApprovalRequest;
use crds::definitions;
use crds::manifest::Manifest;
use crds::validate::{Violation, validate, validate_request};
use serde_json::{Value, json};

use table::{Row, bound_rows, cel_rows, cluster, edited, policy, request, target};

/// `Err` when the types refuse the object already.
fn check(object: &Value) -> Result<Vec<Violation>, serde_json::Error> {
    let from = object.clone();
    Ok(match object.get("kind").and_then(Value::as_str).unwrap() {
        "AccessTarget" => validate(&Manifest::AccessTarget(serde_json::from_value(from)?)),
        "AgentAccessPolicy" => validate(&Manifest::AgentAccessPolicy(serde_json::from_value(from)?)),
        "ClusterAgentAccessPolicy" => validate(&Manifest::ClusterAgentAccessPolicy(serde_json::from_value(from)?)),
        _ => validate_request(&serde_json::from_value::<ApprovalRequest>(from)?, None),
    })
}

#[test]
fn the_base_objects_pass() {
    for base in [target(), policy(), cluster(), request()] {
        assert_eq!(check(&base).unwrap(), vec![], "{base}");
    }
}

/// A status is no part of what is created, so that only an operator that writes one would meet these.
#[test]
fn what_is_said_in_a_status_is_bounded() {
    let condition = |kind: &str| {
        json!({"type": kind, "status": "False", "reason": "Waiting", "message": "0 of 1", "observedGeneration": 3,
            "lastTransitionTime": "2026-11-21T10:02:11Z"})
    };
    let conditions = [condition("Accepted"), condition("ResolvedRefs")];
    let counts = json!({
        "observedGeneration": 3, "conditions": conditions, "matchedPods": 5, "syncedPods": 3,
        "revision": "sha256:9b1f42a0c3d4", "lastSyncTime": "2026-11-21T10:02:11Z", "unusedRules": ["fixes", "never"],
    });
    let with = |mut object: Value, status: &Value| {
        object["status"] = status.clone();
        object
    };
    let target = with(target(), &json!({"observedGeneration": 3, "conditions": conditions}));
    let policy = with(policy(), &counts);
    for base in [&target, &policy, &with(cluster(), &counts)] {
        assert_eq!(check(base).unwrap(), vec![], "{base}");
    }
    let many = |count: usize, one: &dyn Fn(usize) -> Value| (0..count).map(one).collect::<Value>();
    let no_match = "does not match";
    let rows = [
        (&target, "conditions.1.type", json!("Accepted"), "conditions[1]", "stands twice"),
        (&policy, "conditions", many(9, &|n| condition(&format!("C{n}"))), "conditions", "more than 8"),
        (&policy, "conditions.0.message", "x".repeat(2_049).into(), "conditions[0].message", "more than 2048"),
        (&policy, "conditions.0.reason", "so so".into(), "conditions[0].reason", no_match),
        (&policy, "conditions.0.lastTransitionTime", "now".into(), "conditions[0].lastTransitionTime", no_match),
        (&policy, "matchedPods", (-1).into(), "matchedPods", "is less than 0"),
        (&policy, "revision", "9b1f42".into(), "revision", no_match),
        (&policy, "unusedRules", many(257, &|n| format!("r{n}").into()), "unusedRules", "more than 256"),
    ];
    for (base, edit, value, path, message) in rows {
        let found = check(&edited(base, &format!("status.{edit}"), Some(value))).unwrap();
        let path = format!("status.{path}");
        assert!(found.iter().any(|v| v.path == path && v.message.contains(message)), "{edit}: {found:?}");
    }
}

#[test]
fn each_edit_is_refused_where_it_is_and_with_its_message() {
    for Row { base, edit, value, path, message } in cel_rows().into_iter().chain(bound_rows()) {
        let object = edited(&base(), edit, value);
        match check(&object) {
            Ok(found) => assert!(
                found.iter().any(|v| v.path == path && v.message.contains(message)),
                "{edit}: expected {path}: {message}, found {found:?}"
            ),
            Err(refused) => assert!(refused.to_string().contains("is zero"), "{edit}: {refused}"),
        }
    }
}

/// A new rule without a refused object fails here.
#[test]
fn every_cel_rule_of_the_definitions_has_a_row() {
    let mut rows: BTreeSet<String> = cel_rows().into_iter().map(|r| r.message.to_owned()).collect();
    rows.insert("the spec of an ApprovalRequest never changes".to_owned());
    let mut rules = BTreeSet::new();
    for definition in definitions::values().unwrap() {
        messages(&definition, &mut rules);
    }
    let missing: Vec<&String> = rules.difference(&rows).collect();
    assert!(missing.is_empty(), "no refused object for: {missing:?}");
}

fn messages(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for rule in map.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                into.insert(rule.get("message").and_then(Value::as_str).unwrap().to_owned());
            }
            map.values().for_each(|v| messages(v, into));
        }
        Value::Array(items) => items.iter().for_each(|v| messages(v, into)),
        _ => {}
    }
}

#[test]
fn the_spec_of_a_request_never_changes() {
    let old: ApprovalRequest = serde_json::from_value(request()).unwrap();
    let mut new = old.clone();
    new.status.as_mut().unwrap().approvals = 2;
    new.metadata.annotations = Some([("agentaccess.dev/decision".to_owned(), "approve".to_owned())].into());
    assert_eq!(validate_request(&new, Some(&old)), vec![]);
    new.spec.statement.push(' ');
    let found = validate_request(&new, Some(&old));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].message, "the spec of an ApprovalRequest never changes");
}

/// The rule on zero durations is for the API server: here the type refuses them first.
#[test]
fn the_api_server_refuses_zero_durations_too() {
    let schema = definitions::values().unwrap();
    let schema = schema[1].pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap();
    for (text, accepted) in
        [("0s", false), ("0h0m", false), ("00s", false), ("1s", true), ("10m", true), ("1h0m", true)]
    {
        let object = edited(&policy(), "spec.approvals.0.pendingTTL", Some(text.into()));
        let object = edited(&object, "spec.approvals.0.holdFor", Some("1s".into()));
        let zero = match kube_cel::validate(schema, &object, None) {
            Ok(()) => false,
            Err(errors) => errors.into_iter().any(|e| e.message.starts_with("a length of time")),
        };
        assert_eq!(!zero, accepted, "{text}");
    }
}

#[test]
fn misspelt_fields_are_refused_by_the_types() {
    for (base, edit) in [
        (target as fn() -> Value, "spec.postgress"),
        (target, "spec.tls.caSecret"),
        (policy, "spec.defaultAction"),
        (policy, "spec.targets.0.postgres.rules.0.relation"),
        (policy, "spec.podSelector.matchLabel"),
        (cluster, "spec.denyall"),
        (cluster, "spec.rules.0.postgres.host"),
        (request, "spec.subject.name"),
    ] {
        let refused = check(&edited(&base(), edit, Some(json!({})))).unwrap_err();
        assert!(refused.to_string().contains("unknown field"), "{edit}: {refused}");
    }
}
