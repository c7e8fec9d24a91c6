//! A sidecar's question, checked again, and the request that it becomes: pure.
//!
//! Refused: what the schema would refuse, text of several lines or with characters that cannot be seen, rules that do not exist, are not of
//! the asker's namespace or do not ask. How many must agree and for how long it is open is what those rules say, and
//! what the question says where that is stricter; what it would grant likewise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use control::v1::Question;
use crds::approval::{
    ASKED_LABEL, ApprovalRequest, ApprovalRequestSpec, Cover, HOW_ANNOTATION, PolicyRef, RequestAction, RequestGrant,
    RequestSubject, RequestTarget,
};
use crds::limits;
use crds::policy::{Action, AgentAccessPolicySpec, ApprovalSettings, ClusterAgentAccessPolicySpec, Reason, Scope};
use crds::shared::Protocol;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use policy::impact::{Counted, Impact};
use policy::redact::{Redacted, summary};

use super::asker::Asker;
use super::stamp::Word;
use super::{cover, grant, hex};

pub(super) const KIND: &str = "AgentAccessPolicy";
pub(super) const CLUSTER_KIND: &str = "ClusterAgentAccessPolicy";
const DIGEST: usize = 32;
const LONGEST_TTL: Duration = Duration::from_secs(24 * 60 * 60);
const LONGEST_GRANT: Duration = Duration::from_secs(24 * 60 * 60);
const LABEL_DIGITS: usize = 40;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("{0}")]
    Malformed(&'static str),
    #[error("rule `{0}` is not one that asks for approval of operations on this target")]
    Rule(String),
    #[error("approval settings of rule `{0}` cannot be read")]
    Settings(String),
    #[error("target `{0}` is not there")]
    Target(String),
}

/// A rule that asks, as the question names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asking {
    pub(super) cluster: bool,
    pub(super) policy: String,
    pub(super) rule: String,
}

/// What a question is about once its form is checked.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) question: Question,
    /// `hmac-sha256:HEX`.
    pub(super) digest: String,
    pub(super) asking: BTreeSet<Asking>,
    /// What a grant of it would cover.
    cover: Option<Cover>,
    /// For those who decide; nothing is decided by it.
    impact: Option<Impact>,
    terms: Terms,
}

/// What the policies say about it, as the API server has them.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    pub(super) host: String,
    pub(super) port: i32,
    pub(super) policies: BTreeMap<String, AgentAccessPolicySpec>,
    pub(super) cluster: BTreeMap<String, ClusterAgentAccessPolicySpec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Terms {
    required: i32,
    denials: i32,
    ttl: Duration,
    reason: Reason,
    scope: Scope,
    /// With every scope but Once.
    grant: Option<Duration>,
}

// === impl Checked ===

impl Checked {
    pub(super) fn read(question: Question, asker: &Asker) -> Result<Self, Refused> {
        let malformed = |wrong: bool, what| if wrong { Err(Refused::Malformed(what)) } else { Ok(()) };
        malformed(!is_name(&question.target), "target is not a name")?;
        malformed(!is_line(&question.action, 1, limits::LABEL_CHARS), "action is not one short line")?;
        malformed(question.resources.len() > limits::REQUEST_RESOURCES, "more resources than a person can be shown")?;
        let bad = |resource: &String| !is_line(resource, 1, limits::FUNCTION_CHARS);
        malformed(question.resources.iter().any(bad), "a resource is not one short line")?;
        malformed(!is_seen(&question.statement), "statement has line feeds or characters that cannot be seen")?;
        let long = question.statement.chars().count() > limits::STATEMENT_CHARS;
        malformed(long || question.statement.is_empty(), "statement is empty or cannot be shown whole")?;
        malformed(question.digest.len() != DIGEST, "digest is not 32 bytes long")?;
        malformed(!is_revision(&question.revision), "revision is not sha256:HEX")?;
        malformed(question.rules.is_empty(), "no rule asks")?;
        malformed(question.rules.len() > limits::RULES * limits::POLICY_REFS, "too many rules ask")?;
        let asking = question.rules.iter().map(|rule| Asking::read(rule, asker.pod.namespace()));
        let asking = fewer(asking.collect::<Result<_, _>>()?).ok_or(Refused::Malformed("too many policies ask"))?;
        let terms = terms(&question).ok_or(Refused::Malformed("terms are missing or out of range"))?;
        malformed(!is_line(&question.session, 0, limits::LABEL_CHARS), "session is not one short line")?;
        let cover = cover::read(&question).map_err(Refused::Malformed)?;
        let impact = question.impact.as_ref().map(impact);
        malformed(impact.as_ref().is_some_and(|impact| !impact.fits()), "impact is not one that can be shown")?;
        Ok(Self { digest: format!("hmac-sha256:{}", hex(&question.digest)), question, asking, cover, impact, terms })
    }

