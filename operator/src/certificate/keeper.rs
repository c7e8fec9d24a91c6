//! The leader's part: there is a CA, it is renewed in time, and the API server trusts it.
//!
//! A new CA goes into `caBundle` first and is signed with a minute later, so that no replica shows a leaf that an API
//! server does not know yet. A leader that dies in between leaves a bundle with one certificate too many, which the next
//! one takes out again.

use super::authority::{Authority, CertificateError};
use super::bundle::Bundle;
use super::store::{Store, Stored};

/// Between trusting a new CA and signing with it: longer than any API server takes to see the bundle.
const SPREAD: u64 = 60;

#[derive(Debug)]
pub struct Keeper {
    store: Store,
    bundle: Bundle,
    /// The next CA, and since when it is in the bundle.
    next: Option<(Authority, u64)>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// What a step found to do.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// There is none, or one that is of no use.
    Make,
    /// It is old: a new one has to be trusted.
    Announce,
    /// The new one has been trusted for long enough.
    Switch,
    Keep,
}

// === impl Keeper ===

impl Keeper {
    pub fn new(store: Store, bundle: Bundle) -> Self {
        Self { store, bundle, next: None }
    }

    /// Looks once and does what is to be done; to be called again and again.
    ///
    /// # Errors
    /// When the API server is away or refuses; the next call tries again.
    pub async fn step(&mut self, now: u64) -> Result<(), KeepError> {
        let stored = self.store.read(now).await?;
        match step(stored.as_ref(), self.next.as_ref().map(|(_, since)| *since), now) {
            Step::Make => {
                let made = Authority::make(now)?;
                match stored {
                    Some(stored) => {
                        if let Err(error) = &stored.authority {
                            tracing::warn!(event = "ca_replaced", %error);
                        }
                        self.store.replace(stored, &made, None).await?;
                    }
                    None => self.store.create(&made).await?,
                }
                tracing::info!(event = "ca_made", ends = made.life().ends);
                self.next = None;
                return Ok(self.trust(&[made.pem()]).await?);
            }
            Step::Announce => {
                let next = Authority::make(now)?;
                if let Some(stored) = &stored {
                    self.trust(&trusted(stored, Some(&next))).await?;
                }
                tracing::info!(event = "ca_announced", ends = next.life().ends);
                self.next = Some((next, now));
                return Ok(());
            }
            Step::Switch => {
                if let (Some((next, _)), Some(stored)) = (self.next.take(), stored) {
                    let previous = stored.authority.as_ref().ok().map(|authority| authority.pem().to_owned());
                    self.store.replace(stored, &next, previous.as_deref()).await?;
                    tracing::info!(event = "ca_switched", ends = next.life().ends);
                }
                return Ok(());
            }
            Step::Keep => {}
        }
        if let Some(stored) = &stored {
            self.trust(&trusted(stored, self.next.as_ref().map(|(next, _)| next))).await?;
        }
        Ok(())
    }

    async fn trust(&self, certificates: &[&str]) -> Result<(), kube::Error> {
        if self.bundle.assert(&certificates.concat()).await? {
            tracing::info!(event = "ca_bundle_written", certificates = certificates.len());
        }
        Ok(())
    }
}

fn step(stored: Option<&Stored>, announced: Option<u64>, now: u64) -> Step {
    match stored.map(|stored| &stored.authority) {
        None | Some(Err(_)) => Step::Make,
        Some(Ok(authority)) if authority.life().aged(now) => match announced {
            None => Step::Announce,
            Some(since) if now >= since.saturating_add(SPREAD) => Step::Switch,
            Some(_) => Step::Keep,
        },
        Some(Ok(_)) => Step::Keep,
    }
}

/// What the API server has to trust, the newest first.
fn trusted<'a>(stored: &'a Stored, next: Option<&'a Authority>) -> Vec<&'a str> {
    let current = stored.authority.as_ref().ok().map(Authority::pem);
    next.map(Authority::pem).into_iter().chain(current).chain(stored.previous.as_deref()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::store::tests::stored;

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 24 * 3600;

    #[test]
    fn a_new_ca_is_trusted_before_it_signs() {
        assert_eq!(step(None, None, NOW), Step::Make);
        let made = Authority::make(NOW).unwrap();
        let stored = |now| stored(&made, None, now);
        assert_eq!(step(Some(&stored(NOW)), None, NOW), Step::Keep);
        let old = NOW + 244 * DAY;
        assert_eq!(step(Some(&stored(old)), None, old), Step::Announce);
        assert_eq!(step(Some(&stored(old)), Some(old), old + 59), Step::Keep);
        assert_eq!(step(Some(&stored(old)), Some(old), old + 60), Step::Switch);
        // Nobody led for a year: it has expired.
        let late = NOW + 366 * DAY;
        assert_eq!(step(Some(&stored(late)), None, late), Step::Make);
    }

    #[test]
    fn old_and_new_are_trusted_during_the_overlap() {
        let [old, current, next] = [0, 1, 2].map(|_| Authority::make(NOW).unwrap());
        let stored = stored(&current, Some(old.pem()), NOW);
        assert_eq!(trusted(&stored, Some(&next)), [next.pem(), current.pem(), old.pem()]);
        assert_eq!(trusted(&stored, None), [current.pem(), old.pem()]);
    }
}
