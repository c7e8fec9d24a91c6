//! The policy as YAML that people read: each rule with what it was made from, and at the head what was left out.

use crds::policy::{AgentAccessPolicy, PostgresRule};
use serde::Serialize;

use super::groups::Made;
use super::proof::Proof;
use super::seen::Who;
use super::spec::Suggested;
use crate::screen::{count, line};

/// Most lines for what was left out, and for remarks; the rest is counted.
const SHOWN: usize = 40;

/// Comments that go before [`body`].
pub(super) fn head(who: &Who, made: &Made, proof: &Proof) -> String {
    let all = count(made.operations(), "operation", "operations");
    let sessions = u64::try_from(made.sessions).unwrap_or(u64::MAX);
    let mut lines = vec![
        format!("Suggested by `agentaccess suggest` from {all} of {who} in {}", count(sessions, "session", "sessions")),
        format!("({} to {}). What an agent did is not always what it should do: read it first.", made.from, made.until),
        String::new(),
        verdicts(made, proof),
    ];
    if !made.left.is_empty() {
        lines.push("Left out:".to_owned());
        for (left, times) in made.left.iter().take(SHOWN) {
            lines.push(format!("- {} ({})", left.what, count(*times, "time", "times")));
            lines.push(format!("    {}", left.why));
        }
        if made.left.len() > SHOWN {
            lines.push(format!("- and {} more kinds; `-o json` has them all", made.left.len() - SHOWN));
        }
    }
    let remarks: Vec<&String> = proof.remarks.iter().collect();
    if !remarks.is_empty() {
        lines.push(String::new());
        lines.push("Look at:".to_owned());
        lines.extend(remarks.iter().take(SHOWN).map(|remark| format!("- {remark}")));
        if remarks.len() > SHOWN {
            lines.push(format!("- and {} more; `-o json` has them all", remarks.len() - SHOWN));
        }
    }
    lines.iter().map(|text| format!("# {}", line(text)).trim_end().to_owned() + "\n").collect()
}

fn verdicts(made: &Made, proof: &Proof) -> String {
    let left: u64 = made.left.values().copied().fold(0, u64::saturating_add);
    let denied = made.operations().saturating_sub(proof.pass).saturating_sub(proof.wait).saturating_sub(left);
    let denied = if denied == 0 { String::new() } else { format!(", {denied} denied") };
    format!("Under it: {} pass, {} wait for approval{denied}, {left} left out.", proof.pass, proof.wait)
}

/// The objects.
pub(super) fn body(policies: &[Suggested], made: &Made, who: &Who) -> String {
    let texts: Vec<String> = policies.iter().map(|policy| one(policy, made, who)).collect();
    texts.join("---\n")
}

fn one(policy: &Suggested, made: &Made, who: &Who) -> String {
    let AgentAccessPolicy { metadata, spec, .. } = &policy.object;
    let mut out = Text::default();
    out.line(0, "apiVersion: agentaccess.dev/v1alpha1");
    out.line(0, "kind: AgentAccessPolicy");
    let name = flow(&metadata.name.as_deref().unwrap_or_default());
    out.line(0, &format!("metadata: {{name: {name}, namespace: {}}}", flow(&who.namespace)));
    out.line(0, "spec:");
    if spec.pod_selector.match_labels.is_empty() {
        out.line(
            2,
            "# A recording knows no labels of pods: this selects each pod of the service account. See --labels.",
        );
        out.line(2, "podSelector: {}");
    } else {
        out.line(2, &format!("podSelector: {{matchLabels: {}}}", flow(&spec.pod_selector.match_labels)));
    }
    if !spec.service_account_names.is_empty() {
        out.line(2, &format!("serviceAccountNames: {}", flow(&spec.service_account_names)));
    }
    out.line(2, "mode: Enforce");
    if !spec.approvals.is_empty() {
        out.line(2, "# A recording does not hold the terms of approvals: say how many people, and how long they have.");
        out.line(2, "approvals:");
        for approval in &spec.approvals {
            out.line(
                4,
                &format!(
                    "- {{name: {}, requiredApprovals: {}, reason: Required}}",
                    approval.name, approval.required_approvals
                ),
            );
        }
    }
    out.line(2, "targets:");
    for (target, notes) in spec.targets.iter().zip(&policy.notes) {
        let name = &target.target_ref.name;
        if let Some(databases) = made.databases.get(name).filter(|databases| !databases.is_empty()) {
            let databases: Vec<&str> = databases.iter().map(String::as_str).collect();
            let text =
                format!("# Seen in the database {}; rules hold in every database of the target.", databases.join(", "));
            out.line(4, &line(&text));
        }
        out.line(4, &format!("- targetRef: {{name: {}}}", flow(name)));
        out.line(6, "postgres:");
        let Some(block) = &target.postgres else { continue };
        if block.rules.is_empty() {
            out.line(8, "# Only what every session may do was seen: no rule is needed for it.");
            out.line(8, "rules: []");
        } else {
            out.line(8, "rules:");
        }
        for (rule, notes) in block.rules.iter().zip(notes) {
            notes.iter().for_each(|note| out.line(10, &format!("# {}", line(note))));
            rule_lines(&mut out, rule);
        }
        if !block.masks.is_empty() {
            out.line(8, "masks:");
        }
        for mask in &block.masks {
            let (method, predicates) = (flow(&mask.method), flow(&mask.in_predicates));
            let columns = flow(&mask.columns);
            out.line(
                10,
                &format!("- {{name: {}, columns: {columns}, method: {method}, inPredicates: {predicates}}}", mask.name),
            );
        }
        if !block.detectors.is_empty() {
            out.line(8, "detectors:");
        }
        for detector in &block.detectors {
            let (find, action) = (flow(&detector.find), flow(&detector.action));
            out.line(10, &format!("- {{name: {}, find: {find}, action: {action}}}", detector.name));
        }
    }
    out.0
}

fn rule_lines(out: &mut Text, rule: &PostgresRule) {
    out.line(10, &format!("- name: {}", flow(&rule.name)));
    out.line(12, &format!("action: {}", flow(&rule.action)));
    if let Some(approval) = &rule.approval {
        out.line(12, &format!("approval: {}", flow(approval)));
    }
    out.line(12, &format!("verbs: {}", flow(&rule.verbs)));
    for (field, names) in [("relations", &rule.relations), ("columns", &rule.columns), ("functions", &rule.functions)] {
        if !names.is_empty() {
            out.line(12, &format!("{field}: {}", flow(names)));
        }
    }
    if rule.require_where {
        out.line(12, "requireWhere: true");
    }
    if let Some(limits) = &rule.limits {
        out.line(12, &format!("limits: {{rows: {}}}", limits.rows));
    }
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, depth: usize, text: &str) {
        self.0.push_str(&" ".repeat(depth));
        self.0.push_str(text);
        self.0.push('\n');
    }
}

/// A value in YAML's flow style: JSON, with the quotes left out where nobody could take the text for anything else.
/// What this gets wrong would be found when the text is read back.
fn flow(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(value) => of_json(&value),
        Err(_) => String::new(),
    }
}

fn of_json(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(of_json).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| {
                format!("{}: {}", of_json(&Value::from(key.as_str())), of_json(value))
            };
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}
