//! A Dockerfile as lines, each with its continuations.

use std::fs;

use super::example;

/// One instruction and what follows it.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) word: String,
    pub(super) rest: String,
}

/// Of the sidecar's image.
pub(super) fn lines() -> Vec<Line> {
    lines_of("sidecar")
}

pub(super) fn lines_of(program: &str) -> Vec<Line> {
    let text = fs::read_to_string(example().join("../..").join(program).join("Dockerfile")).unwrap();
    let text: String = text.lines().filter(|l| !l.trim_start().starts_with('#')).flat_map(|l| [l, "\n"]).collect();
    let joined = text.replace("\\\n", " ");
    let found = joined.lines().filter(|line| !line.trim().is_empty()).map(|line| {
        let (word, rest) = line.split_once(' ').unwrap();
        Line { word: word.to_owned(), rest: rest.trim().to_owned() }
    });
    found.collect()
}

/// The stage that is shipped: all after the last FROM, with it.
pub(super) fn last_stage() -> Vec<Line> {
    let mut all = lines();
    let from = all.iter().rposition(|line| line.word == "FROM").unwrap();
    all.split_off(from)
}

/// The words of ENTRYPOINT or CMD, which must be in the form that needs no shell.
pub(super) fn words(instruction: &str) -> Vec<String> {
    let line = last_stage().into_iter().find(|line| line.word == instruction).unwrap();
    serde_json::from_str(&line.rest).unwrap_or_else(|_| panic!("{instruction} {} needs a shell", line.rest))
}
