//! A CA and the leaves it signs: servers', and pods' in `client`. No IO; the time is given.

mod client;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, date_time_ymd,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

pub use self::client::{Client, ClientKey, NotARequest};
use crate::inject::Seal;

const CA_LIFE: u64 = 365 * DAY;
const LEAF_LIFE: u64 = 7 * DAY;
const DAY: u64 = 24 * 60 * 60;
/// Clocks differ: a certificate is good a little before it was made.
const SKEW: u64 = 60 * 60;

/// A CA with its key.
pub struct Authority {
    key: KeyPair,
    certificate: CertificateDer<'static>,
    pem: String,
    life: Life,
    vouched: Option<Vouched>,
}

/// The same key and name, signed by the CA before: who knows that one alone, a pod that was made long ago, trusts what this
/// one signs.
#[derive(Clone, Debug)]
struct Vouched {
    certificate: CertificateDer<'static>,
    pem: String,
}

/// What this replica shows to who connects.
#[derive(Clone, Debug)]
pub struct Leaf {
    pub certified: Arc<CertifiedKey>,
    pub life: Life,
}

/// From when to when, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    pub begins: u64,
    pub ends: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("the CA cannot be read: {0}")]
    Unreadable(String),
    #[error("the CA's certificate does not belong to its key, or is none of ours")]
    Mismatch,
    #[error("the CA is not in force now")]
    NotInForce,
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("cannot use a certificate: {0}")]
    Use(#[from] rustls::Error),
}

// === impl Life ===

impl Life {
    /// Two thirds are over, or it has not begun: the clock was set back.
    pub fn aged(&self, now: u64) -> bool {
        let whole = self.ends.saturating_sub(self.begins);
        now < self.begins || now >= self.begins.saturating_add(whole - whole / 3)
    }

    pub fn holds(&self, now: u64) -> bool {
        (self.begins..self.ends).contains(&now)
    }

    fn new(now: u64, length: u64) -> Self {
        Self { begins: now.saturating_sub(SKEW), ends: now.saturating_add(length) }
    }

    fn set(&self, params: &mut CertificateParams) {
        let at = |seconds| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        params.not_before = at(self.begins);
        params.not_after = at(self.ends);
    }
}

/// A certificate in PEM, and from when to when it is good.
pub(super) fn read(pem: &str) -> Result<(CertificateDer<'static>, Life), CertificateError> {
    parsed(pem).map(|parsed| (parsed.der, parsed.life))
}

struct Parsed {
    der: CertificateDer<'static>,
    life: Life,
    public: Vec<u8>,
    /// The common name.
    name: String,
}

fn parsed(pem: &str) -> Result<Parsed, CertificateError> {
    let unreadable = |error: String| CertificateError::Unreadable(error);
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| unreadable(error.to_string()))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|error| unreadable(error.to_string()))?;
    let at = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or_default();
    let life = Life { begins: at(parsed.validity().not_before), ends: at(parsed.validity().not_after) };
    let public = parsed.public_key().raw.to_vec();
    let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let name = name.unwrap_or_default().to_owned();
    Ok(Parsed { der, life, public, name })
}

