//! `ClusterAgentAccessPolicy`.

use std::collections::BTreeMap;

use crds::limits;
use crds::policy::{Action, ClusterAgentAccessPolicySpec, ClusterRule};
use crds::target::AccessTargetSpec;

use crate::compile::postgres::Match;
use crate::compile::report::Report;
use crate::compile::{Named, approvals, check, detectors, namespaced, postgres};
use crate::selector::Selection;
use crate::set::{ClusterPolicy, TargetKey};
use crate::verdict::RuleId;

pub(super) fn compile(
    object: &Named<ClusterAgentAccessPolicySpec>,
    known: &BTreeMap<TargetKey, AccessTargetSpec>,
    report: &mut Report,
) -> ClusterPolicy {
    let spec = &object.spec;
    namespaced::name(&object.name, report);
    check::selector(report, "spec.namespaceSelector", &spec.namespace_selector);
    check::selector(report, "spec.podSelector", &spec.pod_selector);
    let approvals = approvals::compile(&spec.approvals, report);
    check::at_most(report, "spec.rules", &spec.rules, limits::RULES);
    check::distinct_names(report, "spec.rules", spec.rules.iter().map(|r| r.name.as_str()));
    let mut rules = Vec::new();
    for (at, rule) in spec.rules.iter().enumerate() {
        let path = format!("spec.rules[{at}]");
        if rule.action == Action::Allow {
            let text = "a cluster policy only tightens: action is Deny or RequireApproval";
            report.error(&format!("{path}.action"), text);
        }
        match of_cluster(&object.name, &path, rule) {
            Some(m) => {
                check::not_empty(report, &format!("{}.hosts", m.block), m.hosts, "host pattern, for example `*`");
                let rule = postgres::rule(&m, &approvals, report);
                // Without any target nothing is known of their hosts.
                if !known.is_empty() && !known.values().any(|target| rule.names_host(&target.host)) {
                    let text = "no AccessTarget has such a host: the rule matches nothing now";
                    report.warn_of_others(&format!("{}.hosts", m.block), text);
                }
                rules.push(rule);
            }
            None => report.error(&format!("{path}.postgres"), "is missing: a rule has exactly one protocol block"),
        }
    }
    check::at_most(report, "spec.masks", &spec.masks, limits::RULES);
    check::distinct_names(report, "spec.masks", spec.masks.iter().map(|m| m.name.as_str()));
    let mut masks = Vec::new();
    for (at, mask) in spec.masks.iter().enumerate() {
        let path = format!("spec.masks[{at}]");
        let id = RuleId { policy: object.name.clone(), rule: mask.name.clone(), cluster: true };
        let columns_at = format!("{path}.postgres.columns");
        let columns = &mask.postgres.columns;
        masks.extend(postgres::mask(&path, &columns_at, &id, columns, mask.method, mask.in_predicates, report));
    }
    let detectors = detectors::compile(&object.name, true, "spec.detectors", &spec.detectors, report);
    let selection = Selection::from(spec);
    let namespaces = selection.namespaces.iter().map(|namespaces| ("spec.namespaceSelector", namespaces));
    for (path, selector) in namespaces.chain([("spec.podSelector", &selection.pods)]) {
        if selector.is_contradictory() {
            report.warn(path, "contradicts itself: nothing can ever match, so the policy has no effect");
        }
    }
    ClusterPolicy {
        selection,
        deny_all: spec.deny_all,
        recording: spec.recording.as_ref().map(|r| (r.level, r.durability)),
        approvals,
        block: postgres::sorted(rules, masks, detectors),
    }
}

fn of_cluster<'a>(policy: &str, path: &str, rule: &'a ClusterRule) -> Option<Match<'a>> {
    let block = rule.postgres.as_ref()?;
    Some(Match {
        rule: path.to_owned(),
        block: format!("{path}.postgres"),
        id: RuleId { policy: policy.to_owned(), rule: rule.name.clone(), cluster: true },
        action: rule.action,
        approval: rule.approval.as_deref(),
        hosts: &block.hosts,
        verbs: &block.verbs,
        relations: &block.relations,
        columns: &block.columns,
        functions: &block.functions,
        require_where: block.require_where,
        max_rows: None,
        message: rule.message.as_deref(),
    })
}
