//! The masks of policies that were in force, by `policy/mask`, as recordings name them.

use std::collections::BTreeMap;

use crds::policy::PostgresMask;

use crate::objects::Objects;

/// From the namespace, the target and `policy/mask` to the mask.
pub(super) type Known = BTreeMap<(String, String, String), PostgresMask>;

pub(super) fn of_policies(objects: &Objects) -> Known {
    let mut known = Known::new();
    for policy in &objects.input.policies {
        for target in &policy.spec.targets {
            for mask in target.postgres.iter().flat_map(|block| &block.masks) {
                let id = format!("{}/{}", policy.name, mask.name);
                known.insert((policy.namespace.clone(), target.target_ref.name.clone(), id), mask.clone());
            }
        }
    }
    known
}
