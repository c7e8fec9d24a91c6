//! What foreign keys do by themselves: ON DELETE, ON UPDATE and TRUNCATE CASCADE.
//!
//! Invariant: every relation that the server changes because of a key, over any number of steps, has an access of its
//! own. It is indirect: Deny and RequireApproval rules on it hold, an Allow is not asked for, since the owner of the table
//! allowed it with the key. Families count in full: a row of a parent may be one of a partition or a child, and a partition
//! has copies of its parent's keys.

use std::collections::{BTreeMap, BTreeSet};

use policy::operation::{Access, Fields, ResourceKind, Verb};

use crate::catalog::{Action, Catalog, Oid, Relation, RelationKind};

/// From this version on, an UPDATE that moves a row to another partition is one to foreign keys; before, a DELETE.
const MOVES_ARE_UPDATES: u32 = 150_000;

/// Names of columns; `None` is all.
type Columns = Option<BTreeSet<String>>;

#[derive(Clone)]
struct Change {
    verb: Verb,
    oid: Oid,
    columns: Columns,
    bounded: bool,
}

/// The accesses that follow from these changes: (verb, relation, columns, bounded).
pub(super) fn of(catalog: &Catalog, changes: impl Iterator<Item = (Verb, Oid, Columns, Option<bool>)>) -> Vec<Access> {
    let mut todo: Vec<Change> = Vec::new();
    for (verb, oid, columns, bounded) in changes {
        let change = Change { verb, oid, columns, bounded: bounded == Some(true) };
        follow(catalog, &change, &mut todo);
    }
    let mut done: BTreeMap<(Verb, Oid), (Columns, bool)> = BTreeMap::new();
    while let Some(change) = todo.pop() {
        let known = done.get(&(change.verb, change.oid));
        let wider = match known {
            Some((columns, bounded)) => (and(columns, &change.columns), *bounded && change.bounded),
            None => (change.columns.clone(), change.bounded),
        };
        if known != Some(&wider) {
            let (columns, bounded) = wider.clone();
            follow(catalog, &Change { columns, bounded, ..change.clone() }, &mut todo);
            done.insert((change.verb, change.oid), wider);
        }
    }
    // Rows of a child are rows of its parents, those of a partitioned table are in its partitions; of a parent by plain
    // inheritance the server changes its own rows only.
    let mut shown: BTreeSet<Access> = BTreeSet::new();
    for ((verb, oid), (columns, bounded)) in done {
        let above = catalog.closure(oid, |r| &r.parents);
        let below = catalog.relation(oid).filter(|r| r.kind == RelationKind::Partitioned);
        let below = below.map(|r| catalog.closure(r.oid, |r| &r.children)).unwrap_or_default();
        for relation in std::iter::once(oid).chain(above).chain(below).filter_map(|oid| catalog.relation(oid)) {
            let fields = columns.clone().map_or(Fields::All, Fields::Named);
            let resource = super::of_relation(relation, fields);
            shown.insert(Access { verb, resource, bounded: Some(bounded), indirect: true });
        }
    }
    shown.into_iter().collect()
}

/// Everything that TRUNCATE CASCADE of these empties besides them.
pub(crate) fn truncated(catalog: &Catalog, named: &BTreeSet<Oid>) -> Vec<Access> {
    let mut seen = named.clone();
    let mut todo: Vec<Oid> = named.iter().copied().collect();
    while let Some(next) = todo.pop() {
        let Some(relation) = catalog.relation(next) else { continue };
        let referring = catalog.references_to(next).map(|(from, _)| from.oid);
        todo.extend(referring.chain(relation.children.iter().copied()).filter(|oid| seen.insert(*oid)));
    }
    administered(catalog, seen.difference(named))
}

