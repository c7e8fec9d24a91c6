//! What is said about one statement.

use std::collections::BTreeMap;

use anyhow::Result;
use pgsql::{Plan, Refused};
use policy::operation::Strictness;
use policy::verdict::{Decision, DenyReason, Matched, RuleId, Verdict};
use serde_json::{Value, json};

use crate::screen::{Paint, Screen, block, count, indent, line};

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) sql: String,
    pub(crate) plan: Result<Plan, Refused>,
    pub(crate) verdict: Verdict,
}

impl Answer {
    pub(crate) fn strictness(&self) -> Strictness {
        self.verdict.decision.strictness()
    }

    pub(crate) fn say(&self, screen: &mut Screen) -> Result<()> {
        if screen.json() {
            return screen.say_json(&self.json());
        }
        let paint = match self.strictness() {
            Strictness::Allow => Paint::Good,
            Strictness::RequireApproval => Paint::Waiting,
            Strictness::Deny => Paint::Bad,
        };
        let sql = screen.paint(&block(&self.sql), Paint::Strong);
        screen.say(&sql)?;
        let verdict = screen.paint(self.word(), paint);
        let mut lines = vec![("verdict", verdict), ("decided by", line(&self.decided_by()))];
        if let Some(reason) = &self.verdict.would_deny {
            lines.push(("audit", format!("enforced, it would not pass: {}", line(&reason.message()))));
        }
        for (policy, matches) in self.by_policy() {
            for (index, one) in matches.iter().enumerate() {
                let label = if index == 0 { "matched" } else { "" };
                let text = format!("{policy}/{} says {:?} to {}", one.rule.rule, one.says, one.access);
                lines.push((label, line(&text)));
            }
        }
        let masks = self.masks();
        if !masks.is_empty() {
            lines.push(("masked by", line(&masks.join(", "))));
        }
        if let Some(rows) = self.verdict.obligations.max_rows {
            lines.push(("at most", format!("{rows} rows")));
        }
        lines.push(("agent", line(&self.told())));
        if let Some(hint) = self.hint() {
            lines.push(("hint", line(&hint)));
        }
        for (label, text) in lines {
            screen.say(&format!("  {label:<11}{text}"))?;
        }
        match self.sent() {
            Some("") => screen.say("  sent       nothing: there is no statement in it"),
            Some(text) => screen.say(&format!("  sent\n{}", indent(&block(text), "    "))),
            None => screen.say("  sent       nothing"),
        }
    }

    pub(crate) fn word(&self) -> &'static str {
        match self.verdict.decision {
            Decision::Allow => "Allow",
            Decision::RequireApproval(_) => "RequireApproval",
            Decision::Deny(_) => "Deny",
        }
    }

    /// The rules that made the decision, or what did it without a rule.
    pub(crate) fn deciders(&self) -> Vec<&RuleId> {
        match &self.verdict.decision {
            Decision::RequireApproval(terms) => terms.asked_by.iter().collect(),
            Decision::Deny(DenyReason::Rule { id, .. } | DenyReason::Unbounded { id, .. }) => vec![id],
            Decision::Deny(_) => Vec::new(),
            Decision::Allow => {
                let allows = self.verdict.why.matched.iter().filter(|m| m.says == Strictness::Allow);
                let mut rules: Vec<&RuleId> = allows.map(|m| &m.rule).collect();
                rules.dedup();
                rules
            }
        }
    }

    pub(crate) fn decided_by(&self) -> String {
        let rules: Vec<String> = self.deciders().iter().map(ToString::to_string).collect();
        match (&self.verdict.decision, rules.is_empty()) {
            (_, false) => rules.join(", "),
            (Decision::Deny(DenyReason::DenyAll { policy }), true) => {
                format!("cluster:{policy}, which denies everything")
            }
            (Decision::Deny(DenyReason::NoRule(_)), true) => "no rule: what no rule allows is denied".to_owned(),
            (Decision::Deny(DenyReason::NotSelected), true) => "no policy: none selects this subject".to_owned(),
            (Decision::Deny(DenyReason::Opaque(_)), true) => "no rule: what is not understood is denied".to_owned(),
            (Decision::Deny(DenyReason::Ceiling(_)), true) => {
                "no rule: it is never allowed by an Allow rule".to_owned()
            }
            (Decision::Deny(_), true) => "no rule".to_owned(),
            (Decision::Allow | Decision::RequireApproval(_), true) => "audit mode".to_owned(),
        }
    }

    fn by_policy(&self) -> BTreeMap<String, Vec<&Matched>> {
        let mut by_policy: BTreeMap<String, Vec<&Matched>> = BTreeMap::new();
        for matched in &self.verdict.why.matched {
            let prefix = if matched.rule.cluster { "cluster:" } else { "" };
            by_policy.entry(format!("{prefix}{}", matched.rule.policy)).or_default().push(matched);
        }
        by_policy
    }

    pub(crate) fn masks(&self) -> Vec<String> {
        let applied = self.plan.as_ref().map(|p| p.applied.as_slice()).unwrap_or_default();
        match self.verdict.decision {
            Decision::Deny(_) => Vec::new(),
            Decision::Allow | Decision::RequireApproval(_) => applied.iter().map(ToString::to_string).collect(),
        }
    }

    /// `None`: nothing ever leaves.
    fn sent(&self) -> Option<&str> {
        match (&self.verdict.decision, &self.plan) {
            (Decision::Allow | Decision::RequireApproval(_), Ok(plan)) => Some(&plan.text),
            (Decision::Deny(_), _) | (_, Err(_)) => None,
        }
    }

    /// The sentence that the agent reads.
    fn told(&self) -> String {
        match &self.verdict.decision {
            Decision::Allow => "gets the result".to_owned(),
            Decision::Deny(reason) => match reason.message() {
                said if said.starts_with("denied") => said,
                said => format!("denied by policy: {said}"),
            },
            Decision::RequireApproval(terms) => {
                let reason = if terms.reason_required { ", each with a reason" } else { "" };
                format!(
                    "waits up to {}s for {}{reason} (the request is open {}s), \
                     then is told to send it again after approval",
                    terms.hold_for.as_secs(),
                    count(terms.required_approvals.into(), "approval", "approvals"),
                    terms.pending_ttl.as_secs(),
                )
            }
        }
    }

    fn hint(&self) -> Option<String> {
        let of_plan = self.plan.as_ref().err().and_then(|refused| refused.hint.clone());
        match &self.verdict.decision {
            Decision::Deny(reason) => of_plan.or_else(|| Some(reason.hint())).filter(|hint| !hint.is_empty()),
            Decision::Allow | Decision::RequireApproval(_) => None,
        }
    }

    fn json(&self) -> Value {
        let matched: Vec<Value> = self
            .verdict
            .why
            .matched
            .iter()
            .map(|m| json!({"rule": m.rule.to_string(), "says": m.says, "access": m.access}))
            .collect();
        let plan = self.plan.as_ref().ok();
        json!({
            "statement": self.sql,
            "verdict": self.word(),
            "decidedBy": self.deciders().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "because": self.decided_by(),
            "wouldDeny": self.verdict.would_deny.as_ref().map(DenyReason::message),
            "matched": matched,
            "masks": self.masks(),
            "maxRows": self.verdict.obligations.max_rows,
            "action": plan.map(|p| p.action.clone()),
            "accesses": plan.map(|p| p.accesses.clone()),
            "display": plan.map(|p| p.display.as_str().to_owned()),
            "sent": self.sent(),
            "told": self.told(),
            "hint": self.hint(),
            "revision": self.verdict.why.revision.to_string(),
        })
    }
}
