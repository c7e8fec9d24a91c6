//! Questions of our own on a logged-in connection, each an operation with intent, permit and outcome: constant texts, and
//! those that are made from a statement which was decided.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use pgcodec::frontend::{Bind, Execute, Parse, Target};
use pgcodec::machine::RESERVED_PREFIX;
use pgcodec::{Backend, Framer, Frontend};
use policy::operation::Operation;
use recording::entry::Status;

use super::super::operation::{self, Derived, Transaction};
use super::silent::Silent;
use crate::gate::{Desk, Moment, Outcome, Refused, Stage};
use crate::upstream::{SendError, Upstream};

/// Most bytes of the answer to a constant text.
pub(super) const MOST_BYTES: usize = 64 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum InternalError {
    #[error("the target answered with sqlstate {0}")]
    Server(String),
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    #[error("the target speaks another protocol: {0}")]
    Protocol(#[from] pgcodec::Violation),
    #[error("it was refused ({})", .0.refusal.word())]
    Refused(Refused),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// Asks on a connection that nobody else uses now.
pub(super) struct Asker<'a> {
    pub upstream: &'a mut Upstream,
    pub framer: &'a mut Framer,
    pub desk: &'a mut Desk,
    pub key: &'a aws_lc_rs::hmac::Key,
    pub database: &'a str,
    /// Bytes of one answer.
    pub most: usize,
    /// What the target said of its own accord meanwhile: on an agent's connection that is the agent's.
    pub unasked: Vec<Backend>,
}

/// One constant text in the extended protocol, under a name that no agent can use, with a Sync behind it. Without a name
/// for it the portal is the unnamed one, which outlives a COMMIT.
///
/// # Errors
/// When the text is too long for a message.
pub(super) fn own_frames(portal: &str, text: &str) -> Result<BytesMut, pgcodec::Violation> {
    let name = format!("{RESERVED_PREFIX}own");
    let bind = Bind {
        portal: portal.to_owned(),
        statement: name.clone(),
        formats: Vec::new(),
        params: Vec::new(),
        result_formats: Vec::new(),
    };
    let mut out = BytesMut::new();
    for message in [
        // Left over where an error skipped what stood behind it.
        Frontend::Close(Target::Statement(name.clone())),
        Frontend::Parse(Parse { name, sql: text.to_owned(), param_types: Vec::new() }),
        Frontend::Bind(bind),
        Frontend::Execute(Execute { portal: portal.to_owned(), max_rows: 0 }),
    ] {
        message.encode(&mut out)?;
    }
    if !portal.is_empty() {
        Frontend::Close(Target::Portal(portal.to_owned())).encode(&mut out)?;
    }
    Frontend::Sync.encode(&mut out)?;
    Ok(out)
}

/// The rows of one answer; `None` is NULL.
pub(super) type Rows = Vec<Vec<Option<Bytes>>>;

impl Asker<'_> {
    /// Runs one constant text in the simple protocol. `what` names it in the recording.
    pub(super) async fn ask(&mut self, what: &'static str, text: &'static str) -> Result<Rows, InternalError> {
        let mut frames = BytesMut::new();
        Frontend::Query { sql: text.to_owned() }.encode(&mut frames)?;
        let op = self.operation(|ctx| operation::internal(ctx, what, &frames));
        self.run(&op, &frames).await
    }

    /// Runs one constant text on the connection of an agent that waits: its statements and portals, those without a name
    /// too, stay as they are.
    pub(super) async fn ask_beside(&mut self, what: &'static str, text: &'static str) -> Result<Rows, InternalError> {
        let frames = own_frames(&format!("{RESERVED_PREFIX}own"), text)?;
        let op = self.operation(|ctx| operation::internal(ctx, what, &frames));
        self.run(&op, &frames).await
    }

    /// Runs a text that was made from a decided statement; `frames` end with a Sync.
    pub(super) async fn derived(&mut self, derived: &Derived<'_>, frames: &[u8]) -> Result<Rows, InternalError> {
        let op = self.operation(|ctx| operation::derived(ctx, derived, frames));
        self.run(&op, frames).await
    }

    fn operation(&mut self, build: impl FnOnce(&operation::Context<'_>) -> Operation) -> Operation {
        let subject = Arc::clone(self.desk.subject());
        let target = Arc::clone(self.desk.target());
        build(&operation::Context {
            key: self.key,
            subject: &subject,
            target: &target,
            database: self.database,
            role: "",
            catalog: "",
            planned: self.desk.revision(),
            transaction: Transaction::Idle,
            meaning: "",
        })
    }

    async fn run(&mut self, op: &Operation, frames: &[u8]) -> Result<Rows, InternalError> {
        let admitted = self.desk.admit(op, Stage::Run, Moment::InBatch, &mut Silent).await;
        let (_, running) = self.upstream.send(admitted.map_err(InternalError::Refused)?, frames)?;
        self.upstream.flush().await?;
        let result = self.rows().await;
        let mut outcome = Outcome::of(if result.is_ok() { Status::Ok } else { Status::Error });
        outcome.rows = result.as_ref().map_or(0, |rows| u64::try_from(rows.len()).unwrap_or(u64::MAX));
        if let Err(InternalError::Server(code)) = &result {
            outcome.sqlstate = Some(code.clone());
        }
        running.finish(&outcome);
        result
    }

    async fn rows(&mut self) -> Result<Rows, InternalError> {
        let mut rows = Rows::new();
        let mut bytes = 0_usize;
        let mut failed = None;
        loop {
            while let Some(frame) = self.framer.next()? {
                match Backend::decode(&frame)? {
                    Backend::DataRow(row) => {
                        bytes = bytes.saturating_add(frame.bytes().len());
                        if bytes > self.most {
                            return Err(InternalError::TooLarge(self.most));
                        }
                        rows.push(row.columns().collect());
                    }
                    message @ (Backend::ParameterStatus { .. } | Backend::NotificationResponse { .. }) => {
                        bytes = bytes.saturating_add(frame.bytes().len());
                        if bytes > self.most {
                            return Err(InternalError::TooLarge(self.most));
                        }
                        self.unasked.push(message);
                    }
                    Backend::ErrorResponse(fields) => failed = Some(fields.code().to_owned()),
                    Backend::ReadyForQuery(_) => {
                        return failed.map_or(Ok(rows), |code| Err(InternalError::Server(code)));
                    }
                    _ => {}
                }
            }
            let (reader, _) = self.upstream.halves();
            if reader.read(self.framer.read_buffer()).await? == 0 {
                return Err(InternalError::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}
