//! By whom the server of a bucket has to be vouched for: the roots of the system, or authorities that were named, and
//! then nobody else.
//!
//! Refused: text that is not a certificate, and more of them than anybody needs.

use object_store::Certificate;

/// Certificates of authorities.
const MOST: usize = 16;

#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// Those of the system, or of the file that SSL_CERT_FILE names.
    #[default]
    System,
    Only(Authorities),
}

/// At least one.
#[derive(Clone, Debug)]
pub struct Authorities(Vec<Certificate>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the CA of the store is not PEM with 1 to {MOST} certificates")]
pub struct NoAuthority;

// === impl Trust ===

impl Trust {
    /// # Errors
    /// When `pem` holds no certificate, or something that is none.
    pub fn only(pem: &str) -> Result<Self, NoAuthority> {
        let found = Certificate::from_pem_bundle(pem.as_bytes()).map_err(|_| NoAuthority)?;
        if (1..=MOST).contains(&found.len()) { Ok(Self::Only(Authorities(found))) } else { Err(NoAuthority) }
    }
}

// === impl Authorities ===

impl Authorities {
    pub(crate) fn certificates(&self) -> impl Iterator<Item = Certificate> + '_ {
        self.0.iter().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_are_authorities() {
        let ca = e2e::tls::Authority::new(&["localhost"]).unwrap().ca;
        assert!(matches!(Trust::only(&ca), Ok(Trust::Only(Authorities(one))) if one.len() == 1));
        assert!(matches!(Trust::only(&ca.repeat(MOST)), Ok(Trust::Only(_))));
        let cut: String = ca.chars().take(ca.len() / 2).collect();
        for wrong in ["", "no PEM", &cut, &ca.repeat(MOST + 1)] {
            assert!(Trust::only(wrong).is_err(), "{wrong}");
        }
    }
}
