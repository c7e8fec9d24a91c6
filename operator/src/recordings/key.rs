//! The key that recordings are countersigned with, in a Secret that the chart makes empty and the leader fills once, and
//! its public half in a ConfigMap, where auditors get it.
//!
//! Without it nothing is countersigned. A second key vouches for what comes after it; the ConfigMap goes on naming those
//! that were before it, or nobody could tell what they vouched for.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::PostParams;
use kube::{Api, Client};
use recording::SigningKey;
use recording::keys::KeyError as Unmade;
use tokio::time::timeout;

const FIELD: &str = "key";
/// The public half, and those before it, one a line.
const PUBLIC: &str = "witness.pub";
const FORMER: &str = "former-witnesses.pub";
/// For one request to the API server.
const PATIENCE: Duration = Duration::from_secs(10);
/// Digits that tell keys apart.
const DIGITS: usize = 8;

/// The key as this replica knows it.
#[derive(Clone, Debug, Default)]
pub struct Held(Arc<ArcSwapOption<SigningKey>>);

#[derive(Clone, Debug)]
pub struct Store {
    secrets: Api<Secret>,
    maps: Api<ConfigMap>,
    name: String,
    held: Held,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    #[error("the API server is too slow")]
    Slow,
    #[error("there is no {kind} `{name}`: the chart makes it")]
    Missing { kind: &'static str, name: String },
    #[error("the Secret holds no key yet: the leader has to make it")]
    Empty,
    #[error("what the Secret holds under `key` is no key: restore it, or remove `key` to begin with another one")]
    Malformed,
    #[error(transparent)]
    Unmade(#[from] Unmade),
}

// === impl Held ===

impl Held {
    pub fn get(&self) -> Option<Arc<SigningKey>> {
        self.0.load_full()
    }

    pub fn of(key: SigningKey) -> Self {
        Self(Arc::new(ArcSwapOption::from_pointee(key)))
    }
}

// === impl Store ===

impl Store {
    /// Both objects have the one name.
    pub fn new(client: &Client, namespace: &str, name: &str) -> Self {
        let secrets = Api::namespaced(client.clone(), namespace);
        let maps = Api::namespaced(client.clone(), namespace);
        Self { secrets, maps, name: name.to_owned(), held: Held::default() }
    }

    pub fn held(&self) -> Held {
        self.held.clone()
    }

    /// Every replica's part: reads the key, and says whether it is another than before.
    ///
    /// # Errors
    /// When there is none; what was held is kept.
    pub async fn read(&self) -> Result<bool, KeyError> {
        let key = key(&self.secret().await?)?.ok_or(KeyError::Empty)?;
        if self.held.get().is_some_and(|held| held.public() == key.public()) {
            return Ok(false);
        }
        self.held.0.store(Some(Arc::new(key)));
        Ok(true)
    }

    /// The leader's part: makes the key where none is, and says whether it did. One that cannot be read is not replaced:
    /// it may have vouched for what is in the store.
    ///
    /// # Errors
    /// Also when the Secret was changed since it was read.
    pub async fn fill(&self) -> Result<bool, KeyError> {
        let mut secret = self.secret().await?;
        if key(&secret)?.is_some() {
            return Ok(false);
        }
        let text = SigningKey::generate_text(&name()?)?;
        let held = secret.data.get_or_insert_default();
        held.insert(FIELD.to_owned(), ByteString(text.as_bytes().to_vec()));
        // With the resourceVersion of what was read.
        timely(self.secrets.replace(&self.name, &PostParams::default(), &secret)).await?;
        Ok(true)
    }

    /// The leader's part: says the public half where auditors look for it.
    ///
    /// # Errors
    /// Also when the ConfigMap was changed since it was read.
    pub async fn publish(&self) -> Result<bool, KeyError> {
        let Some(held) = self.held.get() else { return Ok(false) };
        let map = timely(self.maps.get_opt(&self.name)).await?;
        let mut map = map.ok_or_else(|| KeyError::Missing { kind: "ConfigMap", name: self.name.clone() })?;
        if !name_key(map.data.get_or_insert_default(), &held.public().to_string()) {
            return Ok(false);
        }
        timely(self.maps.replace(&self.name, &PostParams::default(), &map)).await?;
        Ok(true)
    }

    async fn secret(&self) -> Result<Secret, KeyError> {
        let secret = timely(self.secrets.get_opt(&self.name)).await?;
        secret.ok_or_else(|| KeyError::Missing { kind: "Secret", name: self.name.clone() })
    }
}

async fn timely<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, KeyError> {
    Ok(timeout(PATIENCE, call).await.map_err(|_| KeyError::Slow)??)
}

/// What the Secret holds, if anything.
fn key(secret: &Secret) -> Result<Option<SigningKey>, KeyError> {
    let Some(bytes) = secret.data.as_ref().and_then(|data| data.get(FIELD)) else { return Ok(None) };
    let text = std::str::from_utf8(&bytes.0).map_err(|_| KeyError::Malformed)?;
    SigningKey::from_text(text).map(Some).ok_or(KeyError::Malformed)
}

/// Of the installation, and of no other.
fn name() -> Result<String, KeyError> {
    let mut bytes = [0; DIGITS / 2];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeyError::Unmade(Unmade::Randomness))?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("agentaccess-witness-{digits}"))
}

/// Puts the key in the first place; says whether something changed.
fn name_key(data: &mut BTreeMap<String, String>, public: &str) -> bool {
    let before = data.get(PUBLIC).map(|text| text.trim().to_owned()).unwrap_or_default();
    if before == public {
        return false;
    }
    if !before.is_empty() {
        let former = data.entry(FORMER.to_owned()).or_default();
        if !former.lines().any(|line| line == before) {
            former.push_str(&format!("{before}\n"));
        }
    }
    data.insert(PUBLIC.to_owned(), format!("{public}\n"));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        let data = [(FIELD.to_owned(), ByteString(text.as_bytes().to_vec()))].into();
        Secret { data: Some(data), ..Secret::default() }
    }

    #[test]
    fn a_key_is_read_and_what_is_none_is_not_replaced_in_silence() {
        let text = SigningKey::generate_text(&name().unwrap()).unwrap();
        let read = key(&secret(&text)).unwrap().unwrap();
        assert!(read.public().name().starts_with("agentaccess-witness-"));
        assert!(key(&Secret::default()).unwrap().is_none());
        for bad in ["", "x", text.trim().split_at(40).0] {
            assert!(matches!(key(&secret(bad)), Err(KeyError::Malformed)), "{bad}");
        }
        let shown = format!("{:?}", Held::of(read));
        assert!(!shown.contains(text.trim().splitn(5, '+').last().unwrap()), "{shown}");
    }

    #[test]
    fn the_keys_before_stay_known() {
        let mut data = BTreeMap::new();
        assert!(name_key(&mut data, "one"));
        assert!(!name_key(&mut data, "one"));
        assert!(name_key(&mut data, "two") && name_key(&mut data, "three"));
        assert_eq!((data[PUBLIC].as_str(), data[FORMER].as_str()), ("three\n", "one\ntwo\n"));
    }
}
