//! What a message of the upstream answers.

use super::control::Control;
use super::names::{PortalId, StatementId};
use crate::backend::Backend;

/// One message of the upstream, attributed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Reply<T> {
    /// The message itself; [`Backend::encode`] forwards it.
    pub message: Backend,
    /// The operation that it answers. For a message that may come at any time (notice, notification, parameter status): the
    /// operation that is being answered, if any.
    pub token: Option<T>,
    /// The statement or portal that it is about.
    pub about: About,
    /// It answers a message that the proxy added: never forward it.
    pub swallow: bool,
    /// The answer to its message is complete: for a Query and a Sync that is `ReadyForQuery`.
    pub last: bool,
    /// What an `ErrorResponse` means; `None` for every other message.
    pub failure: Option<Failure<T>>,
}

/// Which of the names held by the machine a reply is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum About {
    Nothing,
    Statement(StatementId),
    Portal(PortalId),
    /// A cursor of SQL, by the session's own number of it: see [`super::Machine::describe_cursor`].
    Cursor(u64),
}

/// The consequences of an `ErrorResponse`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure<T> {
    /// It answers our poison or our `CopyFail`: rewrite it. Only then may its text be replaced.
    pub poison: bool,
    /// The upstream ends the connection: nothing follows.
    pub fatal: bool,
    /// The operations that were sent behind it and that the upstream will not run, in order. What the session keeps back
    /// of the same batch has to be dropped too: see [`super::Machine::skipping`].
    pub skipped: Vec<T>,
    /// Send this now: the agent's `Sync` came before the COPY that it belongs to failed.
    pub sync: Option<Control>,
}
