//! Who of ours may import whom, and who may link what.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use super::{none, source};

/// Normal and build dependencies between members. A member that is not here fails the test: decide its row first.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("crds", &[]),
    ("policy", &["crds"]),
    ("pgcodec", &[]),
    ("detect", &[]),
    ("pgsql", &["policy"]),
    ("recording", &[]),
    ("archive", &["recording"]),
    ("control", &[]),
    ("admin", &[]),
    ("otel", &[]),
    ("model", &[]),
    ("sidecar", &["crds", "policy", "detect", "pgcodec", "pgsql", "recording", "control", "admin", "otel"]),
    ("operator", &["crds", "policy", "recording", "archive", "control", "admin", "otel"]),
    ("cli", &["crds", "policy", "pgsql", "recording", "archive"]),
    ("e2e", &["crds"]),
];

/// Crates that only these members may name as a dependency.
const ONLY: &[(&str, &[&str])] = &[
    // A second SQL grammar would be a second opinion on what a statement means; the CLI only prints with it.
    ("sqlparser", &["cli"]),
    ("pg_raw_parse", &["pgsql"]),
    ("tokio", &["sidecar", "operator", "archive", "control", "admin", "otel", "e2e"]),
    // A sidecar has no credentials of a store and no client of one.
    ("object_store", &["archive"]),
    ("hyper", &["sidecar", "operator", "control", "admin", "e2e"]),
    ("anyhow", &["sidecar", "operator", "cli", "e2e"]),
    ("kube-lease-manager", &["operator"]),
    // It tells what it is given and decides nothing of what that is; the programs choose no name of the outside.
    ("opentelemetry-proto", &["otel"]),
    // A model of the code is no part of it: tests alone name it, or what explores it.
    ("model", &[]),
    ("stateright", &[]),
    // In no build but that of `make shuttle`.
    ("shuttle", &["recording"]),
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(source::root().join("Cargo.toml"))
        .other_options(["--offline".to_owned()])
        .exec()
        .unwrap()
}

fn linked(package: &Package) -> impl Iterator<Item = &str> {
    package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development).map(|d| d.name.as_str())
}

#[test]
fn members_import_only_what_the_table_allows() {
    let metadata = metadata();
    let table: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let mut violations = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some(allowed) = table.get(name) else {
            violations.push(format!("{}: a member without a row in MAY_IMPORT", package.manifest_path));
            continue;
        };
        for other in linked(package).filter(|other| table.contains_key(other) && !allowed.contains(other)) {
            violations.push(format!("{}: `{name}` may not import `{other}`", package.manifest_path));
        }
    }
    none(violations);
}

#[test]
fn some_crates_are_named_by_few_members() {
    let metadata = metadata();
    let mut violations = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        for (dependency, members) in ONLY {
            if linked(package).any(|linked| linked == *dependency) && !members.contains(&name) {
                violations.push(format!("{}: `{dependency}` is only for {members:?}", package.manifest_path));
            }
        }
    }
    none(violations);
}

/// The sidecar's policy comes from the operator: a pod of an agent holds no client of the Kubernetes API. The fixtures of
/// tests are in no program.
#[test]
fn only_the_operator_has_a_kubernetes_client() {
    let metadata = metadata();
    let mut violations = Vec::new();
    for package in metadata
        .workspace_packages()
        .into_iter()
        .filter(|package| !["operator", "e2e"].contains(&package.name.as_str()))
    {
        let kube = package.dependencies.iter().filter(|d| d.name == "kube" && d.kind != DependencyKind::Development);
        for dependency in kube {
            if dependency.uses_default_features || dependency.features.iter().any(|feature| feature == "client") {
                violations.push(format!("{}: `kube` with its client", package.manifest_path));
            }
        }
    }
    none(violations);
}

#[test]
fn protocols_do_not_import_each_other() {
    const FOLDER: &str = "sidecar/src/protocol/";
    let files = source::production(&[FOLDER]);
    let own = |name: &str| name.strip_prefix(FOLDER).and_then(|rest| rest.split(['/', '.']).next()).unwrap().to_owned();
    let mut protocols: Vec<String> = files.iter().map(|file| own(&file.name)).collect();
    protocols.dedup();
    assert!(protocols.iter().any(|name| name == "postgres"), "where is {FOLDER}postgres?");
    let mut violations = Vec::new();
    for file in &files {
        for other in protocols.iter().filter(|other| **other != own(&file.name)) {
            let paths = [format!("protocol::{other}"), format!("super::{other}")];
            let words: Vec<&str> = paths.iter().map(String::as_str).collect();
            violations.extend(file.lines_with(&words, "protocols never import each other"));
        }
    }
    none(violations);
}
