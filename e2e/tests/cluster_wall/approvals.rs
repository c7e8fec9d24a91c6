//! Decisions on an ApprovalRequest, as they pass without the webhook that writes and signs them.

use std::time::Duration;

use e2e::cluster::{Answer, Cluster, Namespace};
use e2e::wait;
use serde_json::{Value, json};

use super::agent::{cluster, governed};

const OPERATOR: &str = "system:serviceaccount:agentaccess-system:agentaccess-operator";
const NAME: &str = "ask";

/// A namespace with a request in it, and people with one role each.
struct Scene {
    cluster: Cluster,
    namespace: Namespace,
}

fn request(namespace: &str, policies: &[(&str, &str)]) -> Value {
    let refs: Vec<Value> = policies
        .iter()
        .enumerate()
        .map(|(n, (kind, name))| json!({"kind": kind, "name": name, "rule": format!("r{n}"), "revision": "sha256:0123456789ab"}))
        .collect();
    json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "ApprovalRequest",
        "metadata": {"name": NAME, "namespace": namespace, "finalizers": ["e2e.agentaccess.dev/hold"]},
        "spec": {
            "subject": {"namespace": namespace, "serviceAccount": "agent"},
            "target": {"name": "orders", "host": "orders.example", "port": 5432},
            "protocol": "Postgres", "action": {"verb": "UPDATE"}, "summary": "UPDATE", "statement": "UPDATE",
            "digest": format!("hmac-sha256:{}", "0".repeat(64)), "policyRefs": refs, "reason": "Optional",
            "requiredApprovals": 1, "denyThreshold": 1, "scope": "Once", "expiresAt": "2030-01-01T00:00:00Z",
        },
    })
}

fn record(user: &str) -> String {
    let name = user.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{{\"user\":\"{name}\",\"decision\":\"approve\",\"mac\":\"hmac-sha256:00\"}}")
}

impl Scene {
    fn new(policies: &[(&str, &str)]) -> Self {
        let cluster = cluster();
        let namespace = governed(&cluster);
        // Of the group that may do everything, but not under that name.
        let made = cluster.user(OPERATOR).in_group("system:masters").create(&request(&namespace.name, policies));
        made.unwrap().accepted("the operator asks").unwrap();
        Self { cluster, namespace }
    }

    /// May write requests, and `approve` these: resource and name.
    fn person(&self, user: &str, approves: &[(&str, &str)]) -> Cluster {
        self.person_with(user, "approve", approves)
    }

    /// The same with another verb.
    fn person_with(&self, user: &str, verb: &str, policies: &[(&str, &str)]) -> Cluster {
        let mut rules = vec![json!({
            "apiGroups": ["agentaccess.dev"], "resources": ["approvalrequests", "approvalrequests/status"],
            "verbs": ["get", "list", "patch", "update", "create"],
        })];
        let grant = |(resource, name): &(&str, &str)| json!({"apiGroups": ["agentaccess.dev"], "resources": [resource], "resourceNames": [name], "verbs": [verb]});
        rules.extend(policies.iter().map(grant));
        let role = format!("e2e-{}-{}", self.namespace.name, user.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
        // Of the cluster, so that cluster policies can be named; the namespace takes the binding along.
        let rules = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": role}, "rules": rules,
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        for object in [rules, binding] {
            self.cluster.create(&object).unwrap().accepted(&role).unwrap();
        }
        let person = self.cluster.user(user);
        wait::eventually("the role holds", Duration::from_secs(10), || {
            person.run(&["get", "areq", NAME, "-n", &self.namespace.name], None).unwrap().accepted
        })
        .unwrap();
        person
    }

    fn patch(&self, who: &Cluster, metadata: &Value) -> Answer {
        let text = json!({"metadata": metadata}).to_string();
        who.run(&["patch", "areq", NAME, "-n", &self.namespace.name, "--type=merge", "-p", &text], None).unwrap()
    }

    fn decide(&self, who: &Cluster, number: u32, record: &str) -> Answer {
        self.patch(who, &json!({"annotations": {format!("agentaccess.dev/decision.{number}"): record}}))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.patch(&self.cluster.user(OPERATOR).in_group("system:masters"), &json!({"finalizers": null}));
        let listed = self.cluster.run(&["get", "clusterrole", "-o", "name"], None).map(|answer| answer.text);
        let own = format!("clusterrole.rbac.authorization.k8s.io/e2e-{}-", self.namespace.name);
        for role in listed.unwrap_or_default().lines().filter(|line| line.starts_with(&own)) {
            let name = role.rsplit('/').next().unwrap_or_default();
            let _ = self.cluster.run(&["delete", "clusterrole,clusterrolebinding", name], None);
        }
    }
}

#[test]
fn a_decision_is_the_approvers_own_and_stays() {
    let scene = Scene::new(&[("AgentAccessPolicy", "support")]);
    let alice = scene.person("alice", &[("agentaccesspolicies", "support")]);
    let bob = scene.person("bob", &[("agentaccesspolicies", "other")]);

    const VERB: &str = "deciding needs the verb `approve` on a policy that spec.policyRefs names";
    const OWN: &str = "must be the record of the user who decides";
    const STAYS: &str = "cannot be changed or removed";
    scene.decide(&bob, 1, &record("bob")).refused("without the verb", VERB).unwrap();
    scene.decide(&alice, 1, &record("bob")).refused("in another name", OWN).unwrap();
    scene.decide(&alice, 1, &record("alice\",\"x\":\"")).refused("a name that goes on", OWN).unwrap();
    let raw = scene.patch(&alice, &json!({"annotations": {"agentaccess.dev/decision": "approve"}}));
    raw.refused("the webhook is away", "is it there?").unwrap();
    let two = json!({"annotations": {"agentaccess.dev/decision.1": record("alice"), "agentaccess.dev/decision.2": record("alice")}});
    scene.patch(&alice, &two).refused("two records", "only agentaccess.dev/decision is written").unwrap();
    scene.decide(&alice, 0, &record("alice")).refused("number 0", "only agentaccess.dev/decision is written").unwrap();
    scene
        .patch(&alice, &json!({"annotations": {"note": "x"}}))
        .refused("a note", "only agentaccess.dev/decision")
        .unwrap();

    scene.decide(&alice, 1, &record("alice")).accepted("her own").unwrap();
    scene.decide(&alice, 1, &record("alice").replace("approve", "deny")).refused("another word", STAYS).unwrap();
    let remove = json!({"annotations": {"agentaccess.dev/decision.1": null}});
    scene.patch(&alice, &remove).refused("taken back", STAYS).unwrap();
    // Neither does the operator.
    let operator = scene.cluster.user(OPERATOR).in_group("system:masters");
    scene.patch(&operator, &remove).refused("by the operator", STAYS).unwrap();
    scene.decide(&operator, 2, &record(OPERATOR)).refused("the operator decides", OWN).unwrap();
}

#[test]
fn an_approver_changes_nothing_else() {
    const WHY: &str = "metadata.labels, ownerReferences and finalizers are those of the operator";
    let scene = Scene::new(&[("AgentAccessPolicy", "support")]);
    let alice = scene.person("alice", &[("agentaccesspolicies", "support")]);
    for change in [
        json!({"labels": {"x": "y"}}),
        json!({"finalizers": ["e2e.agentaccess.dev/other"]}),
        json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "5b1c0d6e-0000-4000-8000-000000000001"}]}),
    ] {
        scene.patch(&alice, &change).refused(&change.to_string(), WHY).unwrap();
    }
    let operator = scene.cluster.user(OPERATOR).in_group("system:masters");
    scene.patch(&operator, &json!({"labels": {"x": "y"}})).accepted("the operator").unwrap();
    let spec = json!({"spec": {"summary": "SELECT 1"}}).to_string();
    let changed =
        operator.run(&["patch", "areq", NAME, "-n", &scene.namespace.name, "--type=merge", "-p", &spec], None);
    changed.unwrap().refused("the spec", "the spec of an ApprovalRequest never changes").unwrap();
    let cleaner =
        scene.cluster.user("system:serviceaccount:kube-system:generic-garbage-collector").in_group("system:masters");
    scene.patch(&cleaner, &json!({"finalizers": null})).accepted("garbage collection").unwrap();
}

