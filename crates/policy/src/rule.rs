//! Compiled matchers. Matching is linear in the text and knows no regular expression.
//!
//! A rule answers two questions about an access, because what is not known must only ever tighten:
//! *covers* (it certainly speaks of all of it: needed to permit) and *touches* (it may speak of part of it: enough to
//! deny or to ask). Everything that a rule covers it also touches, but for an access to no field at all.

use std::collections::BTreeSet;
use std::time::Duration;

use crds::policy::Scope;

use crate::operation::{Access, Attribute, Fields, Operation, ResourceKind, Strictness, Verb};
use crate::verdict::{Preview, RuleId};

/// A name, where each `*` stands for any run of characters, the empty one included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob(String);

impl Glob {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one name it matches, if it has no `*`.
    pub fn exact(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(self.0.as_str())
    }

    /// Leftmost matching of each literal part is enough where only `*` is wild, so nothing is ever tried twice.
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            match rest.split_once(part) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

/// A path of a fixed number of segments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PathPattern(pub(crate) Vec<Glob>);

impl PathPattern {
    fn certainly(&self, path: &[String]) -> bool {
        self.0.len() == path.len() && self.possibly(path)
    }

    /// A path of another length is not the kind of path the pattern was written for: its segments are unknown.
    fn possibly(&self, path: &[String]) -> bool {
        self.0.len() != path.len() || self.0.iter().zip(path).all(|(glob, segment)| glob.matches(segment))
    }

    pub(crate) fn text(&self) -> String {
        self.0.iter().map(Glob::as_str).collect::<Vec<_>>().join(".")
    }

    /// All segments, if none has a `*`.
    pub(crate) fn exact(&self) -> Option<Vec<&str>> {
        self.0.iter().map(Glob::exact).collect()
    }
}

/// `schema.relation.column`: the parts before the last name the relation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ColumnPattern {
    pub(crate) relation: PathPattern,
    pub(crate) column: Glob,
}

impl ColumnPattern {
    pub(crate) fn text(&self) -> String {
        format!("{}.{}", self.relation.text(), self.column.as_str())
    }
}

/// One kind of use that a rule speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Use {
    pub(crate) verb: Verb,
    pub(crate) kind: ResourceKind,
    /// Where verb and kind are shared by several words of a protocol, which of its actions this one means.
    pub(crate) actions: Option<Actions>,
}

/// `meant` belong to this use, `others` to another; an action in neither list is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Actions {
    pub(crate) meant: &'static [&'static str],
    pub(crate) others: &'static [&'static str],
}

impl Use {
    fn covers(self, access: &Access, action: &str) -> bool {
        self.is_of(access) && self.actions.is_none_or(|a| a.meant.contains(&action))
    }

    fn touches(self, access: &Access, action: &str) -> bool {
        self.is_of(access) && self.actions.is_none_or(|a| !a.others.contains(&action))
    }

    fn is_of(self, access: &Access) -> bool {
        self.verb == access.verb && self.kind == access.resource.kind
    }
}

/// What an approval of this rule takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Terms {
    pub(crate) name: String,
    pub(crate) required_approvals: u8,
    pub(crate) deny_threshold: u8,
    pub(crate) scope: Scope,
    /// With every scope but Once.
    pub(crate) max_grant: Option<Duration>,
    pub(crate) pending_ttl: Duration,
    pub(crate) hold_for: Duration,
    pub(crate) reason_required: bool,
    pub(crate) max_hold_in_transaction: Option<Duration>,
    pub(crate) preview: Preview,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rule {
    pub(crate) id: RuleId,
    pub(crate) action: Strictness,
    pub(crate) uses: BTreeSet<Use>,
    /// Of the target, lower case; empty: any host.
    pub(crate) hosts: BTreeSet<Glob>,
    pub(crate) relations: BTreeSet<PathPattern>,
    pub(crate) columns: BTreeSet<ColumnPattern>,
    pub(crate) functions: BTreeSet<PathPattern>,
    pub(crate) require_where: bool,
    pub(crate) max_rows: Option<u64>,
    pub(crate) message: Option<String>,
    /// If and only if `action` is RequireApproval.
    pub(crate) terms: Option<Terms>,
}

impl Rule {
    /// Certainly speaks of this access, its fields aside.
    pub(crate) fn covers_resource(&self, op: &Operation, access: &Access) -> bool {
        self.host_covered(op)
            && self.uses.iter().any(|u| u.covers(access, &op.action))
            && match self.paths(access.resource.kind) {
                Paths::Any => true,
                Paths::Of(patterns) => patterns.iter().any(|p| p.certainly(&path_of(access))),
                Paths::Inapplicable => false,
            }
    }

    /// May speak of this access, its fields aside.
    fn touches_resource(&self, op: &Operation, access: &Access) -> bool {
        self.host_touched(op)
            && self.uses.iter().any(|u| u.touches(access, &op.action))
            && match self.paths(access.resource.kind) {
                Paths::Any | Paths::Inapplicable => true,
                Paths::Of(patterns) => patterns.iter().any(|p| p.possibly(&path_of(access))),
            }
    }

