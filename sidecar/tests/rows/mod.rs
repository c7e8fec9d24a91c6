//! What the fuzz target `mask_rows` checks, for any bytes. The corpus is replayed through the same functions on the stable
//! compiler. `cell` is the sidecar's own file: what it reads a value with, without all that a sidecar needs.
#![expect(clippy::expect_used, reason = "a check fails by panicking")]

#[expect(dead_code, reason = "the sidecar uses the rest")]
#[path = "../../src/protocol/postgres/detect/cell.rs"]
mod cell;

use bytes::BytesMut;
use cell::{Hit, How, look};
use detect::{Cover, Finding, KINDS, Kinds};
use pgcodec::backend::DataRow;
use pgcodec::{Backend, Format, Framer, Limits};

/// As the sidecar's own.
#[derive(Clone, Copy, Debug)]
struct Column {
    type_oid: u32,
    format: Format,
}

/// `bytea`, `bigint`, `text`, `json`, `point`, `text[]`, `bigint[]`, `varchar`, `record`, `numeric`, `jsonb`, a user's.
const TYPES: [u32; 12] = [17, 20, 25, 114, 600, 1009, 1016, 1043, 2249, 1700, 3802, 50_000];

/// The first byte says what is looked for; then each column is a type, a length and so many bytes, or NULL.
pub(crate) fn mask_rows(data: &[u8]) {
    let Some((&find, mut rest)) = data.split_first() else { return };
    let kinds: Kinds = (0..).zip(KINDS).filter(|(nth, _)| find >> nth & 1 == 1).map(|(_, kind)| kind).collect();
    text(rest, kinds);
    let (mut columns, mut values) = (Vec::new(), Vec::new());
    while let [what, length, after @ ..] = rest {
        let type_oid = TYPES.get(usize::from(*what >> 1) % TYPES.len()).copied().unwrap_or(0);
        let format = if what & 1 == 1 { Format::Binary } else { Format::Text };
        columns.push(Column { type_oid, format });
        let (value, behind) = after.split_at(usize::from(*length).min(after.len()));
        values.push((*length < u8::MAX).then_some(value));
        rest = behind;
    }
    row(&columns, &values, kinds);
}

/// Any text by itself: nothing is found that is not in it, and what was covered is not found again. What was beside a
/// finding may be one then, if it stood in its shade.
fn text(text: &[u8], kinds: Kinds) {
    for how in [Cover::Text, Cover::Number] {
        let (mut covered, mut done) = (text.to_vec(), vec![false; text.len()]);
        loop {
            let found: Vec<Finding> = detect::find(&covered, kinds).collect();
            if found.is_empty() {
                break;
            }
            for Finding { kind, range } in found {
                assert!(kinds.contains(kind) && !range.is_empty());
                detect::cover(covered.get_mut(range.clone()).expect("what is found is in the text"), how);
                let again = done.get_mut(range).expect("what is found is in the text");
                assert!(
                    again.contains(&false),
                    "what was covered is found again: {}",
                    String::from_utf8_lossy(&covered)
                );
                again.fill(true);
            }
        }
        same_form(text, &covered);
    }
}

/// As long, a text if it was one, and with as many lines.
fn same_form(before: &[u8], after: &[u8]) {
    assert_eq!(before.len(), after.len());
    assert!(std::str::from_utf8(before).is_err() || std::str::from_utf8(after).is_ok(), "torn characters");
    let lines = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
    assert!(lines(before) == lines(after));
}

fn row(columns: &[Column], values: &[Option<&[u8]>], kinds: Kinds) {
    let Ok(mut row) = DataRow::new(values.iter().copied()) else { return };
    let bytes: usize = values.iter().flatten().map(|value| value.len()).sum();
    // Each time something is covered that was not before, of six bytes or more.
    let mut left = bytes / 6 + 2;
    loop {
        let hits = hits(&row, columns, kinds);
        if hits.is_empty() {
            break;
        }
        left = left.checked_sub(1).expect("what was covered is found again");
        assert!(hits.len() <= bytes);
        // The session ends.
        if hits.iter().any(|(_, hit)| hit.how.is_none()) {
            return;
        }
        row.change(|index, value| hits.iter().filter(|(of, _)| *of == index).for_each(|(_, hit)| hit.cover(value)));
    }
    assert_eq!(row.values().count(), values.len());
    for ((after, before), column) in row.values().zip(values).zip(columns) {
        assert_eq!(after.map(<[u8]>::len), before.map(<[u8]>::len));
        if let (Some(after), Some(before), Format::Text) = (after, before, column.format) {
            same_form(before, after);
        }
    }
    let mut out = BytesMut::new();
    Backend::DataRow(row.clone()).encode(&mut out).expect("a row is written");
    let mut framer = Framer::backend(&Limits::default());
    framer.push(&out).expect("a whole message");
    let frame = framer.next().expect("a good frame").expect("a whole frame");
    assert_eq!(Backend::decode(&frame), Ok(Backend::DataRow(row)));
}

/// As `Net::row` does.
fn hits(row: &DataRow, columns: &[Column], kinds: Kinds) -> Vec<(usize, Hit)> {
    let mut hits = Vec::new();
    for ((index, value), column) in row.values().enumerate().zip(columns) {
        look(value.unwrap_or_default(), *column, kinds, &mut |hit| {
            assert!(
                kinds.contains(hit.kind)
                    && !matches!((column.format, hit.how), (Format::Text, None | Some(How::Integer)))
            );
            hits.push((index, hit));
        });
    }
    hits
}
