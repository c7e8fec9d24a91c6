//! Which words and names of a rule mean exactly one access that was seen.
//!
//! Refused: names that a rule cannot write, or would read as a pattern; and what no rule can narrow to what was seen.

use crds::limits;
use crds::policy::PostgresVerb;
use policy::decide::session_allows;
use policy::operation::{Access, Fields, ResourceKind, Verb};

use crate::screen::block;

/// How a rule says an access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It needs no rule.
    Session,
    Rule(Name),
}

/// Verb and `schema.relation` or `schema.function(types)`, without its columns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) verb: PostgresVerb,
    pub(super) path: String,
}

impl Name {
    /// Never by an Allow rule.
    pub(super) fn takes_a_person(&self) -> bool {
        matches!(self.verb, PostgresVerb::CopyFrom | PostgresVerb::Call | PostgresVerb::Ddl)
    }

    pub(super) fn is_function(&self) -> bool {
        self.verb == PostgresVerb::Call
    }

    /// Rows are deleted, and objects changed, with all their columns.
    pub(super) fn has_columns(&self) -> bool {
        !matches!(self.verb, PostgresVerb::Delete | PostgresVerb::Call | PostgresVerb::Ddl)
    }
}

/// # Errors
/// Why no rule can say it.
pub(super) fn said(access: &Access) -> Result<Said, String> {
    use {PostgresVerb as P, ResourceKind as K, Verb as V};
    let resource = &access.resource;
    let verb = match (access.verb, resource.kind) {
        (verb, kind) if session_allows(verb, kind) => return Ok(Said::Session),
        (V::Read, K::Relation) => P::Select,
        (V::Create, K::Relation) => P::Insert,
        (V::Update, K::Relation) => P::Update,
        (V::Delete, K::Relation) => P::Delete,
        (V::Create, K::RelationStream) => P::CopyFrom,
        (V::Administer, K::Relation | K::Object) => P::Ddl,
        (V::Execute, K::Function) => P::Call,
        (V::Execute, K::Channel) => {
            return Err("rules cannot name channels: a rule with the verb Listen or Notify would allow each of them; \
                        write it if that is meant"
                .to_owned());
        }
        (V::Execute, K::Code) => {
            return Err("code cannot be looked into: a RequireApproval rule with the verb Do would ask for each; \
                        write it if that is meant"
                .to_owned());
        }
        (_, K::Program | K::Setting | K::Role) => return Err("no rule can allow this kind of operation".to_owned()),
        _ => return Err("there is no verb for it in this protocol's rules".to_owned()),
    };
    let [schema, name] = resource.path.as_slice() else {
        return Err("it is not known by schema and name, so that a rule would have to cover everything".to_owned());
    };
    let exact =
        if verb == P::Call { is_segment(schema) && is_signature(name) } else { is_segment(schema) && is_segment(name) };
    if !exact {
        return Err(format!("a rule cannot write the name `{}` exactly", shown(&resource.path.join("."))));
    }
    if let Fields::Named(columns) = &resource.fields {
        if let Some(column) = columns.iter().find(|column| !is_segment(column)) {
            return Err(format!("a rule cannot write the column name `{}` exactly", shown(column)));
        }
        if columns.len() > limits::RESOURCES && verb != P::Delete {
            let (n, most) = (columns.len(), limits::RESOURCES);
            return Err(format!("it touches {n} columns of {}, and a rule can name {most}", shown(name)));
        }
    }
    Ok(Said::Rule(Name { verb, path: format!("{schema}.{name}") }))
}

fn shown(name: &str) -> String {
    block(name).replace(['\n', '\t', '`'], " ")
}

/// One part of a name that a rule takes as it stands: no `*`, no dot, nothing that cannot be seen.
fn is_segment(text: &str) -> bool {
    let clean = !text.chars().any(|c| matches!(c, '.' | '*') || c.is_control());
    clean && !text.is_empty() && text.chars().count() <= 63 && block(text) == text
}

fn is_signature(text: &str) -> bool {
    let Some((name, types)) = text.split_once('(').and_then(|(name, rest)| Some((name, rest.strip_suffix(')')?)))
    else {
        return false;
    };
    let types_ok =
        !types.chars().any(|c| matches!(c, '(' | ')' | '*') || c.is_control()) && types.chars().count() <= 382;
    is_segment(name) && !name.contains(')') && types_ok && block(text) == text
}

#[cfg(test)]
mod tests {
    use policy::operation::Resource;

    use super::*;

    fn access(verb: Verb, kind: ResourceKind, path: &[&str], columns: &[&str]) -> Access {
        let path = path.iter().map(|p| (*p).to_owned()).collect();
        let fields = Fields::Named(columns.iter().map(|c| (*c).to_owned()).collect());
        Access { verb, resource: Resource { kind, path, fields }, bounded: None, indirect: false }
    }

    #[test]
    fn names_that_a_rule_would_read_otherwise_are_refused() {
        let read = |path: &[&str], columns: &[&str]| said(&access(Verb::Read, ResourceKind::Relation, path, columns));
        assert!(matches!(read(&["public", "orders"], &["id"]), Ok(Said::Rule(name)) if name.path == "public.orders"));
        assert!(read(&["public", "Straße 7"], &[]).is_ok());
        let sixty_five: Vec<String> = (0..65).map(|n| format!("c{n}")).collect();
        let many: Vec<&str> = sixty_five.iter().map(String::as_str).collect();
        for (path, columns) in [
            (&["public", "a.b"][..], &[][..]),
            (&["public", "a*"], &[]),
            (&["pub*", "a"], &[]),
            (&["public", ""], &[]),
            (&["public", "a\u{202e}b"], &[]),
            (&["a"], &[]),
            (&["public", "a"], &["x*"]),
            (&["public", "a"], &["x.y"]),
            (&["public", "a"], &many),
        ] {
            assert!(read(path, columns).is_err(), "{path:?} {columns:?}");
        }
    }

    #[test]
    fn what_no_rule_narrows_is_refused() {
        use {ResourceKind as K, Verb as V};
        for (verb, kind, path) in [
            (V::Execute, K::Channel, &["jobs"][..]),
            (V::Execute, K::Code, &[]),
            (V::Execute, K::Program, &[]),
            (V::Administer, K::Setting, &["work_mem"]),
            (V::Administer, K::Role, &[]),
            (V::Execute, K::Function, &["public", "f(numeric(1))"]),
            (V::Execute, K::Function, &["public", "*(integer)"]),
            (V::Execute, K::Function, &["public", "f"]),
        ] {
            assert!(said(&access(verb, kind, path, &[])).is_err(), "{verb:?} {kind:?} {path:?}");
        }
        assert_eq!(said(&access(V::Execute, K::Transaction, &[], &[])), Ok(Said::Session));
        let call = said(&access(V::Execute, K::Function, &["public", "f(integer, text)"], &[]));
        assert!(matches!(call, Ok(Said::Rule(name)) if name.path == "public.f(integer, text)"));
    }
}
