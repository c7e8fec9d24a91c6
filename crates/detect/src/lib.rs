//! Values that say by themselves what they are: payment cards, social security numbers, e-mail addresses, access tokens.
//!
//! A last net behind masks by name, for values in places that nobody declared. It reports and covers, and never permits:
//! what it does not find is not known to be harmless. Encoded, split or spelled-out values are not found.
//!
//! Invariants: text is read once, from left to right, in time linear in its length, and nothing is allocated but for what looks like a JWT; a
//! finding that was [covered](cover()) is not found again.

mod card;
mod cover;
mod email;
mod ssn;
mod token;

use std::ops::Range;

pub use card::is_card;
pub use cover::{Cover, cover};

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Primary account number of a payment card: issuer, length and check digit fit (ISO/IEC 7812).
    CardNumber,
    /// Of the United States, written in three groups.
    SocialSecurityNumber,
    EmailAddress,
    /// JWTs, private keys in PEM, and keys of providers that begin with a prefix of their own.
    AccessToken,
}

/// All kinds, in order.
pub const KINDS: [Kind; 4] = [Kind::CardNumber, Kind::SocialSecurityNumber, Kind::EmailAddress, Kind::AccessToken];

impl Kind {
    /// For metrics and recordings.
    pub fn word(self) -> &'static str {
        match self {
            Self::CardNumber => "card_number",
            Self::SocialSecurityNumber => "social_security_number",
            Self::EmailAddress => "email_address",
            Self::AccessToken => "access_token",
        }
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kinds {
    card: bool,
    ssn: bool,
    email: bool,
    token: bool,
}

impl Kinds {
    pub fn insert(&mut self, kind: Kind) {
        *match kind {
            Kind::CardNumber => &mut self.card,
            Kind::SocialSecurityNumber => &mut self.ssn,
            Kind::EmailAddress => &mut self.email,
            Kind::AccessToken => &mut self.token,
        } = true;
    }

    pub fn contains(self, kind: Kind) -> bool {
        match kind {
            Kind::CardNumber => self.card,
            Kind::SocialSecurityNumber => self.ssn,
            Kind::EmailAddress => self.email,
            Kind::AccessToken => self.token,
        }
    }

    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        let mut set = Self::default();
        kinds.into_iter().for_each(|kind| set.insert(kind));
        set
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: Kind,
    /// In bytes.
    pub range: Range<usize>,
}

/// Everything of these kinds, in the order in which it is recognised. An e-mail address is recognised at its `@`, so that
/// it may overlap with what stands before it.
pub fn find(text: &[u8], kinds: Kinds) -> Findings<'_> {
    Findings { text, kinds, at: 0, behind: 0, floor: 0 }
}

/// Iterator over [`Finding`]s.
#[derive(Clone, Debug)]
pub struct Findings<'a> {
    text: &'a [u8],
    kinds: Kinds,
    at: usize,
    /// Where the last finding ended: what is directly behind it is no part of it.
    behind: usize,
    /// Where the last e-mail address ended: the next one begins behind it.
    floor: usize,
}

impl Findings<'_> {
    fn found(&mut self, kind: Kind, range: Range<usize>) -> Option<Finding> {
        self.at = range.end;
        self.behind = range.end;
        Some(Finding { kind, range })
    }
}

impl Iterator for Findings<'_> {
    type Item = Finding;

    fn next(&mut self) -> Option<Finding> {
        while let Some(byte) = self.text.get(self.at) {
            let (text, at) = (self.text, self.at);
            let begins = at == self.behind || begins_word(text, at);
            match byte {
                b'@' if self.kinds.email => {
                    if let Some(range) = email::around(text, at, self.floor) {
                        self.floor = range.end;
                        return self.found(Kind::EmailAddress, range);
                    }
                }
                b'0'..=b'9' if begins => {
                    if self.kinds.card
                        && let Some(end) = card::at(text, at)
                    {
                        return self.found(Kind::CardNumber, at..end);
                    }
                    if self.kinds.ssn
                        && let Some(end) = ssn::at(text, at)
                    {
                        return self.found(Kind::SocialSecurityNumber, at..end);
                    }
                }
                b'a'..=b'z' | b'A'..=b'Z' | b'-' if self.kinds.token && begins => {
                    if let Some(end) = token::at(text, at, self.behind) {
                        return self.found(Kind::AccessToken, at..end);
                    }
                }
                _ => {}
            }
            self.at = at.saturating_add(1);
        }
        None
    }
}

/// Letters, digits and `_` of ASCII: what stands directly beside such a byte is a part of something longer.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn begins_word(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    !before.last().copied().is_some_and(is_word) || ends_with_escape(before)
}

/// A line break, a tab and the like as JSON and COPY write them: `\n`, `\u000a`. Its letters are none of a word's. One
/// backslash is enough: JSON in COPY has two.
fn ends_with_escape(text: &[u8]) -> bool {
    match text {
        [.., b'\\', b'b' | b'f' | b'n' | b'r' | b't' | b'v'] => true,
        [.., b'\\', b'u', a, b, c, d] => [a, b, c, d].into_iter().all(u8::is_ascii_hexdigit),
        _ => false,
    }
}

fn ends_word(text: &[u8], end: usize) -> bool {
    !text.get(end).copied().is_some_and(is_word)
}
