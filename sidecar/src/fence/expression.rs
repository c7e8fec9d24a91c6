//! The nf_tables expressions that the ruleset is made of (`linux/netfilter/nf_tables.h`).
//!
//! One register is enough: each condition loads it and compares. What a register holds is in the order that its loader
//! gives: packet bytes in network order; socket owners, conntrack values and masks in the machine's. A wrong order is no
//! error to the kernel, only another rule, which is why the installed ruleset is compared with one that `nft` wrote.

use super::attribute::Attributes;

const REGISTER: u32 = 1;
const VERDICT_REGISTER: u32 = 0;
/// An interface name is compared over the whole register; shorter data would mean a prefix.
const NAME_LENGTH: usize = 16;

/// Attribute numbers that expressions share.
mod attribute {
    pub(super) const LIST_ELEMENT: u16 = 1;
    pub(super) const EXPRESSION_NAME: u16 = 1;
    pub(super) const EXPRESSION_DATA: u16 = 2;
    pub(super) const DATA_VALUE: u16 = 1;
    pub(super) const DATA_VERDICT: u16 = 2;
    pub(super) const VERDICT_CODE: u16 = 1;
}

/// `NFT_META_*`
mod meta {
    pub(super) const OUTPUT_NAME: u32 = 7;
    pub(super) const INPUT_NAME: u32 = 6;
    pub(super) const SOCKET_USER: u32 = 10;
    pub(super) const PROTOCOL: u32 = 16;
}

/// `NFT_CT_*`
mod ct {
    pub(super) const STATE: u32 = 0;
    pub(super) const DIRECTION: u32 = 1;
    pub(super) const STATUS: u32 = 2;
    pub(super) const MARK: u32 = 3;
    pub(super) const ZONE: u32 = 17;
}

/// `NF_CT_STATE_BIT`, and `IPS_DST_NAT`.
const ESTABLISHED: u32 = 2;
const RELATED: u32 = 4;
const DESTINATION_CHANGED: u32 = 1 << 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    Unequal,
    AtMost,
    AtLeast,
}

impl Compare {
    fn code(self) -> u32 {
        match self {
            Self::Equal => 0,
            Self::Unequal => 1,
            Self::AtMost => 3,
            Self::AtLeast => 5,
        }
    }
}

/// Transport protocols, as numbers of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
    Icmp6,
}

impl Transport {
    fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmp6 => 58,
        }
    }
}

/// Conditions of one rule in order, then what is done.
#[derive(Debug, Default)]
pub(super) struct Rule {
    list: Attributes,
}

// === impl Rule: conditions ===

impl Rule {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn owner(self, user: u32) -> Self {
        self.meta(meta::SOCKET_USER).compare(Compare::Equal, &user.to_ne_bytes())
    }

    pub(super) fn not_owner(self, user: u32) -> Self {
        self.meta(meta::SOCKET_USER).compare(Compare::Unequal, &user.to_ne_bytes())
    }

    pub(super) fn output(self, interface: &str) -> Self {
        self.meta(meta::OUTPUT_NAME).compare(Compare::Equal, &padded(interface))
    }

    pub(super) fn output_other_than(self, interface: &str) -> Self {
        self.meta(meta::OUTPUT_NAME).compare(Compare::Unequal, &padded(interface))
    }

    pub(super) fn input(self, interface: &str) -> Self {
        self.meta(meta::INPUT_NAME).compare(Compare::Equal, &padded(interface))
    }

    pub(super) fn transport(self, transport: Transport) -> Self {
        self.meta(meta::PROTOCOL).compare(Compare::Equal, &[transport.number()])
    }

    /// The port or first byte of a message after [`Rule::transport`].
    pub(super) fn destination(self, port: u16) -> Self {
        self.payload(2, 2).compare(Compare::Equal, &port.to_be_bytes())
    }

    pub(super) fn destinations(self, first: u16, last: u16) -> Self {
        self.payload(2, 2).compare(Compare::AtLeast, &first.to_be_bytes()).compare(Compare::AtMost, &last.to_be_bytes())
    }

    pub(super) fn icmp_type(self, kind: u8) -> Self {
        self.payload(0, 1).compare(Compare::Equal, &[kind])
    }

    pub(super) fn original_direction(self) -> Self {
        self.conntrack(ct::DIRECTION).compare(Compare::Equal, &[0])
    }

    pub(super) fn reply_direction(self) -> Self {
        self.conntrack(ct::DIRECTION).compare(Compare::Equal, &[1])
    }

