//! What is known of one database: relations, columns, dependencies, functions, operators and types.
//!
//! A `Catalog` is a value. The sidecar reads it over its own connection with the constant texts of [`SNAPSHOT`], the
//! command line loads one from disk. Invariant: what is not in it does not exist for us, so a statement that names it is
//! refused; nothing here is ever taken from the agent.
//!
//! Relations of `pg_catalog` and `information_schema` are not part of it: which of them may be read is a fixed list
//! (`builtin`).

mod rows;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::row_calls::{self, RowCall};
use crate::settings::TimeLimits;

pub use rows::{CatalogError, MAX_RELATIONS};
pub use snapshot::SNAPSHOT;

/// The object identifier of PostgreSQL, as in `RowDescription`.
pub type Oid = u32;

/// A snapshot of one database as one role sees it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Catalog {
    /// `server_version_num`, for example 150018.
    pub version: u32,
    pub database: String,
    pub role: String,
    /// The pinned search path in order, without `pg_catalog` (always first) and `pg_temp` (always last).
    pub search_path: Vec<String>,
    /// Settings of the role and the database: a session may make them shorter.
    #[serde(default)]
    pub time_limits: TimeLimits,
    pub relations: BTreeMap<Oid, Relation>,
    pub functions: Vec<Function>,
    /// Operators outside `pg_catalog`.
    pub operators: Vec<Operator>,
    /// Types outside `pg_catalog`, without row types and array types.
    pub types: Vec<UserType>,
    /// Casts between built-in types that run a function outside `pg_catalog`: nothing can be planned while one exists.
    pub foreign_casts: u32,
    /// Of types of columns: the relations and composite types whose rows a value can hold, at any depth.
    #[serde(default)]
    pub row_types: BTreeMap<Oid, BTreeSet<Oid>>,
    /// Composite types that are no relation's, by the OID that `row_types` gives.
    #[serde(default)]
    pub composites: BTreeMap<Oid, Composite>,
    #[serde(default)]
    user_cast_types: Vec<UserCastType>,
    /// Hash of the content above, in hex. Not cryptographic: a cache key and a part of what an approval binds to.
    #[serde(default)]
    pub revision: String,
    #[serde(skip)]
    names: BTreeMap<(String, String), Oid>,
    /// Of a relation: who has a foreign key to it, and which of its `references` that is.
    #[serde(skip)]
    referring: BTreeMap<Oid, Vec<(Oid, usize)>>,
    #[serde(skip)]
    row_calls: BTreeMap<String, RowCall>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    Table,
    Partitioned,
    View,
    Materialized,
    Foreign,
    Sequence,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Relation {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    pub kind: RelationKind,
    pub temporary: bool,
    /// A partition, in contrast to a child by inheritance.
    pub partition: bool,
    /// In order of `attnum`, without dropped and system columns.
    pub columns: Vec<Column>,
    /// Direct parents and children by inheritance or partitioning.
    pub parents: BTreeSet<Oid>,
    pub children: BTreeSet<Oid>,
    /// What the query of a view or a rule depends on, directly.
    pub depends_on: BTreeSet<Oid>,
    /// Other relations tied to this one by a foreign key in either direction.
    pub foreign_keys: BTreeSet<Oid>,
    /// It has a trigger of a user.
    pub triggers: bool,
    /// It has a rewrite rule other than a view's own.
    pub rules: bool,
    /// It has policies, or its constraints, defaults, indexes or types run functions or operators of users.
    #[serde(default)]
    pub code: bool,
    /// What of it calls functions or operators of users: what those read is not known.
    #[serde(default)]
    pub runs: BTreeSet<Runs>,
    /// The columns of each unique index and exclusion constraint, those of expressions and predicates included.
    #[serde(default)]
    pub uniques: BTreeSet<BTreeSet<i16>>,
    #[serde(default)]
    pub checks: BTreeSet<Check>,
    /// The foreign keys of this relation.
    #[serde(default)]
    pub references: Vec<Reference>,
}

