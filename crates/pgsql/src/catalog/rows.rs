//! From the JSON rows of the snapshot to a [`Catalog`].
//!
//! Refused: rows of another shape, references to relations that are not there where that would lose an edge that masks
//! need, and results that reached their bound.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{
    Catalog, Check, Column, Composite, Function, Oid, Operator, Reference, Relation, RelationKind, Runs, SNAPSHOT,
    UserCastType, UserType,
};
use crate::builtin::{known_extension, shows_in_a_view};
use crate::functions;
use crate::settings::TimeLimits;

/// Most relations of one database.
pub const MAX_RELATIONS: usize = 20_000;
const BOUNDS: [usize; 18] = [
    1,
    MAX_RELATIONS,
    500_000,
    100_000,
    200_000,
    100_000,
    50_000,
    20_000,
    20_000,
    1_000,
    200_000,
    200_000,
    500_000,
    20_000,
    20_000,
    200_000,
    20_000,
    40_000,
];

/// Why a catalog could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("expected {expected} results of the catalog snapshot, got {got}")]
    Results { expected: usize, got: usize },
    #[error("result {part} of the catalog snapshot has {got} rows, at most {limit} are read")]
    TooMany { part: usize, limit: usize, got: usize },
    #[error("row {row} of result {part} of the catalog snapshot is not understood")]
    Row { part: usize, row: usize, source: serde_json::Error },
    #[error("the catalog snapshot has no row about the server")]
    NoServer,
    #[error("PostgreSQL {version} is not supported, 14 to 18 are")]
    Version { version: u32 },
    #[error("relation {oid} is of the unknown kind `{kind}`")]
    Kind { oid: Oid, kind: String },
    #[error("the catalog is not readable JSON")]
    Json { source: serde_json::Error },
}

#[derive(Deserialize)]
struct ServerRow {
    version: u32,
    database: String,
    role: String,
    time_limits: TimeLimits,
    search_path: Vec<String>,
}

#[derive(Deserialize)]
struct RelationRow {
    oid: Oid,
    schema: String,
    name: String,
    kind: String,
    temporary: bool,
    partition: bool,
    triggers: bool,
    rules: bool,
}

#[derive(Deserialize)]
struct ColumnRow {
    relation: Oid,
    #[serde(flatten)]
    column: Column,
}

#[derive(Deserialize)]
struct InheritanceRow {
    child: Oid,
    parent: Oid,
}

#[derive(Deserialize)]
struct DependencyRow {
    relation: Oid,
    on: Oid,
}

#[derive(Deserialize)]
struct ForeignKeyRow {
    from: Oid,
    #[serde(flatten)]
    reference: Reference,
}

#[derive(Deserialize)]
struct CodeRow {
    relation: Oid,
    runs: Option<Runs>,
    extension: Option<String>,
}

#[derive(Deserialize)]
struct CheckRow {
    relation: Oid,
    columns: Option<BTreeSet<i16>>,
    reads: BTreeSet<(Oid, i16)>,
    rows: bool,
    /// The extensions of the functions and operators, `None` for those of no extension.
    calls: Vec<Option<String>>,
}

#[derive(Deserialize)]
struct ColumnsRow {
    relation: Oid,
    /// `None`: the whole row.
    columns: Option<BTreeSet<i16>>,
}

#[derive(Deserialize)]
struct RowTypeRow {
    #[serde(rename = "type")]
    type_oid: Oid,
    relation: Oid,
}

#[derive(Deserialize)]
struct CompositeRow {
    oid: Oid,
    #[serde(flatten)]
    composite: Composite,
}

#[derive(Deserialize)]
struct CastTypeRow {
    extension: Option<String>,
    #[serde(flatten)]
    cast: UserCastType,
}

#[derive(Deserialize)]
struct RuleRow {
    relation: Oid,
    /// Schema and name.
    catalogs: Vec<(String, String)>,
    functions: Vec<String>,
    types: BTreeSet<Oid>,
}

impl RuleRow {
    /// Whether it may show anything: what no statement may use is no better behind a view.
    fn may_show_anything(&self, version: u32, cast: &BTreeSet<Oid>) -> bool {
        self.catalogs.iter().any(|(schema, name)| !shows_in_a_view(schema, name))
            || self.functions.iter().any(|name| !functions::in_a_view(name, version))
            || !self.types.is_disjoint(cast)
    }
}

