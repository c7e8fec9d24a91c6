//! One vote, as `kubectl annotate` writes it, and the record that it becomes: pure, in two steps around the question of
//! what the voter may approve.
//!
//! Refused: votes on what is not pending and revocations of what is not approved, by who asks and by any ServiceAccount,
//! without a right to approve, without a reason where one is demanded, for longer than the policy lets a grant last, and
//! every record that we did not write ourselves, from its creation to its end. To break the glass takes a right and a
//! reason of its own, on every policy that asks.
//! Invariant: an object that is admitted holds the records it held, and at most one more, signed for who sent it. It may
//! run many times for one vote, so it counts nothing and tells nobody.

mod rules;

use std::collections::{BTreeMap, BTreeSet};

use crds::approval::{
    ApprovalRequest, DECISION_ANNOTATION, GRANT_ANNOTATION, LAST_RECORD, PolicyRef, REASON_ANNOTATION, RECORD_PREFIX,
};
use crds::duration::DurationText;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::UserInfo;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation};
use policy::approval::Standing;
use serde::Deserialize as _;
use serde_json::{Value, json};

use self::rules::{closed, grant, reason, voter};
use super::request::{Request, policy_name};
use super::stamp::{Key, Record, Word};
use super::tally::{Ballot, Tally};
use super::{request, sha256, written};
use crate::webhook::request::{Sent, Unreadable};

const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A vote was written.
    Recorded,
    /// A vote that was there already.
    Repeated,
    Refused,
    /// Nobody decided anything.
    Passed,
    /// The webhook configuration names more than us.
    Misused,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) review: AdmissionReview<DynamicObject>,
    pub(crate) outcome: Outcome,
    /// What was said to the user who was refused.
    pub(crate) message: Option<String>,
}

#[derive(Debug)]
pub(super) enum Step {
    Done(Box<Answer>),
    /// What the voter may approve has to be asked for.
    Ask(Box<Vote>),
}

/// A vote that is in order but for the right to cast it.
#[derive(Debug)]
pub(super) struct Vote {
    response: AdmissionResponse,
    pub(super) user: UserInfo,
    /// Each policy once.
    pub(super) policies: Vec<PolicyRef>,
    request: Request,
    ballot: Ballot,
    key: Key,
    now: Timestamp,
    word: Word,
    reason: Option<String>,
    grant: Option<DurationText>,
    free: u32,
    annotations: BTreeMap<String, String>,
}

/// Reads a review, and answers it if no right has to be asked for.
pub(super) fn begin(body: &[u8], key: Option<&Key>, now: Timestamp) -> Result<Step, Unreadable> {
    let Sent { request: review, object, old } = Sent::read(body)?;
    let response = AdmissionResponse::from(&review);
    let vote = match judged(&review, &object, &old) {
        Judged::Pass => return Ok(Step::Done(Box::new(done(response, Outcome::Passed)))),
        Judged::Refuse(outcome, message) => return Ok(Step::Done(Box::new(refuse(response, outcome, message)))),
        Judged::Vote(annotations) => cast(response, review.user_info, annotations, old, key, now),
    };
    Ok(vote.unwrap_or_else(|refused| Step::Done(Box::new(refuse(refused.0, Outcome::Refused, refused.1)))))
}

enum Judged {
    Pass,
    Refuse(Outcome, String),
    /// The annotations as they would be stored.
    Vote(BTreeMap<String, String>),
}

fn judged(review: &AdmissionRequest<DynamicObject>, object: &Value, old: &Value) -> Judged {
    let resource = &review.resource;
    let ours = (resource.group.as_str(), resource.resource.as_str()) == (crds::GROUP, "approvalrequests")
        && review.sub_resource.as_deref().unwrap_or_default().is_empty()
        && matches!(review.operation, Operation::Create | Operation::Update);
    if !ours {
        let message = "agentaccess judges ApprovalRequests when they are made and changed, and nothing else: \
                       the webhook configuration names more than that";
        return Judged::Refuse(Outcome::Misused, message.to_owned());
    }
    let refuse = |message: &str| Judged::Refuse(Outcome::Refused, message.to_owned());
    let (Some(now), Some(was)) = (annotations(object), annotations(old)) else {
        return refuse("metadata.annotations must hold text");
    };
    let record = |key: &&String| key.starts_with(RECORD_PREFIX);
    if review.operation == Operation::Create {
        let decided = |key: &String| {
            key.starts_with(DECISION_ANNOTATION) || [REASON_ANNOTATION, GRANT_ANNOTATION].contains(&key.as_str())
        };
        return match now.keys().any(decided) {
            true => refuse("a new ApprovalRequest holds no decision: people decide when it is there"),
            false => Judged::Pass,
        };
    }
    if let Some(key) = now.keys().chain(was.keys()).filter(record).find(|key| now.get(*key) != was.get(*key)) {
        return Judged::Refuse(
            Outcome::Refused,
            format!(
                "metadata.annotations[{}] is a record, and records are written by agentaccess only, and stay; \
                 to decide: kubectl annotate areq NAME {DECISION_ANNOTATION}=approve",
                shown(key)
            ),
        );
    }
    match now.contains_key(DECISION_ANNOTATION) {
        true => Judged::Vote(now),
        false if now.contains_key(REASON_ANNOTATION) => refuse(
            "a reason is written together with the decision: kubectl annotate areq NAME \
                    agentaccess.dev/decision=approve agentaccess.dev/reason=\"...\"",
        ),
        false if now.contains_key(GRANT_ANNOTATION) => refuse(
            "how long a grant counts is written together with the decision: kubectl annotate areq NAME \
                    agentaccess.dev/decision=approve agentaccess.dev/grant=30m",
        ),
        false => Judged::Pass,
    }
}

