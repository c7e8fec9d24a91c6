//! What every member's manifest has, and what no test may have.

use std::fs;

use cargo_metadata::MetadataCommand;

use super::{none, source};

#[test]
fn every_member_has_the_lints_of_the_workspace() {
    let metadata = MetadataCommand::new()
        .manifest_path(source::root().join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .unwrap();
    let mut violations = Vec::new();
    for package in metadata.workspace_packages() {
        let manifest = fs::read_to_string(&package.manifest_path).unwrap();
        let lints = manifest.split("[lints]").nth(1).map(|rest| rest.split("\n[").next().unwrap_or_default().trim());
        if lints != Some("workspace = true") {
            violations.push(format!("{}: [lints] is not `workspace = true` alone", package.manifest_path));
        }
        if manifest.contains("[lints.") {
            violations.push(format!("{}: lints of its own", package.manifest_path));
        }
    }
    // A nested clippy.toml would replace the root's.
    for nested in source::files(&["crds", "crates", "sidecar", "operator", "cli", "e2e"], "toml") {
        if nested.name.ends_with("clippy.toml") {
            violations.push(format!("{}: replaces the root's clippy.toml", nested.name));
        }
    }
    none(violations);
}

#[test]
fn no_test_is_ignored() {
    // In two parts, or this file would name itself.
    let word = format!("#[{}", "ignore");
    let all = source::files(&["crds", "crates", "sidecar", "operator", "cli", "e2e"], "rs");
    let ignored = all.iter().flat_map(|file| {
        let lines = file.text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with(&word));
        lines.map(|(n, _)| format!("{}:{}: a test is fixed or deleted, never ignored", file.name, n + 1))
    });
    none(ignored.collect());
}
