//! Verdicts in words for people: the CLI's `simulate`, refusals, the recording. Names of resources and rules, never
//! values; control characters in names are escaped, and no text grows with the number of columns.

use std::fmt;
use std::fmt::Write as _;

use crate::decide::{SESSION, builtin};
use crate::operation::{Access, Fields, Resource};
use crate::redact::Redacted;
use crate::rule::{ColumnPattern, Glob, PathPattern, Rule, Use};
use crate::verdict::{ApprovalTerms, Decision, DenyReason, RuleId, Verdict};
use crate::view::View;

/// Columns of one access that are written out.
const SHOWN_FIELDS: usize = 8;

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.cluster { "cluster:" } else { "" };
        write!(f, "{prefix}{}/{}", self.policy, self.rule)
    }
}

impl DenyReason {
    /// One of a few words, for metrics and for programs that read recordings.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NotSelected => "not_selected",
            Self::NoRule(_) => "no_rule",
            Self::Rule { .. } => "rule",
            Self::Unasked { .. } => "unasked",
            Self::DenyAll { .. } => "deny_all",
            Self::Unbounded { .. } => "unbounded",
            Self::Ceiling(_) => "ceiling",
            Self::Opaque(_) => "opaque",
            Self::Stale => "stale",
            Self::Evaluation(_) => "evaluation",
        }
    }

    /// One sentence for the agent, lower case and without a full stop of ours.
    pub fn message(&self) -> String {
        let text = match self {
            Self::NotSelected => "no policy selects this subject for this target".to_owned(),
            Self::NoRule(access) => format!("no rule allows {access}"),
            Self::Rule { id, message: None } => format!("denied by policy {id}"),
            Self::Rule { id, message: Some(message) } => format!("denied by policy {id}: {message}"),
            Self::Unasked { id } => format!("denied by policy {id}: it would have needed an approval"),
            Self::DenyAll { policy } => format!("denied by policy cluster:{policy}: it denies everything"),
            Self::Unbounded { id, resource } => format!("denied by policy {id}: no effective WHERE bounds {resource}"),
            Self::Ceiling(what) => format!("denied: {what}"),
            Self::Opaque(reason) => format!("denied, since it was not understood: {reason}"),
            Self::Stale => "the policies changed while this was prepared".to_owned(),
            Self::Evaluation(what) => format!("denied, since it could not be decided: {what}"),
        };
        clean(&text)
    }

    /// What would help, lower case and without a full stop.
    pub fn hint(&self) -> String {
        match self {
            Self::NotSelected => {
                "ask for an AgentAccessPolicy that selects this agent and names this target".to_owned()
            }
            Self::NoRule(_) => "ask for a rule that allows it, or touch only what the rules name".to_owned(),
            Self::Rule { id, .. } | Self::Unasked { id } => {
                clean(&format!("ask whoever owns policy {id} if this is needed"))
            }
            Self::DenyAll { .. } => "the platform's owners have stopped all access; ask them".to_owned(),
            Self::Unbounded { .. } => "add a WHERE condition that a row may fail".to_owned(),
            Self::Ceiling(_) => "no Allow rule can permit this kind of statement; do it another way".to_owned(),
            Self::Opaque(_) => "write it in a simpler form, one statement at a time".to_owned(),
            Self::Stale => "send it again".to_owned(),
            Self::Evaluation(_) => "report this with the id of the request".to_owned(),
        }
    }
}

impl Verdict {
    /// Several lines: the decision, then each rule that matched and what it said, then the duties.
    pub fn explain(&self) -> String {
        let mut lines = Vec::new();
        match &self.decision {
            Decision::Allow => lines.push("Allow".to_owned()),
            Decision::RequireApproval(terms) => lines.push(format!("RequireApproval: {}", shown_terms(terms))),
            Decision::Deny(reason) => {
                lines.push(format!("Deny: {}", reason.message()));
                lines.push(format!("  hint: {}", reason.hint()));
            }
        }
        if let Some(reason) = &self.would_deny {
            lines.push(format!("  audit: enforced, it would not pass: {}", reason.message()));
        }
        for matched in &self.why.matched {
            lines.push(format!("  {} says {:?} to {}", matched.rule, matched.says, matched.access));
        }
        if self.why.matched.is_empty() {
            lines.push("  no rule matched".to_owned());
        }
        for mask in &self.obligations.masks {
            lines.push(format!("  {mask} masks columns of it"));
        }
        for detector in self.obligations.detectors.iter() {
            lines.push(format!("  {detector} looks at what comes back"));
        }
        if let Some(rows) = self.obligations.max_rows {
            lines.push(format!("  at most {rows} rows"));
        }
        lines.push(format!("  recorded at {:?}, {:?}", self.obligations.level, self.obligations.durability));
        lines.join("\n")
    }
}