pub(super) fn read(rows: &[Vec<String>]) -> Result<Catalog, CatalogError> {
    if rows.len() != SNAPSHOT.len() {
        return Err(CatalogError::Results { expected: SNAPSHOT.len(), got: rows.len() });
    }
    let server = part::<ServerRow>(rows, 0)?.into_iter().next().ok_or(CatalogError::NoServer)?;
    if !(140_000..190_000).contains(&server.version) {
        return Err(CatalogError::Version { version: server.version });
    }
    let mut relations = BTreeMap::new();
    for row in part::<RelationRow>(rows, 1)? {
        let kind = kind(&row)?;
        relations.insert(
            row.oid,
            Relation {
                oid: row.oid,
                schema: row.schema,
                name: row.name,
                kind,
                temporary: row.temporary,
                partition: row.partition,
                columns: Vec::new(),
                parents: BTreeSet::new(),
                children: BTreeSet::new(),
                depends_on: BTreeSet::new(),
                foreign_keys: BTreeSet::new(),
                triggers: row.triggers,
                rules: row.rules,
                code: false,
                runs: BTreeSet::new(),
                uniques: BTreeSet::new(),
                checks: BTreeSet::new(),
                partition_key: BTreeSet::new(),
                references: Vec::new(),
            },
        );
    }
    // Edges to relations that the snapshot leaves out (system catalogs, other sessions' temporary tables) are of no use.
    for row in part::<ColumnRow>(rows, 2)? {
        edit(&mut relations, row.relation, |r| r.columns.push(row.column));
    }
    for row in part::<InheritanceRow>(rows, 3)? {
        edit(&mut relations, row.child, |r| _ = r.parents.insert(row.parent));
        edit(&mut relations, row.parent, |r| _ = r.children.insert(row.child));
    }
    for row in part::<DependencyRow>(rows, 4)? {
        edit(&mut relations, row.relation, |r| _ = r.depends_on.insert(row.on));
    }
    for row in part::<ForeignKeyRow>(rows, 5)? {
        let to = row.reference.to;
        edit(&mut relations, row.from, |r| _ = r.foreign_keys.insert(to));
        edit(&mut relations, to, |r| _ = r.foreign_keys.insert(row.from));
        edit(&mut relations, row.from, |r| r.references.push(row.reference));
    }
    deep(rows, &mut relations)?;
    let user_cast_types: Vec<UserCastType> = part::<CastTypeRow>(rows, 14)?
        .into_iter()
        .filter(|row| !known_extension(row.extension.as_deref()))
        .map(|row| row.cast)
        .collect();
    let cast = user_cast_types.iter().map(|cast| cast.oid).collect();
    for row in part::<RuleRow>(rows, 17)?.into_iter().filter(|row| row.may_show_anything(server.version, &cast)) {
        edit(&mut relations, row.relation, |r| {
            r.code = true;
            r.runs.insert(Runs::Rule);
        });
    }
    let mut row_types: BTreeMap<Oid, BTreeSet<Oid>> = BTreeMap::new();
    for row in part::<RowTypeRow>(rows, 12)? {
        row_types.entry(row.type_oid).or_default().insert(row.relation);
    }
    let catalog = Catalog {
        version: server.version,
        time_limits: server.time_limits,
        database: server.database,
        role: server.role,
        search_path: server
            .search_path
            .into_iter()
            .filter(|s| s != "pg_catalog" && !s.starts_with("pg_temp"))
            .collect(),
        relations,
        functions: part::<Function>(rows, 6)?,
        operators: part::<Operator>(rows, 7)?,
        types: part::<UserType>(rows, 8)?,
        foreign_casts: u32::try_from(part::<serde::de::IgnoredAny>(rows, 9)?.len()).unwrap_or(u32::MAX),
        row_types,
        composites: part::<CompositeRow>(rows, 13)?.into_iter().map(|row| (row.oid, row.composite)).collect(),
        user_cast_types,
        revision: String::new(),
        names: BTreeMap::new(),
        referring: BTreeMap::new(),
        row_calls: BTreeMap::new(),
    };
    Ok(catalog.finish())
}

/// What runs code of users, what is checked together, and what must be unique.
fn deep(rows: &[Vec<String>], relations: &mut BTreeMap<Oid, Relation>) -> Result<(), CatalogError> {
    for row in part::<CodeRow>(rows, 10)?.into_iter().filter(|r| !known_extension(r.extension.as_deref())) {
        edit(relations, row.relation, |r| {
            r.code = true;
            r.runs.extend(row.runs);
        });
    }
    for row in part::<CheckRow>(rows, 15)? {
        let calls = row.calls.iter().any(|extension| !known_extension(extension.as_deref()));
        let check = Check { columns: row.columns, reads: row.reads, rows: row.rows, calls };
        edit(relations, row.relation, |r| _ = r.checks.insert(check));
    }
    for row in part::<ColumnsRow>(rows, 11)? {
        edit(relations, row.relation, |r| {
            let columns = row.columns.unwrap_or_else(|| r.columns.iter().map(|c| c.attnum).collect());
            r.uniques.insert(columns);
        });
    }
    for row in part::<ColumnsRow>(rows, 16)? {
        edit(relations, row.relation, |r| {
            r.partition_key = row.columns.unwrap_or_else(|| r.columns.iter().map(|c| c.attnum).collect());
        });
    }
    Ok(())
}

fn edit(relations: &mut BTreeMap<Oid, Relation>, oid: Oid, change: impl FnOnce(&mut Relation)) {
    if let Some(relation) = relations.get_mut(&oid) {
        change(relation);
    }
}

fn part<T: DeserializeOwned>(rows: &[Vec<String>], part: usize) -> Result<Vec<T>, CatalogError> {
    let rows = rows.get(part).map(Vec::as_slice).unwrap_or_default();
    let limit = BOUNDS.get(part).copied().unwrap_or_default();
    if rows.len() > limit {
        return Err(CatalogError::TooMany { part, limit, got: rows.len() });
    }
    rows.iter()
        .enumerate()
        .map(|(row, text)| serde_json::from_str(text).map_err(|source| CatalogError::Row { part, row, source }))
        .collect()
}

fn kind(row: &RelationRow) -> Result<RelationKind, CatalogError> {
    Ok(match row.kind.as_str() {
        "r" => RelationKind::Table,
        "p" => RelationKind::Partitioned,
        "v" => RelationKind::View,
        "m" => RelationKind::Materialized,
        "f" => RelationKind::Foreign,
        "S" => RelationKind::Sequence,
        other => return Err(CatalogError::Kind { oid: row.oid, kind: other.to_owned() }),
    })
}
