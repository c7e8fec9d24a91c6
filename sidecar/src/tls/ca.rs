//! Our own CA: made once in `keys/`, so that agents trust the same certificate over restarts. Its key never leaves
//! that folder, it may sign no further CA, and a key that others may read is refused.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType, date_time_ymd,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use crate::state::write_whole;

const CA_YEARS: i16 = 10;
const LEAF_YEARS: i16 = 2;
const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";

/// A CA with its key.
pub struct LocalCa {
    key: KeyPair,
    certificate: CertificateDer<'static>,
    file: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("cannot {action} `{path}`: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("`{there}` exists without `{missing}`: restore it from a backup, or delete the first to get a new CA")]
    Half { there: PathBuf, missing: PathBuf },
    #[error("`{path}` may be read by others (mode {mode:o}): run `chmod 600 {path}`")]
    Readable { path: PathBuf, mode: u32 },
    #[error("`{path}` is damaged ({reason}): restore it from a backup, or delete {CERTIFICATE} and {KEY} for a new CA")]
    Damaged { path: PathBuf, reason: String },
    #[error("`{0}` has expired: delete {CERTIFICATE} and {KEY} for a new CA and give agents the new {CERTIFICATE}")]
    Expired(PathBuf),
    #[error("`{name}` cannot stand in a certificate: give a DNS name or an IP address under tlsNames")]
    Name { name: String },
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("cannot set up TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

// === impl LocalCa ===

impl LocalCa {
    /// Loads the CA of the folder `keys`, or makes it when neither file is there.
    pub fn open(keys: &Path) -> Result<Self, CaError> {
        let (file, key_file) = (keys.join(CERTIFICATE), keys.join(KEY));
        match (file.exists(), key_file.exists()) {
            (true, true) => Self::load(file, &key_file),
            (false, false) => Self::make(file, &key_file),
            (true, false) => Err(CaError::Half { there: file, missing: key_file }),
            (false, true) => Err(CaError::Half { there: key_file, missing: file }),
        }
    }

    /// The same in a pod, where nobody could repair it: a key whose certificate was never written, since a start ended
    /// between the two, is nobody's trust yet and is made again.
    pub fn open_in_pod(folder: &Path) -> Result<Self, CaError> {
        let (file, key_file) = (folder.join(CERTIFICATE), folder.join(KEY));
        match (file.exists(), key_file.exists()) {
            (false, true) => Self::make(file, &key_file),
            _ => Self::open(folder),
        }
    }

    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The PEM file for agents.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// A new key and certificate for exactly `names`. The key is PKCS #8 DER.
    pub(super) fn leaf(&self, names: &[String]) -> Result<(CertificateDer<'static>, Vec<u8>), CaError> {
        let mut params = CertificateParams::default();
        for name in names {
            let bad = || CaError::Name { name: name.clone() };
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:*".contains(&b)) {
                return Err(bad());
            }
            let san = match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into().map_err(|_| bad())?),
            };
            if !params.subject_alt_names.contains(&san) {
                params.subject_alt_names.push(san);
            }
        }
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "agentaccess sidecar");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        valid_for(&mut params, LEAF_YEARS);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let issuer = Issuer::new(ca_params(&self.key), &self.key);
        let leaf = params.signed_by(&key, &issuer)?;
        Ok((leaf.der().clone(), key.serialize_der()))
    }

    fn make(file: PathBuf, key_file: &Path) -> Result<Self, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = ca_params(&key).self_signed(&key)?;
        let pem = Zeroizing::new(key.serialize_pem());
        for (path, mode, content) in [(key_file, 0o600, pem.as_str()), (&file, 0o644, certificate.pem().as_str())] {
            write_whole(path, mode, content.as_bytes()).map_err(|source| CaError::Io {
                action: "write",
                path: path.to_owned(),
                source,
            })?;
        }
        Ok(Self { key, certificate: certificate.der().clone(), file })
    }

    fn load(file: PathBuf, key_file: &Path) -> Result<Self, CaError> {
        let read = |path: &Path| {
            let io = |source| CaError::Io { action: "read", path: path.to_owned(), source };
            std::fs::read_to_string(path).map(Zeroizing::new).map_err(io)
        };
        let mode = std::fs::metadata(key_file)
            .map_err(|source| CaError::Io { action: "read", path: key_file.to_owned(), source })?
            .mode();
        if mode & 0o077 != 0 {
            return Err(CaError::Readable { path: key_file.to_owned(), mode: mode & 0o7777 });
        }
        let damaged = |path: &Path, reason: String| CaError::Damaged { path: path.to_owned(), reason };
        let key = KeyPair::from_pem(&read(key_file)?).map_err(|e| damaged(key_file, e.to_string()))?;
        let certificate =
            CertificateDer::from_pem_slice(read(&file)?.as_bytes()).map_err(|e| damaged(&file, e.to_string()))?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&certificate).map_err(|e| damaged(&file, e.to_string()))?;
        if parsed.public_key().raw != key.subject_public_key_info().as_slice() {
            return Err(damaged(&file, format!("it does not belong to {KEY}")));
        }
        if !parsed.validity().is_valid() {
            return Err(CaError::Expired(file));
        }
        Ok(Self { key, certificate, file })
    }
}

