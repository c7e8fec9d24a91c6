//! What `kubectl` shows of policies and targets: whether they count, what is missing, and where they are in force.

use std::thread;
use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::wait;
use e2e::world::Policy;
use serde_json::{Value, json};

use super::agent::{governed, pod, run};
use super::database::World;
use super::watched::Watched;

/// For a word to be written: two writes of one object are five seconds apart.
const SAID: Duration = Duration::from_secs(20);
/// For a rule that was used to be known: sidecars tell it every half a minute.
const TOLD: Duration = Duration::from_secs(75);
const FINE: &str = "Accepted=True/Accepted Programmed=True/Programmed ResolvedRefs=True/ResolvedRefs";

fn get(cluster: &Cluster, namespace: &str, kind: &str, name: &str) -> Value {
    cluster.get(&[kind, name, "-n", namespace]).unwrap()
}

/// `Type=Status/Reason` of each condition, of this generation only.
pub(crate) fn words(object: &Value) -> String {
    let generation = &object["metadata"]["generation"];
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let mut words: Vec<String> = conditions
        .filter(|one| one["observedGeneration"] == *generation)
        .map(|one| format!("{}={}/{}", text(&one["type"]), text(&one["status"]), text(&one["reason"])))
        .collect();
    words.sort();
    words.join(" ")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(crate) fn message<'a>(object: &'a Value, type_: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.filter(|one| one["type"] == type_).map(|one| text(&one["message"])).next().unwrap_or_default()
}

/// Waits until the object says so; the last one, then.
pub(crate) fn says(cluster: &Cluster, namespace: &str, kind: &str, name: &str, what: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let waited = wait::eventually("the status", SAID, || {
        thread::sleep(Duration::from_millis(100));
        last = get(cluster, namespace, kind, name);
        what(&last)
    });
    assert!(waited.is_ok(), "{kind} {name}: {}\n{:#}", words(&last), last["status"]);
    last
}

