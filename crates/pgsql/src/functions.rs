//! Built-in functions that any statement may call, by name in `pg_catalog`.
//!
//! An allow-list: what runs SQL text, reads files or large objects, sleeps, takes advisory locks, changes settings or
//! reads statistics is not in it. Calls of a listed name are written out as `pg_catalog.name`, so a function of the same
//! name elsewhere is never meant.

/// Made by `data/functions.sql`; sorted by name. A number after the name is the first major version that has it: below
/// it the name is a user's, if anybody's.
const GENERATED: &str = include_str!("../data/functions.txt");

/// Stable and volatile functions, and names with such an overload, chosen by hand.
const EXTRA: &[&str] = &[
    "age",
    "array_to_json",
    "array_to_string",
    "clock_timestamp",
    "concat",
    "concat_ws",
    "convert_from",
    "convert_to",
    "current_database",
    "current_schema",
    "current_schemas",
    "date",
    "date_part",
    "date_trunc",
    "enum_first",
    "enum_last",
    "enum_range",
    "extract",
    "format",
    "gen_random_uuid",
    "generate_series",
    "isfinite",
    "json_build_array",
    "json_build_object",
    "json_to_tsvector",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_path_exists_tz",
    "jsonb_path_match_tz",
    "jsonb_path_query_array_tz",
    "jsonb_path_query_first_tz",
    "jsonb_path_query_tz",
    "jsonb_to_tsvector",
    "length",
    "make_timestamptz",
    "now",
    "numeric",
    "overlaps",
    "pg_backend_pid",
    "pg_client_encoding",
    "pg_is_in_recovery",
    "pg_typeof",
    "phraseto_tsquery",
    "plainto_tsquery",
    "quote_literal",
    "quote_nullable",
    "random",
    "row_to_json",
    "statement_timestamp",
    "substring",
    "time",
    "timeofday",
    "timestamp",
    "timestamptz",
    "timetz",
    "timezone",
    "to_char",
    "to_date",
    "to_json",
    "to_jsonb",
    "to_number",
    "to_timestamp",
    "to_tsquery",
    "to_tsvector",
    "transaction_timestamp",
    "ts_headline",
    "version",
    "websearch_to_tsquery",
    "xml_is_well_formed",
];

/// Functions over system catalogs: only in a statement that reads nothing but listed catalogs.
const CATALOG_ONLY: &[&str] = &[
    "_pg_char_max_length",
    "_pg_char_octet_length",
    "_pg_datetime_precision",
    "_pg_expandarray",
    "_pg_index_position",
    "_pg_interval_type",
    "_pg_numeric_precision",
    "_pg_numeric_precision_radix",
    "_pg_numeric_scale",
    "_pg_truetypid",
    "_pg_truetypmod",
    "acldefault",
    "aclexplode",
    "col_description",
    "format_type",
    "getdatabaseencoding",
    "has_any_column_privilege",
    "has_column_privilege",
    "has_database_privilege",
    "has_function_privilege",
    "has_schema_privilege",
    "has_sequence_privilege",
    "has_table_privilege",
    "has_type_privilege",
    "obj_description",
    "oidvectortypes",
    "pg_available_extensions",
    "pg_char_to_encoding",
    "pg_collation_is_visible",
    "pg_conversion_is_visible",
    "pg_encoding_to_char",
    "pg_function_is_visible",
    "pg_get_constraintdef",
    "pg_get_expr",
    "pg_get_function_arguments",
    "pg_get_function_identity_arguments",
    "pg_get_function_result",
    "pg_get_indexdef",
    "pg_get_keywords",
    "pg_get_partition_constraintdef",
    "pg_get_partkeydef",
    "pg_get_ruledef",
    "pg_get_serial_sequence",
    "pg_get_statisticsobjdef",
    "pg_get_statisticsobjdef_columns",
    "pg_get_triggerdef",
    "pg_get_userbyid",
    "pg_get_viewdef",
    "pg_has_role",
    "pg_index_column_has_property",
    "pg_indexes_size",
    "pg_is_other_temp_schema",
    "pg_my_temp_schema",
    "pg_opclass_is_visible",
    "pg_operator_is_visible",
    "pg_opfamily_is_visible",
    "pg_partition_ancestors",
    "pg_partition_root",
    "pg_partition_tree",
    "pg_relation_is_publishable",
    "pg_relation_size",
    "pg_size_pretty",
    "pg_statistics_obj_is_visible",
    "pg_table_is_visible",
    "pg_table_size",
    "pg_tablespace_location",
    "pg_total_relation_size",
    "pg_ts_config_is_visible",
    "pg_ts_dict_is_visible",
    "pg_type_is_visible",
    "row_security_active",
    "shobj_description",
    "to_regclass",
    "to_regnamespace",
    "to_regproc",
    "to_regprocedure",
    "to_regtype",
];

