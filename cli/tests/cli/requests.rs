//! Requests of a cluster: whose are meant, how they are shown, and votes as `kubectl annotate` writes them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::cluster::{Answers, OURS, listed, policy, run_as_with, sound};
use crate::common::{PROGRAM, data};

/// As the API server gives it.
fn request(namespace: &str, name: &str, status: Value) -> Value {
    json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "ApprovalRequest",
        "metadata": {
            "name": name, "namespace": namespace, "uid": format!("uid-of-{name}"), "resourceVersion": "812", "generation": 1,
            "creationTimestamp": "2026-11-21T10:00:00Z",
            "annotations": {
                "agentaccess.dev/how-to-decide": format!("kubectl annotate areq {name} -n {namespace} agentaccess.dev/decision=approve  (or =deny)"),
            },
            "labels": {"agentaccess.dev/asked": "0a1b2c3d"},
            "managedFields": [{"manager": "agentaccess-operator", "operation": "Apply", "apiVersion": "agentaccess.dev/v1alpha1"}],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "agent-0", "uid": "p-1", "controller": false, "blockOwnerDeletion": false}],
        },
        "spec": {
            "subject": {"namespace": namespace, "serviceAccount": "support-agent", "pod": "agent-0", "podUID": "p-1"},
            "target": {"name": "orders-db", "host": "orders.example", "port": 5432}, "protocol": "Postgres",
            "action": {"verb": "UPDATE", "resources": ["Relation public.orders (status)"]},
            "summary": "UPDATE orders SET status = '***'", "statement": "UPDATE orders SET status = '***\u{1b}[2J\u{202e}'",
            "digest": format!("hmac-sha256:{}", "0".repeat(64)),
            "policyRefs": [{"kind": "AgentAccessPolicy", "name": "support", "rule": "fixes", "revision": "sha256:0123456789ab"}],
            "requiredApprovals": 2, "denyThreshold": 1, "reason": "Required", "scope": "Duration",
            "grant": {"means": "not this statement alone: by pod agent-0, every UPDATE", "maxDuration": "1h"},
            "cover": {"action": "UPDATE", "database": "shop", "uses": [{"verb": "Update", "kind": "Relation", "path": ["public", "orders"], "bounded": true}]},
            "expiresAt": "2026-11-21T10:15:00Z",
        },
        "status": status,
    })
}

fn pending() -> Value {
    json!({"phase": "Pending", "approvals": 1, "consumed": false, "notified": ["Requested"],
        "decisions": [{"user": "alice\u{9b}", "decision": "approve", "reason": "INC-1", "time": "2026-11-21T10:01:00Z"}]})
}

fn cluster(items: &[Value]) -> Answers {
    let mut objects = BTreeMap::new();
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for item in items {
        let (namespace, name) = (&item["metadata"]["namespace"], &item["metadata"]["name"]);
        let folder = format!("{OURS}/namespaces/{}/approvalrequests", namespace.as_str().unwrap());
        objects.insert(format!("{folder}/{}", name.as_str().unwrap()), item.clone());
        all.entry(folder).or_default().push(item.clone());
        all.entry(format!("{OURS}/approvalrequests")).or_default().push(item.clone());
    }
    objects.extend(all.into_iter().map(|(folder, items)| (folder, listed(json!(items)))));
    Answers::new(objects)
}

/// Two of namespace agents, which is that of the context, and one of another.
fn three() -> Answers {
    let used = json!({"phase": "Approved", "approvals": 2, "consumed": true});
    let granted = json!({"phase": "Approved", "approvals": 1, "consumed": false, "grant": {
        "scope": "Duration", "notBefore": "2026-11-21T10:01:00Z", "notAfter": "2026-11-21T10:31:00Z", "breakGlass": true}});
    cluster(&[
        request("agents", "areq-used", used),
        request("agents", "areq-open", pending()),
        request("shop", "areq-shop", granted),
    ])
}

fn names(out: &str, column: usize) -> Vec<String> {
    out.lines().skip(1).map(|line| line.split_whitespace().nth(column).unwrap().to_owned()).collect()
}

