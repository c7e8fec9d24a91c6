//! The generated definitions: in step with the types, structural, bounded everywhere, and cheap enough.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::path::Path;

use crds::definitions;
use crds::status::{ACCEPTED, PROGRAMMED, RESOLVED_REFS};
use kube_cel::{ScopeContext, WarningKind, analyze_rule, compile_schema};
use serde_json::Value;

fn schemas() -> Vec<(String, Value)> {
    let definitions = definitions::values().unwrap();
    definitions
        .into_iter()
        .map(|d| {
            let kind = d.pointer("/spec/names/kind").unwrap().as_str().unwrap().to_owned();
            (kind, d.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap().clone())
        })
        .collect()
}

fn walk(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, child) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(child, &format!("{path}.{name}"), visit);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = schema.get(key) {
            walk(child, &format!("{path}.{key}"), visit);
        }
    }
}

#[test]
fn the_files_are_in_step_with_the_types() {
    assert_eq!(definitions::drift(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap(), Vec::<String>::new());
}

#[test]
fn drift_names_the_file_and_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let files = definitions::files().unwrap();
    for d in &files {
        std::fs::write(folder.path().join(&d.file), &d.yaml).unwrap();
    }
    assert!(definitions::drift(folder.path()).unwrap().is_empty());
    std::fs::write(folder.path().join("agentaccess.dev_accesstargets.yaml"), "kind: x").unwrap();
    std::fs::write(folder.path().join("agentaccess.dev_grants.yaml"), "").unwrap();
    std::fs::remove_file(folder.path().join("agentaccess.dev_approvalrequests.yaml")).unwrap();
    let found = definitions::drift(folder.path()).unwrap();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("accesstargets.yaml") && found[0].contains(definitions::MEND), "{found:?}");
    assert!(found[1].contains("approvalrequests.yaml"), "{found:?}");
    assert!(found[2].contains("grants.yaml") && found[2].contains("remove it"), "{found:?}");
}

#[test]
fn the_generator_checks() {
    let run = |args: &[&str]| std::process::Command::new(env!("CARGO_BIN_EXE_generate")).args(args).output().unwrap();
    assert!(run(&["--check"]).status.success());
    assert_eq!(run(&["--frob"]).status.code(), Some(2));
}

/// What may stand in a structural schema, and a bound on everything that can grow.
#[test]
fn every_node_is_structural_and_bounded() {
    let mut nodes = 0;
    for (kind, schema) in schemas() {
        walk(&schema, &kind, &mut |path, node| {
            nodes += 1;
            let has = |key: &str| node.get(key).is_some();
            let is = |name: &str| node.get("type").and_then(Value::as_str) == Some(name);
            assert!(!has("nullable") && !has("anyOf") && !has("oneOf") && !has("allOf") && !has("$ref"), "{path}");
            assert!(node.get("additionalProperties").is_none_or(Value::is_object), "{path}");
            assert!(!(has("properties") && has("additionalProperties")), "{path}");
            assert!(!has("x-kubernetes-preserve-unknown-fields"), "{path}");
            match node.get("type").and_then(Value::as_str) {
                Some("string") => assert!(has("maxLength") || has("enum"), "{path}: a text without maxLength"),
                Some("array") => assert!(has("maxItems") && has("items"), "{path}: a list without maxItems"),
                Some("integer") => {
                    assert!(has("minimum") && has("maximum"), "{path}: a number without a range");
                    // Kubernetes counts generations in 64 bits, and PostgreSQL rows.
                    let wide = path.ends_with(".observedGeneration") || path.contains(".spec.impact.");
                    let format = if wide { "int64" } else { "int32" };
                    assert_eq!(node.get("format"), Some(&Value::from(format)), "{path}");
                }
                Some("object") => {
                    assert!(has("properties") || has("maxProperties"), "{path}: a map without maxProperties");
                }
                Some("boolean") => {}
                other => panic!("{path}: type {other:?}"),
            }
            assert!(!has("pattern") || is("string"), "{path}");
        });
    }
    assert!(nodes > 100, "only {nodes} nodes were seen");
}

