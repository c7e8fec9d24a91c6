//! What people hear when they apply policies and targets: refused with the field, taken with a warning, or nothing.

use std::path::Path;
use std::time::Duration;

use e2e::cluster::{Answer, Cluster, Namespace};
use e2e::wait;
use serde_json::{Value, json};

use super::agent::documents;

/// The leader looks at the configurations every 15 s.
const TRUSTED: Duration = Duration::from_secs(40);

fn bundles(cluster: &Cluster) -> Vec<Value> {
    let kinds = ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"];
    let all = kinds.map(|kind| cluster.get(&[kind, "agentaccess"]).unwrap()["webhooks"].clone());
    let all = all.iter().flat_map(|webhooks| webhooks.as_array().unwrap().clone());
    all.map(|webhook| webhook["clientConfig"]["caBundle"].clone()).collect()
}

/// A namespace, and a webhook that the API server trusts: until then everything passes.
fn ready() -> (Cluster, Namespace) {
    let cluster = Cluster::connect().unwrap();
    wait::eventually("all webhooks have one CA", TRUSTED, || {
        let bundles = bundles(&cluster);
        bundles.len() == 3 && bundles.iter().all(|one| one.is_string() && *one == bundles[0])
    })
    .unwrap();
    let namespace = cluster.namespace(&json!({})).unwrap();
    (cluster, namespace)
}

fn policy(namespace: &Namespace, targets: &Value) -> Value {
    json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "AgentAccessPolicy",
        "metadata": {"name": "support", "namespace": namespace.name},
        "spec": {"podSelector": {}, "targets": targets},
    })
}

fn of_target(name: &str, rules: &Value) -> Value {
    json!({"targetRef": {"name": name}, "postgres": {"rules": rules}})
}

fn reads() -> Value {
    json!([{"name": "reads", "action": "Allow", "verbs": ["Select"], "relations": ["public.orders"]}])
}

fn apply(cluster: &Cluster, object: &Value) -> Answer {
    let answer = cluster.run(&["apply", "-f", "-"], Some(object)).unwrap();
    println!("{}", answer.text.trim_end());
    answer
}

fn warnings(answer: &Answer) -> Vec<&str> {
    answer.text.lines().filter(|line| line.starts_with("Warning:")).collect()
}

