//! What is told over OTLP of a session and of each operation in it.
//!
//! Names of attributes and all words are ours, names of policies, targets and relations those of the configuration and of
//! the catalog; no statement, no value, and no name that only an agent chose. While telemetry is off nothing is made.
//! An operation is a trace of its own, linked to the span of its session: a session may last for days.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use otel::{Attributes, Kind, Span, SpanId, Telemetry, TraceId};
use parking_lot::Mutex;
use policy::operation::{Access, Attribute, Operation, Origin, Protocol, ResourceKind, Strictness, Verb};
use policy::subject::Subject;
use policy::verdict::{Decision, DenyReason, RuleId, Verdict};
use recording::entry::Status;

use super::refusal::{Refusal, Refused};
use super::running::Outcome;
use super::{Desk, Stage};
use crate::outside::Target;
use crate::recorder::OpRef;

/// Longest `db.query.summary`, in bytes, as the conventions have it.
const SUMMARY: usize = 255;

/// A span that others are linked to.
pub(super) type Link = Option<(TraceId, SpanId)>;

// === operations ===

/// What is told of one operation; empty while telemetry is off, and for operations of our own.
#[derive(Clone, Debug, Default)]
pub struct OpTrace(Option<Arc<Story>>);

#[derive(Debug)]
struct Story {
    telemetry: Telemetry,
    trace: TraceId,
    span: SpanId,
    link: Link,
    /// As policies call it, and where.
    name: String,
    clock: Clock,
    rest: Mutex<Rest>,
}

#[derive(Debug, Default)]
struct Rest {
    attributes: Attributes,
    /// Of the span that is about the target.
    upstream: Attributes,
    children: Vec<Span>,
    sent: Option<Instant>,
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
struct Clock {
    wall: SystemTime,
    begun: Instant,
}

// === impl Clock ===

impl Clock {
    fn now() -> Self {
        Self { wall: SystemTime::now(), begun: Instant::now() }
    }

    fn at(&self, moment: Instant) -> SystemTime {
        let since = moment.saturating_duration_since(self.begun);
        self.wall.checked_add(since).unwrap_or(self.wall)
    }
}

// === impl OpTrace ===

impl OpTrace {
    pub(super) fn begin(desk: &Desk, op_ref: &OpRef, op: &Operation, stage: Stage<'_>) -> Self {
        let Some(telemetry) = desk.gate.telemetry.as_ref().filter(|_| op.origin == Origin::Agent) else {
            return Self::default();
        };
        let Some((trace, span)) = telemetry.begin() else { return Self::default() };
        let target = &desk.target;
        let mut attributes = Attributes::default();
        let mut upstream = Attributes::default();
        database(&mut attributes, op.protocol, target, op.attributes.get(&Attribute::Database).map(String::as_str));
        database(&mut upstream, op.protocol, target, None);
        attributes.text("db.operation.name", &op.action);
        attributes.text("db.query.summary", &summary(op));
        session(&mut attributes, desk.session.as_str());
        attributes.text("agentaccess.operation.id", op_ref.number());
        attributes.text("agentaccess.target", &target.key.name);
        attributes.word(
            "agentaccess.stage",
            match stage {
                Stage::Prepare => "prepare",
                Stage::Plan => "plan",
                Stage::Run => "run",
                Stage::Continue(_) => "continue",
            },
        );
        Self(Some(Arc::new(Story {
            telemetry: telemetry.clone(),
            trace,
            span,
            link: desk.link,
            name: format!("{} {}", op.action, target.key.name),
            clock: Clock::now(),
            rest: Mutex::new(Rest { attributes, upstream, ..Rest::default() }),
        })))
    }

    /// As the recording names it.
    pub(crate) fn id(&self) -> Option<String> {
        self.0.as_ref().map(|story| story.trace.to_string())
    }

