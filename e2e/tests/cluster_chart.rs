//! The chart as Helm draws it and as the API server takes it: what no value may change, and what an upgrade and a removal
//! leave behind.
//!
//! Not run by `make test`: the feature `cluster` builds it, `make e2e` runs it, last, since it removes the chart.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::wait;
use serde_json::{Value, json};

const NAMESPACE: &str = "agentaccess-system";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn helm(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

/// Every object that the chart makes, for every set of values.
fn objects() -> Vec<(String, Value)> {
    let mut objects = Vec::new();
    let folder = root().join("charts/agentaccess/ci");
    for entry in std::fs::read_dir(folder).unwrap() {
        let values = entry.unwrap().path();
        let name = values.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with("-values.yaml") {
            continue;
        }
        let text = helm(
            "helm",
            &[
                "template",
                "agentaccess",
                "charts/agentaccess",
                "--namespace",
                NAMESPACE,
                "--include-crds",
                "--api-versions",
                "monitoring.coreos.com/v1",
                "--values",
                values.to_str().unwrap(),
            ],
        );
        for document in text.split("\n---\n") {
            let object: Value = serde_yaml::from_str(document).unwrap();
            if !object.is_null() {
                objects.push((format!("{name}: {} {}", object["kind"], object["metadata"]["name"]), object));
            }
        }
    }
    assert!(objects.len() > 100, "{} objects", objects.len());
    objects
}

fn kind<'a>(objects: &'a [(String, Value)], kinds: &'a [&str]) -> impl Iterator<Item = &'a (String, Value)> {
    objects.iter().filter(|(_, object)| kinds.contains(&object["kind"].as_str().unwrap()))
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn no_role_has_a_star_and_none_reads_the_secrets_of_the_cluster() {
    let objects = objects();
    let mut rules = 0;
    for (name, role) in kind(&objects, &["ClusterRole", "Role"]) {
        for rule in role["rules"].as_array().unwrap() {
            rules += 1;
            for part in ["apiGroups", "resources", "verbs"] {
                assert!(!strings(&rule[part]).iter().any(|word| word.contains('*')), "{name}: {rule}");
            }
            let resources = strings(&rule["resources"]);
            if resources.contains(&"secrets") {
                assert_eq!(role["kind"], "Role", "{name}: {rule}");
                assert!(!strings(&rule["resourceNames"]).is_empty(), "{name}: {rule}");
            }
            if name.contains("agentaccess-operator") {
                // With these it could be, or make, anybody.
                for verb in ["impersonate", "escalate", "bind", "approve", "ungovern"] {
                    assert!(!strings(&rule["verbs"]).contains(&verb), "{name}: {rule}");
                }
                let writes = strings(&rule["verbs"]).iter().any(|verb| !["get", "list", "watch"].contains(verb));
                for resource in ["pods", "pods/exec", "injectionprofiles", "serviceaccounts/token"] {
                    assert!(!(writes && resources.contains(&resource)), "{name}: {rule}");
                }
            }
        }
    }
    assert!(rules > 30, "{rules} rules");
}

#[test]
fn all_that_runs_is_restricted() {
    let objects = objects();
    let (mut containers, mut volumes) = (0, 0);
    for (name, owner) in kind(&objects, &["Deployment", "Job", "DaemonSet", "StatefulSet", "CronJob", "Pod"]) {
        let spec = &owner["spec"]["template"]["spec"];
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        for container in spec["containers"].as_array().unwrap() {
            containers += 1;
            let restricted = json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
            });
            assert_eq!(container["securityContext"], restricted, "{name}");
            assert!(!container["resources"].is_null(), "{name}");
        }
        // The kubelet writes them as root, and it does not run as root.
        for volume in spec["volumes"].as_array().into_iter().flatten() {
            let mode = volume["secret"]["defaultMode"].as_i64().unwrap_or(0o644);
            assert!(mode & 0o004 != 0 || !spec["securityContext"]["fsGroup"].is_null(), "{name}: {volume}");
            volumes += 1;
        }
    }
    assert_eq!((containers, volumes), (3, 3), "one for each set of values; two Secrets and a claim");
    // What is injected: one of three has one capability more.
    for (name, profile) in kind(&objects, &["InjectionProfile"]) {
        for release in profile["spec"]["releases"].as_array().unwrap() {
            for container in release["containers"].as_array().unwrap() {
                let context = &container["securityContext"];
                let init = container["name"] == "agentaccess-init";
                let add = if init { json!(["NET_ADMIN"]) } else { Value::Null };
                assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{name}");
                assert_eq!(context["capabilities"]["add"], add, "{name}");
                assert_eq!(context["runAsNonRoot"], json!(!init), "{name}");
                for (field, value) in [
                    ("allowPrivilegeEscalation", json!(false)),
                    ("privileged", json!(false)),
                    ("readOnlyRootFilesystem", json!(true)),
                    ("seccompProfile", json!({"type": "RuntimeDefault"})),
                ] {
                    assert_eq!(context[field], value, "{name}: {field}");
                }
            }
        }
    }
}

