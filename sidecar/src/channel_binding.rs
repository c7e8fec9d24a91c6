//! tls-server-end-point (RFC 5929 section 4.1): the hash of the server's certificate that SCRAM-PLUS binds to.

use aws_lc_rs::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The hash named by the certificate's signature algorithm, SHA-256 instead of MD5 and SHA-1. `None` where the RFC
/// leaves it undefined (Ed25519 and the like): then there is no channel binding.
pub fn tls_server_end_point(certificate_der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(certificate_der).ok()?;
    let algorithm: &Algorithm = match certificate.signature_algorithm.algorithm.to_id_string().as_str() {
        // md5, sha1, sha224 are not strong enough or not offered; RFC 5929 asks for SHA-256 in place of the first two.
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => &SHA256,
        "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" => &SHA256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => &SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => &SHA512,
        _ => return None,
    };
    Some(digest(algorithm, certificate_der).as_ref().to_vec())
}
