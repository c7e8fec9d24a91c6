//! From operations to rules: one for each verb and relation, with all columns that were seen under it.
//!
//! An operation gets all of its rules or none, since half of them would only widen. What a person approved gets rules that
//! ask, for those of its parts that nothing allows. Invariant: a rule names no relation, column or function that was not
//! seen under its verb.

use std::collections::{BTreeMap, BTreeSet};

use crds::limits;
use crds::policy::{Detector, PostgresMask, PostgresVerb};
use policy::operation::{Access, Fields, Verb};

use super::known::Known;
use super::sayable::{Name, Said, said};
use super::seen::{Count, Left, Seen, Shape};

/// A column that every table has, for operations that touch a relation and none of its columns.
const NO_COLUMN: &str = "tableoid";

/// What is suggested, and what came of everything else.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// By target, which has an entry also when no rule is needed.
    pub(super) rules: BTreeMap<String, Vec<Rule>>,
    pub(super) masks: BTreeMap<String, Vec<PostgresMask>>,
    pub(super) detectors: BTreeMap<String, Vec<Detector>>,
    /// The operations that the rules were made for.
    pub(super) used: BTreeMap<Shape, Count>,
    pub(super) left: BTreeMap<Left, u64>,
    pub(super) databases: BTreeMap<String, BTreeSet<String>>,
    pub(super) sessions: usize,
    pub(super) from: String,
    pub(super) until: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) name: Name,
    /// RequireApproval, not Allow.
    pub(super) asks: bool,
    /// Empty: all of them.
    pub(super) columns: BTreeSet<String>,
    pub(super) require_where: bool,
    pub(super) limit: Option<u64>,
    pub(super) notes: Vec<String>,
}

/// All uses of one verb on one relation or function.
#[derive(Debug)]
struct Group {
    all_columns: bool,
    sets: BTreeSet<BTreeSet<String>>,
    times: u64,
    most_rows: u64,
    /// The loosest, if each had one.
    limit: Option<u64>,
}

type Groups = BTreeMap<(String, Name), Group>;

impl Made {
    /// How often anything was done, or tried.
    pub(super) fn operations(&self) -> u64 {
        self.used.values().map(|count| count.times).chain(self.left.values().copied()).fold(0, u64::saturating_add)
    }
}

pub(super) fn make(seen: Seen, known: &Known, namespace: &str) -> Made {
    let mut made = Made {
        left: seen.left,
        databases: seen.databases,
        sessions: seen.sessions.len(),
        from: seen.from,
        until: seen.until,
        ..Made::default()
    };
    let mut parts = BTreeMap::new();
    for (shape, count) in seen.shapes {
        match names(&shape).and_then(|names| Ok((names, nets(&shape, known, namespace)?))) {
            Ok((names, (masks, detectors))) => {
                add_new(made.masks.entry(shape.target.clone()).or_default(), masks);
                add_new(made.detectors.entry(shape.target.clone()).or_default(), detectors);
                made.rules.entry(shape.target.clone()).or_default();
                parts.insert(shape.clone(), names);
                made.used.insert(shape, count);
            }
            Err(why) => {
                *made.left.entry(Left { why, what: shown(&shape) }).or_default() += count.times;
            }
        }
    }
    let unbounded = unbounded(made.used.keys());
    let asks =
        |shape: &Shape| shape.asked || parts.get(shape).is_some_and(|p| p.iter().any(|(n, _)| n.takes_a_person()));
    let (mut allowed, mut asked) = (Groups::new(), Groups::new());
    for (shape, count) in made.used.iter().filter(|(shape, _)| !asks(shape)) {
        for (name, access) in parts.get(shape).into_iter().flatten() {
            add(&mut allowed, shape, name, columns(name, access), *count);
        }
    }
    for (shape, count) in made.used.iter().filter(|(shape, _)| asks(shape)) {
        let parts = parts.get(shape).map(Vec::as_slice).unwrap_or_default();
        let mut missing = Vec::new();
        for (name, access) in parts {
            if let Some(columns) = not_among(&allowed, shape, name, columns(name, access)) {
                missing.push((name, columns));
            }
        }
        if missing.is_empty() {
            // Every part of it was also done without anybody being asked. The weightiest is asked about from now on.
            let heaviest = parts.iter().max_by_key(|(_, access)| access.verb);
            missing.extend(heaviest.map(|(name, access)| (name, columns(name, access))));
        }
        for (name, columns) in missing {
            add(&mut asked, shape, name, columns, *count);
        }
    }
    for (groups, asks) in [(allowed, false), (asked, true)] {
        for ((target, name), group) in groups {
            let open = unbounded.contains(&(target.clone(), name.clone()));
            made.rules.entry(target).or_default().extend(rules(&name, &group, asks, open));
        }
    }
    made
}

/// What needs a rule, each with its access.
///
/// # Errors
/// Why there is no rule for one of them, and so none for the operation.
fn names(shape: &Shape) -> Result<Vec<(Name, Access)>, String> {
    let mut names = Vec::new();
    for access in shape.accesses.iter().filter(|access| !access.indirect) {
        if let Said::Rule(name) = said(access)? {
            names.push((name, access.clone()));
        }
    }
    Ok(names)
}

fn nets(shape: &Shape, known: &Known, namespace: &str) -> Result<(Vec<PostgresMask>, Vec<Detector>), String> {
    let key = |id: &String| (namespace.to_owned(), shape.target.clone(), id.clone());
    let gone = |what: &str, id: &str| {
        format!(
            "it was {what} by {}, and without that more would be seen: give -f with the policies that were in force",
            crate::screen::line(id)
        )
    };
    let masks = shape.masks.iter().map(|id| known.masks.get(&key(id)).cloned().ok_or_else(|| gone("masked", id)));
    let detectors = shape.detectors.iter();
    let detectors = detectors.map(|id| known.detectors.get(&key(id)).cloned().ok_or_else(|| gone("looked at", id)));
    Ok((masks.collect::<Result<_, _>>()?, detectors.collect::<Result<_, _>>()?))
}

