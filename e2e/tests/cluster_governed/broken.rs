//! A fence that is not there: the pod's agent never runs. The pods are written by hand from the installed release, where
//! no wall asks whether they are whole. Each tries to reach a listener on this machine.

use e2e::cluster::Cluster;
use e2e::wait;
use serde_json::{Value, json};

use super::agent::{START, pod};
use super::sink::Sink;

const USER: u32 = 1_234_567_890;
const NONCE: &str = "0123456789abcdef0123456789abcdef";

/// What the webhook would have made of it.
fn injected(cluster: &Cluster, name: &str, script: &str) -> Value {
    let profile = cluster.get(&["injectionprofile", "agentaccess"]).unwrap();
    let (release, roots) = (&profile["spec"]["releases"][0], profile["status"]["roots"][0].as_str().unwrap());
    let text = release["containers"].to_string();
    let text = text.replace("{user}", &USER.to_string()).replace("{nonce}", NONCE).replace("{roots}", roots);
    let mut ours: Value = serde_json::from_str(&text).unwrap();
    for (index, user) in [(1, USER), (2, USER + 1)] {
        ours[index]["securityContext"]["runAsUser"] = json!(user);
        ours[index]["securityContext"]["runAsGroup"] = json!(user);
    }
    let mut pod = pod(name);
    pod["metadata"]["labels"]["agentaccess.dev/injected"] = json!("true");
    pod["spec"]["initContainers"] = ours;
    pod["spec"]["volumes"] = release["volumes"].clone();
    pod["spec"]["automountServiceAccountToken"] = json!(false);
    pod["spec"]["restartPolicy"] = json!("Never");
    pod["spec"]["containers"][0]["command"][2] = json!(script);
    pod
}

#[test]
fn without_a_fence_the_agent_never_runs() {
    let cluster = Cluster::connect().unwrap();
    let namespace = cluster.namespace(&json!({})).unwrap();
    let name = namespace.name.as_str();
    let sink = Sink::open();
    let script = format!("echo the agent runs; {}", sink.script());
    let status = |pod: &str| cluster.get(&["pod", "-n", name, pod]).unwrap()["status"].clone();
    let ended = |pod: &str, phase: &str| {
        let waited = wait::eventually(phase, START * 2, || status(pod)["phase"] == phase);
        assert!(waited.is_ok(), "{pod}: {:#}", status(pod));
    };

    let whole = injected(&cluster, "whole", &script);
    // A ruleset that the kernel does not take: the installer says so.
    let mut refused = injected(&cluster, "refused", &script);
    refused["spec"]["initContainers"][0]["securityContext"]["capabilities"]["add"] = Value::Null;
    // An installer that says that all is well, and has installed nothing: as a runtime without nft, or another image.
    let mut lying = injected(&cluster, "lying", &script);
    lying["spec"]["initContainers"][0]["image"] = json!("localhost/busybox:1");
    lying["spec"]["initContainers"][0]["command"] = json!(["true"]);
    // A fence for another user than the sidecar's, which is then outside of nothing.
    let mut other = injected(&cluster, "other", &script);
    other["spec"]["initContainers"][0]["args"][1] = json!("--user=1000");
    for pod in [&whole, &refused, &lying, &other] {
        cluster.run(&["create", "-n", name, "-f", "-"], Some(pod)).unwrap().accepted("a pod").unwrap();
    }

    ended("refused", "Failed");
    let init = status("refused")["initContainerStatuses"][0]["state"]["terminated"].clone();
    assert!(init["exitCode"] != 0 && init["message"].to_string().contains("NET_ADMIN"), "{init}");
    ended("lying", "Failed");
    let all = status("lying")["initContainerStatuses"].clone();
    assert_eq!(all[0]["state"]["terminated"]["exitCode"], 0, "{all}");
    let verify = &all[2]["state"]["terminated"];
    // It says what got out, not only that no sidecar took it.
    assert!(verify["exitCode"] != 0 && verify["message"].to_string().contains("was sent"), "{all}");
    for pod in ["refused", "lying"] {
        assert!(status(pod)["containerStatuses"][0]["state"]["running"].is_null(), "{}", status(pod));
        assert!(status(pod)["containerStatuses"][0]["started"] != true, "{}", status(pod));
        let said = cluster.run(&["logs", "-n", name, pod, "-c", "agent"], None).unwrap();
        assert!(!said.text.contains("the agent runs"), "{pod}: {}", said.text);
    }

    // The sidecar is not let out behind a fence that is another's: it never learns who it is.
    let agent = status("other")["containerStatuses"][0]["state"].clone();
    assert!(agent["running"].is_null() && agent["terminated"].is_null(), "{agent}");
    // With all of it the agent runs, and gets no further.
    ended("whole", "Succeeded");
    let said = cluster.run(&["logs", "-n", name, "whole", "-c", "agent"], None).unwrap();
    assert!(said.text.contains("the agent runs"), "{}", said.text);
    assert_eq!(sink.seen(), (false, false));
}
