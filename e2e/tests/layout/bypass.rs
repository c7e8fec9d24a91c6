//! `docs/bypass.md` names a test for every way round the sidecar, and each of them is there.

use std::fs;

use super::{none, source};

const DOCUMENT: &str = "docs/bypass.md";

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
    let text = fs::read_to_string(root.join(DOCUMENT)).unwrap();
    let mut violations = Vec::new();
    let mut rows = 0;
    for (number, row) in
        text.lines().enumerate().map(|(at, line)| (at + 1, line)).filter(|(_, line)| line.starts_with('|'))
    {
        let head = row.starts_with("|--") || row.starts_with("| way ") || row.starts_with("| what ");
        if head {
            continue;
        }
        rows += 1;
        let named = tests(row);
        if named.is_empty() {
            violations.push(format!("{DOCUMENT}:{number}: no test is named"));
        }
        for (name, file) in named {
            let there = fs::read_to_string(root.join("docs").join(file)).is_ok_and(|text| is_test(&text, name));
            if !there {
                violations.push(format!("{DOCUMENT}:{number}: there is no test `{name}` in {file}"));
            }
        }
    }
    none(violations);
    assert!(rows >= 60, "{rows} rows: this test looks in the wrong place");
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
