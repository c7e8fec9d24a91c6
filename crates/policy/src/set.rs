//! `PolicySet`: everything in force, compiled, as one immutable value with a revision.
//!
//! Invariant: the same content gives the same revision, whatever order, layout or spelling the files had.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crds::policy::{Durability, Level, Mode};
use crds::target::AccessTargetSpec;
use serde::Serialize;

use crate::compile::Warning;
use crate::operation::Revision;
use crate::rule::{Rule, Terms};
use crate::selector::Selection;
use crate::subject::Subject;
use crate::view::{DetectorRule, MaskRule, View};

/// One AccessTarget.
#[derive(Serialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetKey {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Everything in force. A clone is one reference count.
#[derive(Clone, Debug)]
pub struct PolicySet {
    pub(crate) content: Arc<Content>,
    pub(crate) revision: Revision,
    pub(crate) warnings: Arc<[Warning]>,
}

/// Two sets are equal if they decide alike; warnings do not count.
impl PartialEq for PolicySet {
    fn eq(&self, other: &Self) -> bool {
        self.content == other.content
    }
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Content {
    pub(crate) targets: BTreeMap<TargetKey, AccessTargetSpec>,
    /// By namespace and name.
    pub(crate) policies: BTreeMap<(String, String), Policy>,
    pub(crate) cluster: BTreeMap<String, ClusterPolicy>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Policy {
    pub(crate) selection: Selection,
    pub(crate) mode: Mode,
    pub(crate) level: Level,
    pub(crate) durability: Durability,
    /// By name.
    pub(crate) approvals: BTreeMap<String, Terms>,
    /// By name of the target.
    pub(crate) targets: BTreeMap<String, Block>,
}

/// What one policy says about one target; sorted by name.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Block {
    pub(crate) rules: Vec<Arc<Rule>>,
    pub(crate) masks: Vec<MaskRule>,
    pub(crate) detectors: Vec<DetectorRule>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct ClusterPolicy {
    pub(crate) selection: Selection,
    pub(crate) deny_all: bool,
    pub(crate) recording: Option<(Level, Durability)>,
    pub(crate) approvals: BTreeMap<String, Terms>,
    pub(crate) block: Block,
}

impl PolicySet {
    /// Hash of the content, targets included.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// What is legal but probably not meant, in order of object and field.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    pub fn targets(&self) -> &BTreeMap<TargetKey, AccessTargetSpec> {
        &self.content.targets
    }

    /// What applies to this subject at this target. Keep it for as long as the revision is current.
    pub fn view(&self, subject: &Subject, target: &TargetKey) -> View {
        View::of(self, subject, target)
    }
}
