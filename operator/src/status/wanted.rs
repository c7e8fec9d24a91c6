//! What is to be said of one object, from the world alone. No IO, no clock.

use crds::limits;
use crds::manifest::Manifest;
use crds::status::{ACCEPTED, ConditionStatus, PROGRAMMED, RESOLVED_REFS};
use crds::target::{AccessTargetSpec, HOSTS_ANNOTATION};

use crate::index::{Key, Kind, NO_STORE, NotFor, Object, SecretKey, SecretState, Tally, World, place, secret_keys};

/// Of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Each of another type.
    pub(super) said: Vec<Said>,
    /// Of a policy, unless its pods cannot be counted now.
    pub(super) pods: Option<Pods>,
    /// Something in it will soon be known better.
    pub(super) unsure: bool,
}

/// A condition without its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) type_: &'static str,
    pub(super) status: ConditionStatus,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pods {
    pub(super) matched: i32,
    pub(super) synced: i32,
    /// Of a policy that can be read.
    pub(super) revision: Option<String>,
    /// The rules that are followed: the first ones, each name once, in their order.
    pub(super) rules: Vec<String>,
}

/// What is wrong with a reference: a word for programs, a text for people.
type Fault = (&'static str, String);

/// Faults that are told in one message.
const FAULTS: usize = 4;

// === impl Wanted ===

impl Wanted {
    pub(super) fn of(world: &World, key: &Key, object: &Object, tally: &Tally) -> Self {
        match key.kind {
            Kind::Target => target(world, object),
            Kind::Policy | Kind::ClusterPolicy => policy(world, key.kind, object, tally),
        }
    }

    /// While the API server answers and is not followed.
    pub(super) fn unknown(kind: Kind) -> Self {
        let types: &[&str] = match kind {
            Kind::Target => &[ACCEPTED, RESOLVED_REFS],
            Kind::Policy | Kind::ClusterPolicy => &[ACCEPTED, RESOLVED_REFS, PROGRAMMED],
        };
        let message = "the operator does not follow the API server: see its log";
        let said = types.iter().map(|type_| Said::new(type_, ConditionStatus::Unknown, "Unsynced", message));
        Self { said: said.collect(), pods: None, unsure: true }
    }
}

impl Said {
    fn new(type_: &'static str, status: ConditionStatus, reason: &'static str, message: &str) -> Self {
        Self { type_, status, reason, message: short(message) }
    }
}

/// With what fits into a message, and a mark where something does not.
fn short(text: &str) -> String {
    if text.chars().count() <= limits::CONDITION_CHARS {
        return text.to_owned();
    }
    text.chars().take(limits::CONDITION_CHARS.saturating_sub(1)).chain(['…']).collect()
}

// === targets ===

fn target(world: &World, object: &Object) -> Wanted {
    let (resolved, unsure) = match spec_of(object) {
        Some(spec) => references(secrets(world, &object.namespace, spec)),
        None => (unread(RESOLVED_REFS), false),
    };
    Wanted { said: vec![accepted(object), resolved], pods: None, unsure }
}

fn spec_of(object: &Object) -> Option<&AccessTargetSpec> {
    match &object.read {
        Ok(Manifest::AccessTarget(target)) => Some(&target.spec),
        _ => None,
    }
}

/// What is wrong with the Secrets that a target names; `None` when that is not known of each of them.
fn secrets(world: &World, namespace: &str, spec: &AccessTargetSpec) -> Option<Vec<Fault>> {
    let mut faults: Vec<Fault> = Vec::new();
    for SecretKey { path, field, name, key } in secret_keys(spec) {
        let fault = match world.secret_state(namespace, name)? {
            SecretState::Unknown => return None,
            // Before its keys: whom it is not for learns nothing of them.
            SecretState::Present(present) if let Err(why) = present.hosts.allow(&spec.host, spec.port) => {
                not_for(why, path, namespace, name, spec)
            }
            SecretState::Present(present) if present.data.contains_key(key) => continue,
            SecretState::Present(_) => (
                "SecretKeyNotFound",
                format!("{path}.{field}: Secret `{name}` has no key `{key}`: add it, or name another key"),
            ),
            SecretState::Missing => (
                "SecretNotFound",
                format!(
                    "{path}.name: Secret `{name}` is not there, or the operator may not read it: make it, and name it in \
                     a Role for the operator (the chart's value `rbac.credentials`)"
                ),
            ),
            SecretState::Beyond => (
                "TooManySecrets",
                format!(
                    "{path}.name: Secret `{name}` is not read: targets of this namespace name more Secrets than the 256 \
                     that are, or all namespaces more than 2048; first come those that policies lead to, then the order \
                     of names counts: remove targets, or let several name one Secret"
                ),
            ),
        };
        // Two keys of one missing Secret are one fault.
        if !faults.contains(&fault) {
            faults.push(fault);
        }
    }
    Some(faults)
}

/// Of a Secret whose owner lets other hosts use it, or did not write which.
fn not_for(why: NotFor, path: &str, namespace: &str, name: &str, spec: &AccessTargetSpec) -> Fault {
    let (host, remedy) = (place(&spec.host, spec.port), why.remedy(namespace, name, &spec.host, spec.port));
    let who = "who owns the Secret, and means this host, types";
    match why {
        NotFor::Elsewhere { .. } => (
            "SecretNotForHost",
            format!("{path}.name: Secret `{name}` is not for {host}, and so not for this target: {who}: {remedy}"),
        ),
        NotFor::Unsaid => (
            "SecretNotForHost",
            format!(
                "{path}.name: Secret `{name}` does not say that it is for {host}, as here every Secret must: {who}: {remedy}"
            ),
        ),
        NotFor::Misread(misread) => (
            "SecretHostsInvalid",
            format!(
                "{path}.name: Secret `{name}` is for no host: {HOSTS_ANNOTATION} on it cannot be read, {misread}: {who}: {remedy}"
            ),
        ),
    }
}

// === policies ===

fn policy(world: &World, kind: Kind, object: &Object, tally: &Tally) -> Wanted {
    let (resolved, unknown) = match &object.read {
        Ok(Manifest::AgentAccessPolicy(policy)) => {
            let names = policy.spec.targets.iter().map(|target| target.target_ref.name.as_str());
            let found = targets(world, &object.namespace, names);
            references(found.map(|found| store(world, object).into_iter().chain(found).collect()))
        }
        Ok(_) => references(Some(store(world, object).into_iter().collect())),
        Err(_) => (unread(RESOLVED_REFS), false),
    };
    let accepted = match &tally.blocked {
        // Nobody is to blame alone, so each is told; a policy of the cluster is not at home where it is too much.
        Some(blocked) if blocked.together && kind == Kind::Policy => {
            Said::new(ACCEPTED, ConditionStatus::False, "TooMuchTogether", &blocked.wrong.join("; "))
        }
        _ => accepted(object),
    };
    let programmed = if accepted.status == ConditionStatus::True {
        programmed(tally)
    } else {
        Said::new(PROGRAMMED, ConditionStatus::False, "NotAccepted", "it cannot be in force: see Accepted")
    };
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let pods = Pods {
        matched: count(tally.matched),
        synced: count(tally.synced),
        revision: object.read.is_ok().then(|| object.revision.clone()),
        rules: rules(object),
    };
    let unsure = unknown || (tally.unsure > 0 && tally.blocked.is_none());
    Wanted { said: vec![accepted, resolved, programmed], pods: Some(pods), unsure }
}

/// A store that a policy wants and the operator does not have.
fn store(world: &World, object: &Object) -> Option<Fault> {
    let path = object.replicated().filter(|_| !world.stores())?;
    Some(("NoRecordingStore", format!("{path}: {NO_STORE}")))
}

/// What is wrong with the targets that a policy names.
fn targets<'a>(world: &World, namespace: &str, names: impl Iterator<Item = &'a str>) -> Option<Vec<Fault>> {
    let mut faults: Vec<Fault> = Vec::new();
    for (at, name) in names.enumerate() {
        let path = format!("spec.targets[{at}].targetRef.name");
        let key = Key { kind: Kind::Target, namespace: namespace.to_owned(), name: name.to_owned() };
        let Some(target) = world.object(&key) else {
            let text = format!(
                "{path}: there is no AccessTarget `{name}` in this namespace: make it, or name another; it is denied \
                 until then"
            );
            faults.push(("TargetNotFound", text));
            continue;
        };
        match (&target.read, spec_of(target)) {
            (Err(error), _) => {
                faults.push(("TargetNotAccepted", format!("{path}: AccessTarget `{name}` cannot be used: {error}")));
            }
            (Ok(_), Some(spec)) => {
                let found = secrets(world, namespace, spec)?.into_iter();
                faults.extend(found.map(|(reason, text)| (reason, format!("{path}: AccessTarget `{name}`: {text}"))));
            }
            (Ok(_), None) => {}
        }
    }
    Some(faults)
}

