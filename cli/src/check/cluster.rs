//! The API server, and what the chart puts there.

use serde_json::Value;

use super::report::Report;
use crate::cluster::{Cluster, full_name, items, text};

/// What the chart needs of a cluster.
const OLDEST: (u32, u32) = (1, 33);
const INSTALL: &str =
    "install it: helm install agentaccess charts/agentaccess --namespace agentaccess-system --create-namespace";
const UPGRADE: &str = "install it again: helm upgrade agentaccess charts/agentaccess --namespace agentaccess-system";
const OURS: &str = "app.kubernetes.io/name=agentaccess";

const API: &str = "kubernetes";
const RIGHTS: &str = "rights";
const INSTALLED: &str = "agentaccess";

const CRDS: [&str; 4] = ["accesstargets", "agentaccesspolicies", "approvalrequests", "clusteragentaccesspolicies"];

/// `false`: nothing else can be looked at.
pub(super) fn reachable(cluster: &Cluster, report: &mut Report) -> bool {
    const WHAT: &str = "the API server answers, and is new enough";
    match cluster.version() {
        Err(error) => {
            let hint = "see that `kubectl version` works with the same kubeconfig and context";
            report.fail(API, WHAT, format!("{error:#}"), hint);
            false
        }
        Ok((version, shown)) if version < OLDEST => {
            let hint = "use a newer cluster: the second wall needs what came with that version";
            report.fail(API, WHAT, format!("it is {shown}, and 1.33 is the oldest that will do"), hint);
            true
        }
        Ok(_) => {
            report.pass(API, WHAT);
            true
        }
    }
}

pub(super) fn may_install(cluster: &Cluster, report: &mut Report) {
    for (group, resource) in [
        ("", "namespaces"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
        ("apps", "deployments"),
    ] {
        let what = format!("you may create {resource}");
        match cluster.may("create", group, resource) {
            Ok(true) => report.pass(RIGHTS, what),
            Ok(false) => {
                let hint = "install it as somebody who may, such as cluster-admin";
                report.fail(RIGHTS, &what, "the API server says no", hint);
            }
            Err(error) => report.unknown(RIGHTS, &what, &error),
        }
    }
    const NONE: &str = "nothing is installed yet";
    match cluster.get("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", "agentaccess") {
        Ok(None) => report.pass(INSTALLED, NONE),
        Ok(Some(_)) => {
            let hint = "one agentaccess governs a cluster: upgrade that one, and `check` it without --pre";
            report.warn(INSTALLED, NONE, "there is a MutatingWebhookConfiguration `agentaccess`", hint);
        }
        Err(error) => report.unknown(INSTALLED, NONE, &error),
    }
}

/// `false`: without the kinds there is nothing more to look at.
pub(super) fn installed(cluster: &Cluster, namespace: &str, report: &mut Report) -> bool {
    let kinds = kinds(cluster, report);
    operator(cluster, namespace, report);
    for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        webhooks(cluster, kind, report);
    }
    wall(cluster, report);
    kinds
}

fn kinds(cluster: &Cluster, report: &mut Report) -> bool {
    const WHAT: &str = "the API server knows our kinds";
    let mut missing = Vec::new();
    for plural in CRDS {
        let name = format!("{plural}.{}", crds::GROUP);
        match cluster.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &name) {
            Ok(Some(object)) if condition(&object, "Established") => {}
            Ok(_) => missing.push(name),
            Err(error) => {
                report.unknown(INSTALLED, WHAT, &error);
                return false;
            }
        }
    }
    if missing.is_empty() {
        report.pass(INSTALLED, WHAT);
        return true;
    }
    report.fail(INSTALLED, WHAT, format!("not there, or not in force: {}", missing.join(", ")), INSTALL);
    false
}

