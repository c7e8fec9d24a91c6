//! Statements that change the catalog or run code that cannot be looked into.
//!
//! All need an approval at least. Refused: temporary objects; copies of masked data (CREATE TABLE AS, SELECT INTO,
//! views) and foreign keys to it; ALTER TABLE and RENAME of a relation with masks, which could move a column away from
//! its mask; and code (DO, functions, triggers, rules, policies, and calls of functions of users) and new names of
//! schemas wherever any mask exists, since it escapes every later check. Rights, roles,
//! extensions and the server's own settings are a DBA's work: ceiling Deny.

use pg_raw_parse::raw::DropBehavior;
use pg_raw_parse::{Node, nodes};
use policy::operation::{Access, ResourceKind, Strictness, Verb};

use self::named::{Sort, dropped_with, named_objects, not_taken, path_of};
use super::{Judged, unknown};
use crate::builtin::is_system_schema;
use crate::catalog::{Relation, RelationKind};
use crate::parse::Parsed;
use crate::plan::{Context, Effect};
use crate::refused::Refused;
use crate::resolve::names::{Named, strings};
use crate::resolve::scope::Ctes;
use crate::resolve::{Env, Level, Literal, RangeEdit, Resolver};
use crate::visit::{Next, walk};

mod named;

/// `RELPERSISTENCE_TEMP`.
const TEMPORARY: u8 = b't';

pub(super) fn ddl(parsed: &Parsed, root: Node<'_>, ctx: &Context<'_>) -> Result<Judged, Refused> {
    let (action, code) = match root {
        Node::CreateStmt(_) => ("CREATE TABLE", false),
        Node::IndexStmt(_) => ("CREATE INDEX", false),
        Node::AlterTableStmt(_) => ("ALTER TABLE", false),
        Node::RenameStmt(_) => ("RENAME", false),
        Node::DropStmt(_) => ("DROP", false),
        Node::TruncateStmt(_) => ("TRUNCATE", false),
        Node::CommentStmt(_) => ("COMMENT", false),
        Node::CreateSeqStmt(_) => ("CREATE SEQUENCE", false),
        Node::AlterSeqStmt(_) => ("ALTER SEQUENCE", false),
        Node::ReindexStmt(_) => ("REINDEX", false),
        Node::VacuumStmt(_) => ("VACUUM", false),
        Node::LockStmt(_) => ("LOCK", false),
        Node::RefreshMatViewStmt(_) => ("REFRESH", false),
        Node::CreateSchemaStmt(_) => ("CREATE SCHEMA", false),
        Node::CreateEnumStmt(_) => ("CREATE TYPE", false),
        Node::AlterEnumStmt(_) => ("ALTER TYPE", false),
        Node::ViewStmt(view) => return stored(parsed, view.view(), view.query(), "CREATE VIEW", view.replace, ctx),
        Node::CreateTableAsStmt(stmt) => {
            let into = stmt.into().ok_or_else(|| Refused::new("CREATE TABLE AS without a name"))?;
            return stored(parsed, into.rel(), stmt.query(), "CREATE TABLE AS", false, ctx);
        }
        Node::CreateFunctionStmt(_) => ("CREATE FUNCTION", true),
        Node::CreateTrigStmt(_) => ("CREATE TRIGGER", true),
        Node::RuleStmt(_) => ("CREATE RULE", true),
        Node::CreatePolicyStmt(_) => ("CREATE POLICY", true),
        Node::DoStmt(_) => ("DO", true),
        Node::CallStmt(call) => return self::call(call, ctx),
        other => return never(other),
    };
    if code {
        return self::code(root, action, ctx);
    }
    let mut resolver = Resolver::new(ctx);
    let mut accesses = named_objects(root, &mut resolver)?;
    let moves = matches!(root, Node::AlterTableStmt(_) | Node::RenameStmt(_));
    walk(root, &ctx.limits, |visit| {
        object(&mut resolver, visit.node, visit.parent, visit.field, moves, &mut accesses)?;
        Ok(Next::Into)
    })?;
    if let Node::TruncateStmt(truncate) = root
        && truncate.behavior == DropBehavior::DROP_CASCADE
    {
        accesses.extend(crate::resolve::truncated(ctx.catalog, &resolver.out.touched));
    }
    if let Node::DropStmt(drop) = root
        && drop.behavior == DropBehavior::DROP_CASCADE
    {
        accesses.extend(dropped_with(drop, &accesses, ctx)?);
    }
    // A new partition and a comment leave the others alone.
    if !matches!(root, Node::CreateStmt(_) | Node::CommentStmt(_)) {
        accesses.extend(crate::resolve::inherited(ctx.catalog, &resolver.out.touched));
    }
    let effect = match root {
        Node::TruncateStmt(_) | Node::LockStmt(_) | Node::VacuumStmt(_) | Node::ReindexStmt(_) => Effect::None,
        _ => Effect::ChangesCatalog,
    };
    administer(resolver, action, accesses, effect, ctx)
}

