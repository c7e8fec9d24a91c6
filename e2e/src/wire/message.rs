//! One message from the server side, and the little that tests read from it.

use std::fmt;

use anyhow::{Result, bail};
use bytes::{Buf, Bytes, BytesMut};

/// Tag and body, undecoded.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub tag: u8,
    pub body: Bytes,
}

/// The fields of an ErrorResponse or NoticeResponse that tests look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    pub severity: String,
    pub sqlstate: String,
    pub message: String,
    pub detail: String,
    pub hint: String,
    /// Each field as it came, for tests that look for what must not be there.
    pub fields: Vec<(char, String)>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity, self.sqlstate, self.message)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", char::from(self.tag), self.body.escape_ascii())
    }
}

// === impl Message ===

impl Message {
    /// Takes one whole message off the front.
    pub(super) fn take(inbox: &mut BytesMut, most: usize) -> Result<Option<Self>> {
        let Some(([tag], [a, b, c, d])) = inbox.first_chunk::<5>().map(|[tag, rest @ ..]| ([*tag], *rest)) else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d]))?;
        if length < 4 || length > most {
            bail!("message `{}` says that it has {length} bytes", char::from(tag));
        }
        if inbox.len() <= length {
            return Ok(None);
        }
        let mut whole = inbox.split_to(length + 1).freeze();
        whole.advance(5);
        Ok(Some(Self { tag, body: whole }))
    }

    /// The first four bytes of the body.
    pub fn word(&self) -> Option<i32> {
        self.body.first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
    }

    /// The NUL-terminated texts that the body consists of.
    pub fn texts(&self) -> impl Iterator<Item = String> + '_ {
        self.body.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned())
    }

    /// The error, when this is an ErrorResponse.
    pub fn fault(&self) -> Option<Fault> {
        (self.tag == b'E').then(|| Fault::read(&self.body))
    }

    /// The notice, when this is a NoticeResponse.
    pub fn notice(&self) -> Option<Fault> {
        (self.tag == b'N').then(|| Fault::read(&self.body))
    }

    /// The values, when this is a DataRow; `None` is NULL.
    pub fn values(&self) -> Option<Vec<Option<Bytes>>> {
        if self.tag != b'D' {
            return None;
        }
        let mut body = self.body.clone();
        let count = body.try_get_u16().ok()?;
        (0..count)
            .map(|_| match body.try_get_i32().ok()? {
                -1 => Some(None),
                length => {
                    let length = usize::try_from(length).ok()?;
                    (body.len() >= length).then(|| Some(body.split_to(length)))
                }
            })
            .collect()
    }

    /// The column names, when this is a RowDescription.
    pub fn columns(&self) -> Option<Vec<String>> {
        if self.tag != b'T' {
            return None;
        }
        let mut body = self.body.clone();
        let count = body.try_get_u16().ok()?;
        (0..count)
            .map(|_| {
                let end = body.iter().position(|byte| *byte == 0)?;
                let name = String::from_utf8_lossy(&body.split_to(end)).into_owned();
                // NUL, table, column, type, size, modifier, format
                (body.len() >= 19).then(|| body.advance(19))?;
                Some(name)
            })
            .collect()
    }
}

// === impl Fault ===

impl Fault {
    fn read(body: &[u8]) -> Self {
        let mut fault = Self::default();
        for field in body.split(|byte| *byte == 0) {
            let Some((code, text)) = field.split_first() else { continue };
            let text = String::from_utf8_lossy(text).into_owned();
            let place = match code {
                b'S' => Some(&mut fault.severity),
                b'C' => Some(&mut fault.sqlstate),
                b'M' => Some(&mut fault.message),
                b'D' => Some(&mut fault.detail),
                b'H' => Some(&mut fault.hint),
                _ => None,
            };
            if let Some(place) = place {
                place.clone_from(&text);
            }
            fault.fields.push((char::from(*code), text));
        }
        fault
    }
}
