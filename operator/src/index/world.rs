//! The world as the API server says it is: a value, changed by events, asked for snapshots. No IO.
//!
//! Invariant: a pod is told of the policies that select it and of no others, so that only they change what is in force
//! for it, and it gets the Secrets of targets that they name, as far as these are for the targets' hosts.

mod given;
mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use control::{PodName, v1};
use crds::pod::INJECTION_LABEL;
use parking_lot::Mutex;
use policy::subject::Subject;
use prost::Message as _;

use super::content::{Content, Objects};
use super::object::{Kind, Object};
use super::pod::Pod;
use super::secrets::State;
use super::share::Named;
use super::told::Told;

pub use self::judge::{Judged, Odd};

/// What is watched as a whole. Secrets are watched one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feed {
    Pods,
    Namespaces,
    Policies,
    ClusterPolicies,
    Targets,
}

/// Contents kept for one namespace.
const MADE: usize = 1_024;

#[derive(Debug)]
pub struct World {
    max_age: u32,
    pods: BTreeMap<String, Pod>,
    /// Their labels.
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    cluster: Objects,
    spaces: BTreeMap<String, Space>,
    /// For namespaces without an object of ours.
    empty: Space,
    secrets: BTreeMap<(String, String), State>,
    /// What was listed and is being watched since.
    synced: BTreeSet<Feed>,
    /// The API server answers.
    alive: bool,
    /// The operator keeps recordings.
    stores: bool,
    /// Counts what changed of objects and no sidecar is told of.
    noted: u64,
}

/// The objects of one namespace.
#[derive(Debug, Default)]
struct Space {
    policies: Objects,
    targets: Objects,
    /// What was made of them, by the names of the policies that select a pod: of the cluster, of the namespace.
    made: Mutex<BTreeMap<Selected, Made>>,
}

type Selected = (Vec<String>, Vec<String>);
type Made = Result<Arc<Content>, Arc<Vec<String>>>;

/// Why a pod is told nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    #[error("the API server is not being followed at the moment")]
    Unsynced,
    #[error("the pod is not there, or not governed")]
    Gone,
    #[error("these policies cannot be in force: {}", .0.join("; "))]
    Unsound(Arc<Vec<String>>),
    #[error("what counts for the pod has {bytes} bytes, of {} at most", control::MESSAGE_LIMIT)]
    TooLarge { bytes: usize },
}

// === impl Feed ===

impl Feed {
    pub const ALL: [Self; 5] = [Self::Pods, Self::Namespaces, Self::Policies, Self::ClusterPolicies, Self::Targets];

    /// For metrics and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Namespaces => "namespaces",
            Self::Policies => "policies",
            Self::ClusterPolicies => "cluster_policies",
            Self::Targets => "targets",
        }
    }
}

// === impl World: events. Each says whether anything changed. ===

impl World {
    pub fn new(max_age: u32) -> Self {
        Self {
            max_age,
            pods: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            cluster: Objects::new(),
            spaces: BTreeMap::new(),
            empty: Space::default(),
            secrets: BTreeMap::new(),
            synced: BTreeSet::new(),
            alive: false,
            stores: false,
            noted: 0,
        }
    }

    /// `feed` was listed and is followed, or is not any more.
    pub fn sync(&mut self, feed: Feed, synced: bool) -> bool {
        if synced { self.synced.insert(feed) } else { self.synced.remove(&feed) }
    }

    /// Whether the operator has a store of recordings, which it has from its start on, or never. No sidecar is told.
    #[must_use]
    pub fn storing(self, stores: bool) -> Self {
        Self { stores, ..self }
    }

    /// Whether recordings can be replicated.
    pub(crate) fn stores(&self) -> bool {
        self.stores
    }

    /// The API server answered just now, or did not.
    pub fn pulse(&mut self, alive: bool) -> bool {
        std::mem::replace(&mut self.alive, alive) != alive
    }

