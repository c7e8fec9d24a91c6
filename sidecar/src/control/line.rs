//! The connection to the operator: always TLS, verified against the operator's own roots and nothing else.
//!
//! A [`Line`] is what the rest of the sidecar holds. A new certificate puts a new connection into it: what begins later
//! goes over that one, streams are told to move, and a call under way ends on the old one. What the operator says of its
//! roots goes back over it to who renews.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use control::v1::control_client::ControlClient;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// For the connection and its handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// Without an answer to a ping for so long the connection is gone.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_PATIENCE: Duration = Duration::from_secs(5);
/// Headers of one answer, in bytes.
const HEADERS: u32 = 16 * 1024;
/// Certificates that count at the same time: the current one, the one before and the next.
const ROOTS: usize = 8;

/// Where the operator is: `https://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator(String);

/// The certificates that the operator's must chain to, as base64 of their DER, with commas between them.
#[derive(Clone, PartialEq, Eq)]
pub struct Roots(Vec<CertificateDer<'static>>);

/// Why an address or a list of roots is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotALine {
    #[error("`{0}` is not https://HOST:PORT")]
    Operator(String),
    #[error("a list of 1 to {ROOTS} certificates is wanted, not {0}")]
    Count(usize),
    #[error("certificate {0} is not base64")]
    Base64(usize),
    #[error("certificate {0} cannot be a root: {1}")]
    Root(usize, String),
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

// === impl Operator ===

impl FromStr for Operator {
    type Err = NotALine;

    fn from_str(text: &str) -> Result<Self, NotALine> {
        let wrong = || NotALine::Operator(text.chars().take(200).collect());
        let uri: tonic::transport::Uri = text.parse().map_err(|_| wrong())?;
        let bare = uri.path() == "/" && uri.query().is_none() && !text.contains('@');
        match uri.scheme_str() == Some("https")
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.port_u16().is_some()
            && bare
        {
            true => Ok(Self(text.to_owned())),
            false => Err(wrong()),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Roots ===

impl Roots {
    /// # Errors
    /// When one of them cannot be a root, or there are none or too many.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, NotALine> {
        if !(1..=ROOTS).contains(&certificates.len()) {
            return Err(NotALine::Count(certificates.len()));
        }
        for (at, certificate) in certificates.iter().enumerate() {
            let added = RootCertStore::empty().add(certificate.clone());
            added.map_err(|error| NotALine::Root(at, error.to_string()))?;
        }
        Ok(Self(certificates))
    }

    /// These and those of `others` that are not among them, as far as there is room.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        for other in others.0 {
            if self.0.len() < ROOTS && !self.0.contains(&other) {
                self.0.push(other);
            }
        }
        self
    }

    /// By which the operator says which it gives.
    pub(super) fn mark(&self) -> Vec<u8> {
        control::roots_mark(&self.0)
    }

    fn pem(&self) -> impl Iterator<Item = Certificate> {
        self.0.iter().map(|der| Certificate::from_pem(pem("CERTIFICATE", der)))
    }
}

/// As it is read again.
impl fmt::Display for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificates: Vec<String> = self.0.iter().map(|der| STANDARD.encode(der)).collect();
        f.write_str(&certificates.join(","))
    }
}

impl FromStr for Roots {
    type Err = NotALine;

    fn from_str(text: &str) -> Result<Self, NotALine> {
        let decode = |(at, part): (usize, &str)| match STANDARD.decode(part) {
            Ok(der) => Ok(CertificateDer::from(der)),
            Err(_) => Err(NotALine::Base64(at)),
        };
        Self::new(text.split(',').enumerate().map(decode).collect::<Result<_, _>>()?)
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Roots").field(&self.0.len()).finish()
    }
}

// === impl Line ===

/// The operator's `Control`, over the connection of this moment.
#[derive(Clone, Debug)]
pub struct Line {
    clients: watch::Receiver<ControlClient<Channel>>,
    roots: Arc<watch::Sender<Vec<u8>>>,
}

impl Line {
    pub(super) fn new(clients: watch::Receiver<ControlClient<Channel>>, roots: Arc<watch::Sender<Vec<u8>>>) -> Self {
        Self { clients, roots }
    }

    /// On the connection of this moment.
    pub fn client(&mut self) -> ControlClient<Channel> {
        self.clients.borrow_and_update().clone()
    }

    /// Which roots the operator gives now, by their mark; empty: it does not say.
    pub(super) fn roots_are(&self, mark: Vec<u8>) {
        self.roots.send_if_modified(|known| {
            let other = !mark.is_empty() && *known != mark;
            if other {
                *known = mark;
            }
            other
        });
    }

    /// Resolves when there is another connection than the last client's. Cancel-safe.
    pub async fn moved(&mut self) {
        if self.clients.changed().await.is_err() {
            // There will be no other one.
            std::future::pending::<()>().await;
        }
    }
}

impl From<watch::Receiver<ControlClient<Channel>>> for Line {
    fn from(clients: watch::Receiver<ControlClient<Channel>>) -> Self {
        Self::new(clients, Arc::default())
    }
}

/// One connection that stays.
impl From<ControlClient<Channel>> for Line {
    fn from(client: ControlClient<Channel>) -> Self {
        watch::channel(client).1.into()
    }
}

/// A connection that is made at its first use and again when it breaks.
pub(super) fn dial(operator: &Operator, roots: &Roots, identity: Option<Identity>) -> Result<Channel, NotALine> {
    let tls = |error: tonic::transport::Error| NotALine::Tls(error.to_string());
    let verified = ClientTlsConfig::new().ca_certificates(roots.pem()).timeout(CONNECT);
    let verified = match identity {
        Some(identity) => verified.identity(identity),
        None => verified,
    };
    let endpoint = Endpoint::from_shared(operator.0.clone()).map_err(tls)?.tls_config(verified).map_err(tls)?;
    Ok(endpoint
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(HEADERS)
        .connect_lazy())
}

/// The text form of DER, as the transport takes it.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for (at, character) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            out.push('\n');
        }
        out.push(character);
    }
    out.push_str(&format!("\n-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_https_address_is_an_operator() {
        assert!("https://agentaccess-operator.ns.svc:9444".parse::<Operator>().is_ok());
        assert!("https://[fd00::1]:9444".parse::<Operator>().is_ok());
        for wrong in [
            "",
            "http://operator:9444",
            "https://operator",
            "https://:9444",
            "https://operator:9444/path",
            "https://operator:9444?x",
            "https://user@operator:9444",
            "operator:9444",
        ] {
            assert!(wrong.parse::<Operator>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_certificates_are_roots() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["ca".to_owned()]).unwrap().self_signed(&key).unwrap();
        let good = STANDARD.encode(certificate.der());
        assert_eq!(good.parse::<Roots>().unwrap().0, [certificate.der().clone()]);
        let two = format!("{good},{good}").parse::<Roots>().unwrap();
        assert_eq!((two.0.len(), two.to_string().parse::<Roots>().unwrap()), (2, two.clone()));
        assert_eq!(two.clone().and(good.parse().unwrap()), two);
        assert_eq!(
            "".parse::<Roots>().unwrap_err().to_string(),
            "certificate 0 cannot be a root: invalid peer certificate: BadEncoding"
        );
        for wrong in ["!", "AAAA", &format!("{good},"), &format!("{good}\n"), &[good.as_str(); 9].join(",")] {
            assert!(wrong.parse::<Roots>().is_err(), "{wrong}");
        }
    }
}
