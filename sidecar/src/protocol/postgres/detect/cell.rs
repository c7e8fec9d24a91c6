//! One value of a result: where in its bytes something stands, and how it is covered there.
//!
//! Text is text. In binary form (`typsend` of PostgreSQL's types) texts stand as they are, in arrays and rows too; an
//! integer or a numeric is read as the number it is. Of other types the bytes are looked at, and what is found in them
//! has no cover: where their own structure lies is not known.

use std::ops::Range;

use detect::{Cover, Finding, Kind, Kinds};
use pgcodec::Format;

use super::Column;

const BYTEA: u32 = 17;
const INT8: u32 = 20;
const NUMERIC: u32 = 1700;
const JSONB: u32 = 3802;
/// `name`, `text`, `xml`, `bpchar` and `varchar`. What an agent gets in place of a text need not be a number.
const TEXTS: [u32; 5] = [19, 25, 142, 1042, 1043];
/// Arrays and rows within each other.
const DEEPEST: usize = 8;

/// Something found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) kind: Kind,
    range: Range<usize>,
    /// `None`: it cannot be covered.
    pub(super) how: Option<How>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Text(Cover),
    /// A number in binary form takes another value.
    Integer,
    Numeric,
}

impl Hit {
    /// In a text that may be that of a number.
    pub(super) fn number(kind: Kind, range: Range<usize>) -> Self {
        Self { kind, range, how: Some(How::Text(Cover::Number)) }
    }

    pub(super) fn cover(&self, value: &mut [u8]) {
        let Some(place) = value.get_mut(self.range.clone()) else { return };
        match self.how {
            Some(How::Text(how)) => detect::cover(place, how),
            Some(How::Integer) => place.copy_from_slice(&harmless_integer(place)),
            Some(How::Numeric) => {
                for (at, digits) in place.chunks_exact_mut(2).enumerate() {
                    digits.copy_from_slice(&u16::from(at == 0).to_be_bytes());
                }
            }
            None => {}
        }
    }
}

/// A power of ten below any card number of so many bytes.
fn harmless_integer(place: &[u8]) -> Vec<u8> {
    const TEN_TO_12: i64 = 1_000_000_000_000;
    TEN_TO_12.to_be_bytes().into_iter().take(place.len()).collect()
}

/// Tells `on` of each finding in this value.
pub(super) fn look(value: &[u8], column: Column, kinds: Kinds, on: &mut dyn FnMut(Hit)) {
    let texts = if TEXTS.contains(&column.type_oid) { Cover::Text } else { Cover::Number };
    let mut inside = Inside { kinds, on };
    match column.format {
        Format::Text => inside.text(value, 0, Some(How::Text(texts))),
        Format::Binary => inside.binary(value, column.type_oid, 0, DEEPEST),
    }
}

struct Inside<'a> {
    kinds: Kinds,
    on: &'a mut dyn FnMut(Hit),
}

