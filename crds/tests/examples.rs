//! The examples are policies that a user would copy: they load, they pass the schema, and they fit together.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test helpers")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crds::manifest::{Located, Manifest, Secret, read_file, read_folder};
use crds::policy::{AgentAccessPolicy, PostgresVerb};
use crds::target::AccessTarget;
use crds::validate::validate;
use serde_yaml::Value;

const NAMESPACE: &str = "local";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/standalone")
}

fn policies() -> Vec<Located> {
    read_folder(&folder().join("policies"), NAMESPACE).unwrap_or_else(|e| panic!("{e}"))
}

fn secrets() -> Vec<Secret> {
    let found = read_file(&folder().join("secrets.yaml.template"), NAMESPACE).unwrap_or_else(|e| panic!("{e}"));
    let secrets = found.into_iter().map(|l| match l.manifest {
        Manifest::Secret(secret) => secret,
        other => panic!("{} among the Secrets", other.describe()),
    });
    secrets.collect()
}

fn target() -> AccessTarget {
    let mut found = policies().into_iter().filter_map(|l| match l.manifest {
        Manifest::AccessTarget(target) => Some(target),
        _ => None,
    });
    found.next().unwrap()
}

fn policy() -> AgentAccessPolicy {
    let mut found = policies().into_iter().filter_map(|l| match l.manifest {
        Manifest::AgentAccessPolicy(policy) => Some(policy),
        _ => None,
    });
    found.next().unwrap()
}

fn has_secret(name: &str, key: &str) -> bool {
    secrets().iter().any(|s| s.namespace == NAMESPACE && s.name == name && s.data.contains_key(key))
}

#[test]
fn the_set_is_whole_and_valid() {
    let found = policies();
    let kinds: BTreeSet<&str> = found.iter().map(|l| l.manifest.kind().as_str()).filter(|k| *k != "Secret").collect();
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        ["AccessTarget", "AgentAccessPolicy", "ClusterAgentAccessPolicy"]
    );
    for Located { manifest, file, .. } in &found {
        assert_eq!(validate(manifest), vec![], "{}: {}", file.display(), manifest.describe());
    }
}

#[test]
fn every_secret_that_is_named_has_its_template() {
    let spec = target().spec;
    let ca = spec.tls.ca_secret_ref.unwrap();
    assert!(has_secret(&ca.name, &ca.key));
    assert!(has_secret(&spec.credential_ref.name, &spec.credential_ref.username_key));
    assert!(has_secret(&spec.credential_ref.name, &spec.credential_ref.password_key));
    for secret in secrets() {
        let placeholder = |v: &crds::manifest::SecretBytes| String::from_utf8_lossy(v.expose()).contains("CHANGE-ME");
        assert!(secret.data.values().any(placeholder), "{}: a template holds no real secret", secret.name);
    }
}

#[test]
fn the_listener_fits_the_policies() {
    let text = std::fs::read_to_string(folder().join("agentaccess.yaml")).unwrap();
    let config: Value = serde_yaml::from_str(&text).unwrap();
    let listener = &config["listeners"][0];
    let subject = &listener["subject"];
    let (target, policy) = (target(), policy());
    assert_eq!(listener["target"].as_str(), target.metadata.name.as_deref());
    assert_eq!(subject["namespace"].as_str(), target.metadata.namespace.as_deref());
    assert_eq!(subject["namespace"].as_str(), policy.metadata.namespace.as_deref());
    for (key, value) in &policy.spec.pod_selector.match_labels {
        assert_eq!(subject["labels"][key.as_str()].as_str(), Some(value.as_str()));
    }
    assert_eq!(policy.spec.targets[0].target_ref.name, target.metadata.name.unwrap());
    let password = &listener["clientAuth"]["scram"]["passwordSecretRef"];
    assert!(has_secret(password["name"].as_str().unwrap(), password["key"].as_str().unwrap()));
    assert_eq!(config["policies"].as_str(), Some("./policies"));
}

/// The story that the README tells: a masked read, a refused DROP, a change that waits for a person.
#[test]
fn the_policy_tells_the_story() {
    let spec = policy().spec;
    let postgres = spec.targets[0].postgres.as_ref().unwrap();
    let verbs = |name: &str| postgres.rules.iter().find(|r| r.name == name).unwrap().verbs.clone();
    assert_eq!(verbs("reads"), [PostgresVerb::Select]);
    assert_eq!(verbs("fixes"), [PostgresVerb::Update, PostgresVerb::Delete]);
    assert!(verbs("no-schema-changes").contains(&PostgresVerb::Ddl));
    assert_eq!(postgres.masks.len(), 2);
}
