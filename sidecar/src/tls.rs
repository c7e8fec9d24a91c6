//! TLS on both sides, with one crypto provider. Downstream: certificates from our own CA, one for the doors of the
//! configuration and one for each host that agents of a pod believe to dial. Upstream: the target's chain
//! and name are always verified; there is no way to switch that off here.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use aws_lc_rs::digest;
use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

mod ca;

pub use ca::{CaError, LocalCa};

/// The ALPN word by which a client asks for TLS without SSLRequest (PostgreSQL 17).
pub const ALPN: &[u8] = b"postgresql";

/// Where systems keep the bundle of public roots; the first that exists counts.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Sets of roots that are kept parsed; parsing one again costs milliseconds.
const KEPT_ROOTS: usize = 64;

/// Hosts whose certificates are kept; minting one again costs little.
const KEPT: usize = 1_024;

/// What agents see: certificates of our CA, made anew at each start.
pub struct Downstream {
    ca: LocalCa,
    configured: Arc<Presented>,
    /// By host, as sessions come.
    minted: Mutex<HashMap<String, Arc<Presented>>>,
}

/// One certificate of ours with its key.
pub struct Presented {
    pub config: Arc<ServerConfig>,
    leaf: CertificateDer<'static>,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the CA is not a PEM certificate: {0}")]
    NotPem(String),
    #[error("the CA is PEM but holds no certificate")]
    Empty,
    #[error("the CA cannot be a trust anchor: {0}")]
    NotAnAnchor(rustls::Error),
    #[error("no bundle of system roots was found: set `tls.caSecretRef` of the AccessTarget, or SSL_CERT_FILE")]
    NoSystemRoots,
    #[error("cannot read the system roots `{path}`: {source}")]
    SystemRoots { path: PathBuf, source: std::io::Error },
    #[error("TLS cannot be set up: {0}")]
    Rustls(#[from] rustls::Error),
}

/// Makes the one crypto provider the default of the process; called again it does nothing.
pub fn install_provider() {
    // An error means that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// What a target's certificate is verified against.
#[derive(PartialEq, Eq, Hash)]
enum Roots {
    Pem(Vec<u8>),
    /// As of this change of the file; `None` where the file system does not know.
    System(PathBuf, Option<SystemTime>),
}

/// Each is a hundred certificates for some systems: all sessions share one.
static MADE: LazyLock<Mutex<HashMap<Roots, Arc<ClientConfig>>>> = LazyLock::new(Mutex::default);

/// TLS 1.2 and 1.3, chain and host name verified, against `ca` (PEM, one or more certificates) or the system's roots as they
/// are now. Nothing of one connection is resumed in another: each is verified by itself.
pub fn upstream(ca: Option<&[u8]>) -> Result<Arc<ClientConfig>, TlsError> {
    let source = match ca {
        Some(pem) => Roots::Pem(pem.to_vec()),
        None => system_bundle()?,
    };
    if let Some(made) = MADE.lock().get(&source) {
        return Ok(Arc::clone(made));
    }
    let roots = match &source {
        Roots::Pem(pem) => anchors(pem)?,
        Roots::System(path, _) => system_roots(path)?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    let config = Arc::new(config);
    let mut made = MADE.lock();
    if made.len() >= KEPT_ROOTS {
        made.clear();
    }
    made.insert(source, Arc::clone(&config));
    Ok(config)
}

fn anchors(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|e| TlsError::NotPem(e.to_string()))?;
        roots.add(certificate).map_err(TlsError::NotAnAnchor)?;
    }
    if roots.is_empty() { Err(TlsError::Empty) } else { Ok(roots) }
}

fn system_bundle() -> Result<Roots, TlsError> {
    let path = match std::env::var_os("SSL_CERT_FILE") {
        Some(path) => PathBuf::from(path),
        None => SYSTEM_BUNDLES.iter().map(PathBuf::from).find(|p| p.exists()).ok_or(TlsError::NoSystemRoots)?,
    };
    match std::fs::metadata(&path) {
        Ok(found) => Ok(Roots::System(path, found.modified().ok())),
        Err(source) => Err(TlsError::SystemRoots { path, source }),
    }
}

/// Bundles of systems hold a few certificates that rustls cannot use; those are left out.
fn system_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let pem = std::fs::read(path).map_err(|source| TlsError::SystemRoots { path: path.to_owned(), source })?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    if roots.is_empty() { Err(TlsError::NoSystemRoots) } else { Ok(roots) }
}

// === impl Downstream ===

impl Downstream {
    /// With a new leaf for localhost, the loopback addresses and `names`.
    pub fn new(ca: LocalCa, names: &[String]) -> Result<Self, CaError> {
        let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let configured = Arc::new(Presented::new(&ca, &[&local, names].concat())?);
        Ok(Self { ca, configured, minted: Mutex::default() })
    }

    /// The file that agents give as `sslrootcert`.
    pub fn ca_file(&self) -> &Path {
        self.ca.file()
    }

    /// For the doors of the configuration.
    pub fn configured(&self) -> Arc<Presented> {
        Arc::clone(&self.configured)
    }

    /// For agents that believe to dial `host`: a leaf with that name alone, made when it is first needed, since targets
    /// come and go while we run.
    pub fn for_host(&self, host: &str) -> Result<Arc<Presented>, CaError> {
        let name = canonical(host);
        if let Some(presented) = self.minted.lock().get(&name) {
            return Ok(Arc::clone(presented));
        }
        let presented = Arc::new(Presented::new(&self.ca, std::slice::from_ref(&name))?);
        let mut minted = self.minted.lock();
        if minted.len() >= KEPT {
            minted.clear();
        }
        minted.insert(name, Arc::clone(&presented));
        Ok(presented)
    }
}

/// As names are compared: in lower case, without the final dot.
pub fn canonical(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

impl fmt::Debug for Downstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Downstream").field("ca", &self.ca).finish_non_exhaustive()
    }
}

// === impl Presented ===

impl Presented {
    fn new(ca: &LocalCa, names: &[String]) -> Result<Self, CaError> {
        let (leaf, key) = ca.leaf(names)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.clone(), ca.certificate().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)),
            )?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { config: Arc::new(config), leaf })
    }

    /// Our leaf certificate, as sent to agents.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.leaf
    }

    /// `tls-server-end-point` (RFC 5929 section 4.1) of the leaf: SHA-256, since it is signed with ecdsa-with-SHA256.
    pub fn end_point(&self) -> Vec<u8> {
        digest::digest(&digest::SHA256, &self.leaf).as_ref().to_vec()
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented").finish_non_exhaustive()
    }
}
