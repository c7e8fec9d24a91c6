//! Where to tell, and the key to sign with: files of a mounted Secret, read again before each use.
//!
//! Refused: a URL that is not https (http only where it is allowed), one that names a user, a key that is short, a CA that
//! is none. Invariant: the URL is a secret, since chats keep their token in it. No error, log line or debug text of this
//! file or of who uses it holds any part of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use jiff::Timestamp;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;
use zeroize::Zeroizing;

const URL: &str = "url";
const KEY: &str = "key";
const CA: &str = "ca.crt";
/// What the kubelet swaps at once when the Secret changes.
const DATA: &str = "..data";
/// Of one file.
const MOST: u64 = 256 * 1024;
const LONGEST_URL: usize = 2_048;
const SHORTEST_KEY: usize = 16;
/// In front of a key in base64, as the Standard Webhooks write it.
const PREFIX: &str = "whsec_";
/// For all files.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where systems keep the bundle of public roots; the first that exists counts, unless SSL_CERT_FILE names one.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The files, and what was last made of them.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    allow_http: bool,
    last: Option<(Content, Result<Arc<Endpoint>, Unfit>)>,
}

#[derive(PartialEq, Eq)]
struct Content {
    url: Option<Zeroizing<Vec<u8>>>,
    key: Option<Zeroizing<Vec<u8>>>,
    ca: Option<Vec<u8>>,
}

pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    /// As the Host header has it.
    pub(super) authority: String,
    /// Path and query.
    pub(super) path: Zeroizing<String>,
    pub(super) tls: Option<(ServerName<'static>, Arc<ClientConfig>)>,
    key: hmac::Key,
}

