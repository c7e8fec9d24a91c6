//! Approvals that humans give on the cluster, asked for and used up over `control`.
//!
//! Nothing is decided here: a standing is what the operator says, and an approval counts only if the operator, asked
//! at that moment, says that nobody has used it, or that it grants this too. An operator that is away approves nothing.
//! Question, denial and use are
//! on record here too; what cannot be recorded is not asked and not used.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::v1::{self, ConsumeRequest, Name, Question, standing};
use crds::approval::Cover;
use policy::impact::Impact;
use policy::operation::Digest;
use policy::verdict::Scope;
use recording::entry::{Approval, ApprovalEvent, Vote};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::granted::Granted;
use super::line::Line;
use super::{jittered, why};
use crate::ledger::{Ledger, NotRecorded};
use crate::outside::{Answer, Approvals, Ask, AskError, Lease, NotConsumed, Standing, Ticket, Used};
use crate::recorder;

/// For a single answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that are remembered: more than can be open for one pod.
const REMEMBERED: usize = 256;
/// Between two attempts to follow a request again.
const PAUSE: Duration = Duration::from_secs(1);

/// The operator's approvals.
#[derive(Clone)]
pub struct ClusterApprovals {
    line: Line,
    ledger: Arc<dyn Ledger>,
    granted: Arc<Granted>,
    asked: Arc<Asked>,
}

/// Names of requests that were asked for here, the last ones.
#[derive(Default)]
struct Asked(parking_lot::Mutex<VecDeque<String>>);

impl Asked {
    /// Whether nothing was asked for under this name yet.
    fn is_new(&self, name: &str) -> bool {
        let mut names = self.0.lock();
        if names.iter().any(|known| known == name) {
            return false;
        }
        if names.len() >= REMEMBERED {
            names.pop_front();
        }
        names.push_back(name.to_owned());
        true
    }
}

impl std::fmt::Debug for ClusterApprovals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterApprovals").finish_non_exhaustive()
    }
}

impl ClusterApprovals {
    pub fn new(line: Line, ledger: Arc<dyn Ledger>) -> Self {
        Self { line, ledger, granted: Arc::default(), asked: Arc::default() }
    }
}

impl Approvals for ClusterApprovals {
    fn ask(&self, ask: Ask) -> Answer<'_, Result<Ticket, AskError>> {
        let mut line = self.line.clone();
        Box::pin(async move {
            if let Some(ticket) = self.granted.find(&ask) {
                return Ok(ticket);
            }
            let outdated = self.granted.outdated(&ask);
            if !outdated.is_empty() {
                // They are used no more, whether the operator hears of it or not.
                let all = self.clone();
                tokio::spawn(async move {
                    for name in outdated {
                        all.withdraw(&name).await;
                    }
                });
            }
            let question = question(&ask);
            let (name, first, stream) = open(&mut line, question.clone()).await.map_err(|status| away(&status))?;
            let mut asked = entry(&name, ask.digest, ApprovalEvent::Requested);
            asked.expires = expires(ask.terms.pending_ttl);
            asked.display = Some(question.statement.clone());
            // Of a request that was open before people read what was found out then.
            let fresh = self.asked.is_new(&name) && matches!(first, Standing::Pending { .. });
            asked.impact = ask.impact.as_ref().filter(|_| fresh).map(recorder::impact);
            if self.ledger.approval(asked).await.is_err() {
                self.withdraw(&name).await;
                return Err(AskError::Away);
            }
            let (sender, standing) = watch::channel(first);
            let denials = Denials { ledger: Arc::clone(&self.ledger), name: name.clone(), digest: ask.digest };
            tokio::spawn(follow(line, question, denials, stream, sender));
            Ok(Ticket { name, standing })
        })
    }

    fn knows(&self, ask: &Ask) -> bool {
        // Of requests that are open the operator knows alone.
        self.granted.find(ask).is_some()
    }

    fn withdraw(&self, name: &str) -> Answer<'_, ()> {
        let (mut client, name) = (self.line.clone().client(), name.to_owned());
        Box::pin(async move {
            // What cannot be withdrawn ends by its own deadline.
            let _ = timeout(PATIENCE, client.withdraw(Name { name })).await;
        })
    }

    fn consume(&self, ticket: &Ticket, ask: &Ask) -> Answer<'_, Result<Used, NotConsumed>> {
        let mut client = self.line.clone().client();
        let (ticket, ask) = (ticket.clone(), ask.clone());
        Box::pin(async move {
            let name = ticket.name.clone();
            let request =
                ConsumeRequest { name: name.clone(), digest: ask.digest.0.to_vec(), question: Some(question(&ask)) };
            // Taken before, so that what is left of a grant is not more here than there.
            let begun = Instant::now();
            match timeout(PATIENCE, client.consume(request)).await {
                // It is used from here on, also when that cannot be recorded.
                Ok(Ok(consumed)) => {
                    let v1::Consumed { by, grant, rollback_above } = consumed.into_inner();
                    let broken = grant.as_ref().map(|grant| grant.broken.clone()).unwrap_or_default();
                    let lease = grant.and_then(|grant| lease(&grant, begun, ticket, &ask));
                    let first = lease.as_ref().is_none_or(|lease| self.granted.keep(&ask, lease));
                    let votes = if first { by.as_slice() } else { &[] };
                    let unrecorded = |_| NotConsumed("its use could not be recorded");
                    used(&*self.ledger, &name, ask.digest, votes, &broken).await.map_err(unrecorded)?;
                    Ok(Used { by, lease, rollback_above })
                }
                Ok(Err(status)) if status.code() == Code::FailedPrecondition => {
                    self.granted.forget(&name);
                    Err(NotConsumed("it was used, withdrawn or revoked, or has expired"))
                }
                Ok(Err(status)) if status.code() == Code::ResourceExhausted => {
                    Err(NotConsumed("this pod uses approvals too fast: try again in a second"))
                }
                // Whether it was used is not known; asking again is for the operator to refuse.
                Ok(Err(status)) => {
                    tracing::warn!(
                        event = "operator_away",
                        name,
                        error = why(&status),
                        "an approval could not be used"
                    );
                    Err(NotConsumed("the operator is away"))
                }
                Err(_) => {
                    tracing::warn!(event = "operator_away", name, "an approval could not be used in {PATIENCE:?}");
                    Err(NotConsumed("the operator is away"))
                }
            }
        })
    }
}

