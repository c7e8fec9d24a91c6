//! Whom a policy speaks of. Kubernetes' label selectors, with its semantics: `NotIn` also selects what lacks the label.

use std::collections::{BTreeMap, BTreeSet};

use crds::policy::{AgentAccessPolicySpec, ClusterAgentAccessPolicySpec};
use crds::shared::{Selector, SelectorOperator, SelectorRequirement};

use crate::subject::Subject;

/// The subjects that one policy selects. Of a namespaced policy only subjects of its own namespace may be asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// `None`: a namespaced policy.
    pub(crate) namespaces: Option<CompiledSelector>,
    pub(crate) pods: CompiledSelector,
    /// Sorted; empty: any.
    pub(crate) service_accounts: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CompiledSelector {
    labels: BTreeMap<String, String>,
    expressions: BTreeSet<Expression>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Expression {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Test {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
}

// === impl Selection ===

impl Selection {
    pub fn selects(&self, subject: &Subject) -> bool {
        self.namespaces.as_ref().is_none_or(|labels| labels.matches(&subject.namespace_labels_with_name()))
            && self.pods.matches(&subject.labels)
            && (self.service_accounts.is_empty() || self.service_accounts.contains(&subject.service_account))
    }
}

impl From<&AgentAccessPolicySpec> for Selection {
    fn from(spec: &AgentAccessPolicySpec) -> Self {
        let mut service_accounts = spec.service_account_names.clone();
        service_accounts.sort();
        Self { namespaces: None, pods: CompiledSelector::new(&spec.pod_selector), service_accounts }
    }
}

impl From<&ClusterAgentAccessPolicySpec> for Selection {
    fn from(spec: &ClusterAgentAccessPolicySpec) -> Self {
        Self {
            namespaces: Some(CompiledSelector::new(&spec.namespace_selector)),
            pods: CompiledSelector::new(&spec.pod_selector),
            service_accounts: Vec::new(),
        }
    }
}

// === impl CompiledSelector ===

impl CompiledSelector {
    pub(crate) fn new(spec: &Selector) -> Self {
        let expressions = spec.match_expressions.iter().map(|e| {
            let values = || e.values.iter().cloned().collect();
            let test = match e.operator {
                SelectorOperator::In => Test::In(values()),
                SelectorOperator::NotIn => Test::NotIn(values()),
                SelectorOperator::Exists => Test::Exists,
                SelectorOperator::DoesNotExist => Test::DoesNotExist,
            };
            Expression { key: e.key.clone(), test }
        });
        Self { labels: spec.match_labels.clone(), expressions: expressions.collect() }
    }

    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(k, v)| labels.get(k) == Some(v))
            && self.expressions.iter().all(|e| {
                let value = labels.get(&e.key);
                match &e.test {
                    Test::In(values) => value.is_some_and(|v| values.contains(v)),
                    Test::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
                    Test::Exists => value.is_some(),
                    Test::DoesNotExist => value.is_none(),
                }
            })
    }

    /// Whether no set of labels can match. Looks at one label at a time; that is all there is.
    pub(crate) fn is_contradictory(&self) -> bool {
        self.expressions.iter().any(|e| {
            let of_key = || self.expressions.iter().filter(|o| o.key == e.key).map(|o| &o.test);
            let candidates: Vec<&String> = match (&e.test, self.labels.get(&e.key)) {
                (_, Some(value)) => vec![value],
                (Test::In(values), None) => values.iter().collect(),
                (Test::Exists, None) => return of_key().any(|t| *t == Test::DoesNotExist),
                (Test::NotIn(_) | Test::DoesNotExist, None) => return false,
            };
            !candidates.into_iter().any(|value| {
                of_key().all(|test| match test {
                    Test::In(values) => values.contains(value),
                    Test::NotIn(values) => !values.contains(value),
                    Test::Exists => true,
                    Test::DoesNotExist => false,
                })
            })
        })
    }

    pub(crate) fn render(&self) -> Selector {
        let requirement = |e: &Expression| {
            let (operator, values) = match &e.test {
                Test::In(values) => (SelectorOperator::In, values.iter().cloned().collect()),
                Test::NotIn(values) => (SelectorOperator::NotIn, values.iter().cloned().collect()),
                Test::Exists => (SelectorOperator::Exists, Vec::new()),
                Test::DoesNotExist => (SelectorOperator::DoesNotExist, Vec::new()),
            };
            SelectorRequirement { key: e.key.clone(), operator, values }
        };
        Selector {
            match_labels: self.labels.clone(),
            match_expressions: self.expressions.iter().map(requirement).collect(),
        }
    }
}
