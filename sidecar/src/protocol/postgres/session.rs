//! Drives one session: the agent's messages become operations, the gate says yes or no, answers go back.
//!
//! Both directions move at the same time and each side's slowness stops the reading of the other, never more than one
//! read and one buffer. Invariants: nothing of the agent's is written upstream except under a permit; a refusal becomes
//! an error of the server itself (deny by poison), so that no later COMMIT keeps half of what was refused; what was
//! sent has an outcome in the recording, whatever becomes of the agent.

mod agent;
mod cancelling;
mod capture;
mod company;
mod copy_in;
mod cursor;
mod detected;
mod establish;
mod extended;
mod flight;
mod guard;
mod impact;
mod inbound;
mod internal;
pub(crate) mod login;
mod meaning;
mod outbound;
mod planner;
mod row_limit;
mod silent;
pub(crate) mod snapshot;
mod startup;
mod state;
mod uncommitted;
mod unit;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pgcodec::backend::KeyData;
use pgcodec::{Framer, Frontend, Machine, TxState, Violation};
use recording::entry::{Status, What};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;
use tokio::time::{sleep_until, timeout};

use self::agent::Agent;
use self::cancelling::Cancelling;
use self::flight::{Flight, Token};
use self::guard::Guard;
use self::meaning::Meaning;
use self::planner::Planner;
use self::row_limit::BeyondLimit;
use self::snapshot::{Loaded, Slot, SnapshotError};
use self::startup::Begun;
use self::uncommitted::Uncommitted;
use self::unit::Kept;
use super::operation::{self, Transaction};
use super::refusal::Words;
use super::statement::{Cursor, Portal, Prepared};
use crate::core::Core;
use crate::gate::Desk;
use crate::outside::Connection;
use crate::upstream::{HIGH_WATER, StreamGrant, Upstream};

/// How long operations under way may take to end after the agent is gone.
const LAST_OUTCOMES: Duration = Duration::from_secs(30);
/// How long the agent may take to take its last words.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// An agent that shows a key nobody has is kept waiting, so that guessing is slow.
const WRONG_KEY: Duration = Duration::from_millis(200);

/// Serves one accepted connection to its end.
pub async fn serve(connection: Connection, core: Arc<Core>) {
    let Connection { subject, target, stream, auth, peer, slot } = connection;
    let counted = core.drain.session();
    match startup::begin(stream, &auth, &target, &core).await {
        Ok(Begun::Gone) => {}
        Ok(Begun::Cancel(key, mut stream)) => {
            if !core.cancel_keys.request(&key) {
                tokio::time::sleep(WRONG_KEY).await;
            }
            // TLS is ended in order: libpq takes a bare end for a request that did not arrive.
            let _ = timeout(LAST_WORDS, stream.shutdown()).await;
        }
        Ok(Begun::Session(proven)) => establish::establish(*proven, subject, target, peer, core).await,
        Err(error) => {
            let what = match error {
                startup::StartupError::Authentication(_) => What::AuthenticationFailed,
                _ => What::Malformed,
            };
            let (why, access_target) = (error.logged(), &target.key);
            tracing::warn!(target: "agentaccess", %peer, error = why, %access_target, "connection refused at startup");
            core.gate.recorder().marker(None, what, format!("{peer} to {}: {error}", target.key));
        }
    }
    drop(slot);
    drop(counted);
}

