//! What a change of the schema names by lists of strings, and where the server looks for it.
//!
//! Refused: kinds of objects without a row here, names that the server may find elsewhere than we do, a new name that is taken,
//! and new names that would take something away from what masks it.

use pg_raw_parse::raw::ObjectType;
use pg_raw_parse::{Node, nodes};
use policy::operation::{Access, ResourceKind, Verb};

use crate::builtin::is_system_schema;
use crate::plan::Context;
use crate::refused::Refused;
use crate::resolve::Resolver;
use crate::resolve::names::{Named, strings};

/// What a statement names by lists of strings; these go to the server as they are, under the pinned search path.
pub(super) fn named_objects(root: Node<'_>, resolver: &mut Resolver<'_>) -> Result<Vec<Access>, Refused> {
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
pub(super) enum Sort {
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
pub(super) fn not_taken(path: &[String], ctx: &Context<'_>) -> Result<(), Refused> {
    let [schema, name] = path else { return Ok(()) };
    match ctx.catalog.find(schema, name) {
        None => Ok(()),
        Some(taken) => Err(Refused::new(format!("a name that `{}` has", taken.display()))
            .hint("use another name, or drop the old one in a transaction before")),
    }
}

/// `[schema, name]`.
pub(super) fn path_of(names: Vec<&str>, sort: Sort, resolver: &Resolver<'_>) -> Result<Vec<String>, Refused> {
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

/// Everything that DROP ... CASCADE of relations takes with them, or changes.
pub(super) fn dropped_with(
    drop: &nodes::DropStmt,
    named: &[Access],
    ctx: &Context<'_>,
) -> Result<Vec<Access>, Refused> {
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
