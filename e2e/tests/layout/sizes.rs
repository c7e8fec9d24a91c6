//! Files that a reader can hold in mind.

use std::fs;

use super::{none, source};

const MEDIAN: usize = 150;
const P95: usize = 450;
const MOST: usize = 800;
const MOST_WITH_TESTS: usize = 1_200;
const README: usize = 200;

const FOLDERS: &[&str] = &["crds", "crates", "sidecar", "operator", "cli", "e2e/src"];

#[test]
fn production_files_are_short() {
    let files = source::production(FOLDERS);
    let mut sizes: Vec<(usize, &str)> =
        files.iter().map(|file| (file.production_lines().count(), file.name.as_str())).collect();
    sizes.sort_unstable();
    let mut violations: Vec<String> = sizes
        .iter()
        .filter(|(lines, _)| *lines > MOST)
        .map(|(lines, name)| format!("{name}: {lines} production lines, at most {MOST}"))
        .collect();
    for file in &files {
        let all = file.text.lines().count();
        if all > MOST_WITH_TESTS {
            violations.push(format!("{}: {all} lines with tests, at most {MOST_WITH_TESTS}", file.name));
        }
    }
    let (median, _) = sizes[sizes.len() / 2];
    if median > MEDIAN {
        violations.push(format!("the median file has {median} production lines, at most {MEDIAN}"));
    }
    let (p95, _) = sizes[(sizes.len() * 95).div_ceil(100) - 1];
    if p95 > P95 {
        let above: Vec<_> = sizes.iter().rev().take_while(|(lines, _)| *lines > P95).collect();
        violations.push(format!("the 95th percentile is {p95} production lines, at most {P95}: {above:?}"));
    }
    none(violations);
}

#[test]
fn the_readme_is_short() {
    let lines = fs::read_to_string(source::root().join("README.md")).unwrap().lines().count();
    assert!(lines <= README, "README.md: {lines} lines, at most {README}");
}