/// Why a session ends.
#[derive(Debug)]
pub(super) enum End {
    /// The agent said so.
    Terminated,
    /// The agent's connection closed or broke.
    HungUp,
    /// The target's connection closed or broke, or it said a fatal error.
    UpstreamGone,
    /// The agent broke the protocol or a limit.
    Agent(Violation),
    /// The target broke the protocol.
    Upstream(Violation),
    /// A net caught what must not pass; the words are for the agent, the text for the record.
    Caught(&'static str, String),
    Drained,
    /// A result was longer than policy allows and could not be ended alone.
    TooManyRows,
    /// Policy allows nothing of it any more.
    Revoked(&'static str),
}

impl End {
    fn reason(&self) -> &'static str {
        match self {
            Self::Terminated => "terminated by the agent",
            Self::HungUp => "the agent hung up",
            Self::UpstreamGone => "the target closed the connection",
            Self::Agent(_) => "the agent broke the protocol",
            Self::Upstream(_) => "the target broke the protocol",
            Self::Caught(..) => "cut by a safety net",
            Self::Drained => "drained",
            Self::TooManyRows => "a result was longer than the policy's limit",
            Self::Revoked(why) => why,
        }
    }
}

pub(super) struct Session {
    core: Arc<Core>,
    desk: Desk,
    database: String,
    role: String,
    catalog: Arc<Slot>,
    /// Statements of the open transaction changed the catalog: others see it after COMMIT, so what was read before says nothing.
    uncommitted: Uncommitted,
    planner: Planner,
    machine: Machine<Token, Prepared, Portal>,
    agent: Agent,
    upstream: Upstream,
    upstream_framer: Framer,
    /// A message whose meaning depends on an answer that is under way.
    waiting: Option<Frontend>,
    /// Messages of the extended protocol that were not sent yet.
    kept: Vec<Kept>,
    kept_bytes: usize,
    /// Boxed: a map that was ever used has room for eleven.
    flights: BTreeMap<Token, Box<Flight>>,
    next_token: u64,
    /// The stream that a permitted operation opened, and the operation.
    stream: Option<(Token, StreamGrant)>,
    cursors: BTreeMap<String, Cursor>,
    /// A hold inside a transaction ended without an approval: nothing but ROLLBACK is taken until it is over.
    must_roll_back: bool,
    /// A result was too long, and the rest of its batch is not the agent's any more.
    beyond_limit: Option<BeyondLimit>,
    /// A transaction of ours around the change that runs: its answers are held back.
    guard: Option<Guard>,
    meaning: Meaning,
    listening: HashSet<String>,
    /// COMMIT or ROLLBACK was sent in this batch: nothing may follow in it, or all-or-nothing would not hold.
    batch_committed: bool,
    /// A BEGIN took place since the last ReadyForQuery: what follows it is no implicit transaction.
    begun_in_batch: bool,
    /// What is sent, or stands in the open transaction, may give names another meaning than the catalog that was read.
    names_moved: bool,
    cancel: Arc<Notify>,
    /// A cancel request under way to the target: what is sent next must not be what it hits.
    cancelling: Option<Cancelling>,
    /// Keeps the key that the agent was given valid.
    _registered: super::cancel::Registered,
    upstream_key: Option<KeyData>,
    operations: u64,
    refusals: u64,
}

impl Session {
    /// Runs until one side ends it.
    async fn run(&mut self) -> End {
        match self.drive().await {
            Ok(end) | Err(end) => end,
        }
    }

    async fn drive(&mut self) -> Result<End, End> {
        let mut draining = false;
        let drain = self.core.drain.clone();
        loop {
            self.settle_guard().await?;
            let all_taken = self.take_agent_messages().await?;
            if draining && self.machine.idle() && self.kept.is_empty() {
                return Ok(End::Drained);
            }
            // What may be left in the framer then is a part of a message that will never be whole.
            if self.agent.reader.closed && all_taken {
                return Ok(End::HungUp);
            }
            let upstream_full = self.upstream.waiting() > HIGH_WATER;
            let agent_full = self.agent.writer.waiting() > agent::HIGH_WATER;
            let takes = !upstream_full && !agent_full && self.waiting.is_none() && !self.agent.reader.closed;
            let (from_target, to_target) = self.upstream.halves();
            let (from_agent, to_agent) = (&mut self.agent.reader, &mut self.agent.writer);
            // Every arm is cancel-safe: reads land in framers, writes take what they wrote out of their buffer, a
            // notification or change that is not taken is seen again.
            tokio::select! {
                biased;
                // First, so that no flow of rows, however fast, keeps a session from being cut.
                () = self.desk.changed() => self.policy_changed()?,
                written = to_agent.write_some(), if !to_agent.is_empty() => written.map_err(|_| End::HungUp)?,
                written = to_target.write_some(), if !to_target.is_empty() => written.map_err(|_| End::UpstreamGone)?,
                read = from_target.read(self.upstream_framer.read_buffer()), if !agent_full => {
                    if read.map_err(|_| End::UpstreamGone)? == 0 {
                        return Ok(End::UpstreamGone);
                    }
                    self.take_target_messages()?;
                }
                read = from_agent.read(), if takes => read.map_err(|_| End::HungUp)?,
                () = self.cancel.notified() => self.cancel_upstream(),
                () = drain.draining(), if !draining => draining = true,
            }
        }
    }