impl fmt::Debug for LocalCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCa").field("file", &self.file).field("key", &"<secret>").finish_non_exhaustive()
    }
}

/// The same for the same key: a leaf must name its issuer exactly as the CA's certificate does.
fn ca_params(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    let id = digest::digest(&digest::SHA256, &key.subject_public_key_info());
    let id: String = id.as_ref().iter().take(4).map(|b| format!("{b:02x}")).collect();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("agentaccess CA {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, CA_YEARS);
    params
}

/// From yesterday, since clocks differ.
fn valid_for(params: &mut CertificateParams, years: i16) {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let yesterday = today.yesterday().unwrap_or(today);
    let date = |d: jiff::civil::Date| date_time_ymd(d.year().into(), d.month().unsigned_abs(), d.day().unsigned_abs());
    params.not_before = date(yesterday);
    // The 28th exists in every month and every year.
    params.not_after = date(jiff::civil::date(today.year().saturating_add(years), today.month(), today.day().min(28)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn made_once_then_loaded_and_refused_when_bad() {
        let dir = tempfile::tempdir().unwrap();
        let made = LocalCa::open(dir.path()).unwrap();
        let again = LocalCa::open(dir.path()).unwrap();
        assert_eq!(made.certificate(), again.certificate());
        let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().mode() & 0o777;
        assert_eq!((mode(KEY), mode(CERTIFICATE)), (0o600, 0o644));
        let message = |what: &str| {
            let error = LocalCa::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        std::fs::set_permissions(dir.path().join(KEY), std::fs::Permissions::from_mode(0o640)).unwrap();
        message("chmod 600");
        let other = tempfile::tempdir().unwrap();
        LocalCa::open(other.path()).unwrap();
        std::fs::set_permissions(dir.path().join(KEY), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::copy(other.path().join(CERTIFICATE), dir.path().join(CERTIFICATE)).unwrap();
        message("it does not belong to ca.key");
        std::fs::write(dir.path().join(CERTIFICATE), "no PEM").unwrap();
        message("is damaged");
        std::fs::remove_file(dir.path().join(CERTIFICATE)).unwrap();
        message("exists without");
        let again = LocalCa::open_in_pod(dir.path()).unwrap();
        assert_ne!(again.certificate(), made.certificate());
        assert_eq!(LocalCa::open_in_pod(dir.path()).unwrap().certificate(), again.certificate());
        std::fs::remove_file(dir.path().join(KEY)).unwrap();
        let error = LocalCa::open_in_pod(dir.path()).unwrap_err().to_string();
        assert!(error.contains("exists without"), "{error}");
    }

    #[test]
    fn names_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let ca = LocalCa::open(dir.path()).unwrap();
        for good in ["db.internal", "10.0.0.7", "fd00::1", "localhost"] {
            ca.leaf(&[good.to_owned()]).unwrap();
        }
        for bad in ["", "a b", "münchen.de", "a\nb"] {
            assert!(ca.leaf(&[bad.to_owned()]).unwrap_err().to_string().contains("tlsNames"), "{bad}");
        }
    }
}
