//! What cannot be governed, each with the field to change.

use super::*;

fn sentence(pod: &Value) -> String {
    let refused = run(pod).expect_err("it must be refused");
    assert_eq!(refused.all().len(), 1, "{refused}");
    refused.to_string().strip_prefix("agentaccess cannot govern this pod: ").unwrap().to_owned()
}

#[test]
fn every_way_past_the_fence_is_refused() {
    // Each pointer is set to the value in the plain pod; objects on the way are made.
    let cases = [
        ("/spec/hostNetwork", json!(true), "spec.hostNetwork must be false"),
        ("/spec/hostPID", json!(true), "spec.hostPID must be false"),
        ("/spec/hostIPC", json!(true), "spec.hostIPC must be false"),
        ("/spec/shareProcessNamespace", json!(true), "spec.shareProcessNamespace must be false"),
        (
            "/spec/hostAliases",
            json!([{"ip": "192.0.2.1", "hostnames": ["db.example.com"]}]),
            "spec.hostAliases must not",
        ),
        ("/spec/dnsConfig", json!({"nameservers": ["192.0.2.1"]}), "spec.dnsConfig must not be set"),
        ("/spec/dnsConfig", json!({"searches": ["example.com"]}), "spec.dnsConfig must not be set"),
        ("/spec/dnsPolicy", json!("None"), "spec.dnsPolicy must be ClusterFirst"),
        ("/spec/dnsPolicy", json!("Default"), "spec.dnsPolicy must be ClusterFirst"),
        ("/spec/os", json!({"name": "windows"}), "spec.os.name must be linux"),
        ("/spec/ephemeralContainers", json!([{"name": "debug"}]), "spec.ephemeralContainers must be empty"),
        (
            "/metadata/annotations",
            json!({"kubernetes.io/config.mirror": "x"}),
            "metadata.annotations[kubernetes.io/config.mirror]",
        ),
        ("/spec/securityContext", json!({"windowsOptions": {}}), "spec.securityContext.windowsOptions"),
        (
            "/spec/securityContext",
            json!({"seccompProfile": {"type": "Unconfined"}}),
            "spec.securityContext.seccompProfile.type must",
        ),
        (
            "/spec/securityContext",
            json!({"appArmorProfile": {"type": "Unconfined"}}),
            "spec.securityContext.appArmorProfile.type must not be Unconfined",
        ),
        (
            "/spec/securityContext",
            json!({"seLinuxOptions": {"level": "s0:c1,c2", "type": "spc_t"}}),
            "spec.securityContext.seLinuxOptions.type must not be set",
        ),
        (
            "/spec/securityContext",
            json!({"seLinuxOptions": {"user": "system_u"}}),
            "spec.securityContext.seLinuxOptions.user must not be set",
        ),
        (
            "/spec/securityContext",
            json!({"seLinuxOptions": {"role": "system_r"}}),
            "spec.securityContext.seLinuxOptions.role must not be set",
        ),
        (
            "/spec/securityContext",
            json!({"sysctls": [{"name": "net.core.somaxconn", "value": "1"}]}),
            "spec.securityContext.sysctls[net.core.somaxconn]",
        ),
        (
            "/spec/containers/0/securityContext",
            json!({"privileged": true}),
            "spec.containers[agent].securityContext.privileged must be false",
        ),
        (
            "/spec/initContainers/0/securityContext",
            json!({"privileged": true}),
            "spec.initContainers[prepare].securityContext.privileged",
        ),
        (
            "/spec/containers/0/securityContext",
            json!({"allowPrivilegeEscalation": true}),
            "spec.containers[agent].securityContext.allowPrivilegeEscalation",
        ),
        (
            "/spec/containers/0/securityContext",
            json!({"procMount": "Unmasked"}),
            "spec.containers[agent].securityContext.procMount",
        ),
        (
            "/spec/containers/0/securityContext",
            json!({"seccompProfile": {"type": "Unconfined"}}),
            "spec.containers[agent].securityContext.seccompProfile.type",
        ),
        (
            "/spec/containers/0/securityContext",
            json!({"appArmorProfile": {"type": "Unconfined"}}),
            "spec.containers[agent].securityContext.appArmorProfile.type must not be Unconfined",
        ),
        (
            "/spec/containers/0/securityContext",
            json!({"seLinuxOptions": {"type": "spc_t"}}),
            "spec.containers[agent].securityContext.seLinuxOptions.type must not be set",
        ),
        (
            "/spec/initContainers/0/securityContext",
            json!({"seLinuxOptions": {"user": "system_u"}}),
            "spec.initContainers[prepare].securityContext.seLinuxOptions.user must not be set",
        ),
        (
            "/spec/containers/0/securityContext",
            json!({"seLinuxOptions": {"role": "system_r"}}),
            "spec.containers[agent].securityContext.seLinuxOptions.role must not be set",
        ),
        (
            "/spec/containers/0/securityContext",
            json!({"windowsOptions": {"hostProcess": true}}),
            "spec.containers[agent].securityContext.windowsOptions",
        ),
        ("/spec/containers/0/ports/0/hostPort", json!(80), "spec.containers[agent].ports[8080].hostPort"),
        (
            "/spec/containers/0/ports/0/containerPort",
            json!(15000),
            "spec.containers[agent].ports[15000].containerPort must not be 15000",
        ),
        (
            "/spec/containers/0/ports/0/containerPort",
            json!(0),
            "spec.containers[agent].ports[0].containerPort must be a port",
        ),
        (
            "/spec/containers/0/livenessProbe",
            json!({"grpc": {"port": 15099}}),
            "spec.containers[agent].livenessProbe must not be 15099",
        ),
        (
            "/spec/containers/0/volumeMounts/0/mountPath",
            json!("/etc/ssl/certs/ca-certificates.crt"),
            "spec.containers[agent].volumeMounts[work].mountPath",
        ),
        (
            "/spec/containers/0/volumeMounts/0/mountPath",
            json!("/var/run/secrets/kubernetes.io/serviceaccount/"),
            "spec.containers[agent].volumeMounts[work].mountPath",
        ),
        (
            "/spec/containers/0/env",
            json!([{"name": "P", "valueFrom": {"secretKeyRef": {"name": "db", "key": "p"}}}]),
            "spec.containers[agent].env[P].valueFrom.secretKeyRef must not name the Secret `db`",
        ),
        (
            "/spec/containers/0/envFrom",
            json!([{"secretRef": {"name": "db"}}]),
            "spec.containers[agent].envFrom.secretRef",
        ),
        ("/spec/volumes/0", json!({"name": "v", "secret": {"secretName": "db"}}), "spec.volumes[v].secret.secretName"),
        (
            "/spec/volumes/0",
            json!({"name": "v", "hostPath": {"path": "/"}}),
            "spec.volumes[v].hostPath must not be set",
        ),
        ("/spec/volumes/0", json!({"name": "v", "nfs": {"server": "x", "path": "/"}}), "spec.volumes[v].nfs"),
        ("/spec/volumes/0", json!({"name": "v", "kindOfTheFuture": {}}), "spec.volumes[v].kindOfTheFuture"),
        ("/spec/volumes/0", json!({"name": "v", "csi": {"driver": "csi.spiffe.io"}}), "spec.volumes[v].csi.driver"),
        (
            "/spec/volumes/0",
            json!({"name": "v", "csi": {"driver": "csi.example", "nodePublishSecretRef": {"name": "db"}}}),
            "spec.volumes[v].csi.nodePublishSecretRef must not name the Secret `db`",
        ),
        (
            "/spec/volumes/0",
            json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}),
            "spec.volumes[v].projected.sources.serviceAccountToken",
        ),
        (
            "/spec/volumes/0",
            json!({"name": "v", "projected": {"sources": [{"clusterTrustBundle": {"path": "t"}}]}}),
            "spec.volumes[v].projected.sources.clusterTrustBundle",
        ),
        (
            "/spec/volumes/0",
            json!({"name": "v", "projected": {"sources": [{"podCertificate": {}}]}}),
            "spec.volumes[v].projected.sources.podCertificate",
        ),
        (
            "/spec/volumes/0",
            json!({"name": "v", "projected": {"sources": [{"secret": {"name": "db"}}]}}),
            "spec.volumes[v].projected.sources.secret.name",
        ),
    ];
    for (pointer, value, expected) in cases {
        let pod = changed(|pod| set(pod, pointer, value.clone()));
        let sentence = sentence(&pod);
        assert!(sentence.starts_with(expected), "{pointer}: {sentence}");
    }
}

