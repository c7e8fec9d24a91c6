//! The rules of one layer, and which of them can say anything about an access.
//!
//! Invariant: a rule that [`Rules::about`] leaves out neither covers the access nor touches it; so deciding costs what the
//! rules about one relation cost, however many there are about others.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::operation::{Access, ResourceKind, Verb};
use crate::rule::{PathPattern, Rule};

#[derive(Debug)]
pub(crate) struct Rules {
    all: Vec<Arc<Rule>>,
    uses: HashMap<(Verb, ResourceKind), Bucket>,
}

/// Places in the list of all, in order, of those that speak of one kind of use.
#[derive(Debug, Default)]
struct Bucket {
    all: Vec<usize>,
    /// Those of which the name of a relation excludes nothing.
    wide: Vec<usize>,
    /// By the name of the relation, its schema aside.
    named: HashMap<String, Vec<usize>>,
}

// === impl Rules ===

impl Rules {
    pub(crate) fn of(all: Vec<Arc<Rule>>) -> Self {
        let mut uses: HashMap<_, Bucket> = HashMap::new();
        for (place, rule) in all.iter().enumerate() {
            let kinds: BTreeSet<_> = rule.uses.iter().map(|one| (one.verb, one.kind)).collect();
            for (verb, kind) in kinds {
                uses.entry((verb, kind)).or_default().add(place, names(rule).filter(|_| is_relation(kind)));
            }
        }
        Self { all, uses }
    }

    pub(crate) fn all(&self) -> &[Arc<Rule>] {
        &self.all
    }

    /// In their order.
    pub(crate) fn about(&self, access: &Access) -> Vec<&Rule> {
        let Some(bucket) = self.uses.get(&(access.verb, access.resource.kind)) else { return Vec::new() };
        let places = match access.resource.path.as_slice() {
            [_schema, relation] if is_relation(access.resource.kind) => {
                let named = bucket.named.get(relation).into_iter().flatten();
                let mut places: Vec<usize> = bucket.wide.iter().chain(named).copied().collect();
                places.sort_unstable();
                Cow::Owned(places)
            }
            // Another path is none that patterns were written for: any of them may mean it.
            _ => Cow::Borrowed(bucket.all.as_slice()),
        };
        places.iter().filter_map(|place| self.all.get(*place)).map(Arc::as_ref).collect()
    }
}

impl Bucket {
    fn add(&mut self, place: usize, names: Option<BTreeSet<&str>>) {
        self.all.push(place);
        let Some(names) = names else { return self.wide.push(place) };
        for name in names {
            self.named.entry(name.to_owned()).or_default().push(place);
        }
    }
}

fn is_relation(kind: ResourceKind) -> bool {
    matches!(kind, ResourceKind::Relation | ResourceKind::RelationStream | ResourceKind::Object)
}

/// The names of all relations that it can speak of, if none is a pattern.
fn names(rule: &Rule) -> Option<BTreeSet<&str>> {
    let by_columns = || rule.columns.iter().map(|column| name(&column.relation)).collect();
    match (rule.relations.is_empty(), rule.columns.is_empty()) {
        (true, true) => None,
        (true, false) => by_columns(),
        (false, _) => rule.relations.iter().map(name).collect(),
    }
}

fn name(pattern: &PathPattern) -> Option<&str> {
    match pattern.0.as_slice() {
        [_schema, relation] => relation.exact(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::operation::{
        Certainty, Digest, Fields, Operation, Origin, PayloadHash, Protocol, Resource, Revision, Strictness,
    };
    use crate::redact::Redacted;
    use crate::rule::{ColumnPattern, Glob, Use};
    use crate::verdict::RuleId;

    const VERBS: [Verb; 4] = [Verb::Read, Verb::Create, Verb::Update, Verb::Delete];
    const KINDS: [ResourceKind; 5] = [
        ResourceKind::Relation,
        ResourceKind::RelationStream,
        ResourceKind::Object,
        ResourceKind::Function,
        ResourceKind::Transaction,
    ];
    const PATTERNS: [&str; 7] = ["public.a", "public.b", "hr.a", "*.a", "public.*", "*.*", "public.a*"];

    fn path(text: &str) -> PathPattern {
        PathPattern(text.split('.').map(Glob::new).collect())
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let uses = btree_set((select(&VERBS[..]), select(&KINDS[..])), 1..3);
        let columns = btree_set((select(&PATTERNS[..]), select(&["*", "id", "s*"][..])), 0..3);
        let patterns = || btree_set(select(&PATTERNS[..]), 0..3);
        (uses, patterns(), columns, patterns(), any::<bool>()).prop_map(
            |(uses, relations, columns, functions, require_where)| Rule {
                id: RuleId { policy: "p".to_owned(), rule: "r".to_owned(), cluster: false },
                action: Strictness::Deny,
                uses: uses.into_iter().map(|(verb, kind)| Use { verb, kind, actions: None }).collect(),
                hosts: BTreeSet::new(),
                relations: relations.into_iter().map(path).collect(),
                columns: columns
                    .into_iter()
                    .map(|(relation, column)| ColumnPattern { relation: path(relation), column: Glob::new(column) })
                    .collect(),
                functions: functions.into_iter().map(path).collect(),
                require_where,
                max_rows: None,
                message: None,
                terms: None,
            },
        )
    }

    fn access() -> impl Strategy<Value = Access> {
        let paths =
            [&["public", "a"][..], &["hr", "a"], &["public", "b"], &["x", "ab"], &["a"], &["x", "public", "a"], &[]];
        let fields = prop_oneof![
            Just(Fields::All),
            btree_set(select(&["id", "ssn"][..]), 0..3)
                .prop_map(|names| { Fields::Named(names.into_iter().map(str::to_owned).collect()) })
        ];
        (select(&VERBS[..]), select(&KINDS[..]), select(paths.to_vec()), fields).prop_map(
            |(verb, kind, path, fields)| {
                let path = path.iter().map(|part| (*part).to_owned()).collect();
                Access { verb, resource: Resource { kind, path, fields }, bounded: Some(false), indirect: false }
            },
        )
    }

    fn operation(access: &Access) -> Operation {
        Operation {
            protocol: Protocol::Postgres,
            action: "SELECT".to_owned(),
            accesses: vec![access.clone()],
            attributes: BTreeMap::new(),
            certainty: Certainty::Exact,
            payload: PayloadHash([0; 32]),
            digest: Digest([0; 32]),
            ceiling: Strictness::Allow,
            origin: Origin::Agent,
            planned: Revision([0; 32]),
            display: Redacted::danger_caller_redacted(""),
        }
    }

    proptest! {
        #[test]
        fn a_rule_that_is_left_out_says_nothing(rules in vec(rule(), 0..8), access in access()) {
            let op = operation(&access);
            let rules = Rules::of(rules.into_iter().map(Arc::new).collect());
            let about = rules.about(&access);
            let place_of = |rule: &&Rule| rules.all().iter().position(|one| std::ptr::eq(&raw const **one, *rule)).unwrap();
            let mut places = about.iter().map(place_of).peekable();
            for (place, rule) in rules.all().iter().enumerate() {
                let speaks = rule.touches(&op, &access)
                    || rule.covers(&op, &access)
                    || rule.is_unbounded(&op, &access)
                    || (rule.covers_resource(&op, &access)
                        && ["id", "ssn", "other"].iter().any(|field| rule.covers_field(&access, field)));
                // In order: what was passed over does not come again.
                let found = places.next_if_eq(&place).is_some();
                prop_assert!(found || !speaks, "{rule:?}");
            }
            prop_assert_eq!(places.next(), None);
        }
    }
}
