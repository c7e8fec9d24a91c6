//! Which ports of the agent may be dialled from outside: those that its containers declare, and those that the kubelet
//! dials for probes and hooks.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, ContainerPort, HTTPGetAction, LifecycleHandler, PodSpec, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Refused, containers};

pub(super) struct Ports {
    pub(super) tcp: BTreeSet<u16>,
    pub(super) warnings: Vec<String>,
}

/// Gathers them; one of the sidecar's own is refused.
pub(super) fn inbound(spec: &PodSpec, refused: &mut Refused) -> Ports {
    let mut ports = Ports { tcp: BTreeSet::new(), warnings: Vec::new() };
    for (path, container) in containers(spec) {
        for port in container.ports.iter().flatten() {
            let number = port.container_port;
            if is_tcp(port) {
                ports.add(number, &format!("{path}.ports[{number}].containerPort"), refused);
            } else {
                let protocol = port.protocol.as_deref().unwrap_or_default();
                let warning = format!("{path}: {protocol} port {number} will not be reachable: only TCP comes in");
                ports.warnings.push(warning);
            }
        }
        for (name, dialled) in dialled(container) {
            let number = match dialled {
                IntOrString::Int(number) => Some(number),
                // A port of TCP with this name is among the declared ones.
                IntOrString::String(named) => {
                    let mut ports = container.ports.iter().flatten();
                    let port = ports.find(|port| port.name.as_ref() == Some(&named) && !is_tcp(port));
                    port.map(|port| port.container_port)
                }
            };
            // A name that no port has: the API server says so itself.
            if let Some(number) = number {
                ports.add(number, &format!("{path}.{name}"), refused);
            }
        }
    }
    if ports.tcp.len() > crds::pod::MOST_INBOUND {
        let rule = format!("must declare at most {} ports: {} are declared", crds::pod::MOST_INBOUND, ports.tcp.len());
        refused.add("spec.containers", rule);
    }
    ports
}

fn is_tcp(port: &ContainerPort) -> bool {
    port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
}

/// The ports that the kubelet dials, each with its field.
fn dialled(container: &Container) -> Vec<(&'static str, IntOrString)> {
    let mut all = Vec::new();
    let probes = [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ];
    for (name, probe) in probes {
        all.extend(probe.as_ref().and_then(probed).map(|port| (name, port)));
    }
    if let Some(lifecycle) = &container.lifecycle {
        all.extend(lifecycle.post_start.as_ref().and_then(called).map(|port| ("lifecycle.postStart", port)));
        all.extend(lifecycle.pre_stop.as_ref().and_then(called).map(|port| ("lifecycle.preStop", port)));
    }
    all
}

fn probed(probe: &Probe) -> Option<IntOrString> {
    let http = probe.http_get.as_ref().and_then(own_http);
    let tcp = || probe.tcp_socket.as_ref().and_then(|tcp| own(tcp.host.as_deref(), &tcp.port));
    let grpc = || probe.grpc.as_ref().map(|grpc| IntOrString::Int(grpc.port));
    http.or_else(tcp).or_else(grpc)
}

fn called(handler: &LifecycleHandler) -> Option<IntOrString> {
    let http = handler.http_get.as_ref().and_then(own_http);
    http.or_else(|| handler.tcp_socket.as_ref().and_then(|tcp| own(tcp.host.as_deref(), &tcp.port)))
}

fn own_http(http: &HTTPGetAction) -> Option<IntOrString> {
    own(http.host.as_deref(), &http.port)
}

/// A probe of another host opens nothing here.
fn own(host: Option<&str>, port: &IntOrString) -> Option<IntOrString> {
    host.is_none_or(str::is_empty).then(|| port.clone())
}

impl Ports {
    fn add(&mut self, port: i32, field: &str, refused: &mut Refused) {
        let (first, last) = crds::pod::PORTS;
        match u16::try_from(port) {
            Ok(0) | Err(_) => refused.add(field, "must be a port from 1 to 65535"),
            Ok(port) if (first..=last).contains(&port) => {
                refused.add(field, format!("must not be {port}: ports {first} to {last} are the sidecar's"));
            }
            Ok(port) => {
                self.tcp.insert(port);
            }
        }
    }
}
