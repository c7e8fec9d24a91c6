//! The leader's part: there is a CA, it is renewed in time, and the API server and the sidecars trust it.
//!
//! A new CA goes into `caBundle`, into what the admission policies let pass and beside the current one into the Secret
//! first; it is signed with when every sidecar has renewed its certificate since, and with it heard of the new root. What
//! was announced is in the Secret, so another leader goes on from there.
//!
//! That is done when the CA is old, and when a person asks for it on the Secret ([`Asked`]). The trust of the one before
//! ends with its life, or with the second rotation after it.

use rustls_pki_types::CertificateDer;

use super::authority::{Authority, CertificateError};
use super::bundle::Bundle;
use super::profile::Profile;
use super::roots;
use super::store::{Asked, Content, Store, Stored};

/// Between trusting a new CA and signing with it: twice the life of a sidecar's certificate.
const SPREAD: u64 = 2 * 60 * 60;
/// The same in a hurry. Replicas read of it in 5 s, sidecars hear of it in 5 s more and renew in 10, and try again.
const HURRIED: u64 = 45;

#[derive(Debug)]
pub struct Keeper {
    store: Store,
    bundle: Bundle,
    profile: Profile,
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
    pub fn new(store: Store, bundle: Bundle, profile: Profile) -> Self {
        Self { store, bundle, profile }
    }

    /// Looks once and does what is to be done; to be called again and again.
    ///
    /// # Errors
    /// When the API server is away or refuses; the next call tries again.
    pub async fn step(&mut self, now: u64) -> Result<(), KeepError> {
        let stored = self.store.read(now).await?;
        match (step(stored.as_ref(), now), stored) {
            (Step::Make, stored) => self.make(stored, now).await,
            (Step::Announce, Some(stored)) => self.announce(stored, now).await,
            (Step::Switch, Some(stored)) => self.switch(stored).await,
            (Step::Keep, Some(stored)) => self.assert(&stored, None).await,
            // `step` says the others only of what is stored.
            (_, None) => Ok(()),
        }
    }

    async fn make(&self, stored: Option<Stored>, now: u64) -> Result<(), KeepError> {
        let made = Authority::make(now)?;
        self.pass(&[roots::argument([made.der()])]).await?;
        match stored {
            Some(stored) => {
                if let Err(error) = &stored.authority {
                    tracing::warn!(event = "ca_replaced", %error);
                }
                let data = Content { authority: &made, next: None, previous: None }.data();
                self.store.replace(stored.into_secret(), data).await?;
            }
            None => self.store.create(&made).await?,
        }
        tracing::info!(event = "ca_made", ends = made.life().ends);
        Ok(self.trust(&[made.pem()]).await?)
    }

    async fn announce(&self, stored: Stored, now: u64) -> Result<(), KeepError> {
        let mut next = Authority::make(now)?;
        if let Ok(authority) = &stored.authority {
            authority.vouch(&mut next)?;
        }
        self.assert(&stored, Some(&next)).await?;
        if let Ok(authority) = &stored.authority {
            let data = Content { authority, next: Some(&next), previous: stored.previous.as_deref() }.data();
            self.store.replace(stored.into_secret(), data).await?;
            tracing::info!(event = "ca_announced", ends = next.life().ends);
        }
        Ok(())
    }

    async fn switch(&self, stored: Stored) -> Result<(), KeepError> {
        // Once more: somebody may have taken it out meanwhile.
        self.assert(&stored, None).await?;
        if let (Ok(current), Some(next)) = (&stored.authority, &stored.next) {
            let data = Content { authority: next, next: None, previous: Some(current.pem()) }.data();
            let ends = next.life().ends;
            self.store.replace(stored.into_served(), data).await?;
            tracing::info!(event = "ca_switched", ends);
        }
        Ok(())
    }

    /// That everybody trusts what is signed with now and next.
    async fn assert(&self, stored: &Stored, next: Option<&Authority>) -> Result<(), KeepError> {
        let next = next.or(stored.next.as_ref());
        self.pass(&arguments(stored, next)?).await?;
        Ok(self.trust(&trusted(stored, next)).await?)
    }

    async fn trust(&self, certificates: &[&str]) -> Result<(), kube::Error> {
        if self.bundle.assert(&certificates.concat()).await? {
            tracing::info!(event = "ca_bundle_written", certificates = certificates.len());
        }
        Ok(())
    }

    async fn pass(&self, roots: &[String]) -> Result<(), kube::Error> {
        if self.profile.assert(roots).await? {
            tracing::info!(event = "profile_roots_written", roots = roots.len());
        }
        Ok(())
    }
}

