//! The key that votes are signed with: 32 bytes in a Secret that the chart makes empty and the leader fills once.
//!
//! Without it nothing is signed and nothing counts. Another key makes every vote so far count for nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::rand;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::stamp::Key;

const FIELD: &str = "key";
/// For one request to the API server.
const PATIENCE: Duration = Duration::from_secs(10);

/// The key as this replica knows it.
#[derive(Clone, Debug, Default)]
pub struct Held(Arc<ArcSwapOption<Key>>);

#[derive(Clone, Debug)]
pub struct Store {
    api: Api<Secret>,
    name: String,
    held: Held,
    /// What `held` was made of, to see whether it is another one now.
    version: Arc<ArcSwapOption<String>>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    #[error("the API server is too slow")]
    Slow,
    #[error("there is no Secret `{0}`: the chart makes it")]
    Missing(String),
    #[error("the Secret holds no key of 32 bytes yet: the leader has to make it")]
    Empty,
    #[error("there is no randomness")]
    Randomness,
}

// === impl Held ===

impl Held {
    pub(super) fn get(&self) -> Option<Arc<Key>> {
        self.0.load_full()
    }

    pub(super) fn is_there(&self) -> bool {
        self.0.load().is_some()
    }

    #[cfg(test)]
    pub(super) fn set(&self, key: Key) {
        self.0.store(Some(Arc::new(key)));
    }

    #[cfg(test)]
    pub(super) fn of(key: Key) -> Self {
        Self(Arc::new(ArcSwapOption::from_pointee(key)))
    }
}

// === impl Store ===

impl Store {
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, name: name.to_owned(), held: Held::default(), version: Arc::default() }
    }

    pub fn held(&self) -> Held {
        self.held.clone()
    }

    /// Every replica's part: reads the key, and says whether it is another than before.
    ///
    /// # Errors
    /// When there is none; what was held is kept.
    pub async fn read(&self) -> Result<bool, KeyError> {
        let secret = self.secret().await?;
        let bytes = bytes(&secret).ok_or(KeyError::Empty)?;
        let version = secret.metadata.resource_version.unwrap_or_default();
        if self.held.is_there() && self.version.load().as_deref() == Some(&version) {
            return Ok(false);
        }
        self.held.0.store(Some(Arc::new(Key::new(&bytes))));
        self.version.store(Some(Arc::new(version)));
        Ok(true)
    }

    /// The leader's part: makes the key where none is, and says whether it did.
    ///
    /// # Errors
    /// Also when the Secret was changed since it was read.
    pub async fn fill(&self) -> Result<bool, KeyError> {
        let mut secret = self.secret().await?;
        if bytes(&secret).is_some() {
            return Ok(false);
        }
        if secret.data.as_ref().is_some_and(|data| data.contains_key(FIELD)) {
            tracing::warn!(event = "approval_key_replaced", error = "it was not 32 bytes long");
        }
        let mut key = Zeroizing::new([0; Key::BYTES]);
        rand::fill(key.as_mut_slice()).map_err(|_| KeyError::Randomness)?;
        secret.data = Some(BTreeMap::from([(FIELD.to_owned(), ByteString(key.to_vec()))]));
        // With the resourceVersion of what was read.
        let params = PostParams::default();
        let written = self.api.replace(&self.name, &params, &secret);
        timeout(PATIENCE, written).await.map_err(|_| KeyError::Slow)??;
        Ok(true)
    }

    async fn secret(&self) -> Result<Secret, KeyError> {
        let secret = timeout(PATIENCE, self.api.get_opt(&self.name)).await.map_err(|_| KeyError::Slow)??;
        secret.ok_or_else(|| KeyError::Missing(self.name.clone()))
    }
}

fn bytes(secret: &Secret) -> Option<Zeroizing<[u8; Key::BYTES]>> {
    let bytes = &secret.data.as_ref()?.get(FIELD)?.0;
    <[u8; Key::BYTES]>::try_from(bytes.as_slice()).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_key_of_the_right_length_is_one() {
        let of = |data: &[(&str, Vec<u8>)]| Secret {
            data: Some(data.iter().map(|(key, bytes)| ((*key).to_owned(), ByteString(bytes.clone()))).collect()),
            ..Secret::default()
        };
        assert!(bytes(&Secret::default()).is_none());
        assert!(bytes(&of(&[])).is_none());
        assert!(bytes(&of(&[(FIELD, vec![])])).is_none());
        assert!(bytes(&of(&[(FIELD, vec![7; 31])])).is_none());
        assert!(bytes(&of(&[(FIELD, vec![7; 33])])).is_none());
        assert!(bytes(&of(&[("other", vec![7; 32])])).is_none());
        assert_eq!(*bytes(&of(&[(FIELD, vec![7; 32])])).unwrap(), [7; 32]);
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", Held::of(Key::new(&[7; 32]))), "Held(ArcSwapAny(Some(<secret>)))");
    }
}
