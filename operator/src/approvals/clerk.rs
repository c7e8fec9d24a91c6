//! The leader's part: it writes into `status` what everybody counts, tells of it in Events, and deletes what ended a day
//! ago.
//!
//! Nothing that it writes approves anything. Each write is over the version that was counted, so that of two leaders one
//! writes, and no word of others (withdrawn, used) is overwritten.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crds::approval::{ApprovalRequest, ApproverDecision, Decision, GrantStatus, Phase};
use crds::limits;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use otel::Telemetry;
use serde_json::json;
use tokio::time::timeout;

use super::book::{Book, Counted};
use super::question::how;
use super::request::Id;
use super::tally::Tally;
use crate::leader::Term;
use crate::metrics::Metrics;

const FIELD_MANAGER: &str = "agentaccess-operator";
/// For one request to the API server.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks when nothing changes.
const LOOK: Duration = Duration::from_secs(1);
/// After a write that failed, or whose echo has not come yet.
const AGAIN: Duration = Duration::from_secs(2);
/// Bytes of an Event's note.
const NOTE: usize = 1024;
/// What ended is kept so long.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

pub struct Clerk {
    client: Client,
    book: Arc<Book>,
    metrics: Arc<Metrics>,
    /// Whom Events name.
    identity: String,
    telemetry: Telemetry,
    term: Term,
}

/// What has happened since the status was written.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Asked,
    Voted {
        number: usize,
        user: String,
        decision: Decision,
    },
    /// One person did what several should: who, why, and until when it counts.
    Broken {
        user: String,
        reason: String,
        until: String,
    },
    Now(Phase),
    /// It counts until then.
    Granted(String),
    /// Its time is over.
    Over,
}

#[derive(Debug, PartialEq)]
enum Work {
    Nothing,
    Delete,
    Write {
        phase: Phase,
        approvals: i32,
        decisions: Vec<ApproverDecision>,
        grant: Option<GrantStatus>,
        news: Vec<News>,
    },
}

// === impl Clerk ===

impl Clerk {
    pub fn new(client: Client, book: Arc<Book>, metrics: Arc<Metrics>, identity: &str, telemetry: Telemetry) -> Self {
        Self { client, book, metrics, identity: identity.to_owned(), telemetry, term: Term::default() }
    }

    /// This replica leads, for now; to be said again and again.
    pub fn lead(&self) {
        self.term.begin();
    }

    /// Works until it is dropped, while this replica leads.
    pub async fn work(&self) {
        let reporter =
            Reporter { controller: "agentaccess-operator".to_owned(), instance: Some(self.identity.clone()) };
        let recorder = Recorder::new(self.client.clone(), reporter);
        let mut tried: HashMap<Id, Instant> = HashMap::new();
        loop {
            // A change is a wake-up and no more: nothing is lost when the wait ends first.
            let _ = timeout(LOOK, self.book.change()).await;
            if !self.term.is_on() {
                self.metrics.approvals_pending(None);
                self.metrics.grants(None);
                continue;
            }
            if !self.book.is_ready() {
                continue;
            }
            tried.retain(|_, at| at.elapsed() < AGAIN);
            for counted in self.book.all() {
                let now = Timestamp::now();
                let work = work(&counted, &counted.tally(now), now);
                if work != Work::Nothing && !tried.contains_key(&counted.request.id) {
                    self.done(&recorder, &counted, work, &mut tried).await;
                }
            }
            self.metrics.approvals_pending(Some(self.book.pending(Timestamp::now())));
            self.metrics.grants(Some(self.book.grants(Timestamp::now())));
        }
    }

