//! What people with every right but `ungovern` can do to a pod that was injected and runs: with webhook and wall up, as
//! they are on every other day. `cluster_wall` has the same for the wall alone.

use e2e::cluster::{Answer, Cluster};
use e2e::wait;
use serde_json::{Value, json};

use super::agent::{START, governed, pod, run};

#[test]
fn a_live_pod_stays_as_it_was_injected() {
    let cluster = Cluster::connect().unwrap();
    let namespace = governed(&cluster);
    let name = namespace.name.as_str();
    run(&cluster, name, &pod("agent"));
    let patch = |subresource: &str, patch: &Value| -> Answer {
        let text = patch.to_string();
        let mut arguments = vec!["patch", "pod", "agent", "-n", name, "-p", &text];
        let subresource = format!("--subresource={subresource}");
        if !subresource.ends_with('=') {
            arguments.push(&subresource);
        }
        cluster.run(&arguments, None).unwrap()
    };
    let before = cluster.get(&["pod", "agent", "-n", name]).unwrap();

    for ours in ["agentaccess-init", "agentaccess-proxy", "agentaccess-verify"] {
        let image = json!({"spec": {"initContainers": [{"name": ours, "image": "localhost/busybox:1"}]}});
        patch("", &image).refused(ours, "agentaccess-* cannot be changed").unwrap();
        for verb in [
            &["exec", "agent", "-c", ours, "--", "/agentaccess-sidecar", "version"][..],
            &["attach", "agent", "-c", ours],
        ] {
            let answer = cluster.run(&[&["-n", name], verb].concat(), None).unwrap();
            answer.refused(&format!("{verb:?}"), "container must not be the sidecar's").unwrap();
        }
        let target = format!("--target={ours}");
        let debug = ["debug", "-n", name, "agent", "--image=localhost/busybox:1", "--profile=restricted", &target];
        let answer = cluster.run(&[&debug[..], &["--", "true"]].concat(), None).unwrap();
        answer.refused(&target, "targetContainerName must not be the sidecar").unwrap();
    }
    for profile in ["general", "netadmin", "sysadmin"] {
        let profile = format!("--profile={profile}");
        let debug = ["debug", "-n", name, "agent", "--image=localhost/busybox:1", &profile, "--", "true"];
        cluster.run(&debug, None).unwrap().refused(&profile, "must").unwrap();
    }
    let changes = [
        json!({"labels": {"agentaccess.dev/injected": null}}),
        json!({"annotations": {"agentaccess.dev/proxy-user": "1000.1.00"}}),
    ];
    for change in &changes {
        for subresource in ["", "status"] {
            let answer = patch(subresource, &json!({"metadata": change}));
            answer.refused(&format!("{change} through `{subresource}`"), "agentaccess.dev/ cannot be changed").unwrap();
        }
    }
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "agent", "namespace": name, "labels": {"app": "x"}},
        "target": {"kind": "Node", "name": "node"},
    });
    let path = format!("/api/v1/namespaces/{name}/pods/agent/binding");
    let bound = cluster.run(&["create", "--raw", &path, "-f", "-"], Some(&binding)).unwrap();
    bound.refused("a binding", "metadata.labels of a binding").unwrap();

    let after = cluster.get(&["pod", "agent", "-n", name]).unwrap();
    for part in ["/metadata/labels", "/metadata/annotations", "/spec/initContainers"] {
        assert_eq!(after.pointer(part), before.pointer(part), "{part}");
    }
    assert!(after["spec"]["ephemeralContainers"].is_null(), "{after}");
    // What is the agent's own goes on.
    let inside = super::inside::sh(&cluster, name, "agent", "echo inside");
    assert!(inside.accepted && inside.text.contains("inside"), "{}", inside.text);
}

/// With the webhook up: who may write the namespace, but not end its governing.
#[test]
fn a_live_namespace_stays_governed() {
    let cluster = Cluster::connect().unwrap();
    let namespace = governed(&cluster);
    let name = namespace.name.as_str();
    let role = format!("e2e-{name}");
    let resources = json!(["namespaces", "namespaces/status", "namespaces/finalize"]);
    let rules = json!([{"apiGroups": [""], "resources": resources, "verbs": ["get", "update", "patch"]}]);
    let group = "rbac.authorization.k8s.io";
    for object in [
        json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": role}, "rules": rules}),
        json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": role},
               "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
               "subjects": [{"apiGroup": group, "kind": "User", "name": "e2e-owner"}]}),
    ] {
        cluster.create(&object).unwrap().accepted(&role).unwrap();
    }
    let owner = cluster.user("e2e-owner");
    wait::eventually("the role holds", START, || owner.run(&["get", "namespace", name], None).unwrap().accepted)
        .unwrap();
    let why = "only who has the verb `ungovern` on namespaces may take it away";
    let text = json!({"metadata": {"labels": {"agentaccess.dev/injection": null}}}).to_string();
    for more in [&[][..], &["--subresource=status"]] {
        let patch = [&["patch", "namespace", name, "-p", &text][..], more].concat();
        owner.run(&patch, None).unwrap().refused(&format!("{more:?}"), why).unwrap();
    }
    let mut object = cluster.get(&["namespace", name]).unwrap();
    object["metadata"]["labels"].as_object_mut().unwrap().remove("agentaccess.dev/injection");
    let path = format!("/api/v1/namespaces/{name}/finalize");
    let finalize = ["replace", "--raw", &path, "-f", "-"];
    owner.run(&finalize, Some(&object)).unwrap().refused("finalize", why).unwrap();
    let made = cluster.run(&["create", "-n", name, "--dry-run=server", "-o", "json", "-f", "-"], Some(&pod("still")));
    assert!(made.unwrap().text.contains("agentaccess-proxy"), "pods are injected as before");
    cluster.run(&["delete", "clusterrole,clusterrolebinding", &role], None).unwrap().accepted("the role").unwrap();
}
