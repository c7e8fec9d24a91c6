//! Whatever pod comes in: it is refused, or what comes out is governed.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::inject::patch;

fn word() -> impl Strategy<Value = String> {
    let ours = ["agentaccess-init", "agentaccess-proxy", "agentaccess-verify", "agentaccess-token", "agentaccess-ca"];
    let others = ["a", "b", "agent", "work", "kube-api-access-abcde", "agentaccess", "agentaccess-x", ""];
    prop_oneof![2 => select(others.to_vec()), 1 => select(ours.to_vec())].prop_map(str::to_owned)
}

fn maybe(value: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    prop_oneof![Just(Value::Null), value]
}

fn mount() -> impl Strategy<Value = Value> {
    let paths = ["/work", "/run/agentaccess/token", "/var/run/secrets", "/data"];
    (word(), select(paths.to_vec())).prop_map(|(name, path)| json!({"name": name, "mountPath": path}))
}

fn context() -> impl Strategy<Value = Value> {
    let users = maybe(select(vec![0u32, 1000, 1_000_000_042, 30_042]).prop_map(|user| json!(user)));
    let drop = maybe(select(vec![
        json!({"drop": ["ALL"]}),
        json!({"drop": ["NET_RAW"]}),
        json!({"add": ["NET_BIND_SERVICE"]}),
    ]));
    let escalate = maybe(select(vec![json!(false), json!(true)]));
    (users, drop, escalate).prop_map(|(user, capabilities, escalate)| {
        json!({"runAsUser": user, "runAsGroup": user, "capabilities": capabilities, "allowPrivilegeEscalation": escalate})
    })
}

fn container() -> impl Strategy<Value = Value> {
    let names = ["SSL_CERT_FILE", "MODE", "KUBERNETES_SERVICE_HOST"];
    let env =
        proptest::collection::vec(select(names.to_vec()).prop_map(|name| json!({"name": name, "value": "x"})), 0..3);
    let ports = proptest::collection::vec((1u16..20_000).prop_map(|port| json!({"containerPort": port})), 0..3);
    let mounts = proptest::collection::vec(mount(), 0..4);
    (word(), env, ports, mounts, maybe(context())).prop_map(|(name, env, ports, mounts, context)| {
        let lists = json!({"env": env, "ports": ports, "volumeMounts": mounts});
        let mut one = json!({"name": name, "image": "x", "securityContext": context});
        for (key, list) in lists.as_object().unwrap() {
            if list != &json!([]) {
                one[key] = list.clone();
            }
        }
        one
    })
}

fn pod() -> impl Strategy<Value = Value> {
    let volume =
        (word(), select(vec!["emptyDir", "configMap"])).prop_map(|(name, kind)| json!({"name": name, kind: {}}));
    let lists = (
        maybe(proptest::collection::vec(container(), 0..4).prop_map(Value::from)),
        proptest::collection::vec(container(), 1..4),
        maybe(proptest::collection::vec(volume, 0..4).prop_map(Value::from)),
    );
    let marks =
        maybe(select(vec![json!({"agentaccess.dev/proxy-user": "1000000042.1800000000.00"}), json!({"a": "b"})]));
    (lists, marks, maybe(context()), select(vec![Value::Null, json!(false), json!(true)])).prop_map(
        |((init, containers, volumes), annotations, context, host_users)| {
            json!({
                "metadata": {"name": "x", "annotations": annotations, "labels": annotations},
                "spec": {"initContainers": init, "containers": containers, "volumes": volumes,
                    "hostUsers": host_users, "securityContext": {"runAsUser": context["runAsUser"]}},
            })
        },
    )
}

proptest! {
    #[test]
    fn injection_is_idempotent_and_whole(pod in pod(), draw in any::<u64>(), again in any::<u64>()) {
        let Ok(Injected { pod: injected, .. }) = inject(&pod, "agents", &settings(), &moment(draw)) else { return Ok(()) };
        let second = inject(&injected, "agents", &settings(), &moment(again)).unwrap();
        prop_assert_eq!(&second.pod, &injected);

        let mut patched = pod.clone();
        json_patch::patch(&mut patched, &patch(&pod, &injected)).unwrap();
        prop_assert_eq!(&patched, &injected);
        governed(&injected)?;
    }
}

/// The invariants of the module, read from the result alone.
fn governed(pod: &Value) -> Result<(), TestCaseError> {
    let init = names(pod, "initContainers");
    prop_assert_eq!(&init[..3], ["agentaccess-init", "agentaccess-proxy", "agentaccess-verify"]);
    let users: Vec<Value> = pod["spec"]["initContainers"].as_array().unwrap()[3..]
        .iter()
        .chain(pod["spec"]["containers"].as_array().unwrap())
        .cloned()
        .collect();
    let proxy = &pod["spec"]["initContainers"][1]["securityContext"]["runAsUser"];
    let verifier = &pod["spec"]["initContainers"][2]["securityContext"]["runAsUser"];
    prop_assert_ne!(proxy, verifier);
    prop_assert_ne!(&pod["spec"]["securityContext"]["runAsUser"], proxy);
    for container in &users {
        let name = container["name"].as_str().unwrap();
        prop_assert!(!name.starts_with("agentaccess-"), "{}", name);
        let mounted: Vec<&str> =
            crate::inject::json::each(container, "volumeMounts").map(|m| m["name"].as_str().unwrap()).collect();
        let ours: Vec<&&str> = mounted.iter().filter(|name| name.starts_with("agentaccess-")).collect();
        prop_assert_eq!(ours, [&"agentaccess-trust", &"agentaccess-trust", &"agentaccess-account"]);
        prop_assert!(!mounted.iter().any(|name| name.starts_with("kube-api-access-")));
        let context = &container["securityContext"];
        prop_assert_eq!(&context["allowPrivilegeEscalation"], false);
        prop_assert_eq!(&context["capabilities"]["drop"], &json!(["ALL"]));
        for id in ["runAsUser", "runAsGroup"] {
            prop_assert_ne!(&context[id], proxy);
            prop_assert_ne!(&context[id], verifier);
        }
        let env = container["env"].as_array().unwrap();
        prop_assert_eq!(env.iter().filter(|one| one["name"] == "SSL_CERT_FILE").count(), 1);
    }
    let volumes = names(pod, "volumes");
    prop_assert_eq!(volumes.iter().filter(|name| name.starts_with("agentaccess-")).count(), 6);
    Ok(())
}