    pub fn set_pod(&mut self, pod: Pod) -> bool {
        let before = self.pods.get(&pod.uid);
        let changed = before != Some(&pod);
        if changed {
            self.pods.insert(pod.uid.clone(), pod);
        }
        changed
    }

    pub fn remove_pod(&mut self, uid: &str) -> bool {
        self.pods.remove(uid).is_some()
    }

    /// These are all.
    pub fn replace_pods(&mut self, pods: Vec<Pod>) -> bool {
        let pods: BTreeMap<String, Pod> = pods.into_iter().map(|pod| (pod.uid.clone(), pod)).collect();
        let changed = self.pods != pods;
        self.pods = pods;
        changed
    }

    pub fn set_namespace(&mut self, name: &str, labels: BTreeMap<String, String>) -> bool {
        if self.namespaces.get(name) == Some(&labels) {
            return false;
        }
        self.namespaces.insert(name.to_owned(), labels);
        true
    }

    pub fn remove_namespace(&mut self, name: &str) -> bool {
        self.namespaces.remove(name).is_some()
    }

    /// Namespaces whose label asks for the sidecar, `most` of them.
    pub fn to_be_governed(&self, most: usize) -> Vec<String> {
        let enabled = |value: &String| value == crds::pod::INJECTION_ENABLED;
        let asking = self.namespaces.iter().filter(|(_, labels)| labels.get(INJECTION_LABEL).is_some_and(enabled));
        asking.map(|(name, _)| name.clone()).take(most).collect()
    }

    /// These are all.
    pub fn replace_namespaces(&mut self, all: Vec<(String, BTreeMap<String, String>)>) -> bool {
        let all: BTreeMap<_, _> = all.into_iter().collect();
        let changed = self.namespaces != all;
        self.namespaces = all;
        changed
    }

    pub fn set_object(&mut self, kind: Kind, object: Object) -> bool {
        let (namespace, name) = (object.namespace.clone(), object.name.clone());
        let objects = self.objects(kind, &namespace);
        let same = objects.get(&name).is_some_and(|before| {
            before.json == object.json && before.read.as_ref().err() == object.read.as_ref().err()
        });
        if same {
            self.tell(kind, &namespace, &name, &object.json, object.told);
            return false;
        }
        objects.insert(name, object);
        self.forget(kind, &namespace);
        true
    }

    /// Of an object that is known and still the same; says whether it is. No sidecar is told.
    pub(super) fn tell(&mut self, kind: Kind, namespace: &str, name: &str, json: &[u8], told: Told) -> bool {
        let space = self.spaces.get_mut(namespace);
        let known = match kind {
            Kind::ClusterPolicy => self.cluster.get_mut(name),
            Kind::Policy => space.and_then(|space| space.policies.get_mut(name)),
            Kind::Target => space.and_then(|space| space.targets.get_mut(name)),
        };
        let Some(known) = known.filter(|known| known.json == json) else { return false };
        if known.told != told {
            known.told = told;
            self.noted = self.noted.wrapping_add(1);
        }
        true
    }

    pub fn remove_object(&mut self, kind: Kind, namespace: &str, name: &str) -> bool {
        let removed = self.objects(kind, namespace).remove(name).is_some();
        self.forget(kind, namespace);
        self.spaces.retain(|_, space| !(space.policies.is_empty() && space.targets.is_empty()));
        removed
    }

    /// These are all of the kind.
    pub fn replace_objects(&mut self, kind: Kind, all: Vec<Object>) -> bool {
        let there: BTreeSet<(&str, &str)> = all.iter().map(|one| (one.namespace.as_str(), one.name.as_str())).collect();
        let gone = |object: &&Object| !there.contains(&(object.namespace.as_str(), object.name.as_str()));
        let known: Vec<&Object> = match kind {
            Kind::ClusterPolicy => self.cluster.values().collect(),
            Kind::Policy => self.spaces.values().flat_map(|space| space.policies.values()).collect(),
            Kind::Target => self.spaces.values().flat_map(|space| space.targets.values()).collect(),
        };
        let gone: Vec<(String, String)> =
            known.into_iter().filter(gone).map(|one| (one.namespace.clone(), one.name.clone())).collect();
        let mut changed = false;
        for (namespace, name) in &gone {
            changed |= self.remove_object(kind, namespace, name);
        }
        for object in all {
            changed |= self.set_object(kind, object);
        }
        changed
    }