    /// After the end: what was sent gets its outcome, if the target still answers; then both sides are closed.
    async fn finish(mut self, end: &End) {
        self.kept.clear();
        if let Some(words) = farewell(end) {
            let _ = self.agent.writer.refuse("FATAL", &words);
            let _ = timeout(LAST_WORDS, self.agent.writer.flush()).await;
        }
        // Outcomes may take a while, and concern the agent no more.
        let _ = timeout(LAST_WORDS, self.agent.writer.shutdown()).await;
        if let Some(control) = self.machine.copy_fail() {
            // Nobody will send the rest of the stream; without an end to it the target would wait for ever.
            let _ = self.control(&control);
        }
        let uncommitted = self.guard.as_ref().is_some_and(Guard::is_uncommitted);
        if uncommitted {
            // The target rolls it back when this connection closes; until then it holds locks.
            self.cancel_upstream();
        }
        let answers = !uncommitted
            && matches!(end, End::Terminated | End::HungUp | End::Agent(_) | End::TooManyRows | End::Revoked(_));
        if answers && self.outcomes_owed() {
            if self.machine.unsynced() {
                // Without the end of the batch the target keeps its answers to itself.
                let _ = self.control(&self.machine.flush());
            }
            let deadline = tokio::time::Instant::now() + LAST_OUTCOMES;
            self.collect_outcomes(deadline).await;
        }
        let recorder = Arc::clone(self.core.gate.recorder());
        let undone = self.machine.unsynced();
        for (_, flight) in std::mem::take(&mut self.flights) {
            // Nothing keeps a batch whose end was not sent; of another only ReadyForQuery tells.
            let status = if uncommitted || (flight.settling && undone) { Status::RolledBack } else { Status::Unknown };
            flight.finish(status, &recorder);
        }
        self.upstream.close().await;
        self.desk.close().await;
    }

    /// Reads answers for operations under way; nothing of them reaches the agent any more.
    async fn collect_outcomes(&mut self, deadline: tokio::time::Instant) {
        loop {
            // Each error is about one message, and there may be more behind it.
            while let Err(error) = self.take_target_messages() {
                if !matches!(error, End::TooManyRows) {
                    return;
                }
            }
            if !self.outcomes_owed() {
                return;
            }
            self.agent.writer.discard();
            let (from_target, to_target) = self.upstream.halves();
            // Cancel-safe as in `drive`.
            tokio::select! {
                written = to_target.write_some(), if !to_target.is_empty() => if written.is_err() { return },
                read = from_target.read(self.upstream_framer.read_buffer()) => {
                    if !matches!(read, Ok(1..)) {
                        return;
                    }
                }
                () = sleep_until(deadline) => return,
            }
        }
    }

    /// Whether an answer of the target still decides what became of something.
    fn outcomes_owed(&self) -> bool {
        let undone = self.machine.unsynced();
        self.flights.values().any(|flight| flight.running.is_some() && !(flight.settling && undone))
    }

    fn token(&mut self) -> Token {
        self.next_token = self.next_token.saturating_add(1);
        Token(self.next_token)
    }

