//! `View`: what applies to one subject at one target. Selection happens here once; `decide` then only matches.
//!
//! A subject that no namespaced policy selects for this target has a view too: it denies everything.

use std::collections::BTreeSet;
use std::sync::Arc;

use crds::policy::{Durability, InPredicates, Level, MaskMethod, Mode, OnDetected, Sensitive};

use crate::operation::{Access, Fields, ResourceKind, Revision};
use crate::rule::{Glob, Rule};
use crate::rules::Rules;
use crate::set::{PolicySet, TargetKey};
use crate::subject::Subject;
use crate::verdict::RuleId;

/// A clone is one reference count.
#[derive(Clone, Debug)]
pub struct View {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    revision: Revision,
    selected: bool,
    audit: bool,
    deny_all: Option<String>,
    rules: Rules,
    cluster_rules: Rules,
    masks: Vec<MaskRule>,
    detectors: Vec<DetectorRule>,
    detector_ids: Arc<[RuleId]>,
    level: Level,
    durability: Durability,
}

/// One column pattern of one mask.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MaskRule {
    pub id: RuleId,
    pub schema: Glob,
    pub relation: Glob,
    pub column: Glob,
    pub method: MaskMethod,
    pub in_predicates: InPredicates,
}

/// One detector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DetectorRule {
    pub id: RuleId,
    pub find: BTreeSet<Sensitive>,
    pub action: OnDetected,
}

/// The strictest of all masks on one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnMask {
    pub method: MaskMethod,
    pub in_predicates: InPredicates,
    /// Each mask on the column, in order.
    pub ids: Vec<RuleId>,
}

/// A column that a rule or a mask names without any `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedColumn {
    pub id: RuleId,
    pub schema: String,
    pub relation: String,
    pub column: String,
}

/// A relation that a rule names without any `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedRelation {
    pub id: RuleId,
    pub schema: String,
    pub relation: String,
}

// === impl View ===

impl View {
    pub(crate) fn of(set: &PolicySet, subject: &Subject, target: &TargetKey) -> Self {
        let content = &set.content;
        let same_namespace = content.policies.iter().filter(|((namespace, _), _)| *namespace == subject.namespace);
        let of_subject: Vec<_> =
            same_namespace.map(|(_, policy)| policy).filter(|p| p.selection.selects(subject)).collect();
        // A target of another namespace, or one that was deleted, is nobody's: what is not there is not permitted.
        let reachable = target.namespace == subject.namespace && content.targets.contains_key(target);
        let blocks: Vec<_> = match reachable {
            true => of_subject.iter().filter_map(|p| p.targets.get(&target.name)).collect(),
            false => Vec::new(),
        };
        let cluster: Vec<_> = content.cluster.iter().filter(|(_, policy)| policy.selection.selects(subject)).collect();

        let recordings = of_subject
            .iter()
            .map(|p| (p.level, p.durability))
            .chain(cluster.iter().filter_map(|(_, policy)| policy.recording));
        // With no policy at all there is nobody to ask for less than the default.
        let (level, durability) = recordings
            .reduce(|(l1, d1), (l2, d2)| (l1.max(l2), d1.max(d2)))
            .unwrap_or((Level::default(), Durability::default()));
        let nets = || blocks.iter().copied().chain(cluster.iter().map(|(_, policy)| &policy.block));
        let mut masks: Vec<MaskRule> = nets().flat_map(|block| block.masks.iter().cloned()).collect();
        masks.sort();
        let mut detectors: Vec<DetectorRule> = nets().flat_map(|block| block.detectors.iter().cloned()).collect();
        detectors.sort();
        Self {
            inner: Arc::new(Inner {
                revision: set.revision(),
                selected: !blocks.is_empty(),
                audit: !blocks.is_empty() && of_subject.iter().all(|p| p.mode == Mode::Audit),
                deny_all: cluster.iter().find(|(_, policy)| policy.deny_all).map(|(name, _)| (*name).clone()),
                rules: Rules::of(blocks.iter().flat_map(|b| b.rules.iter().cloned()).collect()),
                cluster_rules: Rules::of(cluster.iter().flat_map(|(_, p)| p.block.rules.iter().cloned()).collect()),
                masks,
                detector_ids: detectors.iter().map(|detector| detector.id.clone()).collect(),
                detectors,
                level,
                durability,
            }),
        }
    }

    /// The revision of the set it was taken from.
    pub fn revision(&self) -> Revision {
        self.inner.revision
    }

    /// Whether a namespaced policy selects the subject and names the target. If not, everything is denied.
    pub fn selected(&self) -> bool {
        self.inner.selected
    }

