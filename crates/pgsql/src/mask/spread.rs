//! Where values of masked columns are beside the columns that a rule names.
//!
//! Invariant: a column that is computed from a masked one, or whose values hold rows with one, is redacted as a whole.

use std::collections::{BTreeMap, BTreeSet};

use policy::verdict::RuleId;
use policy::{InPredicates, MaskMethod, MaskRule};

use super::build::connected;
use super::{ColumnMask, MaskProblem, MaskTable};
use crate::catalog::{Catalog, Column, Oid, Relation};

/// What is asked for the values of one place.
#[derive(Clone)]
struct Source {
    rules: Vec<RuleId>,
    in_predicates: InPredicates,
}

impl Source {
    fn of(mask: &ColumnMask) -> Self {
        Self { rules: mask.rules.clone(), in_predicates: mask.in_predicates }
    }

    fn asked(rule: &MaskRule) -> Self {
        Self { rules: vec![rule.id.clone()], in_predicates: rule.in_predicates }
    }

    fn and(mut self, other: Self) -> Self {
        for rule in other.rules {
            if !self.rules.contains(&rule) {
                self.rules.push(rule);
            }
        }
        if other.in_predicates == InPredicates::Deny {
            self.in_predicates = InPredicates::Deny;
        }
        self
    }
}

/// Redacts what is derived, over any number of steps.
pub(super) fn redact_derived(catalog: &Catalog, rules: &[MaskRule], table: &mut MaskTable) {
    let composites: BTreeMap<Oid, Source> = catalog
        .composites
        .iter()
        .filter_map(|(oid, of)| {
            let hit = |rule: &&MaskRule| of.columns.iter().any(|c| rule.matches(&of.schema, &of.name, c));
            Some((*oid, rules.iter().filter(hit).map(Source::asked).reduce(Source::and)?))
        })
        .collect();
    let mut done: BTreeSet<(Oid, i16)> = BTreeSet::new();
    loop {
        let mut found = Vec::new();
        for relation in catalog.relations.values() {
            for column in relation.columns.iter().filter(|c| !done.contains(&(relation.oid, c.attnum))) {
                let source = computed(relation, column, table)
                    .map(|source| (source, "is computed from a masked column"))
                    .or_else(|| {
                        Some((rows(catalog, column, table, &composites, rules)?, "holds rows with masked columns"))
                    });
                if let Some((source, why)) = source {
                    found.push((relation, column, source, why));
                }
            }
        }
        if found.is_empty() {
            return;
        }
        for (relation, column, source, why) in found {
            done.insert((relation.oid, column.attnum));
            let text = format!("column {}.{} {why}: it is redacted", relation.display(), column.name);
            if let Some(rule) = source.rules.first() {
                table.problems.push(MaskProblem { rule: rule.clone(), text, denied: None });
            }
            let mut family = connected(catalog, relation.oid);
            family.insert(relation.oid);
            for member in family.into_iter().filter_map(|oid| catalog.relation(oid)) {
                if let Some(same) = member.column(&column.name) {
                    redact(table, member.oid, same.attnum, &source);
                }
            }
        }
    }
}

fn redact(table: &mut MaskTable, oid: Oid, attnum: i16, source: &Source) {
    let masks = table.relations.entry(oid).or_default();
    let mask = masks.columns.entry(attnum).or_insert_with(|| ColumnMask {
        method: MaskMethod::Redact,
        in_predicates: source.in_predicates,
        rules: Vec::new(),
    });
    mask.method = MaskMethod::Redact;
    if source.in_predicates == InPredicates::Deny {
        mask.in_predicates = InPredicates::Deny;
    }
    for rule in &source.rules {
        if !mask.rules.contains(rule) {
            mask.rules.push(rule.clone());
        }
    }
}

/// What the masked columns ask for that a generated column is computed from.
fn computed(relation: &Relation, column: &Column, table: &MaskTable) -> Option<Source> {
    let masks = table.relation(relation.oid)?;
    column.computed_from.iter().filter_map(|attnum| masks.columns.get(attnum)).map(Source::of).reduce(Source::and)
}

/// What the masked rows ask for that values of the column's type can hold.
fn rows(
    catalog: &Catalog,
    column: &Column,
    table: &MaskTable,
    composites: &BTreeMap<Oid, Source>,
    rules: &[MaskRule],
) -> Option<Source> {
    let of = |oid: &Oid| {
        if let Some(masks) = table.relation(*oid) {
            return masks.columns.values().map(Source::of).reduce(Source::and);
        }
        if let Some(source) = composites.get(oid) {
            return Some(source.clone());
        }
        // A view that reads masked columns has them in its rows, too.
        let closed = |oid: &Oid| table.relation(*oid).is_some() || table.denied(*oid).is_some();
        let reads = closed(oid) || catalog.closure(*oid, |r| &r.depends_on).iter().any(closed);
        rules.first().filter(|_| reads).map(Source::asked)
    };
    catalog.row_types.get(&column.type_oid)?.iter().filter_map(of).reduce(Source::and)
}

/// Closes relations with columns whose values run functions of users when they are cast: such a cast needs no cast in
/// the text, and the function may show anything.
pub(super) fn deny_user_casts(catalog: &Catalog, rules: &[MaskRule], table: &mut MaskTable) {
    let Some(rule) = rules.first() else { return };
    for relation in catalog.relations.values() {
        let found = relation.columns.iter().find_map(|column| {
            let cast = catalog.user_cast_types().iter().find(|t| t.oid == column.type_oid)?;
            Some((column, cast))
        });
        let Some((column, cast)) = found else { continue };
        let text = format!(
            "column {}.{} has the type {}.{}, which has a user cast: a cast that runs a function of a user",
            relation.display(),
            column.name,
            cast.schema,
            cast.name
        );
        table.problems.push(MaskProblem {
            rule: rule.id.clone(),
            text: format!("{text}: the relation is denied"),
            denied: Some(relation.display()),
        });
        table.denied.entry(relation.oid).or_insert(text);
    }
}

/// Tells of foreign keys that hold copies of masked values without a mask of their own.
pub(super) fn warn_of_keys(catalog: &Catalog, table: &mut MaskTable) {
    let mut problems = Vec::new();
    for relation in catalog.relations.values() {
        for key in &relation.references {
            let Some(to) = catalog.relation(key.to) else { continue };
            for (from, target) in key.columns.iter().zip(&key.targets) {
                let Some(mask) = table.relation(key.to).and_then(|m| m.columns.get(target)) else { continue };
                if table.relation(relation.oid).is_some_and(|m| m.columns.contains_key(from)) {
                    continue;
                }
                let name = |r: &Relation, n: i16| {
                    let column = r.columns.iter().find(|c| c.attnum == n).map_or("?", |c| c.name.as_str());
                    format!("{}.{column}", r.display())
                };
                let text = format!(
                    "column {} references masked {} and is not masked",
                    name(relation, *from),
                    name(to, *target)
                );
                if let Some(rule) = mask.rules.first() {
                    problems.push(MaskProblem { rule: rule.clone(), text, denied: None });
                }
            }
        }
    }
    table.problems.extend(problems);
}