    pub(super) fn established(self) -> Self {
        self.conntrack(ct::STATE).masked(ESTABLISHED).compare(Compare::Unequal, &0_u32.to_ne_bytes())
    }

    pub(super) fn established_or_related(self) -> Self {
        self.conntrack(ct::STATE).masked(ESTABLISHED | RELATED).compare(Compare::Unequal, &0_u32.to_ne_bytes())
    }

    /// The destination was changed by a redirect.
    pub(super) fn redirected(self) -> Self {
        self.conntrack(ct::STATUS).masked(DESTINATION_CHANGED).compare(Compare::Unequal, &0_u32.to_ne_bytes())
    }

    pub(super) fn marked(self, mark: u32) -> Self {
        self.conntrack(ct::MARK).compare(Compare::Equal, &mark.to_ne_bytes())
    }
}

// === impl Rule: what is done ===

impl Rule {
    /// Marks the flow, not the packet.
    pub(super) fn mark(self, mark: u32) -> Self {
        self.load(&mark.to_ne_bytes()).expression("ct", Attributes::default().number(2, ct::MARK).number(4, REGISTER))
    }

    /// A conntrack zone for what is sent first.
    pub(super) fn original_zone(self, zone: u16) -> Self {
        let data = Attributes::default().number(2, ct::ZONE).bytes(3, &[0]).number(4, REGISTER);
        self.load(&zone.to_ne_bytes()).expression("ct", data)
    }

    pub(super) fn redirect(self, port: u16) -> Self {
        self.load(&port.to_be_bytes()).expression("redir", Attributes::default().number(1, REGISTER))
    }

    pub(super) fn accept(self) -> Self {
        self.verdict(1)
    }

    pub(super) fn drop_packet(self) -> Self {
        self.verdict(0)
    }

    /// "Administratively prohibited", for both families.
    pub(super) fn reject(self) -> Self {
        self.expression("reject", Attributes::default().number(1, 2).bytes(2, &[3]))
    }

    pub(super) fn reset(self) -> Self {
        self.expression("reject", Attributes::default().number(1, 1).bytes(2, &[0]))
    }

    pub(super) fn into_attributes(self) -> Attributes {
        self.list
    }
}

// === impl Rule: parts ===

impl Rule {
    fn expression(mut self, name: &str, data: Attributes) -> Self {
        let element =
            Attributes::default().text(attribute::EXPRESSION_NAME, name).nested(attribute::EXPRESSION_DATA, data);
        self.list = self.list.nested(attribute::LIST_ELEMENT, element);
        self
    }

    fn meta(self, key: u32) -> Self {
        self.expression("meta", Attributes::default().number(1, REGISTER).number(2, key))
    }

    fn conntrack(self, key: u32) -> Self {
        self.expression("ct", Attributes::default().number(1, REGISTER).number(2, key))
    }

    /// Bytes of the transport header.
    fn payload(self, offset: u32, length: u32) -> Self {
        let data = Attributes::default().number(1, REGISTER).number(2, 2).number(3, offset).number(4, length);
        self.expression("payload", data)
    }

    fn compare(self, how: Compare, value: &[u8]) -> Self {
        let data = Attributes::default().number(1, REGISTER).number(2, how.code()).nested(3, data(value));
        self.expression("cmp", data)
    }

    fn masked(self, mask: u32) -> Self {
        let parts = Attributes::default()
            .number(1, REGISTER)
            .number(2, REGISTER)
            .number(3, 4)
            .nested(4, data(&mask.to_ne_bytes()))
            .nested(5, data(&0_u32.to_ne_bytes()));
        self.expression("bitwise", parts)
    }

    fn load(self, value: &[u8]) -> Self {
        self.expression("immediate", Attributes::default().number(1, REGISTER).nested(2, data(value)))
    }

    fn verdict(self, code: u32) -> Self {
        let verdict = Attributes::default()
            .nested(attribute::DATA_VERDICT, Attributes::default().number(attribute::VERDICT_CODE, code));
        self.expression("immediate", Attributes::default().number(1, VERDICT_REGISTER).nested(2, verdict))
    }
}

fn data(value: &[u8]) -> Attributes {
    Attributes::default().bytes(attribute::DATA_VALUE, value)
}

fn padded(interface: &str) -> [u8; NAME_LENGTH] {
    let mut name = [0; NAME_LENGTH];
    for (to, from) in name.iter_mut().zip(interface.bytes()) {
        *to = from;
    }
    name
}