impl Inside<'_> {
    /// `at`: where these bytes stand in the value.
    fn text(&mut self, bytes: &[u8], at: usize, how: Option<How>) {
        for Finding { kind, range } in detect::find(bytes, self.kinds) {
            let range = range.start.saturating_add(at)..range.end.saturating_add(at);
            (self.on)(Hit { kind, range, how });
        }
    }

    fn binary(&mut self, bytes: &[u8], type_oid: u32, at: usize, deeper: usize) {
        let as_text = Some(How::Text(if TEXTS.contains(&type_oid) { Cover::Text } else { Cover::Number }));
        match type_oid {
            INT8 => self.integer(bytes, at),
            NUMERIC => self.numeric(bytes, at),
            BYTEA => self.text(bytes, at, as_text),
            // A version, then text.
            JSONB => self.text(bytes.get(1..).unwrap_or_default(), at.saturating_add(1), as_text),
            _ if is_plain_text(bytes) => self.text(bytes, at, as_text),
            _ => match elements(bytes).or_else(|| fields(bytes)).filter(|_| deeper > 0) {
                Some(parts) => {
                    for Part { type_oid, range } in parts {
                        let part = bytes.get(range.clone()).unwrap_or_default();
                        self.binary(part, type_oid, at.saturating_add(range.start), deeper.saturating_sub(1));
                    }
                }
                None => self.text(bytes, at, None),
            },
        }
    }

    fn integer(&mut self, bytes: &[u8], at: usize) {
        let Ok(number) = bytes.try_into().map(i64::from_be_bytes) else { return };
        if self.kinds.contains(Kind::CardNumber) && is_card(u128::from(number.unsigned_abs())) {
            (self.on)(Hit {
                kind: Kind::CardNumber,
                range: at..at.saturating_add(bytes.len()),
                how: Some(How::Integer),
            });
        }
    }

    /// `ndigits`, `weight`, `sign`, `dscale`, then digits of base 10,000 (`numeric_send`).
    fn numeric(&mut self, bytes: &[u8], at: usize) {
        const HEAD: usize = 8;
        /// 20 decimal digits: more than any card has.
        const MOST: usize = 5;
        let word =
            |place: usize| bytes.get(place..).and_then(|rest| rest.first_chunk()).map(|two| u16::from_be_bytes(*two));
        let (Some(count), Some(weight)) = (word(0), word(2)) else { return };
        // Digits before the decimal point; trailing groups of zeros are not sent.
        let whole = usize::from(weight).saturating_add(1);
        if !self.kinds.contains(Kind::CardNumber) || count == 0 || whole > MOST {
            return;
        }
        let group =
            |index: usize| if index < usize::from(count) { word(HEAD.saturating_add(index * 2)) } else { Some(0) };
        let number = (0..whole).try_fold(0_u128, |sum, index| Some(sum * 10_000 + u128::from(group(index)?)));
        if number.is_some_and(is_card) {
            let start = at.saturating_add(HEAD);
            (self.on)(Hit {
                kind: Kind::CardNumber,
                range: start..at.saturating_add(bytes.len()),
                how: Some(How::Numeric),
            });
        }
    }
}

fn is_card(mut number: u128) -> bool {
    let mut digits = [0_u8; 20];
    let mut first = digits.len();
    while number > 0 {
        let Some(before) = first.checked_sub(1) else { return false };
        first = before;
        if let Some(place) = digits.get_mut(first) {
            *place = u8::try_from(number % 10).unwrap_or(0);
        }
        number /= 10;
    }
    digits.get(first..).is_some_and(detect::is_card)
}

/// Lengths and counts of binary forms hold bytes that no text does.
fn is_plain_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r'))
        && std::str::from_utf8(bytes).is_ok()
}

struct Part {
    type_oid: u32,
    range: Range<usize>,
}

/// Reads words of four bytes.
struct Words<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Words<'_> {
    fn next(&mut self) -> Option<u32> {
        let word = self.bytes.get(self.at..)?.first_chunk()?;
        self.at = self.at.checked_add(4)?;
        Some(u32::from_be_bytes(*word))
    }

    /// A length and so many bytes; -1 is NULL.
    fn value(&mut self) -> Option<Option<Range<usize>>> {
        let length = self.next()?;
        if length == u32::MAX {
            return Some(None);
        }
        let end = self.at.checked_add(usize::try_from(length).ok()?)?;
        self.bytes.get(self.at..end)?;
        let range = self.at..end;
        self.at = end;
        Some(Some(range))
    }
}

/// The elements of an array (`array_send`), if all of it is one.
fn elements(bytes: &[u8]) -> Option<Vec<Part>> {
    let mut words = Words { bytes, at: 0 };
    let (dimensions, nulls, type_oid) = (words.next()?, words.next()?, words.next()?);
    if dimensions > 6 || nulls > 1 {
        return None;
    }
    for _ in 0..dimensions {
        // Its length and its lower bound.
        words.next()?;
        words.next()?;
    }
    let mut parts = Vec::new();
    while words.at < bytes.len() {
        if let Some(range) = words.value()? {
            parts.push(Part { type_oid, range });
        }
    }
    Some(parts)
}

/// The columns of a row (`record_send`), if all of it is one.
fn fields(bytes: &[u8]) -> Option<Vec<Part>> {
    let mut words = Words { bytes, at: 0 };
    let mut parts = Vec::new();
    for _ in 0..words.next()? {
        let type_oid = words.next()?;
        if let Some(range) = words.value()? {
            parts.push(Part { type_oid, range });
        }
    }
    (words.at == bytes.len()).then_some(parts)
}
