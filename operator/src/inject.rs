//! Injection: a pod as its user wrote it becomes a pod that is governed, or is refused with the field to change.
//!
//! A pure function: no IO, no clock, no randomness but what [`Moment`] brings. What the user wrote is edited as JSON and
//! never written anew from our types, so that no field of a newer Kubernetes is lost on the way. Invariants: of every
//! container and volume called `agentaccess-*` in the result we are the author, whatever came in; the first three init
//! containers are ours; nothing of the sidecar's is mounted elsewhere; a second injection of the result changes nothing.

mod agent;
mod governable;
mod identity;
mod json;
mod ours;
mod patch;
mod ports;
mod refusal;
mod settings;
mod strip;
#[cfg(test)]
pub(crate) mod tests;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde::Deserialize as _;
use serde_json::{Value, json};

pub use self::identity::Seal;
pub use self::patch::patch;
pub use self::refusal::{Refusal, Refused};
pub use self::settings::Settings;

/// What one admission brings beside its pod.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Seconds since 1970.
    pub now: u64,
    /// Drawn anew for each admission.
    pub draw: u64,
    /// Proves which user of the sidecar was chosen by us.
    pub seal: &'a Seal,
    /// The CAs by which the sidecar knows the operator, as one argument.
    pub roots: &'a str,
}

/// A governed pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Injected {
    pub pod: Value,
    /// What the user should know, a line each.
    pub warnings: Vec<String>,
}

/// Makes the pod governed.
///
/// # Errors
/// Everything that stands against it, each with the field to change.
pub fn inject(pod: &Value, namespace: &str, settings: &Settings, moment: &Moment<'_>) -> Result<Injected, Refused> {
    // As it came: what is edited below must have the shape of a pod.
    read(pod)?;
    let mut result = pod.clone();
    let removed = strip::strip(&mut result);
    let typed = read(&result)?;
    let Some(spec) = &typed.spec else { return Err(Refused::one("spec", "must be there")) };
    let mut refused = Refused::default();
    governable::check(&result, &typed.metadata, spec, namespace, settings, &mut refused);
    let ports = ports::inbound(spec, &mut refused);
    refused.none()?;

    let identity = identity::choose(pod, spec, namespace, moment)?;
    let mut warnings = ports.warnings;
    if !identity.kept {
        warnings.extend(removed.iter().map(|name| format!("removed `{name}`: names with agentaccess- are ours")));
    }
    agent::govern(&mut result, &mut warnings);
    let ours = ours::Ours { settings, identity: &identity, inbound: &ports.tcp, roots: moment.roots };
    insert(&mut result, &ours).map_err(|error| Refused::one("the pod", format!("cannot be written: {error}")))?;
    Ok(Injected { pod: result, warnings })
}

fn read(pod: &Value) -> Result<Pod, Refused> {
    Pod::deserialize(pod).map_err(|error| Refused::one("the pod", format!("cannot be read: {error}")))
}

fn insert(pod: &mut Value, ours: &ours::Ours<'_>) -> Result<(), serde_json::Error> {
    let containers = json::items(serde_json::to_value(ours.containers())?);
    let volumes = json::items(serde_json::to_value(ours.volumes())?);
    json::root(pod, |pod| {
        json::object(pod, "spec", |spec| {
            json::list(spec, "initContainers", |all| drop(all.splice(..0, containers)));
            json::list(spec, "volumes", |all| all.extend(volumes));
            spec.insert("automountServiceAccountToken".to_owned(), json!(false));
        });
        json::object(pod, "metadata", |metadata| {
            json::object(metadata, "labels", |labels| {
                labels.insert(crds::pod::INJECTED_LABEL.to_owned(), json!("true"));
            });
            json::object(metadata, "annotations", |annotations| {
                annotations.insert(crds::pod::USER_ANNOTATION.to_owned(), json!(ours.identity.annotation));
            });
        });
    });
    Ok(())
}

/// Each container of the user, with the path that names it.
fn containers(spec: &PodSpec) -> impl Iterator<Item = (String, &k8s_openapi::api::core::v1::Container)> {
    let init = spec.init_containers.iter().flatten().map(|c| (format!("spec.initContainers[{}]", c.name), c));
    init.chain(spec.containers.iter().map(|c| (format!("spec.containers[{}]", c.name), c)))
}
