//! What a grant covers: the granted operation without its values, and never anything wider.
//!
//! An approval that counts for more than one operation is given by a person who has seen one of them. So it covers what
//! that person can be told in one sentence: the same word of the protocol, in the same database, on the same resources
//! in the same way, and of each the same columns or fewer; what was bounded by a condition is bounded again. Values and
//! the rest of the text may differ. Refused, so that it can be approved once and no more: what no Allow rule could
//! permit, what is done to anything but rows, functions and the session itself (code, roles, settings, DDL), and what
//! is too much for one sentence.

use std::collections::BTreeSet;

use crds::approval::{Cover, CoveredUse};
use crds::limits;

use crate::operation::{Access, Attribute, Certainty, Fields, Operation, Origin, ResourceKind, Strictness, Verb};
use crate::redact::Redacted;

/// Leaves room for who and for how long in [`limits::GRANT_CHARS`].
const WORDS: usize = 1_024;

/// The cover of an approval that is given for this operation. `None`: it can be approved once and no more.
pub fn of(op: &Operation) -> Option<Cover> {
    let plain = op.origin == Origin::Agent && op.certainty == Certainty::Exact && op.ceiling == Strictness::Allow;
    if !plain || op.accesses.is_empty() {
        return None;
    }
    let uses: BTreeSet<CoveredUse> = op.accesses.iter().map(one).collect::<Option<_>>()?;
    let database = op.attributes.get(&Attribute::Database)?;
    let cover = Cover { action: op.action.clone(), database: database.clone(), uses: uses.into_iter().collect() };
    fits(&cover).then_some(cover)
}

/// Whether it is one that [`of`] could have made: whoever gets it from elsewhere asks this first.
pub fn fits(cover: &Cover) -> bool {
    let name = |text: &String, most: usize| !text.is_empty() && text.chars().count() <= most && is_plain(text);
    let fits = |used: &CoveredUse| {
        name(&used.verb, limits::LABEL_CHARS)
            && name(&used.kind, limits::LABEL_CHARS)
            && used.path.len() <= limits::PATH
            && used.path.iter().all(|part| name(part, limits::FUNCTION_CHARS))
            && used.columns.as_ref().is_none_or(|columns| {
                columns.len() <= limits::COVERED && columns.iter().all(|column| name(column, limits::LABEL_CHARS))
            })
    };
    name(&cover.action, limits::LABEL_CHARS)
        && name(&cover.database, limits::LABEL_CHARS)
        && (1..=limits::COVERED).contains(&cover.uses.len())
        && cover.uses.iter().all(fits)
        && words(cover).chars().count() <= WORDS
}

/// Whether everything of `asked` was granted.
pub fn covers(granted: &Cover, asked: &Cover) -> bool {
    // Fewer resources can be another thing: a copy from a table is not a write of any values.
    granted.action == asked.action
        && granted.database == asked.database
        && granted.uses.iter().map(what).collect::<BTreeSet<_>>() == asked.uses.iter().map(what).collect()
        && asked.uses.iter().all(|asked| granted.uses.iter().any(|granted| includes(granted, asked)))
}

/// For people, for example ``DELETE in database `shop`: delete public.orders with a condition, read public.orders (id)``.
pub fn words(cover: &Cover) -> String {
    let uses: Vec<String> = cover.uses.iter().map(told).collect();
    format!("{} in database `{}`: {}", cover.action, cover.database, uses.join(", "))
}

fn told(used: &CoveredUse) -> String {
    let mut told = used.verb.to_lowercase();
    if !matches!(used.kind.as_str(), "Relation" | "Function") {
        told.push(' ');
        told.push_str(&used.kind.to_lowercase());
    }
    if !used.path.is_empty() {
        told.push(' ');
        told.push_str(&used.path.join("."));
    }
    match &used.columns {
        Some(columns) if columns.is_empty() => told.push_str(" (no column)"),
        Some(columns) => told.push_str(&format!(" ({})", columns.join(", "))),
        // Rows as a whole: removed, or all columns of them.
        None => {}
    }
    if used.bounded {
        told.push_str(" with a condition");
    }
    told
}

fn one(access: &Access) -> Option<CoveredUse> {
    let columns = match &access.resource.fields {
        Fields::All => None,
        Fields::Named(names) => Some(names.iter().cloned().collect()),
    };
    is_grantable(access.verb, access.resource.kind).then(|| CoveredUse {
        verb: format!("{:?}", access.verb),
        kind: format!("{:?}", access.resource.kind),
        path: access.resource.path.clone(),
        columns,
        bounded: access.bounded == Some(true),
        indirect: access.indirect,
    })
}

/// What a name says all about. Whatever else is new is not among them until somebody puts it here.
fn is_grantable(verb: Verb, kind: ResourceKind) -> bool {
    match kind {
        ResourceKind::Relation => matches!(verb, Verb::Read | Verb::Create | Verb::Update | Verb::Delete),
        ResourceKind::RelationStream => verb == Verb::Create,
        ResourceKind::Catalog => verb == Verb::Read,
        ResourceKind::Function | ResourceKind::SessionSetting | ResourceKind::Transaction | ResourceKind::Channel => {
            verb == Verb::Execute
        }
        ResourceKind::Target
        | ResourceKind::Code
        | ResourceKind::Program
        | ResourceKind::Setting
        | ResourceKind::Role
        | ResourceKind::Object => false,
    }
}

/// The same resource in the same way.
fn what(used: &CoveredUse) -> (&str, &str, &[String], bool) {
    (&used.verb, &used.kind, &used.path, used.indirect)
}

fn includes(granted: &CoveredUse, asked: &CoveredUse) -> bool {
    let columns = match (&granted.columns, &asked.columns) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(granted), Some(asked)) => asked.iter().all(|column| granted.contains(column)),
    };
    what(granted) == what(asked) && columns && (!granted.bounded || asked.bounded)
}

/// On one line, and as it is.
fn is_plain(text: &str) -> bool {
    let shown = Redacted::danger_caller_redacted(text);
    shown.as_str() == text && shown.is_flat()
}
