//! COPY.
//!
//! `COPY t TO STDOUT` is sent as a COPY of a query, so that the answer is a masked one. Files and programs of the
//! server are never reached.

use std::collections::BTreeSet;

use pg_raw_parse::make::{MemoryToken, try_owned};
use pg_raw_parse::transform::Transform;
use pg_raw_parse::{Node, Owned, nodes};
use policy::operation::{Access, Fields, Resource, ResourceKind, Strictness, Verb};

use super::{Judged, query};
use crate::catalog::{Relation, RelationKind};
use crate::mask::expression::{in_effect, selection};
use crate::parse::{Limits, Parsed, contained, parse};
use crate::plan::{Context, Effect};
use crate::refused::Refused;
use crate::resolve::{Env, Resolver, names::Named, names::strings, scope::Origin};

const OPTIONS: &[&str] = &[
    "default",
    "delimiter",
    "escape",
    "force_not_null",
    "force_null",
    "force_quote",
    "format",
    "header",
    "null",
    "quote",
];

pub(super) fn copy(parsed: &Parsed, copy: &nodes::CopyStmt, ctx: &Context<'_>) -> Result<Judged, Refused> {
    if copy.is_program || copy.filename().is_some() {
        let access = crate::resolve::access(Verb::Execute, ResourceKind::Program, Vec::new());
        let judged = Judged::simple("COPY", vec![access], Effect::None);
        return Ok(Judged { ceiling: Strictness::Deny, ..judged });
    }
    for option in copy.options() {
        let name = option.defname().unwrap_or_default();
        if !OPTIONS.contains(&name) {
            return Err(Refused::new(format!("COPY with the option `{name}`")));
        }
    }
    match (copy.is_from, copy.relation()) {
        (true, Some(range)) => from(copy, range, ctx),
        (false, Some(range)) => table(parsed, copy, range, ctx),
        (false, None) => {
            let findings = query::resolve(copy.query(), ctx)?;
            let word = query::word(&findings);
            Ok(Judged {
                action: if word == "SELECT" { "COPY TO".to_owned() } else { format!("COPY {word}") },
                accesses: findings.accesses(ctx),
                ceiling: findings.ceiling(),
                effect: Effect::CopyOut { binary: is_binary(copy) },
                findings,
                tree: None,
                checked_params: Vec::new(),
                scrub: false,
            })
        }
        (true, None) => Err(Refused::new("COPY FROM without a relation")),
    }
}

/// The word, or what takes the place of it in the syntax before PostgreSQL 9.0.
fn is_binary(copy: &nodes::CopyStmt) -> bool {
    let mut formats = copy.options().into_iter().filter(|option| option.defname() == Some("format"));
    formats.any(|option| !matches!(option.arg(), Node::String(word) if matches!(word.sval(), Some("text" | "csv"))))
}

/// The relation and the columns that are copied: without a list, all but the generated ones.
fn columns<'c>(
    resolver: &mut Resolver<'c>,
    copy: &nodes::CopyStmt,
    range: &nodes::RangeVar,
) -> Result<(&'c Relation, Vec<String>), Refused> {
    let Named::Relation(relation) = resolver.relation(range)? else {
        return Err(Refused::new("COPY of a system catalog").hint("use COPY (SELECT ...) TO STDOUT"));
    };
    let names = strings(copy.attlist())?;
    let names: Vec<String> = if names.is_empty() {
        relation.columns.iter().filter(|c| !c.generated).map(|c| c.name.clone()).collect()
    } else {
        names.into_iter().map(str::to_owned).collect()
    };
    if let Some(name) = names.iter().find(|n| relation.column(n).is_none()) {
        return Err(Refused::new(format!("column `{name}` of `{}` does not exist", relation.display()))
            .code(crate::refused::Code::UndefinedColumn));
    }
    Ok((relation, names))
}

