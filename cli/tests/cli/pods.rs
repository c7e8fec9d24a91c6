//! `why` and `explain` of pods, against live objects of a cluster.

use serde_json::{Value, json};

use crate::cluster::{Answers, OURS, listed, pod, policy, sound};

const POD: &str = "/api/v1/namespaces/agents/pods/agent-0";

#[test]
fn a_governed_pod() {
    let answers = Answers::new(sound());
    let ran = answers.run(&["why", "agent-0"]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    for part in
        ["agents/agent-0\n", "governed: the operator", "  sidecar     ready\n", "support-agent (Enforce, in force)"]
    {
        assert!(ran.out.contains(part), "{part:?} is not in\n{}", ran.out);
    }
    let ran = answers.run(&["explain", "agent-0", "--namespace", "agents"]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    for part in [
        "orders-db\n  selected\n",
        "  support-agent/reads Allow Read Relation; relations public.orders\n",
        "  support-agent/email masks public.customers.email: Partial",
    ] {
        assert!(ran.out.contains(part), "{part:?} is not in\n{}", ran.out);
    }
    let json: Value = serde_json::from_str(&answers.run(&["explain", "agent-0", "-o", "json"]).out).unwrap();
    assert_eq!((&json["targets"][0]["target"], &json["targets"][0]["selected"]), (&"orders-db".into(), &true.into()));
}

#[test]
fn pods_that_are_not() {
    let mut other = policy();
    other["spec"]["podSelector"] = json!({"matchLabels": {"app": "other"}});
    let mut mirror = pod(false, false);
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    let bare = json!({"metadata": {"name": "agents", "labels": {}}});
    let table = [
        (POD, pod(false, false), "not governed: it was made before agents was governed"),
        (POD, mirror, "it is a static pod of its node"),
        (POD, pod(true, false), "not ready: see its log"),
        (
            &format!("{OURS}/namespaces/agents/agentaccesspolicies"),
            listed(json!([other])),
            "none: a governed pod is then denied",
        ),
    ];
    for (path, object, text) in table {
        let mut objects = sound();
        objects.insert(path.to_owned(), object);
        let ran = Answers::new(objects).run(&["why", "agent-0"]);
        assert!(ran.out.contains(text), "{text}: {}{}", ran.out, ran.err);
        assert_eq!(ran.status, i32::from(!text.starts_with("not ready")), "{text}");
    }
    let mut objects = sound();
    objects.insert("/api/v1/namespaces/agents".to_owned(), bare);
    objects.insert(POD.to_owned(), pod(false, false));
    let answers = Answers::new(objects);
    let ran = answers.run(&["why", "agent-0"]);
    assert!(ran.out.contains("kubectl label namespace agents agentaccess.dev/injection=enabled"), "{}", ran.out);
    let ran = answers.run(&["explain", "agent-0"]);
    assert!(ran.err.contains("nothing of this holds"), "{}", ran.err);
    let ran = answers.run(&["why", "nobody"]);
    assert!(ran.status == 1 && ran.err.contains("there is no pod `nobody` in namespace `agents`"), "{}", ran.err);
}

#[test]
fn what_cannot_be_read_is_not_left_out() {
    let mut newer = policy();
    newer["spec"]["more"] = json!(1);
    let mut wrong = policy();
    wrong["spec"]["targets"][0]["postgres"]["rules"][0]["verbs"] = json!(["DDL"]);
    for (object, text) in [(newer, "cannot be read by this program"), (wrong, "these policies cannot be in force")] {
        let mut objects = sound();
        objects.insert(format!("{OURS}/namespaces/agents/agentaccesspolicies"), listed(json!([object])));
        let ran = Answers::new(objects).run(&["explain", "agent-0"]);
        assert!(ran.status == 1 && ran.err.contains(text), "{text}: {}{}", ran.out, ran.err);
    }
}
