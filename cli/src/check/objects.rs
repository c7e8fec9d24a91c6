//! Governed namespaces and their pods; policies and targets.

use std::collections::BTreeMap;

use crds::pod::{INJECTED_LABEL, INJECTION_ENABLED, INJECTION_LABEL, PROXY};
use crds::status::{ACCEPTED, PROGRAMMED, RESOLVED_REFS};
use serde_json::Value;

use super::cluster::condition;
use super::report::Report;
use crate::cluster::{Cluster, full_name, items, text};

const PODS: &str = "governed pods";
const POLICIES: &str = "policies and targets";
/// Names in one line; the rest is counted.
const SHOWN: usize = 5;

pub(super) fn pods(cluster: &Cluster, report: &mut Report) {
    const NAMESPACES: &str = "there is a governed namespace";
    let selector = format!("{INJECTION_LABEL}={INJECTION_ENABLED}");
    let namespaces = match cluster.list("/api/v1/namespaces", &selector) {
        Err(error) => return report.unknown(PODS, NAMESPACES, &error),
        Ok(namespaces) => namespaces.unwrap_or_default(),
    };
    if namespaces.is_empty() {
        let hint = format!("label one: kubectl label namespace NAME {selector}");
        return report.warn(PODS, NAMESPACES, "no namespace has the label, so no pod is governed", &hint);
    }
    report.pass(PODS, NAMESPACES);
    for namespace in &namespaces {
        let name = text(namespace, "/metadata/name");
        let what = format!("every running pod of {name} has its sidecar, and it is ready");
        let pods = match cluster.list(&format!("/api/v1/namespaces/{name}/pods"), "") {
            Err(error) => {
                report.unknown(PODS, &what, &error);
                continue;
            }
            Ok(pods) => pods.unwrap_or_default(),
        };
        let running = || pods.iter().filter(|pod| matches!(text(pod, "/status/phase"), "Running" | "Pending"));
        let bare: Vec<String> = running().filter(|pod| !injected(pod)).map(full_name).collect();
        let unready: Vec<String> = running().filter(|pod| injected(pod) && !ready(pod)).map(full_name).collect();
        if !bare.is_empty() {
            let text = format!("without a sidecar, and so not governed: {}", some(&bare));
            report.fail(
                PODS,
                &what,
                text,
                "they were made before the label came: delete them, so that they are made again",
            );
        } else if !unready.is_empty() {
            let text = format!("the sidecar is not ready: {}", some(&unready));
            let hint = format!("see why: kubectl -n {name} logs POD -c {PROXY}");
            report.fail(PODS, &what, text, &hint);
        } else {
            report.pass(PODS, what);
        }
    }
}

fn injected(pod: &Value) -> bool {
    pod.pointer("/metadata/labels").and_then(|labels| labels.get(INJECTED_LABEL)).is_some()
}

/// The sidecar is an init container that goes on.
fn ready(pod: &Value) -> bool {
    let of = |list| items(pod, list).iter().find(|status| text(status, "/name") == PROXY);
    let status = of("/status/initContainerStatuses").or_else(|| of("/status/containerStatuses"));
    status.and_then(|status| status.get("ready")).and_then(Value::as_bool).unwrap_or(false)
}

pub(super) fn policies(cluster: &Cluster, report: &mut Report) {
    for (plural, wanted) in [
        ("accesstargets", &[ACCEPTED, RESOLVED_REFS][..]),
        ("agentaccesspolicies", &[ACCEPTED, RESOLVED_REFS, PROGRAMMED]),
        ("clusteragentaccesspolicies", &[ACCEPTED, PROGRAMMED]),
    ] {
        let what = format!("{plural} are accepted and in force");
        let objects = match cluster.list(&format!("/apis/{}/{}/{plural}", crds::GROUP, crds::VERSION), "") {
            Err(error) => {
                report.unknown(POLICIES, &what, &error);
                continue;
            }
            Ok(objects) => objects.unwrap_or_default(),
        };
        if objects.is_empty() && plural != "clusteragentaccesspolicies" {
            let hint = "agents are denied everything until there are: see examples/quickstart";
            report.warn(POLICIES, &what, "there are none", hint);
            continue;
        }
        let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for object in &objects {
            if let Some(why) = wanted.iter().find(|name| !condition(object, name)).map(|name| why(object, name)) {
                wrong.entry(why).or_default().push(full_name(object));
            }
        }
        if wrong.is_empty() {
            report.pass(POLICIES, what);
            continue;
        }
        let lines: Vec<String> = wrong.iter().map(|(why, names)| format!("{}: {why}", some(names))).collect();
        let shown: Vec<String> = lines.iter().take(SHOWN).cloned().collect();
        let rest = lines.len().saturating_sub(shown.len());
        let more = if rest == 0 { String::new() } else { format!("\nand {rest} more reasons") };
        let hint = format!("the message says what to do; all of it: kubectl describe {plural} -A");
        report.fail(POLICIES, &what, format!("{}{more}", shown.join("\n")), &hint);
    }
}

fn why(object: &Value, name: &str) -> String {
    match items(object, "/status/conditions").iter().find(|condition| text(condition, "/type") == name) {
        Some(condition) => format!(
            "{name} is {} ({}): {}",
            text(condition, "/status"),
            text(condition, "/reason"),
            text(condition, "/message")
        ),
        None => format!("{name} is not said yet: is the operator there?"),
    }
}

fn some(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