fn administer(
    resolver: Resolver<'_>,
    action: &str,
    mut accesses: Vec<Access>,
    effect: Effect,
    ctx: &Context<'_>,
) -> Result<Judged, Refused> {
    if ctx.masks.any() && resolver.out.user_code {
        return Err(Refused::new(format!("{action} with a function of a user where columns are masked"))
            .hint("its code could read them"));
    }
    let findings = resolver.finish()?;
    let others = findings.accesses(ctx).into_iter().filter(|a| a.resource.kind != ResourceKind::Catalog);
    accesses.extend(others);
    accesses.sort();
    accesses.dedup();
    if accesses.is_empty() {
        accesses.push(crate::resolve::access(Verb::Administer, ResourceKind::Object, Vec::new()));
    }
    Ok(Judged {
        action: action.to_owned(),
        accesses,
        ceiling: Strictness::RequireApproval,
        effect,
        findings,
        tree: None,
        checked_params: Vec::new(),
        scrub: true,
    })
}

/// One node of a DDL statement.
fn object(
    resolver: &mut Resolver<'_>,
    node: Node<'_>,
    parent: Node<'_>,
    field: &str,
    moves: bool,
    accesses: &mut Vec<Access>,
) -> Result<(), Refused> {
    match node {
        Node::RangeVar(range) => {
            if matches!((parent, field), (Node::CreateStmt(_), "relation") | (Node::CreateSeqStmt(_), "sequence")) {
                accesses.push(new_relation(resolver, range)?);
                return Ok(());
            }
            let Named::Relation(relation) = resolver.relation(range)? else {
                return Err(Refused::new("a change of a system catalog"));
            };
            // A change of a parent is one of its children.
            let masked = std::iter::once(relation.oid)
                .chain(resolver.ctx.catalog.family(relation.oid))
                .any(|oid| resolver.ctx.masks.relation(oid).is_some());
            if masked
                && (moves
                    || matches!(
                        parent,
                        Node::CreateStmt(_)
                            | Node::TableLikeClause(_)
                            | Node::PartitionCmd(_)
                            // A foreign key tells which values exist.
                            | Node::Constraint(_)
                    ))
            {
                return Err(Refused::new(format!(
                    "a change of the shape of `{}`, which has masked columns",
                    relation.display()
                )));
            }
            resolver.out.hide_all |= masked;
            resolver.out.touched.insert(relation.oid);
            accesses.push(crate::resolve::access(
                Verb::Administer,
                ResourceKind::Relation,
                vec![relation.schema.clone(), relation.name.clone()],
            ));
        }
        Node::A_Const(constant) => {
            resolver.out.literals.push(Literal {
                location: constant.location,
                param: None,
                hidden: false,
                against: false,
            });
        }
        Node::FuncCall(call) => resolver.function(call, call.args().len())?,
        Node::TypeName(name) => {
            let serial = name.names().last_name().is_some_and(|n| matches!(n, "serial" | "bigserial" | "smallserial"));
            if !serial && !matches!(parent, Node::DropStmt(_) | Node::CommentStmt(_)) {
                resolver.type_name(name)?;
            }
        }
        Node::A_Expr(expr) => resolver.expr_operator(expr)?,
        // Either may be a call of a function that has no access of its own.
        Node::ColumnRef(column) if column.fields().len() > 1 => {
            return Err(
                Refused::new("a column with a name before it in this kind of statement").hint("write the column alone")
            );
        }
        Node::A_Indirection(steps) if !steps.indirection().iter().all(|s| matches!(s, Node::A_Indices(_))) => {
            return Err(Refused::new("an attribute of a value in this kind of statement"));
        }
        Node::CaseExpr(case) if !matches!(case.arg(), Node::None) => resolver.operator(&["="])?,
        Node::SelectStmt(_) | Node::SubLink(_) | Node::InsertStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_) => {
            return Err(Refused::new("a query inside of this kind of statement"));
        }
        // Constructs of newer grammars, and no expressions of queries either: an older server reads functions of users
        // and columns in their words.
        Node::JsonArrayAgg(_)
        | Node::JsonArrayConstructor(_)
        | Node::JsonArrayQueryConstructor(_)
        | Node::JsonFuncExpr(_)
        | Node::JsonIsPredicate(_)
        | Node::JsonObjectAgg(_)
        | Node::JsonObjectConstructor(_)
        | Node::JsonParseExpr(_)
        | Node::JsonScalarExpr(_)
        | Node::JsonSerializeExpr(_)
        | Node::JsonTable(_)
        | Node::MergeSupportFunc(_)
        | Node::XmlExpr(_)
        | Node::XmlSerialize(_) => {
            return Err(Refused::new(format!("{} in this kind of statement", crate::visit::name(node))));
        }
        Node::RoleSpec(_) => return Err(Refused::new("a role in this kind of statement")),
        _ => {}
    }
    Ok(())
}

