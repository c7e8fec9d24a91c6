//! Where telemetry goes, and how it is known that it gets there: TLS by a CA that is given, or in clear when that was said.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Uri};

/// For the connection and its handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// For one call, whatever it carries.
pub(crate) const CALL: Duration = Duration::from_secs(5);
/// Without an answer to a ping for so long the connection is gone.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(10);
/// Certificates in the CA file.
const MOST_ROOTS: usize = 16;

#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    address: String,
    /// PEM. None: in clear.
    ca: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotADestination {
    /// What it is instead is not repeated: somebody's password may stand in it.
    #[error("the endpoint is not https://HOST:PORT, nor http://HOST:PORT with `insecure`")]
    Address,
    #[error("in clear (http://) anybody on the way reads it: give https:// with a CA, or say `insecure`")]
    Clear,
    #[error(
        "`insecure` and a CA are for different endpoints: with https:// give the CA alone, with http:// `insecure` alone"
    )]
    Both,
    #[error("https:// needs the CA that the endpoint's certificate chains to, as PEM: there is no other trust")]
    NoCa,
    #[error("the CA is not PEM with 1 to {MOST_ROOTS} certificates")]
    Ca,
    #[error("a CA or `insecure` without an endpoint says nothing: give the endpoint too")]
    NoEndpoint,
}

// === impl Destination ===

impl Destination {
    /// `ca` is PEM.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(endpoint: &str, ca: Option<&str>, insecure: bool) -> Result<Self, NotADestination> {
        let uri: Uri = endpoint.parse().map_err(|_| NotADestination::Address)?;
        let whole = uri.host().is_some_and(|host| !host.is_empty()) && uri.port_u16().is_some();
        // Someone's password would stand in the arguments of every pod.
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none() && !endpoint.contains(['@', '#']);
        if !whole || !bare {
            return Err(NotADestination::Address);
        }
        let ca = match (uri.scheme_str(), insecure, ca) {
            (Some("http"), true, None) => None,
            (Some("http"), false, None) => return Err(NotADestination::Clear),
            (Some("https"), false, None) => return Err(NotADestination::NoCa),
            (Some("https"), false, Some(pem)) => {
                let roots = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
                match roots {
                    Ok(roots) if (1..=MOST_ROOTS).contains(&roots.len()) => Some(pem.to_owned()),
                    _ => return Err(NotADestination::Ca),
                }
            }
            (Some("http" | "https"), ..) => return Err(NotADestination::Both),
            _ => return Err(NotADestination::Address),
        };
        Ok(Self { address: endpoint.to_owned(), ca })
    }

    /// As the arguments of a program say it: the CA is base64 of PEM.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_arguments(
        endpoint: Option<&str>,
        ca: Option<&str>,
        insecure: bool,
    ) -> Result<Option<Self>, NotADestination> {
        let ca = match ca.map(|text| STANDARD.decode(text).map(String::from_utf8)) {
            None => None,
            Some(Ok(Ok(pem))) => Some(pem),
            Some(_) => return Err(NotADestination::Ca),
        };
        match endpoint {
            Some(endpoint) => Self::new(endpoint, ca.as_deref(), insecure).map(Some),
            None if ca.is_some() || insecure => Err(NotADestination::NoEndpoint),
            None => Ok(None),
        }
    }

    pub(crate) fn endpoint(&self) -> Result<Endpoint, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(self.address.clone())?
            .connect_timeout(CONNECT)
            .timeout(CALL)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_PATIENCE);
        match &self.ca {
            Some(pem) => {
                let verified = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)).timeout(CONNECT);
                endpoint.tls_config(verified)
            }
            None => Ok(endpoint),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination").field("address", &self.address).field("tls", &self.ca.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(vec!["ca".to_owned()]).unwrap().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn only_what_is_verified_or_called_insecure_is_a_destination() {
        let ca = pem();
        assert!(Destination::new("https://collector.otel.svc:4317", Some(&ca), false).is_ok());
        assert!(Destination::new("https://[fd00::1]:4317/", Some(&ca), false).is_ok());
        assert!(Destination::new("http://collector:4317", None, true).is_ok());
        for (endpoint, ca, insecure, error) in [
            ("http://collector:4317", None, false, NotADestination::Clear),
            ("https://collector:4317", None, false, NotADestination::NoCa),
            ("https://collector:4317", Some(ca.as_str()), true, NotADestination::Both),
            ("https://collector:4317", None, true, NotADestination::Both),
            ("http://collector:4317", Some(ca.as_str()), true, NotADestination::Both),
            ("https://collector:4317", Some("no PEM"), false, NotADestination::Ca),
            ("https://collector:4317", Some(&ca.repeat(17)), false, NotADestination::Ca),
        ] {
            assert_eq!(Destination::new(endpoint, ca, insecure).unwrap_err(), error, "{endpoint}");
        }
        for wrong in [
            "",
            "collector:4317",
            "https://collector",
            "https://:4317",
            "grpc://collector:4317",
            "https://user:s3cret@collector:4317",
            "https://collector:4317?token=s3cret",
            "https://collector:4317#s3cret",
            "https://collector:4317/v1/traces",
            "https://collector:4317?x",
        ] {
            let error = Destination::new(wrong, Some(&ca), false).unwrap_err();
            assert_eq!(error, NotADestination::Address, "{wrong}");
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn arguments_say_the_same() {
        let ca = STANDARD.encode(pem());
        let of = |endpoint, ca, insecure| Destination::of_arguments(endpoint, ca, insecure);
        assert_eq!(of(None, None, false), Ok(None));
        assert!(of(Some("https://collector:4317"), Some(&ca), false).unwrap().is_some());
        assert_eq!(of(None, Some(&ca), false), Err(NotADestination::NoEndpoint));
        assert_eq!(of(None, None, true), Err(NotADestination::NoEndpoint));
        assert_eq!(of(Some("https://collector:4317"), Some("!"), false), Err(NotADestination::Ca));
    }
}
