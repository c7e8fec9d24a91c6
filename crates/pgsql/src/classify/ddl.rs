//! Statements that change the catalog or run code that cannot be looked into.
//!
//! All need an approval at least. Refused: temporary objects; copies of masked data (CREATE TABLE AS, SELECT INTO,
//! views) and foreign keys to it; ALTER TABLE and RENAME of a relation with masks, which could move a column away from
//! its mask; and code (DO, functions, triggers, rules, policies, and calls of functions of users) and new names of
//! schemas wherever any mask exists, since it escapes every later check. Rights, roles,
//! extensions and the server's own settings are a DBA's work: ceiling Deny.

use pg_raw_parse::raw::{DropBehavior, ObjectType};
use pg_raw_parse::{Node, nodes};
use policy::operation::{Access, ResourceKind, Strictness, Verb};

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

/// Everything that DROP ... CASCADE of relations takes with them, or changes.
fn dropped_with(drop: &nodes::DropStmt, named: &[Access], ctx: &Context<'_>) -> Result<Vec<Access>, Refused> {
    if !matches!(drop.remove_type, ObjectType::OBJECT_TABLE | ObjectType::OBJECT_VIEW | ObjectType::OBJECT_MATVIEW) {
        return Err(Refused::new("DROP ... CASCADE of something that is not a table or a view")
            .hint("drop what depends on it first, one by one"));
    }
    let found = named.iter().filter_map(|access| match access.resource.path.as_slice() {
        [schema, name] => ctx.catalog.find(schema, name),
        _ => None,
    });
    Ok(crate::resolve::dropped(ctx.catalog, &found.map(|relation| relation.oid).collect()))
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

/// What a statement names by lists of strings; these go to the server as they are, under the pinned search path.
fn named_objects(root: Node<'_>, resolver: &mut Resolver<'_>) -> Result<Vec<Access>, Refused> {
    let mut out = Vec::new();
    let object = |path: Vec<String>| crate::resolve::access(Verb::Administer, ResourceKind::Object, path);
    match root {
        Node::DropStmt(drop) => {
            if !matches!(
                drop.remove_type,
                ObjectType::OBJECT_TABLE
                    | ObjectType::OBJECT_VIEW
                    | ObjectType::OBJECT_MATVIEW
                    | ObjectType::OBJECT_INDEX
                    | ObjectType::OBJECT_SEQUENCE
                    | ObjectType::OBJECT_SCHEMA
                    | ObjectType::OBJECT_TYPE
                    | ObjectType::OBJECT_FUNCTION
                    | ObjectType::OBJECT_PROCEDURE
                    | ObjectType::OBJECT_TRIGGER
            ) {
                return Err(Refused::new("DROP of this kind of object"));
            }
            for node in drop.objects() {
                out.push(named(node, Sort::of(drop.remove_type), resolver)?);
            }
        }
        Node::CommentStmt(comment) => out.push(named(comment.object(), Sort::of(comment.objtype), resolver)?),
        Node::RenameStmt(rename) if rename.rename_type == ObjectType::OBJECT_SCHEMA => {
            // Masks name columns with their schema.
            if resolver.ctx.masks.any() {
                return Err(Refused::new("ALTER SCHEMA RENAME where columns are masked"));
            }
            let name = rename.subname().unwrap_or_default();
            if is_system_schema(name) {
                return Err(Refused::new("a change of a system schema"));
            }
            out.push(object(vec![name.to_owned()]));
        }
        Node::RenameStmt(rename) if !matches!(rename.object(), Node::None) => {
            let old = named(rename.object(), Sort::of(rename.rename_type), resolver)?;
            // Masks name the columns of a type by its name, too.
            let composite = |name: &String| resolver.ctx.catalog.composites.values().any(|c| c.name == *name);
            if resolver.ctx.masks.any() && old.resource.path.last().is_some_and(composite) {
                return Err(Refused::new("a new name for a type that holds columns, where columns are masked"));
            }
            let code = [ObjectType::OBJECT_FUNCTION, ObjectType::OBJECT_PROCEDURE, ObjectType::OBJECT_ROUTINE];
            if resolver.ctx.masks.any() && code.contains(&rename.rename_type) {
                return Err(Refused::new("a new name for code where columns are masked: its code could read them"));
            }
            let mut path = old.resource.path.clone();
            if let Some(name) = path.last_mut() {
                *name = rename.newname().unwrap_or_default().to_owned();
            }
            out.push(old);
            out.push(object(path));
        }
        Node::RenameStmt(rename) if Sort::of(rename.rename_type) == Sort::Relation => {
            out.extend(renamed(rename, resolver)?);
        }
        Node::CreateSchemaStmt(schema) => {
            if !schema.schema_elts().is_empty() || schema.authrole().is_some() {
                return Err(Refused::new("CREATE SCHEMA with an owner or with objects"));
            }
            out.push(object(vec![schema.schemaname().unwrap_or_default().to_owned()]));
        }
        Node::CreateEnumStmt(stmt) => {
            let names = stmt.type_name().iter().filter_map(nodes::String::sval).collect();
            out.push(object(path_of(names, Sort::New, resolver)?));
        }
        Node::AlterEnumStmt(stmt) => {
            let names = stmt.type_name().iter().filter_map(nodes::String::sval).collect();
            out.push(object(path_of(names, Sort::Other, resolver)?));
        }
        Node::ReindexStmt(stmt) if stmt.relation().is_none() => {
            return Err(Refused::new("REINDEX of more than one relation"));
        }
        Node::VacuumStmt(stmt) if stmt.rels().is_empty() => {
            return Err(Refused::new("VACUUM or ANALYZE of everything"));
        }
        _ => {}
    }
    Ok(out)
}

/// What kind of thing a name means, which says where the server looks for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Relation,
    /// A column, constraint, trigger, rule or policy: its relation's name with its own behind it.
    Part,
    /// A type, a function, an index and the like, which the catalog does not tell apart by schema.
    Other,
    /// About to be made: in the first schema that is searched.
    New,
}