/// Until when this process goes by a grant. `None`: it is of a kind that is not known here, and good for this use alone.
fn lease(grant: &v1::Grant, begun: Instant, ticket: Ticket, ask: &Ask) -> Option<Lease> {
    let of_session = match v1::Scope::try_from(grant.scope).ok()? {
        v1::Scope::Once => return None,
        v1::Scope::Session => true,
        v1::Scope::Duration | v1::Scope::Task => false,
    };
    // What cannot be added has ended.
    let ends = begun.checked_add(Duration::from_millis(grant.left_milliseconds)).unwrap_or(begun);
    Some(Lease { name: ticket.name, ends, standing: ticket.standing, revision: ask.revision, of_session })
}

/// Who approved, that it was enough, and that it is used: in this order, so that none of it is there without the one
/// before. `by` is empty when the first two are on record already.
async fn used(ledger: &dyn Ledger, name: &str, digest: Digest, by: &[String], broken: &str) -> Result<(), NotRecorded> {
    let reason = (!broken.is_empty()).then(|| format!("break-glass: {broken}"));
    for person in by {
        let mut vote = entry(name, digest, ApprovalEvent::Vote);
        (vote.vote, vote.reviewer) = (Some(Vote::Approve), Some(person.clone()));
        vote.reason.clone_from(&reason);
        ledger.approval(vote).await?;
    }
    if !by.is_empty() {
        ledger.approval(Approval { reason, ..entry(name, digest, ApprovalEvent::Granted) }).await?;
    }
    ledger.approval(entry(name, digest, ApprovalEvent::Consumed)).await
}

fn entry(name: &str, digest: Digest, event: ApprovalEvent) -> Approval {
    Approval {
        name: name.to_owned(),
        event,
        digest: digest.to_string(),
        expires: String::new(),
        vote: None,
        reviewer: None,
        reviewer_uid: None,
        reason: None,
        shared_user: false,
        display: None,
        impact: None,
    }
}

