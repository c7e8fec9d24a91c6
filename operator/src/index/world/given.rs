//! Which of the Secrets that a content names a pod is given: those whose owners name the host of the target.
//!
//! A sidecar finds a Secret by its name alone. So a target that one is not for is told to no pod that is given it for
//! another target: no target reads under a name what is kept from it. Where nobody is given the Secret the target stays,
//! and is refused for want of it. Invariant: each key that is given is named by a target of an allowed host, which a policy
//! of the pod names.

use std::collections::{BTreeMap, BTreeSet};

use super::{State, Withheld, World};
use crate::index::content::{Content, Hash};
use crate::index::pod::Pod;
use crate::index::secrets::Present;

pub(super) struct Given<'a> {
    /// By their names, with the keys that are named. `None`: it is not there, may not be read, or is for none of those
    /// that name it.
    pub(super) secrets: BTreeMap<&'a str, (Option<&'a Present>, BTreeSet<&'a str>)>,
    /// Places among the objects of targets that are not told.
    pub(super) left_out: BTreeSet<usize>,
}

// === impl World ===

impl World {
    pub(super) fn given<'a>(&'a self, namespace: &str, content: &'a Content) -> Result<Given<'a>, Withheld> {
        let (mut secrets, mut left_out) = (BTreeMap::new(), BTreeSet::new());
        for (name, uses) in &content.secrets {
            let present = match self.secrets.get(&(namespace.to_owned(), name.clone())) {
                None | Some(State::Unknown) => return Err(Withheld::Unsynced),
                Some(State::Missing | State::Beyond) => None,
                Some(State::Present(present)) => Some(present),
            };
            let (allowed, refused): (Vec<_>, Vec<_>) = uses
                .iter()
                .partition(|one| present.is_none_or(|present| present.hosts.allow(&one.host, one.port).is_ok()));
            let keys: BTreeSet<&str> =
                allowed.iter().filter(|one| one.led).flat_map(|one| &one.keys).map(String::as_str).collect();
            let present = present.filter(|_| !keys.is_empty());
            if present.is_some() {
                left_out.extend(refused.iter().map(|one| one.at));
            }
            secrets.insert(name.as_str(), (present, keys));
        }
        Ok(Given { secrets, left_out })
    }

    /// Secrets count by the API server's word for their version: a hash of a password could be tried.
    pub(super) fn revised(&self, pod: &Pod, content: &Content) -> Result<String, Withheld> {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX).to_be_bytes();
        let mut hash = Hash::new("agentaccess snapshot v2");
        hash.add(&self.max_age.to_be_bytes());
        for part in [&pod.namespace, &pod.service_account, &pod.name, &pod.uid] {
            hash.add(part.as_bytes());
        }
        let none = BTreeMap::new();
        for labels in [&pod.labels, self.namespaces.get(&pod.namespace).unwrap_or(&none)] {
            hash.add(&count(labels.len()));
            for (key, value) in labels {
                hash.add(key.as_bytes());
                hash.add(value.as_bytes());
            }
        }
        hash.add(&content.hash);
        let Given { secrets, left_out } = self.given(&pod.namespace, content)?;
        hash.add(&count(left_out.len()));
        left_out.iter().for_each(|at| hash.add(&count(*at)));
        for (name, (present, keys)) in secrets {
            hash.add(name.as_bytes());
            hash.add(present.map_or("", |present| present.version.as_str()).as_bytes());
            hash.add(&count(keys.len()));
            keys.iter().for_each(|key| hash.add(key.as_bytes()));
        }
        let hex: String = hash.finish().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("sha256:{hex}"))
    }
}

#[cfg(test)]
mod tests;