/// `COPY t TO STDOUT` reads the table itself without its children.
fn table(
    parsed: &Parsed,
    copy: &nodes::CopyStmt,
    range: &nodes::RangeVar,
    ctx: &Context<'_>,
) -> Result<Judged, Refused> {
    let mut resolver = Resolver::new(ctx);
    let (relation, names) = columns(&mut resolver, copy, range)?;
    if relation.kind != RelationKind::Table {
        return Err(Refused::new(format!("COPY of `{}`, which is not a plain table", relation.display()))
            .hint("use COPY (SELECT ...) TO STDOUT"));
    }
    resolver.open(Verb::Read, relation.oid, None);
    resolver.one_partition(relation);
    for name in &names {
        resolver.touch(Verb::Read, relation.oid, Some(name));
    }
    let masks = ctx.masks.relation(relation.oid);
    if let Some(masks) = masks {
        resolver.out.substituted.insert(relation.oid);
        for column in names.iter().filter_map(|name| relation.column(name)) {
            let mask = masks.columns.get(&column.attnum);
            resolver.out.outputs.push(mask.map(|mask| in_effect(mask, column)));
        }
    }
    let findings = resolver.finish()?;
    let text = selection(ctx.catalog, relation, masks, true, names.iter().filter_map(|n| relation.column(n)));
    let limits = Limits { bytes: ctx.limits.bytes.saturating_mul(8), ..ctx.limits };
    let select = parse(&text, &limits)?;
    let tree = as_query(parsed, &select)?;
    Ok(Judged {
        action: "COPY TO".to_owned(),
        accesses: findings.accesses(ctx),
        ceiling: findings.ceiling(),
        effect: Effect::CopyOut { binary: is_binary(copy) },
        findings,
        tree: Some(tree),
        checked_params: Vec::new(),
        scrub: false,
    })
}

fn as_query(parsed: &Parsed, select: &Parsed) -> Result<Owned<nodes::RawStmt>, Refused> {
    let raw = parsed.raw().ok_or_else(|| Refused::new("no statement"))?;
    contained(|| {
        try_owned(|mem| {
            let mut copy = mem.make_unique(raw);
            AsQuery { mem, query: select.root() }.transform_raw_stmt(copy.as_mut());
            Ok(copy)
        })
    })
}

struct AsQuery<'a, 'mem> {
    mem: MemoryToken<'mem>,
    query: Node<'a>,
}

impl<'mem> Transform<'mem> for AsQuery<'_, 'mem> {
    fn transform_copy_stmt<'r>(&mut self, mut node: nodes::CopyStmtMut<'mem, 'r>) {
        node.set_relation(self.mem.make_unique(None::<&nodes::RangeVar>));
        node.set_attlist(self.mem.empty());
        node.set_query(self.mem.make_unique(self.query));
    }
}

fn from(copy: &nodes::CopyStmt, range: &nodes::RangeVar, ctx: &Context<'_>) -> Result<Judged, Refused> {
    let mut resolver = Resolver::new(ctx);
    let (relation, columns) = columns(&mut resolver, copy, range)?;
    let item = resolver.base(relation, Origin::Target(relation.oid));
    let env = Env { items: vec![item], ..Env::default() };
    resolver.expr(copy.where_clause(), &env)?;
    resolver.out.touched.insert(relation.oid);
    let findings = resolver.finish()?;
    let names: BTreeSet<String> = columns.iter().cloned().collect();
    let mut accesses: Vec<Access> = findings.accesses(ctx);
    accesses.retain(|a| a.resource.kind != ResourceKind::Catalog);
    let above = ctx.catalog.closure(relation.oid, |r| &r.parents).into_iter().map(|oid| (oid, false));
    // Its partitions get the rows; children by inheritance get none.
    let below = if relation.kind == RelationKind::Partitioned {
        ctx.catalog.closure(relation.oid, |r| &r.children)
    } else {
        BTreeSet::new()
    };
    let others = above.chain(below.into_iter().map(|oid| (oid, true)));
    for (oid, indirect) in std::iter::once((relation.oid, false)).chain(others) {
        let Some(target) = ctx.catalog.relation(oid) else { continue };
        accesses.push(Access {
            verb: Verb::Create,
            resource: Resource {
                kind: ResourceKind::RelationStream,
                path: vec![target.schema.clone(), target.name.clone()],
                fields: Fields::Named(names.clone()),
            },
            bounded: None,
            indirect,
        });
    }
    Ok(Judged {
        action: "COPY FROM".to_owned(),
        accesses,
        // Nobody has seen the rows when it is decided.
        ceiling: Strictness::RequireApproval,
        effect: Effect::CopyIn { schema: relation.schema.clone(), relation: relation.name.clone(), columns },
        findings,
        tree: None,
        checked_params: Vec::new(),
        scrub: false,
    })
}
