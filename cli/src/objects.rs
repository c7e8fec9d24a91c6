//! A folder of objects, read and sorted for the compiler, with the place of each kept for messages.

use std::collections::BTreeMap;
use std::path::Path;

use crds::manifest::{self, Located, Manifest, ManifestErrors};
use policy::{Input, Named};

/// The namespace of an object that names none, as the standalone sidecar reads it.
pub(crate) const DEFAULT_NAMESPACE: &str = "local";

#[derive(Debug)]
pub(crate) struct Objects {
    pub(crate) located: Vec<Located>,
    pub(crate) input: Input,
    /// From `AgentAccessPolicy local/support-agent` to its file and document.
    places: BTreeMap<String, (String, usize)>,
}

impl Objects {
    /// # Errors
    /// Everything that is wrong in any file.
    pub(crate) fn read(folder: &Path) -> Result<Self, ManifestErrors> {
        let located = match folder.is_file() {
            true => manifest::read_file(folder, DEFAULT_NAMESPACE)?,
            false => manifest::read_folder(folder, DEFAULT_NAMESPACE)?,
        };
        let mut input = Input::default();
        let mut places = BTreeMap::new();
        for one in &located {
            let manifest = &one.manifest;
            places.insert(manifest.describe(), (one.file.display().to_string(), one.document));
            let namespace = manifest.namespace().unwrap_or_default().to_owned();
            let name = manifest.name().to_owned();
            match manifest {
                Manifest::AccessTarget(o) => input.targets.push(Named { namespace, name, spec: o.spec.clone() }),
                Manifest::AgentAccessPolicy(o) => input.policies.push(Named { namespace, name, spec: o.spec.clone() }),
                Manifest::ClusterAgentAccessPolicy(o) => {
                    input.cluster.push(Named { namespace, name, spec: o.spec.clone() });
                }
                Manifest::Secret(_) => {}
            }
        }
        Ok(Self { located, input, places })
    }

    /// File and document of an object, as `Manifest::describe` names it.
    pub(crate) fn place(&self, object: &str) -> Option<(&str, usize)> {
        self.places.get(object).map(|(file, document)| (file.as_str(), *document))
    }
}
