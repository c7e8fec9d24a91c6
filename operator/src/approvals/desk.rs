//! Where sidecars ask, withdraw and use approvals: over the API server, which alone knows the truth.
//!
//! Invariants: a pod gets nothing of another pod's requests; of all calls on all replicas at most one uses an approval
//! up, because it is written over the version that was counted; each use of a grant is counted anew, and let through for
//! what it covers alone; what the API server does not answer is not approved.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use control::v1::{self, ConsumeRequest, Consumed, Question};
use crds::approval::{ASKED_LABEL, ApprovalRequest, JobRef, Phase};
use crds::policy::Scope;
use crds::policy::{AgentAccessPolicy, ClusterAgentAccessPolicy};
use crds::target::AccessTarget;
use jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use policy::approval::Standing;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use tonic::Status;

use super::again::again;
use super::asker::Asker;
use super::book::Book;
use super::key::Held;
use super::limit::Limit;
use super::question::{Checked, Refused, Sources};
use super::request::{Id, Request};
use super::tally::{Ballot, Tally};
use super::{hex, life};

/// For everything of one call: a sidecar waits 10 s.
const PATIENCE: Duration = Duration::from_secs(8);
/// Open requests of one namespace, and of one pod.
const MOST_OPEN: (usize, usize) = (500, 64);
/// New requests of one pod: so many at once, and one more each so often.
const NEW: (u32, Duration) = (32, Duration::from_secs(2));
/// Calls of one pod, likewise.
const CALLS: (u32, Duration) = (256, Duration::from_millis(20));
/// Versions of a request that changed under a call.
const ATTEMPTS: usize = 8;
/// Askers that are served beside each other; those of one pod and operation wait for each other.
const LANES: usize = 64;
const NAME_CHARS: usize = 8;
const FIELD_MANAGER: &str = "agentaccess-desk";

pub struct Desk {
    client: Client,
    book: Arc<Book>,
    key: Held,
    calls: Limit,
    new: Limit,
    lanes: Vec<Mutex<()>>,
}

// === impl Desk ===

impl Desk {
    pub fn new(client: Client, book: Arc<Book>, key: Held) -> Self {
        Self {
            client,
            book,
            key,
            calls: Limit::new(CALLS.0, CALLS.1),
            new: Limit::new(NEW.0, NEW.1),
            lanes: (0..LANES).map(|_| Mutex::new(())).collect(),
        }
    }

    /// Opens a request, or finds the open or approved one of the same pod and digest, or one that grants it: its name,
    /// and how it stands from now on.
    ///
    /// # Errors
    /// NOT_FOUND: the one that alone was asked for is not there. INVALID_ARGUMENT and FAILED_PRECONDITION: not a question that we ask. RESOURCE_EXHAUSTED: too many. UNAVAILABLE:
    /// try again.
    pub async fn ask(
        &self,
        asker: &Asker,
        question: Question,
    ) -> Result<(String, watch::Receiver<v1::Standing>), Status> {
        self.called(asker)?;
        if !question.only.is_empty() {
            return self.again(asker, &question.only).await;
        }
        let checked = Checked::read(question, asker).map_err(|refused| said(&refused))?;
        if !self.book.is_ready() {
            return Err(Status::unavailable("approvals are not counted here yet"));
        }
        in_time(async {
            let label = checked.label(asker);
            let lane = self.lane(&checked.lane(asker, &label)).lock().await;
            let id = match self.book.granted(asker, &checked, Timestamp::now()) {
                Some(id) => id,
                None => {
                    let request = match self.find(asker, &checked, &label).await? {
                        Some(request) => request,
                        None => self.create(asker, &checked).await?,
                    };
                    let id = request.id.clone();
                    self.book.put(request, Timestamp::now());
                    id
                }
            };
            drop(lane);
            self.followed(id)
        })
        .await
    }

    /// Follows a request that was asked before, and makes none.
    async fn again(&self, asker: &Asker, name: &str) -> Result<(String, watch::Receiver<v1::Standing>), Status> {
        in_time(async {
            let Some((request, _)) = self.counted(asker, name).await? else {
                return Err(Status::not_found("there is no such request of this pod"));
            };
            let id = request.id.clone();
            self.book.put(request, Timestamp::now());
            self.followed(id)
        })
        .await
    }

    fn followed(&self, id: Id) -> Result<(String, watch::Receiver<v1::Standing>), Status> {
        let standing = self.book.follow(&id, Timestamp::now());
        standing.map(|standing| (id.1, standing)).ok_or_else(|| Status::unavailable("the request went away"))
    }