#[test]
fn requests_of_the_cluster_are_listed() {
    let answers = three();
    let ran = answers.run(&["approvals", "ls", "--cluster"]);
    assert_eq!(
        (ran.status, names(&ran.out, 0)),
        (0, vec!["areq-open".to_owned(), "areq-used".to_owned()]),
        "{}",
        ran.err
    );
    let headings = ["NAME", "AGENT", "TARGET", "ACTION", "NEEDS", "HAVE", "PHASE", "EXPIRES", "AGE"];
    let lines: Vec<Vec<&str>> = ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], headings);
    let row = ["areq-open", "agent-0", "orders-db:5432", "UPDATE", "orders", "2", "1", "Pending"];
    assert_eq!(lines[1][..8], row);

    let ran = answers.run(&["approvals", "ls", "-A"]);
    assert_eq!(names(&ran.out, 0), ["agents", "agents", "shop"], "{}{}", ran.out, ran.err);
    assert_eq!(names(&ran.out, 1), ["areq-open", "areq-used", "areq-shop"]);
    let of = |more: &[&str]| names(&answers.run(&[&["approvals", "ls", "-A"][..], more].concat()).out, 1);
    assert_eq!(of(&["--phase", "used"]), ["areq-used"]);
    assert_eq!(of(&["--phase", "Approved,Pending"]), ["areq-open", "areq-shop"]);
    assert_eq!(of(&["--pending"]), ["areq-open"]);
    let ran = answers.run(&["approvals", "ls", "-n", "shop", "--pending"]);
    assert_eq!((ran.status, ran.out.as_str()), (0, "no request waits\n"), "{}", ran.err);
    let json: Value = serde_json::from_str(&answers.run(&["approvals", "ls", "-n", "shop", "-o", "json"]).out).unwrap();
    assert_eq!((json.as_array().unwrap().len(), &json[0]["metadata"]["name"]), (1, &json!("areq-shop")));
}

#[test]
fn one_is_shown_whole_with_the_commands_for_its_namespace() {
    let answers = three();
    let ran = answers.run(&["approvals", "show", "areq-open", "-n", "agents"]);
    for part in [
        "areq-open  Pending\n",
        "  agent     agents/support-agent\n",
        "  grants    not this statement alone: by pod agent-0, every UPDATE\n",
        "  votes     2026-11-21T10:01:00Z approved by alice\\u{9b}: INC-1\n",
        "    UPDATE orders SET status = '***\\u{1b}[2J\\u{202e}'\n",
        "  to approve: agentaccess approve areq-open --namespace agents --reason '...'\n",
    ] {
        assert!(ran.out.contains(part), "{part:?} is not in\n{}{}", ran.out, ran.err);
    }
    let ran = answers.run(&["approvals", "show", "areq-shop", "-n", "shop"]);
    assert!(ran.out.contains("  counts    until 2026-11-21T10:31:00Z, by break-glass\n"), "{}", ran.out);
    let ran = answers.run(&["approvals", "show", "areq-none", "--cluster"]);
    assert!(ran.status == 1 && ran.err.contains("there is no request `agents/areq-none`"), "{}", ran.err);
    // What the schema of this program does not know is not left out in silence.
    let mut newer = request("agents", "areq-newer", pending());
    newer["spec"]["impact"] = json!("all rows");
    let ran = cluster(&[newer]).run(&["approvals", "show", "areq-newer", "--cluster"]);
    assert!(ran.status == 1 && ran.err.contains("use the operator's version"), "{}", ran.err);
}

#[test]
fn a_vote_is_the_annotation_that_kubectl_writes() {
    let answers = three();
    answers.say("Warning: recorded: approve by alice (2 of 2 needed)\n");
    let ran = answers.run(&["approve", "areq-open", "-n", "agents", "--reason", "INC-1: it's down", "--grant", "30m"]);
    let said = "agents/areq-open: recorded: approve by alice (2 of 2 needed)\n";
    assert_eq!((ran.status, ran.out.as_str()), (0, said), "{}", ran.err);
    let words = [
        "annotate",
        "approvalrequests.agentaccess.dev",
        "areq-open",
        "--namespace=agents",
        "--request-timeout=15s",
        "agentaccess.dev/decision=approve",
        "agentaccess.dev/reason=INC-1: it's down",
        "agentaccess.dev/grant=30m",
    ];
    assert_eq!(answers.annotated(), words);
    for (arguments, decision) in [
        (&["deny", "areq-open", "--cluster"][..], "deny"),
        (&["revoke", "areq-open", "--cluster"], "revoke"),
        (&["approve", "areq-open", "--cluster", "--break-glass", "--reason", "down"], "break-glass"),
    ] {
        let ran = answers.run(&[arguments, &["-o", "json"]].concat());
        let json: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!((&json["decision"], &json["namespace"]), (&json!(decision), &json!("agents")), "{}", ran.err);
        assert!(answers.annotated().contains(&format!("agentaccess.dev/decision={decision}")));
    }
}

