//! `docs/guarantees.md` names tests for every promise, `docs/bypass.md` for every way round the sidecar, and each of them is
//! there.

use std::fs;

use super::{none, source};

/// And how many rows they have at least: fewer, and this looks in the wrong place.
const DOCUMENTS: [(&str, usize); 2] = [("docs/bypass.md", 60), ("docs/guarantees.md", 25)];

/// The links of a row whose text is the name of a function: name and file.
fn tests(row: &str) -> Vec<(&str, &str)> {
    let named = |part: &'_ str| part.starts_with('`') && part.ends_with('`');
    let links = row.split('[').skip(1).filter_map(|rest| rest.split_once("]("));
    let links = links.filter(|(name, _)| named(name)).filter_map(|(name, rest)| Some((name, rest.split(')').next()?)));
    links.map(|(name, file)| (name.trim_matches('`'), file)).collect()
}

/// Whether the file has a function of this name that a test harness runs.
fn is_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let declared = |line: &str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ").and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.starts_with('('))
    };
    lines.iter().enumerate().any(|(at, line)| {
        let mut before = lines.iter().take(at).rev().take_while(|line| line.starts_with("#["));
        declared(line) && before.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

#[test]
fn every_row_names_tests_that_are_there() {
    let root = source::root();
    let mut violations = Vec::new();
    for (document, least) in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).unwrap();
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
        let heads = ["|--", "| way ", "| what ", "| promise "];
        let rows = lines.filter(|(_, line)| line.starts_with('|') && !heads.iter().any(|head| line.starts_with(head)));
        let rows: Vec<_> = rows.collect();
        for (number, row) in &rows {
            let named = tests(row);
            if named.is_empty() {
                violations.push(format!("{document}:{number}: no test is named"));
            }
            for (name, file) in named {
                let there = fs::read_to_string(root.join("docs").join(file)).is_ok_and(|text| is_test(&text, name));
                if !there {
                    violations.push(format!("{document}:{number}: there is no test `{name}` in {file}"));
                }
            }
        }
        assert!(rows.len() >= least, "{document} has {} rows", rows.len());
    }
    none(violations);
}

#[test]
fn a_function_that_no_harness_runs_is_no_test() {
    let text =
        "#[test]\nfn one() {}\n\n#[tokio::test(flavor = \"x\")]\nasync fn two() {}\nfn three() {}\n// fn four()\n";
    assert_eq!(
        ["one", "two", "three", "four", "on"].map(|name| is_test(text, name)),
        [true, true, false, false, false]
    );
    assert_eq!(tests("| a | [`one`](../x.rs), [two](y.rs) |"), [("one", "../x.rs")]);
}
