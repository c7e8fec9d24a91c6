//! A catalog that is older than the tables: no column that it does not know, and none that got another name, comes out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    dead_code,
    reason = "test helpers; each file uses some of them"
)]

mod support;

use pgsql::{Catalog, Effect, MaskTable};
use support::{CANARY, Server, plan, rules};

/// A pattern over every table; no column has the name when the catalog is read.
const MASKS: &[(&str, &str, &str)] = &[("public.*.late", "Redact", "Allow")];

const TABLES: &[&str] = &[
    "CREATE TABLE public.n (id int PRIMARY KEY, contact text, tag text)",
    "CREATE TABLE public.m (id int PRIMARY KEY, contact text, size int)",
    "CREATE TABLE public.sink (id int, contact text, tag text)",
    "CREATE SCHEMA s2",
    "CREATE TABLE s2.n (id int, tag text)",
    "CREATE TABLE public.par (id int, contact text) PARTITION BY RANGE (id)",
    "CREATE TABLE public.par1 PARTITION OF public.par FOR VALUES FROM (0) TO (10)",
    "CREATE FUNCTION public.shown(public.n) RETURNS text LANGUAGE sql AS 'SELECT $1.tag'",
    "CREATE TABLE public.\"Odd \"\"t\" (\"select\" int, \"a b\" text, \"A\" text, nothing text)",
    "ALTER TABLE public.\"Odd \"\"t\" DROP COLUMN nothing",
    "CREATE TABLE public.bare ()",
    "INSERT INTO public.bare DEFAULT VALUES",
    "CREATE TYPE public.pair AS (x int, y text)",
    "CREATE TABLE public.holder (id int, row_of public.n, rows_of public.n[], p public.pair)",
    "CREATE VIEW public.v AS SELECT id, tag FROM public.n",
    "INSERT INTO \"Odd \"\"t\" VALUES (1, 'b', 'c')",
    "INSERT INTO n VALUES (1, 'one', 'a'), (2, 'two', 'b')",
    "INSERT INTO m VALUES (1, 'one', 10), (2, 'zwei', 20)",
    "INSERT INTO s2.n VALUES (1, 'x')",
    "INSERT INTO par VALUES (1, 'one')",
    "CREATE TABLE public.odd (id int PRIMARY KEY, contact text, body text, note text, to_json text, concat text, _t text, whole text, max int)",
    "CREATE TABLE s2.odd (id int, note text)",
    "INSERT INTO odd VALUES (1, 'one', 'b', 'n', 'j', 'c', 't', 'w', 7)",
    "CREATE FUNCTION public.note(public.odd) RETURNS text LANGUAGE sql AS 'SELECT to_json($1)::text'",
    "CREATE DOMAIN public.whole AS public.odd",
    "CREATE FUNCTION public.seen(pg_catalog.pg_class) RETURNS text LANGUAGE sql AS 'SELECT $1.relname::text'",
    "CREATE FUNCTION public.size(public.m) RETURNS text LANGUAGE sql AS 'SELECT to_json($1)::text'",
];

/// What somebody else does between the snapshot and the statement.
const ADDED: &[&str] = &[
    "ALTER TABLE n ADD COLUMN late text DEFAULT 'CANARY'",
    "ALTER TABLE m ADD COLUMN late text DEFAULT 'CANARY'",
    "ALTER TABLE par ADD COLUMN late text DEFAULT 'CANARY'",
    "ALTER TABLE bare ADD COLUMN late text DEFAULT 'CANARY'",
    "ALTER TABLE \"Odd \"\"t\" ADD COLUMN late text DEFAULT 'CANARY'",
];
const RENAMED: &[&str] = &[
    "UPDATE n SET contact = 'CANARY' || id",
    "UPDATE m SET contact = 'CANARY' || id",
    "UPDATE par SET contact = 'CANARY' || id",
    "ALTER TABLE n RENAME contact TO late",
    "ALTER TABLE m RENAME contact TO late",
    "ALTER TABLE par RENAME contact TO late",
    "UPDATE \"Odd \"\"t\" SET \"a b\" = 'CANARY'",
    "ALTER TABLE \"Odd \"\"t\" RENAME \"a b\" TO late",
];
/// What is gone may have a second meaning: the whole row under an alias, a function of the row, a column further out.
const GONE: &[&str] = &[
    "UPDATE odd SET contact = 'CANARY' || id",
    "UPDATE n SET contact = 'CANARY' || id",
    "UPDATE m SET contact = 'CANARY' || id",
    "ALTER TABLE odd RENAME contact TO late",
    "ALTER TABLE n RENAME contact TO late",
    "ALTER TABLE m RENAME contact TO late",
    "ALTER TABLE odd DROP COLUMN body, DROP COLUMN note, DROP COLUMN to_json, DROP COLUMN concat, DROP COLUMN _t, \
     DROP COLUMN whole, DROP COLUMN max",
    "ALTER TABLE m DROP COLUMN size",
];

