//! Counts over all pods: how many each policy selects, how many of them have in force what counts now, and what stands
//! in the way of the others. Pods are counted a few at a time, so that nobody waits long for the world meanwhile.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use control::Mark;

use super::object::{Kind, Object};
use super::secrets::State;
use super::world::{Withheld, World};
use crate::metrics::Pods;

/// Of one object in the whole cluster; `namespace` is empty for a kind that has none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

#[derive(Debug, Default)]
pub struct Survey {
    tallies: BTreeMap<Key, Tally>,
    /// Pods that do not have in force what counts now, by uid, with their namespaces.
    pub behind: BTreeMap<String, String>,
    /// Where governed pods are.
    pub namespaces: BTreeMap<String, usize>,
}

/// The pods that one policy selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub matched: usize,
    pub synced: usize,
    /// Of which it is not known what counts for them.
    pub unsure: usize,
    /// Why some of them are told nothing.
    pub blocked: Option<Blocked>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    pub wrong: Arc<Vec<String>>,
    /// Each of their policies is sound, and all of them together are not.
    pub together: bool,
}

// === impl Survey ===

impl Survey {
    pub fn tally(&self, key: &Key) -> Tally {
        self.tallies.get(key).cloned().unwrap_or_default()
    }

    /// Of each namespace: pods with our sidecar, and those of them that have in force what counts.
    pub fn pods(&self) -> BTreeMap<String, Pods> {
        let whole =
            |(namespace, count): (&String, &usize)| (namespace.clone(), Pods { injected: *count, governed: *count });
        let mut pods: BTreeMap<String, Pods> = self.namespaces.iter().map(whole).collect();
        for namespace in self.behind.values() {
            if let Some(pods) = pods.get_mut(namespace) {
                pods.governed = pods.governed.saturating_sub(1);
            }
        }
        pods
    }

    fn count(&mut self, key: Key, standing: &Standing) {
        let tally = self.tallies.entry(key).or_default();
        tally.matched = tally.matched.saturating_add(1);
        match standing {
            Standing::Synced => tally.synced = tally.synced.saturating_add(1),
            Standing::Behind => {}
            Standing::Unsure => tally.unsure = tally.unsure.saturating_add(1),
            Standing::Blocked(blocked) => drop(tally.blocked.get_or_insert_with(|| blocked.clone())),
        }
    }
}

/// Where one pod is.
enum Standing {
    Synced,
    Behind,
    Unsure,
    Blocked(Blocked),
}

// === impl World ===

impl World {
    /// Counts the next `most` pods behind `after` into `survey`; says where to go on. `acknowledged`: whether a sidecar
    /// has lately said that the snapshot of this mark is in force.
    pub fn survey(
        &self,
        after: Option<&str>,
        most: usize,
        acknowledged: &impl Fn(&Mark) -> bool,
        survey: &mut Survey,
    ) -> Option<String> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        for (uid, pod) in self.pods().range::<str, _>((from, Bound::Unbounded)).take(most) {
            last = Some(uid.clone());
            let (cluster, policies) = self.selecting(pod);
            let standing = match self.revision_of(pod) {
                Ok(revision) if revision.parse().is_ok_and(|mark| acknowledged(&mark)) => Standing::Synced,
                Ok(_) => Standing::Behind,
                Err(Withheld::Unsound(wrong)) => {
                    let together = cluster.iter().chain(&policies).all(|policy| policy.read.is_ok());
                    Standing::Blocked(Blocked { wrong, together })
                }
                Err(_) => Standing::Unsure,
            };
            if !matches!(standing, Standing::Synced) {
                survey.behind.insert(uid.clone(), pod.namespace.clone());
            }
            let there = survey.namespaces.entry(pod.namespace.clone()).or_default();
            *there = there.saturating_add(1);
            let cluster = cluster.into_iter().map(|policy| (Kind::ClusterPolicy, policy));
            for (kind, policy) in cluster.chain(policies.into_iter().map(|policy| (Kind::Policy, policy))) {
                // One that cannot be read selects nobody that we know of.
                if policy.read.is_ok() {
                    survey.count(Key::of(kind, policy), &standing);
                }
            }
        }
        last
    }

    /// Every object of ours.
    pub fn all_objects(&self) -> impl Iterator<Item = (Key, &Object)> {
        let spaces = || self.spaces();
        let cluster = self.cluster_policies().map(|one| (Kind::ClusterPolicy, one));
        let policies = spaces().flat_map(|(policies, _)| policies.values()).map(|one| (Kind::Policy, one));
        let targets = spaces().flat_map(|(_, targets)| targets.values()).map(|one| (Kind::Target, one));
        cluster.chain(policies).chain(targets).map(|(kind, object)| (Key::of(kind, object), object))
    }

    pub fn object(&self, key: &Key) -> Option<&Object> {
        match key.kind {
            Kind::ClusterPolicy => self.cluster_policy(&key.name),
            Kind::Policy => self.space(&key.namespace).0.get(&key.name),
            Kind::Target => self.space(&key.namespace).1.get(&key.name),
        }
    }

    /// Of a Secret that a target names. `None`: it is not known yet.
    pub fn secret_state(&self, namespace: &str, name: &str) -> Option<&State> {
        self.secrets().get(&(namespace.to_owned(), name.to_owned())).filter(|state| **state != State::Unknown)
    }
}

impl Key {
    pub fn of(kind: Kind, object: &Object) -> Self {
        Self { kind, namespace: object.namespace.clone(), name: object.name.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_that_are_behind_are_not_governed() {
        let behind = ["u-1", "u-2"].map(|uid| (uid.to_owned(), "shop".to_owned())).into();
        let namespaces = [("shop".to_owned(), 3), ("bank".to_owned(), 1)].into();
        let survey = Survey { behind, namespaces, ..Survey::default() };
        let pods = |injected, governed| Pods { injected, governed };
        assert_eq!(survey.pods(), [("shop".to_owned(), pods(3, 1)), ("bank".to_owned(), pods(1, 1))].into());
    }
}
