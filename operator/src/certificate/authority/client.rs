//! Certificates of pods. Of what a pod asks for only its key counts, and only if it proves that it has it.
//!
//! Refused: a request that is not whole, another kind of key than ours, a signature that does not fit. Invariant: a
//! certificate says one thing alone, the [`PodName`] that is given here, and is good for clients alone.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use control::PodName;
use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SignatureAlgorithm,
};
use rustls_pki_types::CertificateDer;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::OID_SIG_ECDSA_WITH_SHA256;
use x509_parser::prelude::FromDer as _;

use super::{Authority, CertificateError, Life, params};

/// Nobody needs to revoke what ends by itself.
const CLIENT_LIFE: u64 = 60 * 60;
/// Ours have about 250 bytes.
const LONGEST: usize = 4 * 1024;

/// A key that somebody proved to have: ECDSA over P-256.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientKey {
    /// The point.
    point: Vec<u8>,
}

/// What a pod is given.
#[derive(Clone, Debug)]
pub struct Client {
    /// The leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    pub life: Life,
}

/// Why bytes are no request that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotARequest {
    #[error("it is not one PKCS #10 request in DER of at most {LONGEST} bytes")]
    Unreadable,
    #[error("its key is not ECDSA over P-256")]
    OtherKey,
    #[error("its signature does not belong to its key")]
    Unproven,
}

// === impl ClientKey ===

impl ClientKey {
    /// # Errors
    /// See [`NotARequest`].
    pub fn of_request(der: &[u8]) -> Result<Self, NotARequest> {
        if der.len() > LONGEST {
            return Err(NotARequest::Unreadable);
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| NotARequest::Unreadable)?;
        if !rest.is_empty() {
            return Err(NotARequest::Unreadable);
        }
        // Not part of what is signed, so it would say nothing; one request still has one form.
        let (signed_with, signature) = (&request.signature_algorithm, &request.signature_value);
        let ecdsa = signed_with.algorithm == OID_SIG_ECDSA_WITH_SHA256 && signed_with.parameters.is_none();
        if !ecdsa || signature.unused_bits != 0 {
            return Err(NotARequest::OtherKey);
        }
        let info = &request.certification_request_info;
        let key = Self::of_info(info.subject_pki.raw, &info.subject_pki.subject_public_key.data)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key.point)
            .verify(info.raw, &signature.data)
            .map_err(|_| NotARequest::Unproven)?;
        Ok(key)
    }

    /// Of a certificate; that it was proven is for TLS to say.
    ///
    /// # Errors
    /// When it is none, or of another kind of key.
    pub fn of_certificate(der: &[u8]) -> Result<Self, NotARequest> {
        let (_, parsed) = x509_parser::parse_x509_certificate(der).map_err(|_| NotARequest::Unreadable)?;
        Self::of_info(parsed.public_key().raw, &parsed.public_key().subject_public_key.data)
    }

    /// `info` is a SubjectPublicKeyInfo, `point` what stands in it.
    fn of_info(info: &[u8], point: &[u8]) -> Result<Self, NotARequest> {
        let key = Self { point: point.to_vec() };
        // Byte by byte: one key has one form, and so one name.
        (key.subject_public_key_info() == info).then_some(key).ok_or(NotARequest::OtherKey)
    }

    /// SHA-256 of the SubjectPublicKeyInfo, in hex.
    pub fn id(&self) -> String {
        let id = digest::digest(&digest::SHA256, &self.subject_public_key_info());
        id.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientKey").field(&self.id()).finish()
    }
}

impl PublicKeyData for ClientKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

// === impl Authority ===

impl Authority {
    /// A certificate by which `pod` is known for an hour.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn client(&self, pod: &PodName, key: &ClientKey, now: u64) -> Result<Client, CertificateError> {
        let mut request = CertificateParams::default();
        request.distinguished_name = DistinguishedName::new();
        request.distinguished_name.push(DnType::CommonName, "agentaccess sidecar");
        request.subject_alt_names = vec![SanType::URI(Ia5String::try_from(pod.to_string())?)];
        request.use_authority_key_identifier_extension = true;
        request.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        request.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let mut life = Life::new(now, CLIENT_LIFE);
        life.ends = life.ends.min(self.life.ends);
        life.set(&mut request);
        let issuer = Issuer::new(params(&self.key, self.life), &self.key);
        let leaf = request.signed_by(key, &issuer)?;
        Ok(Client { chain: vec![leaf.der().clone(), self.certificate.clone()], life })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn request(key: &KeyPair) -> Vec<u8> {
        let mut params = CertificateParams::new(["kubernetes.default.svc".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.serialize_request(key).unwrap().der().to_vec()
    }

    #[test]
    fn only_the_key_of_a_request_counts() {
        let (ca, key) = (Authority::make(NOW).unwrap(), KeyPair::generate().unwrap());
        let asked = ClientKey::of_request(&request(&key)).unwrap();
        let pod = PodName::new("shop", "0f8b1c9e-6a0d-4a57-9c1d-0123456789ab").unwrap();
        let Client { chain, life } = ca.client(&pod, &asked, NOW).unwrap();
        assert_eq!((life.begins, life.ends), (NOW - 3600, NOW + 3600));
        assert_eq!(chain[1], *ca.der());
        let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
        assert_eq!(leaf.public_key().raw, key.subject_public_key_info());
        assert_eq!(ClientKey::of_certificate(&chain[0]).unwrap(), asked);
        let names = leaf.subject_alternative_name().unwrap().unwrap();
        let expected =
            x509_parser::extensions::GeneralName::URI("agentaccess://shop/0f8b1c9e-6a0d-4a57-9c1d-0123456789ab");
        assert_eq!(names.value.general_names, [expected]);
        let usage = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !usage.any);
        assert!(!leaf.is_ca());
    }

    #[test]
    fn what_is_not_proven_is_refused() {
        let key = KeyPair::generate().unwrap();
        let good = request(&key);
        let changed = |at: usize| {
            let mut der = good.clone();
            der[at] ^= 1;
            der
        };
        assert_eq!(ClientKey::of_request(&changed(good.len() - 1)), Err(NotARequest::Unproven));
        // The name of the algorithm is not signed; what reads it lets its tag pass. The key is the same then.
        let (asked, algorithm) = (ClientKey::of_request(&good), good.len() - 0x4b - 12..good.len() - 0x49);
        for at in 0..good.len() {
            let read = ClientKey::of_request(&changed(at));
            assert!(read.is_err() || (algorithm.contains(&at) && read == asked), "bit 0 of byte {at}: {good:02x?}");
        }
        for kind in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
            let other = request(&KeyPair::generate_for(kind).unwrap());
            assert_eq!(ClientKey::of_request(&other), Err(NotARequest::OtherKey));
        }
        for bytes in [&[][..], b"x", &[good.as_slice(), b"x"].concat(), &[0; LONGEST + 1]] {
            assert_eq!(ClientKey::of_request(bytes), Err(NotARequest::Unreadable));
        }
        assert_ne!(
            ClientKey::of_request(&request(&KeyPair::generate().unwrap())).unwrap().id(),
            ClientKey::of_request(&good).unwrap().id()
        );
    }
}