type Refused = (AdmissionResponse, String);

fn cast(
    response: AdmissionResponse,
    user: UserInfo,
    mut annotations: BTreeMap<String, String>,
    old: Value,
    key: Option<&Key>,
    now: Timestamp,
) -> Result<Step, Box<Refused>> {
    let vote = || -> Result<_, String> {
        let object: ApprovalRequest =
            serde_json::from_value(old).map_err(|error| format!("the request cannot be read: {error}"))?;
        let request = Request::read(&object).map_err(|error| error.to_string())?;
        voter(&user, &request)?;
        let word = match annotations.remove(DECISION_ANNOTATION).unwrap_or_default().as_str() {
            "approve" => Word::Approve,
            "deny" => Word::Deny,
            "revoke" => Word::Revoke,
            "break-glass" => Word::BreakGlass,
            other => {
                let other = shown(other);
                return Err(format!("`{other}` is no decision: write approve, deny, revoke or break-glass"));
            }
        };
        let reason = reason(annotations.get(REASON_ANNOTATION), word, &request)?;
        let grant = grant(annotations.get(GRANT_ANNOTATION), word, &request)?;
        let key = key.ok_or("agentaccess has no key to sign with yet: try again in a moment")?;
        let ballot = Ballot::read(&request, key);
        if let Some(closed) = closed(&Tally::of(&request, &ballot, now).standing, word) {
            return Err(match word {
                Word::Revoke => format!("there is nothing to revoke on {}: {closed}", request.id.1),
                Word::Approve | Word::Deny | Word::BreakGlass => {
                    format!("nobody can decide on {} any more: {closed}", request.id.1)
                }
            });
        }
        let taken = request::records(&annotations);
        let free = (1..=LAST_RECORD).find(|number| !taken.contains_key(number));
        let free = free.ok_or("it holds as many records as it can: ask again with a new request")?;
        Ok((request, ballot, key.clone(), word, (reason, grant), free))
    };
    match vote() {
        Ok((request, ballot, key, word, (reason, grant), free)) => {
            let mut policies = request.spec.policy_refs.clone();
            let mut seen = BTreeSet::new();
            policies.retain(|policy| seen.insert(policy_name(policy)));
            let vote =
                Vote { response, user, policies, request, ballot, key, now, word, reason, grant, free, annotations };
            Ok(Step::Ask(Box::new(vote)))
        }
        Err(message) => Err(Box::new((response, message))),
    }
}

// === impl Vote ===

impl Vote {
    pub(super) fn namespace(&self) -> String {
        self.request.id.0.clone()
    }