fn operator(cluster: &Cluster, namespace: &str, report: &mut Report) {
    const WHAT: &str = "the operator runs, all replicas of it";
    let collection = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    match cluster.get(&collection, "agentaccess-operator") {
        Err(error) => report.unknown(INSTALLED, WHAT, &error),
        Ok(None) => {
            let text = format!("there is no Deployment {namespace}/agentaccess-operator");
            report.fail(INSTALLED, WHAT, text, &format!("give --operator-namespace, or {INSTALL}"));
        }
        Ok(Some(object)) => {
            let number = |pointer| object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
            let (wanted, there) = (number("/spec/replicas"), number("/status/availableReplicas"));
            let hint = format!("see why: kubectl -n {namespace} describe pod -l {OURS}");
            match (wanted, there) {
                (wanted, there) if there >= wanted && wanted > 0 => report.pass(INSTALLED, WHAT),
                (wanted, 0) => {
                    let text = format!("0 of {wanted} are available: no pod of a governed namespace starts");
                    report.fail(INSTALLED, WHAT, text, &hint);
                }
                (wanted, there) => report.warn(INSTALLED, WHAT, format!("{there} of {wanted} are available"), &hint),
            }
        }
    }
}

fn webhooks(cluster: &Cluster, kind: &str, report: &mut Report) {
    let what = format!("the {kind} are in place");
    let collection = format!("/apis/admissionregistration.k8s.io/v1/{kind}");
    match cluster.get(&collection, "agentaccess") {
        Err(error) => report.unknown(INSTALLED, &what, &error),
        Ok(None) => report.fail(INSTALLED, &what, format!("there is no `agentaccess` among the {kind}"), UPGRADE),
        Ok(Some(object)) => {
            let hooks = items(&object, "/webhooks");
            let bare = hooks.iter().filter(|hook| text(hook, "/clientConfig/caBundle").is_empty());
            let bare: Vec<&str> = bare.map(|hook| text(hook, "/name")).collect();
            if hooks.is_empty() {
                report.fail(INSTALLED, &what, "it has no webhooks", UPGRADE);
            } else if bare.is_empty() {
                report.pass(INSTALLED, what);
            } else {
                let text = format!("the API server has no CA for {}", bare.join(", "));
                report.fail(INSTALLED, &what, text, "the operator writes it within seconds of its start: see its log");
            }
        }
    }
}

fn wall(cluster: &Cluster, report: &mut Report) {
    const WHAT: &str = "the second wall stands";
    // It tells who makes owners of pods what the webhook will do, and refuses nothing.
    const ADVICE: &str = "agentaccess-owners";
    let list = |kind| cluster.list(&format!("/apis/admissionregistration.k8s.io/v1/{kind}"), OURS);
    let both = list("validatingadmissionpolicies").and_then(|a| Ok((a, list("validatingadmissionpolicybindings")?)));
    let (policies, bindings) = match both {
        Err(error) => return report.unknown(INSTALLED, WHAT, &error),
        Ok((policies, bindings)) => (policies.unwrap_or_default(), bindings.unwrap_or_default()),
    };
    let binds = |policy: &Value| {
        let name = text(policy, "/metadata/name");
        let wanted = if name == ADVICE { "Warn" } else { "Deny" };
        bindings.iter().any(|binding| {
            let acts = items(binding, "/spec/validationActions").iter().any(|action| action == wanted);
            acts && text(binding, "/spec/policyName") == name
        })
    };
    let loose: Vec<String> = policies.iter().filter(|policy| !binds(policy)).map(full_name).collect();
    if policies.is_empty() {
        report.fail(INSTALLED, WHAT, "there is no ValidatingAdmissionPolicy of ours", UPGRADE);
    } else if loose.is_empty() {
        report.pass(INSTALLED, WHAT);
    } else {
        report.fail(INSTALLED, WHAT, format!("no binding puts these in force: {}", loose.join(", ")), UPGRADE);
    }
}

/// Whether a condition of the object is True.
pub(super) fn condition(object: &Value, name: &str) -> bool {
    items(object, "/status/conditions").iter().any(|c| text(c, "/type") == name && text(c, "/status") == "True")
}
