//! Rules as `AgentAccessPolicy` objects: several where one cannot hold them all, which together say the same.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use crds::limits;
use crds::policy::{Action, AgentAccessPolicy, Detector, PostgresMask};
use serde_json::{Value, json};

use super::groups::{Made, Rule};
use super::seen::Who;

/// Name of the one entry of `approvals`.
pub(super) const PERSON: &str = "person";

/// One policy, and what is to be said beside its rules.
#[derive(Debug)]
pub(super) struct Suggested {
    pub(super) object: AgentAccessPolicy,
    /// By target and rule, as they stand in the object.
    pub(super) notes: Vec<Vec<Vec<String>>>,
}

/// A target, with as many of its rules as one policy takes, and what looks at all that comes back from it.
type Part<'a> = (&'a String, &'a [Rule], Nets<'a>);

/// Those of all policies together: they stand in the first.
#[derive(Clone, Copy, Debug, Default)]
struct Nets<'a> {
    masks: &'a [PostgresMask],
    detectors: &'a [Detector],
}

/// # Errors
/// When there are more masks or detectors than a policy takes, or the name is none.
pub(super) fn policies(
    made: &Made,
    who: &Who,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> Result<Vec<Suggested>> {
    let mut parts: Vec<Vec<Part<'_>>> = Vec::new();
    for (target, rules) in &made.rules {
        let masks = made.masks.get(target).map(Vec::as_slice).unwrap_or_default();
        let detectors = made.detectors.get(target).map(Vec::as_slice).unwrap_or_default();
        for (what, count, most) in
            [("masks", masks.len(), limits::RULES), ("detectors", detectors.len(), limits::DETECTORS)]
        {
            if count > most {
                bail!("target `{target}` has {count} {what}, and a policy takes {most}: merge some of them");
            }
        }
        let nets = Nets { masks, detectors };
        let mut chunks: Vec<&[Rule]> = rules.chunks(limits::RULES).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        for (at, chunk) in chunks.into_iter().enumerate() {
            let part = (target, chunk, if at == 0 { nets } else { Nets::default() });
            let fits = |policy: &Vec<Part<'_>>| {
                policy.len() < limits::TARGETS && policy.iter().all(|(other, _, _)| *other != target)
            };
            match parts.iter_mut().find(|policy| fits(policy)) {
                Some(policy) => policy.push(part),
                None => parts.push(vec![part]),
            }
        }
    }
    if parts.is_empty() {
        bail!("none of what was seen can be said by rules, so there is no policy: {}", reasons(made));
    }
    let policies = parts.iter().enumerate();
    policies.map(|(at, part)| policy(part, who, &numbered(name, at), labels)).collect()
}

fn reasons(made: &Made) -> String {
    let why: BTreeSet<&str> = made.left.keys().map(|left| left.why.as_str()).collect();
    why.into_iter().take(3).collect::<Vec<_>>().join("; ")
}