trait LastName {
    fn last_name(&self) -> Option<&str>;
}

impl LastName for pg_raw_parse::list::CastNodeList<nodes::String> {
    fn last_name(&self) -> Option<&str> {
        self.iter().next_back().and_then(nodes::String::sval)
    }
}

/// The place of a relation that is about to be made.
fn new_relation(resolver: &mut Resolver<'_>, range: &nodes::RangeVar) -> Result<Access, Refused> {
    let temporary = i8::try_from(TEMPORARY).is_ok_and(|t| t == range.relpersistence);
    if temporary || range.catalogname().is_some() {
        return Err(Refused::new("a temporary relation"));
    }
    let first = || resolver.ctx.catalog.search_path.first().cloned();
    let schema = range.schemaname().map(str::to_owned).or_else(first).unwrap_or_default();
    if schema.is_empty() || is_system_schema(&schema) {
        return Err(Refused::new("a new relation in a system schema or in none"));
    }
    let name = range.relname().unwrap_or_default().to_owned();
    resolver.edit_range(range, RangeEdit::Qualify { schema: schema.clone() })?;
    Ok(crate::resolve::access(Verb::Administer, ResourceKind::Relation, vec![schema, name]))
}

/// A relation made of a query: nothing masked may be in it, since the copy would carry no mask.
fn stored(
    _parsed: &Parsed,
    range: Option<&nodes::RangeVar>,
    query: Node<'_>,
    action: &str,
    replaces: bool,
    ctx: &Context<'_>,
) -> Result<Judged, Refused> {
    let range = range.ok_or_else(|| Refused::new("a new relation without a name"))?;
    let Node::SelectStmt(select) = query else {
        return Err(Refused::new(format!("{action} of something that is not a SELECT")));
    };
    let access = new_relation(&mut Resolver::new(ctx), range)?;
    if let [schema, name] = access.resource.path.as_slice()
        && let Some(old) = ctx.catalog.find(schema, name)
    {
        if !replaces || old.kind != RelationKind::View {
            not_taken(&access.resource.path, ctx)?;
        }
        replaceable(old, ctx)?;
    }
    let resolver = Resolver::walked(ctx, |resolver| {
        new_relation(resolver, range)?;
        resolver.select(select, None, &Ctes::default(), Level::Inner).map(drop)
    })?;
    if resolver.out.substituted.iter().any(|oid| ctx.masks.relation(*oid).is_some()) {
        return Err(Refused::new(format!("{action} over a relation with masked columns")));
    }
    administer(resolver, action, vec![access], Effect::ChangesCatalog, ctx)
}

/// What a view shows stays where it was stored, and what closes or governs it there goes by what the view reads now.
fn replaceable(view: &Relation, ctx: &Context<'_>) -> Result<(), Refused> {
    let refused = |why: &str| Err(Refused::new(format!("another query for the view `{}`, {why}", view.display())));
    let masks = ctx.masks;
    let made_of = |relation: &Relation| {
        relation.oid != view.oid && ctx.catalog.closure(relation.oid, |r| &r.depends_on).contains(&view.oid)
    };
    let holds = |rows: &std::collections::BTreeSet<crate::catalog::Oid>| rows.contains(&view.oid);
    if masks.relation(view.oid).is_some() || masks.denied(view.oid).is_some() {
        refused("which may show masked columns")
    } else if ctx.catalog.relations.values().any(made_of) || ctx.catalog.row_types.values().any(holds) {
        refused("of which others are made")
    } else {
        Ok(())
    }
}

