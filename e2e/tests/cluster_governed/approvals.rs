//! Who may release an operation, and what each word of theirs does. The oracle is the database's log.

use std::thread;
use std::time::Duration;

use e2e::wait;
use serde_json::{Value, json};

use super::asked::{Asked, PATIENCE, approve};
use super::database::AGENT;
use super::inside::sh;

#[test]
fn two_approvals_are_of_two_people_and_release_once() {
    let mut asked = Asked::new("{name: person, requiredApprovals: 2, pendingTTL: 60s, holdFor: 45s}");
    let held = asked.hold(1);
    let first = asked.approve("alice", &held);
    first.accepted("the first").unwrap();
    assert!(first.text.contains("1 of 2"), "{}", first.text);
    let again = asked.approve("alice", &held);
    assert!(again.text.contains("once") || !again.accepted, "{}", again.text);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(asked.deleted(), 0);
    asked.approve("bob", &held).accepted("the second").unwrap();
    assert!(asked.answer(&held).contains('1'));
    assert_eq!(asked.deleted(), 1);
    // Whoever uses it says so at once; the leader writes who gave it.
    wait::eventually("it is used up, and says by whom", PATIENCE, || {
        let status = asked.status(&held);
        status["consumed"] == true && status["decisions"].as_array().is_some_and(|all| all.len() == 2)
    })
    .unwrap();

    // Both at one moment.
    let held = asked.hold(2);
    thread::scope(|scope| {
        let (world, held) = (&asked.world, &held);
        let both = ["alice", "bob"].map(|who| scope.spawn(move || approve(world, who, held)));
        for one in both {
            one.join().unwrap().accepted("at one moment").unwrap();
        }
    });
    assert!(asked.answer(&held).contains('2'));
    // The same statement again asks again.
    let again = asked.psql.send("DELETE FROM orders WHERE id = 2 RETURNING id");
    thread::sleep(Duration::from_secs(2));
    assert_eq!(asked.deleted(), 2);
    drop(again);
}

#[test]
fn a_denial_ends_it() {
    let mut asked = Asked::new("{name: person, pendingTTL: 60s, holdFor: 45s}");
    let held = asked.hold(1);
    let no = ["agentaccess.dev/decision=deny", "agentaccess.dev/reason=not today"];
    asked.decide(&asked.world.cluster.user("bob"), &held, &no).accepted("a denial").unwrap();
    let answer = asked.answer(&held);
    assert!(answer.contains("PX002") && answer.contains("not today"), "{answer}");
    asked.phase(&held, "Denied");
    asked.approve("alice", &held).refused("too late", "it is denied").unwrap();
    // Whoever removes the question says no, too.
    let held = asked.hold(2);
    let delete = ["-n", &asked.world.namespace.name, "delete", "areq", &held.name];
    asked.world.cluster.run(&delete, None).unwrap().accepted("removed").unwrap();
    assert!(asked.answer(&held).contains("PX00"));
    assert_eq!(asked.deleted(), 0);
}