    /// The agent no longer wants it. Of what has ended or is not the asker's nothing happens.
    ///
    /// # Errors
    /// UNAVAILABLE: try again.
    pub async fn withdraw(&self, asker: &Asker, name: &str) -> Result<(), Status> {
        self.called(asker)?;
        in_time(async {
            for _ in 0..ATTEMPTS {
                let Some((request, tally)) = self.counted(asker, name).await? else { return Ok(()) };
                if !matches!(tally.standing, Standing::Pending { .. } | Standing::Approved) {
                    return Ok(());
                }
                if self.write(&request, &json!({"phase": Phase::Withdrawn})).await? {
                    self.book.ended("withdrawn");
                    return Ok(());
                }
            }
            Err(Status::unavailable("the request changes too fast"))
        })
        .await
    }

    /// Uses the approval and says who gave it: up, or as a grant, if it covers what is asked for now.
    ///
    /// # Errors
    /// FAILED_PRECONDITION: it does not count, and why. UNAVAILABLE: whether it was used is not known.
    pub async fn consume(&self, asker: &Asker, request: ConsumeRequest) -> Result<Consumed, Status> {
        self.called(asker)?;
        let ConsumeRequest { name, digest, question } = request;
        let name = name.as_str();
        let question = question.map(|question| Checked::read(question, asker)).transpose();
        let question = question.map_err(|refused| said(&refused))?;
        in_time(async {
            for _ in 0..ATTEMPTS {
                let Some((request, tally)) = self.counted(asker, name).await? else {
                    return Err(Status::failed_precondition("there is no such request of this pod"));
                };
                let another = || Status::failed_precondition("it was asked for another operation");
                if let Some(grant) = tally.grant.as_ref().filter(|grant| grant.scope != Scope::Once) {
                    usable(&tally.standing).map_err(Status::failed_precondition)?;
                    let broken = grant.broken.as_ref();
                    let covered = |asked: &Checked| {
                        asked.is_for(&digest) && asked.is_covered(asker, &request.spec, grant.scope, broken.is_some())
                    };
                    if !question.as_ref().is_some_and(covered) {
                        return Err(another());
                    }
                    let job = request.spec.grant.as_ref().and_then(|grant| grant.job.as_ref());
                    if let Some(job) = job.filter(|_| grant.scope == Scope::Task) {
                        self.runs(asker, job).await?;
                    }
                    let left = grant.until.duration_since(Timestamp::now());
                    let left = u64::try_from(left.as_millis()).ok().filter(|left| *left > 0);
                    let left = left.ok_or_else(|| Status::failed_precondition("it has expired"))?;
                    let broken = broken.map(|(_, reason)| reason.clone()).unwrap_or_default();
                    let scope = super::cover::said(grant.scope).into();
                    let grant = v1::Grant { scope, left_milliseconds: left, broken };
                    return Ok(Consumed { by: tally.approvers, grant: Some(grant), rollback_above: None });
                }
                if request.spec.digest != format!("hmac-sha256:{}", hex(&digest)) {
                    return Err(another());
                }
                usable(&tally.standing).map_err(Status::failed_precondition)?;
                // The phase is the leader's to write and to tell of.
                if self.write(&request, &json!({"consumed": true})).await? {
                    self.book.ended("used");
                    tracing::info!(event = "approval_used", namespace = request.id.0, name);
                    let broken = tally.grant.and_then(|grant| grant.broken);
                    let once = |(_, broken)| v1::Grant { scope: v1::Scope::Once.into(), left_milliseconds: 0, broken };
                    // From what was stored, which is what people read.
                    let shown = request.spec.impact.as_ref().and_then(|impact| impact.rollback_above);
                    let rollback_above = shown.and_then(|rows| u64::try_from(rows).ok());
                    return Ok(Consumed { by: tally.approvers, grant: broken.map(once), rollback_above });
                }
            }
            Err(Status::unavailable("the request changes too fast"))
        })
        .await
    }

    /// A grant is good while its Job runs, as the API server has it at this moment.
    async fn runs(&self, asker: &Asker, job: &JobRef) -> Result<(), Status> {
        let jobs = life::api(self.client.clone(), Some(asker.pod.namespace()));
        let found = again(|| jobs.get_opt(&job.name)).await.map_err(away)?;
        match found.filter(|found| found.metadata.uid.as_ref() == Some(&job.uid)) {
            Some(found) if !life::is_over(&found) => Ok(()),
            Some(_) | None => Err(Status::failed_precondition("the Job that it was granted to has ended")),
        }
    }

