//! A certificate authority of the test's own, and a certificate for `localhost` and 127.0.0.1.

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// PEM texts.
#[derive(Clone, Debug)]
pub struct Authority {
    pub ca: String,
    pub certificate: String,
    pub key: String,
}

impl Authority {
    /// A new authority and one certificate of it for `names` (host names or addresses).
    ///
    /// # Errors
    /// When a name is neither.
    pub fn new(names: &[&str]) -> Result<Self> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        authority.distinguished_name.push(DnType::CommonName, "agentaccess test CA");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut server = CertificateParams::new(names.clone())?;
        server.distinguished_name.push(DnType::CommonName, names.first().cloned().unwrap_or_default());
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &authority)?;
        Ok(Self { ca: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
    }
}
