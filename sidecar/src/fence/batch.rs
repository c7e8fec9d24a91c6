//! One nfnetlink batch (`linux/netfilter/nfnetlink.h`): the kernel takes all of it or nothing.

use super::attribute::Attributes;
use super::expression::Rule;

const TABLE: &str = "agentaccess";
const SUBSYSTEM: u16 = 10;
/// `NFPROTO_INET`: IPv4 and IPv6 together.
const FAMILY: u8 = 1;

/// `NLM_F_*`
mod flag {
    pub(super) const REQUEST: u16 = 0x1;
    pub(super) const ACK: u16 = 0x4;
    pub(super) const CREATE: u16 = 0x400;
    /// Without it a rule goes before those that are there.
    pub(super) const APPEND: u16 = 0x800;
}

/// `NFT_MSG_*`
mod message {
    pub(super) const NEW_TABLE: u16 = 0;
    pub(super) const DELETE_TABLE: u16 = 2;
    pub(super) const NEW_CHAIN: u16 = 3;
    pub(super) const NEW_RULE: u16 = 6;
}
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

/// Where in a packet's way a chain stands: `NF_INET_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Input,
    Output,
    Postrouting,
}

impl Hook {
    fn number(self) -> u32 {
        match self {
            Self::Input => 1,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    Accept,
    Drop,
}

/// A base chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    /// `filter` or `nat`.
    pub(super) kind: &'static str,
    pub(super) hook: Hook,
    pub(super) priority: i32,
    pub(super) policy: Policy,
}

/// Messages in order, each answered by one acknowledgement.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Of messages that are acknowledged.
    count: u32,
    broken: bool,
}

impl Batch {
    /// Makes the table anew, so that a second installation gives the same.
    pub(super) fn new() -> Self {
        let mut batch = Self { bytes: Vec::new(), count: 0, broken: false };
        batch.frame(BATCH_BEGIN, flag::REQUEST, 0, 0, SUBSYSTEM, &[]);
        batch.table(message::NEW_TABLE, flag::CREATE);
        batch.table(message::DELETE_TABLE, 0);
        batch.table(message::NEW_TABLE, flag::CREATE);
        batch
    }

    pub(super) fn chain(&mut self, chain: &Chain) {
        let policy = match chain.policy {
            Policy::Drop => 0,
            Policy::Accept => 1,
        };
        let hook = Attributes::default().number(1, chain.hook.number()).signed(2, chain.priority);
        let attributes = Attributes::default()
            .text(1, TABLE)
            .text(3, chain.name)
            .nested(4, hook)
            .number(5, policy)
            .text(7, chain.kind);
        self.message(message::NEW_CHAIN, flag::CREATE, attributes);
    }

    pub(super) fn rule(&mut self, chain: &Chain, rule: Rule) {
        let attributes = Attributes::default().text(1, TABLE).text(2, chain.name).nested(4, rule.into_attributes());
        self.message(message::NEW_RULE, flag::CREATE | flag::APPEND, attributes);
    }

    /// The bytes to send, and how many messages of them are acknowledged; `None` when a part was too long to be said.
    pub(super) fn finish(mut self) -> Option<(Vec<u8>, u32)> {
        self.frame(BATCH_END, flag::REQUEST, 0, 0, SUBSYSTEM, &[]);
        (!self.broken).then_some((self.bytes, self.count))
    }

    fn table(&mut self, kind: u16, flags: u16) {
        self.message(kind, flags, Attributes::default().text(1, TABLE));
    }

    fn message(&mut self, kind: u16, flags: u16, attributes: Attributes) {
        self.count = self.count.saturating_add(1);
        let Some(encoded) = attributes.encoded() else {
            self.broken = true;
            return;
        };
        let (kind, sequence) = (SUBSYSTEM << 8 | kind, self.count);
        self.frame(kind, flag::REQUEST | flag::ACK | flags, sequence, FAMILY, 0, &encoded);
    }

    /// `nlmsghdr` and `nfgenmsg`, then the attributes.
    fn frame(&mut self, kind: u16, flags: u16, sequence: u32, family: u8, resource: u16, attributes: &[u8]) {
        let Ok(length) = u32::try_from(attributes.len().saturating_add(20)) else {
            self.broken = true;
            return;
        };
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0_u32.to_ne_bytes());
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
        self.bytes.extend_from_slice(attributes);
    }
}