fn policy(targets: &[Part<'_>], who: &Who, name: &str, labels: &BTreeMap<String, String>) -> Result<Suggested> {
    let mut notes = Vec::new();
    let mut blocks = Vec::new();
    let mut asks = false;
    for (target, rules, Nets { masks, detectors }) in targets {
        let mut names = BTreeSet::new();
        let rendered: Vec<Value> = rules.iter().map(|rule| rendered(rule, &mut names)).collect();
        asks |= rules.iter().any(|rule| rule.asks);
        notes.push(rules.iter().map(|rule| rule.notes.clone()).collect());
        let mut mask_names = BTreeSet::new();
        let masks: Vec<Value> = masks
            .iter()
            .map(|mask| {
                let name = free(&mask.name, &mut mask_names);
                json!({"name": name, "columns": mask.columns, "method": mask.method, "inPredicates": mask.in_predicates})
            })
            .collect();
        let mut detector_names = BTreeSet::new();
        let detectors: Vec<Value> = detectors
            .iter()
            .map(|detector| {
                let name = free(&detector.name, &mut detector_names);
                json!({"name": name, "find": detector.find, "action": detector.action})
            })
            .collect();
        let block = json!({"rules": rendered, "masks": masks, "detectors": detectors});
        blocks.push(json!({"targetRef": {"name": target}, "postgres": block}));
    }
    let selector = if labels.is_empty() { json!({}) } else { json!({"matchLabels": labels}) };
    let accounts: Vec<&str> = Some(who.service_account.as_str()).filter(|name| !name.is_empty()).into_iter().collect();
    let approvals =
        if asks { vec![json!({"name": PERSON, "requiredApprovals": 1, "reason": "Required"})] } else { vec![] };
    let object = json!({
        "apiVersion": "agentaccess.dev/v1alpha1",
        "kind": "AgentAccessPolicy",
        "metadata": {"name": name, "namespace": who.namespace},
        "spec": {
            "podSelector": selector,
            "serviceAccountNames": accounts,
            "mode": "Enforce",
            "approvals": approvals,
            "targets": blocks,
        },
    });
    Ok(Suggested { object: serde_json::from_value(object)?, notes })
}

fn rendered(rule: &Rule, names: &mut BTreeSet<String>) -> Value {
    let word = serde_json::to_value(rule.name.verb).unwrap_or(Value::Null);
    let verb = word.as_str().unwrap_or_default().to_lowercase();
    let wanted = format!("{}{verb}-{}", if rule.asks { "ask-" } else { "" }, rule.name.path);
    let action = if rule.asks { Action::RequireApproval } else { Action::Allow };
    let mut value = json!({"name": free(&wanted, names), "action": action, "verbs": [word]});
    let Some(members) = value.as_object_mut() else { return value };
    if rule.asks {
        members.insert("approval".to_owned(), json!(PERSON));
    }
    let resources = if rule.name.is_function() { "functions" } else { "relations" };
    members.insert(resources.to_owned(), json!([rule.name.path]));
    if !rule.columns.is_empty() {
        let columns: Vec<String> = rule.columns.iter().map(|column| format!("{}.{column}", rule.name.path)).collect();
        members.insert("columns".to_owned(), json!(columns));
    }
    if rule.require_where {
        members.insert("requireWhere".to_owned(), json!(true));
    }
    if let Some(limit) = rule.limit {
        members.insert("limits".to_owned(), json!({"rows": i32::try_from(limit).unwrap_or(i32::MAX)}));
    }
    value
}

/// The name of the policy where none is given.
pub(super) fn policy_name(service_account: &str) -> String {
    label(&format!("suggested-{service_account}"), limits::LABEL_CHARS)
}

fn numbered(name: &str, at: usize) -> String {
    if at == 0 { name.to_owned() } else { format!("{name}-{}", at + 1) }
}

/// A label that no other rule of the block has.
fn free(wanted: &str, taken: &mut BTreeSet<String>) -> String {
    const ROOM: usize = 5;
    let base = label(wanted, limits::LABEL_CHARS.saturating_sub(ROOM));
    let mut name = base.clone();
    let mut number = 1;
    while !taken.insert(name.clone()) {
        number += 1;
        name = format!("{base}-{number}");
    }
    name
}

/// A DNS label that reads like the text.
fn label(text: &str, most: usize) -> String {
    let mut label = String::new();
    for c in text.to_lowercase().chars() {
        let c = if c.is_ascii_alphanumeric() { c } else { '-' };
        if label.len() < most && !(c == '-' && (label.is_empty() || label.ends_with('-'))) {
            label.push(c);
        }
    }
    let label = label.trim_end_matches('-');
    if label.is_empty() { "rule".to_owned() } else { label.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_labels_and_differ() {
        let mut taken = BTreeSet::new();
        assert_eq!(free("select-public.Orders", &mut taken), "select-public-orders");
        assert_eq!(free("select-public.orders", &mut taken), "select-public-orders-2");
        assert_eq!(free("日本", &mut taken), "rule");
        let long = free(&"a.".repeat(200), &mut taken);
        assert!(long.len() <= 63 && !long.ends_with('-'), "{long}");
        assert_eq!(policy_name("system:serviceaccount"), "suggested-system-serviceaccount");
    }
}
