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

use pgsql::functions::builtin;
use support::Server;

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

#[test]
fn on_a_real_server() {
    let server = Server::start();
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