    pub fn set_secret(&mut self, namespace: &str, name: &str, state: State) -> bool {
        let key = (namespace.to_owned(), name.to_owned());
        if self.secrets.get(&key) == Some(&state) {
            return false;
        }
        self.secrets.insert(key, state);
        true
    }

    pub fn remove_secret(&mut self, namespace: &str, name: &str) -> bool {
        self.secrets.remove(&(namespace.to_owned(), name.to_owned())).is_some()
    }

    fn objects(&mut self, kind: Kind, namespace: &str) -> &mut Objects {
        match kind {
            Kind::ClusterPolicy => &mut self.cluster,
            Kind::Policy => &mut self.spaces.entry(namespace.to_owned()).or_default().policies,
            Kind::Target => &mut self.spaces.entry(namespace.to_owned()).or_default().targets,
        }
    }

    /// What was made of the objects before.
    fn forget(&mut self, kind: Kind, namespace: &str) {
        if kind == Kind::ClusterPolicy {
            self.spaces.values_mut().chain([&mut self.empty]).for_each(|space| space.made.get_mut().clear());
        } else if let Some(space) = self.spaces.get_mut(namespace) {
            space.made.get_mut().clear();
        }
    }
}

// === impl World: questions ===

impl World {
    pub fn whole(&self) -> bool {
        self.alive && Feed::ALL.iter().all(|feed| self.synced.contains(feed))
    }

    pub fn alive(&self) -> bool {
        self.alive
    }

    pub fn noted(&self) -> u64 {
        self.noted
    }

    pub(super) fn pods(&self) -> &BTreeMap<String, Pod> {
        &self.pods
    }

    pub(super) fn secrets(&self) -> &BTreeMap<(String, String), State> {
        &self.secrets
    }

    pub(super) fn cluster_policies(&self) -> impl Iterator<Item = &Object> {
        self.cluster.values()
    }

    pub(super) fn cluster_policy(&self, name: &str) -> Option<&Object> {
        self.cluster.get(name)
    }

    /// Policies and targets of each namespace.
    pub(super) fn spaces(&self) -> impl Iterator<Item = (&Objects, &Objects)> {
        self.spaces.values().map(|space| (&space.policies, &space.targets))
    }

    /// Policies and targets of the namespace.
    pub(super) fn space(&self, namespace: &str) -> (&Objects, &Objects) {
        let space = self.spaces.get(namespace).unwrap_or(&self.empty);
        (&space.policies, &space.targets)
    }

    pub fn pod(&self, uid: &str) -> Option<&Pod> {
        self.pods.get(uid)
    }

    /// Every Secret that a target names, whatever the policies beside it are.
    pub(super) fn named_secrets(&self) -> Named {
        let mut all = Named::new();
        for space in self.spaces.values() {
            let led: BTreeSet<&str> = space.policies.values().flat_map(|policy| policy.targets()).collect();
            for target in space.targets.values() {
                let Ok(read) = &target.read else { continue };
                for (name, _) in super::content::named(read) {
                    let naming = all.entry((target.namespace.clone(), name.to_owned())).or_default();
                    naming.led |= led.contains(target.name.as_str());
                    naming.by.insert(target.revision.clone());
                }
            }
        }
        all
    }

    /// # Errors
    /// See [`Withheld`].
    pub fn revision(&self, name: &PodName) -> Result<String, Withheld> {
        let (pod, content) = self.concerning(name)?;
        self.revised(pod, &content)
    }

    pub(super) fn revision_of(&self, pod: &Pod) -> Result<String, Withheld> {
        self.revised(pod, &*self.content(pod)?)
    }

