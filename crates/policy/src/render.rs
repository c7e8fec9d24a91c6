//! The compiled content as objects again, in canonical form: sorted, lengths of time in seconds, words in the order of
//! their table. The revision is a hash of it.

use std::collections::BTreeMap;
use std::time::Duration;

use crds::duration::DurationText;
use crds::policy::{
    Action, AgentAccessPolicySpec, ApprovalSettings, ClusterAgentAccessPolicySpec, ClusterMask, ClusterPostgresColumns,
    ClusterPostgresMatch, ClusterRule, Detector, InTransaction, OnTimeout, PostgresMask, PostgresRule, PostgresRules,
    Preview, Reason, RecordingSettings, RuleLimits, TargetRules,
};
use crds::shared::LocalRef;

use crate::compile::postgres::words;
use crate::compile::{Input, Named};
use crate::operation::Strictness;
use crate::rule::{ColumnPattern, Glob, PathPattern, Rule, Terms};
use crate::set::{Block, ClusterPolicy, Policy, PolicySet};
use crate::view::DetectorRule;

impl PolicySet {
    /// Objects that compile to an equal set; equal sets render alike.
    pub fn render(&self) -> Input {
        let content = &self.content;
        let targets = content.targets.iter().map(|(key, spec)| Named {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            spec: spec.clone(),
        });
        let policies = content.policies.iter().map(|((namespace, name), policy)| Named {
            namespace: namespace.clone(),
            name: name.clone(),
            spec: namespaced(policy),
        });
        let cluster = content.cluster.iter().map(|(name, policy)| Named {
            namespace: String::new(),
            name: name.clone(),
            spec: cluster(policy),
        });
        Input { targets: targets.collect(), policies: policies.collect(), cluster: cluster.collect() }
    }
}

fn namespaced(policy: &Policy) -> AgentAccessPolicySpec {
    let targets = policy.targets.iter().map(|(name, block)| TargetRules {
        target_ref: LocalRef { name: name.clone() },
        postgres: Some(PostgresRules {
            rules: block.rules.iter().map(|r| rule(r)).collect(),
            masks: masks(block),
            detectors: detectors(block),
        }),
    });
    AgentAccessPolicySpec {
        pod_selector: policy.selection.pods.render(),
        service_account_names: policy.selection.service_accounts.clone(),
        mode: policy.mode,
        recording: RecordingSettings { level: policy.level, durability: policy.durability },
        approvals: policy.approvals.values().map(approval).collect(),
        targets: targets.collect(),
    }
}

fn cluster(policy: &ClusterPolicy) -> ClusterAgentAccessPolicySpec {
    let rules = policy.block.rules.iter().map(|rule| ClusterRule {
        name: rule.id.rule.clone(),
        action: action(rule.action),
        approval: rule.terms.as_ref().map(|t| t.name.clone()),
        postgres: Some(ClusterPostgresMatch {
            hosts: rule.hosts.iter().map(|h| h.as_str().to_owned()).collect(),
            verbs: words(&rule.uses, rule.action),
            relations: rule.relations.iter().map(PathPattern::text).collect(),
            columns: rule.columns.iter().map(ColumnPattern::text).collect(),
            functions: rule.functions.iter().map(PathPattern::text).collect(),
            require_where: rule.require_where,
        }),
        message: rule.message.clone(),
    });
    let masks = masks(&policy.block).into_iter().map(|mask| ClusterMask {
        name: mask.name,
        postgres: ClusterPostgresColumns { columns: mask.columns },
        method: mask.method,
        in_predicates: mask.in_predicates,
    });
    ClusterAgentAccessPolicySpec {
        namespace_selector: policy.selection.namespaces.clone().unwrap_or_default().render(),
        pod_selector: policy.selection.pods.render(),
        deny_all: policy.deny_all,
        recording: policy.recording.map(|(level, durability)| RecordingSettings { level, durability }),
        approvals: policy.approvals.values().map(approval).collect(),
        rules: rules.collect(),
        masks: masks.collect(),
        detectors: detectors(&policy.block),
    }
}

fn rule(rule: &Rule) -> PostgresRule {
    PostgresRule {
        name: rule.id.rule.clone(),
        action: action(rule.action),
        approval: rule.terms.as_ref().map(|t| t.name.clone()),
        verbs: words(&rule.uses, rule.action),
        relations: rule.relations.iter().map(PathPattern::text).collect(),
        columns: rule.columns.iter().map(ColumnPattern::text).collect(),
        functions: rule.functions.iter().map(PathPattern::text).collect(),
        require_where: rule.require_where,
        // It came from an i32.
        limits: rule.max_rows.map(|rows| RuleLimits { rows: i32::try_from(rows).unwrap_or(i32::MAX) }),
        message: rule.message.clone(),
    }
}

/// One mask may have several columns; each was compiled on its own.
fn masks(block: &Block) -> Vec<PostgresMask> {
    let mut by_name: BTreeMap<&str, PostgresMask> = BTreeMap::new();
    for mask in &block.masks {
        let column = [&mask.schema, &mask.relation, &mask.column].map(Glob::as_str).join(".");
        by_name
            .entry(&mask.id.rule)
            .or_insert_with(|| PostgresMask {
                name: mask.id.rule.clone(),
                columns: Vec::new(),
                method: mask.method,
                in_predicates: mask.in_predicates,
            })
            .columns
            .push(column);
    }
    by_name.into_values().collect()
}

fn detectors(block: &Block) -> Vec<Detector> {
    let detector = |rule: &DetectorRule| Detector {
        name: rule.id.rule.clone(),
        find: rule.find.iter().copied().collect(),
        action: rule.action,
    };
    block.detectors.iter().map(detector).collect()
}

fn approval(terms: &Terms) -> ApprovalSettings {
    let seconds = |d: Duration| DurationText(format!("{}s", d.as_secs()));
    ApprovalSettings {
        name: terms.name.clone(),
        required_approvals: i32::from(terms.required_approvals),
        deny_threshold: i32::from(terms.deny_threshold),
        scope: terms.scope,
        max_grant_duration: terms.max_grant.map(seconds),
        pending_ttl: seconds(terms.pending_ttl),
        hold_for: seconds(terms.hold_for),
        reason: if terms.reason_required { Reason::Required } else { Reason::Optional },
        in_transaction: terms
            .max_hold_in_transaction
            .map(|hold| InTransaction { max_hold: seconds(hold), on_timeout: OnTimeout::Rollback }),
        preview: [(terms.preview.explain, Preview::Explain), (terms.preview.count, Preview::Count)]
            .into_iter()
            .filter_map(|(wanted, preview)| wanted.then_some(preview))
            .collect(),
    }
}

fn action(strictness: Strictness) -> Action {
    match strictness {
        Strictness::Allow => Action::Allow,
        Strictness::RequireApproval => Action::RequireApproval,
        Strictness::Deny => Action::Deny,
    }
}
