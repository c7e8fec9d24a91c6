//! What the API server itself makes of our kinds: it takes the objects that the schema's tests take, refuses every one
//! that they refuse, in the same words, and takes every example.

use std::fs;
use std::path::Path;

use e2e::cluster::Cluster;
use serde_json::{Value, json};

use super::agent::cluster;
use super::table::{bound_rows, cel_rows, edited, policy, request, target};

/// Who may write requests. Of the group that may do everything, but not under that name.
fn operator(cluster: &Cluster) -> Cluster {
    cluster.user("system:serviceaccount:agentaccess-system:agentaccess-operator").in_group("system:masters")
}

/// What was said of each of these objects, in one call; nothing of one that was taken.
fn said(cluster: &Cluster, namespace: &str, objects: Vec<Value>) -> Vec<String> {
    let count = objects.len();
    let name = |at: usize| format!("row-{at:03}");
    let named = objects.into_iter().enumerate().map(|(at, mut object)| {
        object["metadata"]["name"] = json!(name(at));
        object
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": named.collect::<Vec<_>>()});
    let create = ["create", "-n", namespace, "--dry-run=server", "-f", "-"];
    let text = operator(cluster).run(&create, Some(&list)).unwrap().text;
    let about = |at: usize| {
        let told = text.split("The ").find(|part| part.contains(&format!("\"{}\" is invalid", name(at))));
        let taken = text.lines().any(|line| line.contains(&format!("/{} created", name(at))));
        assert!(taken != told.is_some(), "{}: taken and refused, or neither: {text}", name(at));
        told.unwrap_or_default().to_owned()
    };
    (0..count).map(about).collect()
}

#[test]
fn the_api_server_judges_our_objects_as_the_types_do() {
    let cluster = cluster();
    let namespace = cluster.namespace(&json!({})).unwrap();
    let bases = vec![target(), policy(), super::table::cluster(), request()];
    for (base, told) in bases.iter().zip(said(&cluster, &namespace.name, bases.clone())) {
        assert_eq!(told, "", "{}", base["kind"]);
    }
    let rows: Vec<_> =
        cel_rows().into_iter().map(|row| (row, true)).chain(bound_rows().into_iter().map(|row| (row, false))).collect();
    let objects = rows.iter().map(|(row, _)| edited(&(row.base)(), row.edit, row.value.clone())).collect();
    let mut failures = Vec::new();
    for ((row, by_rule), told) in rows.iter().zip(said(&cluster, &namespace.name, objects)) {
        // Bounds are said in words of the API server's own; where they are broken it says as we do.
        let field = row.path.split(['[', ']']).collect::<Vec<_>>();
        let place =
            field.iter().filter(|part| part.parse::<u32>().is_err()).all(|part| told.contains(part.trim_matches('.')));
        let words = !by_rule || told.contains(row.message);
        if told.is_empty() || !place || !words {
            failures.push(format!("{} at {}: {}: {told}", row.edit, row.path, row.message));
        }
    }
    assert!(failures.is_empty() && rows.len() > 80, "{} of {}:\n{}", failures.len(), rows.len(), failures.join("\n"));

    // Protocols that are not there yet cannot be declared: what is not declared is refused.
    let other = |protocol: &str| edited(&target(), "spec.protocol", Some(json!(protocol)));
    for (protocol, told) in ["Http", "Ssh", "Kubernetes"].iter().zip(said(
        &cluster,
        &namespace.name,
        ["Http", "Ssh", "Kubernetes"].map(other).to_vec(),
    )) {
        assert!(told.contains("Unsupported value"), "{protocol}: {told}");
    }
}

/// Every file of YAML below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let all = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    all.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect()
}

#[test]
fn the_api_server_takes_every_example() {
    let cluster = cluster();
    let namespace = cluster.namespace(&json!({})).unwrap();
    let mut count = 0;
    for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")) {
        let text = fs::read_to_string(&file).unwrap();
        for part in text.split("\n---\n") {
            let mut object: Value = serde_yaml::from_str(part.trim_start_matches("---\n")).unwrap();
            // Files for other programs, such as Docker Compose, and the sidecar's own settings.
            if object.get("apiVersion").is_none() || object["metadata"].get("name").is_none() {
                continue;
            }
            if object["metadata"].get("namespace").is_some() || object["kind"] != "Namespace" {
                object["metadata"]["namespace"] = json!(namespace.name);
            }
            if object["kind"] == "ClusterAgentAccessPolicy" {
                object["metadata"].as_object_mut().unwrap().remove("namespace");
            }
            let what = format!("{}: {} {}", file.display(), object["kind"], object["metadata"]["name"]);
            let apply = ["apply", "--dry-run=server", "-f", "-"];
            cluster.run(&apply, Some(&object)).unwrap().accepted(&what).unwrap();
            count += 1;
        }
    }
    assert!(count > 12, "{count} objects");
}