fn add_new<T: PartialEq>(all: &mut Vec<T>, more: Vec<T>) {
    for one in more {
        if !all.contains(&one) {
            all.push(one);
        }
    }
}

/// `None`: all of them.
fn columns(name: &Name, access: &Access) -> Option<BTreeSet<String>> {
    match &access.resource.fields {
        Fields::Named(columns) if name.has_columns() => Some(columns.clone()),
        Fields::Named(_) | Fields::All => None,
    }
}

fn add(groups: &mut Groups, shape: &Shape, name: &Name, columns: Option<BTreeSet<String>>, count: Count) {
    let new = || Group { all_columns: false, sets: BTreeSet::new(), times: 0, most_rows: 0, limit: Some(0) };
    let group = groups.entry((shape.target.clone(), name.clone())).or_insert_with(new);
    match columns {
        None => group.all_columns = true,
        Some(columns) => {
            group.sets.insert(columns);
        }
    }
    group.times = group.times.saturating_add(count.times);
    group.most_rows = group.most_rows.max(count.most_rows);
    group.limit = group.limit.zip(count.limit).map(|(a, b)| a.max(b));
}

/// The part that the groups do not have; `None` when there is none.
fn not_among(
    groups: &Groups,
    shape: &Shape,
    name: &Name,
    columns: Option<BTreeSet<String>>,
) -> Option<Option<BTreeSet<String>>> {
    let group = groups.get(&(shape.target.clone(), name.clone()));
    match (group, columns) {
        (Some(group), _) if group.all_columns => None,
        (None, Some(columns)) if columns.is_empty() => Some(None),
        (None, columns) => Some(columns),
        (Some(_), None) => Some(None),
        (Some(group), Some(mut columns)) => {
            columns.retain(|column| !group.sets.iter().any(|set| set.contains(column)));
            (!columns.is_empty()).then_some(Some(columns))
        }
    }
}

/// Verbs and relations of which some change was not bounded by a WHERE, or is not known to be.
fn unbounded<'a>(shapes: impl Iterator<Item = &'a Shape>) -> BTreeSet<(String, Name)> {
    let mut open = BTreeSet::new();
    for shape in shapes {
        for access in shape.accesses.iter().filter(|access| access.bounded != Some(true)) {
            let verb = match access.verb {
                Verb::Update => PostgresVerb::Update,
                Verb::Delete => PostgresVerb::Delete,
                _ => continue,
            };
            open.insert((shape.target.clone(), Name { verb, path: access.resource.path.join(".") }));
        }
    }
    open
}

fn rules(name: &Name, group: &Group, asks: bool, open: bool) -> Vec<Rule> {
    let changes = matches!(name.verb, PostgresVerb::Update | PostgresVerb::Delete);
    let times = crate::screen::count(group.times, "operation", "operations");
    let mut notes = vec![match (name.verb, group.most_rows) {
        (PostgresVerb::Select, rows) => format!("{times}, at most {} each", crate::screen::count(rows, "row", "rows")),
        _ => times,
    }];
    if changes && open {
        notes.push(
            "no requireWhere: one of them had no WHERE that bounds it, or reached this relation another way".to_owned(),
        );
    }
    let packed = if group.all_columns { vec![BTreeSet::new()] } else { pack(&group.sets) };
    if group.all_columns && name.has_columns() {
        notes.push("all columns: some of it touched whole rows, or columns that are not known".to_owned());
    }
    let rule = |columns: BTreeSet<String>| Rule {
        name: name.clone(),
        asks,
        columns,
        require_where: changes && !open,
        limit: group.limit.filter(|limit| *limit > 0),
        notes: notes.clone(),
    };
    packed.into_iter().map(rule).collect()
}

/// As few sets as come of putting each, the largest first, into the first that has room. One rule has to cover all
/// columns of an access, so no set is divided.
fn pack(sets: &BTreeSet<BTreeSet<String>>) -> Vec<BTreeSet<String>> {
    let mut sorted: Vec<&BTreeSet<String>> = sets.iter().collect();
    sorted.sort_by_key(|set| std::cmp::Reverse(set.len()));
    let mut packed: Vec<BTreeSet<String>> = Vec::new();
    for set in sorted {
        match packed.iter_mut().find(|bin| bin.union(set).count() <= limits::RESOURCES) {
            Some(bin) => bin.extend(set.iter().cloned()),
            None => packed.push(set.clone()),
        }
    }
    for bin in packed.iter_mut().filter(|bin| bin.is_empty()) {
        bin.insert(NO_COLUMN.to_owned());
    }
    packed
}

/// An operation, for people.
pub(super) fn shown(shape: &Shape) -> String {
    let accesses: Vec<String> = shape
        .accesses
        .iter()
        .filter(|access| !access.indirect)
        .map(|access| {
            let bounded = match (access.verb, access.bounded) {
                (Verb::Update | Verb::Delete, Some(true)) => " with WHERE",
                (Verb::Update | Verb::Delete, _) => " without an effective WHERE",
                _ => "",
            };
            format!("{:?} {}{bounded}", access.verb, access.resource)
        })
        .take(3)
        .collect();
    crate::screen::line(&format!("{} at {}: {}", shape.action, shape.target, accesses.join(", ")))
}
