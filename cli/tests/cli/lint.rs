//! What `lint` says of folders with one mistake each.

use std::fs;

use recording::entry::{Marker, What};
use recording::{Body, Entry, WriterConfig};

use crate::common::{Ran, data, record_open, run};

/// The committed policies with one text in place of another.
fn lint_changed(file: &str, from: &str, to: &str) -> (serde_json::Value, i32) {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(data("policies")).unwrap() {
        let path = entry.unwrap().path();
        let mut text = fs::read_to_string(&path).unwrap();
        if path.ends_with(file) {
            assert!(text.contains(from), "{file} has no {from:?}");
            text = text.replace(from, to);
        }
        fs::write(folder.path().join(path.file_name().unwrap()), text).unwrap();
    }
    let ran = lint(&folder.path().display().to_string(), &["-o", "json"]);
    (serde_json::from_str(&ran.out).unwrap(), ran.status)
}

fn lint(folder: &str, more: &[&str]) -> Ran {
    let mut arguments = vec!["lint", "-f", folder];
    arguments.extend(more);
    run(&arguments)
}

#[test]
fn each_mistake_has_a_code_a_place_and_a_text() {
    const P: &str = "support-agent.yaml";
    const T: &str = "target.yaml";
    let table: [(&str, &str, &str, &str, &str, &str); 11] = [
        (P, "spec:", "spec: [", "AA0102", "", "not valid YAML"),
        (P, "name: support-agent, ", "", "AA0103", "metadata.name", "missing"),
        (P, "kind: AgentAccessPolicy", "kind: AgentPolicy", "AA0104", "kind", "unknown"),
        (P, "requireWhere: true", "requiresWhere: true", "AA0104", "requiresWhere", "unknown field"),
        (P, "holdFor: 5s", "holdFor: 5 seconds", "AA0105", "holdFor", "length of time"),
        (P, "approval: change,", "approval: chnge,", "AA0111", "rules[1].approval", "chnge"),
        (P, "requiredApprovals: 2", "requiredApprovals: 9", "AA0111", "requiredApprovals", "5"),
        (P, "action: Allow, verbs: [Select]", "action: Allow, verbs: [DDL]", "AA0111", "rules[0]", "DDL"),
        (P, "targetRef: {name: orders-db}", "targetRef: {name: orders}", "AA0120", "targetRef", "orders"),
        (T, "port: 5432", "port: 70000", "AA0111", "spec.port", "65535"),
        (T, "host: localhost", "host: '*.example.com'", "AA0111", "spec.host", "wildcard"),
    ];
    for (file, from, to, code, field, text) in table {
        let (findings, status) = lint_changed(file, from, to);
        let found = findings.as_array().unwrap().iter().find(|f| {
            f["code"] == code
                && f["field"].as_str().unwrap().contains(field)
                && f["text"].as_str().unwrap().to_lowercase().contains(&text.to_lowercase())
        });
        let found = found.unwrap_or_else(|| panic!("{to}: {findings:#}"));
        assert!(found["file"].as_str().unwrap().ends_with(file), "{to}: {found}");
        assert_eq!(status, i32::from(code != "AA0120"), "{to}");
    }
}

#[test]
fn good_policies_and_the_form_for_people() {
    let good = lint(&data("policies").display().to_string(), &[]);
    assert_eq!(good.status, 0, "{}", good.out);
    assert!(good.out.ends_with(": 2 objects, 0 errors, 0 warnings\n"), "{}", good.out);
    let absent = lint("/nothing/here", &[]);
    assert_eq!(absent.status, 1);
    assert!(absent.out.starts_with("error AA0101  /nothing/here\n    cannot be read"), "{}", absent.out);
    assert_eq!(run(&["lint"]).status, 2);
}

#[test]
fn a_secret_that_others_may_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret.yaml");
    fs::write(
        &file,
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: local}\nstringData: {password: hunter2}\n",
    )
    .unwrap();
    for (mode, status) in [(0o644, 1), (0o600, 0)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let ran = lint(&folder.path().display().to_string(), &[]);
        assert_eq!(ran.status, status, "{}", ran.out);
        assert_eq!(ran.out.contains("AA0108") && ran.out.contains("chmod 600"), status == 1, "{}", ran.out);
        assert!(!ran.out.contains("hunter2"));
    }
}

#[test]
fn a_reload_that_the_sidecar_refused_is_told_until_it_is_taken() {
    let reload = |detail: &str| {
        Entry::global(Body::Marker(Marker { what: What::PolicyReload, count: None, detail: Some(detail.into()) }))
    };
    let policies = data("policies").display().to_string();
    let (state, _writer) = record_open(vec![reload("refused, the old ones stay: a.yaml: x")], WriterConfig::default());
    let ran = lint(&policies, &["--state-dir", &state.path()]);
    assert_eq!(ran.status, 1, "{}", ran.out);
    assert!(ran.out.contains("AA0130") && ran.out.contains("refused, the old ones stay: a.yaml: x"), "{}", ran.out);
    for good in ["now in force: sha256:51aa", "restored, still in force: sha256:51aa"] {
        let entries = vec![reload("refused, the old ones stay: x"), reload(good)];
        let (state, _writer) = record_open(entries, WriterConfig::default());
        assert_eq!(lint(&policies, &["--state-dir", &state.path()]).status, 0);
    }
}

#[test]
fn names_that_the_saved_catalog_does_not_have() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().display().to_string();
    fs::create_dir(state.path().join("catalog")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let good = fs::read_to_string(data("policies/support-agent.yaml")).unwrap();
    fs::copy(data("policies/target.yaml"), folder.path().join("target.yaml")).unwrap();
    let policies = folder.path().display().to_string();
    let bad =
        good.replace("public.customers.email", "public.customers.mail").replace("[public.orders]", "[public.order]");
    let lint_text = |text: &str| {
        fs::write(folder.path().join("policy.yaml"), text).unwrap();
        lint(&policies, &["--state-dir", &path])
    };
    assert_eq!(lint_text(&bad).status, 0, "without a catalog nothing is known");
    fs::copy(data("orders.json"), state.path().join("catalog/local.orders-db.orders.json")).unwrap();
    assert_eq!(lint_text(&good).status, 0, "{}", lint_text(&good).out);
    let ran = lint_text(&bad);
    assert_eq!((ran.status, ran.out.matches("error AA0121").count()), (1, 2), "{}", ran.out);
    for expected in [
        "spec.targets[0].postgres.masks[0].columns[0]: `local/orders-db` has no column `public.customers.mail`",
        "spec.targets[0].postgres.rules[1].relations[0]: `local/orders-db` has no relation `public.order`",
    ] {
        assert!(ran.out.contains(expected), "{}", ran.out);
    }
}
