//! Approvals that humans give on the cluster, asked for and used up over `control`.
//!
//! Nothing is decided here: a standing is what the operator says, and an approval counts only if the operator, asked
//! at that moment, says that nobody has used it. An operator that is away approves nothing. Question, denial and use are
//! on record here too; what cannot be recorded is not asked and not used.

use std::sync::Arc;
use std::time::Duration;

use control::v1::{self, ConsumeRequest, Name, Question, standing};
use policy::operation::Digest;
use recording::entry::{Approval, ApprovalEvent, Vote};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::line::Line;
use super::why;
use crate::ledger::{Ledger, NotRecorded};
use crate::outside::{Answer, Approvals, Ask, AskError, NotConsumed, Standing, Ticket};

/// For a single answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts to follow a request again.
const PAUSE: Duration = Duration::from_secs(1);

/// The operator's approvals.
#[derive(Clone)]
pub struct ClusterApprovals {
    line: Line,
    ledger: Arc<dyn Ledger>,
}

impl std::fmt::Debug for ClusterApprovals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterApprovals").finish_non_exhaustive()
    }
}

impl ClusterApprovals {
    pub fn new(line: Line, ledger: Arc<dyn Ledger>) -> Self {
        Self { line, ledger }
    }
}

impl Approvals for ClusterApprovals {
    fn ask(&self, ask: Ask) -> Answer<'_, Result<Ticket, AskError>> {
        let mut line = self.line.clone();
        Box::pin(async move {
            let question = question(&ask);
            let (name, first, stream) = open(&mut line, question.clone()).await.map_err(|status| away(&status))?;
            let mut asked = entry(&name, ask.digest, ApprovalEvent::Requested);
            asked.expires = expires(ask.terms.pending_ttl);
            asked.display = Some(question.statement.clone());
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

    fn withdraw(&self, name: &str) -> Answer<'_, ()> {
        let (mut client, name) = (self.line.clone().client(), name.to_owned());
        Box::pin(async move {
            // What cannot be withdrawn ends by its own deadline.
            let _ = timeout(PATIENCE, client.withdraw(Name { name })).await;
        })
    }

    fn consume(&self, name: &str, digest: Digest) -> Answer<'_, Result<Vec<String>, NotConsumed>> {
        let (mut client, name) = (self.line.clone().client(), name.to_owned());
        Box::pin(async move {
            let request = ConsumeRequest { name: name.clone(), digest: digest.0.to_vec() };
            match timeout(PATIENCE, client.consume(request)).await {
                // It is used from here on, also when that cannot be recorded.
                Ok(Ok(consumed)) => {
                    let by = consumed.into_inner().by;
                    let unrecorded = |_| NotConsumed("its use could not be recorded");
                    used(&*self.ledger, &name, digest, &by).await.map_err(unrecorded)?;
                    Ok(by)
                }
                Ok(Err(status)) if status.code() == Code::FailedPrecondition => {
                    Err(NotConsumed("it was used, withdrawn or revoked, or has expired"))
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

/// Who approved, that it was enough, and that it is used up: in this order, so that none of it is there without the one
/// before.
async fn used(ledger: &dyn Ledger, name: &str, digest: Digest, by: &[String]) -> Result<(), NotRecorded> {
    for person in by {
        let mut vote = entry(name, digest, ApprovalEvent::Vote);
        (vote.vote, vote.reviewer) = (Some(Vote::Approve), Some(person.clone()));
        ledger.approval(vote).await?;
    }
    ledger.approval(entry(name, digest, ApprovalEvent::Granted)).await?;
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
                () = tokio::time::sleep(PAUSE) => {}
                () = sender.closed() => return,
            }
            match open(&mut line, question.clone()).await {
                Ok((again, standing, opened)) if again == denials.name => {
                    sender.send_replace(standing);
                    stream = opened;
                    break;
                }
                // Another request means that the one asked for has ended, how is not known.
                Ok(_) => return drop(sender.send_replace(Standing::Expired)),
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
        }),
    }
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