fn programmed(tally: &Tally) -> Said {
    let Tally { matched, synced, unsure, blocked } = tally;
    let pods = if *matched == 1 { "pod" } else { "pods" };
    let (status, reason, message) = match blocked {
        Some(blocked) => {
            let text = format!(
                "{synced} of {matched} {pods} have it in force; in the way of the others stands: {}",
                blocked.wrong.join("; ")
            );
            (ConditionStatus::False, "Blocked", text)
        }
        None if *matched == 0 => (ConditionStatus::True, "NoPods", "it selects no governed pod".to_owned()),
        None if synced >= matched => {
            (ConditionStatus::True, "Programmed", format!("{synced} of {matched} {pods} have it in force"))
        }
        None if *unsure > 0 => {
            let text = format!("of {unsure} of {matched} {pods} it is not known what counts for them");
            (ConditionStatus::Unknown, "Unsynced", text)
        }
        None => (ConditionStatus::False, "Waiting", format!("{synced} of {matched} {pods} have it in force")),
    };
    Said::new(PROGRAMMED, status, reason, &message)
}

/// By their names, under which they are counted: two targets of a policy may each have a rule of one name.
pub(super) fn rules(object: &Object) -> Vec<String> {
    let mut names: Vec<String> = match &object.read {
        Ok(Manifest::AgentAccessPolicy(policy)) => {
            let blocks = policy.spec.targets.iter().filter_map(|target| target.postgres.as_ref());
            blocks.flat_map(|block| &block.rules).map(|rule| rule.name.clone()).collect()
        }
        Ok(Manifest::ClusterAgentAccessPolicy(policy)) => {
            policy.spec.rules.iter().map(|rule| rule.name.clone()).collect()
        }
        Ok(Manifest::AccessTarget(_) | Manifest::Secret(_)) | Err(_) => Vec::new(),
    };
    names.sort();
    names.dedup();
    names.truncate(limits::UNUSED_RULES);
    names
}