fn set(pod: &mut Value, pointer: &str, value: Value) {
    let mut place = pod;
    for part in pointer.split('/').skip(1) {
        place = match part.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[part],
        };
    }
    *place = value;
}

/// As the API server sends it: with a host port for each port.
#[test]
fn the_nodes_network_is_one_sentence() {
    let pod = changed(|pod| {
        pod["spec"]["hostNetwork"] = json!(true);
        pod["spec"]["containers"][0]["ports"][0]["hostPort"] = json!(8080);
    });
    assert!(sentence(&pod).starts_with("spec.hostNetwork must be false"));
}

#[test]
fn only_one_capability_may_be_added() {
    for capability in [
        "NET_ADMIN",
        "NET_RAW",
        "SETUID",
        "SETGID",
        "SYS_ADMIN",
        "SYS_PTRACE",
        "BPF",
        "DAC_OVERRIDE",
        "CAP_NET_ADMIN",
        "ALL",
    ] {
        let context = json!({"capabilities": {"add": [capability]}});
        let text = sentence(&changed(|pod| pod["spec"]["containers"][0]["securityContext"] = context));
        assert!(text.starts_with("spec.containers[agent].securityContext.capabilities.add must not hold"), "{text}");
    }
    let context = json!({"capabilities": {"add": ["NET_BIND_SERVICE"]}});
    assert!(run(&changed(|pod| pod["spec"]["containers"][0]["securityContext"] = context)).is_ok());
}

