//! The Secret that holds the CA. It is changed only as it was read: of two writers one is told to look again.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use zeroize::Zeroizing;

use super::authority::{Authority, CertificateError, life};

const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";
/// The CA before this one: leaves that it signed are good until they are renewed.
const PREVIOUS: &str = "previous.crt";

#[derive(Clone, Debug)]
pub struct Store {
    api: Api<Secret>,
    name: String,
}

/// The Secret as it was read.
#[derive(Debug)]
pub struct Stored {
    pub authority: Result<Authority, CertificateError>,
    /// PEM.
    pub previous: Option<String>,
    secret: Secret,
}

// === impl Store ===

impl Store {
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned() }
    }

    /// # Errors
    /// When the API server cannot be asked; a damaged CA is not one.
    pub async fn read(&self, now: u64) -> Result<Option<Stored>, kube::Error> {
        let secret = self.api.get_opt(&self.name).await?;
        Ok(secret.map(|secret| read(secret, now)))
    }

    /// Writes it where none is.
    ///
    /// # Errors
    /// Also when one is there by now.
    pub async fn create(&self, authority: &Authority) -> Result<(), kube::Error> {
        let mut secret = Secret::default();
        secret.metadata.name = Some(self.name.clone());
        secret.type_ = Some("Opaque".to_owned());
        write(&mut secret, authority, None);
        self.api.create(&PostParams::default(), &secret).await.map(drop)
    }

    /// Writes it over what was read.
    ///
    /// # Errors
    /// Also when it was changed since.
    pub async fn replace(
        &self,
        stored: Stored,
        authority: &Authority,
        previous: Option<&str>,
    ) -> Result<(), kube::Error> {
        let mut secret = stored.secret;
        write(&mut secret, authority, previous);
        // With the resourceVersion of what was read.
        self.api.replace(&self.name, &PostParams::default(), &secret).await.map(drop)
    }
}

fn read(secret: Secret, now: u64) -> Stored {
    let text = |key: &str| -> Option<Zeroizing<String>> {
        let bytes = &secret.data.as_ref()?.get(key)?.0;
        String::from_utf8(bytes.clone()).ok().map(Zeroizing::new)
    };
    let authority = match (text(CERTIFICATE), text(KEY)) {
        (Some(certificate), Some(key)) => Authority::read(&certificate, &key, now),
        _ => Err(CertificateError::Unreadable(format!("the Secret has no text in {CERTIFICATE} and {KEY}"))),
    };
    let previous = text(PREVIOUS).filter(|pem| life(pem).is_ok_and(|life| life.holds(now)));
    let previous = previous.map(|pem| pem.as_str().to_owned());
    Stored { authority, previous, secret }
}

fn write(secret: &mut Secret, authority: &Authority, previous: Option<&str>) {
    let mut data = BTreeMap::new();
    let mut set = |key: &str, text: &str| data.insert(key.to_owned(), ByteString(text.as_bytes().to_vec()));
    set(CERTIFICATE, authority.pem());
    set(KEY, &authority.key_pem());
    if let Some(previous) = previous {
        set(PREVIOUS, previous);
    }
    secret.data = Some(data);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    /// As it would be read at `now`.
    pub(in crate::certificate) fn stored(authority: &Authority, previous: Option<&str>, now: u64) -> Stored {
        let mut secret = Secret::default();
        write(&mut secret, authority, previous);
        read(secret, now)
    }

    #[test]
    fn what_is_written_is_read() {
        let (old, new) = (Authority::make(NOW).unwrap(), Authority::make(NOW).unwrap());
        let mut secret = Secret::default();
        write(&mut secret, &new, Some(old.pem()));
        let stored = read(secret.clone(), NOW);
        assert_eq!(stored.authority.unwrap().pem(), new.pem());
        assert_eq!(stored.previous.as_deref(), Some(old.pem()));
        // A year later neither is worth anything.
        let late = read(secret.clone(), NOW + 400 * 24 * 3600);
        assert!(late.authority.is_err() && late.previous.is_none());
        write(&mut secret, &new, None);
        assert!(read(secret, NOW).previous.is_none());
    }

    #[test]
    fn a_secret_that_others_broke_is_no_ca() {
        assert!(read(Secret::default(), NOW).authority.is_err());
        let authority = Authority::make(NOW).unwrap();
        for (key, bytes) in [(CERTIFICATE, b"x".to_vec()), (KEY, vec![0xff]), (KEY, Vec::new())] {
            let mut secret = Secret::default();
            write(&mut secret, &authority, None);
            secret.data.as_mut().unwrap().insert(key.to_owned(), ByteString(bytes));
            assert!(read(secret, NOW).authority.is_err(), "{key}");
        }
    }
}
