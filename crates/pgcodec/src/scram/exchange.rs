//! One exchange: client-first, server-first, client-final, server-final.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::verifier::{Verifier, hash, mac};
use super::{SCRAM_SHA_256, SCRAM_SHA_256_PLUS};
use crate::backend::Authentication;

/// The channel that the exchange runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// No TLS: only SCRAM-SHA-256 is offered.
    None,
    /// TLS of our own: both mechanisms are offered. The data is the hash of our certificate (RFC 5929 section 4).
    TlsServerEndPoint(Vec<u8>),
}

/// Why an exchange failed. Tell the client no more than "authentication failed".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    #[error("the mechanism was not offered")]
    Mechanism,
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    #[error("channel binding was downgraded or does not match: a proxy stands between client and server")]
    Binding,
    #[error("the nonce is not the one of this exchange")]
    Nonce,
    #[error("password authentication failed")]
    Proof,
    #[error("a SCRAM message came out of order")]
    Order,
}

#[derive(Debug)]
enum State {
    First,
    Final {
        /// `client-first-bare,server-first`
        messages: String,
        nonce: String,
        /// base64 of the gs2 header and the channel data.
        channel: String,
    },
    Done,
}

/// One exchange; good for one try.
#[derive(Debug)]
pub struct Scram {
    verifier: Verifier,
    nonce: String,
    binding: Binding,
    state: State,
}

impl Scram {
    /// `nonce`: at least 18 random bytes, used once.
    pub fn new(verifier: Verifier, nonce: &[u8], binding: Binding) -> Self {
        Self { verifier, nonce: STANDARD.encode(nonce), binding, state: State::First }
    }

    /// The offer to send first.
    pub fn offer(&self) -> Authentication {
        let plus = matches!(self.binding, Binding::TlsServerEndPoint(_)).then_some(SCRAM_SHA_256_PLUS);
        Authentication::Sasl { mechanisms: plus.into_iter().chain([SCRAM_SHA_256]).map(str::to_owned).collect() }
    }

    /// Takes the initial response; gives `SaslContinue`.
    ///
    /// # Errors
    /// See the module documentation of [`super`]; the exchange is over.
    pub fn initial(&mut self, mechanism: &str, data: &[u8]) -> Result<Authentication, ScramError> {
        if !matches!(std::mem::replace(&mut self.state, State::Done), State::First) {
            return Err(ScramError::Order);
        }
        let text = std::str::from_utf8(data).map_err(|_| ScramError::Malformed("not utf-8"))?;
        let (gs2, bare) = self.gs2(mechanism, text)?;
        let channel = match &self.binding {
            Binding::TlsServerEndPoint(data) if mechanism == SCRAM_SHA_256_PLUS => {
                STANDARD.encode([gs2.as_bytes(), data.as_slice()].concat())
            }
            Binding::None | Binding::TlsServerEndPoint(_) => STANDARD.encode(gs2),
        };
        let client_nonce = client_nonce(bare)?;
        let nonce = format!("{client_nonce}{}", self.nonce);
        let salt = STANDARD.encode(&self.verifier.salt);
        let first = format!("r={nonce},s={salt},i={}", self.verifier.iterations);
        self.state = State::Final { messages: format!("{bare},{first}"), nonce, channel };
        Ok(Authentication::SaslContinue { data: Bytes::from(first) })
    }

