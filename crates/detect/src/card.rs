//! Numbers of payment cards: 13 to 19 digits of a known issuer with the check digit of Luhn (ISO/IEC 7812-1, annex B),
//! bare or in groups of three to six with one blank or dash between them, the same everywhere.

use std::ops::RangeInclusive;

use crate::ends_word;

const SHORTEST: usize = 13;
const LONGEST: usize = 19;
/// Digits of one group.
const GROUP: RangeInclusive<usize> = 3..=6;

/// Where a card number that begins here ends: the longest there is.
pub(crate) fn at(text: &[u8], start: usize) -> Option<usize> {
    // The digits of a fraction are no number by themselves.
    if let Some(before) = start.checked_sub(2)
        && matches!(text.get(before..start), Some([b'0'..=b'9', b'.']))
    {
        return None;
    }
    let mut digits = [0; LONGEST];
    let (mut count, mut at, mut found) = (0_usize, start, None);
    let mut separator = None;
    loop {
        let group = count;
        while let Some(digit) = text.get(at).filter(|byte| byte.is_ascii_digit()) {
            // More digits than any card has.
            let Some(place) = digits.get_mut(count) else { return found };
            *place = digit.wrapping_sub(b'0');
            count = count.saturating_add(1);
            at = at.saturating_add(1);
        }
        let length = count.saturating_sub(group);
        if !ends_word(text, at) || (separator.is_some() && !GROUP.contains(&length)) {
            return found;
        }
        if digits.get(..count).is_some_and(is_card) {
            found = Some(at);
        }
        match (text.get(at), text.get(at.saturating_add(1))) {
            (Some(between @ (b' ' | b'-')), Some(b'0'..=b'9'))
                if separator.is_none_or(|known| known == *between) && GROUP.contains(&length) =>
            {
                separator = Some(*between);
                at = at.saturating_add(1);
            }
            _ => return found,
        }
    }
}

/// Whether these digits (0 to 9, not their characters) are those of a card.
pub fn is_card(digits: &[u8]) -> bool {
    (SHORTEST..=LONGEST).contains(&digits.len()) && is_issued(digits) && luhn(digits)
}

/// Whether some issuer's numbers begin so and are as long.
fn is_issued(digits: &[u8]) -> bool {
    let first = |count: usize| digits.iter().take(count).fold(0_u32, |sum, digit| sum * 10 + u32::from(*digit));
    let length = digits.len();
    match (first(1), first(2), first(3), first(4)) {
        // Visa
        (4, ..) => matches!(length, 13 | 16 | 19),
        // American Express
        (_, 34 | 37, ..) => length == 15,
        // Mastercard
        (_, 51..=55, ..) | (.., 2221..=2720) => length == 16,
        // Diners Club
        (_, 36 | 38 | 39, ..) | (_, _, 300..=305, _) => length == 14,
        // JCB, Discover, UnionPay
        (.., 3528..=3589 | 6011) | (_, _, 644..=649, _) | (_, 62 | 65, ..) => length >= 16,
        // Maestro
        (_, 50 | 56..=58 | 63 | 67, ..) => true,
        _ => false,
    }
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit @ 5..) => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}