fn shown(cluster: &Cluster, namespace: &str, kind: &str) -> Vec<Vec<String>> {
    let table = cluster.run(&["get", kind, "-n", namespace], None).unwrap();
    table.accepted(kind).unwrap();
    table.text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

fn unused(policy: &Value) -> Vec<&str> {
    policy["status"]["unusedRules"].as_array().into_iter().flatten().map(text).collect()
}

#[test]
fn a_policy_in_force_says_so_and_which_of_its_rules_nobody_needs() {
    let world = World::new(&Policy::default());
    let (cluster, namespace) = (&world.cluster, world.namespace.name.as_str());
    let policy = says(cluster, namespace, "aap", "agent", |policy| words(policy) == FINE);
    let status = &policy["status"];
    assert_eq!((&status["matchedPods"], &status["syncedPods"]), (&json!(1), &json!(1)), "{status:#}");
    assert_eq!(status["observedGeneration"], policy["metadata"]["generation"]);
    let revision = text(&status["revision"]).to_owned();
    assert!(revision.starts_with("sha256:") && revision.len() == 19, "{revision}");
    assert!(text(&status["lastSyncTime"]).ends_with('Z'), "{status:#}");
    let target = says(cluster, namespace, "atgt", "db", |target| !words(target).is_empty());
    assert_eq!(words(&target), "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs");
    assert!(target["status"].get("matchedPods").is_none(), "{target:#}");

    // As people see it.
    let table = shown(cluster, namespace, "aap");
    assert_eq!(table[0].join(" "), "NAME MODE PODS SYNCED ACCEPTED PROGRAMMED AGE");
    assert_eq!(table[1][..6].join(" "), "agent Enforce 1 1 True True");
    let table = shown(cluster, namespace, "atgt");
    assert_eq!(table[0].join(" "), "NAME PROTOCOL HOST PORT RESOLVED AGE");
    assert_eq!((table[1][0].as_str(), table[1][4].as_str()), ("db", "True"));
    let wait = ["wait", "--for=condition=Programmed", "aap/agent", "-n", namespace, "--timeout=10s"];
    cluster.run(&wait, None).unwrap().accepted("kubectl wait").unwrap();

    // A rule that was used is not unused any more, in this form of the policy.
    let all = unused(&policy);
    assert_eq!(all, ["adds", "few", "fixes", "loads", "no-ddl", "no-deletes", "quick", "reads", "slow"]);
    let mut psql = world.psql();
    assert_eq!(psql.ask("SELECT id FROM orders WHERE id = 1").as_deref(), Some("1\n"));
    assert!(psql.ask("DROP TABLE orders").unwrap().contains("migrations"));
    let begun = Instant::now();
    let left = ["adds", "few", "fixes", "loads", "no-deletes", "quick", "slow"];
    wait::eventually("the rules that were used", TOLD, || {
        thread::sleep(Duration::from_secs(1));
        unused(&get(cluster, namespace, "aap", "agent")) == left
    })
    .unwrap();
    println!("a used rule is known after {:?}", begun.elapsed());
    let generation = get(cluster, namespace, "aap", "agent")["metadata"]["generation"].clone();
    world.apply_policy(
        &Policy::default().rule("{name: more, action: Allow, verbs: [Select], relations: [public.vault]}"),
    );
    let next = says(cluster, namespace, "aap", "agent", |policy| {
        policy["metadata"]["generation"] != generation && words(policy) == FINE
    });
    assert!(unused(&next).contains(&"reads") && unused(&next).contains(&"more"), "{:?}", unused(&next));
    assert_ne!(text(&next["status"]["revision"]), revision);
}

#[test]
fn what_a_policy_misses_is_named_until_it_is_there() {
    let cluster = Cluster::connect().unwrap();
    let home = governed(&cluster);
    let namespace = home.name.as_str();
    let apply = |object: Value| {
        cluster.run(&["apply", "-n", namespace, "-f", "-"], Some(&object)).unwrap().accepted("apply").unwrap();
    };
    let resolved = |kind: &str, name: &str, word: &str, texts: &[&str]| {
        let found =
            says(&cluster, namespace, kind, name, |object| words(object).contains(&format!("ResolvedRefs={word}")));
        let message = message(&found, "ResolvedRefs");
        assert!(texts.iter().all(|text| message.contains(text)), "{message}");
    };
    let rules = json!([{"name": "r", "action": "Allow", "verbs": ["Select"], "relations": ["public.orders"]}]);
    apply(json!({"apiVersion": "agentaccess.dev/v1alpha1", "kind": "AgentAccessPolicy", "metadata": {"name": "p"},
        "spec": {"podSelector": {}, "targets": [{"targetRef": {"name": "orders-db"}, "postgres": {"rules": rules}}]}}));
    resolved(
        "aap",
        "p",
        "False/TargetNotFound",
        &["spec.targets[0].targetRef.name", "AccessTarget `orders-db`", "make it"],
    );
    let policy = get(&cluster, namespace, "aap", "p");
    assert!(words(&policy).contains("Accepted=True/Accepted Programmed=True/NoPods"), "{}", words(&policy));

    apply(json!({"apiVersion": "agentaccess.dev/v1alpha1", "kind": "AccessTarget", "metadata": {"name": "orders-db"},
        "spec": {"protocol": "Postgres", "host": "db.example", "port": 5432, "credentialRef": {"name": "login"},
            "postgres": {"databases": ["orders"]}}}));
    resolved("aap", "p", "False/SecretNotFound", &["AccessTarget `orders-db`", "Secret `login`", "rbac.credentials"]);
    resolved("atgt", "orders-db", "False/SecretNotFound", &["spec.credentialRef.name", "Secret `login`"]);
    let group = "rbac.authorization.k8s.io";
    apply(json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": {"name": "credentials"},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["login"], "verbs": ["get", "list", "watch"]}]}));
    apply(json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": "credentials"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "credentials"},
        "subjects": [{"kind": "ServiceAccount", "name": "agentaccess-operator", "namespace": "agentaccess-system"}]}));
    let secret =
        |data: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "stringData": data});
    apply(secret(json!({"username": "u"})));
    resolved(
        "aap",
        "p",
        "False/SecretKeyNotFound",
        &["spec.credentialRef.passwordKey", "`login` has no key `password`"],
    );
    apply(secret(json!({"username": "u", "password": "swordfish"})));
    resolved("aap", "p", "True/ResolvedRefs", &[]);
    resolved("atgt", "orders-db", "True/ResolvedRefs", &[]);
    let delete = ["delete", "secret", "login", "-n", namespace];
    cluster.run(&delete, None).unwrap().accepted("the Secret is gone").unwrap();
    resolved("aap", "p", "False/SecretNotFound", &["Secret `login`"]);

    // Told to people too, and never with a value.
    wait::eventually("the Events", SAID, || {
        let events = cluster.get(&["events", "-n", namespace]).unwrap();
        let of = |reason: &str, kind: &str| {
            let mut all = events["items"].as_array().unwrap().iter();
            all.any(|one| one["reason"] == reason && one["type"] == kind && one["involvedObject"]["name"] == "p")
        };
        of("NotResolvedRefs", "Warning") && of("ResolvedRefs", "Normal")
    })
    .unwrap();
    // The same again and again is one Event that counts.
    for _ in 0..2 {
        apply(secret(json!({"username": "u", "password": "swordfish"})));
        resolved("aap", "p", "True/ResolvedRefs", &[]);
        cluster.run(&delete, None).unwrap().accepted("the Secret is gone").unwrap();
        resolved("aap", "p", "False/SecretNotFound", &["Secret `login`"]);
    }
    let counted = |reason: &str| {
        let events = cluster.get(&["events", "-n", namespace]).unwrap();
        let of = |one: &&Value| one["reason"] == reason && one["involvedObject"]["name"] == "p";
        let found: Vec<Value> = events["items"].as_array().unwrap().iter().filter(of).cloned().collect();
        assert_eq!(found.len(), 1, "{found:#?}");
        found[0]["series"]["count"].as_u64().unwrap_or(1)
    };
    wait::eventually("they count", SAID, || counted("NotResolvedRefs") >= 3 && counted("ResolvedRefs") >= 3).unwrap();
    for kind in ["aap", "atgt", "events"] {
        assert!(!cluster.get(&[kind, "-n", namespace]).unwrap().to_string().contains("swordfish"));
    }
}