    pub(super) fn decided(&self, verdict: &Verdict, took: Duration) {
        let Some(story) = &self.0 else { return };
        let now = Instant::now();
        let mut rest = story.rest.lock();
        let attributes = &mut rest.attributes;
        attributes.word(
            "agentaccess.decision",
            match verdict.decision.strictness() {
                Strictness::Allow => "allow",
                Strictness::RequireApproval => "require_approval",
                Strictness::Deny => "deny",
            },
        );
        if let Some(rule) = deciding(verdict) {
            let prefix = if rule.cluster { "cluster:" } else { "" };
            attributes.text("agentaccess.policy", &format!("{prefix}{}", rule.policy));
            attributes.text("agentaccess.rule", &rule.rule);
        }
        if let Some(reason) = &verdict.would_deny {
            attributes.word("agentaccess.would_deny", reason.word());
        }
        if !verdict.obligations.masks.is_empty() {
            attributes.flag("agentaccess.masked", true);
        }
        let begun = now.checked_sub(took).unwrap_or(now);
        rest.children.push(story.child("decide", Kind::Internal, begun, now));
    }

    /// People were asked, and waited for until now.
    pub(super) fn waited(&self, since: Instant, request: Option<&str>) {
        let Some(story) = &self.0 else { return };
        let mut child = story.child("approval", Kind::Internal, since, Instant::now());
        child.attributes.maybe("agentaccess.approval.id", request);
        let mut rest = story.rest.lock();
        rest.attributes.maybe("agentaccess.approval.id", request);
        rest.children.push(child);
    }

    pub(super) fn refused(&self, refused: &Refused, code: Option<&str>) {
        let Some(story) = &self.0 else { return };
        let word = refused.refusal.word();
        {
            let mut rest = story.rest.lock();
            let attributes = &mut rest.attributes;
            attributes.word("agentaccess.outcome", "refused");
            attributes.word("error.type", word);
            if let Refusal::Denied(reason) = &refused.refusal {
                attributes.word("agentaccess.reason", reason.word());
            }
            attributes.maybe("db.response.status_code", code);
        }
        story.tell(Some(word));
    }

    pub(super) fn sent(&self) {
        if let Some(story) = &self.0 {
            story.rest.lock().sent = Some(Instant::now());
        }
    }

    pub(super) fn ended(&self, outcome: &Outcome) {
        let Some(story) = &self.0 else { return };
        let word = status(outcome.status);
        let failed = (outcome.status != Status::Ok).then_some(word);
        {
            let mut rest = story.rest.lock();
            rest.attributes.word("agentaccess.outcome", word);
            rest.attributes.number("db.response.returned_rows", outcome.rows);
            let code = outcome.sqlstate.as_deref();
            rest.attributes.maybe("db.response.status_code", code);
            if let Some(word) = failed {
                rest.attributes.word("error.type", word);
            }
            if let Some(sent) = rest.sent {
                let mut child = story.child("upstream", Kind::Client, sent, Instant::now());
                child.attributes = std::mem::take(&mut rest.upstream);
                child.attributes.maybe("db.response.status_code", code);
                child.failed = failed;
                rest.children.push(child);
            }
        }
        story.tell(failed);
    }
}

impl Story {
    fn child(&self, name: &'static str, kind: Kind, begin: Instant, end: Instant) -> Span {
        Span {
            trace: self.trace,
            id: self.telemetry.child(),
            parent: Some(self.span),
            link: None,
            name: name.into(),
            kind,
            begin: self.clock.at(begin),
            end: self.clock.at(end),
            attributes: Attributes::default(),
            failed: None,
        }
    }

    fn tell(&self, failed: Option<&'static str>) {
        let rest = std::mem::take(&mut *self.rest.lock());
        self.telemetry.span(Span {
            trace: self.trace,
            id: self.span,
            parent: None,
            link: self.link,
            name: self.name.clone().into(),
            kind: Kind::Server,
            begin: self.clock.wall,
            end: self.clock.at(Instant::now()),
            attributes: rest.attributes,
            failed,
        });
        for child in rest.children {
            self.telemetry.span(child);
        }
    }
}

// === sessions ===

/// What is told of one session, when it is over.
#[derive(Debug)]
pub struct SessionTrace {
    telemetry: Telemetry,
    ids: (TraceId, SpanId),
    clock: Clock,
    attributes: Attributes,
}

/// How a session ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub why: &'static str,
    pub operations: u64,
    pub refusals: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// It never came about.
    pub failed: bool,
}

