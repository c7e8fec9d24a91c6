//! Requests of a cluster, and votes on them as `kubectl annotate` writes them.
//!
//! Nothing is counted here: the API server's webhook says what became of a vote. A request that this program cannot
//! read whole is not shown, since what is left out could be what matters.

use anyhow::{Context as _, Result, bail};
use crds::approval::{ApprovalRequest, DECISION_ANNOTATION, GRANT_ANNOTATION, REASON_ANNOTATION};
use serde_json::Value;

use super::sort;
use crate::cluster::{Cluster, full_name};

const RESOURCE: &str = "approvalrequests";

#[derive(Debug)]
pub(crate) struct Remote {
    cluster: Cluster,
    /// `None`: all.
    namespace: Option<String>,
}

/// What a person says of a request.
#[derive(Clone, Debug)]
pub(crate) struct Said<'a> {
    pub(crate) decision: &'static str,
    pub(crate) reason: Option<&'a str>,
    pub(crate) grant: Option<&'a str>,
}

// === impl Remote ===

impl Remote {
    pub(crate) fn new(cluster: Cluster, namespace: Option<String>) -> Self {
        Self { cluster, namespace }
    }

    pub(crate) fn list(&self) -> Result<Vec<ApprovalRequest>> {
        let Some(items) = self.cluster.list(&self.collection(), "")? else {
            bail!("the cluster has no ApprovalRequests: is agentaccess installed there? See `check`");
        };
        let mut items = items.into_iter().map(read).collect::<Result<Vec<_>>>()?;
        sort(&mut items);
        Ok(items)
    }

    /// `program` is how we were called.
    pub(crate) fn one(&self, name: &str, program: &str) -> Result<ApprovalRequest> {
        match self.cluster.get(&self.collection(), name)? {
            Some(item) => read(item),
            None => bail!("there is no request `{}`: see `{program} approvals ls --all-namespaces`", self.full(name)),
        }
    }

    /// What the webhook said to the vote.
    pub(crate) fn decide(&self, name: &str, said: &Said<'_>) -> Result<Vec<String>> {
        let mut pairs = vec![(DECISION_ANNOTATION, said.decision)];
        pairs.extend(said.reason.map(|reason| (REASON_ANNOTATION, reason)));
        pairs.extend(said.grant.map(|grant| (GRANT_ANNOTATION, grant)));
        let resource = format!("{RESOURCE}.{}", crds::GROUP);
        let namespace = self.namespace.as_deref().unwrap_or_default();
        self.cluster.annotate(&resource, namespace, name, &pairs).with_context(|| self.full(name))
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    pub(crate) fn full(&self, name: &str) -> String {
        self.namespace.as_ref().map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
    }

    fn collection(&self) -> String {
        let ours = format!("/apis/{}/{}", crds::GROUP, crds::VERSION);
        match &self.namespace {
            Some(namespace) => format!("{ours}/namespaces/{namespace}/{RESOURCE}"),
            None => format!("{ours}/{RESOURCE}"),
        }
    }
}

fn read(item: Value) -> Result<ApprovalRequest> {
    let name = full_name(&item);
    serde_json::from_value(item)
        .with_context(|| format!("the request `{name}` cannot be read by this program: use the operator's version"))
}
