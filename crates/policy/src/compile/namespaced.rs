//! `AgentAccessPolicy`.

use std::collections::BTreeMap;

use crds::limits;
use crds::policy::{AgentAccessPolicySpec, Mode};
use crds::target::AccessTargetSpec;

use crate::compile::report::{Report, shown};
use crate::compile::{BUILTIN, Named, approvals, check, postgres, repeated, shadow};
use crate::selector::Selection;
use crate::set::{Policy, TargetKey};

pub(super) fn compile(
    object: &Named<AgentAccessPolicySpec>,
    known: &BTreeMap<TargetKey, AccessTargetSpec>,
    report: &mut Report,
) -> Policy {
    let spec = &object.spec;
    name(&object.name, report);
    check::label(report, "metadata.namespace", &object.namespace);
    check::selector(report, "spec.podSelector", &spec.pod_selector);
    let path = "spec.serviceAccountNames";
    check::at_most(report, path, &spec.service_account_names, limits::SERVICE_ACCOUNTS);
    check::distinct(report, path, spec.service_account_names.iter().map(String::as_str));
    for (at, account) in spec.service_account_names.iter().enumerate() {
        check::name(report, &format!("{path}[{at}]"), account);
    }
    let approvals = approvals::compile(&spec.approvals, report);
    let path = "spec.targets";
    check::not_empty(report, path, &spec.targets, "target");
    check::at_most(report, path, &spec.targets, limits::TARGETS);
    // Rules are called `policy/rule`: with two blocks for one target two rules could share that.
    for (at, first) in repeated(spec.targets.iter().map(|t| t.target_ref.name.as_str())) {
        let text = format!("{path}[{first}] is about this target already: put the rules of both into one");
        report.error(&format!("{path}[{at}].targetRef.name"), &text);
    }
    let mut targets = BTreeMap::new();
    let mut absent = 0;
    for (at, target) in spec.targets.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let name = &target.target_ref.name;
        check::name(report, &format!("{path}.targetRef.name"), name);
        if !known.contains_key(&TargetKey { namespace: object.namespace.clone(), name: name.clone() }) {
            absent += 1;
            let text = format!("there is no AccessTarget `{}` here; it is denied until there is", shown(name));
            report.warn_of_others(&format!("{path}.targetRef.name"), &text);
        }
        let Some(rules) = &target.postgres else {
            report.error(&format!("{path}.postgres"), "is missing: a target has exactly one protocol block");
            continue;
        };
        let path = format!("{path}.postgres");
        if rules.rules.is_empty() && rules.masks.is_empty() && rules.detectors.is_empty() {
            report.warn(&path, "has neither rules nor masks: it permits nothing");
        }
        let block = postgres::block(&object.name, &path, rules, &approvals, report);
        shadow::warn(&block, &path, rules.rules.iter().map(|r| r.name.as_str()), report);
        targets.insert(name.clone(), block);
    }
    if spec.mode == Mode::Audit {
        let text = "where every policy of a pod says Audit, all that could be allowed passes, and is recorded";
        report.warn("spec.mode", text);
    }
    let selection = Selection::from(spec);
    if selection.pods.is_contradictory() {
        report.warn("spec.podSelector", "contradicts itself: no pod can ever match, so the policy has no effect");
    }
    if absent > 0 && absent == spec.targets.len() {
        report.warn_of_others("spec.targets", "none of the targets exists: no rule of this policy can match");
    }
    for (at, settings) in spec.approvals.iter().enumerate() {
        let rules = spec.targets.iter().filter_map(|t| t.postgres.as_ref()).flat_map(|p| &p.rules);
        if !rules.filter_map(|r| r.approval.as_ref()).any(|a| *a == settings.name) {
            report.warn(&format!("spec.approvals[{at}].name"), "no rule refers to these settings");
        }
    }
    Policy {
        selection,
        mode: spec.mode,
        level: spec.recording.level,
        durability: spec.recording.durability,
        approvals,
        targets,
    }
}

pub(super) fn name(name: &str, report: &mut Report) {
    check::name(report, "metadata.name", name);
    if name == BUILTIN {
        report.error("metadata.name", "`builtin` is the name of our own rules: choose another");
    }
}