#[test]
fn a_policy_of_the_cluster_counts_the_pods_of_its_namespaces() {
    let cluster = Cluster::connect().unwrap();
    let homes = [governed(&cluster), governed(&cluster)];
    let [shop, bank] = [homes[0].name.as_str(), homes[1].name.as_str()];
    for namespace in [shop, bank] {
        cluster
            .run(&["label", "namespace", namespace, &format!("e2e={shop}")], None)
            .unwrap()
            .accepted("label")
            .unwrap();
        run(&cluster, namespace, &pod("agent"));
    }
    let guard = json!({"apiVersion": "agentaccess.dev/v1alpha1", "kind": "ClusterAgentAccessPolicy",
        "metadata": {"name": shop}, "spec": {"namespaceSelector": {"matchLabels": {"e2e": shop}}, "podSelector": {}}});
    cluster.create(&guard).unwrap().accepted("a policy of the cluster").unwrap();
    let counted =
        says(&cluster, shop, "caap", shop, |policy| words(policy) == FINE && policy["status"]["matchedPods"] == 2);
    assert_eq!(counted["status"]["syncedPods"], 2, "{:#}", counted["status"]);
    let table = shown(&cluster, shop, "caap");
    assert_eq!(table[0].join(" "), "NAME DENYALL PODS SYNCED ACCEPTED PROGRAMMED AGE");

    // Who ends does not wait.
    cluster.run(&["delete", "pod", "agent", "-n", bank, "--now"], None).unwrap().accepted("an end").unwrap();
    says(&cluster, shop, "caap", shop, |policy| words(policy) == FINE && policy["status"]["matchedPods"] == 1);
    cluster.run(&["delete", "caap", shop], None).unwrap().accepted("away").unwrap();
}