fn shown_terms(terms: &ApprovalTerms) -> String {
    let asked: Vec<String> = terms.asked_by.iter().map(RuleId::to_string).collect();
    let reason = if terms.reason_required { ", with a reason" } else { "" };
    let transaction = match terms.max_hold_in_transaction {
        Some(hold) => format!(", inside a transaction up to {}s", hold.as_secs()),
        None => ", never inside a transaction".to_owned(),
    };
    let preview = match (terms.preview.explain, terms.preview.count) {
        (false, false) => "",
        (true, false) => ", shown with the planner's estimate",
        (false, true) => ", shown with a count of rows",
        (true, true) => ", shown with the planner's estimate and a count of rows",
    };
    let granted = match terms.max_grant {
        Some(longest) => format!(", granting scope {:?} for {}s at most", terms.scope, longest.as_secs()),
        None => String::new(),
    };
    format!(
        "{} of {} approvals{reason} within {}s, {} denials end it, held {}s{transaction}{granted}{preview}",
        asked.join(" and "),
        terms.required_approvals,
        terms.pending_ttl.as_secs(),
        terms.deny_threshold,
        terms.hold_for.as_secs(),
    )
}

impl View {
    /// Every rule that applies, the built-in ones included, one a line.
    pub fn explain(&self) -> String {
        let mut lines = vec![match self.selected() {
            true if self.audit() => "selected, in audit mode".to_owned(),
            true => "selected".to_owned(),
            false => "no policy selects this subject for this target: everything is denied".to_owned(),
        }];
        if let Some(policy) = self.deny_all() {
            lines.push(format!("cluster:{policy} denies everything"));
        }
        if self.selected() {
            let session: Vec<String> = SESSION.iter().map(|(verb, kind)| format!("{verb:?} {kind:?}")).collect();
            lines.push(format!("{} Allow {}", builtin("session"), session.join(", ")));
        }
        lines.extend(self.rules().all().iter().chain(self.cluster_rules().all()).map(|rule| shown_rule(rule)));
        lines.extend(self.masks().iter().map(|mask| {
            let column = [&mask.schema, &mask.relation, &mask.column].map(Glob::as_str).join(".");
            format!("{} masks {column}: {:?}, predicates {:?}", mask.id, mask.method, mask.in_predicates)
        }));
        lines.extend(self.detectors().iter().map(|detector| {
            let kinds: Vec<String> = detector.find.iter().map(|kind| format!("{kind:?}")).collect();
            format!("{} looks for {}: {:?}", detector.id, kinds.join(", "), detector.action)
        }));
        lines.push(format!("recorded at {:?}, {:?}", self.level(), self.durability()));
        lines.iter().map(|line| clean(line)).collect::<Vec<_>>().join("\n")
    }
}

fn shown_rule(rule: &Rule) -> String {
    let mut line = format!("{} {:?} ", rule.id, rule.action);
    line.push_str(&rule.uses.iter().map(shown_use).collect::<Vec<_>>().join(", "));
    let lists: [(&str, Vec<String>); 4] = [
        ("hosts", rule.hosts.iter().map(|h| h.as_str().to_owned()).collect()),
        ("relations", rule.relations.iter().map(PathPattern::text).collect()),
        ("columns", rule.columns.iter().map(ColumnPattern::text).collect()),
        ("functions", rule.functions.iter().map(PathPattern::text).collect()),
    ];
    // Writing to a String cannot fail.
    for (name, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
        let _ = write!(line, "; {name} {}", list.join(" "));
    }
    if rule.require_where {
        line.push_str("; only with WHERE");
    }
    if let Some(rows) = rule.max_rows {
        let _ = write!(line, "; at most {rows} rows");
    }
    line
}

fn shown_use(one: &Use) -> String {
    let actions = one.actions.map(|a| format!(" ({})", a.meant.join(", "))).unwrap_or_default();
    format!("{:?} {:?}{actions}", one.verb, one.kind)
}

/// For example `Read Relation public.users (email, id)`.
pub(crate) fn access(access: &Access) -> String {
    format!("{:?} {}", access.verb, resource(&access.resource))
}

pub(crate) fn resource(resource: &Resource) -> String {
    let mut short = resource.clone();
    let mut more = String::new();
    if let Fields::Named(names) = &mut short.fields {
        if names.is_empty() {
            // "no column of it" reads better than an empty pair of brackets.
            short.fields = Fields::All;
            more = " (no column)".to_owned();
        } else if names.len() > SHOWN_FIELDS {
            more = format!(" and {} more columns", names.len() - SHOWN_FIELDS);
            *names = names.iter().take(SHOWN_FIELDS).cloned().collect();
        }
    }
    clean(&format!("{short}{more}"))
}

/// Names come from the target's catalog, messages from a policy: neither may steer a terminal.
fn clean(text: &str) -> String {
    let one_line: String = text.chars().map(|c| if matches!(c, '\n' | '\t') { ' ' } else { c }).collect();
    Redacted::danger_caller_redacted(&one_line).as_str().to_owned()
}