    /// Takes the final response; gives `SaslFinal`, after which `Authentication::Ok` may be sent.
    ///
    /// # Errors
    /// See the module documentation of [`super`]; the exchange is over.
    pub fn finish(&mut self, data: &[u8]) -> Result<Authentication, ScramError> {
        let State::Final { messages, nonce, channel } = std::mem::replace(&mut self.state, State::Done) else {
            return Err(ScramError::Order);
        };
        let text = std::str::from_utf8(data).map_err(|_| ScramError::Malformed("not utf-8"))?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed("no proof"))?;
        let mut attributes = without_proof.split(',');
        let shown = attributes.next().and_then(|a| a.strip_prefix("c=")).ok_or(ScramError::Malformed("no binding"))?;
        let back = attributes.next().and_then(|a| a.strip_prefix("r=")).ok_or(ScramError::Malformed("no nonce"))?;
        if !attributes.all(is_extension) {
            return Err(ScramError::Malformed("an unknown attribute"));
        }
        if shown != channel {
            return Err(ScramError::Binding);
        }
        if verify_slices_are_equal(back.as_bytes(), nonce.as_bytes()).is_err() {
            return Err(ScramError::Nonce);
        }
        let proof = STANDARD.decode(proof).map_err(|_| ScramError::Malformed("the proof is not base64"))?;
        let proof = <[u8; 32]>::try_from(proof).map_err(|_| ScramError::Malformed("the proof has a wrong length"))?;
        let signed = format!("{messages},{without_proof}");
        let signature = mac(&self.verifier.stored_key, signed.as_bytes());
        let mut client_key = proof;
        client_key.iter_mut().zip(signature).for_each(|(key, byte)| *key ^= byte);
        let same = verify_slices_are_equal(&hash(&client_key), &self.verifier.stored_key).is_ok();
        let answer = format!("v={}", STANDARD.encode(mac(&self.verifier.server_key, signed.as_bytes())));
        // Both are computed before either is looked at: a user who does not exist costs the same.
        match same & self.verifier.real {
            true => Ok(Authentication::SaslFinal { data: Bytes::from(answer) }),
            false => Err(ScramError::Proof),
        }
    }

    /// Splits the gs2 header off and checks it against the mechanism (RFC 5802 section 6).
    fn gs2<'a>(&self, mechanism: &str, text: &'a str) -> Result<(&'a str, &'a str), ScramError> {
        let malformed = ScramError::Malformed("the header is cut");
        let (flag, rest) = text.split_once(',').ok_or(malformed)?;
        let (identity, bare) = rest.split_once(',').ok_or(malformed)?;
        if !identity.is_empty() {
            return Err(ScramError::Malformed("an authorization identity, which is not supported"));
        }
        let offered_plus = matches!(self.binding, Binding::TlsServerEndPoint(_));
        match (mechanism, flag) {
            (SCRAM_SHA_256, "n") => {}
            (SCRAM_SHA_256, "y") if !offered_plus => {}
            (SCRAM_SHA_256, "y") => return Err(ScramError::Binding),
            (SCRAM_SHA_256_PLUS, "p=tls-server-end-point") if offered_plus => {}
            (SCRAM_SHA_256_PLUS, _) if !offered_plus => return Err(ScramError::Mechanism),
            (SCRAM_SHA_256 | SCRAM_SHA_256_PLUS, _) => {
                return Err(ScramError::Malformed("the channel binding flag does not fit the mechanism"));
            }
            _ => return Err(ScramError::Mechanism),
        }
        // `flag,,bare`: the header is everything before `bare`.
        let header = text.strip_suffix(bare).ok_or(malformed)?;
        Ok((header, bare))
    }
}

/// The nonce of `n=user,r=nonce[,extensions]`.
fn client_nonce(bare: &str) -> Result<&str, ScramError> {
    let mut attributes = bare.split(',');
    match attributes.next() {
        Some(user) if user.starts_with("n=") => {}
        Some(extension) if extension.starts_with("m=") => {
            return Err(ScramError::Malformed("a mandatory extension, which is not supported"));
        }
        _ => return Err(ScramError::Malformed("no user name")),
    }
    let nonce = attributes.next().and_then(|a| a.strip_prefix("r=")).ok_or(ScramError::Malformed("no nonce"))?;
    // `printable` of RFC 5802 section 7; the split took the commas.
    if nonce.is_empty() || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ScramError::Malformed("a nonce that is empty or not printable"));
    }
    match attributes.all(is_extension) {
        true => Ok(nonce),
        false => Err(ScramError::Malformed("an unknown attribute")),
    }
}

/// Optional extensions have a letter that the RFC did not give away; `m` is the mandatory kind.
fn is_extension(attribute: &str) -> bool {
    let mut chars = attribute.chars();
    let known = matches!(chars.next(), Some(letter) if letter.is_ascii_alphabetic() && !"acimnprsve".contains(letter));
    known && chars.next() == Some('=')
}