#[test]
fn who_asks_does_not_decide() {
    let scene = Scene::new(&[("AgentAccessPolicy", "support")]);
    let agent = format!("system:serviceaccount:{}:agent", scene.namespace.name);
    let other = format!("system:serviceaccount:{}:other", scene.namespace.name);
    let approves = [("agentaccesspolicies", "support")];
    let (itself, colleague) = (scene.person(&agent, &approves), scene.person(&other, &approves));
    scene.decide(&itself, 1, &record(&agent)).refused("itself", "who asks cannot decide").unwrap();
    // Whether other ServiceAccounts may is the webhook's to say.
    scene.decide(&colleague, 1, &record(&other)).accepted("another").unwrap();
}

/// As the webhook would have signed it.
fn broken(user: &str, reason: &str) -> String {
    format!("{{\"user\":\"{user}\",\"decision\":\"break-glass\",\"reason\":\"{reason}\",\"mac\":\"hmac-sha256:00\"}}")
}

#[test]
fn only_who_may_breaks_the_glass_and_says_why() {
    const VERB: &str = "breaking the glass needs the verb `breakglass` on every policy";
    let scene = Scene::new(&[("AgentAccessPolicy", "support"), ("ClusterAgentAccessPolicy", "prod")]);
    let both = [("agentaccesspolicies", "support"), ("clusteragentaccesspolicies", "prod")];
    let alice = scene.person("alice", &both);
    let half = scene.person_with("half", "breakglass", &both[..1]);
    let carol = scene.person_with("carol", "breakglass", &both);
    scene.decide(&alice, 1, &broken("alice", "INC-1")).refused("an approver", VERB).unwrap();
    scene.decide(&half, 1, &broken("half", "INC-1")).refused("on one of two", VERB).unwrap();
    scene.decide(&carol, 1, &broken("alice", "INC-1")).refused("in another name", "must be the record of").unwrap();
    scene.decide(&carol, 1, &broken("carol", "")).refused("without a reason", "says why").unwrap();
    scene.decide(&carol, 1, &record("carol")).refused("an approval", "deciding needs the verb `approve`").unwrap();
    scene.decide(&carol, 1, &broken("carol", "INC-1")).accepted("with both").unwrap();
    // A reason that looks like it is a reason.
    let quoted = "\\\"decision\\\":\\\"break-glass\\\"";
    let plain = record("alice").replacen(",\"mac\"", &format!(",\"reason\":\"{quoted}\",\"mac\""), 1);
    scene.decide(&alice, 2, &plain).accepted("an approval with a reason").unwrap();
}