    fn called(&self, asker: &Asker) -> Result<(), Status> {
        match self.calls.take(asker.pod.uid(), Instant::now()) {
            true => Ok(()),
            false => Err(Status::resource_exhausted("this pod calls too often")),
        }
    }

    fn requests(&self, asker: &Asker) -> Api<ApprovalRequest> {
        Api::namespaced(self.client.clone(), asker.pod.namespace())
    }

    /// The asker's request as it is at this moment, counted. `None`: it has none of that name.
    async fn counted(&self, asker: &Asker, name: &str) -> Result<Option<(Request, Tally)>, Status> {
        if !is_ours(name) {
            return Ok(None);
        }
        let key = self.key.get().ok_or_else(|| Status::unavailable("approvals are not counted here yet"))?;
        let requests = self.requests(asker);
        let Some(object) = again(|| requests.get_opt(name)).await.map_err(away)? else { return Ok(None) };
        let request = Request::read(&object).map_err(|error| Status::failed_precondition(error.to_string()))?;
        if !is_of(&request, asker) || object.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let tally = Tally::of(&request, &Ballot::read(&request, &key), Timestamp::now());
        Ok(Some((request, tally)))
    }

    /// Over this version of the request alone; says whether it still was the current one.
    async fn write(&self, request: &Request, status: &Value) -> Result<bool, Status> {
        let (namespace, name) = &request.id;
        let api: Api<ApprovalRequest> = Api::namespaced(self.client.clone(), namespace);
        let patch = json!({"metadata": {"resourceVersion": request.version, "uid": request.uid}, "status": status});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(&patch);
        match again(|| api.patch_status(name, &params, &patch)).await {
            Ok(object) => {
                if let Ok(request) = Request::read(&object) {
                    self.book.put(request, Timestamp::now());
                }
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(false),
            Err(error) => Err(away(error)),
        }
    }

    /// Asked of the API server itself: another replica may have made it a moment ago.
    async fn find(&self, asker: &Asker, checked: &Checked, label: &str) -> Result<Option<Request>, Status> {
        let key = self.key.get().ok_or_else(|| Status::unavailable("approvals are not counted here yet"))?;
        let params = ListParams::default().labels(&format!("{ASKED_LABEL}={label}"));
        let requests = self.requests(asker);
        let objects = again(|| requests.list(&params)).await.map_err(away)?;
        let now = Timestamp::now();
        let open = |request: &Request| {
            let tally = Tally::of(request, &Ballot::read(request, &key), now);
            let fits = match (&tally.standing, &tally.grant) {
                (Standing::Approved, Some(grant)) if grant.scope != Scope::Once => {
                    checked.is_covered(asker, &request.spec, grant.scope, grant.broken.is_some())
                }
                (Standing::Pending { .. }, _) if request.spec.scope != Scope::Once => {
                    checked.is_covered(asker, &request.spec, request.spec.scope, false)
                }
                (Standing::Pending { .. } | Standing::Approved, _) => checked.fits(&request.spec),
                _ => false,
            };
            is_of(request, asker) && fits
        };
        let alive = objects.iter().filter(|object| object.metadata.deletion_timestamp.is_none());
        let found = alive.filter_map(|object| Request::read(object).ok()).filter(open);
        // All replicas find the same one.
        Ok(found.min_by(|a, b| (a.expires, &a.uid).cmp(&(b.expires, &b.uid))))
    }

    async fn create(&self, asker: &Asker, checked: &Checked) -> Result<Request, Status> {
        let (all, own) = self.book.open(asker.pod.namespace(), asker.pod.uid(), Timestamp::now());
        if all >= MOST_OPEN.0 || own >= MOST_OPEN.1 {
            return Err(Status::resource_exhausted("too many approval requests are open"));
        }
        if !self.new.take(asker.pod.uid(), Instant::now()) {
            return Err(Status::resource_exhausted("this pod asks too often"));
        }
        let sources = self.sources(asker, checked).await?;
        for _ in 0..ATTEMPTS {
            let name = format!("areq-{}", drawn()?);
            let object = checked.object(asker, &sources, &name, Timestamp::now()).map_err(|refused| said(&refused))?;
            match self.requests(asker).create(&PostParams::default(), &object).await {
                Ok(object) => {
                    tracing::info!(event = "approval_asked", namespace = asker.pod.namespace(), name);
                    return Request::read(&object).map_err(|error| Status::internal(error.to_string()));
                }
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                Err(error) => return Err(away(error)),
            }
        }
        Err(Status::unavailable("no name is free"))
    }

    /// The target and the policies that are said to ask, as they are at this moment.
    async fn sources(&self, asker: &Asker, checked: &Checked) -> Result<Sources, Status> {
        let namespace = asker.pod.namespace();
        let targets: Api<AccessTarget> = Api::namespaced(self.client.clone(), namespace);
        let policies: Api<AgentAccessPolicy> = Api::namespaced(self.client.clone(), namespace);
        let cluster: Api<ClusterAgentAccessPolicy> = Api::all(self.client.clone());
        let target = targets.get_opt(&checked.question.target).await.map_err(away)?;
        let target = target.ok_or_else(|| said(&Refused::Target(checked.question.target.clone())))?;
        let mut sources = Sources {
            host: target.spec.host,
            port: target.spec.port,
            policies: BTreeMap::new(),
            cluster: BTreeMap::new(),
        };
        for asking in &checked.asking {
            let name = &asking.policy;
            if asking.cluster && !sources.cluster.contains_key(name) {
                let policy = cluster.get_opt(name).await.map_err(away)?;
                sources.cluster.extend(policy.map(|policy| (name.clone(), policy.spec)));
            } else if !asking.cluster && !sources.policies.contains_key(name) {
                let policy = policies.get_opt(name).await.map_err(away)?;
                sources.policies.extend(policy.map(|policy| (name.clone(), policy.spec)));
            }
        }
        Ok(sources)
    }

    fn lane(&self, label: &str) -> &Mutex<()> {
        let at = label.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        static SPARE: Mutex<()> = Mutex::const_new(());
        self.lanes.get(at % LANES).unwrap_or(&SPARE)
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    timeout(PATIENCE, call).await.unwrap_or_else(|_| Err(Status::unavailable("the API server is too slow")))
}

/// The details are for our log: they may name what a sidecar has no business with.
fn away(error: impl Display) -> Status {
    tracing::warn!(event = "approval_call_failed", %error);
    Status::unavailable("the API server did not do it")
}

fn said(refused: &Refused) -> Status {
    match refused {
        Refused::Malformed(_) => Status::invalid_argument(refused.to_string()),
        Refused::Rule(_) | Refused::Settings(_) | Refused::Target(_) => {
            Status::failed_precondition(refused.to_string())
        }
    }
}

fn usable(standing: &Standing) -> Result<(), &'static str> {
    match standing {
        Standing::Approved => Ok(()),
        Standing::Pending { .. } => Err("it is not approved"),
        Standing::Denied => Err("it is denied"),
        Standing::Expired => Err("it has expired"),
        Standing::Withdrawn => Err("it was withdrawn"),
        Standing::Revoked => Err("it was revoked"),
        Standing::Consumed => Err("it was used"),
    }
}

fn is_of(request: &Request, asker: &Asker) -> bool {
    let subject = &request.spec.subject;
    let own = subject.pod_uid.as_deref() == Some(asker.pod.uid());
    let job = request.spec.grant.as_ref().and_then(|grant| grant.job.as_ref());
    // Granted to the Job, it is the others' too.
    let shared = job.is_some() && job == asker.job.as_ref() && subject.service_account == asker.service_account;
    request.id.0 == asker.pod.namespace() && (own || shared)
}

/// As we name requests: nothing else is asked for.
fn is_ours(name: &str) -> bool {
    let drawn = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.strip_prefix("areq-").is_some_and(|rest| rest.len() == NAME_CHARS && rest.bytes().all(drawn))
}

fn drawn() -> Result<String, Status> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; NAME_CHARS];
    rand::fill(&mut bytes).map_err(|_| Status::unavailable("there is no randomness"))?;
    Ok(bytes.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 32))).map(|byte| char::from(*byte)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_drawn_in_our_form() {
        let names: std::collections::HashSet<String> = (0..100).map(|_| format!("areq-{}", drawn().unwrap())).collect();
        assert!(names.len() > 95 && names.iter().all(|name| is_ours(name)), "{names:?}");
        for other in ["", "areq-", "areq-0a1b2c3", "areq-0a1b2c3d4", "areq-0A1b2c3d", "areq-0a1b/../", "breq-0a1b2c3d"]
        {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn only_an_approval_is_used() {
        let words = [
            Standing::Pending { have: 1, need: 2 },
            Standing::Denied,
            Standing::Expired,
            Standing::Withdrawn,
            Standing::Revoked,
            Standing::Consumed,
        ]
        .map(|standing| usable(&standing).unwrap_err());
        assert_eq!(words.iter().collect::<std::collections::HashSet<_>>().len(), 6);
        usable(&Standing::Approved).unwrap();
    }
}
