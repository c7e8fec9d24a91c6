//! What ran, by the server's own log, against what the recording says.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::postgres::Server;

/// Of the last start, which nobody kills.
pub(super) const LAST_LOOK: &str = "SELECT id FROM orders WHERE id = 1";
/// What `Form::Pipelined` sends before.
const BEFORE: &str = "SELECT 1";
/// Questions of the sidecar itself, and the last look.
const OURS: [&str; 2] = ["COMMIT", "SELECT id FROM public.orders WHERE id = 1"];
const OUR_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Counts of what was found sound.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Judged {
    pub executed: usize,
    pub approved: usize,
    /// Intents that a crash left without an outcome.
    pub interrupted: usize,
}

/// Fails when anything ran that the recording does not tell of before, or without the approval that it needed.
pub(super) fn judge(server: &Server, lines: &[Value]) -> Result<Judged> {
    let executed = executed(server)?;
    let intents: Vec<(usize, &Value)> = lines.iter().enumerate().filter(|(_, line)| line["kind"] == "intent").collect();
    let mut intents_of: BTreeMap<String, Vec<(usize, &Value)>> = BTreeMap::new();
    for (at, intent) in intents.iter().filter(|(_, intent)| !text(intent, "action").starts_with("PREPARE")) {
        let display = text(intent, "display");
        if let Some(number) = number_in(display).or_else(|| (display == BEFORE).then(|| display.to_owned())) {
            intents_of.entry(number).or_default().push((*at, intent));
        }
    }
    let approvals: BTreeMap<_, usize> =
        lines.iter().enumerate().rev().filter_map(|(at, line)| Some((approval(line)?, at))).collect();
    let before = |event: &'static str, intent: &Value, at: usize| {
        let first =
            approvals.get(&(event.to_owned(), text(intent, "approval").to_owned(), intent["digest"].to_string()));
        first.is_some_and(|first| *first < at)
    };
    let mut approved = 0;
    for (number, times) in &executed {
        let of_it = intents_of.get(number).map(Vec::as_slice).unwrap_or_default();
        ensure!(of_it.len() >= *times, "{number} ran {times} times and has {} intents", of_it.len());
        for (at, intent) in of_it.iter().filter(|(_, intent)| text(intent, "action") == "DELETE") {
            ensure!(before("granted", intent, *at), "{number} was not granted: {intent}");
            ensure!(before("consumed", intent, *at), "{number} was not consumed: {intent}");
            ensure!((of_it.len(), *times) == (1, 1), "{number} went through more than once");
            approved += 1;
        }
    }
    Ok(Judged { executed: executed.values().sum(), approved, interrupted: interrupted(lines, &intents)? })
}

/// How often each number ran.
fn executed(server: &Server) -> Result<BTreeMap<String, usize>> {
    let mut executed: BTreeMap<String, usize> = BTreeMap::new();
    for one in server.executions() {
        let fetches_on = one.prepared.is_some_and(|name| name.starts_with("fetch from"));
        match number_in(&one.text) {
            Some(number) if !fetches_on => *executed.entry(number).or_default() += 1,
            Some(_) => {}
            None if one.text == BEFORE => *executed.entry(BEFORE.to_owned()).or_default() += 1,
            None => ensure!(
                one.text.contains("pg_catalog.")
                    || OURS.contains(&one.text.as_str())
                    || one.text.starts_with(OUR_SNAPSHOT),
                "who ran this? {}",
                one.text
            ),
        }
    }
    Ok(executed)
}

/// Each that was let out ends once; which ones a crash cut off is said.
fn interrupted(lines: &[Value], intents: &[(usize, &Value)]) -> Result<usize> {
    let op = |line: &Value| (text(line, "session").to_owned(), text(line, "op").to_owned());
    let mut ends: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for line in lines.iter().filter(|line| line["kind"] == "outcome") {
        ends.entry(op(line)).or_default().push(text(line, "status"));
    }
    let mut interrupted = 0;
    for (_, intent) in intents {
        let ends = ends.get(&op(intent)).map(Vec::as_slice).unwrap_or_default();
        ensure!(ends.len() == 1, "{intent} ended as {ends:?}");
        interrupted += usize::from(ends == ["interrupted"]);
    }
    Ok(interrupted)
}

/// Its event, name and digest.
fn approval(line: &Value) -> Option<(String, String, String)> {
    (line["kind"] == "approval")
        .then(|| (text(line, "event").to_owned(), text(line, "name").to_owned(), line["digest"].to_string()))
}

fn text<'a>(line: &'a Value, field: &str) -> &'a str {
    line[field].as_str().unwrap_or_default()
}

/// The unique number in a statement of ours.
fn number_in(text: &str) -> Option<String> {
    text.split(|c: char| !c.is_ascii_digit()).find(|part| part.len() == 7).map(str::to_owned)
}