    /// Whether every namespaced policy that selects the subject is in Audit.
    pub fn audit(&self) -> bool {
        self.inner.audit
    }

    /// The first cluster policy that has `denyAll`, by name.
    pub fn deny_all(&self) -> Option<&str> {
        self.inner.deny_all.as_deref()
    }

    /// Strictest of all policies that select the subject; also for what is not an operation, such as a login.
    pub fn level(&self) -> Level {
        self.inner.level
    }

    pub fn durability(&self) -> Durability {
        self.inner.durability
    }

    /// In order of policy, mask and column.
    pub fn masks(&self) -> &[MaskRule] {
        &self.inner.masks
    }

    /// In order of policy and detector.
    pub fn detectors(&self) -> &[DetectorRule] {
        &self.inner.detectors
    }

    /// A duty of every verdict.
    pub(crate) fn detector_ids(&self) -> Arc<[RuleId]> {
        Arc::clone(&self.inner.detector_ids)
    }

    /// The mask in force on one column, if any: strictest method, strictest use in predicates.
    pub fn column_mask(&self, schema: &str, relation: &str, column: &str) -> Option<ColumnMask> {
        let matching: Vec<_> = self.inner.masks.iter().filter(|m| m.matches(schema, relation, column)).collect();
        let mut ids: Vec<_> = matching.iter().map(|m| m.id.clone()).collect();
        ids.dedup();
        Some(ColumnMask {
            method: matching.iter().map(|m| m.method).max()?,
            in_predicates: matching.iter().map(|m| m.in_predicates).max()?,
            ids,
        })
    }

    /// Columns that rules and masks name exactly: one that does not exist is a mistake worth a message.
    pub fn named_columns(&self) -> Vec<NamedColumn> {
        let of_rules = self.all_rules().flat_map(|rule| {
            rule.columns.iter().filter_map(|pattern| match pattern.relation.exact()?.as_slice() {
                [schema, relation] => Some(NamedColumn {
                    id: rule.id.clone(),
                    schema: (*schema).to_owned(),
                    relation: (*relation).to_owned(),
                    column: pattern.column.exact()?.to_owned(),
                }),
                _ => None,
            })
        });
        let of_masks = self.inner.masks.iter().filter_map(|mask| {
            let (schema, relation, column) = mask.exact()?;
            Some(NamedColumn {
                id: mask.id.clone(),
                schema: schema.to_owned(),
                relation: relation.to_owned(),
                column: column.to_owned(),
            })
        });
        let mut named: Vec<_> = of_rules.chain(of_masks).collect();
        named.sort();
        named
    }

    /// Relations that rules name exactly.
    pub fn named_relations(&self) -> Vec<NamedRelation> {
        let mut named: Vec<_> = self.all_rules().flat_map(exact_relations).collect();
        named.sort();
        named
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.inner.rules
    }

    pub(crate) fn cluster_rules(&self) -> &Rules {
        &self.inner.cluster_rules
    }

    fn all_rules(&self) -> impl Iterator<Item = &Rule> {
        self.inner.rules.all().iter().chain(self.inner.cluster_rules.all()).map(Arc::as_ref)
    }
}

// === impl MaskRule ===

impl MaskRule {
    pub fn matches(&self, schema: &str, relation: &str, column: &str) -> bool {
        self.matches_relation(schema, relation) && self.column.matches(column)
    }

    /// Whether some column of this relation may be masked by it.
    pub fn matches_relation(&self, schema: &str, relation: &str) -> bool {
        self.schema.matches(schema) && self.relation.matches(relation)
    }

    /// Schema, relation and column, if none of them has a `*`.
    pub fn exact(&self) -> Option<(&str, &str, &str)> {
        Some((self.schema.exact()?, self.relation.exact()?, self.column.exact()?))
    }

    /// May something masked be in what this access touches? A path of unexpected length may hold anything.
    pub(crate) fn touches(&self, access: &Access) -> bool {
        let resource = &access.resource;
        matches!(resource.kind, ResourceKind::Relation | ResourceKind::RelationStream)
            && match resource.path.as_slice() {
                [schema, relation] => self.matches_relation(schema, relation),
                _ => true,
            }
            && match &resource.fields {
                Fields::All => true,
                Fields::Named(names) => names.iter().any(|n| self.column.matches(n)),
            }
    }
}

fn exact_relations(rule: &Rule) -> impl Iterator<Item = NamedRelation> + '_ {
    rule.relations.iter().filter_map(|pattern| match pattern.exact()?.as_slice() {
        [schema, relation] => {
            Some(NamedRelation { id: rule.id.clone(), schema: (*schema).to_owned(), relation: (*relation).to_owned() })
        }
        _ => None,
    })
}