// === all ===

fn accepted(object: &Object) -> Said {
    match &object.read {
        Ok(_) => Said::new(ACCEPTED, ConditionStatus::True, "Accepted", "it can be enforced"),
        Err(error) => Said::new(ACCEPTED, ConditionStatus::False, "Invalid", error),
    }
}

fn unread(type_: &'static str) -> Said {
    Said::new(type_, ConditionStatus::Unknown, "NotAccepted", "it cannot be read: see Accepted")
}

/// And whether that is not known yet.
fn references(faults: Option<Vec<Fault>>) -> (Said, bool) {
    let said = |status, reason, message: &str| Said::new(RESOLVED_REFS, status, reason, message);
    let Some(faults) = faults else {
        let text = "a Secret has not been looked up yet";
        return (said(ConditionStatus::Unknown, "Unsynced", text), true);
    };
    let Some((reason, _)) = faults.first() else {
        return (said(ConditionStatus::True, "ResolvedRefs", "all that it refers to is there"), false);
    };
    let mut texts: Vec<&str> = faults.iter().take(FAULTS).map(|(_, text)| text.as_str()).collect();
    let more = format!("and {} more", faults.len().saturating_sub(FAULTS));
    if faults.len() > FAULTS {
        texts.push(&more);
    }
    (said(ConditionStatus::False, reason, &texts.join("; ")), false)
}

#[cfg(test)]
mod tests;
