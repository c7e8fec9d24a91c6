//! A pod with all that may be about it, as the API server has it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use crds::pod::{INJECTED_LABEL, INJECTION_ENABLED, INJECTION_LABEL, PROXY};
use crds::policy::{AgentAccessPolicy, ClusterAgentAccessPolicy, Mode};
use crds::status::{ConditionStatus, PROGRAMMED};
use crds::target::AccessTarget;
use policy::subject::Subject;
use policy::{Input, Named, Selection, TargetKey, View, compile};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cluster::{Cluster, full_name, items, text};

#[derive(Debug)]
pub(super) struct Live {
    pod: Value,
    governed_namespace: bool,
    subject: Subject,
    targets: Vec<AccessTarget>,
    policies: Vec<AgentAccessPolicy>,
    cluster_policies: Vec<ClusterAgentAccessPolicy>,
}

// === impl Live ===

impl Live {
    /// # Errors
    /// When there is no such pod, or something cannot be read.
    pub(super) fn read(cluster: &Cluster, namespace: &str, name: &str) -> Result<Self> {
        let Some(pod) = cluster.get(&format!("/api/v1/namespaces/{namespace}/pods"), name)? else {
            bail!(
                "there is no pod `{name}` in namespace `{namespace}`: give --namespace, or see `kubectl get pods -A`"
            );
        };
        let around = cluster.get("/api/v1/namespaces", namespace)?;
        let around = around.with_context(|| format!("there is no namespace `{namespace}`"))?;
        let ours = format!("/apis/{}/{}", crds::GROUP, crds::VERSION);
        let account = match text(&pod, "/spec/serviceAccountName") {
            "" => "default",
            account => account,
        };
        let subject = Subject {
            namespace: namespace.to_owned(),
            service_account: account.to_owned(),
            labels: labels(&pod),
            namespace_labels: labels(&around),
            pod: Some(name.to_owned()),
            pod_uid: None,
        };
        Ok(Self {
            governed_namespace: subject.namespace_labels.get(INJECTION_LABEL).is_some_and(|v| v == INJECTION_ENABLED),
            targets: all(cluster, &format!("{ours}/namespaces/{namespace}/accesstargets"))?,
            policies: all(cluster, &format!("{ours}/namespaces/{namespace}/agentaccesspolicies"))?,
            cluster_policies: all(cluster, &format!("{ours}/clusteragentaccesspolicies"))?,
            pod,
            subject,
        })
    }

    pub(super) fn name(&self) -> String {
        full_name(&self.pod)
    }

    /// Why the pod has no sidecar; `None` when it has one.
    pub(super) fn not_injected(&self) -> Option<String> {
        let injected = self.subject.labels.contains_key(INJECTED_LABEL);
        let namespace = &self.subject.namespace;
        let mirror = self.pod.pointer("/metadata/annotations").and_then(|a| a.get("kubernetes.io/config.mirror"));
        match (injected, self.governed_namespace) {
            (true, _) => None,
            (false, false) => Some(format!(
                "its namespace is not: kubectl label namespace {namespace} {INJECTION_LABEL}={INJECTION_ENABLED}, then delete the pod"
            )),
            (false, true) if mirror.is_some() => {
                Some("it is a static pod of its node, which admission does not see".to_owned())
            }
            (false, true) => Some(format!(
                "it was made before {namespace} was governed, or {namespace} is excluded: delete it, so that it is made again"
            )),
        }
    }

    /// The sidecar is an init container that goes on.
    pub(super) fn sidecar_ready(&self) -> bool {
        let mut statuses = items(&self.pod, "/status/initContainerStatuses").iter();
        let proxy = statuses.find(|status| text(status, "/name") == PROXY);
        proxy.and_then(|status| status.get("ready")).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(super) fn selected(&self) -> impl Iterator<Item = &AgentAccessPolicy> {
        self.policies.iter().filter(|policy| Selection::from(&policy.spec).selects(&self.subject))
    }

    /// Names of cluster policies that select the pod.
    pub(super) fn guardrails(&self) -> impl Iterator<Item = &str> {
        let selecting = self.cluster_policies.iter().filter(|p| Selection::from(&p.spec).selects(&self.subject));
        selecting.filter_map(|policy| policy.metadata.name.as_deref())
    }

    /// What applies at each target of the namespace.
    ///
    /// # Errors
    /// Why the policies cannot be in force.
    pub(super) fn views(&self) -> Result<BTreeMap<String, View>, Vec<String>> {
        let namespace = &self.subject.namespace;
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        let mut input = Input::default();
        for target in &self.targets {
            let (name, spec) = (name(&target.metadata.name), target.spec.clone());
            input.targets.push(Named { namespace: namespace.clone(), name, spec });
        }
        for policy in &self.policies {
            let (name, spec) = (name(&policy.metadata.name), policy.spec.clone());
            input.policies.push(Named { namespace: namespace.clone(), name, spec });
        }
        for policy in &self.cluster_policies {
            let (name, spec) = (name(&policy.metadata.name), policy.spec.clone());
            input.cluster.push(Named { namespace: String::new(), name, spec });
        }
        let set = compile(&input).map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let views = input.targets.into_iter().map(|target| {
            let key = TargetKey { namespace: namespace.clone(), name: target.name.clone() };
            (target.name, set.view(&self.subject, &key))
        });
        Ok(views.collect())
    }
}

/// Name and mode of a policy, and what stands in its way.
pub(super) fn described(policy: &AgentAccessPolicy) -> String {
    let name = policy.metadata.name.as_deref().unwrap_or_default();
    let mode = match policy.spec.mode {
        Mode::Enforce => "Enforce",
        Mode::Audit => "Audit",
    };
    let conditions = policy.status.iter().flat_map(|status| &status.conditions);
    let programmed = conditions.into_iter().find(|condition| condition.type_ == PROGRAMMED);
    match programmed {
        Some(condition) if condition.status == ConditionStatus::True => format!("{name} ({mode}, in force)"),
        Some(condition) => format!("{name} ({mode}, not everywhere in force: {})", condition.message),
        None => format!("{name} ({mode}; whether it is in force has not been said)"),
    }
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    labels.into_iter().flatten().filter_map(text).collect()
}

fn all<T: DeserializeOwned>(cluster: &Cluster, collection: &str) -> Result<Vec<T>> {
    let Some(items) = cluster.list(collection, "")? else {
        bail!("the cluster does not know {collection}: see `check`");
    };
    let read = |item: Value| {
        let name = full_name(&item);
        serde_json::from_value(item).with_context(|| {
            format!("`{name}` of {collection} cannot be read by this program: use the operator's version")
        })
    };
    items.into_iter().map(read).collect()
}
