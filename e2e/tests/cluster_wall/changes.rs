//! What can be done to pods that are there: through each subresource by which something of theirs changes.

use std::time::Duration;

use e2e::cluster::{Answer, Cluster, Namespace};
use e2e::wait;
use serde_json::{Value, json};

use super::agent::{USER, cluster, container, governed, large, pod, profile, with};

const OURS: &str = "spec.initContainers agentaccess-* cannot be changed";
const KEYS: &str = "metadata.labels and metadata.annotations with agentaccess.dev/ cannot be changed";

/// A conforming pod that no scheduler takes: nothing but us changes it.
fn stored(cluster: &Cluster, namespace: &Namespace) -> Value {
    let pod = with(&pod(namespace, &profile(cluster)), "/spec/schedulerName", json!("nobody"));
    cluster.create(&pod).unwrap().accepted("the conforming pod").unwrap();
    pod
}

fn patch(cluster: &Cluster, namespace: &Namespace, subresource: &str, patch: &Value) -> Answer {
    let text = patch.to_string();
    let mut arguments = vec!["patch", "pod", "agent", "-n", &namespace.name, "-p", &text];
    let subresource = format!("--subresource={subresource}");
    if !subresource.ends_with('=') {
        arguments.push(&subresource);
    }
    cluster.run(&arguments, None).unwrap()
}

/// Somebody who may do everything with pods, but is not exempt from governing.
fn operator_of_pods(cluster: &Cluster, namespace: &Namespace) -> Cluster {
    let verbs = json!(["get", "list", "create", "update", "patch", "delete"]);
    let resources =
        json!(["pods", "pods/status", "pods/ephemeralcontainers", "pods/resize", "pods/binding", "bindings"]);
    let meta = json!({"name": "pods", "namespace": namespace.name});
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta,
        "rules": [{"apiGroups": [""], "resources": resources, "verbs": verbs}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "pods"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}],
    });
    cluster.create(&role).unwrap().accepted("a role").unwrap();
    cluster.create(&binding).unwrap().accepted("its binding").unwrap();
    let eve = cluster.user("eve");
    wait::eventually("the role holds", Duration::from_secs(10), || {
        eve.run(&["get", "pods", "-n", &namespace.name], None).unwrap().accepted
    })
    .unwrap();
    eve
}

#[test]
fn the_sidecar_stays_as_it_is() {
    let cluster = cluster();
    let namespace = governed(&cluster);
    stored(&cluster, &namespace);
    for name in ["agentaccess-init", "agentaccess-proxy", "agentaccess-verify"] {
        let image = json!({"spec": {"initContainers": [{"name": name, "image": "localhost/other:1"}]}});
        patch(&cluster, &namespace, "", &image).refused(name, OURS).unwrap();
    }
    let memory = json!({"name": "agentaccess-proxy", "resources": {"limits": {"memory": "257Mi"}}});
    let resize = json!({"spec": {"initContainers": [memory]}});
    patch(&cluster, &namespace, "resize", &resize).refused("resources of the sidecar", OURS).unwrap();
    // The agent's own image is its author's.
    let own = json!({"spec": {"containers": [{"name": "main", "image": "localhost/busybox:2"}]}});
    patch(&cluster, &namespace, "", &own).accepted("another image of the agent").unwrap();
    let own = json!({"name": "main", "resources": {"requests": {"cpu": "10m"}}});
    let answer = patch(&cluster, &namespace, "resize", &json!({"spec": {"containers": [own]}}));
    assert!(!answer.text.contains("denied request"), "{}", answer.text);
}

#[test]
fn our_labels_and_annotations_stay_through_every_subresource() {
    let cluster = cluster();
    let namespace = governed(&cluster);
    stored(&cluster, &namespace);
    let changes = [
        json!({"annotations": {"agentaccess.dev/proxy-user": "1000.1.00"}}),
        json!({"annotations": {"agentaccess.dev/proxy-user": null}}),
        json!({"annotations": {"agentaccess.dev/new": "x"}}),
        json!({"labels": {"agentaccess.dev/injected": null}}),
        json!({"labels": {"agentaccess.dev/injected": "false"}}),
        json!({"labels": {"agentaccess.dev/new": "x"}}),
    ];
    let before = cluster.get(&["pod", "agent", "-n", &namespace.name]).unwrap();
    for change in &changes {
        for subresource in ["", "status"] {
            let answer = patch(&cluster, &namespace, subresource, &json!({"metadata": change}));
            answer.refused(&format!("{change} through `{subresource}`"), KEYS).unwrap();
        }
        // These drop it, in the version that was read; if one ever takes it, the policy is there.
        for subresource in ["resize", "ephemeralcontainers"] {
            patch(&cluster, &namespace, subresource, &json!({"metadata": change}));
        }
    }
    let after = cluster.get(&["pod", "agent", "-n", &namespace.name]).unwrap();
    for part in ["labels", "annotations"] {
        assert_eq!(after["metadata"][part], before["metadata"][part]);
    }
    patch(&cluster, &namespace, "", &json!({"metadata": {"annotations": {"note": "x"}}}))
        .accepted("an annotation of somebody else")
        .unwrap();
    patch(&cluster, &namespace, "status", &json!({"status": {"message": "x"}})).accepted("a status").unwrap();
}

