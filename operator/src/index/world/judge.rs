//! What can be said of an object before it is stored: why it could not be in force, and what of it is odd.
//!
//! Refused is what a sidecar would refuse, by the reading that the index itself goes by, and what would take the
//! snapshot of a pod that is there past a limit. Never refused: what another object is to blame for, so that each change
//! for the better passes, and a reference to what is not there. A world that is not whole says nothing of other objects.

use crds::manifest::Manifest;
use policy::Input;
use serde_json::Value;

use super::{Space, State, World};
use crate::index::content::{SecretKey, secret_keys};
use crate::index::object::{self, Kind, NO_STORE, Object, Wrong};
use crate::index::pod::Pod;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Empty: it can be in force.
    pub wrong: Vec<Wrong>,
    /// Only of what can be in force.
    pub odd: Vec<Odd>,
}

/// Legal, and probably not what was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Odd {
    pub path: String,
    pub text: String,
    /// Of what is there beside the object: it may be on its way.
    pub of_others: bool,
}

/// What of a snapshot is taken.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    objects: usize,
    rules: usize,
    bytes: usize,
}

const MOST: Taken =
    Taken { objects: control::OBJECTS, rules: policy::compile::MAX_RULES, bytes: control::MESSAGE_LIMIT };
/// Around each object in its message.
const AROUND: usize = 8;

// === impl World ===

impl World {
    /// `namespace` is empty for a kind that has none.
    pub fn judge(&self, kind: Kind, namespace: &str, name: &str, spec: &Value) -> Judged {
        let (object, mut wrong) = Object::judged(kind, namespace, name, spec);
        if self.whole() {
            wrong.extend(self.too_much(kind, &object));
        }
        let odd = if wrong.is_empty() { self.odd(kind, &object) } else { Vec::new() };
        Judged { wrong, odd }
    }

    /// Each limit that the object takes the snapshot of a pod past, or further past.
    fn too_much(&self, kind: Kind, object: &Object) -> Vec<Wrong> {
        // Where all objects together are within the limits, those that select one pod are.
        if self.concerned(kind, object).all(|space| self.all(space, kind, object).within(&MOST)) {
            return Vec::new();
        }
        let mut worst: [Option<(usize, &Pod)>; 3] = [None; 3];
        for pod in self.pods.values().filter(|pod| kind == Kind::ClusterPolicy || pod.namespace == object.namespace) {
            let (before, after) = (self.told(pod, kind, object, false), self.told(pod, kind, object, true));
            let counts = before.counts().into_iter().zip(after.counts()).zip(MOST.counts());
            for (((before, after), most), worst) in counts.zip(&mut worst) {
                if after > most && after > before && worst.is_none_or(|(other, _)| after > other) {
                    *worst = Some((after, pod));
                }
            }
        }
        let of_rules = if kind == Kind::ClusterPolicy { "spec.rules" } else { "spec.targets" };
        let limits = [
            ("metadata.name", "objects", "remove some, or select fewer pods"),
            (of_rules, "rules", "merge or remove some, or select fewer pods"),
            ("spec", "bytes of policies and targets", "shorten or remove some, or select fewer pods"),
        ];
        let found = worst.into_iter().zip(MOST.counts()).zip(limits);
        let wrong = found.filter_map(|((worst, most), (path, what, todo))| {
            let (count, Pod { namespace, name, .. }) = worst?;
            let more = count.saturating_sub(most);
            let text = format!(
                "pod `{namespace}/{name}` would be told {count} {what}, {more} more than the {most} that it takes: {todo}"
            );
            Some(Wrong::new(path, text))
        });
        wrong.collect()
    }