/// Where it is asked for, and nowhere else: who upgrades is not cut off.
#[test]
fn secrets_must_name_their_hosts_where_the_values_say_so() {
    let objects = objects();
    let operators =
        kind(&objects, &["Deployment"]).filter(|(_, one)| one["metadata"]["name"] == "agentaccess-operator");
    let asked: Vec<bool> = operators
        .map(|(name, one)| {
            let strict = one.to_string().contains("\"--secrets-name-hosts\"");
            assert_eq!(strict, name.starts_with("everything"), "{name}");
            strict
        })
        .collect();
    assert_eq!(asked.iter().filter(|strict| **strict).count(), 1, "{asked:?}");
}

#[test]
fn what_refuses_keeps_refusing() {
    let objects = objects();
    for (name, configuration) in kind(&objects, &["MutatingWebhookConfiguration"]) {
        for webhook in configuration["webhooks"].as_array().unwrap() {
            assert_eq!(webhook["failurePolicy"], "Fail", "{name}");
            assert_eq!(webhook["matchPolicy"], "Equivalent", "{name}");
            assert_eq!(webhook["sideEffects"], "None", "{name}");
            assert!(webhook["timeoutSeconds"].is_u64() && webhook["objectSelector"].is_null(), "{name}");
        }
    }
    // It tells people early and decides nothing: the kill switch must not wait for the operator.
    for (name, configuration) in kind(&objects, &["ValidatingWebhookConfiguration"]) {
        for webhook in configuration["webhooks"].as_array().unwrap() {
            assert_eq!(
                (&webhook["failurePolicy"], &webhook["sideEffects"]),
                (&json!("Ignore"), &json!("None")),
                "{name}"
            );
            assert_eq!(webhook["rules"][0]["operations"], json!(["CREATE", "UPDATE"]), "{name}");
            assert!(!webhook["rules"][0]["resources"].to_string().contains("/status"), "{name}");
        }
    }
    let mut walls = 0;
    for (name, policy) in kind(&objects, &["ValidatingAdmissionPolicy"]) {
        let warns = policy["metadata"]["name"] == "agentaccess-owners";
        assert_eq!(policy["spec"]["failurePolicy"], if warns { "Ignore" } else { "Fail" }, "{name}");
        for validation in policy["spec"]["validations"].as_array().unwrap() {
            assert!(
                !validation["message"].is_null() || !validation["messageExpression"].is_null(),
                "{name}: {validation}"
            );
        }
        walls += 1;
    }
    assert_eq!(walls, 3 * 11, "eleven policies for each set of values");
    for (name, binding) in kind(&objects, &["ValidatingAdmissionPolicyBinding"]) {
        let warns = binding["metadata"]["name"] == "agentaccess-owners";
        assert_eq!(binding["spec"]["validationActions"], json!([if warns { "Warn" } else { "Deny" }]), "{name}");
        assert!(binding["spec"]["matchResources"].is_null(), "{name}");
    }
}

