//! The Secret that holds the CA. It is changed only as it was read: of two writers one is told to look again.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use zeroize::Zeroizing;

use super::authority::{Authority, CertificateError, read as certificate};

const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";
/// The CA after this one: trusted already, and signs when everybody had the time to learn of it.
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
/// What the CA before each of them signed for it.
const VOUCHED: &str = "ca.vouched.crt";
const NEXT_VOUCHED: &str = "next.vouched.crt";
/// The CA before this one: leaves that it signed are good until they are renewed.
const PREVIOUS: &str = "previous.crt";
/// On the Secret: a person wants a new CA, `now` or `soon`. It is taken away when that one signs.
const ROTATE: &str = "agentaccess.dev/rotate";

#[derive(Clone, Debug)]
pub struct Store {
    api: Api<Secret>,
    name: String,
}

/// The Secret as it was read.
#[derive(Debug)]
pub struct Stored {
    pub authority: Result<Authority, CertificateError>,
    pub next: Option<Authority>,
    /// PEM.
    pub previous: Option<String>,
    /// Before it is old.
    pub asked: Option<Asked>,
    secret: Secret,
}

/// How a person asks for another CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Sidecars that are in touch with the operator hear of it in time.
    Now,
    /// All do.
    Soon,
}

/// What is to be in the Secret.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    pub authority: &'a Authority,
    pub next: Option<&'a Authority>,
    /// PEM.
    pub previous: Option<&'a str>,
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
        secret.data = Some(Content { authority, next: None, previous: None }.data());
        self.api.create(&PostParams::default(), &secret).await.map(drop)
    }

    /// Writes it over what was read, whose resourceVersion it is.
    ///
    /// # Errors
    /// Also when it was changed since.
    pub async fn replace(&self, mut secret: Secret, data: BTreeMap<String, ByteString>) -> Result<(), kube::Error> {
        secret.data = Some(data);
        self.api.replace(&self.name, &PostParams::default(), &secret).await.map(drop)
    }
}

// === impl Stored ===

impl Stored {
    /// As it was read, to be written over.
    pub fn into_secret(self) -> Secret {
        self.secret
    }

    /// The same, and nothing is asked for any more.
    pub fn into_served(self) -> Secret {
        let mut secret = self.secret;
        if let Some(annotations) = &mut secret.metadata.annotations {
            annotations.remove(ROTATE);
        }
        secret
    }
}

// === impl Content ===

impl Content<'_> {
    pub fn data(&self) -> BTreeMap<String, ByteString> {
        let mut data = BTreeMap::new();
        let mut set = |key: &str, text: &str| data.insert(key.to_owned(), ByteString(text.as_bytes().to_vec()));
        set(CERTIFICATE, self.authority.pem());
        set(KEY, &self.authority.key_pem());
        if let Some(vouched) = self.authority.vouched() {
            set(VOUCHED, vouched);
        }
        if let Some(next) = self.next {
            set(NEXT_CERTIFICATE, next.pem());
            set(NEXT_KEY, &next.key_pem());
            if let Some(vouched) = next.vouched() {
                set(NEXT_VOUCHED, vouched);
            }
        }
        if let Some(previous) = self.previous {
            set(PREVIOUS, previous);
        }
        data
    }
}