    /// By which an open request of the same pod for the same operation is found.
    pub(super) fn label(&self, asker: &Asker) -> String {
        let text = format!("{}\n{}", asker.pod, self.digest);
        let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        hex(sum.as_ref()).chars().take(LABEL_DIGITS).collect()
    }

    /// Whether an open request asks this question for one use: of the same rules, and on terms that are no looser.
    pub(super) fn fits(&self, open: &ApprovalRequestSpec) -> bool {
        open.scope == Scope::Once
            && open.digest == self.digest
            && open.target.name == self.question.target
            && open.policy_refs.iter().map(Asking::named).collect::<BTreeSet<_>>() == self.asking
            && self.is_no_looser(open)
    }

    /// Whether what is granted by that request, with this scope, is granted to this pod for this operation: everything
    /// that asks now was asked then, under the same policies.
    pub(super) fn is_covered(&self, asker: &Asker, open: &ApprovalRequestSpec, scope: Scope, broken: bool) -> bool {
        let (Some(granted), Some(asked)) = (&open.cover, &self.cover) else { return false };
        let grant = open.grant.as_ref();
        let pod = open.subject.pod_uid.as_deref() == Some(asker.pod.uid());
        let job = grant.and_then(|grant| grant.job.as_ref());
        let to = match (scope, job) {
            (Scope::Once, _) => false,
            (Scope::Session, _) => {
                let session = grant.and_then(|grant| grant.session.as_deref());
                pod && !self.question.session.is_empty() && session == Some(self.question.session.as_str())
            }
            (Scope::Task, Some(job)) => asker.job.as_ref() == Some(job),
            (Scope::Duration, _) | (Scope::Task, None) => pod,
        };
        let refs = &open.policy_refs;
        let named: BTreeSet<Asking> = refs.iter().map(Asking::named).collect();
        to && open.subject.namespace == asker.pod.namespace()
            && open.subject.service_account == asker.service_account
            && open.target.name == self.question.target
            && self.asking.is_subset(&named)
            && refs.iter().all(|policy| policy.revision == self.question.revision)
            && policy::cover::covers(granted, asked)
            && (broken || (scope <= self.terms.scope && self.is_no_looser(open)))
    }

    /// Questions that one grant may answer wait for each other, so that not each of them becomes a request.
    pub(super) fn lane(&self, asker: &Asker, label: &str) -> String {
        match (self.terms.scope, &self.cover) {
            (Scope::Once, _) | (_, None) => label.to_owned(),
            (_, Some(cover)) => format!("{}/{}/{}", asker.pod.namespace(), self.question.target, cover.action),
        }
    }

    pub(super) fn is_for(&self, digest: &[u8]) -> bool {
        self.question.digest == digest
    }

    fn is_no_looser(&self, open: &ApprovalRequestSpec) -> bool {
        open.required_approvals >= self.terms.required
            && open.deny_threshold <= self.terms.denials
            && open.reason >= self.terms.reason
    }