// === impl Authority ===

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When there is no randomness for a key.
    pub fn make(now: u64) -> Result<Self, CertificateError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let life = Life::new(now, CA_LIFE);
        let certificate = params(&key, life).self_signed(&key)?;
        let (certificate, pem) = (certificate.der().clone(), certificate.pem());
        Ok(Self { key, certificate, pem, life, vouched: None })
    }

    /// Signs for the CA that is to come after this one.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn vouch(&self, next: &mut Self) -> Result<(), CertificateError> {
        let life = Life { ends: next.life.ends.min(self.life.ends), ..next.life };
        let issuer = Issuer::new(params(&self.key, self.life), &self.key);
        let mut params = params(&next.key, life);
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(&next.key, &issuer)?;
        next.vouched = Some(Vouched { certificate: signed.der().clone(), pem: signed.pem() });
        Ok(())
    }

    /// With what the CA before it signed; what is not about this one, or has ended, says nothing.
    #[must_use]
    pub fn with_vouched(self, pem: &str, now: u64) -> Self {
        let read = parsed(pem).ok().filter(|parsed| {
            parsed.public == self.key.subject_public_key_info()
                && parsed.name == name(&self.key)
                && parsed.life.holds(now)
        });
        let vouched = read.map(|parsed| Vouched { certificate: parsed.der, pem: pem.to_owned() });
        Self { vouched, ..self }
    }

    /// PEM.
    pub fn vouched(&self) -> Option<&str> {
        self.vouched.as_ref().map(|vouched| vouched.pem.as_str())
    }

    /// One that was made before.
    ///
    /// # Errors
    /// When it is damaged or not in force.
    pub fn read(certificate: &str, key: &str, now: u64) -> Result<Self, CertificateError> {
        let key = KeyPair::from_pem(key).map_err(|error| CertificateError::Unreadable(error.to_string()))?;
        let Parsed { der, life, public, name } = parsed(certificate)?;
        // The name too: a leaf must name its issuer exactly as the issuer does itself.
        if public != key.subject_public_key_info() || name != self::name(&key) {
            return Err(CertificateError::Mismatch);
        }
        if !life.holds(now) {
            return Err(CertificateError::NotInForce);
        }
        Ok(Self { key, certificate: der, pem: certificate.to_owned(), life, vouched: None })
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.key.serialize_pem())
    }

    /// The certificate alone.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub fn life(&self) -> Life {
        self.life
    }

    /// When it was made, by the clock of who made it.
    pub fn made(&self) -> u64 {
        self.life.begins.saturating_add(SKEW)
    }

    /// What signs the users that the injection chooses: the same in all replicas.
    pub fn seal(&self) -> Seal {
        Seal::new(&Zeroizing::new(self.key.serialize_der()))
    }

    /// A new key and its certificate for these DNS names.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn leaf(&self, names: &[String], now: u64) -> Result<Leaf, CertificateError> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "agentaccess operator");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let mut life = Life::new(now, LEAF_LIFE);
        life.ends = life.ends.min(self.life.ends);
        life.set(&mut params);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let issuer = Issuer::new(self::params(&self.key, self.life), &self.key);
        let leaf = params.signed_by(&key, &issuer)?;
        let vouched = self.vouched.as_ref().map(|vouched| vouched.certificate.clone());
        let certified = CertifiedKey::from_der(
            [leaf.der().clone(), self.certificate.clone()].into_iter().chain(vouched).collect(),
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            &rustls::crypto::aws_lc_rs::default_provider(),
        )?;
        Ok(Leaf { certified: Arc::new(certified), life })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("life", &self.life).field("key", &"<secret>").finish_non_exhaustive()
    }
}

/// Another key has another name, so that two CAs of a bundle are never taken for each other.
fn name(key: &KeyPair) -> String {
    let id = digest::digest(&digest::SHA256, &key.subject_public_key_info());
    let id: String = id.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("agentaccess operator CA {id}")
}

/// The same for the same key: a leaf must name its issuer exactly as the CA's certificate does.
fn params(key: &KeyPair, life: Life) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name(key));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    life.set(&mut params);
    params
}

#[cfg(test)]
mod tests {
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::{RootCertStore, pki_types};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn names() -> Vec<String> {
        vec!["operator.agentaccess-system.svc".to_owned()]
    }