/// Everything that DROP CASCADE of these takes with them or changes: views over any number of steps, children, and who has a
/// foreign key.
pub(crate) fn dropped(catalog: &Catalog, named: &BTreeSet<Oid>) -> Vec<Access> {
    let mut seen = named.clone();
    let mut todo: Vec<Oid> = named.iter().copied().collect();
    while let Some(next) = todo.pop() {
        let Some(relation) = catalog.relation(next) else { continue };
        let readers = catalog.relations.values().filter(|r| r.depends_on.contains(&next)).map(|r| r.oid);
        todo.extend(readers.chain(relation.children.iter().copied()).filter(|oid| seen.insert(*oid)));
        // Its key goes, not the relation.
        seen.extend(catalog.references_to(next).map(|(from, _)| from.oid));
    }
    administered(catalog, seen.difference(named))
}

/// The partitions and children of these, which TRUNCATE, LOCK or a change of the shape reach with them.
pub(crate) fn inherited(catalog: &Catalog, named: &BTreeSet<Oid>) -> Vec<Access> {
    let below: BTreeSet<Oid> = named.iter().flat_map(|oid| catalog.closure(*oid, |r| &r.children)).collect();
    administered(catalog, below.difference(named))
}

fn administered<'a>(catalog: &Catalog, oids: impl Iterator<Item = &'a Oid>) -> Vec<Access> {
    let one = |relation: &Relation| {
        let path = vec![relation.schema.clone(), relation.name.clone()];
        Access { indirect: true, ..super::access(Verb::Administer, ResourceKind::Relation, path) }
    };
    oids.filter_map(|oid| catalog.relation(*oid)).map(one).collect()
}

/// What one change makes the keys do, one step.
fn follow(catalog: &Catalog, change: &Change, todo: &mut Vec<Change>) {
    if !matches!(change.verb, Verb::Update | Verb::Delete) {
        return;
    }
    let below = catalog.closure(change.oid, |r| &r.children);
    for relation in std::iter::once(change.oid).chain(below).filter_map(|oid| catalog.relation(oid)) {
        let written = match change.verb {
            Verb::Update => written(relation, &change.columns),
            _ => BTreeSet::new(),
        };
        let moves = !written.is_empty() && relation.partition && catalog.version < MOVES_ARE_UPDATES;
        for (from, key) in catalog.references_to(relation.oid) {
            if change.verb == Verb::Delete || moves {
                let set = key.set_columns.as_ref().unwrap_or(&key.columns);
                todo.extend(act(key.on_delete, from, set, change.bounded));
            }
            if key.targets.iter().any(|target| written.contains(target)) {
                let acted = act(key.on_update, from, &key.columns, change.bounded);
                // It gets the new key: an UPDATE, not a DELETE.
                todo.extend(acted.map(|c| Change {
                    verb: Verb::Update,
                    columns: Some(names(from, &key.columns)),
                    ..c
                }));
            }
        }
    }
}

fn act(action: Action, from: &Relation, set: &[i16], bounded: bool) -> Option<Change> {
    let change = |verb, columns| Some(Change { verb, oid: from.oid, columns, bounded });
    match action {
        Action::None | Action::Restrict => None,
        Action::Cascade => change(Verb::Delete, None),
        Action::SetNull | Action::SetDefault => change(Verb::Update, Some(names(from, set))),
    }
}

/// The attribute numbers that these columns have here, and the columns that are computed from them.
fn written(relation: &Relation, columns: &Columns) -> BTreeSet<i16> {
    let named = |name: &String| columns.as_ref().is_none_or(|names| names.contains(name));
    let direct: BTreeSet<i16> = relation.columns.iter().filter(|c| named(&c.name)).map(|c| c.attnum).collect();
    let computed = relation.columns.iter().filter(|c| !c.computed_from.is_disjoint(&direct)).map(|c| c.attnum);
    computed.chain(direct.iter().copied()).collect()
}

fn names(relation: &Relation, columns: &[i16]) -> BTreeSet<String> {
    relation.columns.iter().filter(|c| columns.contains(&c.attnum)).map(|c| c.name.clone()).collect()
}

fn and(one: &Columns, other: &Columns) -> Columns {
    Some(one.as_ref()?.union(other.as_ref()?).cloned().collect())
}
