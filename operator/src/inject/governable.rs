//! What cannot be governed is refused: fields by which a container reaches the network, the node or the sidecar past the
//! fence. Only what the user wrote is judged; what is left out gets its safe value in `agent`.
//!
//! The validating policies of the chart hold the same without us; here the user learns which field it is.

mod container;
mod volume;

use k8s_openapi::api::core::v1::{AppArmorProfile, PodSecurityContext, PodSpec, SELinuxOptions};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{Refused, Settings, containers};

/// Pods that a kubelet runs from a file: what admission says about them changes nothing.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Settings of the kernel that belong to the pod and open nothing.
const SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// Gathers everything that stands against governing the pod; `pod` is the same pod as it was sent.
pub(super) fn check(
    pod: &Value,
    metadata: &ObjectMeta,
    spec: &PodSpec,
    namespace: &str,
    settings: &Settings,
    refused: &mut Refused,
) {
    if metadata.annotations.iter().flatten().any(|(key, _)| key == MIRROR) {
        refused.add(format!("metadata.annotations[{MIRROR}]"), "must not be set: a static pod cannot be governed");
    }
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        refused.add("spec.os.name", "must be linux: Windows has no fence");
    }
    const NODE: &str = "must be false: it is the node's, which cannot be fenced";
    for (name, value, rule) in [
        ("hostNetwork", spec.host_network, NODE),
        ("hostPID", spec.host_pid, NODE),
        ("hostIPC", spec.host_ipc, NODE),
        (
            "shareProcessNamespace",
            spec.share_process_namespace,
            "must be false: the sidecar's memory would be in reach",
        ),
    ] {
        if value == Some(true) {
            refused.add(format!("spec.{name}"), rule);
        }
    }
    if spec.ephemeral_containers.as_ref().is_some_and(|all| !all.is_empty()) {
        refused.add("spec.ephemeralContainers", "must be empty: debug containers are added to a running pod");
    }
    names(spec, refused);
    if let Some(context) = &spec.security_context {
        pod_context(context, refused);
    }
    for (path, one) in containers(spec) {
        container::check(&path, one, namespace, settings, refused);
        // On the node's network, which is refused above, the API server fills them in itself.
        if spec.host_network != Some(true) {
            container::check_host_ports(&path, one, refused);
        }
    }
    volume::check(pod, namespace, settings, refused);
}

/// The sidecar shares the pod's names: by these fields whoever makes the pod would choose where a target's name leads, and
/// with it the target's credential.
fn names(spec: &PodSpec, refused: &mut Refused) {
    const RULE: &str =
        "must not be set: the sidecar finds targets by the names of the cluster, not by those of the pod";
    if spec.host_aliases.as_ref().is_some_and(|all| !all.is_empty()) {
        refused.add("spec.hostAliases", RULE);
    }
    if spec.dns_config.is_some() {
        refused.add("spec.dnsConfig", RULE);
    }
    if spec.dns_policy.as_deref().is_some_and(|policy| policy != "ClusterFirst") {
        refused.add("spec.dnsPolicy", "must be ClusterFirst: the sidecar finds targets by the names of the cluster");
    }
}

fn pod_context(context: &PodSecurityContext, refused: &mut Refused) {
    if context.windows_options.is_some() {
        refused.add("spec.securityContext.windowsOptions", "must not be set: Windows has no fence");
    }
    if context.seccomp_profile.as_ref().is_some_and(|profile| profile.type_ == "Unconfined") {
        refused.add("spec.securityContext.seccompProfile.type", container::SECCOMP);
    }
    confinement("spec.securityContext", context.app_armor_profile.as_ref(), context.se_linux_options.as_ref(), refused);
    for sysctl in context.sysctls.iter().flatten().filter(|sysctl| !SYSCTLS.contains(&sysctl.name.as_str())) {
        let field = format!("spec.securityContext.sysctls[{}]", sysctl.name);
        refused.add(field, "must not be set: it is not one of the kernel's settings that are safe in a pod");
    }
}

/// What the node's security module allows, of the pod or of one container. A level of SELinux only keeps pods apart.
fn confinement(
    path: &str,
    app_armor: Option<&AppArmorProfile>,
    se_linux: Option<&SELinuxOptions>,
    refused: &mut Refused,
) {
    if app_armor.is_some_and(|profile| profile.type_ == "Unconfined") {
        refused.add(format!("{path}.appArmorProfile.type"), "must not be Unconfined: it would be confined less");
    }
    let Some(se_linux) = se_linux else { return };
    for (name, value) in [("type", &se_linux.type_), ("user", &se_linux.user), ("role", &se_linux.role)] {
        if value.as_ref().is_some_and(|value| !value.is_empty()) {
            let rule = "must not be set: another than the node's own confines less, or not at all";
            refused.add(format!("{path}.seLinuxOptions.{name}"), rule);
        }
    }
}

/// A Secret that an agent's pod names ends in the agent's hands, the target's credential too.
fn secret(field: String, name: &str, namespace: &str, settings: &Settings, refused: &mut Refused) {
    if !settings.secrets.contains(&format!("{namespace}/{name}")) {
        refused.add(
            field,
            format!("must not name the Secret `{name}`: agents hold no credentials, unless the installation allows it"),
        );
    }
}
