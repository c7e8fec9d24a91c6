//! What came of one case.

use policy::operation::Strictness;
use serde_json::{Value, json};

use super::file::Case;
use crate::simulate::answer::Answer;

#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) file: String,
    pub(super) case: Case,
    pub(super) told: Told,
}

#[derive(Clone, Debug)]
pub(super) enum Told {
    /// Nothing could be judged: no such target, database or catalog.
    Unusable(String),
    Judged {
        verdict: Strictness,
        /// `policy/rule` of each rule that decided.
        rules: Vec<String>,
        /// The same in words, also where no rule did.
        because: String,
        masks: Vec<String>,
        /// What is not as expected.
        wrong: Vec<String>,
    },
}

// === impl Told ===

impl Told {
    pub(super) fn of(case: &Case, answer: &Answer) -> Self {
        let verdict = answer.strictness();
        let rules: Vec<String> = answer.deciders().iter().map(ToString::to_string).collect();
        let because = answer.decided_by();
        let mut masks = answer.masks();
        masks.sort();
        masks.dedup();
        let mut wrong = Vec::new();
        if verdict != case.expect {
            wrong.push(format!("expected {:?}, and it is {verdict:?}: decided by {because}", case.expect));
        }
        if let Some(rule) = case.rule.as_ref().filter(|rule| !rules.contains(rule)) {
            wrong.push(format!("expected `{rule}` to decide, and it was decided by {because}"));
        }
        if let Some(wanted) = &case.masks {
            let mut wanted = wanted.clone();
            wanted.sort();
            wanted.dedup();
            if wanted != masks {
                wrong.push(format!("expected the masks {}, and these apply: {}", list(&wanted), list(&masks)));
            }
        }
        Self::Judged { verdict, rules, because, masks, wrong }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

// === impl Outcome ===

impl Outcome {
    pub(super) fn passed(&self) -> bool {
        self.text().is_none()
    }

    /// Why it did not pass.
    pub(super) fn text(&self) -> Option<String> {
        match &self.told {
            Told::Unusable(text) => Some(text.clone()),
            Told::Judged { wrong, .. } => (!wrong.is_empty()).then(|| wrong.join("\n")),
        }
    }

    pub(super) fn json(&self) -> Value {
        let case = &self.case;
        let mut value = json!({
            "file": self.file,
            "name": case.name,
            "statement": case.statement,
            "result": match &self.told {
                Told::Unusable(_) => "error",
                Told::Judged { .. } if self.passed() => "passed",
                Told::Judged { .. } => "failed",
            },
            "expected": {"verdict": case.expect, "rule": case.rule, "masks": case.masks},
            "text": self.text(),
        });
        if let (Told::Judged { verdict, rules, because, masks, .. }, Some(members)) =
            (&self.told, value.as_object_mut())
        {
            members.insert("verdict".to_owned(), json!(verdict));
            members.insert("decidedBy".to_owned(), json!(rules));
            members.insert("because".to_owned(), json!(because));
            members.insert("masks".to_owned(), json!(masks));
        }
        value
    }
}