/// The verb on any of them is enough: the vote counts for those. Each place in the list is looked at, within the budget.
#[test]
fn each_of_eight_policies_can_be_the_one() {
    let names: Vec<String> = (0..8).map(|n| format!("policy-{n}")).collect();
    let kinds = ["AgentAccessPolicy", "ClusterAgentAccessPolicy"];
    let refs: Vec<(&str, &str)> = names.iter().enumerate().map(|(n, name)| (kinds[n % 2], name.as_str())).collect();
    let scene = Scene::new(&refs);
    for n in [0, 1, 6, 7] {
        let user = format!("person{n}");
        let resource = if n % 2 == 0 { "agentaccesspolicies" } else { "clusteragentaccesspolicies" };
        let wrong = if n % 2 == 0 { "clusteragentaccesspolicies" } else { "agentaccesspolicies" };
        let stranger = scene.person(&format!("stranger{n}"), &[(wrong, refs[n].1)]);
        let number = u32::try_from(n).unwrap() + 1;
        scene
            .decide(&stranger, number, &record(&format!("stranger{n}")))
            .refused("the other kind", "deciding needs the verb")
            .unwrap();
        let person = scene.person(&user, &[(resource, refs[n].1)]);
        scene.decide(&person, number, &record(&user)).accepted(refs[n].1).unwrap();
    }
}

#[test]
fn names_with_quotes_and_backslashes_are_themselves() {
    let scene = Scene::new(&[("AgentAccessPolicy", "support")]);
    for (n, user) in (1..).zip(["CORP\\alice", "o\"brien", "zoë"]) {
        let person = scene.person(user, &[("agentaccesspolicies", "support")]);
        scene.decide(&person, n, &record(user)).accepted(user).unwrap();
    }
}

#[test]
fn only_the_operator_asks_and_without_an_answer() {
    let cluster = cluster();
    let namespace = governed(&cluster);
    let mut object = request(&namespace.name, &[("AgentAccessPolicy", "support")]);
    cluster.would_create(&object).unwrap().refused("an administrator", "made by the operator only").unwrap();
    let operator = cluster.user(OPERATOR).in_group("system:masters");
    operator.would_create(&object).unwrap().accepted("the operator").unwrap();
    object["metadata"]["annotations"] = json!({"agentaccess.dev/decision.1": record("alice")});
    operator.would_create(&object).unwrap().refused("decided", "must hold no decision").unwrap();
}

#[test]
fn nothing_is_decided_through_the_status() {
    let scene = Scene::new(&[("AgentAccessPolicy", "support")]);
    let alice = scene.person("alice", &[]);
    let text = json!({"metadata": {"annotations": {"agentaccess.dev/decision.1": record("alice")}}}).to_string();
    let arguments =
        ["patch", "areq", NAME, "-n", &scene.namespace.name, "--type=merge", "--subresource=status", "-p", &text];
    alice.run(&arguments, None).unwrap().accepted("a status").unwrap();
    let stored = scene.cluster.get(&["areq", NAME, "-n", &scene.namespace.name]).unwrap();
    assert!(stored["metadata"].get("annotations").is_none(), "{stored}");
}

/// Not by who may write the status, either: a use or an end that is taken back would be an approval.
#[test]
fn what_a_status_has_closed_stays_closed() {
    let scene = Scene::new(&[("AgentAccessPolicy", "support")]);
    let write = |status: &Value| {
        let text = json!({"status": status}).to_string();
        let arguments =
            ["patch", "areq", NAME, "-n", &scene.namespace.name, "--type=merge", "--subresource=status", "-p", &text];
        scene.cluster.run(&arguments, None).unwrap()
    };
    write(&json!({"phase": "Approved", "consumed": true})).accepted("used").unwrap();
    for unused in [json!({"consumed": false}), json!({"consumed": null}), Value::Null] {
        write(&unused).refused("used again", "an approval is used once").unwrap();
    }
    for end in ["Denied", "Expired", "Withdrawn", "Revoked"] {
        write(&json!({"phase": end})).accepted(end).unwrap();
        for phase in ["Pending", "Approved"] {
            write(&json!({"phase": phase})).refused(end, "the agent asks anew").unwrap();
        }
    }
}
