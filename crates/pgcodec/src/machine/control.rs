//! Messages that need no verdict. Only the machine makes them: the fields are private, and what they carry of the agent's
//! is a name that the machine holds, nothing else.

use bytes::{BufMut, BytesMut};

use super::names::{PortalId, StatementId};

/// Names with this prefix are ours; the agent cannot use them.
pub const RESERVED_PREFIX: &str = "_agentaccess_";

/// Cannot parse in any version of PostgreSQL: the first word begins no statement. It carries nothing of the agent's.
const POISON_TEXT: &[u8] = b"agentaccess refused this statement\0";
const POISON_STATEMENT: &[u8] = b"_agentaccess_refused\0";
/// Never defined. Closing it is answered like closing any other unknown name: by success.
const NOTHING: &[u8] = b"_agentaccess_nothing";

/// An allow-listed message to the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Sync,
    Flush,
    Terminate,
    CopyFail,
    PoisonQuery,
    PoisonParse,
    DescribeStatement {
        id: StatementId,
        name: String,
    },
    DescribePortal {
        id: PortalId,
        name: String,
        swallow: bool,
    },
    /// `cursor` is the session's own number of it.
    DescribeCursor {
        cursor: u64,
        name: String,
    },
    /// `tombstone` is the version that takes the name away; `None` closes a name that nobody has.
    CloseStatement {
        tombstone: Option<u64>,
        name: String,
    },
    ClosePortal {
        tombstone: Option<u64>,
        name: String,
    },
}

impl Control {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind }
    }

    /// Appends the message.
    pub fn encode(&self, out: &mut BytesMut) {
        match &self.kind {
            Kind::Sync => put(out, b'S', &[]),
            Kind::Flush => put(out, b'H', &[]),
            Kind::Terminate => put(out, b'X', &[]),
            Kind::CopyFail => put(out, b'f', &[b"refused by agentaccess\0"]),
            Kind::PoisonQuery => put(out, b'Q', &[POISON_TEXT]),
            Kind::PoisonParse => put(out, b'P', &[POISON_STATEMENT, POISON_TEXT, &[0, 0]]),
            Kind::DescribeStatement { name, .. } => put(out, b'D', &[b"S", name.as_bytes(), &[0]]),
            Kind::DescribePortal { name, .. } | Kind::DescribeCursor { name, .. } => {
                put(out, b'D', &[b"P", name.as_bytes(), &[0]]);
            }
            Kind::CloseStatement { tombstone, name } => put(out, b'C', &[b"S", held(*tombstone, name), &[0]]),
            Kind::ClosePortal { tombstone, name } => put(out, b'C', &[b"P", held(*tombstone, name), &[0]]),
        }
    }

    /// This ends the connection.
    pub fn is_terminate(&self) -> bool {
        self.kind == Kind::Terminate
    }

    /// This is `Sync`: everything kept back has to be sent before it.
    pub fn is_sync(&self) -> bool {
        self.kind == Kind::Sync
    }

    /// This is `Flush`: everything kept back has to be sent before it.
    pub fn is_flush(&self) -> bool {
        self.kind == Kind::Flush
    }

    /// The portal that this describes or `None`; see [`super::Machine::describe_portal`].
    pub fn describes(&self) -> Option<PortalId> {
        match self.kind {
            Kind::DescribePortal { id, .. } => Some(id),
            Kind::Sync
            | Kind::Flush
            | Kind::Terminate
            | Kind::CopyFail
            | Kind::PoisonQuery
            | Kind::PoisonParse
            | Kind::DescribeStatement { .. }
            | Kind::DescribeCursor { .. }
            | Kind::CloseStatement { .. }
            | Kind::ClosePortal { .. } => None,
        }
    }

    /// The message's name in the protocol documentation.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Sync => "Sync",
            Kind::Flush => "Flush",
            Kind::Terminate => "Terminate",
            Kind::CopyFail => "CopyFail",
            Kind::PoisonQuery => "Query",
            Kind::PoisonParse => "Parse",
            Kind::DescribeStatement { .. } | Kind::DescribePortal { .. } | Kind::DescribeCursor { .. } => "Describe",
            Kind::CloseStatement { .. } | Kind::ClosePortal { .. } => "Close",
        }
    }
}

fn held(tombstone: Option<u64>, name: &str) -> &[u8] {
    match tombstone {
        Some(_) => name.as_bytes(),
        None => NOTHING,
    }
}

/// Names are at most [`super::MAX_NAME`] bytes without NUL, so the length always fits.
fn put(out: &mut BytesMut, tag: u8, parts: &[&[u8]]) {
    let length = parts.iter().map(|part| part.len()).fold(4, usize::saturating_add);
    out.put_u8(tag);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    parts.iter().for_each(|part| out.put_slice(part));
}
