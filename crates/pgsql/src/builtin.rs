//! System catalogs and types that every session may use.
//!
//! A fixed list, for `\d` of psql and for drivers. Not in it, on purpose: statistics (they hold values of columns),
//! activity (texts of other sessions), passwords, user mappings, files, settings of the server. Columns that are closed
//! while masks are in force are listed in `resolve/from.rs`. No catalog can be written.

/// Relations of `pg_catalog` that may be read.
const PG_CATALOG: &[&str] = &[
    "pg_aggregate",
    "pg_am",
    "pg_amop",
    "pg_amproc",
    "pg_attrdef",
    "pg_attribute",
    "pg_auth_members",
    "pg_available_extensions",
    "pg_cast",
    "pg_class",
    "pg_collation",
    "pg_constraint",
    "pg_conversion",
    "pg_database",
    "pg_default_acl",
    "pg_depend",
    "pg_description",
    "pg_enum",
    "pg_event_trigger",
    "pg_extension",
    "pg_foreign_data_wrapper",
    "pg_foreign_table",
    "pg_index",
    "pg_indexes",
    "pg_inherits",
    "pg_init_privs",
    "pg_language",
    "pg_matviews",
    "pg_namespace",
    "pg_opclass",
    "pg_operator",
    "pg_opfamily",
    "pg_partitioned_table",
    "pg_policies",
    "pg_policy",
    "pg_proc",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_publication_tables",
    "pg_range",
    "pg_rewrite",
    "pg_roles",
    "pg_rules",
    "pg_sequence",
    "pg_sequences",
    "pg_shdepend",
    "pg_shdescription",
    "pg_statistic_ext",
    "pg_tables",
    "pg_tablespace",
    "pg_timezone_abbrevs",
    "pg_timezone_names",
    "pg_trigger",
    "pg_ts_config",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_ts_template",
    "pg_type",
    "pg_views",
];

/// Relations of `information_schema` that may not be read.
const INFORMATION_SCHEMA_CLOSED: &[&str] =
    &["user_mapping_options", "user_mappings", "_pg_user_mappings", "foreign_server_options", "_pg_foreign_servers"];

/// Types of `pg_catalog` that a statement may name. No `reg*` type, no pseudo-type.
const TYPES: &[&str] = &[
    "aclitem",
    "bit",
    "bool",
    "box",
    "bpchar",
    "bytea",
    "char",
    "cid",
    "cidr",
    "circle",
    "date",
    "datemultirange",
    "daterange",
    "float4",
    "float8",
    "inet",
    "int2",
    "int2vector",
    "int4",
    "int4multirange",
    "int4range",
    "int8",
    "int8multirange",
    "int8range",
    "interval",
    "json",
    "jsonb",
    "jsonpath",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "numeric",
    "nummultirange",
    "numrange",
    "oid",
    "oidvector",
    "path",
    "pg_lsn",
    "point",
    "polygon",
    "text",
    "tid",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "tsmultirange",
    "tsquery",
    "tsrange",
    "tstzmultirange",
    "tstzrange",
    "tsvector",
    "uuid",
    "varbit",
    "varchar",
    "xid",
    "xid8",
];

/// Types whose input looks into the catalog: only beside nothing but listed catalogs.
const REG_TYPES: &[&str] = &[
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
];

/// Columns that every table has beside its own.
pub(crate) const SYSTEM_COLUMNS: &[&str] = &["cmax", "cmin", "ctid", "oid", "tableoid", "xmax", "xmin"];

/// Extensions whose operators and types are compiled code that runs no SQL text.
const KNOWN_EXTENSIONS: &[&str] = &[
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "earthdistance",
    "fuzzystrmatch",
    "hstore",
    "intarray",
    "isn",
    "ltree",
    "pg_trgm",
    "pgcrypto",
    "postgis",
    "seg",
    "unaccent",
    "uuid-ossp",
    "vector",
];

/// Whether a relation of a system schema may be read.
pub(crate) fn readable(schema: &str, name: &str) -> bool {
    match schema {
        "pg_catalog" => PG_CATALOG.binary_search(&name).is_ok(),
        "information_schema" => !INFORMATION_SCHEMA_CLOSED.contains(&name) && !name.starts_with('_'),
        _ => false,
    }
}

/// Whether a view may read a relation of a system schema without being one that may show anything. Which columns it reads is
/// not known, so those with columns that are closed in a statement are not among them.
pub(crate) fn shows_in_a_view(schema: &str, name: &str) -> bool {
    readable(schema, name) && !["pg_attribute", "pg_proc", "routines"].contains(&name)
}

/// Whether a name without schema means a system catalog; `pg_catalog` is always searched first. Every name that starts
/// with `pg_` counts, since those of a newer server are not known here.
pub(crate) fn is_catalog_name(name: &str) -> bool {
    name.starts_with("pg_")
}

pub(crate) fn is_system_schema(schema: &str) -> bool {
    schema == "pg_catalog" || schema == "information_schema" || schema == "pg_toast" || schema.starts_with("pg_")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuiltinType {
    Plain,
    Reg,
}

/// What the list says about a type of `pg_catalog`.
pub(crate) fn builtin_type(name: &str) -> Option<BuiltinType> {
    if TYPES.binary_search(&name).is_ok() || name.strip_prefix('_').is_some_and(|n| TYPES.binary_search(&n).is_ok()) {
        Some(BuiltinType::Plain)
    } else if REG_TYPES.contains(&name) {
        Some(BuiltinType::Reg)
    } else {
        None
    }
}

pub(crate) fn known_extension(name: Option<&str>) -> bool {
    name.is_some_and(|n| KNOWN_EXTENSIONS.contains(&n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_catalogs_stay_closed() {
        assert!(PG_CATALOG.is_sorted() && TYPES.is_sorted() && SYSTEM_COLUMNS.is_sorted());
        for name in [
            "pg_stats",
            "pg_statistic",
            "pg_statistic_ext_data",
            "pg_stats_ext",
            "pg_stat_activity",
            "pg_authid",
            "pg_shadow",
            "pg_user_mapping",
            "pg_user_mappings",
            "pg_settings",
            "pg_hba_file_rules",
            "pg_file_settings",
            "pg_stat_statements",
            "pg_largeobject",
            "pg_cursors",
            "pg_prepared_statements",
            "pg_locks",
            "pg_subscription",
            "pg_foreign_server",
            "pg_db_role_setting",
            "pg_toast",
            "pg_seclabel",
            "pg_replication_slots",
        ] {
            assert!(!readable("pg_catalog", name), "{name}");
        }
        assert!(!readable("information_schema", "user_mapping_options"));
        assert!(readable("information_schema", "columns") && readable("pg_catalog", "pg_class"));
        assert!(!readable("pg_toast", "pg_toast_1"));
        assert_eq!(builtin_type("regclass"), Some(BuiltinType::Reg));
        assert_eq!(builtin_type("cstring"), None);
        assert_eq!(builtin_type("record"), None);
    }
}
