//! The answers that the upstream owes, in the order in which the messages were written.

use super::names::{PortalId, StatementId};
use super::step::Copy;

#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) kind: Kind,
    pub(super) token: Option<T>,
    pub(super) batch: u64,
    pub(super) swallow: bool,
    pub(super) progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Query {
        copy: Copy,
        /// The versions that take the unnamed statement and portal away.
        unnamed: (u64, u64),
        poison: bool,
    },
    Parse {
        id: StatementId,
    },
    Bind {
        id: PortalId,
    },
    DescribeStatement {
        id: StatementId,
    },
    DescribePortal {
        id: PortalId,
    },
    DescribeCursor {
        cursor: u64,
    },
    CloseStatement {
        tombstone: Option<u64>,
    },
    ClosePortal {
        tombstone: Option<u64>,
    },
    Execute {
        portal: PortalId,
        copy: Copy,
    },
    PoisonParse,
    Sync,
}

/// How far the answer to one message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Progress {
    /// At least one result is complete, or there is an error: `ReadyForQuery` may come.
    pub(super) answered: bool,
    /// An error came: nothing but `ReadyForQuery` may come.
    pub(super) failed: bool,
    /// Columns of the result that is being sent.
    pub(super) columns: Option<usize>,
    /// The parameters were described, or the text was empty: less may follow.
    pub(super) narrowed: bool,
    pub(super) copy: CopyState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum CopyState {
    /// No COPY has begun.
    #[default]
    Before,
    /// The agent sends data.
    In { data: bool, sync: bool },
    /// The agent ended its data; that is not written yet.
    InEnding,
    /// The end of the data is written, the agent's own or ours.
    InEnded { refused: bool },
    /// The upstream sends data.
    Out,
    /// The upstream ended its data; the command tag follows.
    OutEnded,
}

impl Progress {
    /// No COPY is in the middle of its data.
    pub(super) fn between(&self) -> bool {
        match self.copy {
            CopyState::Before | CopyState::OutEnded | CopyState::InEnded { refused: false } => true,
            CopyState::In { .. } | CopyState::InEnding | CopyState::Out | CopyState::InEnded { refused: true } => false,
        }
    }
}

impl<T> Slot<T> {
    /// Answered by `ReadyForQuery`, and so sure to be answered without a further message.
    pub(super) fn is_ready_point(&self) -> bool {
        matches!(self.kind, Kind::Query { .. } | Kind::Sync)
    }

    /// A COPY FROM STDIN that the upstream neither began nor refused yet.
    pub(super) fn awaits_copy(&self) -> bool {
        matches!(self.kind, Kind::Query { copy: Copy::In, .. } | Kind::Execute { copy: Copy::In, .. })
            && self.progress.copy == CopyState::Before
            && !self.progress.answered
            && !self.progress.failed
    }
}
