//! The fields of `ErrorResponse` and `NoticeResponse` (protocol documentation, "Error and Notice Message Fields").

use crate::reader::Reader;
use crate::{Violation, wire};

/// Fields in their order on the wire. They may carry data of the database: they are scrubbed before they go anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorFields {
    fields: Vec<(u8, String)>,
}

impl ErrorFields {
    /// A report of our own with the severity in both its fields, such as `ERROR`, `FATAL` or `NOTICE`.
    pub fn new(severity: &str, sqlstate: &str, message: &str) -> Self {
        Self::default().with(b'S', severity).with(b'V', severity).with(b'C', sqlstate).with(b'M', message)
    }

    /// Sets a field: in its place when it is there, else at the end. Kind 0 is the end of the message and is ignored.
    #[must_use]
    pub fn with(mut self, kind: u8, text: impl Into<String>) -> Self {
        match self.fields.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, value)) => *value = text.into(),
            None if kind != 0 => self.fields.push((kind, text.into())),
            None => {}
        }
        self
    }

    /// Drops a field.
    #[must_use]
    pub fn without(mut self, kind: u8) -> Self {
        self.fields.retain(|(known, _)| *known != kind);
        self
    }

    /// The first field of that kind.
    pub fn get(&self, kind: u8) -> Option<&str> {
        self.fields.iter().find(|(known, _)| *known == kind).map(|(_, text)| text.as_str())
    }

    /// Every field with its kind, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &str)> {
        self.fields.iter().map(|(kind, text)| (*kind, text.as_str()))
    }

    /// The severity that is never translated (`V`), else the localised one (`S`).
    pub fn severity(&self) -> &str {
        self.get(b'V').or_else(|| self.get(b'S')).unwrap_or_default()
    }

    /// The upstream ends the connection after this.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity(), "FATAL" | "PANIC")
    }

    /// SQLSTATE, five characters.
    pub fn code(&self) -> &str {
        self.get(b'C').unwrap_or_default()
    }

    pub fn message(&self) -> &str {
        self.get(b'M').unwrap_or_default()
    }

    pub fn detail(&self) -> Option<&str> {
        self.get(b'D')
    }

    pub fn hint(&self) -> Option<&str> {
        self.get(b'H')
    }

    pub(super) fn read(r: &mut Reader) -> Result<Self, Violation> {
        let mut fields = Vec::new();
        loop {
            match r.u8("the list of fields has no end")? {
                0 => return Ok(Self { fields }),
                kind => fields.push((kind, r.string("a field has no end")?)),
            }
        }
    }

    pub(super) fn write(&self, w: &mut wire::Writer<'_>) -> Result<(), Violation> {
        for (kind, text) in &self.fields {
            w.u8(*kind);
            w.string(text)?;
        }
        w.u8(0);
        Ok(())
    }
}