/// What schema and CEL take and no sidecar could enforce.
#[test]
fn what_cannot_be_enforced_is_refused_with_every_field() {
    let (cluster, namespace) = ready();
    let mut twice = policy(&namespace, &json!([of_target("db", &reads()), of_target("db", &reads())]));
    twice["spec"]["podSelector"] = json!({"matchLabels": {"no label": "x"}});
    let answer = apply(&cluster, &twice);
    answer.refused("two blocks for one target", "The AgentAccessPolicy \"support\" is invalid").unwrap();
    for line in [
        "* spec.podSelector.matchLabels.no label: `no label` is not a label key",
        "* spec.targets[1].targetRef.name: spec.targets[0] is about this target already: put the rules of both into one",
    ] {
        assert!(answer.text.contains(line), "{line} is not in {}", answer.text);
    }
    // A dry run hears the same, and one that passes stores nothing.
    let dry = |object: &Value| cluster.run(&["apply", "--dry-run=server", "-f", "-"], Some(object)).unwrap();
    dry(&twice).refused("a dry run", "spec.targets[1].targetRef.name").unwrap();
    dry(&policy(&namespace, &json!([of_target("db", &reads())]))).accepted("a good dry run").unwrap();
    assert_eq!(cluster.get(&["aap", "-n", &namespace.name]).unwrap()["items"], json!([]));

    let guardrail = json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "ClusterAgentAccessPolicy", "metadata": {"name": "builtin"},
        "spec": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}, "podSelector": {}},
    });
    apply(&cluster, &guardrail)
        .refused("our own name", "metadata.name: `builtin` is the name of our own rules")
        .unwrap();
    // A change that is bad is refused as well, and what stood before still does.
    apply(&cluster, &policy(&namespace, &json!([of_target("db", &reads())]))).accepted("a good one").unwrap();
    apply(&cluster, &twice).refused("an update", "spec.targets[1].targetRef.name").unwrap();
    let stored = cluster.get(&["aap", "-n", &namespace.name, "support"]).unwrap();
    assert_eq!(stored["spec"]["targets"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_odd_or_not_there_yet_is_taken_with_a_warning() {
    let (cluster, namespace) = ready();
    let rules = json!([
        {"name": "all", "action": "Allow", "verbs": ["Select", "Update"]},
        {"name": "orders", "action": "Allow", "verbs": ["Select"], "relations": ["public.orders"]},
    ]);
    let mut odd = policy(&namespace, &json!([of_target("gone", &rules)]));
    odd["spec"]["mode"] = json!("Audit");
    let answer = apply(&cluster, &odd);
    answer.accepted("a policy for a target that is not there").unwrap();
    let rules = "spec.targets[0].postgres.rules";
    for warning in [
        "spec.mode: where every policy of a pod says Audit, all that could be allowed passes, and is recorded"
            .to_owned(),
        format!("{rules}[0].relations: allows Update on all relations, asking nobody: list some"),
        format!("{rules}[1]: has no effect: `all` says the same or more about all of it"),
        "spec.targets: none of the targets exists: no rule of this policy can match".to_owned(),
        "spec.targets[0].targetRef.name: there is no AccessTarget `gone` here; it is denied until there is".to_owned(),
    ] {
        assert!(answer.text.contains(&format!("Warning: {warning}\n")), "{warning} is not in {}", answer.text);
    }
    assert_eq!(warnings(&answer).len(), 5, "{}", answer.text);
    cluster.get(&["aap", "-n", &namespace.name, "support"]).unwrap();
    // Who only labels it has heard of it before.
    let label = cluster.run(&["-n", &namespace.name, "label", "aap", "support", "team=a"], None).unwrap();
    label.accepted("a label").unwrap();
    assert!(warnings(&label).is_empty(), "{}", label.text);
}

#[test]
fn the_kill_switch_is_thrown_by_one_command() {
    let (cluster, namespace) = ready();
    let stop = json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "ClusterAgentAccessPolicy", "metadata": {"name": namespace.name},
        "spec": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}, "podSelector": {}, "denyAll": true},
    });
    apply(&cluster, &stop).accepted("denyAll").unwrap();
    let patch = ["patch", "caap", &namespace.name, "--type=merge", "-p", "{\"spec\":{\"denyAll\":false}}"];
    cluster.run(&patch, None).unwrap().accepted("its end").unwrap();
    cluster.run(&["delete", "caap", &namespace.name], None).unwrap().accepted("its deletion").unwrap();
}

/// Who copies an example is warned of nothing; `quickstart.rs` applies the others.
#[test]
fn the_examples_are_taken_without_a_word() {
    let (cluster, namespace) = ready();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let readme = read("README.md");
    let blocks = readme.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    // The others are values of the chart.
    let from_readme: Vec<&str> = blocks.filter(|block| block.contains("kind: ")).collect();
    assert_eq!(from_readme.len(), 1);
    let folder = "examples/standalone/policies";
    // Their targets before them.
    let texts =
        [read(&format!("{folder}/target.yaml")), read(&format!("{folder}/policy.yaml")), from_readme[0].to_owned()];
    let mut applied = 0;
    for text in texts {
        for mut object in documents(&text) {
            object["metadata"]["namespace"] = json!(namespace.name);
            let answer = apply(&cluster, &object);
            answer.accepted(&object["kind"].to_string()).unwrap();
            assert!(warnings(&answer).is_empty(), "{}", answer.text);
            applied += 1;
        }
    }
    assert_eq!(applied, 3);
    // It would stand over the agents of every other test.
    for object in documents(&read(&format!("{folder}/guardrails.yaml"))) {
        let answer = cluster.run(&["apply", "--dry-run=server", "-f", "-"], Some(&object)).unwrap();
        answer.accepted("guardrails").unwrap();
        assert!(warnings(&answer).is_empty(), "{}", answer.text);
    }
}