#[test]
fn labels_that_a_policy_can_select_by_need_a_verb() {
    const WHY: &str = "without the verb `ungovern` on pods none can be added, changed or taken away: ";
    let cluster = cluster();
    let namespace = governed(&cluster);
    // A selector can ask whether a key is there, so an empty value counts too.
    let labelled = with(&pod(&namespace, &profile(&cluster)), "/metadata/labels/empty", json!(""));
    cluster.create(&with(&labelled, "/spec/schedulerName", json!("nobody"))).unwrap().accepted("the pod").unwrap();
    let eve = operator_of_pods(&cluster, &namespace);
    let cases = [
        ("changed", "app", json!("other")),
        ("taken away", "app", Value::Null),
        ("taken away, without a value", "empty", Value::Null),
        ("added", "more", json!("x")),
        ("added, without a value", "more", json!("")),
        ("added, as a binding may", "topology.kubernetes.io/zone", json!("a")),
    ];
    for (what, key, value) in &cases {
        for subresource in ["", "status"] {
            let answer = patch(&eve, &namespace, subresource, &json!({"metadata": {"labels": {*key: value}}}));
            answer.refused(&format!("{what}, through `{subresource}`"), &format!("{WHY}{key}")).unwrap();
        }
    }
    // Who changes no label is not asked, and the hash of a ReplicaSet is no name of an agent.
    patch(&eve, &namespace, "status", &json!({"status": {"message": "x"}})).accepted("a status").unwrap();
    patch(&eve, &namespace, "", &json!({"metadata": {"labels": {"app": "agent", "pod-template-hash": "1"}}}))
        .accepted("a label as it was, and one of a controller")
        .unwrap();
    for (what, key, value) in &cases {
        let answer = patch(&cluster, &namespace, "", &json!({"metadata": {"labels": {*key: value}}}));
        answer.accepted(&format!("{what}, by who has every verb")).unwrap();
    }
    let verb = ["-n", &namespace.name, "create", "role", "ungovern", "--verb=ungovern", "--resource=pods"];
    cluster.run(&verb, None).unwrap().accepted("a role").unwrap();
    let bind = ["-n", &namespace.name, "create", "rolebinding", "ungovern", "--role=ungovern", "--user=eve"];
    cluster.run(&bind, None).unwrap().accepted("its binding").unwrap();
    wait::eventually("who has the verb adds one", Duration::from_secs(10), || {
        patch(&eve, &namespace, "", &json!({"metadata": {"labels": {"once-more": "x"}}})).accepted
    })
    .unwrap();
}

#[test]
fn a_binding_brings_nothing_along() {
    let cluster = cluster();
    let namespace = governed(&cluster);
    stored(&cluster, &namespace);
    let binding = |meta: Value| {
        let mut metadata = json!({"name": "agent", "namespace": namespace.name});
        metadata.as_object_mut().unwrap().extend(meta.as_object().unwrap().clone());
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": {"kind": "Node", "name": "no-such-node"}})
    };
    let note = binding(json!({"annotations": {"agentaccess.dev/proxy-user": "1000.1.00"}}));
    let label = binding(json!({"labels": {"app": "other"}}));
    let zone = binding(json!({"labels": {"topology.kubernetes.io/zone": "a"}, "annotations": {"note": "x"}}));
    // The old form is a resource of its own.
    let old = format!("/api/v1/namespaces/{}/bindings", namespace.name);
    let new = format!("/api/v1/namespaces/{}/pods/agent/binding", namespace.name);
    for path in [&old, &new] {
        let send = |binding: &Value| cluster.run(&["create", "--raw", path, "-f", "-"], Some(binding)).unwrap();
        send(&note).refused(path, "metadata.annotations of a binding must not hold agentaccess.dev/ keys").unwrap();
        send(&label).refused(path, "metadata.labels of a binding may hold topology.kubernetes.io/ keys only").unwrap();
    }
    cluster.run(&["create", "--raw", &new, "-f", "-"], Some(&zone)).unwrap().accepted("a scheduler's binding").unwrap();
}

