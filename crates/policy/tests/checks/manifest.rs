//! `policy_compile`: any text as a file of objects. What is wrong is said in bounded words; what compiles is the same
//! after it was written out.

use std::path::Path;

use crds::manifest::{Manifest, parse};
use crds::policy::{AgentAccessPolicy, ClusterAgentAccessPolicy};
use crds::target::AccessTarget;
use policy::{Input, Named, compile};
use serde::Serialize;

/// Of one error, beside what it quotes of the text.
const WORDS: usize = 2 * 1024;

pub(crate) fn policy_compile(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(input) = read(text) else { return };
    let set = match compile(&input) {
        Ok(set) => set,
        Err(errors) => {
            assert!(!errors.is_empty());
            return bounded(errors.iter().map(ToString::to_string), text);
        }
    };
    bounded(set.warnings().iter().map(ToString::to_string), text);
    let rendered = set.render();
    let again = compile(&rendered).expect("what compiled compiles as it is rendered");
    assert_eq!((&set, set.revision(), &rendered), (&again, again.revision(), &again.render()));
    // In the words of files, twice: as it was read, and as it is rendered.
    for input in [&input, &rendered] {
        let written = write(input);
        let read = read(&written).expect("what was written is read");
        let again = compile(&read).expect("what compiled compiles again");
        assert_eq!((&set, set.revision()), (&again, again.revision()), "{written}");
    }
}

fn read(text: &str) -> Option<Input> {
    let located = match parse(text, Path::new("f.yaml"), "local") {
        Ok(located) => located,
        Err(errors) => {
            assert!(!errors.0.is_empty());
            bounded(errors.0.iter().map(ToString::to_string), text);
            return None;
        }
    };
    let mut input = Input::default();
    for located in located {
        let (namespace, name) = (located.manifest.namespace().unwrap_or_default(), located.manifest.name());
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        match located.manifest {
            Manifest::AccessTarget(AccessTarget { spec, .. }) => input.targets.push(Named { namespace, name, spec }),
            Manifest::AgentAccessPolicy(AgentAccessPolicy { spec, .. }) => {
                input.policies.push(Named { namespace, name, spec });
            }
            Manifest::ClusterAgentAccessPolicy(ClusterAgentAccessPolicy { spec, .. }) => {
                input.cluster.push(Named { namespace, name, spec });
            }
            Manifest::Secret(_) => {}
        }
    }
    Some(input)
}

/// Each has one line of a length that the text accounts for; and there are not many more than the text has bytes.
fn bounded(all: impl Iterator<Item = String>, text: &str) {
    let mut count = 0;
    for error in all {
        // A character that could steer a terminal is written in ten.
        assert!(error.len() <= WORDS + 10 * text.len() && !error.contains('\n'), "{} bytes: {error}", error.len());
        count += 1;
    }
    assert!(count <= 16 + text.len(), "{count} errors");
}

fn write(input: &Input) -> String {
    let targets = input.targets.iter().map(|object| document("AccessTarget", object));
    let policies = input.policies.iter().map(|object| document("AgentAccessPolicy", object));
    let cluster = input.cluster.iter().map(|object| document("ClusterAgentAccessPolicy", object));
    targets.chain(policies).chain(cluster).collect::<Vec<_>>().join("---\n")
}

fn document<T: Serialize>(kind: &str, object: &Named<T>) -> String {
    let metadata = match object.namespace.as_str() {
        "" => serde_json::json!({"name": object.name}),
        namespace => serde_json::json!({"name": object.name, "namespace": namespace}),
    };
    let whole = serde_json::json!({
        "apiVersion": crds::API_VERSION, "kind": kind, "metadata": metadata, "spec": object.spec,
    });
    serde_yaml::to_string(&whole).expect("objects can be written")
}
