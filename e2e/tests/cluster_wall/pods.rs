//! New pods of a governed namespace.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::agent::{USER, cluster, container, governed, large, pod, profile, with};

/// Where, what is put there (nothing: null), and a part of the refusal; without one it is accepted.
type Case = (&'static str, Value, &'static str);

const CONTEXT: &str = "/spec/containers/0/securityContext";

fn check(cases: Vec<Case>) {
    let cluster = cluster();
    let namespace = governed(&cluster);
    let conforming = pod(&namespace, &profile(&cluster));
    cluster.would_create(&conforming).unwrap().accepted("the conforming pod").unwrap();
    let mut failures = Vec::new();
    for (at, value, why) in cases {
        let what = format!("{at} = {value}");
        let answer = cluster.would_create(&with(&conforming, at, value)).unwrap();
        let judged = if why.is_empty() { answer.accepted(&what) } else { answer.refused(&what, why) };
        failures.extend(judged.err().map(|failure| failure.to_string()));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_sidecar_is_that_of_an_installed_release() {
    const DIFFER: &str = "spec.initContainers[0..2] must be those of an installed release";
    const ROOTS: &str = "must hold, in --roots, the CA of the operator";
    const FIRST: &str = "spec.initContainers must begin with agentaccess-init";
    const VOLUMES: &str = "spec.volumes with names agentaccess-* must be those of an installed release";
    check(vec![
        ("/spec/initContainers", json!([]), FIRST),
        ("/spec/initContainers/2", Value::Null, FIRST),
        ("/spec/initContainers/1/name", json!("proxy"), FIRST),
        ("/spec/initContainers/-", container("setup"), ""),
        ("/spec/initContainers/0/image", json!("localhost/other:1"), DIFFER),
        ("/spec/initContainers/1/image", json!("localhost/other:1"), DIFFER),
        ("/spec/initContainers/2/image", json!("localhost/other:1"), DIFFER),
        ("/spec/initContainers/1/imagePullPolicy", json!("Always"), DIFFER),
        ("/spec/initContainers/0/command", json!(["/bin/true"]), DIFFER),
        ("/spec/initContainers/2/command", Value::Null, DIFFER),
        ("/spec/initContainers/1/args/-", json!("--policy=none"), DIFFER),
        ("/spec/initContainers/0/args/1", json!("--user=1000"), DIFFER),
        ("/spec/initContainers/2/args/1", json!("--user=1000"), DIFFER),
        ("/spec/initContainers/2/args/2", json!("--nonce=00000000000000000000000000000000"), DIFFER),
        ("/spec/initContainers/1/args/1", json!("--nonce=short"), DIFFER),
        ("/spec/initContainers/1/args/2", json!("--operator=https://mine.example.com:9444"), DIFFER),
        ("/spec/initContainers/1/args/3", json!("--roots=MINE"), ROOTS),
        ("/spec/initContainers/1/args/3", json!("--roots="), ROOTS),
        ("/spec/initContainers/1/args/3", Value::Null, DIFFER),
        ("/spec/initContainers/1/args/-", json!("--roots=MINE"), DIFFER),
        ("/spec/initContainers/1/env/-", json!({"name": "LD_PRELOAD", "value": "/x.so"}), DIFFER),
        ("/spec/initContainers/0/env", json!([{"name": "PATH", "value": "/"}]), DIFFER),
        ("/spec/initContainers/1/volumeMounts/0", Value::Null, DIFFER),
        // The one lives as long as the agent, the other is done before it begins.
        ("/spec/initContainers/1/restartPolicy", Value::Null, DIFFER),
        ("/spec/initContainers/0/restartPolicy", json!("Always"), DIFFER),
        ("/spec/initContainers/1/lifecycle", json!({"preStop": {"sleep": {"seconds": 1}}}), DIFFER),
        ("/spec/initContainers/1/livenessProbe", json!({"exec": {"command": ["x"]}}), DIFFER),
        ("/spec/initContainers/1/startupProbe", json!({"exec": {"command": ["true"]}}), DIFFER),
        ("/spec/initContainers/1/resources/limits/memory", json!("64Mi"), DIFFER),
        // What a LimitRange adds is not ours to refuse.
        ("/spec/initContainers/1/resources/limits/cpu", json!("1"), ""),
        // A device brings mounts and variables of its driver along.
        ("/spec/initContainers/1/resources/limits/example.com~1device", json!("1"), DIFFER),
        ("/spec/initContainers/0/securityContext/capabilities/add", Value::Null, DIFFER),
        ("/spec/initContainers/0/securityContext/capabilities/add/-", json!("NET_RAW"), DIFFER),
        ("/spec/initContainers/0/securityContext/runAsUser", json!(65534), DIFFER),
        ("/spec/initContainers/1/securityContext/readOnlyRootFilesystem", json!(false), DIFFER),
        ("/spec/initContainers/0/args/4", Value::Null, ""),
        ("/spec/initContainers/0/args/4", json!("--inbound=8080,x"), DIFFER),
        ("/spec/initContainers/0/args/4", json!("--inbound=8080,15001"), "must open no port from 15000 to 15099"),
        ("/spec/initContainers/0/args/4", json!("--inbound=99999"), "must open no port"),
        ("/spec/volumes/0/projected/sources/0/serviceAccountToken/audience", json!("other"), VOLUMES),
        ("/spec/volumes/0/projected/sources/0/serviceAccountToken/expirationSeconds", json!(86400), VOLUMES),
        ("/spec/volumes/1", json!({"name": "agentaccess-ca", "emptyDir": {"sizeLimit": "1Mi"}}), VOLUMES),
        ("/spec/volumes/1", json!({"name": "agentaccess-ca", "configMap": {"name": "mine"}}), VOLUMES),
        ("/spec/volumes/-", json!({"name": "agentaccess-more", "emptyDir": {}}), VOLUMES),
        ("/spec/volumes/-", json!({"name": "scratch", "emptyDir": {}}), ""),
    ]);
}

/// What runs before the fence is up meets none.
#[test]
fn nothing_runs_before_the_sidecar_and_its_order_stays() {
    type Order = fn(&mut Vec<Value>);
    let cluster = cluster();
    let namespace = governed(&cluster);
    let conforming = pod(&namespace, &profile(&cluster));
    let ordered = |order: Order| {
        let mut pod = conforming.clone();
        order(pod["spec"]["initContainers"].as_array_mut().unwrap());
        cluster.would_create(&pod).unwrap()
    };
    let cases: [(&str, Order); 4] = [
        ("init and proxy swapped", |all| all.swap(0, 1)),
        ("proxy and verify swapped", |all| all.swap(1, 2)),
        ("another before them", |all| all.insert(0, container("setup"))),
        ("another among them", |all| all.insert(2, container("setup"))),
    ];
    for (what, order) in cases {
        ordered(order).refused(what, "spec.initContainers must begin with agentaccess-init").unwrap();
    }
    ordered(|all| all.push(container("setup"))).accepted("another behind them").unwrap();
}

/// As the pod's author writes them: once to its end, and beside the agent for as long as that runs.
#[test]
fn an_init_container_of_the_author_is_judged_as_any_other() {
    const RIGHTS: &str = "/spec/initContainers/3/securityContext";
    let cluster = cluster();
    let namespace = governed(&cluster);
    let conforming = pod(&namespace, &profile(&cluster));
    let right = |field: &str| format!("{RIGHTS}/{field}");
    let own = |field: &str| format!("/spec/initContainers/3/{field}");
    let sidecar = format!("must not be those of the sidecar ({USER}): setup");
    let cases = [
        (
            RIGHTS.to_owned(),
            json!({"privileged": true, "capabilities": {"drop": ["ALL"]}}),
            "a privileged container can remove the fence: setup",
        ),
        (right("capabilities/add"), json!(["NET_ADMIN"]), "capabilities.add may hold NET_BIND_SERVICE only: setup"),
        (right("seccompProfile"), json!({"type": "Unconfined"}), "there are sockets that no fence sees: setup"),
        (right("runAsUser"), json!(USER), sidecar.as_str()),
        (right("runAsGroup"), json!(USER), sidecar.as_str()),
        (
            own("volumeMounts/-"),
            json!({"name": "agentaccess-token", "mountPath": "/x", "readOnly": true}),
            "nor env.valueFrom.fileKeyRef: setup",
        ),
        (
            own("env"),
            json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "db", "key": "k"}}}]),
            "agents hold no credentials: setup",
        ),
        (own("envFrom"), json!([{"secretRef": {"name": "db"}}]), "agents hold no credentials: setup"),
    ];
    let mut failures = Vec::new();
    for restart in [Value::Null, json!("Always")] {
        let mut one = container("setup");
        if !restart.is_null() {
            one["restartPolicy"] = restart.clone();
        }
        let with_own = with(&conforming, "/spec/initContainers/-", one);
        cluster.would_create(&with_own).unwrap().accepted(&format!("restartPolicy {restart}")).unwrap();
        for (at, value, why) in &cases {
            let what = format!("restartPolicy {restart}, {at} = {value}");
            let answer = cluster.would_create(&with(&with_own, at, value.clone())).unwrap();
            failures.extend(answer.refused(&what, why).err().map(|failure| failure.to_string()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn names_of_the_sidecar_are_ours() {
    const NAMES: &str = "names with agentaccess- are those of the sidecar";
    check(vec![
        ("/spec/containers/-", container("agentaccess-proxy2"), NAMES),
        ("/spec/initContainers/-", container("agentaccess-init2"), NAMES),
        ("/spec/containers/-", container("other"), ""),
        ("/metadata/annotations/agentaccess.dev~1proxy-user", json!("1000.1.00"), "must name the user of the sidecar"),
        ("/metadata/annotations", json!({}), "must name the user of the sidecar"),
        ("/metadata/labels", json!({"app": "agent"}), "metadata.labels[agentaccess.dev/injected]"),
    ]);
}

#[test]
fn nothing_of_the_node_is_in_the_pod() {
    const FALSE: &str = "must be false, or the pod is outside of the fence: spec.";
    const KINDS: &str = "spec.volumes may be configMap";
    const NAMES: &str = "hostAliases and dnsConfig must not be set, and dnsPolicy must be ClusterFirst";
    const HOSTS: &str = "host must not be set in a probe or hook";
    check(vec![
        ("/spec/hostNetwork", json!(true), FALSE),
        ("/spec/hostPID", json!(true), FALSE),
        ("/spec/hostIPC", json!(true), FALSE),
        ("/spec/shareProcessNamespace", json!(true), FALSE),
        ("/spec/shareProcessNamespace", json!(false), ""),
        ("/spec/hostAliases", json!([{"ip": "192.0.2.1", "hostnames": ["db.example.com"]}]), NAMES),
        ("/spec/hostAliases", json!([]), ""),
        ("/spec/dnsConfig", json!({"nameservers": ["192.0.2.1"]}), NAMES),
        ("/spec/dnsConfig", json!({"options": [{"name": "ndots", "value": "1"}]}), NAMES),
        ("/spec/dnsPolicy", json!("Default"), NAMES),
        ("/spec/dnsPolicy", json!("ClusterFirst"), ""),
        ("/spec/os", json!({"name": "linux"}), ""),
        ("/spec/containers/0/ports/0/hostPort", json!(8080), "ports.hostPort must not be set"),
        ("/spec/containers/0/ports/0/containerPort", json!(15001), "must not be 15000 to 15099"),
        ("/spec/volumes/-", json!({"name": "x", "hostPath": {"path": "/"}}), KINDS),
        ("/spec/volumes/-", json!({"name": "x", "nfs": {"server": "198.51.100.1", "path": "/"}}), KINDS),
        (
            "/spec/volumes/-",
            json!({"name": "x", "iscsi": {"targetPortal": "198.51.100.1", "iqn": "iqn.2001-04.a:b", "lun": 0}}),
            KINDS,
        ),
        ("/spec/volumes/-", json!({"name": "x", "persistentVolumeClaim": {"claimName": "data"}}), ""),
        ("/spec/volumes/-", json!({"name": "x", "configMap": {"name": "settings"}}), ""),
        (
            "/spec/volumes/-",
            json!({"name": "x", "csi": {"driver": "csi.spiffe.io", "readOnly": true}}),
            "spec.volumes.csi.driver",
        ),
        ("/spec/volumes/-", json!({"name": "x", "csi": {"driver": "allowed.example.com"}}), ""),
        ("/spec/containers/0/livenessProbe", json!({"httpGet": {"port": 80, "host": "169.254.169.254"}}), HOSTS),
        ("/spec/containers/0/lifecycle", json!({"preStop": {"httpGet": {"port": 80, "host": "example.com"}}}), HOSTS),
        ("/spec/containers/0/readinessProbe", json!({"tcpSocket": {"port": 80, "host": "127.0.0.1"}}), HOSTS),
        ("/spec/containers/0/readinessProbe", json!({"httpGet": {"port": 8080}}), ""),
        (
            "/spec/securityContext/sysctls",
            json!([{"name": "net.ipv4.ip_forward", "value": "1"}]),
            "securityContext.sysctls",
        ),
        ("/spec/securityContext/sysctls", json!([{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]), ""),
    ]);
}

#[test]
fn no_container_has_rights_of_its_own() {
    let context = |field: &str| -> &'static str { Box::leak(format!("{CONTEXT}/{field}").into_boxed_str()) };
    let mut cases: Vec<Case> = vec![
        (CONTEXT, json!({"privileged": true, "capabilities": {"drop": ["ALL"]}}), "privileged must be false"),
        (context("privileged"), json!(false), ""),
        (context("allowPrivilegeEscalation"), json!(true), "allowPrivilegeEscalation must be false"),
        (context("allowPrivilegeEscalation"), Value::Null, "allowPrivilegeEscalation must be false"),
        (context("capabilities"), Value::Null, "capabilities.drop must hold ALL"),
        (context("capabilities/drop"), json!(["NET_RAW"]), "capabilities.drop must hold ALL"),
        (context("capabilities/add"), json!(["NET_BIND_SERVICE"]), ""),
        (context("seccompProfile"), json!({"type": "Unconfined"}), "seccompProfile.type must be RuntimeDefault"),
        (context("seccompProfile"), json!({"type": "Localhost", "localhostProfile": "a.json"}), ""),
        ("/spec/securityContext/seccompProfile", Value::Null, "seccompProfile.type must be RuntimeDefault"),
        (context("appArmorProfile"), json!({"type": "Unconfined"}), "nor appArmorProfile Unconfined"),
        (
            "/spec/securityContext/appArmorProfile",
            json!({"type": "Unconfined"}),
            "spec.securityContext.appArmorProfile",
        ),
        ("/spec/securityContext/appArmorProfile", json!({"type": "RuntimeDefault"}), ""),
    ];
    for at in [context("seLinuxOptions"), "/spec/securityContext/seLinuxOptions"] {
        for field in ["type", "user", "role"] {
            cases.push((
                at,
                json!({field: "spc_t", "level": "s0"}),
                "securityContext.seLinuxOptions may hold level only",
            ));
        }
        cases.push((at, json!({"level": "s0:c1,c2"}), ""));
    }
    for capability in
        ["NET_ADMIN", "NET_RAW", "SETUID", "SETGID", "SYS_ADMIN", "SYS_PTRACE", "BPF", "DAC_OVERRIDE", "CHOWN", "ALL"]
    {
        cases.push((
            context("capabilities/add"),
            json!([capability]),
            "capabilities.add may hold NET_BIND_SERVICE only",
        ));
    }
    check(cases);
}

/// In a pod with users of its own the API server itself allows an unmasked /proc, and the sidecar's user is a small one.
#[test]
fn a_pod_with_users_of_its_own_is_judged_as_others() {
    let cluster = cluster();
    let namespace = governed(&cluster);
    let conforming = pod(&namespace, &profile(&cluster));
    let text = conforming.to_string().replace(&USER.to_string(), "40000").replace(&(USER + 1).to_string(), "40001");
    let own = with(&serde_json::from_str(&text).unwrap(), "/spec/hostUsers", json!(false));
    cluster.would_create(&own).unwrap().accepted("hostUsers: false").unwrap();
    let unmasked = with(&own, "/spec/containers/0/securityContext/procMount", json!("Unmasked"));
    cluster.would_create(&unmasked).unwrap().refused("procMount", "procMount must be Default").unwrap();
}

#[test]
fn nobody_is_the_user_of_the_sidecar() {
    const SIDECAR: &str = "must not be those of the sidecar";
    check(vec![
        ("/spec/containers/0/securityContext/runAsUser", json!(USER), SIDECAR),
        ("/spec/containers/0/securityContext/runAsGroup", json!(USER), SIDECAR),
        ("/spec/securityContext/runAsUser", json!(USER), SIDECAR),
        ("/spec/securityContext/runAsGroup", json!(USER), SIDECAR),
        ("/spec/securityContext/fsGroup", json!(USER), SIDECAR),
        ("/spec/securityContext/supplementalGroups", json!([1, USER]), SIDECAR),
        ("/spec/securityContext/supplementalGroups", json!([1, 2]), ""),
        // Nothing names a user: the image would.
        ("/spec/securityContext/runAsUser", Value::Null, "securityContext.runAsUser must be set"),
        ("/spec/initContainers/1/securityContext/runAsUser", json!(1001), "must be those of an installed release"),
        ("/spec/initContainers/1/securityContext/runAsGroup", json!(1000), "must be two users of their own"),
        ("/spec/initContainers/2/securityContext/runAsUser", json!(USER), "must be two users of their own"),
    ]);
}

/// Images and nodes give small numbers to users of their own; the sidecar is none of those.
#[test]
fn the_users_of_the_sidecar_are_of_a_range_of_their_own() {
    let cluster = cluster();
    let namespace = governed(&cluster);
    let conforming = pod(&namespace, &profile(&cluster)).to_string();
    // Everywhere: in what names it, too, so that nothing but its number can be wrong.
    for (what, user) in [("proxy", USER), ("verify", USER + 1)] {
        let ask = |number: u32| {
            let text = conforming.replace(&user.to_string(), &number.to_string());
            cluster.would_create(&serde_json::from_str(&text).unwrap()).unwrap()
        };
        ask(29_999).refused(what, "must be two users of their own, from 30000").unwrap();
        ask(30_000).accepted(what).unwrap();
    }
}

#[test]
fn nothing_of_the_sidecar_and_no_credential_is_mounted_elsewhere() {
    const MOUNTS: &str = "volumeMounts must not name volumes of the sidecar";
    const TOKENS: &str = "spec.volumes.projected.sources may be";
    const VOLUME: &str = "spec.volumes must not name a Secret";
    const ENV: &str = "env and envFrom must not name a Secret";
    let mount = |name: &str| json!({"name": name, "mountPath": "/x", "readOnly": true});
    let token = |audience: &str| json!({"name": "x", "projected": {"sources": [{"serviceAccountToken": {"audience": audience, "path": "t"}}]}});
    let driver = |secret: &str| json!({"name": "x", "csi": {"driver": "allowed.example.com", "nodePublishSecretRef": {"name": secret}}});
    let from = |secret: &str| json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": secret, "key": "k"}}}]);
    check(vec![
        ("/spec/containers/0/volumeMounts/-", mount("agentaccess-token"), MOUNTS),
        ("/spec/containers/0/volumeMounts/-", mount("agentaccess-ca"), MOUNTS),
        ("/spec/containers/0/volumeMounts/-", mount("agentaccess-state"), MOUNTS),
        ("/spec/containers/0/volumeMounts/-", mount("agentaccess-names"), MOUNTS),
        ("/spec/containers/0/volumeMounts/0/readOnly", Value::Null, MOUNTS),
        ("/spec/automountServiceAccountToken", json!(true), "automountServiceAccountToken must be false"),
        ("/spec/automountServiceAccountToken", Value::Null, "automountServiceAccountToken must be false"),
        ("/spec/volumes/-", token("agentaccess.dev"), TOKENS),
        ("/spec/volumes/-", token("https://elsewhere"), TOKENS),
        ("/spec/volumes/-", json!({"name": "x", "projected": {"sources": [{"configMap": {"name": "c"}}]}}), ""),
        ("/spec/volumes/-", json!({"name": "x", "projected": {"sources": [{"secret": {"name": "db"}}]}}), VOLUME),
        ("/spec/volumes/-", json!({"name": "x", "secret": {"secretName": "db"}}), VOLUME),
        ("/spec/volumes/-", driver("db"), VOLUME),
        ("/spec/containers/0/envFrom", json!([{"secretRef": {"name": "db"}}]), ENV),
        ("/spec/containers/0/envFrom", json!([{"configMapRef": {"name": "c"}}]), ""),
        ("/spec/containers/0/env", from("db"), ENV),
        ("/spec/containers/0/env", json!([{"name": "A", "value": "b"}]), ""),
    ]);
}

/// A variable can be read from a file of a volume that is not mounted. Where that is switched off (to 1.34) the field is
/// dropped, and what is left of the variable is no variable.
#[test]
fn no_variable_is_read_from_a_file_of_the_sidecar() {
    let cluster = cluster();
    let namespace = governed(&cluster);
    let conforming = pod(&namespace, &profile(&cluster));
    let from = |volume: &str| {
        let key = json!({"volumeName": volume, "path": "ca.env", "key": "KEY"});
        let env = json!([{"name": "A", "valueFrom": {"fileKeyRef": key}}]);
        let scratch = json!({"name": "scratch", "emptyDir": {}});
        with(&with(&conforming, "/spec/volumes/-", scratch), "/spec/containers/0/env", env)
    };
    let [own, ca] = ["scratch", "agentaccess-ca"].map(|volume| cluster.would_create(&from(volume)).unwrap());
    if own.accepted {
        ca.refused("the CA", "nor env.valueFrom.fileKeyRef").unwrap();
    } else {
        for answer in [own, ca] {
            answer.refused("without the field", "env[0].valueFrom: Invalid value").unwrap();
        }
    }
}

/// The list of Secrets is of the whole cluster, so its entry names the namespace too.
#[test]
fn a_secret_that_the_installation_lists_may_be_used() {
    let cluster = cluster();
    let listed = cluster.create(&json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "e2e-secrets", "labels": {"agentaccess.dev/injection": "enabled"}},
    }));
    listed.unwrap();
    let elsewhere = governed(&cluster);
    let mut pod = pod(&elsewhere, &profile(&cluster));
    let csi = json!({"driver": "allowed.example.com", "nodePublishSecretRef": {"name": "allowed"}});
    for volume in [json!({"name": "x", "secret": {"secretName": "allowed"}}), json!({"name": "y", "csi": csi})] {
        pod = with(&pod, "/spec/volumes/-", volume);
    }
    cluster.would_create(&pod).unwrap().refused("in another namespace", "must not name a Secret").unwrap();
    pod["metadata"]["namespace"] = json!("e2e-secrets");
    e2e::wait::eventually("the pod is accepted", Duration::from_secs(30), || {
        cluster.would_create(&pod).unwrap().accepted
    })
    .unwrap();
    cluster.run(&["delete", "namespace", "e2e-secrets", "--wait=false"], None).unwrap();
}

/// Policies cost by what they look at: the largest pod that a person could mean stays within the budget.
#[test]
fn a_large_pod_is_judged_within_the_budget() {
    let cluster = cluster();
    let namespace = governed(&cluster);
    let large = large(&pod(&namespace, &profile(&cluster)), 60, 100);
    let started = Instant::now();
    cluster.would_create(&large).unwrap().accepted("100 containers, 60 mounts and 100 variables each").unwrap();
    println!("100 containers x 60 mounts x 100 variables: {:?}", started.elapsed());
    let mut bad = container("last");
    bad["securityContext"]["privileged"] = json!(true);
    let refused = cluster.would_create(&with(&large, "/spec/containers/-", bad)).unwrap();
    assert!(!refused.accepted && !refused.text.contains("budget"), "{}", refused.text);
}

#[test]
fn elsewhere_nothing_is_asked() {
    let cluster = cluster();
    let namespace = cluster.namespace(&json!({})).unwrap();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain", "namespace": namespace.name},
        "spec": {"hostNetwork": true, "containers": [{"name": "main", "image": "localhost/busybox:1"}]},
    });
    cluster.would_create(&pod).unwrap().accepted("a pod of a namespace without the label").unwrap();
}
