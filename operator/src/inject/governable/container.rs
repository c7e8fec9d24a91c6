//! One container of the user.

use k8s_openapi::api::core::v1::{Container, SecurityContext};

use super::super::{Refused, Settings, agent};
use super::{confinement, secret};

pub(super) const SECCOMP: &str = "must be RuntimeDefault or Localhost: without it there are sockets that no fence sees";
/// What a container may add to nothing.
const CAPABILITIES: &[&str] = &["NET_BIND_SERVICE"];

pub(super) fn check(path: &str, container: &Container, namespace: &str, settings: &Settings, refused: &mut Refused) {
    if let Some(context) = &container.security_context {
        check_context(&format!("{path}.securityContext"), context, refused);
    }
    for mount in container.volume_mounts.iter().flatten() {
        if agent::MOUNTS.contains(&mount.mount_path.trim_end_matches('/')) {
            let field = format!("{path}.volumeMounts[{}].mountPath", mount.name);
            refused.add(field, format!("must not be `{}`: agentaccess mounts its own there", mount.mount_path));
        }
    }
    for variable in container.env.iter().flatten() {
        let from = variable.value_from.iter().flat_map(|from| &from.secret_key_ref);
        for reference in from {
            let field = format!("{path}.env[{}].valueFrom.secretKeyRef", variable.name);
            secret(field, &reference.name, namespace, settings, refused);
        }
    }
    for reference in container.env_from.iter().flatten().filter_map(|from| from.secret_ref.as_ref()) {
        secret(format!("{path}.envFrom.secretRef"), &reference.name, namespace, settings, refused);
    }
}

pub(super) fn check_host_ports(path: &str, container: &Container, refused: &mut Refused) {
    for port in container.ports.iter().flatten() {
        if port.host_port.is_some_and(|port| port != 0) {
            let field = format!("{path}.ports[{}].hostPort", port.container_port);
            refused.add(field, "must not be set: it is dialled past the pod's fence, use a Service");
        }
    }
}

fn check_context(path: &str, context: &SecurityContext, refused: &mut Refused) {
    if context.privileged == Some(true) {
        refused.add(format!("{path}.privileged"), "must be false: a privileged container can remove the fence");
    }
    if context.allow_privilege_escalation == Some(true) {
        let rule = "must be false: a container may not become another user";
        refused.add(format!("{path}.allowPrivilegeEscalation"), rule);
    }
    let added = context.capabilities.iter().flat_map(|all| all.add.iter().flatten());
    for capability in added.filter(|capability| !CAPABILITIES.contains(&capability.as_str())) {
        let rule = format!("must not hold `{capability}`: only NET_BIND_SERVICE may be added");
        refused.add(format!("{path}.capabilities.add"), rule);
    }
    if context.proc_mount.as_ref().is_some_and(|mount| mount != "Default") {
        refused.add(format!("{path}.procMount"), "must be Default");
    }
    if context.seccomp_profile.as_ref().is_some_and(|profile| profile.type_ == "Unconfined") {
        refused.add(format!("{path}.seccompProfile.type"), SECCOMP);
    }
    confinement(path, context.app_armor_profile.as_ref(), context.se_linux_options.as_ref(), refused);
    if context.windows_options.is_some() {
        refused.add(format!("{path}.windowsOptions"), "must not be set: Windows has no fence");
    }
}