    /// Everything besides the statement that an operation of this moment binds to.
    fn with_context<T>(&mut self, build: impl FnOnce(&operation::Context<'_>) -> T) -> T {
        let meaning = Arc::clone(self.meaning.current());
        self.with_meaning(&meaning, build)
    }

    /// The same for a text that was parsed earlier.
    fn with_meaning<T>(&mut self, meaning: &str, build: impl FnOnce(&operation::Context<'_>) -> T) -> T {
        let planned = self.desk.revision();
        let settled = self.machine.in_flight() == 0 && !self.machine.unsynced();
        let transaction = match self.machine.tx_state() {
            // What is under way may still begin or end a transaction.
            _ if !settled => Transaction::Batch,
            TxState::Idle => Transaction::Idle,
            TxState::Transaction => Transaction::Open,
            TxState::Failed => Transaction::Failed,
        };
        build(&operation::Context {
            key: &self.core.digest_key,
            subject: self.desk.subject(),
            target: self.desk.target(),
            database: &self.database,
            role: &self.role,
            catalog: &self.planner.loaded().catalog.revision,
            planned,
            transaction,
            meaning,
        })
    }

    /// Follows policy and catalog before something is judged.
    async fn refresh(&mut self) -> Result<(), End> {
        let loaded = match self.uncommitted_catalog(Loaded::is_usable).await? {
            Some(loaded) => loaded,
            None => self.catalog.current(&self.core).await.map_err(catalog_not_read)?,
        };
        self.planner.follow(loaded, self.desk.view());
        Ok(())
    }

    /// The policy changed: a session that it allows nothing is cut, streams and long answers that it no longer allows
    /// are too.
    fn policy_changed(&mut self) -> Result<(), End> {
        if let Some(why) = self.desk.revoked() {
            self.cancel_upstream();
            return Err(End::Revoked(why));
        }
        let view = self.desk.view().clone();
        let mut cut = Vec::new();
        for (token, flight) in &mut self.flights {
            let Some(operation) = flight.operation.as_mut().filter(|_| !flight.settling) else { continue };
            operation.planned = view.revision();
            let verdict = policy::decide(&view, operation);
            let denied = matches!(verdict.decision, policy::verdict::Decision::Deny(_));
            if !flight.cancelled && (denied || verdict.obligations.masks != flight.obligations.masks) {
                flight.cancelled = true;
                flight.refused =
                    Some(Words::new("42501", "ended: the access policy changed and no longer allows this"));
                cut.push(*token);
            }
        }
        if cut.is_empty() {
            return Ok(());
        }
        match self.machine.copy_fail() {
            Some(control) => self.control(&control),
            None => {
                self.cancel_upstream();
                Ok(())
            }
        }
    }

    /// Asks the target to cancel what runs.
    fn cancel_upstream(&mut self) {
        let Some(key) = self.upstream_key.clone() else { return };
        if self.machine.in_flight() == 0 {
            return;
        }
        let (core, target) = (Arc::clone(&self.core), Arc::clone(self.desk.target()));
        let before = self.cancelling.take();
        self.cancelling = Some(Cancelling::begin(before, core, target, self.database.clone(), key));
    }

    /// Before anything goes upstream that a cancel request must not hit.
    async fn settle_cancelling(&mut self) {
        if let Some(cancelling) = self.cancelling.take() {
            cancelling.settled().await;
        }
    }

    /// Sends a message that needs no verdict.
    fn control(&mut self, control: &pgcodec::Control) -> Result<(), End> {
        self.machine.sent(pgcodec::Expect::Control(control)).map_err(End::Upstream)?;
        self.upstream.control(control);
        Ok(())
    }
}

/// The last words for the agent, where the protocol has some.
fn farewell(end: &End) -> Option<Words> {
    match end {
        End::Terminated | End::HungUp => None,
        End::UpstreamGone => Some(Words::new("08006", "the target closed the connection")),
        End::Agent(violation) => Some(Words::new(violation.sqlstate(), violation.to_string())),
        End::Upstream(_) => Some(Words::new("08P01", "the target broke the protocol; the session is closed")),
        End::Caught(words, _) => Some(Words::new("XX000", format!("{words}; the session is closed"))),
        End::TooManyRows => {
            Some(Words::new("54000", "a result has more rows than the policy's limit; the session is closed"))
        }
        End::Revoked(why) => Some(Words::new("42501", format!("denied: {why}; the session is closed"))),
        End::Drained => Some(Words::new("57P01", "terminating connection: the sidecar is shutting down")),
    }
}

fn catalog_not_read(error: SnapshotError) -> End {
    tracing::warn!(target: "agentaccess", %error, "catalog not read");
    End::Caught("the catalog of the target cannot be read", error.to_string())
}

/// A message of ours or of the agent's decoded form, as bytes.
fn encoded(message: &Frontend) -> Result<BytesMut, End> {
    let mut out = BytesMut::new();
    message.encode(&mut out).map_err(End::Agent)?;
    Ok(out)
}
