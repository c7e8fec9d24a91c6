//! What all pods that the same policies select are told alike, made once for each change.
//!
//! A policy that a sidecar would refuse stands against the whole content: left out, its Deny rules would be missing. A
//! target that would be refused is left out: what is not there is denied. Of a target that no such policy names the
//! sidecar knows where it is, to say what it denies, and no Secret.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;
use crds::manifest::Manifest;
use crds::target::AccessTargetSpec;
use policy::Input;

use super::object::{self, Kind, Object};

#[derive(Debug)]
pub(super) struct Content {
    /// Policies of the cluster, then policies and targets of the namespace, each in the order of their names.
    pub(super) objects: Vec<Vec<u8>>,
    /// Of each Secret that a target names which a policy names: all targets that name it.
    pub(super) secrets: BTreeMap<String, Vec<Use>>,
    pub(super) hash: [u8; 32],
}

/// A target that names a Secret.
#[derive(Debug)]
pub(super) struct Use {
    /// Of the target, among the objects.
    pub(super) at: usize,
    pub(super) host: String,
    pub(super) port: i32,
    pub(super) keys: BTreeSet<String>,
    /// A policy names the target.
    pub(super) led: bool,
}

pub(super) type Objects = BTreeMap<String, Object>;

// === impl Content ===

impl Content {
    /// # Errors
    /// What a sidecar would refuse, a line each.
    pub(super) fn of(cluster: &[&Object], policies: &[&Object], targets: &Objects) -> Result<Self, Vec<String>> {
        let (mut objects, mut input, mut wrong) = (Vec::new(), Input::default(), Vec::new());
        let mut secrets: BTreeMap<String, Vec<Use>> = BTreeMap::new();
        let used: BTreeSet<&str> = policies.iter().flat_map(|policy| policy.targets()).collect();
        let all = cluster.iter().map(|one| (Kind::ClusterPolicy, *one));
        let all = all.chain(policies.iter().map(|one| (Kind::Policy, *one)));
        for (kind, object) in all.chain(targets.values().map(|one| (Kind::Target, one))) {
            match &object.read {
                Ok(manifest) => {
                    object::add(&mut input, manifest);
                    for (name, one) in uses(manifest, objects.len(), used.contains(object.name.as_str())) {
                        secrets.entry(name.to_owned()).or_default().push(one);
                    }
                    objects.push(object.json.clone());
                }
                Err(_) if kind == Kind::Target => {}
                Err(error) => wrong.push(format!("{}: {error}", object.describe(kind))),
            }
        }
        if objects.len() > control::OBJECTS {
            wrong.push(format!("{} objects, of {} at most", objects.len(), control::OBJECTS));
        }
        if wrong.is_empty() {
            // What each of them passes alone they may break together: the number of rules.
            wrong.extend(policy::compile(&input).err().into_iter().flatten().map(|error| error.to_string()));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        secrets.retain(|_, uses| uses.iter().any(|one| one.led));
        let hash = hash(&objects);
        Ok(Self { objects, secrets, hash })
    }
}

/// One key of a Secret, and where a target names it.
#[derive(Clone, Copy, Debug)]
pub struct SecretKey<'a> {
    /// Of the reference, such as `spec.credentialRef`.
    pub path: &'static str,
    /// In it, of the key.
    pub field: &'static str,
    pub name: &'a str,
    pub key: &'a str,
}

/// Those that a target names.
pub fn secret_keys(spec: &AccessTargetSpec) -> impl Iterator<Item = SecretKey<'_>> {
    let login = &spec.credential_ref;
    let of_login = |field, key| SecretKey { path: "spec.credentialRef", field, name: &login.name, key };
    let keys = [of_login("usernameKey", login.username_key.as_str()), of_login("passwordKey", &login.password_key)];
    let ca = spec.tls.ca_secret_ref.iter();
    let ca = ca.map(|ca| SecretKey { path: "spec.tls.caSecretRef", field: "key", name: &ca.name, key: &ca.key });
    keys.into_iter().chain(ca)
}

/// Each key of a Secret that the object names, with the Secret's name.
pub(super) fn named(manifest: &Manifest) -> Vec<(&str, &str)> {
    let Manifest::AccessTarget(target) = manifest else { return Vec::new() };
    secret_keys(&target.spec).map(|named| (named.name, named.key)).collect()
}

/// What the target at this place takes of each Secret.
fn uses(manifest: &Manifest, at: usize, led: bool) -> BTreeMap<&str, Use> {
    let Manifest::AccessTarget(target) = manifest else { return BTreeMap::new() };
    let (host, port) = (&target.spec.host, target.spec.port);
    let mut all = BTreeMap::new();
    for (name, key) in named(manifest) {
        let none = || Use { at, host: host.clone(), port, keys: BTreeSet::new(), led };
        all.entry(name).or_insert_with(none).keys.insert(key.to_owned());
    }
    all
}

fn hash(objects: &[Vec<u8>]) -> [u8; 32] {
    let mut hash = Hash::new("agentaccess objects v1");
    for object in objects {
        hash.add(object);
    }
    hash.finish()
}

/// SHA-256 over parts, each with its length, so that no two lists of parts look alike.
pub(super) struct Hash(digest::Context);

impl Hash {
    pub(super) fn new(what: &str) -> Self {
        let mut hash = Self(digest::Context::new(&digest::SHA256));
        hash.add(what.as_bytes());
        hash
    }

    pub(super) fn add(&mut self, part: &[u8]) {
        self.0.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        self.0.update(part);
    }

    pub(super) fn finish(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        // SHA-256 has 32 bytes.
        bytes.iter_mut().zip(self.0.finish().as_ref()).for_each(|(to, from)| *to = *from);
        bytes
    }
}
