//! What was looked at, what came of it, and what to do.

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use crate::screen::{Paint, Screen, count, indent, line};

#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Grade {
    Pass,
    Warn,
    Fail,
}

#[derive(Serialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
struct Line {
    category: &'static str,
    what: String,
    result: Grade,
    /// What is the case, when it did not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Report {
    lines: Vec<Line>,
}

// === impl Report ===

impl Report {
    pub(super) fn pass(&mut self, category: &'static str, what: impl Into<String>) {
        self.lines.push(Line { category, what: what.into(), result: Grade::Pass, text: None, hint: None });
    }

    pub(super) fn warn(&mut self, category: &'static str, what: &str, text: impl Into<String>, hint: &str) {
        self.add(category, what, Grade::Warn, text.into(), hint);
    }

    pub(super) fn fail(&mut self, category: &'static str, what: &str, text: impl Into<String>, hint: &str) {
        self.add(category, what, Grade::Fail, text.into(), hint);
    }

    /// It could not be looked at.
    pub(super) fn unknown(&mut self, category: &'static str, what: &str, error: &anyhow::Error) {
        let hint = "see whether `kubectl auth can-i get` says that you may read it";
        self.add(category, what, Grade::Fail, format!("{error:#}"), hint);
    }

    fn add(&mut self, category: &'static str, what: &str, result: Grade, text: String, hint: &str) {
        let (text, hint) = (Some(text), Some(hint.to_owned()));
        self.lines.push(Line { category, what: what.to_owned(), result, text, hint });
    }

    pub(super) fn failed(&self) -> bool {
        self.number(Grade::Fail) > 0
    }

    fn number(&self, result: Grade) -> u64 {
        u64::try_from(self.lines.iter().filter(|line| line.result == result).count()).unwrap_or(u64::MAX)
    }

    pub(super) fn say(&self, screen: &mut Screen) -> Result<()> {
        if screen.json() {
            return screen.say_json(&json!({"success": !self.failed(), "checks": self.lines}));
        }
        let mut category = "";
        for one in &self.lines {
            if one.category != category {
                category = one.category;
                screen.say(&screen.paint(category, Paint::Strong))?;
            }
            let word = match one.result {
                Grade::Pass => screen.paint("ok  ", Paint::Good),
                Grade::Warn => screen.paint("warn", Paint::Waiting),
                Grade::Fail => screen.paint("FAIL", Paint::Bad),
            };
            screen.say(&format!("  {word}  {}", line(&one.what)))?;
            for text in one.text.iter().chain(&one.hint) {
                screen.say(&indent(&text.lines().map(line).collect::<Vec<_>>().join("\n"), "        "))?;
            }
        }
        let (warnings, failures) = (self.number(Grade::Warn), self.number(Grade::Fail));
        let (warned, failed) = (count(warnings, "warning", "warnings"), count(failures, "failure", "failures"));
        let paint = if failures == 0 { Paint::Good } else { Paint::Bad };
        let text = screen.paint(&format!("{failed}, {warned}"), paint);
        screen.say(&text)
    }
}