#[test]
fn no_rule_is_too_expensive() {
    let mut rules = 0;
    for (kind, schema) in schemas() {
        walk(&schema, &kind, &mut |path, node| {
            let compiled = compile_schema(node);
            for rule in node.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                rules += 1;
                let text = rule.get("rule").and_then(Value::as_str).unwrap();
                kube_cel::cel::Program::compile(text).unwrap_or_else(|e| panic!("{path}: {text}: {e}"));
                let message = rule.get("message").and_then(Value::as_str).unwrap_or_default();
                assert!(!message.is_empty(), "{path}: `{text}` has no message");
                for warning in analyze_rule(text, &compiled, ScopeContext::CrdValidation) {
                    // The variables of macros are taken for free variables.
                    assert_eq!(warning.kind, WarningKind::WrongScope, "{path}: {warning:?}");
                }
            }
        });
    }
    assert!(rules >= 25, "only {rules} rules were seen");
}

#[test]
fn columns_and_selectable_fields_name_fields_that_exist() {
    for definition in definitions::values().unwrap() {
        let version = definition.pointer("/spec/versions/0").unwrap();
        let schema = version.pointer("/schema/openAPIV3Schema").unwrap();
        let columns = version.get("additionalPrinterColumns").and_then(Value::as_array).unwrap();
        let selectable = version.get("selectableFields").and_then(Value::as_array);
        for entry in columns.iter().chain(selectable.into_iter().flatten()) {
            let path = entry.get("jsonPath").and_then(Value::as_str).unwrap();
            if path == ".metadata.creationTimestamp" {
                continue;
            }
            // One entry of a list that is a map, by the value of its key.
            let (path, one) = match path.split_once("[?(@.type==\"") {
                Some((list, rest)) => (list.to_owned(), Some(rest.split_once("\")].").unwrap())),
                None => (path.to_owned(), None),
            };
            let node = path.split('.').skip(1).try_fold(schema, |node, name| node.get("properties")?.get(name));
            let node = match one {
                Some((name, field)) => {
                    assert!([ACCEPTED, RESOLVED_REFS, PROGRAMMED].contains(&name), "{name}");
                    let keys = node.and_then(|node| node.get("x-kubernetes-list-map-keys"));
                    assert_eq!(keys, Some(&serde_json::json!(["type"])), "{path}");
                    node.and_then(|node| node.get("items")?.get("properties")?.get(field))
                }
                None => node,
            };
            let node = node.unwrap_or_else(|| panic!("{path} is no field"));
            if let Some(column) = entry.get("type") {
                assert_eq!(Some(column), node.get("type"), "{path}");
            }
        }
    }
}

#[test]
fn the_columns_are_the_ones_that_people_know() {
    let names: Vec<(String, Vec<String>)> = definitions::values()
        .unwrap()
        .iter()
        .map(|d| {
            let kind = d.pointer("/spec/names/kind").unwrap().as_str().unwrap().to_owned();
            let columns = d.pointer("/spec/versions/0/additionalPrinterColumns").unwrap().as_array().unwrap();
            (kind, columns.iter().map(|c| c.get("name").unwrap().as_str().unwrap().to_owned()).collect())
        })
        .collect();
    let expected = [
        ("AccessTarget", "PROTOCOL HOST PORT RESOLVED AGE"),
        ("AgentAccessPolicy", "MODE PODS SYNCED ACCEPTED PROGRAMMED AGE"),
        ("ApprovalRequest", "AGENT TARGET ACTION NEEDS HAVE ROWS ESTIMATE PHASE EXPIRES GRANTED AGE"),
        ("ClusterAgentAccessPolicy", "DENYALL PODS SYNCED ACCEPTED PROGRAMMED AGE"),
    ];
    for ((kind, columns), (expected_kind, expected_columns)) in names.iter().zip(expected) {
        assert_eq!((kind.as_str(), columns.join(" ").as_str()), (expected_kind, expected_columns));
    }
}
