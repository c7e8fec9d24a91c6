//! What a message of the agent means, and what the session says it sent.

use bytes::Bytes;

use super::control::Control;
use super::names::{PortalId, StatementId};
use crate::frontend::{Bind, Execute, Frontend, Parse};

/// The meaning of one message of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Needs a verdict before any byte of it leaves.
    Candidate(Candidate),
    /// Needs none; send it in its place, after everything kept back before it.
    Control(Control),
    /// The server would drop it: between an error and `Sync`, or COPY data after the COPY failed. Never forwarded.
    Discard,
    /// The agent is at fault but the session goes on: send [`super::Machine::poison_parse`] and give its error this reason.
    Refuse(Reject),
    /// Its meaning depends on an answer that is still under way: feed the same message again after the next
    /// [`super::Machine::backend`], and read nothing from the agent until then.
    Wait(Frontend),
}

/// An operation, or a part of one, in the words of the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Candidate {
    /// Simple protocol.
    Query {
        sql: String,
    },
    /// `Parse`. Decide when it arrives and attach what was found to `id`.
    Prepare {
        id: StatementId,
        message: Parse,
    },
    /// `Bind` of a statement that the machine holds. Attach the plan of this execution to `id`.
    Bind {
        id: PortalId,
        statement: StatementId,
        message: Bind,
    },
    /// `Execute` of a portal that the machine holds.
    Execute {
        portal: PortalId,
        message: Execute,
    },
    /// `Describe` of a portal that no Bind made: SQL may have declared a cursor of this name. Keep
    /// [`super::Machine::describe_cursor`], or refuse it as [`Reject::UnknownPortal`].
    Describe {
        name: String,
    },
    /// Data of a COPY FROM STDIN that was opened by an operation.
    CopyData(Bytes),
    CopyDone,
    /// The agent gives its COPY up, with its own words for why.
    CopyFail {
        message: String,
    },
}

/// A fault of the agent that a server answers with an error, not by closing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reject {
    #[error("prepared statement does not exist")]
    UnknownStatement,
    #[error("portal does not exist")]
    UnknownPortal,
    #[error("names that begin with `_agentaccess_` are reserved: use another name")]
    ReservedName,
    #[error("name is longer than 63 bytes, which the server would cut: use a shorter one")]
    NameTooLong,
    #[error("too many prepared statements in this session: close some")]
    TooManyStatements,
    #[error("too many portals in this session: close some")]
    TooManyPortals,
    #[error("too many executions in one batch: send Sync more often")]
    BatchTooLong,
    #[error("too many messages in one batch: send Sync more often")]
    PipelineTooLong,
}

impl Reject {
    /// The SQLSTATE that a server uses, or 54000 for a limit of ours.
    pub fn sqlstate(self) -> &'static str {
        match self {
            Self::UnknownStatement => "26000",
            Self::UnknownPortal => "34000",
            Self::ReservedName => "42939",
            Self::NameTooLong => "42622",
            Self::TooManyStatements | Self::TooManyPortals | Self::BatchTooLong | Self::PipelineTooLong => "54000",
        }
    }
}

/// What an operation may do with the COPY sub-protocol. Anything else that the upstream opens kills the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Copy {
    #[default]
    No,
    /// COPY FROM STDIN. Send [`super::Machine::flush`] behind an `Execute` of this kind: every later message of the agent
    /// waits until the upstream said whether the COPY began.
    In,
    /// COPY TO STDOUT.
    Out,
}

/// What was written upstream, told to the machine in the order of writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect<'a, T> {
    /// The text that stands for an agent's `Query`.
    Query {
        token: T,
        copy: Copy,
    },
    Parse {
        token: T,
        id: StatementId,
    },
    /// `token` when the Bind is decided for itself, `None` when it belongs to the Execute behind it.
    Bind {
        token: Option<T>,
        id: PortalId,
    },
    Execute {
        token: T,
        portal: PortalId,
        copy: Copy,
    },
    /// The agent's `CopyDone` or `CopyFail`.
    CopyEnd,
    /// Any [`Control`] but poison.
    Control(&'a Control),
    /// [`super::Machine::poison_query`] or [`super::Machine::poison_parse`] in the place of the operation `token`.
    Poison {
        token: T,
        poison: &'a Control,
    },
}
