//! What the webhook makes of a pod, and what the pod then is.

use std::time::{Duration, SystemTime};

use e2e::cluster::Cluster;
use e2e::wait;
use serde_json::{Value, json};

use super::agent::{START, container, governed, pod, run};
use super::inside::sh;

const OURS: [&str; 3] = ["agentaccess-init", "agentaccess-proxy", "agentaccess-verify"];

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect()
}

#[test]
fn look_alikes_are_replaced_and_the_rest_stays() {
    let cluster = Cluster::connect().unwrap();
    let namespace = governed(&cluster);
    let mut forged = pod("forged");
    forged["spec"]["initContainers"] = json!([
        container("setup", "echo set up"),
        container("agentaccess-init", "true"),
        container("agentaccess-proxy", "true"),
        container("agentaccess-verify", "true"),
        container("agentaccess-more", "true"),
    ]);
    forged["spec"]["volumes"] = json!([{"name": "agentaccess-ca", "emptyDir": {}}, {"name": "mine", "emptyDir": {}}]);
    forged["spec"]["containers"].as_array_mut().unwrap().push(container("agentaccess-proxy", "true"));
    run(&cluster, &namespace.name, &forged);

    let made = cluster.get(&["pod", "-n", &namespace.name, "forged"]).unwrap();
    let spec = &made["spec"];
    assert_eq!(names(&spec["initContainers"]), [&OURS[..], &["setup"]].concat());
    assert_eq!(names(&spec["containers"]), ["agent"]);
    for init in &spec["initContainers"].as_array().unwrap()[..3] {
        assert_eq!(init["image"], "localhost/sidecar:1", "{init}");
    }
    let volumes = names(&spec["volumes"]);
    assert_eq!(volumes.iter().filter(|name| **name == "agentaccess-ca").count(), 1, "{volumes:?}");
    assert!(volumes.contains(&"mine"), "{volumes:?}");
    assert_eq!(spec["automountServiceAccountToken"], false);

    // In the order in which they must run: the fence, the sidecar, the proof, then what is governed.
    let status = made["status"]["initContainerStatuses"].as_array().unwrap().clone();
    let time = |name: &str, state: &str, field: &str| {
        let one = status.iter().find(|one| one["name"] == name).unwrap();
        one["state"][state][field].as_str().unwrap_or_else(|| panic!("{one}")).to_owned()
    };
    let order = [
        time(OURS[0], "terminated", "finishedAt"),
        time(OURS[1], "running", "startedAt"),
        time(OURS[2], "terminated", "startedAt"),
        time(OURS[2], "terminated", "finishedAt"),
        time("setup", "terminated", "startedAt"),
    ];
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn a_dry_run_is_answered_and_leaves_nothing() {
    let cluster = Cluster::connect().unwrap();
    let namespace = governed(&cluster);
    let dry = ["create", "-n", &namespace.name, "--dry-run=server", "-o", "json", "-f", "-"];
    let answer = cluster.run(&dry, Some(&pod("dry"))).unwrap();
    answer.accepted("a dry run").unwrap();
    assert!(answer.text.contains("agentaccess-proxy"), "{}", answer.text);
    assert_eq!(cluster.get(&["pods", "-n", &namespace.name]).unwrap()["items"], json!([]));
}

#[test]
fn what_cannot_be_governed_is_refused_with_the_field_to_change() {
    let cluster = Cluster::connect().unwrap();
    let namespace = governed(&cluster);
    let cases = [
        ("/spec/hostNetwork", json!(true), "spec.hostNetwork"),
        ("/spec/hostPID", json!(true), "spec.hostPID"),
        ("/spec/shareProcessNamespace", json!(true), "spec.shareProcessNamespace"),
        ("/spec/hostAliases", json!([{"ip": "192.0.2.1", "hostnames": ["db.example.com"]}]), "spec.hostAliases"),
        ("/spec/dnsConfig", json!({"searches": ["example.com"]}), "spec.dnsConfig"),
        ("/spec/dnsPolicy", json!("Default"), "spec.dnsPolicy"),
        ("/spec/volumes", json!([{"name": "node", "hostPath": {"path": "/"}}]), "hostPath"),
        ("/spec/containers/0/securityContext/privileged", json!(true), "privileged"),
        ("/spec/containers/0/securityContext/capabilities/add", json!(["NET_ADMIN"]), "NET_ADMIN"),
        ("/spec/containers/0/securityContext/capabilities/add", json!(["NET_RAW"]), "NET_RAW"),
        ("/spec/containers/0/securityContext/capabilities/add", json!(["SETUID"]), "SETUID"),
        ("/spec/containers/0/envFrom", json!([{"secretRef": {"name": "credential"}}]), "Secret"),
        ("/spec/volumes", json!([{"name": "s", "secret": {"secretName": "credential"}}]), "Secret"),
        (
            "/spec/containers/0/env",
            json!([{"name": "X", "valueFrom": {"secretKeyRef": {"name": "credential", "key": "password"}}}]),
            "Secret",
        ),
        (
            "/spec/volumes",
            json!([{"name": "t", "projected": {"sources": [
                {"serviceAccountToken": {"path": "t", "audience": "agentaccess.dev"}},
            ]}}]),
            "serviceAccountToken",
        ),
    ];
    for (at, value, why) in cases {
        let mut refused = pod("refused");
        let (parent, last) = at.rsplit_once('/').unwrap();
        refused.pointer_mut(parent).unwrap()[last] = value;
        let make = ["create", "-n", &namespace.name, "-f", "-"];
        let answer = cluster.run(&make, Some(&refused)).unwrap();
        answer.refused(at, why).unwrap();
        println!("{at}: {}", answer.text.trim());
    }
}

#[test]
fn the_agent_holds_no_identity_and_reaches_nothing_undeclared() {
    let cluster = Cluster::connect().unwrap();
    let namespace = governed(&cluster);
    run(&cluster, &namespace.name, &pod("alone"));
    let inside = |script: &str| sh(&cluster, &namespace.name, "alone", script);

    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let token = inside(&format!("cat {account}/token; echo; cat {account}/namespace"));
    token.accepted("the account").unwrap();
    // Three parts with dots between is what a real one has.
    assert!(token.text.ends_with(&namespace.name) && token.text.matches('.').count() < 2, "{}", token.text);
    for file in ["/run/agentaccess/token/token", "/run/agentaccess/ca", "/var/lib/agentaccess"] {
        inside(&format!("cat {file} || ls {file}")).refused(file, "No such file").unwrap();
    }
    let proc = inside("for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null; echo; done");
    assert!(!proc.text.contains("agentaccess"), "{}", proc.text);

    for (what, script) in [
        ("an address", "nc -w 5 192.0.2.1 443 </dev/null"),
        ("the cluster's own DNS", "nslookup kubernetes.default.svc.cluster.local 10.96.0.10"),
        ("metadata", "nc -w 5 169.254.169.254 80 </dev/null"),
        ("the API server", "timeout 5 openssl s_client -quiet -connect kubernetes.default.svc:443 </dev/null"),
        ("a name nobody declared", "nslookup example.com"),
        ("the operator", "nslookup agentaccess-operator.agentaccess-system.svc.cluster.local"),
        ("the sidecar's health", "wget -T 5 -O- http://127.0.0.1:15020/metrics"),
        ("the sidecar's door", "nc -w 5 127.0.0.1 15001 </dev/null && echo open | grep -q closed"),
        ("ping", "ping -c 1 -W 2 10.199.0.2"),
    ] {
        let answer = inside(script);
        // Whoever is dialled, the sidecar takes the call: it says who it is, for `verify`, or nothing.
        let ours =
            answer.text.is_empty() || answer.text.starts_with("agentaccess ") && answer.text.lines().count() == 1;
        assert!(!answer.accepted || ours, "{what}: {}", answer.text);
    }
}

#[test]
fn a_job_with_a_sidecar_completes() {
    let cluster = Cluster::connect().unwrap();
    let namespace = governed(&cluster);
    let mut template = pod("job")["spec"].clone();
    template["restartPolicy"] = json!("Never");
    template["containers"] = json!([container("agent", "echo done")]);
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once", "namespace": namespace.name},
        "spec": {"backoffLimit": 0, "template": {"spec": template}},
    });
    cluster.create(&job).unwrap().accepted("a Job").unwrap();
    wait::eventually("the Job is complete", START, || {
        cluster.get(&["job", "-n", &namespace.name, "once"]).unwrap()["status"]["succeeded"] == 1
    })
    .unwrap();
}

/// Milliseconds from the making of a pod to the start of its agent, as the kubelet says it (in whole seconds), and as we
/// see it.
fn start(cluster: &Cluster, namespace: &str, name: &str) -> Duration {
    let begun = SystemTime::now();
    run(cluster, namespace, &pod(name));
    begun.elapsed().unwrap()
}

/// Figures, no promise: what else the machine does is in them.
#[test]
fn what_a_start_costs() {
    let cluster = Cluster::connect().unwrap();
    let (with, without) = (governed(&cluster), cluster.namespace(&json!({})).unwrap());
    let mut times = (Vec::new(), Vec::new());
    for turn in 0..5 {
        times.0.push(start(&cluster, &with.name, &format!("with-{turn}")));
        times.1.push(start(&cluster, &without.name, &format!("without-{turn}")));
    }
    times.0.sort();
    times.1.sort();
    println!("start: injected {:?}, not injected {:?}, median added {:?}", times.0, times.1, times.0[2] - times.1[2]);
}
