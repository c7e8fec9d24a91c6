//! Access tokens that show what they are: JSON Web Tokens (RFC 7519), private keys in PEM (RFC 7468), and keys of providers
//! that begin with a prefix made for being found.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::ends_word;

/// What stands behind a prefix.
#[derive(Clone, Copy)]
enum Body {
    Upper,
    Alphanumeric,
    /// Letters, digits, `-`, `_` and `.`.
    Url,
}

/// Prefix, alphabet and shortest length of what is behind it, by first letter.
const PROVIDERS: &[(&[u8], Body, usize)] = &[
    (b"AIza", Body::Url, 35),
    (b"AKIA", Body::Upper, 16),
    (b"ASIA", Body::Upper, 16),
    (b"SG.", Body::Url, 40),
    (b"dop_v1_", Body::Alphanumeric, 40),
    (b"ghp_", Body::Alphanumeric, 30),
    (b"gho_", Body::Alphanumeric, 30),
    (b"ghu_", Body::Alphanumeric, 30),
    (b"ghs_", Body::Alphanumeric, 30),
    (b"ghr_", Body::Alphanumeric, 30),
    (b"github_pat_", Body::Url, 30),
    (b"glpat-", Body::Url, 20),
    (b"hvs.", Body::Url, 24),
    (b"npm_", Body::Alphanumeric, 30),
    (b"pypi-", Body::Url, 50),
    (b"rk_live_", Body::Alphanumeric, 16),
    (b"rk_test_", Body::Alphanumeric, 16),
    (b"shpat_", Body::Alphanumeric, 30),
    (b"sk-", Body::Url, 20),
    (b"sk_live_", Body::Alphanumeric, 16),
    (b"sk_test_", Body::Alphanumeric, 16),
    (b"xapp-", Body::Url, 20),
    (b"xoxa-", Body::Url, 10),
    (b"xoxb-", Body::Url, 10),
    (b"xoxe-", Body::Url, 10),
    (b"xoxp-", Body::Url, 10),
    (b"xoxr-", Body::Url, 10),
    (b"xoxs-", Body::Url, 10),
    (b"ya29.", Body::Url, 20),
];

impl Body {
    fn has(self, byte: u8) -> bool {
        match self {
            Self::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Alphanumeric => byte.is_ascii_alphanumeric(),
            Self::Url => is_url(byte),
        }
    }
}

fn is_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Where the token that begins here ends; no token before it goes beyond `behind`.
pub(crate) fn at(text: &[u8], start: usize, behind: usize) -> Option<usize> {
    // What a word of base64 begins with is at the begin of all of it, so that none is read again from its middle.
    let within =
        start > behind && start.checked_sub(1).and_then(|before| text.get(before)).copied().is_some_and(is_url);
    let text = text.get(start..)?;
    let length = match text.first()? {
        b'-' => private_key(text)?,
        b'e' if !within => jwt(text)?,
        _ => provider(text)?,
    };
    start.checked_add(length)
}

fn provider(text: &[u8]) -> Option<usize> {
    let first = text.first()?;
    let begins = |prefix: &[u8]| prefix.first() == Some(first) && text.starts_with(prefix);
    let (prefix, body, shortest) = PROVIDERS.iter().find(|(prefix, ..)| begins(prefix))?;
    let run = text.iter().skip(prefix.len()).take_while(|byte| body.has(**byte)).count();
    let end = prefix.len().checked_add(run)?;
    let stops = text.get(..end)?.iter().rev().take_while(|byte| **byte == b'.').count();
    let (length, end) = (run.saturating_sub(stops), end.saturating_sub(stops));
    (length >= *shortest && ends_word(text, end)).then_some(end)
}

/// Header, claims and signature, the last of which may be empty. Of five parts it is an encrypted one (RFC 7516).
fn jwt(text: &[u8]) -> Option<usize> {
    // `{"`
    if !text.starts_with(b"eyJ") {
        return None;
    }
    let length = text.iter().take_while(|byte| is_url(**byte)).count();
    let token = text.get(..length)?;
    let mut parts = token.split(|byte| *byte == b'.');
    let header = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
    let says_how = header.windows(5).any(|window| window == br#""alg""#);
    let dots = token.iter().filter(|byte| **byte == b'.').count();
    // A full stop behind it is the sentence's; one behind the claims says that there is no signature.
    let stop = usize::from(dots > 2 && token.ends_with(b"."));
    (says_how && dots >= 2).then(|| length.saturating_sub(stop))
}

/// From its first line on, to the line that ends it or as far as it looks like a key.
fn private_key(text: &[u8]) -> Option<usize> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const KEY: &[u8] = b"PRIVATE KEY-----";
    const END: &[u8] = b"-----END ";
    let behind = text.strip_prefix(BEGIN)?;
    let label =
        behind.iter().take_while(|byte| byte.is_ascii_uppercase() || matches!(byte, b' ' | b'0'..=b'9')).count();
    let opening = behind.get(..label.checked_add(5)?)?;
    if !opening.ends_with(KEY) {
        return None;
    }
    let begun = BEGIN.len().checked_add(opening.len())?;
    let body = begun.checked_add(key_lines(text.get(begun..)?))?;
    let rest = text.get(body..)?;
    let closing = if rest.starts_with(END) {
        let label = rest
            .iter()
            .skip(END.len())
            .take_while(|byte| byte.is_ascii_uppercase() || matches!(byte, b' ' | b'0'..=b'9'))
            .count();
        END.len()
            .checked_add(label)?
            .checked_add(5)
            .filter(|end| rest.get(..*end).is_some_and(|line| line.ends_with(b"-----")))
    } else {
        None
    };
    body.checked_add(closing.unwrap_or(0))
}

/// Bytes of base64, of its headers and of line ends, those that JSON and COPY write with a backslash among them.
fn key_lines(text: &[u8]) -> usize {
    let mut at = 0_usize;
    loop {
        at = match (text.get(at), text.get(at.saturating_add(1))) {
            (Some(b'\\'), Some(b'n' | b'r')) => at.saturating_add(2),
            (Some(b'-'), Some(b'-')) => return at,
            (Some(byte), _) if byte.is_ascii_alphanumeric() => at.saturating_add(1),
            (Some(b'+' | b'/' | b'=' | b' ' | b'\n' | b'\r' | b':' | b',' | b'-'), _) => at.saturating_add(1),
            _ => return at,
        };
    }
}
