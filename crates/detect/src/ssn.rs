//! Social security numbers of the United States, written `AAA-GG-SSSS` or with blanks. Those that were never given out are
//! left out: area 000, 666 and from 900, group 00, serial 0000 (SSA, POMS RM 10201.035). Nine digits without separators
//! are too common to be one.

use crate::ends_word;

const LENGTH: usize = 11;

pub(crate) fn at(text: &[u8], start: usize) -> Option<usize> {
    let end = start.checked_add(LENGTH)?;
    let [a1, a2, a3, first, g1, g2, second, s1, s2, s3, s4] =
        text.get(start..end)?.try_into().ok().map(|all: [u8; LENGTH]| all)?;
    let (area, group, serial) = ([a1, a2, a3], [g1, g2], [s1, s2, s3, s4]);
    let digits = area.iter().chain(&group).chain(&serial).all(u8::is_ascii_digit);
    let given = area != *b"000" && area != *b"666" && a1 != b'9' && group != *b"00" && serial != *b"0000";
    let separated = first == second && matches!(first, b'-' | b' ');
    // A part of a longer row of groups is something else.
    let alone = !(follows(text, start, first) || continues(text, end, first));
    (digits && given && separated && alone && ends_word(text, end)).then_some(end)
}

fn follows(text: &[u8], start: usize, separator: u8) -> bool {
    let before = start.checked_sub(2).and_then(|before| text.get(before..start));
    matches!(before, Some([digit, between]) if digit.is_ascii_digit() && *between == separator)
}

fn continues(text: &[u8], end: usize, separator: u8) -> bool {
    let behind = text.get(end..).and_then(|behind| behind.first_chunk::<2>());
    matches!(behind, Some([between, digit]) if digit.is_ascii_digit() && *between == separator)
}
