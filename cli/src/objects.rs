//! Objects of a folder, of a cluster or of a folder over a cluster, sorted for the compiler, with the place of each kept for
//! messages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Result as Answer, bail};
use crds::manifest::{self, Located, Manifest, ManifestErrors};
use policy::{Input, Named};
use serde_json::Value;

use crate::cluster::Cluster;

/// The namespace of an object that names none, as the standalone sidecar reads it.
pub(crate) const DEFAULT_NAMESPACE: &str = "local";

/// In the place of a file's name.
pub(crate) const LIVE: &str = "the cluster";

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
        Self::read_in(folder, DEFAULT_NAMESPACE)
    }

    /// The same, where an object that names no namespace is of this one.
    ///
    /// # Errors
    /// Everything that is wrong in any file.
    pub(crate) fn read_in(folder: &Path, namespace: &str) -> Result<Self, ManifestErrors> {
        let located = match folder.is_file() {
            true => manifest::read_file(folder, namespace)?,
            false => manifest::read_folder(folder, namespace)?,
        };
        Ok(Self::of(located))
    }

    /// Targets and policies of a namespace (`None`: of all) as they are now, and the cluster's policies. Secrets are not read.
    ///
    /// # Errors
    /// The outer one when the cluster cannot be asked, the inner one when its objects cannot be read by this program.
    pub(crate) fn live(cluster: &Cluster, namespace: Option<&str>) -> Answer<Result<Self, ManifestErrors>> {
        let ours = format!("/apis/{}/{}", crds::GROUP, crds::VERSION);
        let of = namespace.map(|namespace| format!("namespaces/{namespace}/")).unwrap_or_default();
        let (mut located, mut errors) = (Vec::new(), Vec::new());
        for (kind, path) in [
            ("AccessTarget", format!("{ours}/{of}accesstargets")),
            ("AgentAccessPolicy", format!("{ours}/{of}agentaccesspolicies")),
            ("ClusterAgentAccessPolicy", format!("{ours}/clusteragentaccesspolicies")),
        ] {
            let Some(items) = cluster.list(&path, "")? else {
                bail!("the cluster does not know {path}: is agentaccess installed there? See `check`");
            };
            for mut item in items {
                if let Some(item) = item.as_object_mut() {
                    // Items of a list may leave out what the list says.
                    item.insert("kind".to_owned(), Value::from(kind));
                    item.insert("apiVersion".to_owned(), Value::from(crds::API_VERSION));
                }
                match manifest::parse(&item.to_string(), Path::new(LIVE), DEFAULT_NAMESPACE) {
                    Ok(read) => located.extend(read),
                    Err(wrong) => errors.extend(wrong.0),
                }
            }
        }
        Ok(if errors.is_empty() { Ok(Self::of(located)) } else { Err(ManifestErrors(errors)) })
    }

    /// As it would be after these were applied.
    pub(crate) fn with(self, applied: Self) -> Self {
        let named: BTreeSet<String> = applied.located.iter().map(|one| one.manifest.describe()).collect();
        let kept = self.located.into_iter().filter(|one| !named.contains(&one.manifest.describe()));
        Self::of(kept.chain(applied.located).collect())
    }

    fn of(located: Vec<Located>) -> Self {
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
        Self { located, input, places }
    }

    /// File and document of an object, as `Manifest::describe` names it.
    pub(crate) fn place(&self, object: &str) -> Option<(&str, usize)> {
        self.places.get(object).map(|(file, document)| (file.as_str(), *document))
    }
}
