//! A forward-only reader over the body of exactly one message.
//!
//! Invariant: it never reads past the body, and [`Reader::finish`] refuses a body that was not consumed to the last byte.

use bytes::{Buf, Bytes};

use crate::Violation;

#[derive(Debug)]
pub(crate) struct Reader {
    message: &'static str,
    body: Bytes,
}

impl Reader {
    pub(crate) fn new(message: &'static str, body: Bytes) -> Self {
        Self { message, body }
    }

    pub(crate) fn malformed(&self, what: &'static str) -> Violation {
        Violation::Malformed { message: self.message, what }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Violation> {
        self.body.try_get_u8().map_err(|_| self.malformed(what))
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, Violation> {
        self.body.try_get_u16().map_err(|_| self.malformed(what))
    }

    pub(crate) fn i16(&mut self, what: &'static str) -> Result<i16, Violation> {
        self.body.try_get_i16().map_err(|_| self.malformed(what))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Violation> {
        self.body.try_get_u32().map_err(|_| self.malformed(what))
    }

    pub(crate) fn i32(&mut self, what: &'static str) -> Result<i32, Violation> {
        self.body.try_get_i32().map_err(|_| self.malformed(what))
    }

    /// Exactly `length` bytes, sharing the frame's memory.
    pub(crate) fn bytes(&mut self, length: usize, what: &'static str) -> Result<Bytes, Violation> {
        if length > self.body.len() {
            return Err(self.malformed(what));
        }
        Ok(self.body.split_to(length))
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> Bytes {
        self.body.split_to(self.body.len())
    }

    /// A string up to its NUL, which must lie inside the message.
    pub(crate) fn string(&mut self, what: &'static str) -> Result<String, Violation> {
        let Some(length) = self.body.iter().position(|byte| *byte == 0) else {
            return Err(self.malformed(what));
        };
        let text = self.body.split_to(length);
        self.body.advance(1);
        match std::str::from_utf8(&text) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Violation::NotUtf8 { message: self.message, what }),
        }
    }

    /// A 16-bit count, refused before anything is allocated when that many items of at least `least` bytes cannot fit.
    pub(crate) fn count(&mut self, least: usize, what: &'static str) -> Result<usize, Violation> {
        let count = usize::from(self.u16(what)?);
        if count.saturating_mul(least) > self.body.len() {
            return Err(self.malformed(what));
        }
        Ok(count)
    }

    /// A value with a signed 32-bit length; -1 is NULL, every other negative length is refused.
    pub(crate) fn value(&mut self, what: &'static str) -> Result<Option<Bytes>, Violation> {
        let length = self.i32(what)?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| self.malformed(what))?;
        self.bytes(length, what).map(Some)
    }

    /// Refuses bytes behind the last field.
    pub(crate) fn finish(self) -> Result<(), Violation> {
        match self.body.is_empty() {
            true => Ok(()),
            false => Err(self.malformed("bytes behind the last field")),
        }
    }
}
