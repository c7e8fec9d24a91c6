//! The tree's files, and what of a Rust file is production code.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of ours.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the root, with `/`.
    pub(crate) name: String,
    pub(crate) text: String,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files below these folders with this ending, sorted; build output and hidden folders are left out.
pub(crate) fn files(folders: &[&str], ending: &str) -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let own = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if own != "target" && !own.starts_with('.') {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|end| end == ending) {
                let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
                found.push(Source { name, text });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Rust files of production code: not tests, benches, build scripts' output or generated tables.
pub(crate) fn production(folders: &[&str]) -> Vec<Source> {
    let mut all = files(folders, "rs");
    all.retain(|source| {
        let parts: Vec<&str> = source.name.split('/').collect();
        let apart = ["tests", "benches", "generated"];
        !parts.iter().any(|part| apart.contains(part)) && parts.last() != Some(&"tests.rs")
    });
    all
}

impl Source {
    /// The lines before the unit tests, numbered from 1.
    pub(crate) fn production_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().take_while(|line| line.trim() != "#[cfg(test)]").enumerate().map(|(n, line)| (n + 1, line))
    }

    /// The same without what follows `//`: a comment may name what the code must not use.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.production_lines().map(|(n, line)| (n, line.split("//").next().unwrap_or_default()))
    }

    /// Each line of code with one of these words, as a violation of `rule`.
    pub(crate) fn lines_with(&self, words: &[&str], rule: &str) -> Vec<String> {
        self.code_lines()
            .filter_map(|(n, line)| {
                let word = words.iter().find(|word| mentions(line, word))?;
                Some(format!("{}:{n}: `{word}`: {rule}", self.name))
            })
            .collect()
    }
}

/// Whether `line` has `word`, not as the tail or head of a longer name.
pub(crate) fn mentions(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let open = word.starts_with(part) && before.is_some_and(part);
        let on = word.ends_with(part) && after.is_some_and(part);
        !open && !on
    })
}

#[test]
fn words_are_whole_and_comments_and_tests_do_not_count() {
    assert!(mentions("use std::fs;", "std::fs"));
    assert!(!mentions("my_std::fs;", "std::fs"));
    assert!(!mentions("std::fsync", "std::fs"));
    assert!(mentions("a.connect(b)", ".connect("));
    let text = "fn a() {} // std::fs\nuse std::fs;\n#[cfg(test)]\nmod t { use std::net; }\n".to_owned();
    let source = Source { name: "a.rs".to_owned(), text };
    assert_eq!(source.lines_with(&["std::fs", "std::net"], "rule"), ["a.rs:2: `std::fs`: rule"]);
}