/// What an injection writes when every replica has read all of it, before, after the next one signs, and when the
/// previous one has ended: four at most, which is what the profile keeps.
fn arguments(stored: &Stored, next: Option<&Authority>) -> Result<Vec<String>, CertificateError> {
    let Ok(current) = &stored.authority else { return Ok(Vec::new()) };
    let (current, next) = (current.der(), next.map(Authority::der));
    let previous = stored.previous.as_deref().map(super::authority::read).transpose()?.map(|(der, _)| der);
    let argument = |next: Option<&CertificateDer<'static>>, previous: Option<&CertificateDer<'static>>| {
        roots::argument([current].into_iter().chain(next).chain(previous))
    };
    let mut all = vec![argument(next, previous.as_ref())];
    let mut add = |one: String| {
        if !all.contains(&one) {
            all.push(one);
        }
    };
    add(argument(None, previous.as_ref()));
    next.into_iter().for_each(|next| add(roots::argument([next, current])));
    add(argument(next, None));
    Ok(all)
}

fn step(stored: Option<&Stored>, now: u64) -> Step {
    let Some(stored) = stored else { return Step::Make };
    let Ok(authority) = &stored.authority else { return Step::Make };
    let spread = match stored.asked {
        Some(Asked::Now) => HURRIED,
        Some(Asked::Soon) => SPREAD,
        None if authority.life().aged(now) => SPREAD,
        // One that was announced stays so: whoever knows it needs not forget it.
        None => return Step::Keep,
    };
    match &stored.next {
        None => Step::Announce,
        Some(next) if now >= next.made().saturating_add(spread) => Step::Switch,
        Some(_) => Step::Keep,
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
        assert_eq!(step(None, NOW), Step::Make);
        let made = Authority::make(NOW).unwrap();
        let at = |next: Option<&Authority>, now| {
            step(Some(&stored(Content { authority: &made, next, previous: None }, now)), now)
        };
        assert_eq!(at(None, NOW), Step::Keep);
        let old = NOW + 244 * DAY;
        assert_eq!(at(None, old), Step::Announce);
        let next = Authority::make(old).unwrap();
        assert_eq!(at(Some(&next), old), Step::Keep);
        assert_eq!(at(Some(&next), old + SPREAD - 1), Step::Keep);
        assert_eq!(at(Some(&next), old + SPREAD), Step::Switch);
        // Nobody led for a year: it has expired.
        assert_eq!(at(None, NOW + 366 * DAY), Step::Make);
        // A sidecar that renewed just before the announcement renews again before the switch.
        let pod = control::PodName::new("a", "0f8b1c9e-6a0d-4a57-9c1d-0123456789ab").unwrap();
        let request =
            rcgen::CertificateParams::default().serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let key = crate::certificate::ClientKey::of_request(request.der()).unwrap();
        assert!(made.client(&pod, &key, old).unwrap().life.ends < old + SPREAD);
    }

    #[test]
    fn who_asks_for_a_new_ca_gets_one_that_is_trusted_before_it_signs() {
        let made = Authority::make(NOW).unwrap();
        let at = |asked, next: Option<&Authority>, now| {
            let mut read = stored(Content { authority: &made, next, previous: None }, now);
            read.asked = asked;
            step(Some(&read), now)
        };
        let next = Authority::make(NOW + DAY).unwrap();
        for (asked, spread) in [(Asked::Now, HURRIED), (Asked::Soon, SPREAD)] {
            assert_eq!(at(Some(asked), None, NOW), Step::Announce);
            let then = NOW + DAY + spread;
            assert_eq!(at(Some(asked), Some(&next), then - 1), Step::Keep);
            assert_eq!(at(Some(asked), Some(&next), then), Step::Switch);
        }
        // Who takes the word back keeps what there is, for as long as it lasts.
        assert_eq!(at(None, Some(&next), NOW + DAY + SPREAD), Step::Keep);
        // An old one does not wait longer because somebody wants it sooner.
        let old = NOW + 244 * DAY;
        let late = Authority::make(old).unwrap();
        assert_eq!(at(Some(Asked::Now), Some(&late), old + HURRIED), Step::Switch);
    }

    #[test]
    fn old_and_new_are_trusted_during_the_overlap() {
        let [old, current, next] = [0; 3].map(|_| Authority::make(NOW).unwrap());
        let whole = Content { authority: &current, next: Some(&next), previous: Some(old.pem()) };
        let both = stored(whole, NOW);
        assert_eq!(trusted(&both, both.next.as_ref()), [next.pem(), current.pem(), old.pem()]);
        assert_eq!(trusted(&both, None), [current.pem(), old.pem()]);
        let [o, c, n] = [&old, &current, &next].map(Authority::der);
        let expected =
            [roots::argument([c, n, o]), roots::argument([c, o]), roots::argument([n, c]), roots::argument([c, n])];
        assert_eq!(arguments(&both, both.next.as_ref()).unwrap(), expected);
        // After the switch what is written then was let pass before.
        let after = stored(Content { authority: &next, next: None, previous: Some(current.pem()) }, NOW);
        assert_eq!(arguments(&after, None).unwrap(), [roots::argument([n, c]), roots::argument([n])]);
        // And what is written before and after the announcement, where there is no previous one.
        let alone = stored(Content { authority: &current, next: None, previous: None }, NOW);
        assert_eq!(arguments(&alone, None).unwrap(), [roots::argument([c])]);
        let announced = [roots::argument([c, n]), roots::argument([c]), roots::argument([n, c])];
        assert_eq!(arguments(&alone, Some(&next)).unwrap(), announced);
    }
}
