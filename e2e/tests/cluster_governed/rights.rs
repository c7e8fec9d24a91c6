//! Who may do what, as the API server answers it: the operator, people whose roles take ours in, agents.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::wait;
use e2e::world::Policy;
use serde_json::{Value, json};

use super::database::World;

/// Each of the names under which the operator applies begins so.
const MANAGER: &str = "agentaccess-operator";
const SAID: Duration = Duration::from_secs(20);

const HOME: &str = "agentaccess-system";
const OPERATOR: &str = "system:serviceaccount:agentaccess-system:agentaccess-operator";

/// What `kubectl auth can-i --list` says to this ServiceAccount, a line for each rule.
fn listed(cluster: &Cluster, account: &str, namespace: &str) -> BTreeSet<String> {
    let answer =
        cluster.user(account).run(&["auth", "can-i", "--list", "--no-headers", "-n", namespace], None).unwrap();
    answer.accepted("its rights").unwrap();
    answer.text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_operator_has_the_rights_that_stand_here_and_no_other() {
    let cluster = Cluster::connect().unwrap();
    for (namespace, wanted) in
        [(HOME, include_str!("rights/home.txt")), ("default", include_str!("rights/elsewhere.txt"))]
    {
        // Everybody may discover what there is.
        let everybody = listed(&cluster, "system:serviceaccount:default:nobody", namespace);
        let rights: Vec<String> = listed(&cluster, OPERATOR, namespace).difference(&everybody).cloned().collect();
        assert_eq!(rights.join("\n"), wanted.trim_end(), "in {namespace}");
    }
}

#[test]
fn admins_write_policies_viewers_read_them_and_agents_do_neither() {
    let cluster = Cluster::connect().unwrap();
    let namespace = cluster.namespace(&json!({})).unwrap();
    let name = namespace.name.as_str();
    for (role, user) in [("admin", "ada"), ("edit", "eve"), ("view", "vic")] {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": user, "namespace": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        cluster.create(&binding).unwrap().accepted("a binding").unwrap();
    }
    let agent = format!("system:serviceaccount:{name}:default");
    let may = |user: &str, verb: &str, what: &str| {
        let answer = cluster.user(user).run(&["auth", "can-i", verb, what, "-n", name], None).unwrap();
        // A warning may follow.
        match answer.text.split_whitespace().next() {
            Some("yes") => true,
            Some("no") => false,
            _ => panic!("{user}: {verb} {what}: {}", answer.text),
        }
    };
    let expected: &[(&str, &[&str], &[&str], bool)] = &[
        ("ada", &["get", "create", "patch", "delete"], &["agentaccesspolicies", "accesstargets"], true),
        ("ada", &["create", "patch"], &["clusteragentaccesspolicies", "approvalrequests", "injectionprofiles"], false),
        // Whoever writes policies is not thereby who approves what they ask for.
        ("ada", &["approve", "breakglass"], &["agentaccesspolicies"], false),
        ("ada", &["ungovern"], &["namespaces", "pods"], false),
        ("eve", &["create", "patch", "delete"], &["agentaccesspolicies", "accesstargets"], false),
        ("vic", &["get", "list", "watch"], &["agentaccesspolicies", "accesstargets", "approvalrequests"], true),
        ("vic", &["create", "patch", "approve"], &["agentaccesspolicies", "approvalrequests"], false),
        (&agent, &["get", "create", "patch", "approve"], &["agentaccesspolicies", "approvalrequests"], false),
        (&agent, &["get", "list"], &["accesstargets", "secrets", "clusteragentaccesspolicies"], false),
    ];
    let mut wrong = Vec::new();
    for (user, verbs, resources, wanted) in expected {
        for verb in *verbs {
            for resource in *resources {
                let full = match *resource {
                    "namespaces" | "pods" | "secrets" => (*resource).to_owned(),
                    ours => format!("{ours}.agentaccess.dev"),
                };
                if may(user, verb, &full) != *wanted {
                    wrong.push(format!("{user} {verb} {full}: {}", !wanted));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What a manager owns, as one of `metadata.managedFields` says.
fn owned<'a>(object: &'a Value, manager: &str) -> Vec<(&'a str, &'a Value)> {
    let all = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let of = all.filter(|one| one["manager"].as_str().is_some_and(|name| name.starts_with(manager)));
    of.map(|one| (one["subresource"].as_str().unwrap_or_default(), &one["fieldsV1"])).collect()
}

fn keys(fields: &Value) -> Vec<&str> {
    fields.as_object().unwrap().keys().map(String::as_str).collect()
}

/// It applies by force, so it must own nothing that is not its own: the rest stays whose it is.
#[test]
fn the_operator_owns_statuses_and_certificates_and_nothing_of_people() {
    let world = World::new(&Policy::default());
    let (cluster, name) = (&world.cluster, world.namespace.name.as_str());
    let see = |kind: &str, what: &str| cluster.get(&[kind, what, "-n", name, "--show-managed-fields"]).unwrap();
    for (kind, what) in [("aap", "agent"), ("atgt", "db")] {
        wait::eventually("a status", SAID, || !owned(&see(kind, what), MANAGER).is_empty()).unwrap();
        let object = see(kind, what);
        for (subresource, fields) in owned(&object, MANAGER) {
            assert_eq!((subresource, keys(fields)), ("status", vec!["f:status"]), "{kind}");
        }
    }
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        let object = see(kind, "agentaccess");
        let ours = owned(&object, MANAGER);
        assert_eq!(ours.len(), 1, "{kind}");
        assert_eq!(keys(ours[0].1), ["f:webhooks"], "{kind}");
        for (webhook, fields) in ours[0].1["f:webhooks"].as_object().unwrap() {
            assert_eq!(keys(fields), [".", "f:clientConfig", "f:name"], "{webhook}");
            assert_eq!(keys(&fields["f:clientConfig"]), ["f:caBundle"], "{webhook}");
        }
    }

    // A person applies after it, without a conflict, and what they wrote is there when it has written again.
    let apply = |level: &str| {
        let mut policy = super::agent::documents(&Policy::default().yaml())[0].clone();
        policy["metadata"] = json!({"name": "agent", "namespace": name, "annotations": {"example.com/ticket": level}});
        policy["spec"]["recording"]["level"] = json!(level);
        let words = ["apply", "--server-side", "--field-manager=e2e", "-f", "-"];
        cluster.run(&words, Some(&policy)).unwrap().accepted("a person's change").unwrap();
        wait::eventually("a status of this form", SAID, || {
            let now = see("aap", "agent");
            now["status"]["observedGeneration"] == now["metadata"]["generation"]
        })
        .unwrap();
        let now = see("aap", "agent");
        assert_eq!(
            (&now["spec"]["recording"]["level"], &now["metadata"]["annotations"]["example.com/ticket"]),
            (&json!(level), &json!(level))
        );
    };
    apply("Payload");
    apply("Statements");
}

/// The API server's own standards are the judge.
#[test]
fn a_restricted_namespace_admits_the_operator() {
    let cluster = Cluster::connect().unwrap();
    let namespace = cluster.namespace(&json!({"pod-security.kubernetes.io/enforce": "restricted"})).unwrap();
    let operator = cluster.get(&["deployment", "agentaccess-operator", "-n", HOME]).unwrap();
    let mut spec = operator["spec"]["template"]["spec"].clone();
    // Its account is not there; who it is does not matter to the standard.
    for field in ["serviceAccountName", "serviceAccount"] {
        spec.as_object_mut().unwrap().remove(field);
    }
    let pod = |spec: &Value| {
        let metadata = json!({"name": "operator", "namespace": namespace.name});
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    };
    cluster.would_create(&pod(&spec)).unwrap().accepted("the operator").unwrap();
    spec["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    let said = cluster.would_create(&pod(&spec)).unwrap();
    said.refused("an operator that may become more", "violates PodSecurity \"restricted").unwrap();
}