    /// # Errors
    /// See [`Withheld`].
    pub fn snapshot(&self, name: &PodName) -> Result<v1::Snapshot, Withheld> {
        let (pod, content) = self.concerning(name)?;
        let Subject { namespace, service_account, labels, namespace_labels, .. } = self.subject(pod);
        let subject = v1::Subject {
            namespace,
            service_account,
            pod: pod.name.clone(),
            pod_uid: pod.uid.clone(),
            labels: labels.into_iter().collect(),
            namespace_labels: namespace_labels.into_iter().collect(),
        };
        let given = self.given(&pod.namespace, &content)?;
        let told = content.objects.iter().enumerate().filter(|(at, _)| !given.left_out.contains(at));
        let mut secrets = Vec::new();
        for (name, (present, keys)) in &given.secrets {
            let Some(present) = present else { continue };
            let value = |key: &str| Some((key.to_owned(), present.data.get(key)?.expose().to_vec()));
            let kept = keys.iter().filter_map(|key| value(key)).collect();
            secrets.push(v1::Secret { namespace: pod.namespace.clone(), name: (*name).to_owned(), data: kept });
        }
        let snapshot = v1::Snapshot {
            revision: self.revised(pod, &content)?,
            subject: Some(subject),
            objects: told.map(|(_, object)| object.clone()).collect(),
            secrets,
            max_policy_age_seconds: self.max_age,
        };
        // With room for what is around it in its message.
        match snapshot.encoded_len() {
            bytes if bytes.saturating_add(64) > control::MESSAGE_LIMIT => Err(Withheld::TooLarge { bytes }),
            _ => Ok(snapshot),
        }
    }

    fn concerning(&self, name: &PodName) -> Result<(&Pod, Arc<Content>), Withheld> {
        if !self.whole() {
            return Err(Withheld::Unsynced);
        }
        let pod = self.pods.get(name.uid()).filter(|pod| pod.namespace == name.namespace()).ok_or(Withheld::Gone)?;
        Ok((pod, self.content(pod)?))
    }

    fn content(&self, pod: &Pod) -> Result<Arc<Content>, Withheld> {
        if !self.whole() {
            return Err(Withheld::Unsynced);
        }
        // A namespace that is not known says nothing about its labels, and policies choose by them.
        if !self.namespaces.contains_key(&pod.namespace) {
            return Err(Withheld::Unsynced);
        }
        let space = self.spaces.get(&pod.namespace).unwrap_or(&self.empty);
        let (cluster, policies) = self.selecting(pod);
        let names = |objects: &[&Object]| objects.iter().map(|object| object.name.clone()).collect();
        let mut made = space.made.lock();
        // Selections that no pod has any more stay until the next change.
        if made.len() >= MADE {
            made.clear();
        }
        let content = made
            .entry((names(&cluster), names(&policies)))
            .or_insert_with(|| Content::of(&cluster, &policies, &space.targets).map(Arc::new).map_err(Arc::new));
        content.clone().map_err(Withheld::Unsound)
    }

    /// The policies that select the pod, of the cluster and of its namespace, each in the order of their names; and
    /// those that cannot be read.
    pub fn selecting(&self, pod: &Pod) -> (Vec<&Object>, Vec<&Object>) {
        let subject = self.subject(pod);
        let space = self.spaces.get(&pod.namespace).unwrap_or(&self.empty);
        let [cluster, policies] = [&self.cluster, &space.policies]
            .map(|policies| policies.values().filter(|policy| policy.selects(&subject)).collect());
        (cluster, policies)
    }

    fn subject(&self, pod: &Pod) -> Subject {
        Subject {
            namespace: pod.namespace.clone(),
            service_account: pod.service_account.clone(),
            labels: pod.labels.clone(),
            namespace_labels: self.namespaces.get(&pod.namespace).cloned().unwrap_or_default(),
            pod: Some(pod.name.clone()),
            pod_uid: Some(pod.uid.clone()),
        }
    }
}
