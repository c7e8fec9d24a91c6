//! The one place that turns operations, verdicts and approvals into entries of the recording.
//!
//! It takes only redacted text. Invariant: `intent` answers `Ok` only when the entry is in the recording at the
//! durability that policy asks for: by the writer's word, and for `Replicated` by the operator's too; an answer that
//! comes too late is `Err`, and the entry that may still land is followed by an outcome `not_sent`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use policy::operation::{Access, Fields, Operation, Origin};
use policy::verdict::{Durability, Level, Verdict};
use recording::entry::{self, Body, Entry, What};
use recording::{WriteError, Writer};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::gate::{OpTrace, Outcome, Refused, Told};
use crate::metrics::Metrics;
use crate::replicas::{Missing, Replicas};

/// A session in the recording; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRef(Arc<str>);

/// One operation of a session.
#[derive(Clone, Debug)]
pub struct OpRef {
    session: SessionRef,
    op: String,
    trace: OpTrace,
}

impl SessionRef {
    pub fn new(id: &str) -> Self {
        Self(Arc::from(id))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl OpRef {
    pub fn new(session: &SessionRef, number: u64) -> Self {
        Self { session: session.clone(), op: format!("o-{number}"), trace: OpTrace::default() }
    }

    pub(crate) fn traced(self, trace: OpTrace) -> Self {
        Self { trace, ..self }
    }

    pub(crate) fn trace(&self) -> &OpTrace {
        &self.trace
    }

    /// Its name within the session.
    pub(crate) fn number(&self) -> &str {
        &self.op
    }
}

/// `SESSION/OP`, as agents are told.
impl fmt::Display for OpRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.session.as_str(), self.op)
    }
}

/// Why nothing may be forwarded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unrecorded {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("too many entries wait to be recorded")]
    Busy,
    #[error("the recording did not answer within {0:?}")]
    Slow(Duration),
    /// It is recorded here, and has to be elsewhere too.
    #[error("policy wants it recorded outside of the pod first, and {0}")]
    NotReplicated(Missing),
}

pub struct Recorder {
    writer: Writer,
    replicas: Replicas,
    wait: Duration,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("wait", &self.wait).finish_non_exhaustive()
    }
}

impl Recorder {
    /// `wait`: how long an operation may wait for its intent.
    pub fn new(writer: Writer, wait: Duration, metrics: Arc<Metrics>) -> Arc<Self> {
        Self::replicating(writer, Replicas::none(), wait, metrics)
    }

    /// The same, where entries may be replicated.
    pub fn replicating(writer: Writer, replicas: Replicas, wait: Duration, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { writer, replicas, wait, metrics })
    }

    /// Whether an operation would be admitted now.
    pub fn ready(&self) -> Result<(), Unrecorded> {
        Ok(self.writer.ready()?)
    }

    /// A session begins; nothing of it goes on unless this is recorded.
    pub async fn open(&self, session: &SessionRef, open: entry::Open) -> Result<(), Unrecorded> {
        let entry = Entry::session(session.as_str(), Body::Open(Box::new(open)));
        self.append(entry, Durability::Written).await
    }

    pub fn close(&self, session: &SessionRef, close: entry::Close) {
        self.submit(Entry::session(session.as_str(), Body::Close(close)));
    }

    pub async fn intent(
        &self,
        op: &OpRef,
        operation: &Operation,
        verdict: &Verdict,
        approval: Option<&str>,
        rollback_above: Option<u64>,
    ) -> Result<(), Unrecorded> {
        let obligations = &verdict.obligations;
        let mut duties: Vec<String> = obligations.masks.iter().map(|rule| format!("mask:{rule}")).collect();
        duties.extend(obligations.detectors.iter().map(|rule| format!("detect:{rule}")));
        duties.extend(obligations.max_rows.map(|rows| format!("maxRows:{rows}")));
        let intent = entry::Intent {
            decided: decided(op, operation, Some(verdict)),
            obligations: duties,
            durability: durability(obligations.durability),
            approval: approval.map(str::to_owned),
            rollback_above,
        };
        let result = self.append(entry_of(op, Body::Intent(Box::new(intent))), obligations.durability).await;
        if result.is_err() {
            // It may still land; what follows it then says that nothing was sent.
            self.submit(entry_of(op, Body::Outcome(entry::Outcome::bare(entry::Status::NotSent))));
        }
        result
    }

    /// Records a refusal and waits for it as long as for an intent, so that refusing cannot outrun the disk.
    pub async fn refusal(
        &self,
        op: &OpRef,
        operation: &Operation,
        verdict: Option<&Verdict>,
        refused: &Refused,
        told: &Told,
    ) {
        let refusal = entry::Refusal {
            decided: decided(op, operation, verdict),
            reason: refused.refusal.word().to_owned(),
            sqlstate: told.code.clone(),
            told: told.text.clone(),
            approval: refused.refusal.request().map(str::to_owned),
        };
        let entry = entry_of(op, Body::Refusal(Box::new(refusal)));
        if self.append(entry, Durability::Written).await.is_err() {
            self.unrecorded_refusal();
        }
    }

    /// How an operation ended. Its slot was reserved with the intent: never waits.
    pub fn outcome(&self, op: &OpRef, outcome: &Outcome, took: Duration) {
        let body = entry::Outcome {
            rows: Some(outcome.rows),
            bytes: outcome.bytes,
            digest: outcome.stream_digest.map(|digest| format!("sha256:{}", hex(&digest))),
            sqlstate: outcome.sqlstate.clone(),
            found: outcome.found.clone(),
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            ..entry::Outcome::bare(outcome.status)
        };
        self.submit(entry_of(op, Body::Outcome(body)));
    }

    /// Masked bytes of a result or a stream.
    pub fn data(&self, op: &OpRef, data: entry::Data) {
        self.submit(entry_of(op, Body::Data(data)));
    }

    /// What is not an operation: a malformed message, a limit, a failed login, a reload.
    pub fn marker(&self, session: Option<&SessionRef>, what: What, detail: impl Into<String>) {
        let body = Body::Marker(entry::Marker { what, count: None, detail: Some(detail.into()) });
        self.submit(match session {
            Some(session) => Entry::session(session.as_str(), body),
            None => Entry::global(body),
        });
    }

    /// An event of an approval request, durable before this answers `Ok`.
    pub async fn approval(&self, approval: entry::Approval) -> Result<(), Unrecorded> {
        self.append(Entry::global(Body::Approval(Box::new(approval))), Durability::Written).await
    }

    /// Something was refused that could not be recorded one by one.
    pub fn unrecorded_refusal(&self) {
        self.writer.note_unrecorded_refusal();
    }

    async fn append(&self, entry: Entry, level: Durability) -> Result<(), Unrecorded> {
        let (done, answer) = oneshot::channel();
        let sent = self.writer.submit(entry, durability(level), move |result| {
            // A caller that waits no longer has counted the refusal itself.
            let _ = done.send(result);
        });
        let deadline = Instant::now() + self.wait;
        let result = match sent {
            Err(_) => Err(Unrecorded::Busy),
            Ok(()) => match timeout_at(deadline, answer).await {
                Ok(Ok(Ok(position))) if level == Durability::Replicated => {
                    self.replicas.until(position.seq, deadline).await.map_err(Unrecorded::NotReplicated)
                }
                Ok(Ok(Ok(_position))) => Ok(()),
                Ok(Ok(Err(error))) => Err(Unrecorded::Write(error)),
                Ok(Err(_)) => Err(Unrecorded::Write(WriteError::Closed)),
                Err(_) => Err(Unrecorded::Slow(self.wait)),
            },
        };
        if let Err(error) = &result {
            self.metrics.recording_write_error(error.word());
        }
        result
    }

    fn submit(&self, entry: Entry) {
        let metrics = Arc::clone(&self.metrics);
        let sent = self.writer.submit(entry, recording::entry::Durability::Written, move |result| {
            if let Err(error) = result {
                metrics.recording_write_error(Unrecorded::from(error).word());
            }
        });
        if sent.is_err() {
            self.metrics.recording_write_error(Unrecorded::Busy.word());
        }
    }
}