/// One a line; `!` before those that have no safe form and are refused.
const STATEMENTS: &str = include_str!("data/freshness.sql");

#[test]
fn on_a_real_server() {
    let server = Server::start();
    let (ok, text) = server.run(TABLES);
    assert!(ok, "{text}");
    let catalog = server.catalog();
    let masks = MaskTable::build(&catalog, &rules(MASKS));
    assert!(masks.any() && masks.relations().next().is_none());
    for changes in [ADDED, RENAMED, GONE] {
        nothing_unknown_comes_out(&server, &catalog, &masks, changes);
    }
    usage_is_as_before(&server, &catalog, &masks);
    names_alone_change_nothing(&catalog, &masks);
    masked_columns_further_out(&catalog);
    what_no_list_can_close_asks_for_a_fresh_catalog(&catalog, &masks);
}

/// Views may be made again over other tables, types of rows may get attributes, and a table may get a foreign key that
/// carries a change on into another one.
fn what_no_list_can_close_asks_for_a_fresh_catalog(catalog: &Catalog, masks: &MaskTable) {
    let none = MaskTable::default();
    for (sql, with_masks, without) in [
        ("SELECT id FROM v", true, true),
        ("SELECT tag FROM n WHERE id IN (SELECT id FROM v)", true, true),
        ("UPDATE v SET tag = 'x' WHERE id = 1", true, true),
        ("COPY (SELECT id FROM v) TO STDOUT", true, true),
        ("DECLARE c CURSOR FOR TABLE v", true, true),
        ("SELECT id FROM user_mat", true, true),
        ("DELETE FROM n WHERE id = 1", true, true),
        ("UPDATE n SET id = 3 WHERE id = 1", true, true),
        ("WITH x AS (DELETE FROM n WHERE id = 1 RETURNING id) SELECT id FROM x", true, true),
        ("INSERT INTO m (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET size = 1", true, true),
        ("TRUNCATE n CASCADE", true, true),
        ("SELECT row_of FROM holder", true, false),
        ("INSERT INTO n (id) VALUES (3)", false, false),
        ("SELECT id FROM n", false, false),
        ("SELECT * FROM n", false, false),
        ("SELECT relname FROM pg_class", false, false),
        ("BEGIN", false, false),
    ] {
        assert_eq!(plan(sql, catalog, masks).unwrap().needs_fresh, with_masks, "{sql}");
        assert_eq!(plan(sql, catalog, &none).unwrap().needs_fresh, without, "{sql}");
    }
}

fn statements() -> impl Iterator<Item = (&'static str, bool)> {
    STATEMENTS.lines().filter(|l| !l.is_empty() && !l.starts_with("--")).map(|l| match l.strip_prefix('!') {
        Some(sql) => (sql, true),
        None => (l, false),
    })
}

/// Inside a transaction that is rolled back.
fn around<'a>(before: &[&'a str], sql: &'a str, effect: &Effect) -> Vec<&'a str> {
    let mut all = vec!["BEGIN"];
    all.extend(before);
    all.push(sql);
    if matches!(effect, Effect::DeclareCursor { .. }) {
        all.push("FETCH ALL FROM c");
    }
    if sql.starts_with("INSERT") {
        all.push("SELECT id, tag, contact FROM sink");
    }
    all.push("ROLLBACK");
    all
}

/// What came back, the names of columns included.
fn with_names(server: &Server, statements: &[&str]) -> String {
    let mut args = vec!["-A"];
    statements.iter().for_each(|statement| args.extend(["-c", statement]));
    let ran = server.psql(&args);
    format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
}