    /// Of the right that it takes.
    pub(super) fn verb(&self) -> &'static str {
        match self.word {
            Word::Approve | Word::Deny | Word::Revoke => "approve",
            Word::BreakGlass => "breakglass",
        }
    }

    /// Ends with the record, if `allowed` (by place in `policies`) names one.
    pub(super) fn conclude(self, allowed: Result<BTreeSet<usize>, String>) -> Answer {
        let allowed = match allowed {
            Ok(allowed) => allowed,
            Err(why) => {
                let message = format!("whether you may approve could not be found out, try again: {why}");
                return refuse(self.response, Outcome::Refused, message);
            }
        };
        let named = self.policies.iter().enumerate().filter(|(at, _)| allowed.contains(at));
        let policies: BTreeSet<String> = named.map(|(_, policy)| policy_name(policy)).collect();
        let user = self.user.username.clone().unwrap_or_default();
        let enough = match self.word {
            Word::Approve | Word::Deny | Word::Revoke => !policies.is_empty(),
            Word::BreakGlass => !policies.is_empty() && policies.len() == self.policies.len(),
        };
        if !enough {
            let wanted: Vec<String> = self.policies.iter().map(policy_name).collect();
            let wanted = wanted.join(if self.word == Word::BreakGlass { " and " } else { " or " });
            let message = format!("{user} may not decide: it takes the verb `{}` on {wanted}", self.verb());
            return refuse(self.response, Outcome::Refused, message);
        }
        let uid = self.user.uid.clone().unwrap_or_default();
        let own: Vec<&Record> = self.ballot.votes.iter().filter(|vote| vote.is_by(&user, &uid)).collect();
        let denied = own.iter().any(|vote| vote.decision == Word::Deny);
        let approvals = own.iter().filter(|vote| vote.decision == Word::Approve);
        let covered: BTreeSet<&String> = approvals.flat_map(|vote| &vote.policies).collect();
        match self.word {
            Word::Approve | Word::BreakGlass if denied => {
                let message = format!("{user} has denied {}, and a denial stays", self.request.id.1);
                refuse(self.response, Outcome::Refused, message)
            }
            Word::Deny if denied => self.repeated(&user),
            // Who may approve for more policies than before says more than before.
            Word::Approve if policies.iter().all(|policy| covered.contains(policy)) => self.repeated(&user),
            Word::Approve | Word::Deny | Word::Revoke | Word::BreakGlass => self.recorded(user, uid, policies),
        }
    }

    fn repeated(mut self, user: &str) -> Answer {
        let word = self.word.text();
        self.response.warnings = Some(vec![format!("recorded already: {word} by {user}; each person counts once")]);
        let patch = self.taken_away();
        patched(self.response, Outcome::Repeated, patch)
    }

    fn recorded(mut self, user: String, uid: String, policies: BTreeSet<String>) -> Answer {
        let extra = self.user.extra.iter().flatten().find(|(key, _)| *key == CREDENTIAL);
        let credential = extra.map(|(_, values)| sha256(values.join("\n").as_bytes())).unwrap_or_default();
        let record = Record {
            user,
            uid,
            credential,
            decision: self.word,
            policies: policies.into_iter().collect(),
            reason: self.reason.clone().unwrap_or_default(),
            grant: self.grant.as_ref().map(ToString::to_string).unwrap_or_default(),
            time: written(self.now),
            request: self.request.uid.clone(),
            spec: self.request.digest.clone(),
        };
        let text = match record.sign(&self.key) {
            Ok(text) => text,
            Err(error) => {
                return refuse(self.response, Outcome::Refused, format!("the record cannot be written: {error}"));
            }
        };
        let mut after = self.ballot.clone();
        after.votes.push(record.clone());
        let tally = Tally::of(&self.request, &after, self.now);
        let count = match self.word {
            Word::Approve => format!(" ({} of {} needed)", tally.approvals, self.request.spec.required_approvals),
            Word::Deny | Word::Revoke | Word::BreakGlass => String::new(),
        };
        let until = match (&tally.standing, &tally.grant) {
            (Standing::Approved, Some(grant)) => format!("; it counts until {}", written(grant.until)),
            _ => String::new(),
        };
        let said = format!("recorded: {} by {}{count}{until}", self.word.text(), record.user);
        self.response.warnings = Some(vec![said]);
        let mut patch = self.taken_away();
        patch.push(json!({"op": "add", "path": path(&format!("{RECORD_PREFIX}{}", self.free)), "value": text}));
        patched(self.response, Outcome::Recorded, patch)
    }

    fn taken_away(&self) -> Vec<Value> {
        let beside =
            [REASON_ANNOTATION, GRANT_ANNOTATION].into_iter().filter(|key| self.annotations.contains_key(*key));
        let keys = [DECISION_ANNOTATION].into_iter().chain(beside);
        keys.map(|key| json!({"op": "remove", "path": path(key)})).collect()
    }
}

impl Word {
    fn text(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
            Self::Revoke => "revoke",
            Self::BreakGlass => "break-glass",
        }
    }
}

impl Outcome {
    /// For metrics and logs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Repeated => "repeated",
            Self::Refused => "refused",
            Self::Passed => "passed",
            Self::Misused => "misused",
        }
    }
}

fn done(response: AdmissionResponse, outcome: Outcome) -> Answer {
    Answer { review: response.into_review(), outcome, message: None }
}

fn refuse(response: AdmissionResponse, outcome: Outcome, message: String) -> Answer {
    let mut response = response.deny(&message);
    response.result.code = 403;
    response.result.reason = "Forbidden".to_owned();
    response.warnings = None;
    Answer { review: response.into_review(), outcome, message: Some(message) }
}

fn patched(response: AdmissionResponse, outcome: Outcome, patch: Vec<Value>) -> Answer {
    // Without its patch the vote would stay as it was sent; refused, nothing stays.
    let mut kept = AdmissionResponse::invalid("");
    kept.uid = response.uid.clone();
    match serde_json::from_value(Value::Array(patch)).map(|patch| response.with_patch(patch)) {
        Ok(Ok(response)) => done(response, outcome),
        Ok(Err(error)) => refuse(kept, Outcome::Refused, error.to_string()),
        Err(error) => refuse(kept, Outcome::Refused, error.to_string()),
    }
}

/// RFC 6901.
fn path(key: &str) -> String {
    format!("/metadata/annotations/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// `None`: not all of them are text.
fn annotations(object: &Value) -> Option<BTreeMap<String, String>> {
    match object.pointer("/metadata/annotations") {
        None | Some(Value::Null) => Some(BTreeMap::new()),
        Some(annotations) => BTreeMap::deserialize(annotations).ok(),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;