    /// The request under this name. `subject` is the asker's alone.
    pub(super) fn object(
        &self,
        asker: &Asker,
        sources: &Sources,
        name: &str,
        now: Timestamp,
    ) -> Result<ApprovalRequest, Refused> {
        let mut terms = self.terms;
        for asking in &self.asking {
            terms = terms.and(asking.terms(sources, &self.question.target)?);
        }
        let scope = if self.cover.is_some() { terms.scope } else { Scope::Once };
        let grant = match (scope, &self.cover, terms.grant) {
            (Scope::Once, _, _) => None,
            (_, Some(cover), Some(longest)) => Some(self.grant(asker, cover, scope, longest)?),
            (_, _, _) => return Err(Refused::Malformed("a grant has no end")),
        };
        // Whole seconds: it stands in a column.
        let expires = now.checked_add(terms.ttl).ok().and_then(|at| Timestamp::from_second(at.as_second()).ok());
        let expires = expires.ok_or(Refused::Malformed("its end is out of range"))?;
        let statement = &self.question.statement;
        let mut spec = ApprovalRequestSpec {
            subject: RequestSubject {
                namespace: asker.pod.namespace().to_owned(),
                service_account: asker.service_account.clone(),
                pod: Some(asker.pod_name.clone()),
                pod_uid: Some(asker.pod.uid().to_owned()),
            },
            target: RequestTarget {
                name: self.question.target.clone(),
                host: sources.host.clone(),
                port: sources.port,
            },
            protocol: Protocol::Postgres,
            action: RequestAction { verb: self.question.action.clone(), resources: self.question.resources.clone() },
            summary: summary(statement, limits::TEXT_CHARS),
            statement: statement.clone(),
            digest: self.digest.clone(),
            policy_refs: self.asking.iter().map(|asking| asking.reference(&self.question.revision)).collect(),
            required_approvals: terms.required,
            deny_threshold: terms.denials,
            reason: terms.reason,
            scope,
            grant,
            cover: self.cover.clone(),
            break_glass: None,
            impact: None,
            expires_at: expires.to_string(),
        };
        if let (Some(cover), Some(longest)) = (&self.cover, grant::longest(&spec, Word::BreakGlass)) {
            let longest = grant::shown(longest);
            let means = cover::means(cover, &self.question.target, Scope::Duration, longest.as_str(), asker);
            spec.break_glass = Some(means);
        }
        // A grant is good for other values too: what this one would do says nothing about those.
        spec.impact = self.impact.clone().map(|impact| {
            let compared = impact.compared && scope == Scope::Once;
            Impact { compared, ..impact }.shown()
        });
        let job = spec.grant.as_ref().and_then(|grant| grant.job.clone());
        let how = how(name, &spec, asker.pod.namespace());
        let mut object = ApprovalRequest::new(name, spec);
        let namespace = asker.pod.namespace().to_owned();
        object.metadata.annotations = Some([(HOW_ANNOTATION.to_owned(), how)].into_iter().collect());
        object.metadata.namespace = Some(namespace);
        object.metadata.labels = Some([(ASKED_LABEL.to_owned(), self.label(asker))].into_iter().collect());
        // It goes with who can use it: the pod, or the Job whose pods all can.
        let (api_version, kind, name, uid) = match job {
            Some(job) => ("batch/v1", "Job", job.name, job.uid),
            None => ("v1", "Pod", asker.pod_name.clone(), asker.pod.uid().to_owned()),
        };
        object.metadata.owner_references = Some(vec![OwnerReference {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name,
            uid,
            block_owner_deletion: Some(false),
            controller: Some(false),
        }]);
        Ok(object)
    }

    fn grant(&self, asker: &Asker, cover: &Cover, scope: Scope, longest: Duration) -> Result<RequestGrant, Refused> {
        let max_duration = grant::shown(longest);
        let session = match scope {
            Scope::Session if self.question.session.is_empty() => {
                return Err(Refused::Malformed("session is missing"));
            }
            Scope::Session => Some(self.question.session.clone()),
            Scope::Once | Scope::Duration | Scope::Task => None,
        };
        Ok(RequestGrant {
            means: cover::means(cover, &self.question.target, scope, max_duration.as_str(), asker),
            max_duration,
            session,
            job: asker.job.clone().filter(|_| scope == Scope::Task),
        })
    }
}

/// What an approver types.
pub(super) fn how(name: &str, spec: &ApprovalRequestSpec, namespace: &str) -> String {
    let reason = if spec.reason == Reason::Required { " agentaccess.dev/reason=\"WHY\"" } else { "" };
    let shorter = match &spec.grant {
        Some(grant) => format!("; it counts for {}, or less with agentaccess.dev/grant=TIME", grant.max_duration),
        None => String::new(),
    };
    format!("kubectl annotate areq {name} -n {namespace} agentaccess.dev/decision=approve{reason}  (or =deny){shorter}")
}

// === impl Asking ===

impl Asking {
    /// `policy/rule` or `namespace/policy/rule`, and `cluster:policy/rule`.
    fn read(text: &str, namespace: &str) -> Result<Self, Refused> {
        let unknown = || Refused::Rule(text.chars().take(64).flat_map(char::escape_debug).collect());
        let (cluster, rest) = match text.strip_prefix("cluster:") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let mut parts: Vec<&str> = rest.split('/').collect();
        if !cluster && parts.len() == 3 && parts.first() == Some(&namespace) {
            parts.remove(0);
        }
        match parts.as_slice() {
            [policy, rule] if is_name(policy) && is_label(rule) => {
                Ok(Self { cluster, policy: (*policy).to_owned(), rule: (*rule).to_owned() })
            }
            _ => Err(unknown()),
        }
    }

    fn terms(&self, sources: &Sources, target: &str) -> Result<Terms, Refused> {
        let settings = match self.cluster {
            true => sources.cluster.get(&self.policy).and_then(|policy| self.in_cluster(policy)),
            false => sources.policies.get(&self.policy).and_then(|policy| self.in_namespace(policy, target)),
        };
        let settings = settings.ok_or_else(|| Refused::Rule(self.to_string()))?;
        let ttl = settings.pending_ttl.to_std().map_err(|_| Refused::Settings(self.to_string()))?;
        let grant = settings.max_grant_duration.as_ref().map(|grant| grant.to_std());
        let grant = grant.transpose().map_err(|_| Refused::Settings(self.to_string()))?;
        Ok(Terms {
            required: settings.required_approvals,
            denials: settings.deny_threshold,
            ttl: ttl.min(LONGEST_TTL),
            reason: settings.reason,
            scope: settings.scope,
            grant: grant.filter(|_| settings.scope != Scope::Once),
        })
    }

