//! What may be written upstream before a session is established.
//!
//! Invariant: a [`LoginFrame`] can never carry an operation. Each variant encodes to one startup packet or one `p` message;
//! there is no variant with a tag or a body of the caller's choice.

use bytes::{Bytes, BytesMut};

use crate::frontend::Secret;
use crate::startup::StartupMessage;
use crate::{Violation, startup, wire};

/// The closed list of what a login may send. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub enum LoginFrame {
    /// Asks for TLS; answered by one byte.
    SslRequest,
    Startup(StartupMessage),
    /// The answer to cleartext or MD5: text without NUL.
    Password(Secret),
    SaslInitial {
        mechanism: String,
        data: Secret,
    },
    SaslResponse(Secret),
}

impl LoginFrame {
    /// Appends the packet.
    ///
    /// # Errors
    /// A NUL inside the password, the mechanism or a parameter, a `replication` parameter, or a length that does not fit;
    /// `out` is unchanged then.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), Violation> {
        match self {
            Self::SslRequest => {
                startup::ssl_request(out);
                Ok(())
            }
            Self::Startup(message) => message.encode(out),
            Self::Password(secret) => wire::message(out, b'p', "PasswordMessage", |w| {
                if secret.0.contains(&0) {
                    return Err(Violation::Malformed { message: "PasswordMessage", what: "a NUL inside the password" });
                }
                w.bytes(&secret.0);
                w.u8(0);
                Ok(())
            }),
            Self::SaslInitial { mechanism, data } => wire::message(out, b'p', "SASLInitialResponse", |w| {
                w.string(mechanism)?;
                w.value(Some(&data.0))
            }),
            Self::SaslResponse(data) => wire::message(out, b'p', "SASLResponse", |w| {
                w.bytes(&data.0);
                Ok(())
            }),
        }
    }
}

/// The agent's first SASL message, decoded from the body of a `p` message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslInitialResponse {
    pub mechanism: String,
    pub data: Secret,
}

impl SaslInitialResponse {
    /// Decodes the body of a `p` message.
    ///
    /// # Errors
    /// No mechanism, no data, or bytes behind the data.
    pub fn decode(body: &Secret) -> Result<Self, Violation> {
        let mut r = crate::reader::Reader::new("SASLInitialResponse", body.0.clone());
        let mechanism = r.string("the mechanism has no end")?;
        let Some(data) = r.value("the data is cut")? else {
            return Err(r.malformed("no initial data, which every supported mechanism needs"));
        };
        r.finish()?;
        Ok(Self { mechanism, data: Secret(data) })
    }
}

/// The agent's cleartext password, decoded from the body of a `p` message.
///
/// # Errors
/// No NUL at the end, or one before it.
pub fn decode_password(body: &Secret) -> Result<Secret, Violation> {
    let malformed = |what| Violation::Malformed { message: "PasswordMessage", what };
    match body.0.split_last() {
        Some((0, text)) if !text.contains(&0) => Ok(Secret(Bytes::copy_from_slice(text))),
        Some((0, _)) => Err(malformed("a NUL inside the password")),
        _ => Err(malformed("the password has no end")),
    }
}
