//! Who ends the governing of a namespace, and who gets tokens that the operator believes.

use std::time::Duration;

use e2e::cluster::{Answer, Cluster, Namespace};
use e2e::wait;
use serde_json::{Value, json};

use super::agent::{cluster, governed};

const LABEL: &str = "agentaccess.dev/injection";

fn role(cluster: &Cluster, name: &str, rules: &Value, user: &str) {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules,
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    for object in [role, binding] {
        cluster.run(&["apply", "-f", "-"], Some(&object)).unwrap().accepted(name).unwrap();
    }
}

fn patch(cluster: &Cluster, namespace: &Namespace, subresource: &str, labels: &Value) -> Answer {
    let text = json!({"metadata": {"labels": labels}}).to_string();
    let mut arguments = vec!["patch", "namespace", &namespace.name, "-p", &text];
    if !subresource.is_empty() {
        arguments.extend(["--subresource", subresource]);
    }
    cluster.run(&arguments, None).unwrap()
}

/// `finalize` takes whole objects.
fn finalize(cluster: &Cluster, namespace: &Namespace, label: &Value) -> Answer {
    let mut object = cluster.get(&["namespace", &namespace.name]).unwrap();
    object["metadata"]["labels"][LABEL] = label.clone();
    if label.is_null() {
        object["metadata"]["labels"].as_object_mut().unwrap().remove(LABEL);
    }
    let path = format!("/api/v1/namespaces/{}/finalize", namespace.name);
    cluster.run(&["replace", "--raw", &path, "-f", "-"], Some(&object)).unwrap()
}

#[test]
fn only_who_may_ungovern_takes_the_label_away() {
    const WHY: &str = "only who has the verb `ungovern` on namespaces may take it away";
    let cluster = cluster();
    let resources = json!(["namespaces", "namespaces/status", "namespaces/finalize"]);
    let writes = json!([{"apiGroups": [""], "resources": resources, "verbs": ["get", "update", "patch"]}]);
    role(&cluster, "e2e-namespaces", &writes, "e2e-tenant");
    let namespace = governed(&cluster);
    let tenant = cluster.user("e2e-tenant");
    wait::eventually("the role holds", Duration::from_secs(10), || {
        tenant.run(&["get", "namespace", &namespace.name], None).unwrap().accepted
    })
    .unwrap();

    for label in [Value::Null, json!("disabled")] {
        for subresource in ["", "status"] {
            patch(&tenant, &namespace, subresource, &json!({LABEL: label}))
                .refused(&format!("{label} through `{subresource}`"), WHY)
                .unwrap();
        }
        finalize(&tenant, &namespace, &label).refused(&format!("{label} through finalize"), WHY).unwrap();
    }
    patch(&tenant, &namespace, "", &json!({"team": "a"})).accepted("another label").unwrap();
    patch(&tenant, &namespace, "status", &json!({"team": "b"})).accepted("another label through status").unwrap();
    finalize(&tenant, &namespace, &json!("enabled")).accepted("finalize").unwrap();

    let verb = json!([{"apiGroups": [""], "resources": ["namespaces"], "resourceNames": [namespace.name], "verbs": ["ungovern"]}]);
    role(&cluster, "e2e-ungovern", &verb, "e2e-tenant");
    wait::eventually("the verb holds", Duration::from_secs(10), || {
        patch(&tenant, &namespace, "", &json!({LABEL: null})).accepted
    })
    .unwrap();
    for name in ["e2e-namespaces", "e2e-ungovern"] {
        cluster.run(&["delete", "clusterrole,clusterrolebinding", name], None).unwrap().accepted(name).unwrap();
    }
}

#[test]
fn the_label_has_one_value_and_not_everywhere() {
    let cluster = cluster();
    let make = |name: &str, value: &str| {
        let metadata = json!({"name": name, "labels": {LABEL: value}});
        cluster.would_create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})).unwrap()
    };
    make("e2e-new", "enabled").accepted("a governed namespace").unwrap();
    make("e2e-new", "true").refused("another value", "must be `enabled`").unwrap();
    let label = format!("{LABEL}=enabled");
    let system = cluster.run(&["label", "namespace", "kube-system", &label, "--dry-run=server"], None).unwrap();
    system.refused("kube-system", "pods of this namespace are never governed").unwrap();
}

#[test]
fn only_a_kubelet_gets_a_token_for_our_audience() {
    let cluster = cluster();
    let namespace = governed(&cluster);
    let name = namespace.name.as_str();
    let token = |audience: &str| {
        let audience = format!("--audience={audience}");
        cluster.run(&["create", "token", "default", "-n", name, &audience], None).unwrap()
    };
    token("agentaccess.dev").refused("our audience", "spec.audiences must not hold agentaccess.dev").unwrap();
    token("https://elsewhere").accepted("another audience").unwrap();

    // A kubelet's own request: bound to a pod that runs on its node. In a namespace that is not governed, since there a
    // hand-made pod may mount one.
    let plain = cluster.namespace(&json!({})).unwrap();
    let projected = json!({"sources": [{"serviceAccountToken": {"audience": "agentaccess.dev", "path": "token"}}]});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "mounts", "namespace": plain.name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "volumes": [{"name": "t", "projected": projected}],
            "containers": [{
                "name": "main", "image": "localhost/busybox:1", "imagePullPolicy": "Never",
                "command": ["sleep", "3600"], "volumeMounts": [{"name": "t", "mountPath": "/t"}],
            }],
        },
    });
    cluster.create(&pod).unwrap().accepted("a pod").unwrap();
    cluster
        .run(&["wait", "-n", &plain.name, "--for=condition=Ready", "pod/mounts", "--timeout=25s"], None)
        .unwrap()
        .accepted("the kubelet fetched its token")
        .unwrap();
}
