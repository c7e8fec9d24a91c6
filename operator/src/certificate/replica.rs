//! Every replica's part: a leaf of its own, signed with the CA of the Secret, renewed before it is old.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::authority::{Authority, CertificateError, Leaf};
use super::store::Store;
use crate::inject::Seal;

/// What one CA gives a replica.
#[derive(Debug)]
pub struct Held {
    pub leaf: Leaf,
    pub seal: Seal,
    /// PEM of the CA that signed the leaf.
    ca: String,
}

/// Swapped whole, so that leaf and seal are of one CA. Empty until the CA was read for the first time; then nobody is
/// answered.
#[derive(Clone, Debug, Default)]
pub struct Current(Arc<ArcSwapOption<Held>>);

#[derive(Debug)]
pub struct Replica {
    store: Store,
    /// Under which the API server dials us.
    names: Vec<String>,
    current: Current,
}

#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("there is no CA yet: the leader has to make it")]
    NoCa,
}

// === impl Current ===

impl Current {
    pub fn get(&self) -> Option<Arc<Held>> {
        self.0.load_full()
    }

    /// Takes a new leaf when the CA is another or the leaf is old; says whether it did.
    ///
    /// # Errors
    /// When none can be made; what was held is kept.
    pub fn renew(&self, authority: &Authority, names: &[String], now: u64) -> Result<bool, CertificateError> {
        if self.get().is_some_and(|held| held.ca == authority.pem() && !held.leaf.life.aged(now)) {
            return Ok(false);
        }
        let leaf = authority.leaf(names, now)?;
        let held = Held { leaf, seal: authority.seal(), ca: authority.pem().to_owned() };
        self.0.store(Some(Arc::new(held)));
        Ok(true)
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.get().map(|held| Arc::clone(&held.leaf.certified))
    }
}

// === impl Replica ===

impl Replica {
    pub fn new(store: Store, names: Vec<String>) -> Self {
        Self { store, names, current: Current::default() }
    }

    pub fn current(&self) -> Current {
        self.current.clone()
    }

    /// Looks once and renews what is old; says whether there is a new leaf. To be called again and again.
    ///
    /// # Errors
    /// When the API server is away or the CA is of no use; what was held is kept, until it expires.
    pub async fn step(&self, now: u64) -> Result<bool, RenewError> {
        let stored = self.store.read(now).await?.ok_or(RenewError::NoCa)?;
        Ok(self.current.renew(&stored.authority?, &self.names, now)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 24 * 3600;

    #[test]
    fn renewed_when_old_and_when_the_ca_is_another() {
        let names = ["operator.x.svc".to_owned()];
        let ca = Authority::make(NOW).unwrap();
        let current = Current::default();
        assert!(current.renew(&ca, &names, NOW).unwrap());
        let shown = || current.get().unwrap().leaf.certified.cert[0].clone();
        let first = shown();
        assert!(!current.renew(&ca, &names, NOW + 4 * DAY).unwrap());
        assert_eq!(shown(), first);
        assert!(current.renew(&ca, &names, NOW + 5 * DAY).unwrap());
        assert_ne!(shown(), first);
        assert!(current.renew(&Authority::make(NOW).unwrap(), &names, NOW + 5 * DAY).unwrap());
        // Set back by a week: the leaf is not good yet.
        assert!(current.renew(&ca, &names, NOW - 2 * DAY).unwrap());
    }

    #[test]
    fn what_cannot_be_renewed_is_kept() {
        let ca = Authority::make(NOW).unwrap();
        let current = Current::default();
        current.renew(&ca, &["operator.x.svc".to_owned()], NOW).unwrap();
        let first = current.get().unwrap().leaf.certified.cert[0].clone();
        current.renew(&ca, &["é".to_owned()], NOW + 6 * DAY).unwrap_err();
        assert_eq!(current.get().unwrap().leaf.certified.cert[0], first);
    }
}