fn usage_is_as_before(server: &Server, catalog: &Catalog, masks: &MaskTable) {
    let mut wrong = Vec::new();
    for (sql, refused) in statements() {
        match plan(sql, catalog, masks) {
            Ok(plan) if !refused => {
                let before = with_names(server, &around(&[], sql, &plan.effect));
                assert!(!before.contains("ERROR"), "{sql}: {before}");
                let after = with_names(server, &around(&[], &plan.text, &plan.effect));
                if before != after && !sql.starts_with("EXPLAIN") {
                    wrong.push(format!("{sql}\n{}\n{before}\n{after}", plan.text));
                }
            }
            Err(_) if refused => {}
            Ok(plan) => wrong.push(format!("not refused: {sql}\n{}", plan.text)),
            Err(why) => wrong.push(format!("{sql}\n{why}")),
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n---\n"));
}

fn nothing_unknown_comes_out(server: &Server, catalog: &Catalog, masks: &MaskTable, changes: &[&str]) {
    let (mut leaks, mut ran) = (Vec::new(), 0);
    for (sql, _) in statements() {
        let Ok(plan) = plan(sql, catalog, masks) else { continue };
        let (_, text) = server.run(&around(changes, &plan.text, &plan.effect));
        if text.contains(CANARY) {
            leaks.push(format!("{sql}\n{}\n{text}", plan.text));
        }
        ran += 1;
    }
    assert!(leaks.is_empty(), "{} leaks\n{}", leaks.len(), leaks.join("\n---\n"));
    assert!(ran > 60, "{ran}");
}

/// A column that is gone is looked for further out.
fn masked_columns_further_out(catalog: &Catalog) {
    let masks = MaskTable::build(catalog, &rules(&[("public.n.contact", "Redact", "Allow")]));
    assert!(plan("UPDATE n SET tag = (SELECT max(contact) FROM m) RETURNING tag", catalog, &masks).is_err());
    assert!(plan("UPDATE n SET tag = (SELECT max(m.contact) FROM m) RETURNING tag", catalog, &masks).is_ok());
    let certain = "UPDATE n SET tag = (SELECT max(contact) FROM (SELECT 'x' AS contact) q) RETURNING tag";
    assert!(plan(certain, catalog, &masks).is_ok());
    assert!(plan("SELECT tag, (SELECT max(contact) FROM m) FROM n", catalog, &masks).is_ok());
    // A function of a user on a row of a system catalog has no access of its own.
    assert!(plan("SELECT c.seen FROM pg_class c", catalog, &MaskTable::default()).is_err());
    assert!(plan("SELECT c.relname FROM pg_class c", catalog, &MaskTable::default()).is_ok());
}

/// No star and no whole row: the text is what it was.
fn names_alone_change_nothing(catalog: &Catalog, masks: &MaskTable) {
    for sql in [
        "SELECT id, tag FROM n",
        "SELECT count(*) FROM n",
        "SELECT n.id FROM n JOIN m USING (id) WHERE n.tag = 'a' FOR UPDATE",
        "UPDATE n SET tag = 'x' WHERE id = 1 RETURNING id",
        "UPDATE odd SET body = 'x' WHERE odd.id = 1 AND body = 'b' RETURNING id, concat, to_json",
        "SELECT x.id, x.tag FROM n x WHERE EXISTS (SELECT 1 FROM m WHERE m.id = x.id AND size > 1)",
        "SELECT n.id, (SELECT max(m.contact) FROM m WHERE m.id = n.id) FROM n ORDER BY n.tag",
        "UPDATE n SET tag = m.contact FROM m WHERE m.id = n.id RETURNING n.id, n.tag, m.contact",
        "DELETE FROM n WHERE n.id = 1 RETURNING n.id, tag",
        "INSERT INTO n (id, tag) SELECT id, contact FROM m RETURNING n.id",
        "SELECT g, n.id FROM n, generate_series(1, 2) g WHERE g = n.id",
        "SELECT lower(contact) AS late, count(*) FROM n GROUP BY late",
        "SELECT g.* FROM generate_series(1, 2) g",
    ] {
        let with = plan(sql, catalog, masks).unwrap().text;
        assert_eq!(with, plan(sql, catalog, &MaskTable::default()).unwrap().text, "{sql}");
    }
    // Without masks a star is a star.
    assert!(plan("SELECT * FROM n", catalog, &MaskTable::default()).unwrap().text.contains('*'));
}