/// The API server compiles the expressions against the types that they name.
fn no_expression_is_doubtful(cluster: &Cluster) {
    wait::until("every policy is checked", Duration::from_secs(60), || {
        let policies = cluster.get(&["validatingadmissionpolicies"])?;
        let ours = policies["items"].as_array().unwrap().iter();
        let mut checked = 0;
        for policy in
            ours.filter(|one| one["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("agentaccess")))
        {
            let Some(checking) = policy["status"].get("typeChecking") else { return Ok(None) };
            assert!(checking["expressionWarnings"].is_null(), "{}: {checking}", policy["metadata"]["name"]);
            checked += 1;
        }
        Ok((checked == 11).then_some(()))
    })
    .unwrap();
}

/// Nothing says then what a pod must hold. Neither does it when the webhook is gone too.
fn without_a_profile_no_pod_starts(cluster: &Cluster) {
    let governed = cluster.namespace(&json!({"agentaccess.dev/injection": "enabled"})).unwrap();
    for object in ["mutatingwebhookconfiguration", "injectionprofile"] {
        cluster.run(&["delete", object, "agentaccess"], None).unwrap().accepted(object).unwrap();
    }
    let pod = ["run", "x", "--image=none", "--dry-run=server", "-n", &governed.name];
    wait::eventually("the deletion is known", Duration::from_secs(10), || {
        cluster.run(&pod, None).unwrap().refused("a pod", "no params found").is_ok()
    })
    .unwrap();
}

#[test]
fn it_is_installed_upgraded_and_removed() {
    let cluster = Cluster::connect().unwrap();
    let releases = || -> Vec<String> {
        let profile = cluster.get(&["injectionprofile", "agentaccess"]).unwrap();
        let names = profile["spec"]["releases"].as_array().unwrap().iter();
        names.map(|release| release["name"].as_str().unwrap().to_owned()).collect()
    };
    let upgrade = |program: &str, more: &[&str]| {
        let values = ["--values", "e2e/cluster/config/chart-values.yaml"];
        let arguments = ["upgrade", "--install", "agentaccess", "charts/agentaccess", "--namespace", NAMESPACE];
        helm(program, &[&arguments[..], &values, more].concat());
    };
    upgrade("helm", &[]);
    no_expression_is_doubtful(&cluster);
    without_a_profile_no_pod_starts(&cluster);
    upgrade("helm", &[]);
    let first = releases();
    upgrade("helm", &["--set", "sidecar.stateSize=2Gi"]);
    let second = releases();
    assert_eq!(second[1], first[0], "pods of replicas that still inject the release before are let pass");
    assert_ne!(second[0], first[0]);
    upgrade("helm", &["--set", "sidecar.stateSize=3Gi"]);
    assert_eq!(releases()[1..], second[..1], "and no older one");

    // First with replicas that look after what they serve, then without any.
    for (program, serves) in [("helm", true), ("helm3", false)] {
        upgrade(program, &[]);
        if serves {
            serve(&cluster);
        }
        let governed = cluster.namespace(&json!({"agentaccess.dev/injection": "enabled"})).unwrap();
        let pod = ["run", "after", "--image=none", "--dry-run=server", "-n", &governed.name];
        // Helm made the webhook anew, so that a leader has to write its CA: one that was killed before is missed for 15 s.
        wait::until("it is governed", Duration::from_secs(60), || {
            let before = cluster.run(&pod, None)?;
            assert!(!before.accepted, "governed: {}", before.text);
            Ok((before.text.contains("failed calling webhook") != serves).then_some(()))
        })
        .unwrap();
        if serves {
            spoil(&cluster);
        }
        helm(program, &["uninstall", "agentaccess", "--namespace", NAMESPACE, "--wait", "--timeout", "60s"]);
        let left = || {
            let kinds = "validatingadmissionpolicies,validatingadmissionpolicybindings,mutatingwebhookconfigurations,\
                         validatingwebhookconfigurations,injectionprofiles,clusterroles,clusterrolebindings";
            let left = cluster.run(&["get", kinds, "-o", "name"], None).unwrap().text;
            left.lines().filter(|line| line.contains("agentaccess")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(left(), Vec::<String>::new(), "{program} leaves them");
        // Kept, with every policy and approval.
        cluster.get(&["crd", "agentaccesspolicies.agentaccess.dev"]).unwrap();
        wait::eventually("pods start again", Duration::from_secs(10), || cluster.run(&pod, None).unwrap().accepted)
            .unwrap();
        if serves {
            // Longer than it would take an operator to put it right.
            thread::sleep(Duration::from_secs(5));
            assert_eq!(left(), Vec::<String>::new(), "they came back");
        }
    }
}

/// Two replicas that are ready.
fn serve(cluster: &Cluster) {
    let operator = "deployment/agentaccess-operator";
    for words in [&["scale", operator, "--replicas=2"][..], &["rollout", "status", operator, "--timeout=25s"]] {
        let words = [&["-n", NAMESPACE], words].concat();
        wait::eventually(operator, Duration::from_secs(60), || cluster.run(&words, None).unwrap().accepted).unwrap();
    }
}

/// What the operator would put right within seconds.
fn spoil(cluster: &Cluster) {
    let patch = r#"[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]"#;
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        let words = ["patch", kind, "agentaccess", "--type=json", "-p", patch];
        cluster.run(&words, None).unwrap().accepted(kind).unwrap();
    }
}
