//! Writing: one message into a buffer, with its length filled in behind it.
//!
//! What is refused: text that contains a NUL (it would end early at the receiver) and anything whose length does not fit.
//! On an error the buffer is as it was before.

use bytes::{BufMut, Bytes, BytesMut};

use crate::Violation;

/// Writes one tagged message; `fill` writes its body.
pub(crate) fn message(
    out: &mut BytesMut,
    tag: u8,
    name: &'static str,
    fill: impl FnOnce(&mut Writer<'_>) -> Result<(), Violation>,
) -> Result<(), Violation> {
    let start = out.len();
    out.put_u8(tag);
    let done = body(out, name, fill);
    if done.is_err() {
        out.truncate(start);
    }
    done
}

/// Writes one message without a tag: the packets that open a connection.
pub(crate) fn body(
    out: &mut BytesMut,
    name: &'static str,
    fill: impl FnOnce(&mut Writer<'_>) -> Result<(), Violation>,
) -> Result<(), Violation> {
    let start = out.len();
    out.put_u32(0);
    let done = fill(&mut Writer { name, out }).and_then(|()| patch(out, start, name));
    if done.is_err() {
        out.truncate(start);
    }
    done
}

fn patch(out: &mut BytesMut, start: usize, name: &'static str) -> Result<(), Violation> {
    let length = i32::try_from(out.len().saturating_sub(start)).map_err(|_| too_large(name))?;
    match out.get_mut(start..start.saturating_add(4)) {
        Some(word) => word.copy_from_slice(&length.to_be_bytes()),
        None => return Err(too_large(name)),
    }
    Ok(())
}

fn too_large(message: &'static str) -> Violation {
    Violation::Malformed { message, what: "a length does not fit its field" }
}

/// The body of one message under construction.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    name: &'static str,
    out: &'a mut BytesMut,
}

impl Writer<'_> {
    pub(crate) fn u8(&mut self, value: u8) {
        self.out.put_u8(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.out.put_u16(value);
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.out.put_u32(value);
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.out.put_slice(value);
    }

    pub(crate) fn string(&mut self, value: &str) -> Result<(), Violation> {
        if value.as_bytes().contains(&0) {
            return Err(Violation::Malformed { message: self.name, what: "a NUL inside a text" });
        }
        self.out.put_slice(value.as_bytes());
        self.out.put_u8(0);
        Ok(())
    }

    pub(crate) fn count(&mut self, count: usize) -> Result<(), Violation> {
        self.out.put_u16(u16::try_from(count).map_err(|_| too_large(self.name))?);
        Ok(())
    }

    pub(crate) fn length(&mut self, length: usize) -> Result<(), Violation> {
        self.out.put_i32(i32::try_from(length).map_err(|_| too_large(self.name))?);
        Ok(())
    }

    pub(crate) fn value(&mut self, value: Option<&Bytes>) -> Result<(), Violation> {
        match value {
            None => self.out.put_i32(-1),
            Some(bytes) => {
                self.length(bytes.len())?;
                self.out.put_slice(bytes);
            }
        }
        Ok(())
    }
}