/// What is approved is what the policies say that select the pod: others may come and go meanwhile.
#[test]
fn policies_of_others_do_not_touch_what_waits() {
    let mut asked = Asked::new("{name: person, pendingTTL: 60s, holdFor: 45s}");
    let held = asked.hold(1);
    let others = json!({"matchLabels": {"app": "another"}});
    let deny = json!({"namespaceSelector": {}, "podSelector": others, "denyAll": true});
    let policy = |kind: &str, name: &str, spec: &Value| json!({"apiVersion": "agentaccess.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let name = format!("others-{}", asked.world.namespace.name);
    asked.world.apply_all(&[
        policy("ClusterAgentAccessPolicy", &name, &deny),
        policy(
            "AgentAccessPolicy",
            "another",
            &json!({"podSelector": others, "targets": [{
                "targetRef": {"name": "none"},
                "postgres": {"rules": [{"name": "r", "action": "Allow", "verbs": ["Select"], "relations": ["a.b"]}]},
            }]}),
        ),
    ]);
    // Far longer than a policy takes to count.
    thread::sleep(Duration::from_secs(2));
    asked.approve("alice", &held).accepted("an approval").unwrap();
    assert!(asked.answer(&held).contains('1'));
    assert_eq!(asked.deleted(), 1);
    let delete = ["delete", "clusteragentaccesspolicy", &name];
    asked.world.cluster.run(&delete, None).unwrap().accepted("removed").unwrap();
}

#[test]
fn only_people_with_the_verb_decide() {
    let mut asked = Asked::new("{name: person, pendingTTL: 60s, holdFor: 55s}");
    let namespace = asked.world.namespace.name.clone();
    // Rights to patch, and the verb for another policy.
    let role = |name: &str, policy: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name},
            "rules": [
                {"apiGroups": ["agentaccess.dev"], "resources": ["approvalrequests"], "verbs": ["get", "list", "patch"]},
                {"apiGroups": ["agentaccess.dev"], "resources": ["agentaccesspolicies"], "resourceNames": [policy], "verbs": ["approve"]},
            ],
        })
    };
    asked.world.apply_all(&[role("other", "another-policy"), role("this", "agent")]);
    let bind = |name: &str, role: &str, to: &str| {
        let create = ["-n", &namespace, "create", "rolebinding", name, "--role", role, to];
        asked.world.cluster.run(&create, None).unwrap().accepted("a role").unwrap();
    };
    bind("eve", "other", "--user=eve");
    let account = |name: &str| format!("system:serviceaccount:{namespace}:{name}");
    bind("robots", "this", &format!("--serviceaccount={namespace}:default"));
    bind("robot", "this", &format!("--serviceaccount={namespace}:robot"));

    let held = asked.hold(1);
    let verb = "eve may not decide: it takes the verb `approve` on AgentAccessPolicy/agent";
    asked.approve("eve", &held).refused("the verb for another policy", verb).unwrap();
    asked.approve("mallory", &held).refused("no right at all", "forbidden").unwrap();
    asked
        .approve(&account("default"), &held)
        .refused("who asks", "who asks cannot decide; another person must")
        .unwrap();
    asked
        .approve(&account("robot"), &held)
        .refused("a ServiceAccount", "people decide, no ServiceAccount does")
        .unwrap();
    let alice = asked.world.cluster.user("alice");
    for (words, why) in [
        (&["agentaccess.dev/decision=maybe"][..], "`maybe` is no decision: write approve, deny, revoke or break-glass"),
        (
            &["agentaccess.dev/decision.1={\"user\":\"alice\",\"decision\":\"approve\"}"],
            "metadata.annotations[agentaccess.dev/decision.1] is a record, and records are written by agentaccess only",
        ),
        (
            &["agentaccess.dev/decision=approve", "agentaccess.dev/decision.2={\"user\":\"bob\"}"],
            "metadata.annotations[agentaccess.dev/decision.2] is a record, and records are written by agentaccess only",
        ),
        (&["agentaccess.dev/decision=break-glass"], "who breaks the glass says why: add agentaccess.dev/reason"),
    ] {
        asked.decide(&alice, &held, words).refused(&format!("{words:?}"), why).unwrap();
    }
    // A status that somebody wrote releases nothing, and is put right.
    let forged = json!({"status": {"phase": "Approved", "approvals": 1}}).to_string();
    let patch = ["-n", &namespace, "patch", "areq", &held.name, "--subresource=status", "--type=merge", "-p", &forged];
    asked.world.cluster.run(&patch, None).unwrap().accepted("by the administrator").unwrap();
    asked.phase(&held, "Pending");
    // Applied, it meets the operator's own fields; by force it takes them, until the operator takes them back.
    let applied = json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "ApprovalRequest",
        "metadata": {"name": held.name, "namespace": namespace}, "status": {"phase": "Approved", "approvals": 1},
    });
    let apply = ["apply", "--server-side", "--subresource=status", "--field-manager=somebody", "-f", "-"];
    asked.world.cluster.run(&apply, Some(&applied)).unwrap().refused("without force", "conflict").unwrap();
    let force = [&apply[..], &["--force-conflicts"]].concat();
    asked.world.cluster.run(&force, Some(&applied)).unwrap().accepted("by force").unwrap();
    asked.phase(&held, "Pending");
    thread::sleep(Duration::from_secs(2));
    assert_eq!(asked.deleted(), 0);
    asked.approve("alice", &held).accepted("alice").unwrap();
    assert!(asked.answer(&held).contains('1'));
    assert_eq!(asked.deleted(), 1);
}

#[test]
fn a_question_ends_in_time() {
    let mut asked = Asked::new("{name: person, pendingTTL: 60s, holdFor: 50s}");
    // The agent goes: nobody needs to decide any more.
    let held = asked.hold(1);
    sh(&asked.world.cluster, &asked.world.namespace.name, AGENT, "killall psql").accepted("the agent's end").unwrap();
    asked.psql = asked.world.psql();
    asked.phase(&held, "Withdrawn");
    // It waits no longer than it lives.
    let held = asked.hold(2);
    let answer = asked.answer(&held);
    assert!(answer.contains("PX001") || answer.contains("PX003"), "{answer}");
    wait::eventually("it is expired", Duration::from_secs(80), || asked.status(&held)["phase"] == "Expired").unwrap();
    asked.approve("alice", &held).refused("too late", "it has expired").unwrap();
    assert_eq!(asked.deleted(), 0);
}