/// `SELECT ... INTO t`.
pub(super) fn select_into(
    _parsed: &Parsed,
    _select: &nodes::SelectStmt,
    _ctx: &Context<'_>,
) -> Result<Judged, Refused> {
    Err(Refused::new("SELECT INTO").hint("use CREATE TABLE AS"))
}

fn call(call: &nodes::CallStmt, ctx: &Context<'_>) -> Result<Judged, Refused> {
    let function = call.funccall().ok_or_else(|| Refused::new("CALL without a procedure"))?;
    let walk = |resolver: &mut Resolver<'_>| resolver.expr(Node::FuncCall(function), &Env::default()).map(drop);
    let resolver = Resolver::walked(ctx, walk)?;
    if !resolver.out.user_code {
        return Err(Refused::new("CALL of something that is not a procedure of a user"));
    }
    let findings = resolver.finish()?;
    Ok(Judged {
        action: "CALL".to_owned(),
        accesses: findings.accesses(ctx),
        ceiling: Strictness::RequireApproval,
        effect: Effect::ChangesCatalog,
        findings,
        tree: None,
        checked_params: Vec::new(),
        scrub: true,
    })
}

/// Code that runs now or later, unseen.
fn code(root: Node<'_>, action: &str, ctx: &Context<'_>) -> Result<Judged, Refused> {
    if ctx.masks.any() {
        return Err(Refused::new(format!("{action} where columns are masked: its code could read them")));
    }
    if matches!(root, Node::DoStmt(_)) {
        let access = crate::resolve::access(Verb::Execute, ResourceKind::Code, Vec::new());
        let judged = Judged::simple(action, vec![access], Effect::ChangesCatalog);
        return Ok(Judged { ceiling: Strictness::RequireApproval, ..judged });
    }
    let mut resolver = Resolver::new(ctx);
    let mut accesses = vec![crate::resolve::access(Verb::Execute, ResourceKind::Code, Vec::new())];
    walk(root, &ctx.limits, |visit| {
        if let Node::RangeVar(range) = visit.node {
            match resolver.relation(range)? {
                Named::Relation(relation) if relation.kind != RelationKind::Sequence => {
                    accesses.push(crate::resolve::access(
                        Verb::Administer,
                        ResourceKind::Relation,
                        vec![relation.schema.clone(), relation.name.clone()],
                    ));
                }
                _ => return Err(Refused::new("code on something that is not a table or a view")),
            }
        }
        Ok(Next::Into)
    })?;
    let name = match root {
        Node::CreateFunctionStmt(function) => path_of(strings(function.funcname())?, Sort::New, &resolver)?,
        _ => Vec::new(),
    };
    accesses.push(crate::resolve::access(Verb::Administer, ResourceKind::Object, name));
    administer(resolver, action, accesses, Effect::ChangesCatalog, ctx)
}

/// Kinds that no rule can open, and kinds that are not known at all.
fn never(node: Node<'_>) -> Result<Judged, Refused> {
    let (action, kind) = match node {
        Node::GrantStmt(_) | Node::GrantRoleStmt(_) => ("GRANT", ResourceKind::Role),
        Node::CreateRoleStmt(_) | Node::AlterRoleStmt(_) | Node::AlterRoleSetStmt(_) | Node::DropRoleStmt(_) => {
            ("ROLE", ResourceKind::Role)
        }
        Node::AlterDefaultPrivilegesStmt(_)
        | Node::AlterOwnerStmt(_)
        | Node::ReassignOwnedStmt(_)
        | Node::DropOwnedStmt(_) => ("OWNER", ResourceKind::Role),
        Node::DiscardStmt(_) => ("DISCARD", ResourceKind::Setting),
        Node::AlterSystemStmt(_) | Node::AlterDatabaseSetStmt(_) => ("ALTER SYSTEM", ResourceKind::Setting),
        other => return Err(unknown(other)),
    };
    let judged = Judged::simple(action, vec![crate::resolve::access(Verb::Administer, kind, Vec::new())], Effect::None);
    Ok(Judged { ceiling: Strictness::Deny, ..judged })
}