    async fn done(&self, recorder: &Recorder, counted: &Counted, work: Work, tried: &mut HashMap<Id, Instant>) {
        let request = &counted.request;
        let (namespace, name) = &request.id;
        let api: Api<ApprovalRequest> = Api::namespaced(self.client.clone(), namespace);
        let (done, news) = match work {
            Work::Nothing => return,
            Work::Delete => {
                let only =
                    Preconditions { uid: Some(request.uid.clone()), resource_version: Some(request.version.clone()) };
                let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
                (timeout(PATIENCE, api.delete(name, &params)).await.map(|done| done.map(|_| None)), Vec::new())
            }
            Work::Write { phase, approvals, decisions, grant, news } => {
                let mut said = json!({"phase": phase, "approvals": approvals, "decisions": decisions});
                if let (Some(grant), Some(said)) = (grant, said.as_object_mut()) {
                    said.insert("grant".to_owned(), json!(grant));
                }
                let status = json!({
                    "apiVersion": crds::API_VERSION, "kind": "ApprovalRequest",
                    "metadata": {"resourceVersion": request.version, "uid": request.uid},
                    "status": said,
                });
                let params = PatchParams::apply(FIELD_MANAGER).force();
                let patch = Patch::Apply(&status);
                (timeout(PATIENCE, api.patch_status(name, &params, &patch)).await.map(|done| done.map(Some)), news)
            }
        };
        match done {
            Ok(Ok(written)) => {
                // So that the next look sees it, and not only when the watch has said so.
                if let Some(Ok(request)) = written.as_ref().map(super::request::Request::read) {
                    self.book.put(request, Timestamp::now());
                }
                for one in &news {
                    self.tell(recorder, counted, one).await;
                }
            }
            Ok(Err(kube::Error::Api(status))) if status.is_conflict() || status.is_not_found() => {
                tried.insert(request.id.clone(), Instant::now());
            }
            Ok(Err(error)) => {
                tried.insert(request.id.clone(), Instant::now());
                tracing::warn!(event = "approval_status_not_written", namespace, name, %error);
            }
            Err(_) => {
                tried.insert(request.id.clone(), Instant::now());
                tracing::warn!(event = "approval_status_not_written", namespace, name, error = "too slow");
            }
        }
    }

    async fn tell(&self, recorder: &Recorder, counted: &Counted, news: &News) {
        let request = &counted.request;
        let (namespace, name) = &request.id;
        match news {
            News::Now(phase) => {
                self.metrics.approval_ended(outcome(*phase));
                super::trace::ended(&self.telemetry, request, outcome(*phase));
                tracing::info!(event = "approval_ended", namespace, name, phase = ?phase);
            }
            News::Over => {
                self.metrics.approval_ended("over");
                tracing::info!(event = "grant_over", namespace, name);
            }
            News::Broken { user, reason, until } => {
                self.metrics.glass_broken(namespace);
                tracing::warn!(event = "break_glass", namespace, name, user, reason, until);
            }
            News::Granted(_) | News::Asked | News::Voted { .. } => {}
        }
        let reference = ObjectReference {
            api_version: Some(crds::API_VERSION.to_owned()),
            kind: Some("ApprovalRequest".to_owned()),
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            uid: Some(request.uid.clone()),
            ..ObjectReference::default()
        };
        let event = told(news, &request.spec.subject.service_account, &how(name, &request.spec, namespace));
        // Events are for people: one that is lost twice changes nothing.
        for again in [true, false] {
            let error = match timeout(PATIENCE, recorder.publish(&event, &reference)).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "too slow".to_owned(),
            };
            tracing::warn!(event = "event_not_written", namespace, name, again, error);
        }
    }
}

impl std::fmt::Debug for Clerk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clerk").finish_non_exhaustive()
    }
}