    fn in_namespace<'a>(&self, policy: &'a AgentAccessPolicySpec, target: &str) -> Option<&'a ApprovalSettings> {
        let targets = policy.targets.iter().filter(|rules| rules.target_ref.name == target);
        let mut rules = targets.filter_map(|rules| rules.postgres.as_ref()).flat_map(|postgres| &postgres.rules);
        let rule = rules.find(|rule| rule.name == self.rule && rule.action == Action::RequireApproval)?;
        policy.approvals.iter().find(|settings| Some(&settings.name) == rule.approval.as_ref())
    }

    fn in_cluster<'a>(&self, policy: &'a ClusterAgentAccessPolicySpec) -> Option<&'a ApprovalSettings> {
        let asks = |rule: &&crds::policy::ClusterRule| rule.name == self.rule && rule.action == Action::RequireApproval;
        let rule = policy.rules.iter().find(asks)?;
        policy.approvals.iter().find(|settings| Some(&settings.name) == rule.approval.as_ref())
    }

    fn named(policy: &PolicyRef) -> Self {
        Self { cluster: policy.kind == CLUSTER_KIND, policy: policy.name.clone(), rule: policy.rule.clone() }
    }

    fn reference(&self, revision: &str) -> PolicyRef {
        PolicyRef {
            kind: if self.cluster { CLUSTER_KIND } else { KIND }.to_owned(),
            name: self.policy.clone(),
            rule: self.rule.clone(),
            revision: revision.to_owned(),
        }
    }
}

impl std::fmt::Display for Asking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}/{}", if self.cluster { "cluster:" } else { "" }, self.policy, self.rule)
    }
}

/// As many as a request can name: all of them, or one of each policy.
fn fewer(mut asking: BTreeSet<Asking>) -> Option<BTreeSet<Asking>> {
    if asking.len() > limits::POLICY_REFS {
        let mut seen = BTreeSet::new();
        asking.retain(|one| seen.insert((one.cluster, one.policy.clone())));
    }
    (asking.len() <= limits::POLICY_REFS).then_some(asking)
}

// === impl Terms ===

impl Terms {
    /// The strictest of each.
    fn and(self, other: Self) -> Self {
        Self {
            required: self.required.max(other.required),
            denials: self.denials.min(other.denials),
            ttl: self.ttl.min(other.ttl),
            reason: self.reason.max(other.reason),
            scope: self.scope.min(other.scope),
            grant: [self.grant, other.grant].into_iter().flatten().min(),
        }
    }
}

fn terms(question: &Question) -> Option<Terms> {
    let terms = question.terms.as_ref()?;
    let count = |count: u32| i32::try_from(count).ok().filter(|count| (1..=limits::QUORUM).contains(count));
    let ttl = Duration::from_secs(terms.pending_ttl_seconds);
    let scope = cover::scope(terms.scope)?;
    let grant = Duration::from_secs(terms.max_grant_seconds);
    Some(Terms {
        scope,
        grant: match scope {
            Scope::Once => None,
            Scope::Session | Scope::Duration | Scope::Task => {
                Some(Some(grant).filter(|grant| !grant.is_zero() && *grant <= LONGEST_GRANT)?)
            }
        },
        required: count(terms.required_approvals)?,
        denials: count(terms.deny_threshold)?,
        ttl: Some(ttl).filter(|ttl| !ttl.is_zero() && *ttl <= LONGEST_TTL)?,
        reason: if terms.reason_required { Reason::Required } else { Reason::Optional },
    })
}

fn impact(told: &control::v1::Impact) -> Impact {
    Impact {
        estimated: told.estimated_rows,
        counted: told.counted_rows.map(|rows| Counted { rows, more: told.more }),
        compared: told.compared,
        remark: told.remark.clone(),
    }
}

fn is_seen(text: &str) -> bool {
    let shown = Redacted::danger_caller_redacted(text);
    shown.as_str() == text && shown.is_flat()
}

fn is_line(text: &str, least: usize, most: usize) -> bool {
    (least..=most).contains(&text.chars().count()) && is_seen(text)
}

/// A DNS subdomain.
fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    text.len() <= limits::NAME_CHARS
        && text.bytes().all(inner)
        && edge(text.bytes().next())
        && edge(text.bytes().next_back())
}

fn is_label(text: &str) -> bool {
    text.len() <= limits::LABEL_CHARS && !text.contains('.') && is_name(text)
}

fn is_revision(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("sha256:").is_some_and(|hex| (6..=64).contains(&hex.len()) && hex.bytes().all(digit))
}

#[cfg(test)]
mod tests;