/// When functions and operators of users run by themselves.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Runs {
    /// In a rewrite rule, a view's own included.
    Rule,
    /// When a row is written: in a check, an index, a partition key, a generated column, a domain.
    Write,
    /// When a column gets its default.
    Default,
}

/// What one expression uses that the server computes or checks when a row is written.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check {
    /// Columns of the row; `None` is all.
    pub columns: Option<BTreeSet<i16>>,
    /// Columns of other relations; 0 is none or all.
    pub reads: BTreeSet<(Oid, i16)>,
    /// It looks at more rows than the one.
    pub rows: bool,
    /// It calls functions or operators of users.
    pub calls: bool,
}

/// A foreign key, seen from the relation that has it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub to: Oid,
    /// Pairs with `targets`.
    pub columns: Vec<i16>,
    pub targets: Vec<i16>,
    pub on_delete: Action,
    pub on_update: Action,
    /// What SET NULL and SET DEFAULT of `on_delete` write, if not all columns (PostgreSQL 15 and later).
    pub set_columns: Option<Vec<i16>>,
}

/// What a foreign key does by itself to the rows that refer to one that is deleted or gets another key.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    #[serde(rename = "a")]
    None,
    #[serde(rename = "r")]
    Restrict,
    #[serde(rename = "c")]
    Cascade,
    #[serde(rename = "n")]
    SetNull,
    #[serde(rename = "d")]
    SetDefault,
}

/// A type made with `CREATE TYPE name AS (...)`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Composite {
    pub schema: String,
    pub name: String,
    pub columns: Vec<String>,
}

/// A type with a cast from or to it that runs a function of a user, or a type that holds values of one.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct UserCastType {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub attnum: i16,
    pub name: String,
    pub type_oid: Oid,
    /// The type in SQL with its modifier, schema-qualified unless built in; of a domain: its base type, as the server
    /// reports it to clients.
    pub type_sql: String,
    /// The `typname` of the base type when that is built in, for example `varchar` or `_text`.
    pub builtin: Option<String>,
    pub not_null: bool,
    pub generated: bool,
    /// Of a generated column: the attribute numbers that its expression reads.
    #[serde(default)]
    pub computed_from: BTreeSet<i16>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub schema: String,
    pub name: String,
    /// Types of the input arguments, as `format_type` writes them.
    pub arguments: Vec<String>,
    /// How many of the last arguments have a default.
    pub defaults: u16,
    pub variadic: bool,
    /// `f` function, `p` procedure, `a` aggregate, `w` window function.
    pub kind: String,
    /// `i`, `s` or `v`.
    pub volatility: String,
    pub security_definer: bool,
    pub returns_set: bool,
    /// The language is `internal` or `c`.
    pub compiled: bool,
    pub extension: Option<String>,
}