/// By this pod's clock; the operator's decides.
fn expires(after: Duration) -> String {
    let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
    let end = jiff::Timestamp::now().as_second().saturating_add(seconds);
    jiff::Timestamp::from_second(end).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// Puts a denial on record when it is heard.
struct Denials {
    ledger: Arc<dyn Ledger>,
    name: String,
    digest: Digest,
}

impl Denials {
    async fn hear(&self, standing: &Standing) {
        let Standing::Denied { by, reason } = standing else { return };
        let mut denied = entry(&self.name, self.digest, ApprovalEvent::Denied);
        (denied.vote, denied.reviewer, denied.reason) = (Some(Vote::Deny), Some(by.clone()), reason.clone());
        // Nothing is let through by it, so nothing hangs on it.
        let _ = self.ledger.approval(denied).await;
    }
}

type Opened = (String, Standing, tonic::Streaming<v1::Standing>);

async fn open(line: &mut Line, question: Question) -> Result<Opened, Status> {
    let late = |_| Status::unavailable("no answer in time");
    let mut client = line.client();
    let mut stream = timeout(PATIENCE, client.ask(question)).await.map_err(late)??.into_inner();
    let first = timeout(PATIENCE, stream.message()).await.map_err(late)??;
    let first = first.ok_or_else(|| Status::unavailable("the answer ended"))?;
    let name = first.name.clone();
    let standing = read(first).ok_or_else(|| Status::unavailable("an answer of a newer version"))?;
    if name.is_empty() {
        return Err(Status::unavailable("a request without a name"));
    }
    Ok((name, standing, stream))
}

/// Until the request ends or nobody waits for it. A stream that breaks is opened again: it finds the same request.
async fn follow(
    mut line: Line,
    question: Question,
    denials: Denials,
    mut stream: tonic::Streaming<v1::Standing>,
    sender: watch::Sender<Standing>,
) {
    loop {
        // All arms are cancel-safe: `message` keeps what it has read of the next one. On a new connection it is asked
        // again, as on a broken one.
        let message = tokio::select! {
            message = stream.message() => message,
            () = line.moved() => Ok(None),
            () = sender.closed() => return,
        };
        if let Ok(Some(message)) = message {
            let Some(standing) = read(message) else { continue };
            let ended = matches!(
                standing,
                Standing::Denied { .. } | Standing::Expired | Standing::Withdrawn | Standing::Revoked
            );
            denials.hear(&standing).await;
            sender.send_replace(standing);
            if ended {
                return;
            }
            continue;
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep(jittered(PAUSE)) => {}
                () = sender.closed() => return,
            }
            // This one and no other: nobody is asked anew on behalf of nobody.
            let again = Question { only: denials.name.clone(), ..question.clone() };
            match open(&mut line, again).await {
                Ok((again, standing, opened)) if again == denials.name => {
                    sender.send_replace(standing);
                    stream = opened;
                    break;
                }
                // Another request means that the one asked for has ended, how is not known.
                Ok(_) => return drop(sender.send_replace(Standing::Expired)),
                Err(status) if status.code() == Code::NotFound => {
                    return drop(sender.send_replace(Standing::Expired));
                }
                Err(_) => {}
            }
        }
    }
}

fn question(ask: &Ask) -> Question {
    let terms = &ask.terms;
    Question {
        target: ask.target.name.clone(),
        action: ask.action.clone(),
        resources: ask.resources.clone(),
        statement: ask.statement.to_string(),
        digest: ask.digest.0.to_vec(),
        rules: terms.asked_by.iter().map(ToString::to_string).collect(),
        revision: ask.revision.to_string(),
        terms: Some(v1::Terms {
            required_approvals: terms.required_approvals.into(),
            deny_threshold: terms.deny_threshold.into(),
            pending_ttl_seconds: terms.pending_ttl.as_secs(),
            reason_required: terms.reason_required,
            scope: match terms.scope {
                Scope::Once => v1::Scope::Once,
                Scope::Session => v1::Scope::Session,
                Scope::Duration => v1::Scope::Duration,
                Scope::Task => v1::Scope::Task,
            }
            .into(),
            max_grant_seconds: terms.max_grant.map_or(0, |grant| grant.as_secs()),
        }),
        cover: ask.cover.as_ref().map(cover),
        session: ask.session.clone(),
        only: String::new(),
        impact: ask.impact.as_ref().map(impact),
    }
}

fn impact(impact: &Impact) -> v1::Impact {
    v1::Impact {
        estimated_rows: impact.estimated,
        counted_rows: impact.counted.map(|counted| counted.rows),
        more: impact.counted.is_some_and(|counted| counted.more),
        compared: impact.compared,
        remark: impact.remark.clone(),
    }
}

fn cover(cover: &Cover) -> v1::Cover {
    let uses = cover.uses.iter().map(|used| v1::Use {
        verb: used.verb.clone(),
        kind: used.kind.clone(),
        path: used.path.clone(),
        all_columns: used.columns.is_none(),
        columns: used.columns.clone().unwrap_or_default(),
        bounded: used.bounded,
        indirect: used.indirect,
    });
    v1::Cover { database: cover.database.clone(), uses: uses.collect() }
}

/// `None`: of a newer version.
fn read(message: v1::Standing) -> Option<Standing> {
    let small = |count: u32| u8::try_from(count).unwrap_or(u8::MAX);
    Some(match message.standing? {
        standing::Standing::Pending(v1::Pending { have, need }) => {
            Standing::Pending { have: small(have), need: small(need) }
        }
        standing::Standing::Approved(v1::Approved { by }) => Standing::Approved { by },
        standing::Standing::Denied(v1::Denied { by, reason }) => {
            Standing::Denied { by, reason: (!reason.is_empty()).then_some(reason) }
        }
        standing::Standing::Ended(ended) => match v1::Ended::try_from(ended).ok()? {
            v1::Ended::Withdrawn => Standing::Withdrawn,
            v1::Ended::Revoked => Standing::Revoked,
            v1::Ended::Expired => Standing::Expired,
            v1::Ended::Unspecified => return None,
        },
    })
}

fn away(status: &Status) -> AskError {
    match status.code() {
        Code::ResourceExhausted => AskError::TooMany(OPEN),
        _ => {
            tracing::warn!(event = "operator_away", error = why(status), "an approval could not be asked for");
            AskError::Away
        }
    }
}

/// Open requests that the operator keeps for one pod.
const OPEN: usize = 64;
