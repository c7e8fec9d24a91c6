//! Rows and their description, and what opens a COPY.

use bytes::{Buf, Bytes, BytesMut};

use crate::reader::Reader;
use crate::{Format, Frame, Violation, wire};

/// One column of a result, as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    /// The table that the column is read from, 0 when it is an expression.
    pub table: u32,
    /// The column's number in that table, 0 when it is an expression.
    pub column: i16,
    pub type_oid: u32,
    /// Bytes, negative for variable width.
    pub type_len: i16,
    pub type_mod: i32,
    /// Always text in the answer to a Describe of a statement: the formats are not known there.
    pub format: Format,
}

/// `T`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowDescription {
    pub fields: Vec<Field>,
}

impl RowDescription {
    pub(super) fn read(r: &mut Reader) -> Result<Self, Violation> {
        // 18 fixed bytes and at least the NUL of the name.
        let count = r.count(19, "more columns than bytes")?;
        let fields = (0..count).map(|_| Field::read(r)).collect::<Result<_, _>>()?;
        Ok(Self { fields })
    }

    pub(super) fn encode(&self, out: &mut BytesMut) -> Result<(), Violation> {
        wire::message(out, b'T', "RowDescription", |w| {
            w.count(self.fields.len())?;
            self.fields.iter().try_for_each(|field| field.write(w))
        })
    }
}

impl Field {
    fn read(r: &mut Reader) -> Result<Self, Violation> {
        Ok(Self {
            name: r.string("a column name has no end")?,
            table: r.u32("a column is cut")?,
            column: r.i16("a column is cut")?,
            type_oid: r.u32("a column is cut")?,
            type_len: r.i16("a column is cut")?,
            type_mod: r.i32("a column is cut")?,
            format: Format::read(r)?,
        })
    }

    fn write(&self, w: &mut wire::Writer<'_>) -> Result<(), Violation> {
        w.string(&self.name)?;
        w.u32(self.table);
        w.i16(self.column);
        w.u32(self.type_oid);
        w.i16(self.type_len);
        w.i32(self.type_mod);
        w.u16(self.format.code());
        Ok(())
    }
}

/// `D`: one row. Its frame was checked to the last byte, shares the read buffer's memory and is forwarded as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataRow {
    // Invariant: a whole `D` frame whose `count` values end exactly at its end; they start at byte 7.
    frame: Bytes,
    count: u16,
}

/// Tag, length and count.
const VALUES: usize = 7;

impl DataRow {
    /// Walks the frame without sharing each value: this runs for every row of every result.
    pub(super) fn from_frame(frame: &Frame) -> Result<Self, Violation> {
        let malformed = |what| Violation::Malformed { message: "DataRow", what };
        let cut = || malformed("a column is cut");
        let body = frame.bytes().get(VALUES - 2..).unwrap_or_default();
        let (count, mut rest) = body.split_first_chunk().ok_or_else(cut)?;
        let count = u16::from_be_bytes(*count);
        for _ in 0..count {
            let (length, behind) = rest.split_first_chunk().ok_or_else(cut)?;
            rest = match i32::from_be_bytes(*length) {
                -1 => behind,
                length => usize::try_from(length).ok().and_then(|length| behind.get(length..)).ok_or_else(cut)?,
            };
        }
        match rest.is_empty() {
            true => Ok(Self { frame: frame.bytes().clone(), count }),
            false => Err(malformed("bytes behind the last field")),
        }
    }

    /// A row of our own; `None` is NULL.
    ///
    /// # Errors
    /// More than 65,535 columns or a value above 2 GiB.
    pub fn new<'a>(values: impl ExactSizeIterator<Item = Option<&'a [u8]>>) -> Result<Self, Violation> {
        let mut out = BytesMut::new();
        let count = values.len();
        wire::message(&mut out, b'D', "DataRow", |w| {
            w.count(count)?;
            for value in values {
                match value {
                    None => w.i32(-1),
                    Some(bytes) => {
                        w.length(bytes.len())?;
                        w.bytes(bytes);
                    }
                }
            }
            Ok(())
        })?;
        let count =
            u16::try_from(count).map_err(|_| Violation::Malformed { message: "DataRow", what: "too many columns" })?;
        Ok(Self { frame: out.freeze(), count })
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// No columns at all, as in `SELECT FROM t`.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The whole frame, tag and length included, ready to be sent.
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// Whether each value is there, in order: `false` is NULL. It copies and shares nothing.
    pub fn present(&self) -> impl Iterator<Item = bool> + '_ {
        self.values().map(|value| value.is_some())
    }

    /// The values in order; `None` is NULL. It copies and shares nothing.
    pub fn values(&self) -> impl Iterator<Item = Option<&[u8]>> + '_ {
        let mut rest = self.frame.get(VALUES..).unwrap_or_default();
        (0..self.count).map(move |_| {
            // The frame was checked when it was decoded.
            let (length, behind) = rest.split_first_chunk().unwrap_or((&[0xff; 4], &[]));
            let length = usize::try_from(i32::from_be_bytes(*length)).ok();
            let (value, behind) = behind.split_at_checked(length.unwrap_or(0)).unwrap_or((&[], &[]));
            rest = behind;
            length.map(|_| value)
        })
    }

    /// Lets `edit` write over each value with as many bytes; NULL stays NULL. Its argument is the place of the value, from 0.
    pub fn change(&mut self, mut edit: impl FnMut(usize, &mut [u8])) {
        let mut frame = BytesMut::from(std::mem::take(&mut self.frame));
        let mut rest = frame.get_mut(VALUES..).unwrap_or_default();
        for index in 0..usize::from(self.count) {
            let Some((length, behind)) = rest.split_first_chunk_mut() else { break };
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                rest = behind;
                continue;
            };
            let Some((value, behind)) = behind.split_at_mut_checked(length) else { break };
            edit(index, value);
            rest = behind;
        }
        self.frame = frame.freeze();
    }

    /// The values in order, sharing the frame's memory; `None` is NULL.
    pub fn columns(&self) -> Columns {
        let mut rest = self.frame.clone();
        rest.advance(VALUES.min(rest.len()));
        Columns { rest, left: self.count }
    }
}

/// Iterator over the values of one row.
#[derive(Debug, Clone)]
pub struct Columns {
    rest: Bytes,
    left: u16,
}

impl Iterator for Columns {
    type Item = Option<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        // The frame was checked when it was decoded: a negative length is NULL, any other lies inside.
        match usize::try_from(self.rest.try_get_i32().unwrap_or(-1)) {
            Err(_) => Some(None),
            Ok(length) => Some(Some(self.rest.split_to(length.min(self.rest.len())))),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Columns {}

/// `G` and `H`: a COPY begins. Carries neither names nor types of columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyResponse {
    pub format: Format,
    /// One for each column; all text when the whole is text.
    pub columns: Vec<Format>,
}

impl CopyResponse {
    pub(super) fn read(r: &mut Reader) -> Result<Self, Violation> {
        let format = match r.u8("the format is missing")? {
            0 => Format::Text,
            1 => Format::Binary,
            _ => return Err(r.malformed("a format other than 0 and 1")),
        };
        Ok(Self { format, columns: Format::read_all(r)? })
    }

    pub(super) fn write(&self, w: &mut wire::Writer<'_>) -> Result<(), Violation> {
        w.u8(match self.format {
            Format::Text => 0,
            Format::Binary => 1,
        });
        Format::write_all(&self.columns, w)
    }
}
