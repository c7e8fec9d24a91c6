//! The approvals webhook with its one question to the API server: on which of these policies may this user `approve`, or
//! `breakglass`?
//!
//! An answer that does not come in time is a refusal, as is an error.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::key::Held;
use super::review::{Answer, Step, begin};
use crate::webhook::request::Unreadable;

/// For all questions of one vote together; the API server gives the webhook 5 s by default.
const PATIENCE: Duration = Duration::from_secs(3);
const KIND: &str = "AgentAccessPolicy";

#[derive(Clone)]
pub struct Reviewer {
    access: Api<SubjectAccessReview>,
    key: Held,
}

// === impl Reviewer ===

impl Reviewer {
    pub fn new(client: Client, key: Held) -> Self {
        Self { access: Api::all(client), key }
    }

    pub(crate) async fn answer(&self, body: &[u8]) -> Result<Answer, Unreadable> {
        let vote = match begin(body, self.key.get().as_deref(), Timestamp::now())? {
            Step::Done(answer) => return Ok(*answer),
            Step::Ask(vote) => vote,
        };
        let mut asked = JoinSet::new();
        for (at, policy) in vote.policies.iter().enumerate() {
            let question = question(&vote.user, vote.verb(), &vote.namespace(), &policy.kind, &policy.name);
            let access = self.access.clone();
            asked.spawn(
                async move { access.create(&PostParams::default(), &question).await.map(|review| (at, review)) },
            );
        }
        let answers = async {
            let mut allowed = BTreeSet::new();
            while let Some(answer) = asked.join_next().await {
                let (at, review) = answer.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
                let status = review.status.ok_or("the API server left a question open")?;
                if status.allowed && !status.denied.unwrap_or_default() {
                    allowed.insert(at);
                }
            }
            Ok(allowed)
        };
        let allowed = timeout(PATIENCE, answers).await.unwrap_or_else(|_| Err("the API server is too slow".to_owned()));
        if let Err(error) = &allowed {
            tracing::warn!(event = "access_not_reviewed", error);
        }
        // What went wrong in between is ours to know, not the voter's.
        Ok(vote.conclude(allowed.map_err(|_: String| "the API server did not answer".to_owned())))
    }
}

impl std::fmt::Debug for Reviewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviewer").finish_non_exhaustive()
    }
}

/// By the policy's name, because those of requests are drawn.
fn question(user: &UserInfo, verb: &str, namespace: &str, kind: &str, name: &str) -> SubjectAccessReview {
    let (resource, namespace) = match kind {
        KIND => ("agentaccesspolicies", Some(namespace.to_owned())),
        _ => ("clusteragentaccesspolicies", None),
    };
    let attributes = ResourceAttributes {
        group: Some(crds::GROUP.to_owned()),
        version: Some(crds::VERSION.to_owned()),
        resource: Some(resource.to_owned()),
        verb: Some(verb.to_owned()),
        name: Some(name.to_owned()),
        namespace,
        ..ResourceAttributes::default()
    };
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.clone(),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_policy_is_asked_for_without_a_namespace() {
        let user = UserInfo { username: Some("alice".to_owned()), uid: Some("u".to_owned()), ..UserInfo::default() };
        for (kind, resource, namespace) in [
            ("AgentAccessPolicy", "agentaccesspolicies", Some("agents")),
            ("ClusterAgentAccessPolicy", "clusteragentaccesspolicies", None),
        ] {
            let spec = question(&user, "approve", "agents", kind, "p").spec;
            assert_eq!((spec.user.as_deref(), spec.uid.as_deref()), (Some("alice"), Some("u")));
            let asked = spec.resource_attributes.unwrap();
            assert_eq!(asked.resource.as_deref(), Some(resource));
            assert_eq!(asked.namespace.as_deref(), namespace);
            assert_eq!((asked.verb.as_deref(), asked.name.as_deref()), (Some("approve"), Some("p")));
            assert_eq!(asked.group.as_deref(), Some("agentaccess.dev"));
        }
    }
}
