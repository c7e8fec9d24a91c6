//! Whether the relations and columns that policies name exist, as far as saved catalogs tell.
//!
//! Only names without `*` are looked up, and only for targets of which every database has a catalog in the state
//! directory: a name counts as unknown when none of them has it.

use std::path::Path;

use crds::policy::{PostgresRules, TargetRules};
use pgsql::Catalog;
use policy::TargetKey;

use super::finding::{Code, Finding, Weight};
use crate::objects::Objects;

pub(super) fn unknown(state: &Path, objects: Option<&Objects>) -> Vec<Finding> {
    let Some(objects) = objects else { return Vec::new() };
    let mut findings = Vec::new();
    for policy in &objects.input.policies {
        let object = format!("AgentAccessPolicy {}/{}", policy.namespace, policy.name);
        for (index, TargetRules { target_ref, postgres }) in policy.spec.targets.iter().enumerate() {
            let key = TargetKey { namespace: policy.namespace.clone(), name: target_ref.name.clone() };
            let (Some(postgres), Some(catalogs)) = (postgres, catalogs(state, objects, &key)) else { continue };
            for (field, name) in names(postgres) {
                if let Some(what) = pgsql::names::missing(&catalogs.iter().collect::<Vec<_>>(), name) {
                    findings.push(Finding {
                        code: Code::NoSuchName,
                        weight: Weight::Error,
                        file: objects.place(&object).map(|(file, _)| file.to_owned()),
                        document: objects.place(&object).map(|(_, document)| document),
                        object: Some(object.clone()),
                        field: format!("spec.targets[{index}].postgres.{field}"),
                        text: format!(
                            "`{key}` has no {what} `{name}`, as its catalog was last read: correct the name, or remove it"
                        ),
                    });
                }
            }
        }
    }
    findings
}

/// Of all databases of the target; `None` when one of them has not been read yet.
fn catalogs(state: &Path, objects: &Objects, key: &TargetKey) -> Option<Vec<Catalog>> {
    let target = objects.input.targets.iter().find(|t| t.namespace == key.namespace && t.name == key.name)?;
    let databases = &target.spec.postgres.as_ref()?.databases;
    databases
        .iter()
        .map(|database| {
            let file = state.join("catalog").join(format!("{}.{}.{database}.json", key.namespace, key.name));
            Catalog::from_json(&std::fs::read_to_string(file).ok()?).ok()
        })
        .collect()
}

/// Each field and the relation or column in it.
fn names(postgres: &PostgresRules) -> impl Iterator<Item = (String, &str)> {
    let of_rules = postgres.rules.iter().enumerate().flat_map(|(rule, r)| {
        let relations = listed(format!("rules[{rule}].relations"), &r.relations);
        relations.chain(listed(format!("rules[{rule}].columns"), &r.columns))
    });
    let of_masks = postgres.masks.iter().enumerate();
    of_rules.chain(of_masks.flat_map(|(mask, m)| listed(format!("masks[{mask}].columns"), &m.columns)))
}

fn listed(field: String, names: &[String]) -> impl Iterator<Item = (String, &str)> {
    names.iter().enumerate().map(move |(index, name)| (format!("{field}[{index}]"), name.as_str()))
}
