//! The packets that open a connection: they have no tag (protocol documentation, "Start-up" and "Message Formats").
//!
//! What is refused: a packet above its limit (before its body is read), protocol 2 and every other unknown code, a
//! parameter given twice, text that is not UTF-8, bytes behind the last parameter, and an `options` value that is more than
//! a list of settings. `replication` is flagged in every spelling; refusing it is the caller's duty.

mod options;

use bytes::{Buf, BufMut, Bytes, BytesMut};

pub use self::options::parse_options;
use crate::backend::{KeyData, Negotiate};
use crate::reader::Reader;
use crate::{Limits, ProtocolVersion, Violation, wire};

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSSENC: u32 = 80_877_104;

/// What the first bytes of a connection, or the next ones before a session, ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// A TLS ClientHello without a request before it (PostgreSQL 17). Nothing was consumed.
    DirectTls,
    /// Answer with one byte. Any byte in [`StartupFramer::buffered`] now is an attack: close (CVE-2021-23214).
    SslRequest,
    /// Answer `N`.
    GssEncRequest,
    CancelRequest(KeyData),
    Startup(Startup),
}

/// A decoded startup message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// What the session will speak.
    pub version: ProtocolVersion,
    /// To be answered before authentication when the client asked for more than we speak.
    pub negotiate: Option<Negotiate>,
    /// Parameters in their order, without `_pq_.` options and without `replication`; no name occurs twice.
    pub parameters: Vec<(String, String)>,
    /// `replication` was given, with whatever value: refuse.
    pub replication: bool,
}

/// A startup message of our own, for the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartupMessage {
    pub version: ProtocolVersion,
    pub parameters: Vec<(String, String)>,
}

/// Incremental reading of the packets before a session.
#[derive(Debug)]
pub struct StartupFramer {
    limit: usize,
    buffer: BytesMut,
}

// === impl StartupFramer ===

impl StartupFramer {
    /// An empty reader.
    pub fn new(limits: &Limits) -> Self {
        Self { limit: limits.startup, buffer: BytesMut::new() }
    }

    /// Adds received bytes.
    ///
    /// # Errors
    /// [`Violation::Misuse`] when far more is pushed than one packet: [`StartupFramer::next`] was not asked.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        if self.buffer.len().saturating_add(bytes.len()) > self.limit.saturating_add(64 * 1024) {
            return Err(Violation::Misuse { what: "more bytes pushed than one startup packet and one read" });
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Bytes received behind what was handed out.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Gives up the bytes behind the startup message: push them into [`crate::Framer`].
    pub fn into_rest(self) -> Bytes {
        self.buffer.freeze()
    }

    /// The next packet, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// See the module documentation; close without an answer or with an `ErrorResponse`.
    #[expect(clippy::should_implement_trait, reason = "it is fallible and asked again after `None`")]
    pub fn next(&mut self) -> Result<Option<Opening>, Violation> {
        if self.buffer.first() == Some(&0x16) {
            return Ok(Some(Opening::DirectTls));
        }
        let Ok(length) = self.buffer.as_ref().try_get_u32() else { return Ok(None) };
        if length < 8 {
            return Err(Violation::TooShort { tag: 0, length });
        }
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size > self.limit {
            return Err(Violation::TooLong { tag: 0, length, limit: self.limit });
        }
        if self.buffer.len() < size {
            return Ok(None);
        }
        let mut packet = self.buffer.split_to(size).freeze();
        packet.advance(4);
        Opening::decode(packet).map(Some)
    }
}

impl Opening {
    fn decode(packet: Bytes) -> Result<Self, Violation> {
        let mut r = Reader::new("startup", packet);
        match r.u32("the code is missing")? {
            SSL => r.finish().map(|()| Self::SslRequest),
            GSSENC => r.finish().map(|()| Self::GssEncRequest),
            CANCEL => {
                let pid = r.u32("the process id of a cancel request is cut")?;
                let key = r.rest();
                match key.len() {
                    4..=256 => Ok(Self::CancelRequest(KeyData { pid, key })),
                    _ => Err(r.malformed("a cancel key outside 4 to 256 bytes")),
                }
            }
            code => match u16::try_from(code >> 16) {
                Ok(3) => Startup::read(r, code & 0xffff).map(Self::Startup),
                _ => Err(Violation::Unsupported { what: "a protocol version other than 3" }),
            },
        }
    }
}

// === impl Startup ===

impl Startup {
    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn read(mut r: Reader, minor: u32) -> Result<Self, Violation> {
        let mut startup =
            Self { version: ProtocolVersion::V3_0, negotiate: None, parameters: Vec::new(), replication: false };
        let mut unknown = Vec::new();
        loop {
            let name = r.string("the list of parameters has no end")?;
            if name.is_empty() {
                break;
            }
            let value = r.string("the value of a parameter has no end")?;
            let twice = startup.parameters.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name));
            if twice || unknown.contains(&name) {
                return Err(r.malformed("a parameter is given twice"));
            }
            if name.starts_with("_pq_.") {
                unknown.push(name);
            } else if name.eq_ignore_ascii_case("replication") {
                startup.replication = true;
            } else {
                startup.parameters.push((name, value));
            }
        }
        r.finish()?;
        if minor >= 2 {
            startup.version = ProtocolVersion::V3_2;
        }
        // 3.1 was never released: whoever asks for it gets 3.0.
        if minor == 1 || minor > 2 || !unknown.is_empty() {
            startup.negotiate = Some(Negotiate { minor: startup.version.minor(), options: unknown });
        }
        Ok(startup)
    }
}

// === impl StartupMessage ===

impl StartupMessage {
    /// Appends the packet.
    ///
    /// # Errors
    /// An empty name, a NUL, a name given twice, or `replication` in any spelling; `out` is unchanged then.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), Violation> {
        let malformed = |what| Violation::Malformed { message: "startup", what };
        wire::body(out, "startup", |w| {
            w.u32(self.version.code());
            for (index, (name, value)) in self.parameters.iter().enumerate() {
                if name.is_empty() {
                    return Err(malformed("a parameter without a name"));
                }
                if name.eq_ignore_ascii_case("replication") {
                    return Err(Violation::Unsupported { what: "replication" });
                }
                if self.parameters.iter().take(index).any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                    return Err(malformed("a parameter is given twice"));
                }
                w.string(name)?;
                w.string(value)?;
            }
            w.u8(0);
            Ok(())
        })
    }
}

/// Appends an `SSLRequest`.
pub fn ssl_request(out: &mut BytesMut) {
    out.put_u32(8);
    out.put_u32(SSL);
}

/// Appends a `CancelRequest`, which is sent alone on a connection of its own.
///
/// # Errors
/// A key outside 4 to 256 bytes; `out` is unchanged then.
pub fn cancel_request(key: &KeyData, out: &mut BytesMut) -> Result<(), Violation> {
    if !(4..=256).contains(&key.key.len()) {
        return Err(Violation::Malformed { message: "CancelRequest", what: "a key outside 4 to 256 bytes" });
    }
    wire::body(out, "CancelRequest", |w| {
        w.u32(CANCEL);
        w.u32(key.pid);
        w.bytes(&key.key);
        Ok(())
    })
}
