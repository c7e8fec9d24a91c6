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

use crate::outside::{Credential, CredentialError, Credentials};

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
        take: impl FnOnce(&Held, &AccessTargetSpec) -> Result<T, SecretError>,
    ) -> Result<T, CredentialError> {
        let held = self.current.load();
        let target = held.set.targets().get(key).ok_or_else(|| CredentialError {
            target: key.to_string(),
            reason: "there is no such AccessTarget any more".to_owned(),
        })?;
        take(&held, target).map_err(|e| CredentialError { target: key.to_string(), reason: e.to_string() })
    }
}

impl Credentials for Secrets {
    fn current(&self, target: &TargetKey) -> Result<Credential, CredentialError> {
        self.with(target, |held, spec| held.secrets.credential(target, spec))
    }

    fn trust_anchor(&self, target: &TargetKey) -> Result<Option<Vec<u8>>, CredentialError> {
        self.with(target, |held, spec| Ok(held.secrets.trust_anchor(target, spec)?.map(<[u8]>::to_vec)))
    }
}
