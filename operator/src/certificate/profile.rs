//! `status.roots` of the InjectionProfile: what the admission policies let stand as an injected sidecar's roots.
//!
//! Written by the leader before anybody signs with a new CA: else the pods that are injected right after would be
//! refused. Invariant: it never holds more than four entries, the newest first.

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};

const KEPT: usize = 4;

#[derive(Clone, Debug)]
pub struct Profile {
    api: Api<DynamicObject>,
    name: String,
}

// === impl Profile ===

impl Profile {
    pub fn new(client: Client, name: &str) -> Self {
        let kind = GroupVersionKind::gvk(crds::GROUP, crds::VERSION, "InjectionProfile");
        let resource = ApiResource::from_gvk_with_plural(&kind, "injectionprofiles");
        Self { api: Api::all_with(client, &resource), name: name.to_owned() }
    }

    /// Sees to it that all of `wanted` are there; says whether something was to be written.
    ///
    /// # Errors
    /// When the profile is not there or cannot be written.
    pub async fn assert(&self, wanted: &[String]) -> Result<bool, kube::Error> {
        let profile = self.api.get(&self.name).await?;
        let Some(roots) = roots(&profile.data, wanted) else { return Ok(false) };
        let patch = Patch::Merge(json!({"status": {"roots": roots}}));
        self.api.patch_status(&self.name, &PatchParams::default(), &patch).await.map(|_| true)
    }
}

/// What is to be written; nothing when all of them are there.
fn roots(profile: &Value, wanted: &[String]) -> Option<Vec<String>> {
    let there = profile.pointer("/status/roots").and_then(Value::as_array);
    let there: Vec<&str> = there.into_iter().flatten().filter_map(Value::as_str).collect();
    if wanted.iter().all(|one| there.contains(&one.as_str())) {
        return None;
    }
    let mut roots: Vec<String> = Vec::new();
    for one in wanted.iter().map(String::as_str).chain(there) {
        if roots.len() < KEPT && !roots.iter().any(|other| other == one) {
            roots.push(one.to_owned());
        }
    }
    Some(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(there: &[&str], wanted: &[&str]) -> Option<Vec<String>> {
        let wanted: Vec<String> = wanted.iter().map(|one| (*one).to_owned()).collect();
        roots(&json!({"status": {"roots": there}}), &wanted)
    }

    #[test]
    fn the_new_ones_first_and_four_at_most() {
        assert_eq!(roots(&json!({}), &["a".to_owned()]).unwrap(), ["a"]);
        assert_eq!(after(&["a"], &["a"]), None);
        assert_eq!(after(&["a", "b"], &["b"]), None);
        assert_eq!(after(&["a"], &["b", "a"]).unwrap(), ["b", "a"]);
        assert_eq!(after(&["a", "b", "c", "d"], &["e"]).unwrap(), ["e", "a", "b", "c"]);
        assert_eq!(after(&["a", "b", "c", "d"], &["e", "f", "d"]).unwrap(), ["e", "f", "d", "a"]);
    }
}