    /// As a client that trusts `ca` sees it.
    fn verified(ca: &Authority, leaf: &Leaf, name: &str, at: u64) -> Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let name = pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let at = pki_types::UnixTime::since_unix_epoch(Duration::from_secs(at));
        let chain = &leaf.certified.cert;
        verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], at).map(|_| ())
    }

    #[test]
    fn a_leaf_is_good_for_its_name_and_its_week_and_its_ca() {
        let ca = Authority::make(NOW).unwrap();
        let leaf = ca.leaf(&names(), NOW).unwrap();
        let name = "operator.agentaccess-system.svc";
        verified(&ca, &leaf, name, NOW).unwrap();
        verified(&ca, &leaf, name, NOW - SKEW).unwrap();
        verified(&ca, &leaf, name, NOW + LEAF_LIFE - 1).unwrap();
        assert!(verified(&ca, &leaf, name, NOW + LEAF_LIFE + 1).is_err());
        assert!(verified(&ca, &leaf, name, NOW - SKEW - 1).is_err());
        assert!(verified(&ca, &leaf, "other.agentaccess-system.svc", NOW).is_err());
        assert!(verified(&Authority::make(NOW).unwrap(), &leaf, name, NOW).is_err());
        assert!(ca.leaf(&["é".to_owned()], NOW).is_err());
    }

    #[test]
    fn what_was_written_is_read_again_and_signs_the_same() {
        let made = Authority::make(NOW).unwrap();
        let read = Authority::read(made.pem(), &made.key_pem(), NOW).unwrap();
        assert_eq!(read.life(), made.life());
        let leaf = read.leaf(&names(), NOW).unwrap();
        verified(&made, &leaf, &names()[0], NOW).unwrap();
        // The same seal: what one replica signed the other opens.
        assert_eq!(super::read(made.pem()).unwrap(), (made.der().clone(), made.life()));
    }

    /// A pod that was made before the next CA was announced, and begins when that one signs.
    #[test]
    fn who_knows_the_ca_before_trusts_what_it_vouched_for() {
        let [old, mut new, other] = [0; 3].map(|_| Authority::make(NOW).unwrap());
        let name = &names()[0];
        assert!(verified(&old, &new.leaf(&names(), NOW).unwrap(), name, NOW).is_err());
        old.vouch(&mut new).unwrap();
        let leaf = new.leaf(&names(), NOW).unwrap();
        for trusted in [&old, &new] {
            verified(trusted, &leaf, name, NOW).unwrap();
        }
        assert!(verified(&other, &leaf, name, NOW).is_err());
        // As the Secret keeps it; of another CA it says nothing.
        let pem = new.vouched().unwrap().to_owned();
        let read = |of: &Authority, now| Authority::read(of.pem(), &of.key_pem(), now).unwrap().with_vouched(&pem, now);
        verified(&old, &read(&new, NOW).leaf(&names(), NOW).unwrap(), name, NOW).unwrap();
        assert!(read(&other, NOW).vouched().is_none() && new.with_vouched("x", NOW).vouched().is_none());
        // It does not outlive who vouched.
        let mut late = Authority::make(NOW + 300 * DAY).unwrap();
        old.vouch(&mut late).unwrap();
        let pem = late.vouched().unwrap().to_owned();
        let at = |now| Authority::read(late.pem(), &late.key_pem(), now).unwrap().with_vouched(&pem, now);
        assert!(at(NOW + CA_LIFE - 1).vouched().is_some() && at(NOW + CA_LIFE).vouched().is_none());
    }

    #[test]
    fn a_damaged_or_expired_ca_is_refused() {
        let (one, other) = (Authority::make(NOW).unwrap(), Authority::make(NOW).unwrap());
        assert!(matches!(Authority::read(one.pem(), &other.key_pem(), NOW), Err(CertificateError::Mismatch)));
        // The key fits; made by somebody else.
        let mut foreign = params(&one.key, one.life);
        foreign.distinguished_name.push(DnType::CommonName, "another CA");
        let foreign = foreign.self_signed(&one.key).unwrap().pem();
        assert!(matches!(Authority::read(&foreign, &one.key_pem(), NOW), Err(CertificateError::Mismatch)));
        let read = |at| Authority::read(one.pem(), &one.key_pem(), at);
        assert!(matches!(read(NOW + CA_LIFE), Err(CertificateError::NotInForce)));
        assert!(matches!(read(NOW - SKEW - 1), Err(CertificateError::NotInForce)));
        assert!(read(NOW + CA_LIFE - 1).is_ok());
        for bad in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(Authority::read(bad, &one.key_pem(), NOW), Err(CertificateError::Unreadable(_))), "{bad}");
            assert!(matches!(Authority::read(one.pem(), bad, NOW), Err(CertificateError::Unreadable(_))), "{bad}");
        }
    }

    #[test]
    fn two_thirds_of_a_life_and_a_clock_set_back() {
        let life = Life { begins: 1_000, ends: 1_300 };
        assert!(!life.aged(1_000) && !life.aged(1_199));
        assert!(life.aged(1_200) && life.aged(5_000) && life.aged(999));
        // A leaf does not outlive its CA.
        let ca = Authority::make(NOW).unwrap();
        let leaf = ca.leaf(&names(), NOW + CA_LIFE - DAY).unwrap();
        assert_eq!(leaf.life.ends, ca.life().ends);
    }

    #[test]
    fn the_key_is_not_shown() {
        let ca = Authority::make(NOW).unwrap();
        assert!(format!("{ca:?}").contains("<secret>") && !format!("{ca:?}").contains("PRIVATE"));
    }
}
