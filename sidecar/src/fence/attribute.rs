//! Netlink attributes (`linux/netlink.h`): length, type, value, padded to four bytes; nested ones hold others.
//!
//! Integers of nf_tables attributes are in network order; what a register holds may not be, see `expression`.

/// Says that the value is attributes.
const NESTED: u16 = 0x8000;
const HEADER: usize = 4;

/// The attributes of one message, in order.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    bytes: Vec<u8>,
    /// A value did not fit its length field.
    too_long: bool,
}

impl Attributes {
    pub(super) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        self.push(kind, value);
        self
    }

    /// With the NUL that the kernel wants.
    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        let mut text = value.as_bytes().to_vec();
        text.push(0);
        self.bytes(kind, &text)
    }

    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn signed(self, kind: u16, value: i32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn nested(mut self, kind: u16, inner: Self) -> Self {
        self.too_long |= inner.too_long;
        self.push(kind | NESTED, &inner.bytes);
        self
    }

    /// The encoded attributes; `None` when one is longer than a length field can say.
    pub(super) fn encoded(self) -> Option<Vec<u8>> {
        (!self.too_long).then_some(self.bytes)
    }

    fn push(&mut self, kind: u16, value: &[u8]) {
        let Ok(length) = u16::try_from(value.len().saturating_add(HEADER)) else {
            self.too_long = true;
            return;
        };
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_padded_and_nested() {
        let inner = Attributes::default().text(1, "ab");
        let encoded = Attributes::default().number(3, 7).nested(2, inner).encoded().unwrap();
        let mut expected = Vec::new();
        expected.extend_from_slice(&8_u16.to_ne_bytes());
        expected.extend_from_slice(&3_u16.to_ne_bytes());
        expected.extend_from_slice(&[0, 0, 0, 7]);
        expected.extend_from_slice(&12_u16.to_ne_bytes());
        expected.extend_from_slice(&0x8002_u16.to_ne_bytes());
        expected.extend_from_slice(&7_u16.to_ne_bytes());
        expected.extend_from_slice(&1_u16.to_ne_bytes());
        expected.extend_from_slice(b"ab\0\0");
        assert_eq!(encoded, expected);
        assert_eq!(Attributes::default().bytes(1, &[0; 70_000]).encoded(), None);
        let deep = Attributes::default().nested(1, Attributes::default().bytes(1, &[0; 70_000]));
        assert_eq!(deep.encoded(), None);
    }
}