#[test]
fn a_debug_container_is_judged_as_any_other() {
    let cluster = cluster();
    let namespace = governed(&cluster);
    stored(&cluster, &namespace);
    let add = |one: Value| {
        patch(&cluster, &namespace, "ephemeralcontainers", &json!({"spec": {"ephemeralContainers": [one]}}))
    };
    let mut number = 0;
    let mut debug = |at: &str, value: Value| {
        number += 1;
        with(&container(&format!("debug-{number}")), at, value)
    };
    let cases = [
        (debug("/securityContext", json!({"privileged": true})), "privileged must be false"),
        (debug("/securityContext/allowPrivilegeEscalation", Value::Null), "allowPrivilegeEscalation must be false"),
        (debug("/securityContext/capabilities", Value::Null), "capabilities.drop must hold ALL"),
        (debug("/securityContext/runAsUser", json!(USER)), "must not be those of the sidecar"),
        (debug("/securityContext/runAsGroup", json!(USER)), "must not be those of the sidecar"),
        (debug("/securityContext/seccompProfile", json!({"type": "Unconfined"})), "seccompProfile.type"),
        (debug("/securityContext/seLinuxOptions", json!({"type": "spc_t"})), "seLinuxOptions may hold level only"),
        (
            debug("/volumeMounts", json!([{"name": "agentaccess-token", "mountPath": "/t"}])),
            "volumeMounts must not name",
        ),
        (
            debug("/env", json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}])),
            "env and envFrom must not name a Secret",
        ),
        (debug("/envFrom", json!([{"secretRef": {"name": "s"}}])), "env and envFrom must not name a Secret"),
        (debug("/targetContainerName", json!("agentaccess-proxy")), "targetContainerName must not be the sidecar"),
        (debug("/name", json!("agentaccess-debug")), "names with agentaccess- are those of the sidecar"),
    ];
    let capabilities = ["NET_ADMIN", "NET_RAW", "SETUID", "SETGID", "SYS_ADMIN", "SYS_PTRACE", "BPF", "DAC_OVERRIDE"]
        .map(|one| (debug("/securityContext/capabilities/add", json!([one])), "capabilities.add may hold"));
    for (one, why) in cases.into_iter().chain(capabilities) {
        add(one.clone()).refused(&one.to_string(), why).unwrap();
    }
    add(debug("/targetContainerName", json!("main"))).accepted("a debug container with no rights").unwrap();
}

/// Policies cost by what they look at: what is done to a large pod is decided, and not given up for its cost. It has fewer
/// mounts and variables than the one of `pods.rs`: etcd must take it, with an entry in managedFields for each field.
#[test]
fn changes_of_a_large_pod_are_judged_within_the_budget() {
    const LABELS: usize = 500;
    let cluster = cluster();
    let namespace = governed(&cluster);
    let mut pod = large(&pod(&namespace, &profile(&cluster)), 20, 30);
    // Names and values as long as they may be.
    let named = |n: usize| format!("{n:063}");
    for n in 0..LABELS {
        pod["metadata"]["labels"][named(n)] = json!(named(n));
    }
    let pod = with(&pod, "/spec/schedulerName", json!("nobody"));
    cluster.create(&pod).unwrap().accepted("100 containers and 500 labels").unwrap();
    let eve = operator_of_pods(&cluster, &namespace);
    let judged = |subresource: &str, change: Value| {
        let answer = patch(&eve, &namespace, subresource, &change);
        assert!(!answer.text.contains("budget"), "{subresource} {change}: {}", answer.text);
        answer
    };
    for (what, key, value) in [
        ("changed", named(0), json!("other")),
        ("taken away", named(LABELS - 1), Value::Null),
        ("added", "more".to_owned(), json!("x")),
    ] {
        for subresource in ["", "status"] {
            let answer = judged(subresource, json!({"metadata": {"labels": {&key: value}}}));
            let why = format!("none can be added, changed or taken away: {key}");
            answer.refused(&format!("{what}, through `{subresource}`"), &why).unwrap();
        }
    }
    // All of them at once: more names than a sentence holds.
    let every: serde_json::Map<_, _> = (0..LABELS).map(|n| (named(n), Value::Null)).collect();
    assert!(!judged("", json!({"metadata": {"labels": every}})).accepted);
    judged("status", json!({"status": {"message": "x"}})).accepted("a status").unwrap();
    let debug = |one: Value| judged("ephemeralcontainers", json!({"spec": {"ephemeralContainers": [one]}}));
    let bad = with(&container("bad"), "/securityContext", json!({"privileged": true}));
    debug(bad).refused("a privileged one", "privileged must be false").unwrap();
    debug(container("debug")).accepted("a debug container with no rights").unwrap();
}