impl Function {
    /// `name(type, type)`, as policies write it.
    pub fn signature(&self) -> String {
        format!("{}({})", self.name, self.arguments.join(", "))
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    pub schema: String,
    pub name: String,
    pub extension: Option<String>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct UserType {
    pub schema: String,
    pub name: String,
    /// `e` enum, `d` domain, `b` base, `c` composite, `r` range, `m` multirange.
    pub kind: String,
    /// A domain over a row type, over any number of domains.
    #[serde(default)]
    pub rows: bool,
    pub extension: Option<String>,
}

impl Catalog {
    /// Reads the rows that [`SNAPSHOT`] returned, one vector for each text, in the same order.
    ///
    /// # Errors
    /// A row that does not have the expected shape, a reference to nothing, or more relations than [`MAX_RELATIONS`].
    pub fn from_rows(rows: &[Vec<String>]) -> Result<Self, CatalogError> {
        rows::read(rows)
    }

    /// Reads a catalog that was saved as JSON.
    ///
    /// # Errors
    /// Text that is not such a catalog.
    pub fn from_json(text: &str) -> Result<Self, CatalogError> {
        let catalog: Self = serde_json::from_str(text).map_err(|source| CatalogError::Json { source })?;
        Ok(catalog.finish())
    }

    /// The form that [`Catalog::from_json`] reads.
    ///
    /// # Errors
    /// Never for a catalog that was read by this module.
    pub fn to_json(&self) -> Result<String, CatalogError> {
        serde_json::to_string(self).map_err(|source| CatalogError::Json { source })
    }

    pub fn relation(&self, oid: Oid) -> Option<&Relation> {
        self.relations.get(&oid)
    }

    /// Exactly this schema and name.
    pub fn find(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.names.get(&(schema.to_owned(), name.to_owned())).and_then(|oid| self.relations.get(oid))
    }

    /// A bare name through the search path.
    pub fn find_in_path(&self, name: &str) -> Option<&Relation> {
        self.search_path.iter().find_map(|schema| self.find(schema, name))
    }

    /// All relations above and below by inheritance and partitioning, without itself.
    pub fn family(&self, oid: Oid) -> BTreeSet<Oid> {
        let mut seen = self.closure(oid, |r| &r.parents);
        seen.extend(self.closure(oid, |r| &r.children));
        seen.remove(&oid);
        seen
    }

    /// Everything that can be reached from `oid` over one kind of edge, without itself unless there is a cycle.
    pub fn closure(&self, oid: Oid, edge: fn(&Relation) -> &BTreeSet<Oid>) -> BTreeSet<Oid> {
        let mut seen = BTreeSet::new();
        let mut todo = vec![oid];
        while let Some(next) = todo.pop() {
            for &other in self.relation(next).map(edge).into_iter().flatten() {
                if seen.insert(other) {
                    todo.push(other);
                }
            }
        }
        seen
    }

    /// The foreign keys that refer to a relation, with the relations that have them.
    pub(crate) fn references_to(&self, oid: Oid) -> impl Iterator<Item = (&Relation, &Reference)> {
        self.referring.get(&oid).into_iter().flatten().filter_map(|(from, nth)| {
            let from = self.relation(*from)?;
            Some((from, from.references.get(*nth)?))
        })
    }

    /// Types whose values may run a function of a user when they are cast, also without a cast in the text.
    pub fn user_cast_types(&self) -> &[UserCastType] {
        &self.user_cast_types
    }

    /// What `t.name` would call on the row of a relation `t` that has no such column.
    pub(crate) fn row_call(&self, name: &str) -> Option<RowCall> {
        row_calls::builtin(name).max(self.user_row_call(name))
    }

    /// The same for functions and casts of users only.
    pub(crate) fn user_row_call(&self, name: &str) -> Option<RowCall> {
        self.row_calls.get(name).copied()
    }

    /// Functions of this name, in one schema or in the search path.
    pub fn functions_named<'a>(
        &'a self,
        schema: Option<&'a str>,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Function> + 'a {
        self.functions.iter().filter(move |f| {
            f.name == name && schema.map_or_else(|| self.search_path.contains(&f.schema), |s| f.schema == s)
        })
    }

    pub(crate) fn finish(mut self) -> Self {
        self.names = self.relations.values().map(|r| ((r.schema.clone(), r.name.clone()), r.oid)).collect();
        self.referring = BTreeMap::new();
        for relation in self.relations.values() {
            for (nth, key) in relation.references.iter().enumerate() {
                self.referring.entry(key.to).or_default().push((relation.oid, nth));
            }
        }
        self.row_calls = row_calls::of_users(&self);
        self.revision = String::new();
        let text = serde_json::to_string(&self).unwrap_or_default();
        self.revision = format!("{:032x}", fnv128(text.as_bytes()));
        self
    }
}

impl Relation {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// Whether it is a view, or has a rule, that calls functions or operators of users.
    pub fn rules_call(&self) -> bool {
        self.runs.contains(&Runs::Rule)
    }

    /// `schema.name` for people.
    pub fn display(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// FNV-1a over 128 bits.
fn fnv128(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash: u128, &b| {
        (hash ^ u128::from(b)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}
