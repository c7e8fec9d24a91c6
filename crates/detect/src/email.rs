//! E-mail addresses as people have them: a dot-atom of the usual characters, `@`, and a domain with a dot (RFC 5322, 3.4.1,
//! without quoted local parts, comments, address literals and the characters that JSON, arrays and rows are written with).

use std::ops::Range;

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'' | 0x80..)
}

/// The address whose `@` stands here, not before `floor`.
pub(crate) fn around(text: &[u8], at: usize, floor: usize) -> Option<Range<usize>> {
    let before = text.get(floor..at)?;
    let local = before.iter().rev().take_while(|byte| is_local(**byte)).count();
    // Quotes around it are not its own.
    let quotes = before.iter().skip(before.len().saturating_sub(local)).take_while(|byte| **byte == b'\'').count();
    let start = at.saturating_sub(local.saturating_sub(quotes));
    let behind = at.saturating_add(1);
    let domain = text.get(behind..)?;
    let length =
        domain.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | 0x80..)).count();
    let domain = domain.get(..length)?;
    // A full stop or a dash behind it is the sentence's.
    let trimmed = domain.iter().rev().take_while(|byte| matches!(byte, b'.' | b'-')).count();
    let domain = domain.get(..length.saturating_sub(trimmed))?;
    let last = domain.rsplit(|byte| *byte == b'.').next()?;
    let dotted = last.len() < domain.len() && !domain.starts_with(b".");
    let is_name = last.len() >= 2 && last.iter().any(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80);
    (start < at && dotted && is_name).then(|| start..behind.saturating_add(domain.len()))
}
