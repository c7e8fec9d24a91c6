//! What takes the place of a finding: as many bytes as there were, and none that means anything in a row, an array, JSON,
//! XML or a line of COPY.

/// How the place looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// Text: stars.
    Text,
    /// Digits by themselves stay a number, as long as it was: `1000...`. All else as text.
    Number,
}

/// Covers these bytes. Line ends stay where they are.
pub fn cover(found: &mut [u8], how: Cover) {
    if how == Cover::Number && found.iter().all(u8::is_ascii_digit) {
        found.fill(b'0');
        if let Some(first) = found.first_mut() {
            *first = b'1';
        }
        return;
    }
    for byte in found.iter_mut().filter(|byte| !matches!(byte, b'\n' | b'\r')) {
        *byte = b'*';
    }
}
