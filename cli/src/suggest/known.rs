//! The masks and detectors of policies that were in force, by `policy/name`, as recordings name them.

use std::collections::BTreeMap;

use crds::policy::{Detector, PostgresMask};

use crate::objects::Objects;

/// By namespace, target and `policy/name`.
type ByName<T> = BTreeMap<(String, String, String), T>;

#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) masks: ByName<PostgresMask>,
    pub(super) detectors: ByName<Detector>,
}

pub(super) fn of_policies(objects: &Objects) -> Known {
    let mut known = Known::default();
    for policy in &objects.input.policies {
        for target in &policy.spec.targets {
            let key = |name: &str| {
                (policy.namespace.clone(), target.target_ref.name.clone(), format!("{}/{name}", policy.name))
            };
            if let Some(block) = &target.postgres {
                known.masks.extend(block.masks.iter().map(|mask| (key(&mask.name), mask.clone())));
                known.detectors.extend(block.detectors.iter().map(|one| (key(&one.name), one.clone())));
            }
        }
    }
    known
}
