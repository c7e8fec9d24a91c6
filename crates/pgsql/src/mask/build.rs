//! From mask rules and a catalog to a [`MaskTable`].

use std::collections::{BTreeMap, BTreeSet};

use policy::{InPredicates, MaskMethod, MaskRule};

use super::{ColumnMask, MaskProblem, MaskTable};
use crate::catalog::{Catalog, Oid, Relation, RelationKind};

pub(super) fn build(catalog: &Catalog, rules: &[MaskRule]) -> MaskTable {
    let mut table = MaskTable { any: !rules.is_empty(), ..MaskTable::default() };
    for rule in rules {
        apply(catalog, rule, &mut table);
    }
    super::spread::redact_derived(catalog, rules, &mut table);
    super::spread::deny_user_casts(catalog, rules, &mut table);
    deny_dependents(catalog, rules, &mut table);
    super::oracles::find(catalog, &mut table);
    super::spread::warn_of_keys(catalog, &mut table);
    table.scrubbed = scrubbed(catalog, &table);
    table.divided = divided(catalog, &table);
    table
}

/// The columns that the rule names, on every relation of the same family. Names are matched again in each relation,
/// since a child may have the column under another attribute number.
fn apply(catalog: &Catalog, rule: &MaskRule, table: &mut MaskTable) {
    for relation in catalog.relations.values() {
        let hit: BTreeSet<&str> = relation
            .columns
            .iter()
            .filter(|c| rule.matches(&relation.schema, &relation.name, &c.name))
            .map(|c| c.name.as_str())
            .collect();
        if hit.is_empty() {
            continue;
        }
        // A sibling shares the parent's column, so the whole connected family is masked.
        let mut family = connected(catalog, relation.oid);
        family.insert(relation.oid);
        for oid in family {
            let Some(member) = catalog.relation(oid) else { continue };
            for column in member.columns.iter().filter(|c| hit.contains(c.name.as_str())) {
                let masks = table.relations.entry(oid).or_default();
                let mask = masks.columns.entry(column.attnum).or_insert_with(|| ColumnMask {
                    method: rule.method,
                    in_predicates: rule.in_predicates,
                    rules: Vec::new(),
                });
                // Redact hides more than Partial, Deny allows less than Allow.
                if rule.method == MaskMethod::Redact {
                    mask.method = MaskMethod::Redact;
                }
                if rule.in_predicates == InPredicates::Deny {
                    mask.in_predicates = InPredicates::Deny;
                }
                if !mask.rules.contains(&rule.id) {
                    mask.rules.push(rule.id.clone());
                }
            }
        }
    }
    if let Some((schema, name, column)) = rule.exact() {
        let relation = catalog.find(schema, name);
        if relation.is_some_and(|r| r.column(column).is_some()) {
            return;
        }
        let text = format!("masked column {schema}.{name}.{column} does not exist in database {}", catalog.database);
        // A misspelled column would leave the real one open: the relation is closed until the policy is right.
        if let Some(relation) = relation {
            table.denied.insert(relation.oid, text.clone());
        }
        table.problems.push(MaskProblem { rule: rule.id.clone(), text, denied: relation.map(|r| r.display()) });
    }
}

pub(super) fn connected(catalog: &Catalog, oid: Oid) -> BTreeSet<Oid> {
    let mut seen = BTreeSet::from([oid]);
    let mut todo = vec![oid];
    while let Some(next) = todo.pop() {
        let Some(relation) = catalog.relation(next) else { continue };
        for &other in relation.parents.iter().chain(&relation.children) {
            if seen.insert(other) {
                todo.push(other);
            }
        }
    }
    seen
}

