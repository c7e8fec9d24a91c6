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
        let found = match check(&object) {
            Ok(found) => found,
            // The type is first; the rule is for the API server, which has none.
            Err(refused) => {
                assert!(refused.to_string().contains("is zero"), "{edit}: {refused}");
                by_rule(&object)
            }
        };
        assert!(
            found.iter().any(|v| v.path == path && v.message.contains(message)),
            "{edit}: expected {path}: {message}, found {found:?}"
        );
    }
}

/// What the rules alone say of the object as it is written, without what the types would fill in.
fn by_rule(object: &Value) -> Vec<Violation> {
    let definition = definitions::values().unwrap().into_iter().find(|one| *kind_of(one) == object["kind"]).unwrap();
    let errors = kube_cel::validate(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], object, None);
    let violation = |error: kube_cel::ValidationError| Violation { path: error.field_path, message: error.message };
    errors.err().into_iter().flatten().map(violation).collect()
}

/// A rule where it stands: the kind, the field (`spec.approvals[].holdFor`) and what it says. A type that is used twice
/// brings its rules to two places, and each can be lost on its own.
type Instance = (String, String, String);

fn kind_of(definition: &Value) -> &Value {
    &definition["spec"]["names"]["kind"]
}

fn instances() -> BTreeSet<Instance> {
    let mut found = Vec::new();
    for definition in definitions::values().unwrap() {
        let kind = kind_of(&definition).as_str().unwrap();
        gather(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], kind, "", &mut found);
    }
    let count = found.len();
    let instances: BTreeSet<Instance> = found.into_iter().collect();
    assert_eq!(instances.len(), count, "two rules at one place say the same");
    instances
}

fn gather(schema: &Value, kind: &str, at: &str, into: &mut Vec<Instance>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        into.push((kind.to_owned(), at.to_owned(), rule["message"].as_str().unwrap().to_owned()));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        gather(property, kind, format!("{at}.{name}").trim_start_matches('.'), into);
    }
    for (mark, key) in [("[]", "items"), ("{}", "additionalProperties")] {
        if schema[key].is_object() {
            gather(&schema[key], kind, &format!("{at}{mark}"), into);
        }
    }
}

/// Without the numbers of entries; no name of a field holds one.
fn place(path: &str) -> String {
    path.chars().filter(|character| !character.is_ascii_digit()).collect()
}

/// The same sentence in another kind, or at another field, is another rule: without a refused object of its own it fails
/// here, and so does a row of which no rule says that.
#[test]
fn every_cel_rule_of_the_definitions_has_a_row() {
    let of = |row: Row| {
        let kind = (row.base)()["kind"].as_str().unwrap().to_owned();
        (kind, place(row.path), row.message.to_owned())
    };
    let mut rows: BTreeSet<Instance> = cel_rows().into_iter().map(of).collect();
    // It speaks of two versions of an object: below.
    let unchanged = "the spec of an ApprovalRequest never changes";
    rows.insert(("ApprovalRequest".to_owned(), String::new(), unchanged.to_owned()));
    let instances = instances();
    let missing: Vec<&Instance> = instances.difference(&rows).collect();
    assert!(missing.is_empty(), "no refused object for: {missing:#?}");
    let idle: Vec<&Instance> = rows.difference(&instances).collect();
    assert!(idle.is_empty(), "no such rule: {idle:#?}");
}

/// An object without the field passes the rules of the field, and says nothing of them.
#[test]
fn every_cel_rule_judges_something_of_a_base_object() {
    let bases = [target(), policy(), cluster(), request()];
    for (kind, place, message) in instances() {
        let base = bases.iter().find(|base| base["kind"] == kind.as_str()).unwrap();
        let mut judged = vec![base];
        for part in place.split('.').filter(|part| !part.is_empty()) {
            let name = part.trim_end_matches("[]");
            judged = judged.into_iter().filter_map(|value| value.get(name)).collect();
            if name != part {
                judged = judged.into_iter().filter_map(Value::as_array).flatten().collect();
            }
        }
        assert!(!judged.is_empty(), "{kind} {place}: {message}");
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
    for (text, accepted) in
        [("0s", false), ("0h0m", false), ("00s", false), ("1s", true), ("10m", true), ("1h0m", true)]
    {
        let object = edited(&policy(), "spec.approvals.0.pendingTTL", Some(text.into()));
        let object = edited(&object, "spec.approvals.0.holdFor", Some("1s".into()));
        let zero = by_rule(&object).iter().any(|v| v.message.starts_with("a length of time"));
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
