//! What the server does by itself and no access tells of: whether that takes a person.
//!
//! Invariant: a read of a view, or a write, that runs functions of users without their name in the statement is never
//! allowed by rules alone, since the functions may reach what a rule denies; nor is a write whose success tells of masked
//! values. Triggers are not looked at.

use std::collections::BTreeSet;

use policy::operation::{Access, Fields, ResourceKind, Strictness, Verb};

use crate::catalog::{Action, Catalog, Oid, Reference, Relation, RelationKind, Runs};
use crate::plan::Context;
use crate::resolve::Findings;

pub(super) fn ceiling(accesses: &[Access], findings: &Findings, ctx: &Context<'_>) -> Strictness {
    let asked = findings.touched.iter().any(|oid| view_calls(ctx.catalog, *oid) || casts(ctx.catalog, *oid))
        || accesses.iter().any(|access| write_tells(access, findings, ctx));
    if asked { Strictness::RequireApproval } else { Strictness::Allow }
}

fn view_calls(catalog: &Catalog, oid: Oid) -> bool {
    let view = |relation: &Relation| matches!(relation.kind, RelationKind::View | RelationKind::Materialized);
    catalog.relation(oid).is_some_and(view)
        && std::iter::once(oid)
            .chain(catalog.closure(oid, |r| &r.depends_on))
            .filter_map(|oid| catalog.relation(oid))
            .any(|relation| view(relation) && relation.rules_call())
}

/// Whether a value of it may be cast by a function of a user, for which no cast is needed in the text.
fn casts(catalog: &Catalog, oid: Oid) -> bool {
    let cast = |type_oid: Oid| catalog.user_cast_types().iter().any(|cast| cast.oid == type_oid);
    catalog.relation(oid).is_some_and(|relation| relation.columns.iter().any(|column| cast(column.type_oid)))
}

/// Of all that is written, what views and foreign keys write included.
fn write_tells(access: &Access, findings: &Findings, ctx: &Context<'_>) -> bool {
    if !matches!(access.verb, Verb::Create | Verb::Update)
        || !matches!(access.resource.kind, ResourceKind::Relation | ResourceKind::RelationStream)
    {
        return false;
    }
    let [schema, name] = access.resource.path.as_slice() else { return false };
    let Some(relation) = ctx.catalog.find(schema, name) else { return false };
    let fields = &access.resource.fields;
    // FOR UPDATE writes no column.
    let writes = access.verb == Verb::Create || *fields != Fields::Named(BTreeSet::new());
    let sets = |key: &Reference| [key.on_delete, key.on_update].contains(&Action::SetDefault);
    let by_key = access.indirect && relation.references.iter().any(sets);
    let defaults = access.verb == Verb::Create || findings.defaults || by_key;
    writes
        && (relation.runs.contains(&Runs::Write)
            || (defaults && relation.runs.contains(&Runs::Default))
            || ctx.masks.oracle(relation.oid, access.verb, fields))
}
