//! Columns by whose writing an agent would learn of masked values.
//!
//! Invariant: where the success of a write depends on a masked value that the agent did not write itself, writing any of the
//! other columns it depends on takes a person. Names go over the whole family, since a parent's statement writes its
//! partitions.

use std::collections::{BTreeMap, BTreeSet};

use policy::operation::{Fields, Verb};

use super::MaskTable;
use super::build::connected;
use crate::catalog::{Catalog, Check, Oid, Relation};

/// Of one relation, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Oracles {
    /// Other rows are looked at: any write tells.
    always: BTreeSet<String>,
    /// Only the same row is looked at: of a new one the agent knows all.
    changed: BTreeSet<String>,
}

impl Oracles {
    pub(super) fn tell(&self, verb: Verb, fields: &Fields) -> bool {
        let among = |names: &BTreeSet<String>| match fields {
            Fields::All => !names.is_empty(),
            Fields::Named(written) => !names.is_disjoint(written),
        };
        among(&self.always) || (verb == Verb::Update && among(&self.changed))
    }
}

pub(super) fn find(catalog: &Catalog, table: &mut MaskTable) {
    let mut found: BTreeMap<Oid, Oracles> = BTreeMap::new();
    let mut of_family = |oid: Oid, oracles: &Oracles| {
        let mut family = connected(catalog, oid);
        family.insert(oid);
        for member in family {
            let known = found.entry(member).or_default();
            known.always.extend(oracles.always.iter().cloned());
            known.changed.extend(oracles.changed.iter().cloned());
        }
    };
    let always = |relation: &Relation, numbers: &BTreeSet<i16>| Oracles {
        always: names(relation, numbers),
        changed: BTreeSet::new(),
    };
    for relation in catalog.relations.values() {
        for unique in relation.uniques.iter().filter(|u| u.iter().any(|n| masked(table, relation.oid, *n))) {
            of_family(relation.oid, &always(relation, unique));
        }
        for check in &relation.checks {
            of_family(relation.oid, &checked(table, relation, check));
        }
        for key in &relation.references {
            let either = key.columns.iter().any(|n| masked(table, relation.oid, *n))
                || key.targets.iter().any(|n| masked(table, key.to, *n));
            if !either {
                continue;
            }
            of_family(relation.oid, &always(relation, &key.columns.iter().copied().collect()));
            if let Some(to) = catalog.relation(key.to) {
                of_family(key.to, &always(to, &key.targets.iter().copied().collect()));
            }
        }
    }
    table.oracles = found;
}

fn checked(table: &MaskTable, relation: &Relation, check: &Check) -> Oracles {
    let all = || relation.columns.iter().map(|c| c.attnum).collect();
    let mut used: BTreeSet<i16> = check.columns.clone().unwrap_or_else(all);
    // A generated column is written with what it is computed from.
    let generated = relation.columns.iter().filter(|c| used.contains(&c.attnum));
    let from: BTreeSet<i16> = generated.flat_map(|c| c.computed_from.iter().copied()).collect();
    used.extend(from);
    let own: BTreeSet<i16> = used.iter().copied().filter(|n| masked(table, relation.oid, *n)).collect();
    let elsewhere = |(oid, attnum): &(Oid, i16)| {
        let whole = check.columns.is_none() && (table.relation(*oid).is_some() || table.denied(*oid).is_some());
        whole || masked(table, *oid, *attnum)
    };
    // What a function reads is not known.
    if (check.calls && table.any) || (check.rows && !own.is_empty()) || check.reads.iter().any(elsewhere) {
        return Oracles { always: names(relation, &used), changed: BTreeSet::new() };
    }
    let beside = used.into_iter().filter(|n| own.iter().any(|masked| masked != n)).collect();
    Oracles { always: BTreeSet::new(), changed: names(relation, &beside) }
}

fn masked(table: &MaskTable, oid: Oid, attnum: i16) -> bool {
    table.denied(oid).is_some() || table.relation(oid).is_some_and(|m| m.columns.contains_key(&attnum))
}

fn names(relation: &Relation, numbers: &BTreeSet<i16>) -> BTreeSet<String> {
    relation.columns.iter().filter(|c| numbers.contains(&c.attnum)).map(|c| c.name.clone()).collect()
}
