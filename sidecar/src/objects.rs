//! Objects, from files or from the operator, on their way into force.

use crds::manifest::Manifest;
use policy::{Input, Named};

use crate::secret::SecretMap;

/// What is to be compiled, and the Secrets that it refers to.
#[derive(Default)]
pub(crate) struct Objects {
    pub(crate) input: Input,
    pub(crate) secrets: SecretMap,
}

impl Objects {
    pub(crate) fn add(&mut self, manifest: Manifest) {
        let namespace = manifest.namespace().unwrap_or_default().to_owned();
        let name = manifest.name().to_owned();
        match manifest {
            Manifest::AccessTarget(o) => self.input.targets.push(Named { namespace, name, spec: o.spec }),
            Manifest::AgentAccessPolicy(o) => self.input.policies.push(Named { namespace, name, spec: o.spec }),
            Manifest::ClusterAgentAccessPolicy(o) => self.input.cluster.push(Named { namespace, name, spec: o.spec }),
            Manifest::Secret(secret) => self.secrets.insert(secret),
        }
    }
}
