//! Every replica's part: a leaf of its own, signed with the CA of the Secret, renewed before it is old.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use super::authority::{Authority, CertificateError, Leaf, read as certificate};
use super::roots;
use super::store::Store;
use crate::inject::Seal;

/// What one reading of the Secret gives a replica.
#[derive(Debug)]
pub struct Held {
    pub leaf: Arc<Leaf>,
    pub seal: Seal,
    /// The CA that signed the leaf.
    pub authority: Arc<Authority>,
    /// Every CA that is trusted: the current one, the next, the previous.
    pub trusted: Vec<CertificateDer<'static>>,
    /// What an injected sidecar is told of them.
    pub roots: String,
    /// By which a sidecar sees that it was told of others.
    pub mark: Vec<u8>,
}

/// A CA and its neighbours.
#[derive(Debug)]
pub struct Authorities {
    pub current: Arc<Authority>,
    pub next: Option<CertificateDer<'static>>,
    pub previous: Option<CertificateDer<'static>>,
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

    /// Takes a new leaf when the CA is another or the leaf is old; says whether it did. What else is trusted is taken
    /// over in any case.
    ///
    /// # Errors
    /// When none can be made; what was held is kept.
    pub fn renew(&self, authorities: Authorities, names: &[String], now: u64) -> Result<bool, CertificateError> {
        let Authorities { current, next, previous } = authorities;
        let held = self.get().filter(|held| held.authority.pem() == current.pem() && !held.leaf.life.aged(now));
        // The next one too: a pod that is made now may have to wait for a node until that one signs.
        let argued = std::iter::once(current.der()).chain(&next).chain(&previous);
        let roots = roots::argument(argued);
        let trusted: Vec<_> = std::iter::once(current.der().clone()).chain(next).chain(previous).collect();
        if held.as_ref().is_some_and(|held| held.trusted == trusted) {
            return Ok(false);
        }
        let leaf = match &held {
            Some(held) => Arc::clone(&held.leaf),
            None => Arc::new(current.leaf(names, now)?),
        };
        let (seal, mark) = (current.seal(), control::roots_mark(&trusted));
        self.0.store(Some(Arc::new(Held { leaf, seal, authority: current, trusted, roots, mark })));
        Ok(held.is_none())
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
        let previous = stored.previous.as_deref().map(certificate).transpose()?.map(|(der, _)| der);
        let next = stored.next.map(|next| next.der().clone());
        let authorities = Authorities { current: Arc::new(stored.authority?), next, previous };
        Ok(self.current.renew(authorities, &self.names, now)?)
    }
}

// === impl Authorities ===

impl From<Authority> for Authorities {
    fn from(current: Authority) -> Self {
        Self { current: Arc::new(current), next: None, previous: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 24 * 3600;

    fn alone(ca: &Arc<Authority>) -> Authorities {
        Authorities { current: Arc::clone(ca), next: None, previous: None }
    }

    #[test]
    fn renewed_when_old_and_when_the_ca_is_another() {
        let names = ["operator.x.svc".to_owned()];
        let ca = Arc::new(Authority::make(NOW).unwrap());
        let current = Current::default();
        assert!(current.renew(alone(&ca), &names, NOW).unwrap());
        let shown = || current.get().unwrap().leaf.certified.cert[0].clone();
        let first = shown();
        assert!(!current.renew(alone(&ca), &names, NOW + 4 * DAY).unwrap());
        assert_eq!(shown(), first);
        assert!(current.renew(alone(&ca), &names, NOW + 5 * DAY).unwrap());
        assert_ne!(shown(), first);
        assert!(current.renew(Authority::make(NOW).unwrap().into(), &names, NOW + 5 * DAY).unwrap());
        // Set back by a week: the leaf is not good yet.
        assert!(current.renew(alone(&ca), &names, NOW - 2 * DAY).unwrap());
    }

    #[test]
    fn what_cannot_be_renewed_is_kept() {
        let ca = Arc::new(Authority::make(NOW).unwrap());
        let current = Current::default();
        current.renew(alone(&ca), &["operator.x.svc".to_owned()], NOW).unwrap();
        let first = current.get().unwrap().leaf.certified.cert[0].clone();
        current.renew(alone(&ca), &["é".to_owned()], NOW + 6 * DAY).unwrap_err();
        assert_eq!(current.get().unwrap().leaf.certified.cert[0], first);
    }

    #[test]
    fn neighbours_of_the_ca_are_trusted_without_a_new_leaf() {
        let names = ["operator.x.svc".to_owned()];
        let [ca, next, previous] = [0; 3].map(|_| Arc::new(Authority::make(NOW).unwrap()));
        let current = Current::default();
        current.renew(alone(&ca), &names, NOW).unwrap();
        let first = current.get().unwrap();
        assert_eq!((&first.trusted, &first.roots), (&vec![ca.der().clone()], &roots::argument([ca.der()])));
        let all =
            || Authorities { next: Some(next.der().clone()), previous: Some(previous.der().clone()), ..alone(&ca) };
        assert!(!current.renew(all(), &names, NOW).unwrap());
        let second = current.get().unwrap();
        assert!(Arc::ptr_eq(&first.leaf, &second.leaf));
        assert_eq!(second.trusted, [&ca, &next, &previous].map(|ca| ca.der().clone()));
        // A pod that is made now, and begins when the next one signs, knows it.
        assert_eq!(second.roots, roots::argument([ca.der(), next.der(), previous.der()]));
        current.renew(all(), &names, NOW).unwrap();
        assert!(Arc::ptr_eq(&second, &current.get().unwrap()), "nothing changed");
    }
}
