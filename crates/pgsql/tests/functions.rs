//! The list of built-in functions against the server at hand, whatever its version: what is listed is harmless there.
//!
//! A name is listed because its every overload is harmless by `data/functions.sql`, or by hand; then its overloads are
//! those that were reviewed, so that a version which adds another one to a listed name fails here.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    dead_code,
    reason = "test helpers; each file uses some of them"
)]

mod support;

use std::collections::BTreeSet;

use pgsql::MaskTable;
use pgsql::functions::builtin;
use support::{Server, plan, rules};

/// Overloads of the names that were listed by hand, of all versions.
const REVIEWED: &str = include_str!("data/functions_by_hand.txt");

const HARMLESS: &str = include_str!("../data/functions.sql");
const LISTED: &str = include_str!("../data/functions.txt");

const OVERLOADS: &str = "\
SELECT p.proname, p.proname || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ') '
  || CASE p.prosecdef WHEN true THEN 'security definer ' ELSE '' END
  || pg_catalog.format_type(p.prorettype, NULL)
FROM pg_catalog.pg_proc p WHERE p.pronamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)";

fn rows(server: &Server, sql: &str) -> BTreeSet<String> {
    let (fine, text) = server.run(&[sql]);
    assert!(fine, "{text}");
    text.lines().map(str::to_owned).collect()
}

/// What `t.name` calls on any row.
const TAKE_A_ROW: &str = "\
SELECT DISTINCT p.proname FROM pg_catalog.pg_proc p
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.pronargs > 0 AND p.pronargs - p.pronargdefaults <= 1
  AND p.proargtypes[0]::regtype::text IN
    ('\"any\"', 'anyelement', 'anynonarray', 'anycompatible', 'anycompatiblenonarray', 'record')";

/// Of these: what shows nothing of the row, or is an error without OVER or WITHIN GROUP, or without more arguments.
const SHOW_NOTHING: &[&str] = &[
    "count",
    "cume_dist",
    "dense_rank",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "mode",
    "percent_rank",
    "pg_collation_for",
    "pg_column_compression",
    "pg_column_toast_chunk_id",
    "pg_restore_attribute_stats",
    "pg_restore_relation_stats",
    "pg_typeof",
    "rank",
];

/// A column with such a name would be the function if it were gone: it is read through a template.
fn columns_that_could_be_functions(server: &Server) {
    let names = rows(server, TAKE_A_ROW);
    assert!(names.len() > 30, "{names:?}");
    let columns: Vec<String> = names.iter().map(|name| format!("{name} int")).collect();
    let (fine, text) = server.run(&[&format!("CREATE TABLE public.named (id int, {})", columns.join(", "))]);
    assert!(fine, "{text}");
    let catalog = server.catalog();
    let masks = MaskTable::build(&catalog, &rules(&[("public.*.late", "Redact", "Allow")]));
    let as_it_is = |name: &&String| {
        let text = plan(&format!("SELECT named.{name} FROM named"), &catalog, &masks).unwrap().text;
        !text.contains("FROM (SELECT") && !SHOW_NOTHING.contains(&name.as_str())
    };
    let open: Vec<&String> = names.iter().filter(as_it_is).collect();
    assert!(open.is_empty(), "{open:?}");
    assert!(!plan("SELECT named.count FROM named", &catalog, &masks).unwrap().text.contains("FROM (SELECT"));
}

#[test]
fn on_a_real_server() {
    let server = Server::start();
    columns_that_could_be_functions(&server);
    let version = server.catalog().version;
    let harmless = rows(&server, HARMLESS);
    let reviewed: BTreeSet<&str> = REVIEWED.lines().collect();

    let mut wrong = Vec::new();
    let (mut generated, mut by_hand) = (0, 0);
    for row in rows(&server, OVERLOADS) {
        let (name, overload) = row.split_once('|').unwrap();
        if builtin(name, version).is_none() {
            continue;
        }
        if harmless.contains(name) {
            generated += 1;
        } else if reviewed.contains(overload) {
            by_hand += 1;
        } else {
            wrong.push(overload.to_owned());
        }
    }
    assert!(wrong.is_empty(), "listed, but on {version} neither harmless nor reviewed:\n{}", wrong.join("\n"));
    assert!(generated > 1_600 && by_hand > 300, "{generated} {by_hand}");

    // And the list is complete: it lacks what only PostgreSQL 14 has, and names that another version made harmful.
    let known = |name: &&String| builtin(name, version).is_none();
    let missing: Vec<&String> = harmless.iter().filter(known).collect();
    let left_out = ["close_lb", "close_sl", "dist_bl", "dist_lb", "interval_avg", "path_center"];
    assert!(missing.iter().all(|name| left_out.contains(&name.as_str())), "on {version} not listed: {missing:?}");
    // A name is not taken for a built-in one before the version that has it.
    let absent = |line: &&str| {
        let (name, first) = line.split_once(' ').unwrap_or((line, "14"));
        let since = first.parse::<u32>().unwrap() <= version / 10_000;
        since != harmless.contains(name)
    };
    let absent: Vec<&str> = LISTED.lines().filter(absent).collect();
    let gone = ["interval_accum", "interval_accum_inv", "interval_combine"];
    assert!(absent.iter().all(|name| gone.contains(name)), "the versions of these are wrong on {version}: {absent:?}");
}