impl Sort {
    fn of(kind: ObjectType::Type) -> Self {
        match kind {
            ObjectType::OBJECT_TABLE
            | ObjectType::OBJECT_VIEW
            | ObjectType::OBJECT_MATVIEW
            | ObjectType::OBJECT_SEQUENCE
            | ObjectType::OBJECT_FOREIGN_TABLE => Self::Relation,
            ObjectType::OBJECT_COLUMN
            | ObjectType::OBJECT_TABCONSTRAINT
            | ObjectType::OBJECT_TRIGGER
            | ObjectType::OBJECT_RULE
            | ObjectType::OBJECT_POLICY => Self::Part,
            _ => Self::Other,
        }
    }
}

/// The access to what is named; a part is one to its relation.
fn named(node: Node<'_>, sort: Sort, resolver: &Resolver<'_>) -> Result<Access, Refused> {
    let object = |path| crate::resolve::access(Verb::Administer, ResourceKind::Object, path);
    Ok(object(match node {
        Node::NodeList(list) if sort == Sort::Part => {
            let mut names = strings(list)?;
            names.pop();
            let path = path_of(names, Sort::Relation, resolver)?;
            if path.len() != 2 {
                return Err(Refused::new("a part of something that is not a table or a view"));
            }
            return Ok(crate::resolve::access(Verb::Administer, ResourceKind::Relation, path));
        }
        Node::NodeList(list) => path_of(strings(list)?, sort, resolver)?,
        Node::String(name) => vec![name.sval().unwrap_or_default().to_owned()],
        Node::TypeName(name) => path_of(name.names().iter().filter_map(nodes::String::sval).collect(), sort, resolver)?,
        Node::ObjectWithArgs(object) => path_of(strings(object.objname())?, sort, resolver)?,
        _ => return Err(Refused::new("an object of an unknown form")),
    }))
}

/// The new name of a relation, which is judged as the old one is: it must not be another's, whose rules would count for it.
fn renamed(rename: &nodes::RenameStmt, resolver: &mut Resolver<'_>) -> Result<Option<Access>, Refused> {
    let Some(range) = rename.relation() else { return Ok(None) };
    let Named::Relation(relation) = resolver.relation(range)? else {
        return Err(Refused::new("a change of a system catalog"));
    };
    let path = vec![relation.schema.clone(), rename.newname().unwrap_or_default().to_owned()];
    not_taken(&path, resolver.ctx)?;
    Ok(Some(crate::resolve::access(Verb::Administer, ResourceKind::Relation, path)))
}

/// What is judged by a name must not be something else under it: behind a DROP in the same transaction it could be.
fn not_taken(path: &[String], ctx: &Context<'_>) -> Result<(), Refused> {
    let [schema, name] = path else { return Ok(()) };
    match ctx.catalog.find(schema, name) {
        None => Ok(()),
        Some(taken) => Err(Refused::new(format!("a name that `{}` has", taken.display()))
            .hint("use another name, or drop the old one in a transaction before")),
    }
}

/// `[schema, name]`.
fn path_of(names: Vec<&str>, sort: Sort, resolver: &Resolver<'_>) -> Result<Vec<String>, Refused> {
    if let [schema, _, ..] = names.as_slice()
        && is_system_schema(schema)
    {
        return Err(Refused::new("a change of a system schema"));
    }
    let schema = match names.as_slice() {
        [name] => {
            let known = resolver.ctx.catalog.find_in_path(name).filter(|_| sort == Sort::Relation);
            match (known, resolver.ctx.catalog.search_path.as_slice()) {
                (Some(relation), _) => Some(relation.schema.clone()),
                (None, [_, _, ..]) if sort != Sort::New => {
                    return Err(Refused::new(format!("`{name}` without its schema, where more than one is searched"))
                        .hint(format!("write its schema before it, such as public.{name}")));
                }
                (None, path) => path.first().cloned(),
            }
        }
        _ => None,
    };
    Ok(schema.into_iter().chain(names.into_iter().map(str::to_owned)).collect())
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