#[test]
fn what_the_installation_allows_is_allowed() {
    let volumes = json!([
        {"name": "work", "secret": {"secretName": "allowed"}},
        {"name": "b", "csi": {"driver": "csi.example"}},
        {"name": "c", "projected": {"sources": [{"configMap": {"name": "c"}}, {"secret": {"name": "allowed"}}]}},
        {"name": "d", "csi": {"driver": "csi.example", "nodePublishSecretRef": {"name": "allowed"}}},
        {"name": "e", "csi": {"driver": "csi.example", "nodePublishSecretRef": null}},
    ]);
    let pod = changed(|pod| pod["spec"]["volumes"] = volumes);
    assert!(run(&pod).is_ok());
    let refused = inject(&pod, "other", &settings(), &moment(1)).unwrap_err();
    assert_eq!(refused.all().len(), 3, "a Secret of another namespace with the same name: {refused}");
}

/// A level keeps pods apart from each other and gives no rights; platforms set it for whole namespaces.
#[test]
fn what_confines_may_be_chosen() {
    let context = json!({
        "appArmorProfile": {"type": "Localhost", "localhostProfile": "agent"}, "seLinuxOptions": {"level": "s0:c1,c2"},
    });
    for at in ["/spec/securityContext", "/spec/containers/0/securityContext"] {
        assert!(run(&changed(|pod| set(pod, at, context.clone()))).is_ok(), "{at}");
    }
}

#[test]
fn everything_is_said_at_once_and_not_without_end() {
    let pod = changed(|pod| {
        pod["spec"]["hostNetwork"] = json!(true);
        pod["spec"]["hostPID"] = json!(true);
    });
    let text = run(&pod).unwrap_err().to_string();
    assert!(text.contains("spec.hostNetwork must be false") && text.contains("; spec.hostPID must be false"), "{text}");
    let ports: Vec<Value> = (15_000..15_100).map(|port| json!({"containerPort": port})).collect();
    let text = run(&changed(|pod| pod["spec"]["containers"][0]["ports"] = json!(ports))).unwrap_err().to_string();
    assert!(text.ends_with("; and 92 more") && text.len() < 2_000, "{text}");
    let name = "x".repeat(100_000);
    let text =
        run(&changed(|pod| pod["spec"]["volumes"][0] = json!({"name": name, "nfs": {}}))).unwrap_err().to_string();
    assert!(text.len() < 1_000, "{}", text.len());
    let ports: Vec<Value> = (1..=513).map(|port| json!({"containerPort": port})).collect();
    let text = run(&changed(|pod| pod["spec"]["containers"][0]["ports"] = json!(ports))).unwrap_err().to_string();
    assert!(text.contains("spec.containers must declare at most 512 ports"), "{text}");
}

#[test]
fn what_is_no_pod_is_refused() {
    for bad in [json!(null), json!([]), json!({}), json!({"spec": 1}), json!({"spec": {"containers": "x"}})] {
        assert!(run(&bad).is_err(), "{bad}");
    }
}
