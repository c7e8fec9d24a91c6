//! The CAs that sidecars are to trust, in the forms in which they are told.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;

/// The argument of an injected sidecar: DER in base64, joined by commas, the current CA first.
pub(super) fn argument<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> String {
    let all: Vec<String> = certificates.into_iter().map(|der| STANDARD.encode(der)).collect();
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_without_a_space() {
        let [one, two] = [vec![0xfb; 3], vec![1; 100]].map(CertificateDer::from);
        assert_eq!(argument([&one]), "+/v7");
        let both = argument([&one, &two]);
        assert!(both.starts_with("+/v7,AQEB") && !both.contains(char::is_whitespace), "{both}");
        assert_eq!(argument([]), "");
    }
}