impl Unrecorded {
    /// A bounded label.
    fn word(&self) -> &'static str {
        match self {
            Self::Write(WriteError::Full { .. } | WriteError::NoSpace { .. }) => "full",
            Self::Write(_) => "io",
            Self::Busy => "busy",
            Self::Slow(_) => "slow",
            Self::NotReplicated(_) => "not_replicated",
        }
    }
}

fn entry_of(op: &OpRef, body: Body) -> Entry {
    Entry::operation(op.session.as_str(), op.op.clone(), body)
}

fn durability(level: Durability) -> entry::Durability {
    match level {
        Durability::Written => entry::Durability::Written,
        Durability::Synced => entry::Durability::Synced,
        Durability::Replicated => entry::Durability::Replicated,
    }
}

fn decided(op: &OpRef, operation: &Operation, verdict: Option<&Verdict>) -> entry::Decided {
    let level = verdict.map_or(Level::Statements, |v| v.obligations.level);
    entry::Decided {
        protocol: format!("{:?}", operation.protocol).to_lowercase(),
        action: operation.action.clone(),
        resources: operation.accesses.iter().map(|a| format!("{:?} {}", a.verb, a.resource)).collect(),
        accesses: Some(operation.accesses.iter().map(access).collect()),
        digest: operation.digest.to_string(),
        display: (level > Level::Metadata).then(|| operation.display.as_str().to_owned()),
        decision: verdict.map_or(entry::Decision::Deny, |v| match v.decision.strictness() {
            policy::operation::Strictness::Allow => entry::Decision::Allow,
            policy::operation::Strictness::RequireApproval => entry::Decision::RequireApproval,
            policy::operation::Strictness::Deny => entry::Decision::Deny,
        }),
        would_deny: verdict.and_then(|v| v.would_deny.as_ref()).map(policy::verdict::DenyReason::message),
        would_deny_word: verdict.and_then(|v| v.would_deny.as_ref()).map(|reason| reason.word().to_owned()),
        rules: verdict.map(|v| v.why.matched.iter().map(|m| m.rule.to_string()).collect()).unwrap_or_default(),
        revision: operation.planned.to_string(),
        internal: operation.origin == Origin::Internal,
        trace: op.trace.id(),
    }
}

fn access(access: &Access) -> entry::Access {
    let resource = &access.resource;
    entry::Access {
        verb: format!("{:?}", access.verb),
        kind: format!("{:?}", resource.kind),
        path: resource.path.clone(),
        fields: match &resource.fields {
            Fields::All => None,
            Fields::Named(names) => Some(names.iter().cloned().collect()),
        },
        bounded: access.bounded,
        indirect: access.indirect,
    }
}

/// What approvers were told that it would do.
pub fn impact(impact: &policy::impact::Impact) -> entry::Impact {
    entry::Impact {
        means: impact.means(),
        estimated_rows: impact.estimated,
        counted_rows: impact.counted.map(|counted| counted.rows),
        more: impact.counted.is_some_and(|counted| counted.more),
        rollback_above: impact.rollback_above(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
