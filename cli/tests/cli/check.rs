//! `check` against clusters with one fault each.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::cluster::{ADMISSION, Answers, OURS, listed, pod, policy, run_with, sound};

#[test]
fn a_sound_cluster() {
    let answers = Answers::new(sound());
    let ran = answers.run(&["check"]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.ends_with("0 failures, 0 warnings\n") && !ran.out.contains("FAIL"), "{}", ran.out);
    let ran = answers.run(&["check", "--wait", "10s", "-o", "json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(ran.status == 0 && json["success"] == true && json["checks"].as_array().unwrap().len() >= 9, "{json}");
}

/// A path, and what stands there instead.
type Change = (String, Option<Value>);

#[test]
fn one_fault_each() {
    let without = |path: &str| (path.to_owned(), None);
    let with = |path: &str, object: Value| (path.to_owned(), Some(object));
    let hooks = json!({"webhooks": [{"name": "inject.agentaccess.dev", "clientConfig": {}}]});
    let mut rejected = policy();
    rejected["status"]["conditions"][0]["status"] = json!("False");
    rejected["status"]["conditions"][0]["message"] = json!("spec.targets[0]: no\u{1b}");
    let table: [(Change, i32, &str, &str); 12] = [
        (without("/version"), 1, "the API server answers", "kubectl version"),
        (
            without("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/accesstargets.agentaccess.dev"),
            1,
            "not in force: accesstargets",
            "helm install",
        ),
        (
            without("/apis/apps/v1/namespaces/agentaccess-system/deployments/agentaccess-operator"),
            1,
            "there is no Deployment",
            "--operator-namespace",
        ),
        (
            with(
                "/apis/apps/v1/namespaces/agentaccess-system/deployments/agentaccess-operator",
                json!({"spec": {"replicas": 2}, "status": {"availableReplicas": 1}}),
            ),
            0,
            "1 of 2 are available",
            "describe pod",
        ),
        (
            with(
                "/apis/apps/v1/namespaces/agentaccess-system/deployments/agentaccess-operator",
                json!({"spec": {"replicas": 2}, "status": {}}),
            ),
            1,
            "0 of 2 are available",
            "describe pod",
        ),
        (
            with(&format!("{ADMISSION}/mutatingwebhookconfigurations/agentaccess"), hooks),
            1,
            "no CA for inject.agentaccess.dev",
            "see its log",
        ),
        (
            with(&format!("{ADMISSION}/validatingadmissionpolicybindings"), listed(json!([]))),
            1,
            "no binding puts these in force: agentaccess-pods, agentaccess-owners",
            "helm upgrade",
        ),
        (with("/api/v1/namespaces", listed(json!([]))), 0, "no namespace has the label", "kubectl label namespace"),
        (
            with("/api/v1/namespaces/agents/pods", listed(json!([pod(false, false)]))),
            1,
            "not governed: agents/agent-0",
            "delete them",
        ),
        (
            with("/api/v1/namespaces/agents/pods", listed(json!([pod(true, false)]))),
            1,
            "the sidecar is not ready: agents/agent-0",
            "kubectl -n agents logs POD",
        ),
        (
            with(&format!("{OURS}/agentaccesspolicies"), listed(json!([rejected]))),
            1,
            "Accepted is False (Fine): spec.targets[0]: no\\u{1b}",
            "kubectl describe",
        ),
        (with(&format!("{OURS}/agentaccesspolicies"), listed(json!([]))), 0, "there are none", "examples/quickstart"),
    ];
    for ((path, object), status, text, hint) in table {
        let mut objects = sound();
        objects.remove(&path).unwrap();
        objects.extend(object.map(|object| (path.clone(), object)));
        let ran = Answers::new(objects).run(&["check", "--cluster"]);
        assert_eq!(ran.status, status, "{path}: {}{}", ran.out, ran.err);
        assert!(ran.out.contains(text) && ran.out.contains(hint), "{path}: {text} {hint}\n{}", ran.out);
    }
}

#[test]
fn before_anything_is_installed() {
    let mut objects = sound();
    objects.retain(|path, _| path == "/version");
    let ran = Answers::new(objects.clone()).run(&["check", "--pre"]);
    assert!(ran.status == 0 && ran.out.contains("you may create customresourcedefinitions"), "{}{}", ran.out, ran.err);
    let old = json!({"major": "1", "minor": "30+", "gitVersion": "v1.30.2", "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
    objects.insert("/version".to_owned(), old);
    let ran = Answers::for_one_who("no - none", objects).run(&["check", "--pre"]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.out.contains("it is v1.30.2, and 1.33 is the oldest") && ran.out.contains("the API server says no"),
        "{}",
        ran.out
    );
}

#[test]
fn no_cluster_and_two_meanings() {
    let folder = tempfile::tempdir().unwrap();
    // Found before any real one.
    std::fs::write(folder.path().join("kubectl"), "#!/bin/sh\necho 'connection refused' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(folder.path().join("kubectl"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let ran = run_with(folder.path(), &["check"]);
    assert!(ran.status == 1 && ran.out.contains("connection refused"), "{}{}", ran.out, ran.err);
    let ran = run_with(folder.path(), &["why", "x"]);
    assert!(ran.status == 1 && ran.err.contains("no cluster is configured: connection refused"), "{}", ran.err);
    let ran = run_with(folder.path(), &["why", "../x", "-n", "a"]);
    assert!(ran.status == 1 && ran.err.contains("is not a name"), "{}", ran.err);
    let ran = run_with(folder.path(), &["why", "x", "-n", "a/b"]);
    assert!(ran.status == 2 && ran.err.contains("--namespace: `a/b` is not a name"), "{}", ran.err);
    let ran = run_with(folder.path(), &["check", "--pre", "--config", "x.yaml"]);
    assert!(ran.status == 2 && ran.err.contains("give one of them"), "{}", ran.err);
}
