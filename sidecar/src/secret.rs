//! Secrets from files: what the sidecar logs in with and what agents prove themselves by.
//!
//! Refused: a file that others may read or write, a Secret or key that is not there, a value that cannot be meant. The
//! values are wiped when dropped and are in no error, log or record.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use crds::manifest::Secret;
use crds::shared::SecretKeyRef;
use crds::target::AccessTargetSpec;
use policy::{PolicySet, TargetKey};
use secrecy::SecretString;

use crate::outside::{Credential, CredentialError, Credentials, Target};

/// The current Secrets and targets; a new value counts for new connections.
#[derive(Debug)]
pub struct Secrets {
    current: ArcSwap<Held>,
}

/// One consistent reading of the folder.
#[derive(Debug)]
pub struct Held {
    pub set: PolicySet,
    pub secrets: SecretMap,
}

/// By namespace and name.
#[derive(Clone, Default)]
pub struct SecretMap(BTreeMap<(String, String), Secret>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("`{path}` holds a Secret and may be {how} by others (mode {mode:o}): run `chmod 600 {path}`")]
    Exposed { path: PathBuf, mode: u32, how: &'static str },
    #[error("`{path}` cannot be checked: {reason}")]
    Unchecked { path: PathBuf, reason: String },
    #[error("there is no Secret `{name}` in namespace `{namespace}`: add it to the folder of policies")]
    Missing { namespace: String, name: String },
    #[error("the Secret `{namespace}/{name}` has no key `{key}`: add the key, or name one that it has")]
    NoKey { namespace: String, name: String, key: String },
    #[error("the key `{key}` of the Secret `{namespace}/{name}` {reason}")]
    Unusable { namespace: String, name: String, key: String, reason: &'static str },
}

/// A file with a Secret must not be readable by others (0600 or 0640), nor writable by anybody but its owner.
pub fn check_permissions(path: &Path) -> Result<(), SecretError> {
    let mode = std::fs::metadata(path)
        .map_err(|e| SecretError::Unchecked { path: path.to_owned(), reason: e.to_string() })?
        .mode();
    let how = if mode & 0o007 != 0 {
        "read or written"
    } else if mode & 0o020 != 0 {
        "written"
    } else {
        return Ok(());
    };
    Err(SecretError::Exposed { path: path.to_owned(), mode: mode & 0o7777, how })
}

// === impl SecretMap ===

impl SecretMap {
    pub fn insert(&mut self, secret: Secret) {
        self.0.insert((secret.namespace.clone(), secret.name.clone()), secret);
    }

    /// The bytes of one key.
    pub fn bytes(&self, namespace: &str, key: &SecretKeyRef) -> Result<&[u8], SecretError> {
        let secret = self
            .0
            .get(&(namespace.to_owned(), key.name.clone()))
            .ok_or_else(|| SecretError::Missing { namespace: namespace.to_owned(), name: key.name.clone() })?;
        secret.data.get(&key.key).map(crds::manifest::SecretBytes::expose).ok_or_else(|| SecretError::NoKey {
            namespace: namespace.to_owned(),
            name: key.name.clone(),
            key: key.key.clone(),
        })
    }

    /// The text of one key, as a user name or a password: not empty, no control character.
    pub fn text(&self, namespace: &str, key: &SecretKeyRef) -> Result<SecretString, SecretError> {
        self.word(namespace, key).map(SecretString::from)
    }

    fn word(&self, namespace: &str, key: &SecretKeyRef) -> Result<&str, SecretError> {
        let unusable = |reason| SecretError::Unusable {
            namespace: namespace.to_owned(),
            name: key.name.clone(),
            key: key.key.clone(),
            reason,
        };
        let text = std::str::from_utf8(self.bytes(namespace, key)?).map_err(|_| unusable("is not UTF-8 text"))?;
        if text.is_empty() {
            return Err(unusable("is empty: give a value"));
        }
        // A trailing line break is the usual slip of `echo` and of YAML blocks, and fails only at the login.
        if text.chars().any(char::is_control) {
            return Err(unusable("holds a line break or another control character: write it without"));
        }
        Ok(text)
    }

    /// What `target` is logged in with.
    pub fn credential(&self, key: &TargetKey, target: &AccessTargetSpec) -> Result<Credential, SecretError> {
        let of = |part: &str| SecretKeyRef { name: target.credential_ref.name.clone(), key: part.to_owned() };
        Ok(Credential {
            username: self.word(&key.namespace, &of(&target.credential_ref.username_key))?.to_owned(),
            password: self.text(&key.namespace, &of(&target.credential_ref.password_key))?,
        })
    }

    /// PEM of the CA of `target`, if it names one.
    pub fn trust_anchor(&self, key: &TargetKey, target: &AccessTargetSpec) -> Result<Option<&[u8]>, SecretError> {
        target.tls.ca_secret_ref.as_ref().map(|of| self.bytes(&key.namespace, of)).transpose()
    }
}

impl fmt::Debug for SecretMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

// === impl Secrets ===

impl Secrets {
    pub fn new(held: Held) -> Arc<Self> {
        Arc::new(Self { current: ArcSwap::from_pointee(held) })
    }

    /// Rotation: from now on these count.
    pub fn replace(&self, held: Held) {
        self.current.store(Arc::new(held));
    }

    pub fn held(&self) -> Arc<Held> {
        self.current.load_full()
    }

    fn with<T>(
        &self,
        key: &TargetKey,
        take: impl FnOnce(&Held, &AccessTargetSpec) -> Result<T, CredentialError>,
    ) -> Result<T, CredentialError> {
        let held = self.current.load();
        let gone = || unusable(key, "there is no such AccessTarget any more");
        take(&held, held.set.targets().get(key).ok_or_else(gone)?)
    }
}

fn unusable(key: &TargetKey, reason: impl ToString) -> CredentialError {
    CredentialError { target: key.to_string(), reason: reason.to_string() }
}

impl Credentials for Secrets {
    fn current(&self, target: &Target) -> Result<Credential, CredentialError> {
        let key = &target.key;
        self.with(key, |held, spec| {
            // Who dials may hold the target as it was: what it names now is not for the host that it named then.
            if spec.host != target.host || spec.port != i32::from(target.port) || spec.tls.mode != target.tls {
                return Err(unusable(key, "it was changed since this session began: connect again"));
            }
            held.secrets.credential(key, spec).map_err(|error| unusable(key, error))
        })
    }

    fn trust_anchor(&self, key: &TargetKey) -> Result<Option<Vec<u8>>, CredentialError> {
        self.with(key, |held, spec| {
            let anchor = held.secrets.trust_anchor(key, spec).map_err(|error| unusable(key, error))?;
            Ok(anchor.map(<[u8]>::to_vec))
        })
    }
}

#[cfg(test)]
mod tests {
    use crds::manifest::SecretBytes;
    use secrecy::ExposeSecret as _;

    use super::*;

    const KEY: &str = "db";

    fn held(host: &str, port: u16, tls: &str, secret: &str) -> Held {
        let text = format!(
            "{{protocol: Postgres, host: {host}, port: {port}, tls: {{mode: {tls}}}, credentialRef: {{name: {secret}}}, \
             postgres: {{databases: [d]}}}}"
        );
        let (namespace, name) = ("ours".to_owned(), KEY.to_owned());
        let targets = vec![policy::Named { namespace, name, spec: serde_yaml::from_str(&text).unwrap() }];
        let set = policy::compile(&policy::Input { targets, ..policy::Input::default() }).unwrap();
        let mut secrets = SecretMap::default();
        let data = [("username", "u"), ("password", "swordfish")];
        let data = data.map(|(key, value)| (key.to_owned(), SecretBytes::new(value.as_bytes().to_vec()))).into();
        secrets.insert(Secret { namespace: "ours".to_owned(), name: secret.to_owned(), data });
        Held { set, secrets }
    }

    /// A session, or a reading of the catalog, holds the target as it was when it began. What the target names since is
    /// for the host that it names since.
    #[test]
    fn a_credential_goes_only_where_the_target_of_today_leads() {
        let secrets = Secrets::new(held("old.example", 5432, "Disabled", "theirs"));
        let key = TargetKey { namespace: "ours".to_owned(), name: KEY.to_owned() };
        let began = crate::outside::Target::of(&key, secrets.held().set.targets().get(&key)).unwrap();
        assert_eq!(secrets.current(&began).unwrap().password.expose_secret(), "swordfish");
        for now in [
            held("new.example", 5432, "Disabled", "ours"),
            held("old.example", 5433, "Disabled", "ours"),
            held("old.example", 5432, "VerifyFull", "ours"),
        ] {
            secrets.replace(now);
            let error = secrets.current(&began).unwrap_err().to_string();
            assert!(error.contains("was changed") && error.contains("connect again"), "{error}");
            // A query that runs there can still be cancelled.
            secrets.trust_anchor(&key).unwrap();
        }
        // A new password for the same place is what rotation is.
        secrets.replace(held("old.example", 5432, "Disabled", "ours"));
        secrets.current(&began).unwrap();
    }
}
