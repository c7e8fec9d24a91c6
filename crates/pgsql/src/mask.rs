//! Which columns of a database are masked, and which relations may not be read at all because of it.
//!
//! Invariant: a relation whose rows could show a masked value under another name (a view, a partition, a parent) is
//! either masked itself or denied. What cannot be proven harmless is denied and reported as a problem.

use std::collections::{BTreeMap, BTreeSet};

use policy::MaskRule;
use policy::operation::{Fields, Verb};
use policy::verdict::RuleId;

use crate::catalog::{Catalog, Oid};

mod build;
pub(crate) mod expression;
mod oracles;
mod spread;

pub use policy::{InPredicates, MaskMethod};

/// What the mask rules of one subject and target mean on one catalog.
#[derive(Clone, Debug, Default)]
pub struct MaskTable {
    relations: BTreeMap<Oid, RelationMasks>,
    denied: BTreeMap<Oid, String>,
    scrubbed: BTreeSet<Oid>,
    oracles: BTreeMap<Oid, oracles::Oracles>,
    problems: Vec<MaskProblem>,
    any: bool,
}

/// The masks of one relation, by attribute number.
#[derive(Clone, Debug, Default)]
pub struct RelationMasks {
    pub columns: BTreeMap<i16, ColumnMask>,
}

#[derive(Clone, Debug)]
pub struct ColumnMask {
    pub method: MaskMethod,
    pub in_predicates: InPredicates,
    /// Every rule that asks for it; the strictest method is used.
    pub rules: Vec<RuleId>,
}

/// Something that a policy author should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskProblem {
    pub rule: RuleId,
    /// Names of objects only.
    pub text: String,
    /// A relation is denied because of it.
    pub denied: Option<String>,
}

impl MaskTable {
    /// Applies the rules to every relation of the catalog.
    pub fn build(catalog: &Catalog, rules: &[MaskRule]) -> Self {
        build::build(catalog, rules)
    }

    /// What went wrong, in the order of the rules.
    pub fn problems(&self) -> &[MaskProblem] {
        &self.problems
    }

    /// Whether any rule exists, even one that matches nothing in this catalog.
    pub fn any(&self) -> bool {
        self.any
    }

    pub fn relation(&self, oid: Oid) -> Option<&RelationMasks> {
        self.relations.get(&oid)
    }

    /// Why the relation may not be touched at all.
    pub fn denied(&self, oid: Oid) -> Option<&str> {
        self.denied.get(&oid).map(String::as_str)
    }

    /// Whether errors and notices of a statement that touches the relation may show masked values.
    pub fn scrubbed(&self, oid: Oid) -> bool {
        self.scrubbed.contains(&oid)
    }

    /// Whether an error or its absence tells of masked values when these columns are written.
    pub fn oracle(&self, oid: Oid, verb: Verb, written: &Fields) -> bool {
        self.oracles.get(&oid).is_some_and(|oracles| oracles.tell(verb, written))
    }

    /// Every relation with masks.
    pub fn relations(&self) -> impl Iterator<Item = (Oid, &RelationMasks)> {
        self.relations.iter().map(|(oid, masks)| (*oid, masks))
    }
}