#[test]
fn a_status_is_written_seldom_and_put_right() {
    let world = World::new(&Policy::default());
    let (cluster, namespace) = (&world.cluster, world.namespace.name.as_str());
    let before = says(cluster, namespace, "aap", "agent", |policy| words(policy) == FINE);

    // Somebody writes over it.
    let patch = |status: Value| {
        let patch = json!({"status": status}).to_string();
        let edit = ["patch", "aap", "agent", "-n", namespace, "--subresource=status", "--type=merge", "-p", &patch];
        cluster.run(&edit, None).unwrap().accepted("an edit of the status").unwrap();
    };
    let mut lie = before["status"]["conditions"].clone();
    for one in lie.as_array_mut().unwrap() {
        one["status"] = json!("False");
        one["message"] = json!("all is lost");
    }
    lie.as_array_mut().unwrap().push(json!({"type": "Reviewed", "status": "True", "reason": "ByAlice",
        "message": "", "lastTransitionTime": "2026-11-21T10:00:00Z"}));
    patch(json!({"matchedPods": 99, "conditions": lie, "unusedRules": []}));
    let right = says(cluster, namespace, "aap", "agent", |policy| policy["status"]["matchedPods"] == 1);
    let ours = |policy: &Value| {
        let mut all = policy["status"]["conditions"].as_array().unwrap().clone();
        all.retain(|one| one["type"] != "Reviewed");
        all.sort_by_key(|one| text(&one["type"]).to_owned());
        all
    };
    assert_eq!(ours(&right), ours(&before), "with its times");
    assert_eq!(right["status"]["unusedRules"], before["status"]["unusedRules"]);
    assert!(words(&right).len() >= FINE.len() && right.to_string().contains("ByAlice"), "what is not ours stays");
    // An editor of policies cannot.
    let editor = cluster.user("eve");
    let edit = ["patch", "aap", "agent", "-n", namespace, "--subresource=status", "--type=merge", "-p", "{}"];
    editor.run(&edit, None).unwrap().refused("no right", "forbidden").unwrap();

    // A hundred changes, as fast as they can be made.
    let watched = Watched::begin("aap", "agent", namespace);
    let begun = Instant::now();
    thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                for n in 0..25 {
                    let to = if (part + n) % 2 == 0 { "Payload" } else { "Statements" };
                    let spec = json!({"spec": {"recording": {"level": to}, "serviceAccountNames": [format!("a{part}-{n}"), "default"]}});
                    let patch = ["patch", "aap", "agent", "-n", namespace, "--type=merge", "-p", &spec.to_string()];
                    cluster.run(&patch, None).unwrap().accepted("a change").unwrap();
                }
            });
        }
    });
    let took = begun.elapsed();
    let last = says(cluster, namespace, "aap", "agent", |policy| words(policy).contains(FINE));
    let written = begun.elapsed();
    // It stays as it is.
    thread::sleep(Duration::from_secs(6));
    let forms = watched.end();
    let generation = last["metadata"]["generation"].as_i64().unwrap();
    let changes = generation - before["metadata"]["generation"].as_i64().unwrap();
    assert_eq!(changes, 100);
    let statuses = forms.windows(2).filter(|pair| pair[0].generation == pair[1].generation).count();
    println!("{changes} changes in {took:?}: {statuses} writes of the status, the last after {written:?}");
    let most = usize::try_from(written.as_secs() / 5).unwrap() + 2;
    assert!((1..=most).contains(&statuses), "{statuses} writes in {written:?}: {forms:#?}");
}
