//! TLS of the control port: the leaf that is current at each handshake, and pods known by their certificates.
//!
//! Refused: TLS before 1.3, a certificate of another CA or for another use, and one that names anything but one pod.
//! Nothing is resumed: a handshake looks at the certificate, each time.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use control::PodName;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use tokio_rustls::TlsAcceptor;
use x509_parser::extensions::GeneralName;

use crate::certificate::replica::Held;
use crate::certificate::{ClientKey, Current};

/// A pod, proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub pod: PodName,
    pub key: ClientKey,
    /// Of its certificate, in seconds since 1970.
    pub ends: u64,
}

#[derive(Debug)]
pub struct Tls {
    current: Current,
    made: ArcSwapOption<Made>,
}

/// For what was held when it was made.
struct Made {
    of: Arc<Held>,
    acceptor: TlsAcceptor,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("there is no certificate yet: the leader has to make the CA")]
    NoCa,
    #[error("the CAs are of no use to verify pods by: {0}")]
    Roots(String),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// A certificate that our CA signed, and not for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate does not name one pod")]
pub struct NotAPod;

// === impl Tls ===

impl Tls {
    pub fn new(current: Current) -> Self {
        Self { current, made: ArcSwapOption::empty() }
    }

    /// For the next handshake.
    ///
    /// # Errors
    /// While there is no CA.
    pub fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let held = self.current.get().ok_or(TlsError::NoCa)?;
        if let Some(made) = self.made.load_full().filter(|made| Arc::ptr_eq(&made.of, &held)) {
            return Ok(made.acceptor.clone());
        }
        let acceptor = TlsAcceptor::from(Arc::new(config(&held, self.current.clone())?));
        self.made.store(Some(Arc::new(Made { of: held, acceptor: acceptor.clone() })));
        Ok(acceptor)
    }
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Made").finish_non_exhaustive()
    }
}

fn config(held: &Held, current: Current) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in &held.trusted {
        roots.add(certificate.clone()).map_err(|error| TlsError::Roots(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| TlsError::Roots(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(current));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Who showed these certificates, which TLS has verified; `None` without any.
///
/// # Errors
/// [`NotAPod`].
pub fn peer(certificates: Option<&[CertificateDer<'_>]>) -> Result<Option<Peer>, NotAPod> {
    let Some(leaf) = certificates.and_then(<[_]>::first) else { return Ok(None) };
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|_| NotAPod)?;
    let names = parsed.subject_alternative_name().map_err(|_| NotAPod)?.ok_or(NotAPod)?;
    let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else { return Err(NotAPod) };
    let pod = uri.parse().map_err(|_| NotAPod)?;
    let key = ClientKey::of_certificate(leaf).map_err(|_| NotAPod)?;
    let ends = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
    Ok(Some(Peer { pod, key, ends }))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::certificate::Authority;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn only_a_certificate_that_names_one_pod_is_a_peer() {
        let authority = Authority::make(NOW).unwrap();
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        let key = ClientKey::of_request(request.der()).unwrap();
        let pod = PodName::new("shop", "0f8b1c9e-6a0d-4a57-9c1d-0123456789ab").unwrap();
        let client = authority.client(&pod, &key, NOW).unwrap();
        let found = peer(Some(&client.chain)).unwrap().unwrap();
        assert_eq!(found, Peer { pod, key, ends: NOW + 3600 });
        assert_eq!(peer(None), Ok(None));
        let server = authority.leaf(&["operator.x.svc".to_owned()], NOW).unwrap();
        assert_eq!(peer(Some(&server.certified.cert)), Err(NotAPod));
        assert_eq!(peer(Some(&[authority.der().clone()])), Err(NotAPod));
        assert_eq!(peer(Some(&[CertificateDer::from(vec![0])])), Err(NotAPod));
        let two = [
            "agentaccess://shop/0f8b1c9e-6a0d-4a57-9c1d-0123456789ab",
            "agentaccess://shop/ffffffff-6a0d-4a57-9c1d-0123456789ab",
        ];
        let mut params = CertificateParams::default();
        params.subject_alt_names = two.map(|uri| rcgen::SanType::URI(uri.try_into().unwrap())).to_vec();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(peer(Some(&[certificate.der().clone()])), Err(NotAPod));
    }
}