    /// Where the object counts.
    fn concerned<'a>(&'a self, kind: Kind, object: &Object) -> Box<dyn Iterator<Item = &'a Space> + 'a> {
        match kind {
            Kind::ClusterPolicy => Box::new(self.spaces.values().chain([&self.empty])),
            Kind::Policy | Kind::Target => {
                Box::new([self.spaces.get(&object.namespace).unwrap_or(&self.empty)].into_iter())
            }
        }
    }

    /// Of everything that a pod there could be told, once the object is stored.
    fn all(&self, space: &Space, kind: Kind, object: &Object) -> Taken {
        let others = |of: Kind| move |other: &&Object| !(of == kind && other.name == object.name);
        let cluster = self.cluster.values().filter(others(Kind::ClusterPolicy));
        let policies = space.policies.values().filter(others(Kind::Policy));
        let targets = space.targets.values().filter(others(Kind::Target));
        Taken::of(cluster.chain(policies).chain(targets).chain([object]))
    }

    /// Of what the pod is told: now, or once the object is stored.
    fn told(&self, pod: &Pod, kind: Kind, object: &Object, stored: bool) -> Taken {
        let (cluster, policies) = self.selecting(pod);
        let targets = self.spaces.get(&pod.namespace).unwrap_or(&self.empty).targets.values();
        let others = |of: Kind| move |other: &&Object| !(stored && of == kind && other.name == object.name);
        let cluster = cluster.into_iter().filter(others(Kind::ClusterPolicy));
        let policies = policies.into_iter().filter(others(Kind::Policy));
        let others = cluster.chain(policies).chain(targets.filter(others(Kind::Target)));
        // A target selects nobody, and everybody is told of it.
        Taken::of(others.chain((stored && object.selects(&self.subject(pod))).then_some(object)))
    }

    fn odd(&self, kind: Kind, object: &Object) -> Vec<Odd> {
        let Ok(manifest) = &object.read else { return Vec::new() };
        let whole = self.whole();
        let mut input = Input::default();
        object::add(&mut input, manifest);
        if whole && kind != Kind::Target {
            let known = self.concerned(kind, object).flat_map(|space| space.targets.values());
            known.filter_map(|target| target.read.as_ref().ok()).for_each(|target| {
                object::add(&mut input, target);
            });
        }
        // Of targets the compiler has no warnings, so that all are of the object.
        let warnings = policy::compile(&input).map(|set| set.warnings().to_vec()).unwrap_or_default();
        let warnings = warnings.into_iter().filter(|warning| whole || !warning.of_others);
        let mut odd: Vec<Odd> = warnings
            .map(|warning| Odd { path: warning.path, text: warning.text, of_others: warning.of_others })
            .collect();
        // Of the operator itself: what it has is known, whole or not.
        let storeless = object.replicated().filter(|_| !self.stores());
        odd.extend(storeless.map(|path| Odd { path: path.to_owned(), text: NO_STORE.to_owned(), of_others: true }));
        if whole {
            odd.extend(self.selects_nobody(kind, object));
            odd.extend(self.without_secret(manifest));
        }
        odd
    }

    /// Pods come after their policies, so that a policy is odd only where there are pods that it could select.
    fn selects_nobody(&self, kind: Kind, object: &Object) -> Option<Odd> {
        let (path, whose) = match kind {
            Kind::Policy => ("spec.podSelector", " of this namespace"),
            Kind::ClusterPolicy => ("spec", ""),
            Kind::Target => return None,
        };
        let meant = |pod: &&Pod| kind == Kind::ClusterPolicy || pod.namespace == object.namespace;
        let mut count = 0_usize;
        for pod in self.pods.values().filter(meant) {
            if object.selects(&self.subject(pod)) {
                return None;
            }
            count = count.saturating_add(1);
        }
        let text = format!("selects none of the governed pods{whose} ({count} now)");
        (count > 0).then(|| Odd { path: path.to_owned(), text, of_others: true })
    }

    /// Of Secrets that are followed already: a target is stored before its Secrets are looked at.
    fn without_secret(&self, manifest: &Manifest) -> Vec<Odd> {
        let Manifest::AccessTarget(target) = manifest else { return Vec::new() };
        let namespace = target.metadata.namespace.clone().unwrap_or_default();
        let mut odd = Vec::new();
        for SecretKey { path, field, name, key } in secret_keys(&target.spec) {
            let (host, port) = (target.spec.host.as_str(), target.spec.port);
            let (path, text) = match self.secrets.get(&(namespace.clone(), name.to_owned())) {
                Some(State::Missing) => {
                    (format!("{path}.name"), format!("there is no Secret `{name}` here that the operator may read"))
                }
                Some(State::Beyond) => {
                    (format!("{path}.name"), format!("the Secret `{name}` is one too many: see status"))
                }
                // Before its keys: whom it is not for learns nothing of them.
                Some(State::Present(present)) if let Err(why) = present.hosts.allow(host, port) => {
                    (format!("{path}.name"), format!("the Secret `{name}` {}", why.short(host, port)))
                }
                Some(State::Present(present)) if !present.data.contains_key(key) => {
                    (format!("{path}.{field}"), format!("the Secret `{name}` has no key `{key}`"))
                }
                None | Some(State::Unknown | State::Present(_)) => continue,
            };
            odd.push(Odd { path, text, of_others: true });
        }
        odd.dedup();
        odd
    }
}

// === impl Taken ===

impl Taken {
    /// One that cannot be read is never sent.
    fn of<'a>(objects: impl Iterator<Item = &'a Object>) -> Self {
        objects.filter(|object| object.read.is_ok()).fold(Self::default(), |taken, object| Self {
            objects: taken.objects.saturating_add(1),
            rules: taken.rules.saturating_add(object.rules),
            bytes: taken.bytes.saturating_add(object.json.len()).saturating_add(AROUND),
        })
    }

    fn counts(self) -> [usize; 3] {
        [self.objects, self.rules, self.bytes]
    }

    fn within(self, most: &Self) -> bool {
        self.counts().into_iter().zip(most.counts()).all(|(count, most)| count <= most)
    }
}

#[cfg(test)]
mod tests;