/// The columns of listed functions that return rows, where all overloads of the name have the same; sorted by name.
const COLUMNS: &[(&str, &[&str])] = &[
    ("_pg_expandarray", &["x", "n"]),
    ("aclexplode", &["grantor", "grantee", "privilege_type", "is_grantable"]),
    ("json_array_elements", &["value"]),
    ("json_array_elements_text", &["value"]),
    ("json_each", &["key", "value"]),
    ("json_each_text", &["key", "value"]),
    ("jsonb_array_elements", &["value"]),
    ("jsonb_array_elements_text", &["value"]),
    ("jsonb_each", &["key", "value"]),
    ("jsonb_each_text", &["key", "value"]),
    ("pg_get_keywords", &["word", "catcode", "barelabel", "catdesc", "baredesc"]),
    ("pg_partition_ancestors", &["relid"]),
    ("pg_partition_tree", &["relid", "parentrelid", "isleaf", "level"]),
];

/// Functions that return one value a row, without a name of its own: the column has the name of the alias.
const SCALAR_SETS: &[&str] = &[
    "generate_series",
    "generate_subscripts",
    "json_object_keys",
    "jsonb_object_keys",
    "jsonb_path_query",
    "jsonb_path_query_tz",
    "regexp_matches",
    "regexp_split_to_table",
    "string_to_table",
];

/// The columns of a function that returns rows, in their order.
pub(crate) fn columns_of(name: &str) -> Option<&'static [&'static str]> {
    let at = COLUMNS.binary_search_by_key(&name, |(name, _)| name).ok()?;
    COLUMNS.get(at).map(|(_, columns)| *columns)
}

/// Whether the rows of a function are one value, in a column with the name of the alias.
pub(crate) fn is_scalar_set(name: &str) -> bool {
    SCALAR_SETS.binary_search(&name).is_ok()
}

/// How a built-in function may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    Anywhere,
    /// Only beside nothing but listed catalogs.
    CatalogOnly,
}

/// What the list says about a name in `pg_catalog` of a server of this version (`server_version_num`).
pub fn builtin(name: &str, version: u32) -> Option<Builtin> {
    if generated(name, version) || EXTRA.binary_search(&name).is_ok() {
        Some(Builtin::Anywhere)
    } else if CATALOG_ONLY.binary_search(&name).is_ok() {
        Some(Builtin::CatalogOnly)
    } else {
        None
    }
}

/// Functions that an agent may not call, and that show nothing of any relation in a view of somebody else.
const IN_VIEWS: &[&str] = &["current_setting", "currval", "inet_client_addr", "inet_server_addr", "lastval", "nextval"];

/// Whether a view may call it without being one that may show anything.
pub(crate) fn in_a_view(name: &str, version: u32) -> bool {
    builtin(name, version).is_some() || IN_VIEWS.contains(&name)
}

fn generated(name: &str, version: u32) -> bool {
    static NAMES: std::sync::LazyLock<Vec<(&'static str, u32)>> =
        std::sync::LazyLock::new(|| GENERATED.lines().map(name_and_first).collect());
    let at = NAMES.binary_search_by_key(&name, |(name, _)| name);
    at.ok().and_then(|at| NAMES.get(at)).is_some_and(|(_, first)| version / 10_000 >= *first)
}

/// A number that cannot be read is above every version.
fn name_and_first(line: &str) -> (&str, u32) {
    line.split_once(' ').map_or((line, 0), |(name, first)| (name, first.parse().unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_hold_nothing_that_runs_text() {
        let lines: Vec<(&str, u32)> = GENERATED.lines().map(name_and_first).collect();
        let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
        assert!(lines.iter().all(|(_, first)| [0, 15, 16, 17, 18].contains(first)));
        assert!(names.is_sorted() && EXTRA.is_sorted() && CATALOG_ONLY.is_sorted());
        assert!(SCALAR_SETS.is_sorted() && COLUMNS.is_sorted_by_key(|(name, _)| name));
        assert!(names.len() > 1_300);
        for name in [
            "query_to_xml",
            "table_to_xml",
            "cursor_to_xml",
            "database_to_xml",
            "schema_to_xml",
            "ts_stat",
            "ts_rewrite",
            "dblink",
            "set_config",
            "current_setting",
            "lo_get",
            "lo_import",
            "lo_export",
            "lo_from_bytea",
            "loread",
            "pg_read_file",
            "pg_read_binary_file",
            "pg_ls_dir",
            "pg_stat_file",
            "pg_sleep",
            "pg_sleep_for",
            "pg_advisory_lock",
            "pg_terminate_backend",
            "pg_cancel_backend",
            "pg_reload_conf",
            "pg_notify",
            "nextval",
            "setval",
            "pg_stat_get_activity",
            "pg_export_snapshot",
            "pg_logical_emit_message",
            "pg_current_wal_lsn",
            "txid_current",
            "pg_get_functiondef",
            "json_populate_record",
            "jsonb_populate_recordset",
            "record_in",
            "inet_server_addr",
            "pg_show_all_settings",
            "pg_get_multixact_members",
            "binary_upgrade_create_empty_extension",
        ] {
            assert_eq!(builtin(name, 180_004), None, "{name}");
        }
        for name in ["lower", "count", "sum", "now", "coalesce_not_a_function", "to_char", "row_number", "jsonb_agg"] {
            assert_eq!(builtin(name, 140_023).is_some(), name != "coalesce_not_a_function", "{name}");
        }
        // Before 16 a function of that name is a user's, and policy has to name it.
        assert_eq!(builtin("any_value", 150_018), None);
        assert_eq!(builtin("any_value", 160_000), Some(Builtin::Anywhere));
    }
}
