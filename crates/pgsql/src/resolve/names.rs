//! Names of relations, functions, operators and types.

use pg_raw_parse::{Node, nodes};

use super::scope::{Ctes, Output};
use super::{RangeEdit, Resolver};
use crate::builtin::{self, BuiltinType};
use crate::catalog::{Function, Relation};
use crate::functions::{Builtin, builtin};
use crate::refused::Refused;
use crate::settings;

use std::rc::Rc;

/// What a `RangeVar` means.
pub(crate) enum Named<'c> {
    Cte(Rc<Output>),
    Catalog(String, String),
    Relation(&'c Relation),
}

/// The strings of a list of names.
pub(crate) fn strings<'a>(nodes: impl IntoIterator<Item = Node<'a>>) -> Result<Vec<&'a str>, Refused> {
    nodes
        .into_iter()
        .map(|n| n.as_str().ok_or_else(|| Refused::new("a name that is not made of identifiers")))
        .collect()
}

fn no_relation(name: &str) -> Refused {
    Refused::new(format!("relation `{name}` does not exist or is not visible to this role"))
        .code(crate::refused::Code::UndefinedRelation)
}

impl<'c> Resolver<'c> {
    /// A name in a FROM clause; in scope and without schema, a common table expression comes first.
    pub(crate) fn range(&mut self, range: &nodes::RangeVar, ctes: &Ctes) -> Result<Named<'c>, Refused> {
        if let (None, None, Some(name)) = (range.catalogname(), range.schemaname(), range.relname())
            && let Some(output) = ctes.find(name)
        {
            self.edit_range(range, RangeEdit::Keep)?;
            return Ok(Named::Cte(output));
        }
        self.relation(range)
    }

    /// A name that is never a common table expression: the target of a change.
    pub(crate) fn relation(&mut self, range: &nodes::RangeVar) -> Result<Named<'c>, Refused> {
        let name = range.relname().ok_or_else(|| Refused::new("a relation without a name"))?;
        if range.catalogname().is_some() {
            return Err(Refused::new("a relation with the name of a database before it"));
        }
        if range.relpersistence != i8::try_from(b'p').unwrap_or_default() && range.relpersistence != 0 {
            return Err(Refused::new("a temporary or unlogged relation"));
        }
        let relation = match range.schemaname() {
            Some(schema) if builtin::is_system_schema(schema) => return self.catalog(range, schema, name),
            Some(schema) => {
                self.ctx.catalog.find(schema, name).ok_or_else(|| no_relation(&format!("{schema}.{name}")))?
            }
            None if builtin::is_catalog_name(name) => return self.catalog(range, "pg_catalog", name),
            None => self.ctx.catalog.find_in_path(name).ok_or_else(|| no_relation(name))?,
        };
        self.usable(relation)?;
        self.edit_range(range, RangeEdit::Qualify { schema: relation.schema.clone() })?;
        Ok(Named::Relation(relation))
    }

    pub(crate) fn usable(&self, relation: &Relation) -> Result<(), Refused> {
        if relation.temporary {
            return Err(Refused::new(format!("relation `{}` is temporary", relation.display())));
        }
        if let Some(why) = self.ctx.masks.denied(relation.oid) {
            return Err(Refused::new(format!("relation `{}` is closed: {why}", relation.display()))
                .hint("read the tables themselves, or ask for a correction of the mask policy"));
        }
        Ok(())
    }

    fn catalog(&mut self, range: &nodes::RangeVar, schema: &str, name: &str) -> Result<Named<'c>, Refused> {
        if !builtin::readable(schema, name) {
            return Err(Refused::new(format!("system catalog `{schema}.{name}` is not on the list of readable ones")));
        }
        self.edit_range(range, RangeEdit::Qualify { schema: schema.to_owned() })?;
        Ok(Named::Catalog(schema.to_owned(), name.to_owned()))
    }

    pub(crate) fn edit_range(&mut self, range: &nodes::RangeVar, edit: RangeEdit) -> Result<(), Refused> {
        if range.location < 0 {
            return Err(Refused::new("a relation without a place in the text"));
        }
        // One shared node may be walked again, with the same result; a template follows on its qualification.
        let same = match (self.out.edits.ranges.get(&range.location), &edit) {
            (None | Some(RangeEdit::Template { .. }), RangeEdit::Qualify { .. })
            | (Some(RangeEdit::Qualify { .. }), RangeEdit::Template { .. })
            | (None, _) => true,
            (Some(old), new) => old == new,
        };
        if !same {
            return Err(Refused::new("two relations at one place of the text"));
        }
        self.out.edits.ranges.insert(range.location, edit);
        Ok(())
    }

    /// A function that is called with `arguments` arguments.
    pub(crate) fn function(&mut self, call: &nodes::FuncCall, arguments: usize) -> Result<(), Refused> {
        let names = strings(call.funcname())?;
        let (schema, name) = match names.as_slice() {
            [name] => (None, *name),
            [schema, name] => (Some(*schema), *name),
            _ => return Err(Refused::new("a function with the name of a database before it")),
        };
        if matches!(schema, None | Some("pg_catalog")) && self.special(call, name)? {
            self.qualify_function(call, schema, "pg_catalog");
            return Ok(());
        }
        if matches!(schema, None | Some("pg_catalog"))
            && let Some(kind) = builtin(name, self.ctx.catalog.version)
        {
            if kind == Builtin::CatalogOnly {
                self.needs_catalogs_only(format!("function `{name}`"));
            }
            self.qualify_function(call, schema, "pg_catalog");
            return Ok(());
        }
        if schema == Some("information_schema")
            && builtin(name, self.ctx.catalog.version) == Some(Builtin::CatalogOnly)
            && name.starts_with("_pg")
        {
            self.needs_catalogs_only(format!("function `{name}`"));
            return Ok(());
        }
        if schema.is_some_and(builtin::is_system_schema) {
            return Err(Refused::new(format!("function `{name}` is not on the list of built-in functions")));
        }
        self.user_function(call, schema, name, arguments)
    }

    /// Names that are not on the list but pass under conditions of their own.
    fn special(&mut self, call: &nodes::FuncCall, name: &str) -> Result<bool, Refused> {
        match name {
            "current_setting" => match call.args().first() {
                Some(Node::A_Const(c)) if constant_text(c).is_some_and(|s| settings::readable_within(&s)) => Ok(true),
                _ => Err(Refused::new("current_setting with a name that is not a literal on the list of settings")),
            },
            _ => Ok(false),
        }
    }

    fn qualify_function(&mut self, call: &nodes::FuncCall, given: Option<&str>, schema: &str) {
        if given.is_none() {
            self.out.edits.functions.insert(call.location, schema.to_owned());
        }
    }

    fn user_function(
        &mut self,
        call: &nodes::FuncCall,
        schema: Option<&str>,
        name: &str,
        arguments: usize,
    ) -> Result<(), Refused> {
        let takes = |f: &&Function| {
            let most = f.arguments.len();
            let least = most.saturating_sub(usize::from(f.defaults)).saturating_sub(usize::from(f.variadic));
            arguments >= least && (f.variadic || arguments <= most)
        };
        let found: Vec<&Function> = self.ctx.catalog.functions_named(schema, name).filter(takes).collect();
        let Some(first) = found.first() else {
            return Err(Refused::new(format!(
                "function `{name}` is not on the list of built-in functions and no function of a user"
            ))
            .hint("use another built-in function, or write the schema of a function of your own"));
        };
        if found.iter().any(|f| f.schema != first.schema) {
            return Err(Refused::new(format!("function `{name}` exists in several schemas")).hint("write its schema"));
        }
        // Which overload runs depends on types: all of them have to be allowed.
        let signatures: Vec<(String, String)> = found.iter().map(|f| (f.schema.clone(), f.signature())).collect();
        self.qualify_function(call, schema, &first.schema.clone());
        for (schema, signature) in signatures {
            self.call(&schema, signature);
        }
        Ok(())
    }

    /// An operator by its bare or qualified name.
    pub(crate) fn operator(&mut self, names: &[&str]) -> Result<(), Refused> {
        let (schema, name) = match names {
            [name] => (None, *name),
            [schema, name] => (Some(*schema), *name),
            _ => return Err(Refused::new("an operator with the name of a database before it")),
        };
        match schema {
            Some("pg_catalog") => return Ok(()),
            Some(schema) if builtin::is_system_schema(schema) => {
                return Err(Refused::new("an operator of a system schema"));
            }
            _ => {}
        }
        let catalog = self.ctx.catalog;
        let foreign = catalog.operators.iter().any(|o| {
            o.name == name
                && schema.map_or_else(|| catalog.search_path.contains(&o.schema), |s| o.schema == s)
                && !builtin::known_extension(o.extension.as_deref())
        });
        if foreign {
            return Err(Refused::new(format!("operator `{name}` of a user")).hint("write OPERATOR(pg_catalog.name)"));
        }
        Ok(())
    }

    /// A type in a cast or a column definition.
    pub(crate) fn type_name(&mut self, name: &nodes::TypeName) -> Result<(), Refused> {
        if name.pct_type || name.setof {
            return Err(Refused::new("a type taken from a column"));
        }
        let mut names = Vec::new();
        for part in name.names() {
            names.push(part.sval().ok_or_else(|| Refused::new("a type without a name"))?);
        }
        let (schema, base) = match names.as_slice() {
            [base] => (None, *base),
            [schema, base] => (Some(*schema), *base),
            _ => return Err(Refused::new("a type with the name of a database before it")),
        };
        for node in name.typmods() {
            if !matches!(node, Node::A_Const(_)) {
                return Err(Refused::new("a type modifier that is not a constant"));
            }
        }
        if matches!(schema, None | Some("pg_catalog")) {
            match builtin::builtin_type(base) {
                Some(BuiltinType::Plain) => return Ok(()),
                Some(BuiltinType::Reg) => {
                    self.needs_catalogs_only(format!("type `{base}`"));
                    return Ok(());
                }
                None => {}
            }
        }
        if schema == Some("information_schema") {
            self.needs_catalogs_only(format!("type `{base}`"));
            return Ok(());
        }
        let catalog = self.ctx.catalog;
        let found = match schema {
            Some(schema) => catalog.types.iter().find(|t| t.schema == schema && t.name == base),
            None => catalog
                .search_path
                .iter()
                .find_map(|schema| catalog.types.iter().find(|t| t.schema == *schema && t.name == base)),
        };
        let Some(found) = found else {
            return Err(Refused::new(format!("type `{base}` is not on the list of types and no type of a user")));
        };
        if found.kind != "e" && !builtin::known_extension(found.extension.as_deref()) {
            return Err(Refused::new(format!("type `{base}` is neither built in nor an enum")));
        }
        if catalog.user_cast_types().iter().any(|t| t.schema == found.schema && t.name == found.name) {
            return Err(Refused::new(format!("type `{base}` has a user cast: a cast that runs a function of a user")));
        }
        if schema.is_none() {
            self.out.edits.types.insert(name.location, found.schema.clone());
        }
        Ok(())
    }
}

/// The text of a string constant.
pub(crate) fn constant_text(constant: &nodes::A_Const) -> Option<String> {
    match constant.val() {
        Some(pg_raw_parse::ConstValue::String(s)) => Some(s.to_owned()),
        _ => None,
    }
}
