//! The last net: values that say by themselves what they are, in whatever column they stand. Masks work by name and in
//! the statement; this looks at what comes back.
//!
//! Invariants: what is covered keeps its length, so that no message, array or row loses its shape; what was found and
//! cannot be covered ends the session instead of passing. A net permits nothing and refuses nothing by itself.

mod cell;

use bytes::{Bytes, BytesMut};
use detect::{Finding, KINDS, Kind, Kinds};
use pgcodec::Format;
use pgcodec::backend::{DataRow, ErrorFields, RowDescription};
use policy::{OnDetected, Sensitive, View};
use recording::entry::Found;

use self::cell::{Hit, look};

/// What is known of one column of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub type_oid: u32,
    pub format: Format,
}

/// A value was found in a form that cannot be written over without breaking it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} in a value of type {type_oid} in binary form, which cannot be covered")]
pub struct Uncoverable {
    pub kind: &'static str,
    pub type_oid: u32,
}

/// What all detectors of a view look for together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Net {
    find: Kinds,
    /// Of them, what is covered.
    redact: Kinds,
}

/// How often each kind was found, by its place in [`KINDS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    reported: [u64; KINDS.len()],
    redacted: [u64; KINDS.len()],
}

/// The columns of a result.
pub fn columns(row: &RowDescription) -> Vec<Column> {
    row.fields.iter().map(|field| Column { type_oid: field.type_oid, format: field.format }).collect()
}

// === impl Net ===

impl Net {
    /// `None` where nobody looks for anything.
    pub fn of(view: &View) -> Option<Self> {
        let mut net = Self::default();
        for detector in view.detectors() {
            for kind in detector.find.iter().map(|sensitive| kind(*sensitive)) {
                net.find.insert(kind);
                if detector.action == OnDetected::Redact {
                    net.redact.insert(kind);
                }
            }
        }
        (!net.find.is_empty()).then_some(net)
    }

    /// A row with its columns, which may be fewer than it has values: what is not described is looked at as text.
    pub fn row(self, row: &mut DataRow, columns: &[Column], seen: &mut Seen) -> Result<(), Uncoverable> {
        let mut hits: Vec<(usize, Hit)> = Vec::new();
        for (index, value) in row.values().enumerate() {
            let Some(value) = value else { continue };
            let column = columns.get(index).copied().unwrap_or(Column { type_oid: 0, format: Format::Text });
            look(value, column, self.find, &mut |hit: Hit| {
                let redact = seen.count(hit.kind, self.redact);
                if redact {
                    hits.push((index, hit));
                }
            });
        }
        if hits.is_empty() {
            return Ok(());
        }
        for (index, hit) in &hits {
            if hit.how.is_none() {
                let type_oid = columns.get(*index).map_or(0, |column| column.type_oid);
                return Err(Uncoverable { kind: hit.kind.word(), type_oid });
            }
        }
        row.change(|index, value| hits.iter().filter(|(of, _)| *of == index).for_each(|(_, hit)| hit.cover(value)));
        Ok(())
    }

    /// A piece of COPY in text or CSV.
    pub fn line(self, line: &mut Bytes, seen: &mut Seen) {
        let hits = self.text(line, seen);
        if !hits.is_empty() {
            let mut covered = BytesMut::from(&**line);
            hits.iter().for_each(|hit| hit.cover(&mut covered));
            *line = covered.freeze();
        }
    }

    /// The target's words.
    pub fn words(self, mut words: ErrorFields, seen: &mut Seen) -> ErrorFields {
        let covered: Vec<(u8, String)> =
            words.iter().filter_map(|(field, text)| Some((field, self.sentence(text, seen)?))).collect();
        for (field, text) in covered {
            words = words.with(field, text);
        }
        words
    }

    /// A text with something to cover in it, covered.
    pub fn sentence(self, text: &str, seen: &mut Seen) -> Option<String> {
        let hits = self.text(text.as_bytes(), seen);
        if hits.is_empty() {
            return None;
        }
        let mut covered = text.as_bytes().to_vec();
        hits.iter().for_each(|hit| hit.cover(&mut covered));
        Some(String::from_utf8_lossy(&covered).into_owned())
    }

    fn text(self, text: &[u8], seen: &mut Seen) -> Vec<Hit> {
        let found = detect::find(text, self.find).map(|Finding { kind, range }| Hit::number(kind, range));
        found.filter(|hit| seen.count(hit.kind, self.redact)).collect()
    }
}

// === impl Seen ===

impl Seen {
    /// One more; whether it is to be covered.
    fn count(&mut self, kind: Kind, redact: Kinds) -> bool {
        let redacts = redact.contains(kind);
        let counts = if redacts { &mut self.redacted } else { &mut self.reported };
        let places = KINDS.iter().zip(counts).filter(|(known, _)| **known == kind);
        places.for_each(|(_, count)| *count = count.saturating_add(1));
        redacts
    }

    /// Those of the other, too.
    pub fn add(&mut self, other: &Self) {
        for (mine, more) in [(&mut self.reported, &other.reported), (&mut self.redacted, &other.redacted)] {
            mine.iter_mut().zip(more).for_each(|(mine, more)| *mine = mine.saturating_add(*more));
        }
    }

    /// What there was, in order.
    pub fn found(&self) -> Vec<Found> {
        let each = |counts: [u64; KINDS.len()], redacted| {
            let found = move |(kind, values): (Kind, u64)| Found { kind: kind.word().to_owned(), values, redacted };
            KINDS.into_iter().zip(counts).filter(|(_, count)| *count > 0).map(found)
        };
        each(self.redacted, true).chain(each(self.reported, false)).collect()
    }
}

fn kind(sensitive: Sensitive) -> Kind {
    match sensitive {
        Sensitive::CardNumber => Kind::CardNumber,
        Sensitive::SocialSecurityNumber => Kind::SocialSecurityNumber,
        Sensitive::EmailAddress => Kind::EmailAddress,
        Sensitive::AccessToken => Kind::AccessToken,
    }
}

#[cfg(test)]
mod tests;