fn read(secret: Secret, now: u64) -> Stored {
    let text = |key: &str| -> Option<Zeroizing<String>> {
        let bytes = &secret.data.as_ref()?.get(key)?.0;
        String::from_utf8(bytes.clone()).ok().map(Zeroizing::new)
    };
    let authority = |certificate: &str, key: &str, vouched: &str| match (text(certificate), text(key)) {
        (Some(certificate), Some(key)) => Authority::read(&certificate, &key, now).map(|read| match text(vouched) {
            Some(vouched) => read.with_vouched(&vouched, now),
            None => read,
        }),
        _ => Err(CertificateError::Unreadable(format!("the Secret has no text in {certificate} and {key}"))),
    };
    // One that is of no use is made anew.
    let next = authority(NEXT_CERTIFICATE, NEXT_KEY, NEXT_VOUCHED).ok();
    let authority = authority(CERTIFICATE, KEY, VOUCHED);
    let previous = text(PREVIOUS).filter(|pem| certificate(pem).is_ok_and(|(_, life)| life.holds(now)));
    let previous = previous.map(|pem| pem.as_str().to_owned());
    let asked = secret.metadata.annotations.as_ref().and_then(|all| all.get(ROTATE));
    let asked = asked.and_then(|word| match word.as_str() {
        "now" => Some(Asked::Now),
        "soon" => Some(Asked::Soon),
        _ => {
            tracing::warn!(event = "rotation_not_understood", "the annotation {ROTATE} is neither `now` nor `soon`");
            None
        }
    });
    Stored { authority, next, previous, asked, secret }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    /// As it would be read at `now`.
    pub(in crate::certificate) fn stored(content: Content<'_>, now: u64) -> Stored {
        read(Secret { data: Some(content.data()), ..Default::default() }, now)
    }

    #[test]
    fn what_a_person_asks_for_is_asked_once() {
        let mut secret = Secret::default();
        let annotate = |secret: &mut Secret, word: &str| {
            let all = [("kept".to_owned(), "x".to_owned()), (ROTATE.to_owned(), word.to_owned())];
            secret.metadata.annotations = Some(all.into());
        };
        assert_eq!(read(secret.clone(), NOW).asked, None);
        for (word, asked) in [("now", Some(Asked::Now)), ("soon", Some(Asked::Soon)), ("Now", None), ("", None)] {
            annotate(&mut secret, word);
            assert_eq!(read(secret.clone(), NOW).asked, asked, "{word}");
        }
        annotate(&mut secret, "now");
        assert_eq!(read(secret.clone(), NOW).into_secret(), secret);
        let left = read(secret, NOW).into_served().metadata.annotations.unwrap();
        assert_eq!(left, [("kept".to_owned(), "x".to_owned())].into());
    }

    #[test]
    fn what_is_written_is_read() {
        let [old, mut new, mut next] = [0; 3].map(|_| Authority::make(NOW).unwrap());
        old.vouch(&mut new).unwrap();
        new.vouch(&mut next).unwrap();
        let whole = Content { authority: &new, next: Some(&next), previous: Some(old.pem()) };
        let read = stored(whole, NOW);
        let [authority, after] = [read.authority.unwrap(), read.next.unwrap()];
        assert_eq!((authority.pem(), authority.vouched()), (new.pem(), new.vouched()));
        assert_eq!((after.pem(), after.vouched()), (next.pem(), next.vouched()));
        assert!(after.vouched().is_some() && authority.vouched().is_some());
        assert_eq!(read.previous.as_deref(), Some(old.pem()));
        // A year later none is worth anything.
        let late = stored(whole, NOW + 400 * 24 * 3600);
        assert!(late.authority.is_err() && late.next.is_none() && late.previous.is_none());
        let alone = stored(Content { next: None, previous: None, ..whole }, NOW);
        assert!(alone.next.is_none() && alone.previous.is_none());
    }

    #[test]
    fn a_secret_that_others_broke_is_no_ca() {
        assert!(read(Secret::default(), NOW).authority.is_err());
        let authority = Authority::make(NOW).unwrap();
        for (key, bytes) in [(CERTIFICATE, b"x".to_vec()), (KEY, vec![0xff]), (KEY, Vec::new())] {
            let mut data = Content { authority: &authority, next: None, previous: None }.data();
            data.insert(key.to_owned(), ByteString(bytes));
            let secret = Secret { data: Some(data), ..Default::default() };
            assert!(read(secret, NOW).authority.is_err(), "{key}");
        }
    }
}