fn work(counted: &Counted, tally: &Tally, now: Timestamp) -> Work {
    let request = &counted.request;
    let phase = tally.standing.phase();
    let open = matches!(phase, Phase::Pending);
    let until = tally.grant.as_ref().map(|grant| grant.until);
    let ended = if open { None } else { counted.ballot.last().max(Some(request.expires)).max(until) };
    if ended.and_then(|ended| ended.checked_add(KEPT).ok()).is_some_and(|until| now >= until) {
        return Work::Delete;
    }
    let approvals = i32::from(tally.approvals).min(limits::QUORUM);
    let before = request.status.clone().unwrap_or_default();
    let written = request.status.is_some();
    let grant = tally.grant.as_ref().map(|grant| GrantStatus {
        scope: grant.scope,
        not_before: super::written(grant.from),
        not_after: super::written(grant.until),
        break_glass: grant.broken.is_some(),
    });
    let same = (before.phase, before.approvals) == (phase, approvals);
    if written && same && (&before.decisions, &before.grant) == (&tally.decisions, &grant) {
        return Work::Nothing;
    }
    let mut news = Vec::new();
    if !written {
        news.push(News::Asked);
    }
    for (at, decision) in tally.decisions.iter().enumerate().filter(|(_, one)| !before.decisions.contains(one)) {
        if decision.decision == Decision::BreakGlass {
            let (user, reason) = (decision.user.clone(), decision.reason.clone().unwrap_or_default());
            let until = until.unwrap_or(request.expires);
            news.push(News::Broken { user, reason, until: super::written(until) });
            continue;
        }
        news.push(News::Voted { number: at, user: decision.user.clone(), decision: decision.decision });
    }
    if phase != before.phase {
        news.push(match (phase, &grant) {
            (Phase::Expired, Some(_)) => News::Over,
            _ => News::Now(phase),
        });
    }
    if let (Phase::Approved, Some(grant)) = (phase, &grant)
        && before.grant.as_ref() != Some(grant)
    {
        news.push(News::Granted(grant.not_after.clone()));
    }
    Work::Write { phase, approvals, decisions: tally.decisions.clone(), grant, news }
}

fn told(news: &News, agent: &str, how: &str) -> Event {
    let (type_, reason, action, note) = match news {
        News::Asked => (
            EventType::Normal,
            "ApprovalRequested",
            "Ask".to_owned(),
            format!("{agent} waits for approval. To decide: {how}"),
        ),
        // The number keeps votes apart: Events that are alike are counted, not listed.
        News::Voted { number, user, decision } => {
            let word = match decision {
                Decision::Approve => "approved",
                Decision::Deny => "denied",
                Decision::Revoke => "revoked",
                Decision::BreakGlass => "break-glass",
            };
            (EventType::Normal, "Voted", format!("Vote{number}"), format!("{word} by {user}"))
        }
        News::Broken { user, reason, until } => (
            EventType::Warning,
            "BreakGlass",
            "BreakGlass".to_owned(),
            cut(format!("{user} broke the glass for {agent} until {until}: {reason}")),
        ),
        News::Granted(until) => (
            EventType::Normal,
            "Granted",
            "Grant".to_owned(),
            format!("it counts until {until}; spec.grant says for what"),
        ),
        News::Over => (EventType::Normal, "Expired", "Decide".to_owned(), "its time is over".to_owned()),
        News::Now(phase) => {
            let note = match phase {
                Phase::Pending => "it waits for approval again: votes no longer count",
                Phase::Approved => "it is approved",
                Phase::Denied => "it was denied",
                Phase::Expired => "nobody decided or used it in time",
                Phase::Withdrawn => "the agent gave it up",
                Phase::Revoked => "it was revoked, or nobody is left to use it",
            };
            let type_ = if *phase == Phase::Pending { EventType::Warning } else { EventType::Normal };
            (type_, word(*phase), "Decide".to_owned(), note.to_owned())
        }
    };
    Event { type_, reason: reason.to_owned(), note: Some(note), action, secondary: None }
}

/// As much as an Event holds.
fn cut(mut note: String) -> String {
    while note.len() > NOTE {
        note.pop();
    }
    note
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "Pending",
        Phase::Approved => "Approved",
        Phase::Denied => "Denied",
        Phase::Expired => "Expired",
        Phase::Withdrawn => "Withdrawn",
        Phase::Revoked => "Revoked",
    }
}

fn outcome(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "reopened",
        Phase::Approved => "approved",
        Phase::Denied => "denied",
        Phase::Expired => "expired",
        Phase::Withdrawn => "withdrawn",
        Phase::Revoked => "revoked",
    }
}

#[cfg(test)]
mod tests;