impl Desk {
    /// To be kept until the session is over. `None` while telemetry is off.
    pub fn session_trace(&self, protocol: Protocol, database: &str) -> Option<SessionTrace> {
        let telemetry = self.gate.telemetry.as_ref()?.clone();
        let ids = self.link?;
        let mut attributes = Attributes::default();
        self::database(&mut attributes, protocol, &self.target, Some(database));
        session(&mut attributes, self.session.as_str());
        attributes.text("agentaccess.target", &self.target.key.name);
        who(&mut attributes, &self.subject);
        Some(SessionTrace { telemetry, ids, clock: Clock::now(), attributes })
    }
}

impl SessionTrace {
    pub fn end(mut self, ended: Ended) {
        let attributes = &mut self.attributes;
        attributes.word("agentaccess.session.end", ended.why);
        attributes.number("agentaccess.session.operations", ended.operations);
        attributes.number("agentaccess.session.refusals", ended.refusals);
        attributes.number("agentaccess.session.bytes_in", ended.bytes_in);
        attributes.number("agentaccess.session.bytes_out", ended.bytes_out);
        let (trace, id) = self.ids;
        self.telemetry.span(Span {
            trace,
            id,
            parent: None,
            link: None,
            name: "session".into(),
            kind: Kind::Server,
            begin: self.clock.wall,
            end: self.clock.at(Instant::now()),
            attributes: self.attributes,
            failed: ended.failed.then_some("not_established"),
        });
    }
}

// === words ===

fn database(attributes: &mut Attributes, protocol: Protocol, target: &Target, database: Option<&str>) {
    let system = match protocol {
        Protocol::Postgres => "postgresql",
    };
    attributes.word("db.system.name", system);
    attributes.maybe("db.namespace", database);
    attributes.text("server.address", &target.host);
    attributes.number("server.port", target.port.into());
}

fn session(attributes: &mut Attributes, session: &str) {
    attributes.text("session.id", session);
    attributes.text("agentaccess.session.id", session);
}

fn who(attributes: &mut Attributes, subject: &Subject) {
    attributes.text("agentaccess.subject.namespace", &subject.namespace);
    attributes.text("agentaccess.subject.service_account", &subject.service_account);
    attributes.maybe("k8s.pod.name", subject.pod.as_deref());
    attributes.maybe("k8s.pod.uid", subject.pod_uid.as_deref());
}

/// The operation and the relations that the catalog knows: names that an agent chose itself are left out.
fn summary(op: &Operation) -> String {
    let mut summary = op.action.clone();
    let mut named: Vec<&[String]> = Vec::new();
    let known = |kind| matches!(kind, ResourceKind::Relation | ResourceKind::RelationStream | ResourceKind::Catalog);
    // What is made or renamed has a name that nobody but the agent gave it.
    let told = |access: &&Access| known(access.resource.kind) && access.verb != Verb::Administer && !access.indirect;
    for access in op.accesses.iter().filter(told) {
        let path = access.resource.path.as_slice();
        // Read and written: named once.
        if named.contains(&path) {
            continue;
        }
        named.push(path);
        let name = path.join(".");
        if summary.len().saturating_add(name.len()) >= SUMMARY {
            break;
        }
        summary.push(' ');
        summary.push_str(&name);
    }
    summary
}

fn deciding(verdict: &Verdict) -> Option<&RuleId> {
    match &verdict.decision {
        Decision::Deny(DenyReason::Rule { id, .. } | DenyReason::Unasked { id } | DenyReason::Unbounded { id, .. }) => {
            Some(id)
        }
        Decision::RequireApproval(terms) => terms.asked_by.first(),
        Decision::Allow => verdict.why.matched.first().map(|matched| &matched.rule),
        Decision::Deny(_) => None,
    }
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Error => "error",
        Status::Unknown => "unknown",
        Status::Interrupted => "interrupted",
        Status::RolledBack => "rolled_back",
        Status::Cancelled => "cancelled",
        Status::NotSent => "not_sent",
    }
}
