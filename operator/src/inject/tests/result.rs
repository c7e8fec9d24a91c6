//! What a governed pod looks like.

use super::*;
use crate::inject::patch;

fn env(container: &Value) -> Vec<(&str, &str)> {
    let all = container["env"].as_array().unwrap();
    all.iter().map(|one| (one["name"].as_str().unwrap(), one["value"].as_str().unwrap_or_default())).collect()
}

#[test]
fn ours_come_first_and_one_has_rights() {
    let pod = run(&plain()).unwrap().pod;
    assert_eq!(
        names(&pod, "initContainers"),
        ["agentaccess-init", "agentaccess-proxy", "agentaccess-verify", "prepare"]
    );
    let [init, proxy, verify] = [0, 1, 2].map(|n| pod["spec"]["initContainers"][n].clone());
    for one in [&init, &proxy, &verify] {
        let context = &one["securityContext"];
        assert_eq!(one["image"], "registry.example/sidecar:1@sha256:00");
        assert_eq!(one["command"], json!(["/agentaccess-sidecar"]));
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    }
    assert_eq!(init["securityContext"]["capabilities"]["add"], json!(["NET_ADMIN"]));
    assert_eq!(init["securityContext"]["runAsUser"], 0);
    let user = proxy["securityContext"]["runAsUser"].as_u64().unwrap();
    assert!((1_000_000_000..2_000_000_000).contains(&user), "{user}");
    assert_eq!(
        init["args"],
        json!([
            "init",
            format!("--user={user}"),
            "--own=15020",
            "--names=/run/agentaccess/names",
            "--inbound=8080,9000"
        ])
    );
    assert_eq!(proxy["restartPolicy"], "Always");
    // The kubelet looks at a container once a second: who waits is `verify`.
    assert_eq!(proxy["startupProbe"], Value::Null);
    assert_eq!(verify["args"][3], "--wait=120");
    assert!(proxy["securityContext"]["capabilities"].get("add").is_none());
    let other = verify["securityContext"]["runAsUser"].as_u64().unwrap();
    assert!(other != user && other != 0);
    assert!(verify["securityContext"]["capabilities"].get("add").is_none());
    assert_eq!(verify["args"][1], format!("--user={user}"));
    let nonce = verify["args"][2].as_str().unwrap();
    let operator = "--operator=https://agentaccess-operator.agentaccess-system.svc:9444";
    assert_eq!(proxy["args"], json!(["proxy", nonce, operator, "--roots=Q0E="]));
    let nonce = nonce.strip_prefix("--nonce=").unwrap();
    assert!(nonce.len() == 32 && nonce.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{nonce}");
}

/// The agent's pod says nothing of where telemetry goes, whatever it is called.
#[test]
fn telemetry_goes_where_the_operator_says() {
    let said = ["--otel-endpoint=https://collector.otel.svc:4317".to_owned(), "--otel-ca=Q0E=".to_owned()];
    let settings = Settings { otel: said.to_vec(), ..settings() };
    let mut pod = plain();
    pod["metadata"]["annotations"] = json!({"agentaccess.dev/otel-endpoint": "http://thief:4317"});
    pod["spec"]["containers"][0]["env"] =
        json!([{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://thief:4317"}]);
    let made = inject(&pod, "agents", &settings, &moment(42)).unwrap().pod;
    let args = made["spec"]["initContainers"][1]["args"].as_array().unwrap();
    assert_eq!(args[4..], [json!(said[0]), json!(said[1])]);
    assert!(!made["spec"]["initContainers"].to_string().contains("thief"));
}

#[test]
fn the_agent_has_no_token_and_trusts_the_pod() {
    let pod = run(&plain()).unwrap().pod;
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    for container in [&pod["spec"]["initContainers"][3], &pod["spec"]["containers"][0]] {
        let mounts = container["volumeMounts"].as_array().unwrap();
        let at = |path: &str| mounts.iter().filter(|mount| mount["mountPath"] == path).collect::<Vec<_>>();
        for path in ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"] {
            let file = json!({"name": "agentaccess-trust", "mountPath": path, "subPath": "ca-certificates.crt", "readOnly": true});
            assert_eq!(at(path), [&file]);
        }
        let account = at("/var/run/secrets/kubernetes.io/serviceaccount");
        assert_eq!(account.len(), 1);
        assert_eq!(account[0]["name"], "agentaccess-account");
        assert_eq!(account[0]["readOnly"], true);
        let env = env(container);
        assert!(env.contains(&("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")));
        assert!(env.contains(&("PGSSLROOTCERT", "/etc/ssl/certs/ca-certificates.crt")));
        assert!(env.contains(&("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")));
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
        assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
    }
    assert_eq!(env(&pod["spec"]["containers"][0])[0], ("MODE", "fast"), "what the user set stays");
    assert_eq!(pod["spec"]["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let text = pod.to_string();
    assert!(!text.contains("kube-api-access"), "{text}");
    assert_eq!(text.matches("serviceAccountToken\":{").count(), 1, "one token in the pod: ours");
}

#[test]
fn the_sidecars_volumes_are_mounted_in_the_sidecar_alone() {
    let pod = run(&plain()).unwrap().pod;
    let all = names(&pod, "volumes");
    let ours = ["token", "ca", "state", "trust", "account", "names"].map(|name| format!("agentaccess-{name}"));
    let ours = ours.iter().map(String::as_str);
    assert_eq!(all, ["work"].into_iter().chain(ours).collect::<Vec<_>>());
    let volume = |name: &str| pod["spec"]["volumes"].as_array().unwrap().iter().find(|v| v["name"] == name).unwrap();
    assert_eq!(
        volume("agentaccess-token")["projected"]["sources"],
        json!([{"serviceAccountToken": {"audience": "agentaccess.dev", "expirationSeconds": 600, "path": "token"}}])
    );
    assert_eq!(volume("agentaccess-ca")["emptyDir"]["medium"], "Memory");
    let mounts = pod["spec"]["initContainers"][1]["volumeMounts"].as_array().unwrap();
    let mounted: Vec<_> =
        mounts.iter().map(|m| (m["name"].as_str().unwrap(), m["mountPath"].as_str().unwrap())).collect();
    assert_eq!(
        mounted,
        [
            ("agentaccess-token", "/run/agentaccess/token"),
            ("agentaccess-ca", "/run/agentaccess/ca"),
            ("agentaccess-state", "/var/lib/agentaccess"),
            ("agentaccess-trust", "/run/agentaccess/trust"),
            ("agentaccess-account", "/run/agentaccess/account"),
            ("agentaccess-names", "/etc/hosts"),
            ("agentaccess-names", "/etc/resolv.conf"),
        ]
    );
    assert!(
        mounts[5..].iter().all(
            |m| m["readOnly"] == true && m["mountPath"].as_str().unwrap().ends_with(m["subPath"].as_str().unwrap())
        )
    );
    let names = json!([{"name": "agentaccess-names", "mountPath": "/run/agentaccess/names"}]);
    assert_eq!(pod["spec"]["initContainers"][0]["volumeMounts"], names);
    assert!(pod["spec"]["initContainers"][2].get("volumeMounts").is_none(), "verify mounts something");
}

#[test]
fn marks_are_set_and_nothing_else_of_the_users_changes() {
    let before = changed(|pod| {
        pod["spec"]["containers"][0]["restartPolicyRules"] = json!([{"action": "Restart"}]);
        pod["spec"]["fieldOfTheFuture"] = json!({"a": [1, null]});
        pod["metadata"]["annotations"] = json!({"team": "red"});
    });
    let pod = run(&before).unwrap().pod;
    assert_eq!(pod["metadata"]["labels"], json!({"app": "agent", "agentaccess.dev/injected": "true"}));
    assert_eq!(pod["metadata"]["annotations"]["team"], "red");
    assert_eq!(pod["spec"]["containers"][0]["restartPolicyRules"], json!([{"action": "Restart"}]));
    assert_eq!(pod["spec"]["fieldOfTheFuture"], json!({"a": [1, null]}));
    assert_eq!(pod["spec"]["initContainers"][3]["image"], "busybox");
    assert_eq!(pod["spec"]["containers"][0]["readinessProbe"], before["spec"]["containers"][0]["readinessProbe"]);
}

#[test]
fn what_a_user_will_notice_is_a_warning() {
    let warned = |with: fn(&mut Value)| run(&changed(with)).unwrap().warnings.join("\n");
    assert!(warned(|_| {}).contains("container `agent`: runs without capabilities"));
    let quiet = run(&changed(|pod| {
        for list in ["containers", "initContainers"] {
            pod["spec"][list][0]["securityContext"] =
                json!({"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}});
        }
    }));
    assert_eq!(quiet.unwrap().warnings, Vec::<String>::new());
    let text = warned(|pod| pod["spec"]["containers"][0]["env"] = json!([{"name": "SSL_CERT_FILE", "value": "/mine"}]));
    assert!(text.contains("SSL_CERT_FILE"), "{text}");
    let text = warned(|pod| pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 53, "protocol": "UDP"}]));
    assert!(text.contains("UDP port 53"), "{text}");
    let text = warned(|pod| pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "agentaccess-x"})));
    assert!(text.contains("removed `agentaccess-x`"), "{text}");
}

#[test]
fn ports_of_probes_and_hooks_come_in() {
    let with = |container: Value| {
        let pod = changed(|pod| pod["spec"]["containers"] = json!([container]));
        run(&pod).unwrap().pod["spec"]["initContainers"][0]["args"].as_array().unwrap().get(4).cloned()
    };
    let none = json!({"name": "a"});
    assert_eq!(with(none), None);
    let hooks = json!({"name": "a",
        "startupProbe": {"grpc": {"port": 7000}},
        "lifecycle": {"preStop": {"httpGet": {"port": 7001}}, "postStart": {"tcpSocket": {"port": "late"}}},
        "ports": [{"name": "late", "containerPort": 7002}, {"containerPort": 53, "protocol": "UDP"}]});
    assert_eq!(with(hooks), Some(json!("--inbound=7000,7001,7002")));
    let elsewhere = json!({"name": "a", "livenessProbe": {"httpGet": {"port": 80, "host": "other.example"}}});
    assert_eq!(with(elsewhere), None);
    let unknown = json!({"name": "a", "livenessProbe": {"httpGet": {"port": "nobody"}}});
    assert_eq!(with(unknown), None);
}

#[test]
fn the_patch_gives_the_injected_pod_and_edits_no_list() {
    let before = plain();
    let after = run(&before).unwrap().pod;
    let patch = patch(&before, &after);
    let mut patched = before.clone();
    json_patch::patch(&mut patched, &patch).unwrap();
    assert_eq!(patched, after);
    let mut paths: Vec<String> = patch.0.iter().map(|one| one.path().to_string()).collect();
    paths.sort();
    assert_eq!(
        paths,
        [
            "/metadata/annotations",
            "/metadata/labels/agentaccess.dev~1injected",
            "/spec/automountServiceAccountToken",
            "/spec/containers",
            "/spec/initContainers",
            "/spec/securityContext",
            "/spec/volumes",
        ]
    );
    assert!(super::super::patch(&after, &after).0.is_empty());
}

#[test]
fn a_patch_also_takes_away_and_replaces() {
    let from = json!({"metadata": {"labels": {"a/b": "1", "c": "2"}}, "spec": {"x": [1], "y": {"z": 1}}, "status": {}});
    let to = json!({"metadata": {"labels": {"a/b": "3"}}, "spec": {"x": [2], "y": {}, "n~": null}});
    let patch = patch(&from, &to);
    let mut patched = from;
    json_patch::patch(&mut patched, &patch).unwrap();
    assert_eq!(patched, to);
}