/// Why nobody can be told. It names files, and nothing that stands in them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("the Secret holds no `{0}`: create it, or correct approvals.notify.secretName")]
    Missing(&'static str),
    #[error("`{0}` cannot be read: {1}")]
    Unreadable(&'static str, std::io::ErrorKind),
    #[error("`{0}` is larger than 256 KiB")]
    Large(&'static str),
    #[error("the files cannot be read within 2 s")]
    Slow,
    #[error("`url` is no URL of the form https://HOST[:PORT]/PATH")]
    NoUrl,
    #[error("`url` is longer than 2048 characters")]
    LongUrl,
    #[error("`url` is http: use https, or set approvals.notify.allowHttp")]
    Http,
    #[error("`url` names a user: put what the endpoint asks for into its path or query")]
    User,
    #[error("`key` must hold at least 16 bytes, or whsec_ and at least 16 bytes in base64")]
    Key,
    #[error("`ca.crt` holds no certificate in PEM that can be a trust anchor")]
    Ca,
    #[error("there is no bundle of public roots here: put `ca.crt` into the Secret")]
    NoRoots,
    #[error("TLS cannot be set up")]
    Tls,
}

// === impl Files ===

impl Files {
    pub(super) fn new(folder: &Path, allow_http: bool) -> Self {
        Self { folder: folder.to_owned(), allow_http, last: None }
    }

    /// As they are now, and whether that is something else than before.
    pub(super) async fn read(&mut self) -> (Result<Arc<Endpoint>, Unfit>, bool) {
        let content = match timeout(PATIENCE, content(&self.folder)).await {
            Ok(Ok(content)) => content,
            Ok(Err(error)) => return (Err(error), self.last.take().is_some()),
            Err(_) => return (Err(Unfit::Slow), self.last.take().is_some()),
        };
        match &self.last {
            Some((before, made)) if *before == content => (made.clone(), false),
            _ => {
                let made = Endpoint::read(&content, self.allow_http).map(Arc::new);
                self.last = Some((content, made.clone()));
                (made, true)
            }
        }
    }
}

async fn content(folder: &Path) -> Result<Content, Unfit> {
    // All three of one version of the Secret.
    let folder = tokio::fs::canonicalize(folder.join(DATA)).await.unwrap_or_else(|_| folder.to_owned());
    Ok(Content {
        url: file(&folder, URL).await?.map(Zeroizing::new),
        key: file(&folder, KEY).await?.map(Zeroizing::new),
        ca: file(&folder, CA).await?,
    })
}

async fn file(folder: &Path, name: &'static str) -> Result<Option<Vec<u8>>, Unfit> {
    let unreadable = |error: std::io::Error| Unfit::Unreadable(name, error.kind());
    let file = match tokio::fs::File::open(folder.join(name)).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut bytes = Vec::new();
    let read = file.take(MOST.saturating_add(1)).read_to_end(&mut bytes).await.map_err(unreadable)?;
    match u64::try_from(read).is_ok_and(|read| read <= MOST) {
        true => Ok(Some(bytes)),
        false => Err(Unfit::Large(name)),
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

// === impl Endpoint ===

impl Endpoint {
    fn read(content: &Content, allow_http: bool) -> Result<Self, Unfit> {
        let url = content.url.as_ref().ok_or(Unfit::Missing(URL))?;
        let key = content.key.as_ref().ok_or(Unfit::Missing(KEY))?;
        let url = std::str::from_utf8(url).map_err(|_| Unfit::NoUrl)?.trim();
        if url.len() > LONGEST_URL {
            return Err(Unfit::LongUrl);
        }
        let uri: Uri = url.parse().map_err(|_| Unfit::NoUrl)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if allow_http => false,
            Some("http") => return Err(Unfit::Http),
            _ => return Err(Unfit::NoUrl),
        };
        let authority = uri.authority().ok_or(Unfit::NoUrl)?;
        if authority.as_str().contains('@') {
            return Err(Unfit::User);
        }
        // Not `port_u16`: of a port that is none it says that there is none.
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => {
                if secure {
                    443
                } else {
                    80
                }
            }
            Some(rest) => {
                let port: Option<u16> = rest.strip_prefix(':').and_then(|port| port.parse().ok());
                port.filter(|port| *port > 0).ok_or(Unfit::NoUrl)?
            }
            None => return Err(Unfit::NoUrl),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = match secure {
            true => {
                let name = ServerName::try_from(host.clone()).map_err(|_| Unfit::NoUrl)?;
                Some((name, client(content.ca.as_deref())?))
            }
            false => None,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.is_empty() { "/" } else { path };
        let authority = authority.as_str().to_owned();
        Ok(Self { host, port, authority, path: Zeroizing::new(path.to_owned()), tls, key: signer(key)? })
    }

    /// In the form of the Standard Webhooks: over id, time and body.
    pub(super) fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        let mut signed = format!("{id}.{}.", at.as_second()).into_bytes();
        signed.extend_from_slice(body);
        format!("v1,{}", STANDARD.encode(hmac::sign(&self.key, &signed)))
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

fn signer(bytes: &[u8]) -> Result<hmac::Key, Unfit> {
    let bytes = bytes.trim_ascii();
    let decoded = match bytes.strip_prefix(PREFIX.as_bytes()) {
        Some(text) => Zeroizing::new(STANDARD.decode(text).map_err(|_| Unfit::Key)?),
        None => Zeroizing::new(bytes.to_vec()),
    };
    match decoded.len() >= SHORTEST_KEY {
        true => Ok(hmac::Key::new(hmac::HMAC_SHA256, &decoded)),
        false => Err(Unfit::Key),
    }
}

/// Chain and name are always verified: against `ca` alone, or against the public roots.
fn client(ca: Option<&[u8]>) -> Result<Arc<ClientConfig>, Unfit> {
    let roots = match ca {
        Some(pem) => anchors(pem)?,
        None => public()?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.map_err(|_| Unfit::Tls)?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn anchors(pem: &[u8]) -> Result<RootCertStore, Unfit> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|_| Unfit::Ca)?).map_err(|_| Unfit::Ca)?;
    }
    if roots.is_empty() { Err(Unfit::Ca) } else { Ok(roots) }
}

/// Bundles of systems hold a few certificates that rustls cannot use; those are left out.
fn public() -> Result<RootCertStore, Unfit> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let path = named.or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.exists())).ok_or(Unfit::NoRoots)?;
    let pem = std::fs::read(path).map_err(|_| Unfit::NoRoots)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    if roots.is_empty() { Err(Unfit::NoRoots) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[u8] = b"a key of 16 bytes";

    fn content(url: &str) -> Content {
        let (url, key) = (Some(Zeroizing::new(url.as_bytes().to_vec())), Some(Zeroizing::new(GOOD.to_vec())));
        Content { url, key, ca: Some(ca().into_bytes()) }
    }

    fn ca() -> String {
        crate::certificate::Authority::make(crate::certificate::now()).unwrap().pem().to_owned()
    }

    #[test]
    fn a_url_of_a_chat_is_taken_apart() {
        let read = |url: &str| Endpoint::read(&content(url), true).unwrap();
        let chat = read(" https://hooks.example.com/services/T0/B0/s3cret?x=1\n");
        assert_eq!(
            (chat.host.as_str(), chat.port, chat.path.as_str()),
            ("hooks.example.com", 443, "/services/T0/B0/s3cret?x=1")
        );
        assert!(chat.tls.is_some());
        let chat = read("https://[fd00::1]:8443");
        assert_eq!((chat.host.as_str(), chat.port, chat.path.as_str()), ("fd00::1", 8443, "/"));
        assert_eq!(chat.authority, "[fd00::1]:8443");
        let plain = read("http://chat.internal/x");
        assert!(plain.tls.is_none() && plain.port == 80);
    }

    #[test]
    fn what_is_no_endpoint_is_said_without_a_word_of_it() {
        let unfit = |content: Content| {
            let error = Endpoint::read(&content, false).unwrap_err();
            let (shown, text) = (format!("{error} {error:?} {content:?}"), error.clone());
            assert!(!shown.contains("s3cret") && !shown.contains("example"), "{shown}");
            text
        };
        for (url, why) in [
            ("", Unfit::NoUrl),
            ("hooks.example/s3cret", Unfit::NoUrl),
            ("ftp://hooks.example/s3cret", Unfit::NoUrl),
            ("https:///s3cret", Unfit::NoUrl),
            ("https://hooks.example:99999/s3cret", Unfit::NoUrl),
            ("https://hooks.example:0/s3cret", Unfit::NoUrl),
            ("https://hooks.example/s3 cret", Unfit::NoUrl),
            ("https://user:s3cret@hooks.example/", Unfit::User),
            ("http://hooks.example/s3cret", Unfit::Http),
        ] {
            assert_eq!(unfit(content(url)), why, "{url}");
        }
        assert_eq!(unfit(content(&format!("https://hooks.example/{}", "s3cret".repeat(400)))), Unfit::LongUrl);
        let good = || content("https://hooks.example/s3cret");
        let key = |key: &[u8]| Content { key: Some(Zeroizing::new(key.to_vec())), ..good() };
        assert_eq!(unfit(key(b"short")), Unfit::Key);
        assert_eq!(unfit(key(b"                 \n")), Unfit::Key);
        assert_eq!(unfit(key(b"whsec_c2hvcnQ=")), Unfit::Key);
        assert_eq!(unfit(key(b"whsec_not base64 at all")), Unfit::Key);
        assert_eq!(unfit(Content { key: None, ..good() }), Unfit::Missing(KEY));
        assert_eq!(unfit(Content { url: None, ..good() }), Unfit::Missing(URL));
        assert_eq!(unfit(Content { ca: Some(b"x".to_vec()), ..good() }), Unfit::Ca);
        let endpoint = Endpoint::read(&good(), false).unwrap();
        assert_eq!(format!("{endpoint:?}"), "<secret>");
    }

    /// The example of the Standard Webhooks.
    #[test]
    fn the_signature_is_that_of_the_standard() {
        let key = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let content = Content { key: Some(Zeroizing::new(key.to_vec())), ..content("https://hooks.example/") };
        let endpoint = Endpoint::read(&content, false).unwrap();
        let at = Timestamp::from_second(1_614_265_330).unwrap();
        let signature = endpoint.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, b"{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[tokio::test]
    async fn files_are_read_again_when_they_change() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let mut files = Files::new(folder.path(), false);
        let (read, changed) = files.read().await;
        assert_eq!((read.unwrap_err(), changed), (Unfit::Missing(URL), true));
        write(URL, "https://hooks.example/a");
        assert_eq!(files.read().await.0.unwrap_err(), Unfit::Missing(KEY));
        write(KEY, "0123456789abcdef\n");
        write(CA, &ca());
        let (read, changed) = files.read().await;
        assert_eq!((read.unwrap().path.as_str(), changed), ("/a", true));
        assert!(!files.read().await.1);
        write(URL, "https://hooks.example/b");
        let (read, changed) = files.read().await;
        assert_eq!((read.unwrap().path.as_str(), changed), ("/b", true));
        // As the kubelet swaps them.
        let next = folder.path().join("..1");
        std::fs::create_dir(&next).unwrap();
        for (name, text) in [(URL, "https://hooks.example/c"), (KEY, "0123456789abcdef"), (CA, &ca())] {
            std::fs::write(next.join(name), text).unwrap();
        }
        std::os::unix::fs::symlink("..1", folder.path().join(DATA)).unwrap();
        assert_eq!(files.read().await.0.unwrap().path.as_str(), "/c");
        std::fs::write(next.join(CA), vec![b'x'; 300_000]).unwrap();
        assert_eq!(files.read().await.0.unwrap_err(), Unfit::Large(CA));
    }
}