    /// Certainly speaks of the whole access: all its fields are among the rule's columns.
    pub(crate) fn covers(&self, op: &Operation, access: &Access) -> bool {
        self.covers_resource(op, access)
            && (!self.columns_apply(access)
                || match fields(access) {
                    Fields::All => false,
                    // Reading no column still tells that rows exist, so the relation has to be one that is named.
                    Fields::Named(names) => {
                        self.names_relation(access) && names.iter().all(|n| self.covers_field(access, n))
                    }
                })
    }

    /// May speak of some of the access: one of its fields may be among the rule's columns.
    pub(crate) fn touches(&self, op: &Operation, access: &Access) -> bool {
        self.touches_fields(op, access, |column| match fields(access) {
            Fields::All => true,
            Fields::Named(names) => names.iter().any(|n| column.matches(n)),
        })
    }

    fn touches_fields(&self, op: &Operation, access: &Access, meant: impl Fn(&Glob) -> bool) -> bool {
        let path = &access.resource.path;
        self.touches_resource(op, access)
            && (!self.columns_apply(access)
                || self.columns.iter().any(|c| c.relation.possibly(path) && meant(&c.column)))
    }

    /// Whether this field of an access whose resource it covers is one that it speaks of.
    pub(crate) fn covers_field(&self, access: &Access, field: &str) -> bool {
        let path = &access.resource.path;
        !self.columns_apply(access)
            || self.columns.iter().any(|c| c.relation.certainly(path) && c.column.matches(field))
    }

    /// `requireWhere`: the access may be one that this rule wants bounded, and no effective condition bounds it.
    pub(crate) fn is_unbounded(&self, op: &Operation, access: &Access) -> bool {
        self.require_where
            && matches!(access.verb, Verb::Update | Verb::Delete)
            && access.bounded != Some(true)
            && (self.touches(op, access) || self.touches_no_field(op, access))
    }

    /// An access to no field at all is covered by a rule that names the relation, so it may be one of this rule's.
    fn touches_no_field(&self, op: &Operation, access: &Access) -> bool {
        matches!(fields(access), Fields::Named(names) if names.is_empty()) && self.touches_fields(op, access, |_| true)
    }

    fn names_relation(&self, access: &Access) -> bool {
        self.columns.iter().any(|c| c.relation.certainly(&access.resource.path))
    }

    /// Functions have no columns; on any other kind a rule with columns is narrowed by them.
    fn columns_apply(&self, access: &Access) -> bool {
        !self.columns.is_empty() && access.resource.kind != ResourceKind::Function
    }

    fn paths(&self, kind: ResourceKind) -> Paths<'_> {
        let own = match kind {
            ResourceKind::Relation | ResourceKind::RelationStream | ResourceKind::Object => &self.relations,
            ResourceKind::Function => &self.functions,
            ResourceKind::Target
            | ResourceKind::Catalog
            | ResourceKind::Code
            | ResourceKind::Program
            | ResourceKind::SessionSetting
            | ResourceKind::Setting
            | ResourceKind::Role
            | ResourceKind::Channel
            | ResourceKind::Transaction => {
                return if self.relations.is_empty() { Paths::Any } else { Paths::Inapplicable };
            }
        };
        if own.is_empty() { Paths::Any } else { Paths::Of(own) }
    }

    fn host_covered(&self, op: &Operation) -> bool {
        self.hosts.is_empty() || op.attributes.get(&Attribute::Host).is_some_and(|host| self.names_host(host))
    }

    fn host_touched(&self, op: &Operation) -> bool {
        self.hosts.is_empty() || op.attributes.get(&Attribute::Host).is_none_or(|host| self.names_host(host))
    }

    pub(crate) fn names_host(&self, host: &str) -> bool {
        let host = canonical_host(host);
        self.hosts.iter().any(|h| h.matches(&host))
    }
}

enum Paths<'a> {
    Any,
    Of(&'a BTreeSet<PathPattern>),
    /// The rule lists resources of another kind, so it cannot be meant to permit this one.
    Inapplicable,
}

/// `DB.Example.com.` and `db.example.com` are one host; a rule must not be evaded by spelling.
pub(crate) fn canonical_host(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Spaces after the commas of a signature mean nothing.
pub(crate) fn canonical_signature(text: &str) -> String {
    text.split(',').map(str::trim).collect::<Vec<_>>().join(",")
}

/// A row is deleted with all its fields, whichever of them the statement names.
pub(crate) fn fields(access: &Access) -> &Fields {
    match access.verb {
        Verb::Delete => &Fields::All,
        _ => &access.resource.fields,
    }
}

fn path_of(access: &Access) -> std::borrow::Cow<'_, [String]> {
    match access.resource.kind {
        ResourceKind::Function => access.resource.path.iter().map(|s| canonical_signature(s)).collect(),
        _ => access.resource.path.as_slice().into(),
    }
}