/// As `kubectl debug` writes them, and with a pod that runs.
#[test]
fn debug_exec_and_attach_reach_the_agent_but_not_the_sidecar() {
    let cluster = cluster();
    let namespace = cluster.namespace(&json!({})).unwrap();
    let name = namespace.name.as_str();
    // Made before its namespace was governed, so that a container with that name is there.
    let containers = json!([container("main"), container("agentaccess-proxy")]);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent", "namespace": name},
        "spec": {
            "terminationGracePeriodSeconds": 0, "containers": containers,
            "securityContext": {"runAsUser": 1000, "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        },
    });
    cluster.create(&pod).unwrap().accepted("a pod").unwrap();
    cluster
        .run(&["wait", "-n", name, "--for=condition=Ready", "pod/agent", "--timeout=25s"], None)
        .unwrap()
        .accepted("the pod runs")
        .unwrap();
    cluster
        .run(&["label", "namespace", name, "agentaccess.dev/injection=enabled"], None)
        .unwrap()
        .accepted("label")
        .unwrap();

    let exec = |container: &str| {
        cluster.run(&["exec", "-n", name, "agent", "-c", container, "--", "echo", "inside"], None).unwrap()
    };
    wait::eventually("the label holds", Duration::from_secs(10), || !exec("agentaccess-proxy").accepted).unwrap();
    exec("agentaccess-proxy").refused("exec", "container must not be the sidecar's").unwrap();
    let inside = exec("main");
    inside.accepted("exec into the agent").unwrap();
    assert!(inside.text.contains("inside"), "{}", inside.text);
    let attach = cluster.run(&["attach", "-n", name, "agent", "-c", "agentaccess-proxy"], None).unwrap();
    attach.refused("attach", "container must not be the sidecar's").unwrap();
    recordings_are_read_and_nothing_else_is_run(&cluster, name);

    let debug = |profile: &str| {
        let profile = format!("--profile={profile}");
        cluster
            .run(
                &[
                    "debug",
                    "-n",
                    name,
                    "agent",
                    "--image=localhost/busybox:1",
                    "--image-pull-policy=Never",
                    &profile,
                    "--",
                    "true",
                ],
                None,
            )
            .unwrap()
    };
    debug("general").refused("debug --profile=general", "allowPrivilegeEscalation must be false").unwrap();
    debug("netadmin").refused("debug --profile=netadmin", "must").unwrap();
    debug("restricted").accepted("debug --profile=restricted").unwrap();
}

/// The program is not in this image, which is said only to who got in.
fn recordings_are_read_and_nothing_else_is_run(cluster: &Cluster, namespace: &str) {
    const NO_PROGRAM: &str = "/agentaccess";
    const NOT_OURS: &str = "container must not be the sidecar's";
    let role = ["create", "rolebinding", "-n", namespace, "auditor", "--clusterrole=agentaccess-auditor", "--user=ada"];
    cluster.run(&role, None).unwrap().accepted("a role").unwrap();
    let pods = ["create", "rolebinding", "-n", namespace, "admin", "--clusterrole=admin", "--user=bob"];
    cluster.run(&pods, None).unwrap().accepted("a role").unwrap();
    let (ada, bob) = (cluster.user("ada"), cluster.user("bob"));
    let run = |who: &Cluster, words: &[&str]| {
        let exec = ["exec", "-n", namespace, "agent", "-c", "agentaccess-proxy"];
        who.run(&[&exec[..], words].concat(), None).unwrap()
    };
    for words in [&["sessions", "ls", "--denied", "-o", "json"][..], &["replay", "s-1a2b", "--no-delay"]] {
        let words = [&["--", "/agentaccess"], words].concat();
        let answer = run(&ada, &words);
        assert!(answer.text.contains(NO_PROGRAM) && !answer.text.contains("denied request"), "{words:?}: {answer:?}");
        run(&bob, &words).refused("without the verb", "the verb get on recordings.agentaccess.dev").unwrap();
    }
    for words in [
        &["--", "/agentaccess", "approve", "areq-1"][..],
        &["--", "/agentaccess", "replay", "../../etc/passwd"],
        &["--", "/agentaccess", "sessions", "ls", "--state-dir", "/run"],
        &["--", "/agentaccess", "sessions", "ls", "--config=x"],
        &["--", "/agentaccess"],
        &["--", "/agentaccess-sidecar", "version"],
        &["--", "sh", "-c", "/agentaccess sessions ls"],
        &["-i", "--", "/agentaccess", "sessions", "ls"],
    ] {
        run(&ada, words).refused(&format!("{words:?}"), NOT_OURS).unwrap();
    }
}
