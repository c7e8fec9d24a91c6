//! Cuts a byte stream into frames: tag, length, body.
//!
//! What is refused, before any byte of the body is read: a length below 4, a length above the limit of that tag, and a tag
//! that the sending side does not have. Invariant: at most one unfinished frame (bounded by its limit) and one read are
//! buffered, as long as [`Framer::next`] is asked until it answers `None` before more bytes are pushed.

use bytes::{Buf, Bytes, BytesMut};

use crate::{Limits, Violation};

const HEADER: usize = 5;
/// What one read may add to an unfinished frame.
const READ: usize = 64 * 1024;

/// One complete message, tag and length included, sharing the read buffer's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    tag: u8,
    bytes: Bytes,
}

impl Frame {
    /// The first byte.
    pub fn tag(&self) -> u8 {
        self.tag
    }

    /// What follows the length word. Shares memory, copies nothing.
    pub fn body(&self) -> Bytes {
        self.bytes.get(HEADER..).map(|body| self.bytes.slice_ref(body)).unwrap_or_default()
    }

    /// The whole frame as it was received.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Frontend,
    Backend,
}

/// Incremental framing of one direction of one connection.
#[derive(Debug)]
pub struct Framer {
    side: Side,
    message: usize,
    bulk: usize,
    password: usize,
    buffer: BytesMut,
}

impl Framer {
    /// For the bytes that an agent sends after its startup packet.
    pub fn frontend(limits: &Limits) -> Self {
        Self {
            side: Side::Frontend,
            message: limits.frontend_message,
            bulk: limits.bind_message,
            password: limits.password,
            buffer: BytesMut::new(),
        }
    }

    /// For the bytes that the upstream sends.
    pub fn backend(limits: &Limits) -> Self {
        Self {
            side: Side::Backend,
            message: limits.backend_message,
            bulk: limits.backend_row,
            password: limits.password,
            buffer: BytesMut::new(),
        }
    }

    /// Adds received bytes.
    ///
    /// # Errors
    /// [`Violation::Misuse`] when more is pushed than one unfinished frame and one read: [`Framer::next`] was not asked.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let most = self.message.max(self.bulk).saturating_add(HEADER).saturating_add(READ);
        if self.buffer.len().saturating_add(bytes.len()) > most {
            return Err(Violation::Misuse { what: "more bytes pushed than one frame and one read" });
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The buffer to read into without a copy, with room for the rest of the unfinished frame, at least 4 and at most 64 KiB.
    /// Only append to it, and only after [`Framer::next`] answered `None`.
    pub fn read_buffer(&mut self) -> &mut BytesMut {
        let missing = self.declared().map_or(0, |frame| frame.saturating_sub(self.buffer.len()));
        self.buffer.reserve(missing.clamp(4 * 1024, READ));
        &mut self.buffer
    }

    /// What was received and not handed out as a frame, by itself, for whoever reads on.
    pub fn into_rest(self) -> BytesMut {
        BytesMut::from(self.buffer.as_ref())
    }

    /// Bytes received and not yet handed out as a frame.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next complete frame, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// A length or tag that is refused. The framer stays at that frame: every later call answers the same.
    #[expect(clippy::should_implement_trait, reason = "it is fallible and asked again after `None`")]
    pub fn next(&mut self) -> Result<Option<Frame>, Violation> {
        let mut header = self.buffer.as_ref();
        let Ok(tag) = header.try_get_u8() else { return Ok(None) };
        let limit = self.limit(tag)?;
        let Ok(length) = header.try_get_u32() else { return Ok(None) };
        if length < 4 {
            return Err(Violation::TooShort { tag, length });
        }
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size > limit {
            return Err(Violation::TooLong { tag, length, limit });
        }
        let whole = size.saturating_add(1);
        if self.buffer.len() < whole {
            return Ok(None);
        }
        Ok(Some(Frame { tag, bytes: self.buffer.split_to(whole).freeze() }))
    }

    /// The size of the frame at the front, header included, when its header is complete.
    fn declared(&self) -> Option<usize> {
        let mut header = self.buffer.as_ref();
        let _ = header.try_get_u8().ok()?;
        usize::try_from(header.try_get_u32().ok()?).ok()?.checked_add(1)
    }

    fn limit(&self, tag: u8) -> Result<usize, Violation> {
        match (self.side, tag) {
            (Side::Frontend, b'p') => Ok(self.password),
            (Side::Frontend, b'B') | (Side::Backend, b'D' | b'd') => Ok(self.bulk),
            (Side::Frontend, b'F') => Err(Violation::Unsupported { what: "FunctionCall" }),
            (Side::Frontend, b'Q' | b'P' | b'E' | b'D' | b'C' | b'S' | b'H' | b'X' | b'd' | b'c' | b'f') => {
                Ok(self.message)
            }
            (Side::Backend, b'V') => Err(Violation::Unsupported { what: "FunctionCallResponse" }),
            (Side::Backend, b'W') => Err(Violation::Unsupported { what: "CopyBothResponse" }),
            (
                Side::Backend,
                b'R' | b'K' | b'v' | b'S' | b'Z' | b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'C' | b'T' | b't' | b'G'
                | b'H' | b'c' | b'E' | b'N' | b'A',
            ) => Ok(self.message),
            (Side::Frontend | Side::Backend, tag) => Err(Violation::UnknownTag { tag }),
        }
    }
}