#[test]
fn what_is_refused_or_not_said_to_be_recorded_is_a_failure() {
    let answers = three();
    answers.say("Error from server (Forbidden): admission webhook \"approvals.agentaccess.dev\" denied the request: who asks cannot decide\u{1b}[1m; another person must\n");
    let ran = answers.run(&["approve", "areq-open", "--cluster"]);
    let why = "error: agents/areq-open: who asks cannot decide\\u{1b}[1m; another person must\n";
    assert_eq!((ran.status, ran.out.as_str(), ran.err.as_str()), (1, "", why));
    answers.say("Warning: something else\n");
    let ran = answers.run(&["approve", "areq-open", "--cluster"]);
    assert!(ran.status == 1 && ran.err.contains("nobody said that the vote was recorded"), "{}", ran.err);
    // Nothing of a name becomes an argument or another path.
    for bad in ["--all", "a/b", "../x", "a b"] {
        let before = answers.annotated();
        let ran = answers.run(&["approve", "--cluster", "--", bad]);
        assert!(ran.status != 0 && answers.annotated() == before, "{bad}: {}{}", ran.out, ran.err);
    }
    let ran = answers.run(&["approve", "areq-open", "--cluster", "--break-glass"]);
    assert!(ran.status == 2 && ran.err.contains("--reason"), "{}", ran.err);
}

#[test]
fn whose_requests_are_meant_is_what_was_named() {
    let answers = three();
    let state = answers.folder().display().to_string();
    for (arguments, why) in [
        (&["approvals", "ls", "--cluster", "--state-dir", &state][..], "give the ones or the others"),
        (&["approve", "areq-open", "-n", "agents", "--state-dir", &state], "give the ones or the others"),
        (&["approve", "areq-open", "--grant", "1h", "--state-dir", &state], "requests of a cluster"),
        (&["approve", "areq-open", "--break-glass", "--reason", "x", "--state-dir", &state], "requests of a cluster"),
    ] {
        let ran = answers.run(arguments);
        assert!(ran.status == 2 && ran.err.contains(why), "{arguments:?}: {}", ran.err);
    }
    let ran = answers.run(&["approvals", "ls", "--state-dir", &state]);
    assert!(ran.status == 1 && ran.err.contains("for the requests of a cluster give --cluster"), "{}", ran.err);
    // A configuration here means a sidecar here, but for who calls the plugin.
    std::fs::write(answers.folder().join("agentaccess.yaml"), "stateDir: nowhere\n").unwrap();
    let ran = answers.run(&["approvals", "ls"]);
    assert!(ran.status == 1 && ran.err.contains("no sidecar answers"), "{}", ran.err);
    let plugin = answers.folder().join("kubectl-agentaccess");
    symlink(PROGRAM, &plugin).unwrap();
    let ran = run_as_with(&plugin, answers.folder(), &["approvals", "ls"]);
    assert_eq!(names(&ran.out, 0), ["areq-open", "areq-used"], "{}", ran.err);
    let ran = run_as_with(&plugin, answers.folder(), &["approvals", "show", "areq-open"]);
    assert!(ran.out.contains("kubectl agentaccess approve areq-open --namespace agents"), "{}", ran.out);
}