/// Views and rules that read a relation with masks, over any number of steps, and families of denied relations. What a
/// view reads through a function of a user is not known, so it counts as well.
///
/// The catalog records which columns a view names but not whether it uses a whole row, so every view over such a
/// relation counts.
fn deny_dependents(catalog: &Catalog, rules: &[MaskRule], table: &mut MaskTable) {
    for relation in catalog.relations.values() {
        let Some(rule) = rules.first() else { break };
        let through = std::iter::once(relation.oid)
            .chain(catalog.closure(relation.oid, |r| &r.depends_on))
            .filter_map(|oid| catalog.relation(oid))
            .find(|r| r.rules_call());
        let Some(through) = through else { continue };
        let text = format!(
            "{} {} reads through a function or operator of a user, or a part of the server that may show anything, in {}, so it may show masked columns",
            word(relation.kind),
            relation.display(),
            through.display()
        );
        table.problems.push(MaskProblem {
            rule: rule.id.clone(),
            text: format!("{text}: it is denied"),
            denied: Some(relation.display()),
        });
        table.denied.entry(relation.oid).or_insert(text);
    }
    let closed: Vec<(Oid, String)> = table.denied.iter().map(|(oid, why)| (*oid, why.clone())).collect();
    for (oid, why) in closed {
        for other in connected(catalog, oid) {
            table.denied.entry(other).or_insert_with(|| why.clone());
        }
    }
    for relation in catalog.relations.values() {
        let reached = catalog
            .closure(relation.oid, |r| &r.depends_on)
            .into_iter()
            .find(|oid| table.relations.contains_key(oid) || table.denied.contains_key(oid));
        let Some(reached) = reached.and_then(|oid| catalog.relation(oid)) else { continue };
        let what = word(relation.kind);
        let text = format!("{what} {} reads {}, which has masked columns", relation.display(), reached.display());
        if let Some(rule) = table.relations.get(&reached.oid).and_then(|m| m.columns.values().next()?.rules.first()) {
            table.problems.push(MaskProblem {
                rule: rule.clone(),
                text: format!("{text}: it is denied"),
                denied: Some(relation.display()),
            });
        }
        table.denied.insert(relation.oid, text);
    }
}

/// The families of relations with a masked column in the partition key.
fn divided(catalog: &Catalog, table: &MaskTable) -> BTreeSet<Oid> {
    let by_masked = |relation: &&Relation| {
        let masks = table.relation(relation.oid);
        masks.is_some_and(|masks| relation.partition_key.iter().any(|n| masks.columns.contains_key(n)))
    };
    catalog.relations.values().filter(by_masked).flat_map(|relation| connected(catalog, relation.oid)).collect()
}

fn word(kind: RelationKind) -> &'static str {
    match kind {
        RelationKind::View => "view",
        RelationKind::Materialized => "materialized view",
        RelationKind::Table | RelationKind::Partitioned | RelationKind::Foreign | RelationKind::Sequence => {
            "relation with rules"
        }
    }
}

/// Relations with masks and what is tied to them: keys in error texts show values of either side, over any number of
/// cascades; code of users may read anything. A change of a view is one of its tables.
fn scrubbed(catalog: &Catalog, table: &MaskTable) -> BTreeSet<Oid> {
    if !table.any {
        return BTreeSet::new();
    }
    let mut seen: BTreeSet<Oid> = table.relations.keys().chain(table.denied.keys()).copied().collect();
    seen.extend(
        catalog.relations.values().filter(|r| r.triggers || r.rules || r.code || r.rules_call()).map(|r| r.oid),
    );
    let mut readers: BTreeMap<Oid, Vec<Oid>> = BTreeMap::new();
    for relation in catalog.relations.values() {
        for on in &relation.depends_on {
            readers.entry(*on).or_default().push(relation.oid);
        }
    }
    let mut todo: Vec<Oid> = seen.iter().copied().collect();
    while let Some(next) = todo.pop() {
        let Some(relation) = catalog.relation(next) else { continue };
        let tied = relation.foreign_keys.iter().chain(&relation.children).chain(&relation.parents);
        for &other in tied.chain(readers.get(&next).into_iter().flatten()) {
            if seen.insert(other) {
                todo.push(other);
            }
        }
    }
    seen
}