#[test]
fn a_cluster_is_watched() {
    let answers = three();
    let mut child = Command::new(PROGRAM)
        .args(["approvals", "watch", "-A"])
        .current_dir(answers.folder())
        .env("PATH", format!("{}:/usr/bin:/bin", answers.folder().display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    assert!(first.starts_with("areq-open  Pending  agents/support-agent on orders-db, 1 of 2"), "{first}");
    assert!(lines.any(|line| line.contains("to deny:    agentaccess deny areq-open --namespace agents")));
    let path = answers.folder().join(format!("objects{OURS}/approvalrequests.json"));
    let denied = json!({"phase": "Denied", "approvals": 1, "consumed": false,
        "decisions": [{"user": "bob", "decision": "deny", "reason": "no", "time": "2026-11-21T10:02:00Z"}]});
    std::fs::write(&path, listed(json!([request("agents", "areq-open", denied)])).to_string()).unwrap();
    let next: Vec<String> = lines.by_ref().take(3).collect();
    assert_eq!(next[0], "areq-open  Denied  agents/support-agent on orders-db, 1 of 2, denied by bob (no)");
    assert!(next[1..].iter().all(|line| line.ends_with("  gone")), "{next:?}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn shells_complete_names() {
    let answers = three();
    let names = |words: &[&str]| {
        let ran = answers.run(&[&["names", "--"][..], words].concat());
        assert_eq!((ran.status, ran.err.as_str()), (0, ""));
        ran.out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&["approve", "--cluster"]), ["areq-open"]);
    assert_eq!(names(&["approvals", "show", "--cluster"]), ["areq-open", "areq-used"]);
    assert_eq!(names(&["revoke", "-n", "shop"]), ["areq-shop"]);
    // What is not there, or not in time, is no name and no error.
    assert_eq!(names(&["approve", "-n", "none"]), [""; 0]);
    let kubectl = answers.folder().join("kubectl");
    let script = std::fs::read_to_string(&kubectl).unwrap();
    std::fs::write(&kubectl, "#!/bin/sh\nexec sleep 60\n").unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(names(&["approve", "-n", "agents"]), [""; 0]);
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    std::fs::write(&kubectl, script).unwrap();

    // In the shell itself.
    symlink(PROGRAM, answers.folder().join("agentaccess")).unwrap();
    let typed = r#"source <(agentaccess completion bash)
        COMP_WORDS=(agentaccess approve -n agents are); COMP_CWORD=4
        _agentaccess_with_names agentaccess are agents
        printf '%s\n' "${COMPREPLY[@]}""#;
    let output = Command::new("bash")
        .args(["-c", typed])
        .current_dir(answers.folder())
        .env("PATH", format!("{}:/usr/bin:/bin", answers.folder().display()))
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.lines().any(|line| line == "areq-open"), "{out}{}", String::from_utf8_lossy(&output.stderr));
    let zsh = answers.run(&["completion", "zsh"]).out;
    assert!(zsh.starts_with("#compdef agentaccess\n"), "{zsh}");
    // approve, deny, revoke, show, and the function itself.
    assert_eq!(zsh.matches("_agentaccess_names").count(), 5);
    assert!(answers.run(&["completion", "fish"]).out.contains("agentaccess names -- "));
}

/// Everything of one namespace, with a policy that is edited.
fn live(edit: impl FnOnce(&mut Value)) -> Answers {
    let mut objects = sound();
    let mut policy = policy();
    policy["metadata"]["managedFields"] = json!([{"manager": "kubectl"}]);
    edit(&mut policy);
    objects.insert(format!("{OURS}/namespaces/agents/agentaccesspolicies"), listed(json!([policy])));
    Answers::new(objects)
}

#[test]
fn lint_looks_at_live_objects() {
    let ran = live(|_| {}).run(&["lint", "--cluster"]);
    assert!(ran.status == 0 && ran.out.contains("the cluster: 2 objects, 0 errors"), "{}{}", ran.out, ran.err);
    let ran = live(|_| {}).run(&["lint", "--cluster", "--all-namespaces"]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    let wrong = |policy: &mut Value| policy["spec"]["targets"][0]["postgres"]["rules"][0]["verbs"] = json!(["DDL"]);
    let answers = live(wrong);
    let ran = answers.run(&["lint", "--cluster", "-n", "agents"]);
    assert!(ran.status == 1 && ran.out.contains("AgentAccessPolicy agents/support-agent"), "{}{}", ran.out, ran.err);
    // As it would be after the folder was applied.
    let folder = answers.folder().join("mended");
    std::fs::create_dir(&folder).unwrap();
    let mut mended = policy();
    mended["metadata"].as_object_mut().unwrap().remove("namespace");
    std::fs::write(folder.join("policy.yaml"), mended.to_string()).unwrap();
    let ran = answers.run(&["lint", "--cluster", "-f", "mended"]);
    assert!(ran.status == 0 && ran.out.contains("mended: 2 objects, 0 errors"), "{}{}", ran.out, ran.err);
    let ran = answers.run(&["lint"]);
    assert_eq!(ran.status, 2, "{}", ran.err);
    assert_eq!(answers.run(&["lint", "-f", "mended", "-n", "agents"]).status, 2);
}

#[test]
fn simulate_decides_by_live_objects() {
    let catalog = data("orders.json").display().to_string();
    let ask = |answers: &Answers, more: &[&str], sql: &str| {
        let arguments =
            ["simulate", "--cluster", "--catalog", &catalog, "--target", "orders-db", "--as", "agents/agent"];
        answers.run(&[&arguments[..], &["--labels", "app=agent"], more, &[sql]].concat())
    };
    let answers = live(|_| {});
    let ran = ask(&answers, &[], "select id from orders");
    assert!(ran.status == 0 && ran.out.contains("support-agent/reads"), "{}{}", ran.out, ran.err);
    assert_eq!(ask(&answers, &[], "delete from orders where id = 1").status, 4);
    let folder = answers.folder().join("wider");
    std::fs::create_dir(&folder).unwrap();
    let mut wider = policy();
    wider["spec"]["targets"][0]["postgres"]["rules"][0]["verbs"] = json!(["Select", "Delete"]);
    std::fs::write(folder.join("policy.yaml"), wider.to_string()).unwrap();
    let ran = ask(&answers, &["-f", "wider"], "delete from orders where id = 1");
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
}
