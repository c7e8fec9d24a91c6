//! PostgreSQL 18's grammar on older servers: what is a construct there and a name of a user's function or column here
//! is refused, or goes out as what it was judged to be.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    dead_code,
    reason = "test helpers; each file uses some of them"
)]

mod support;

use pgsql::{Catalog, MaskTable};
use policy::operation::ResourceKind;
use support::{Server, plan};

/// On a server without these constructs each is a call of a function, or a column, of a user.
const USERS_OWN: &[&str] = &[
    "CREATE SCHEMA v",
    "CREATE TABLE v.t (id int PRIMARY KEY, name text)",
    "INSERT INTO v.t VALUES (1, 'one')",
    "CREATE FUNCTION public.json_scalar(text) RETURNS text LANGUAGE sql AS $$SELECT 'USER'$$",
    "CREATE FUNCTION public.json_serialize(text) RETURNS text LANGUAGE sql AS $$SELECT 'USER'$$",
    "CREATE FUNCTION public.json_exists(text, text) RETURNS text LANGUAGE sql AS $$SELECT 'USER'$$",
    "CREATE FUNCTION public.json_value(text, text) RETURNS text LANGUAGE sql AS $$SELECT 'USER'$$",
    "CREATE FUNCTION public.json_query(text, text) RETURNS text LANGUAGE sql AS $$SELECT 'USER'$$",
    "CREATE FUNCTION public.json_array(text) RETURNS text LANGUAGE sql AS $$SELECT 'USER'$$",
    "CREATE FUNCTION public.json_arrayagg(text) RETURNS text LANGUAGE sql AS $$SELECT 'USER'$$",
    "CREATE FUNCTION public.json_object() RETURNS text LANGUAGE sql AS $$SELECT 'USER'$$",
    "CREATE FUNCTION public.merge_action() RETURNS text LANGUAGE sql AS $$SELECT 'USER'$$",
    "CREATE FUNCTION public.any_value(text) RETURNS text LANGUAGE sql AS $$SELECT 'USER'$$",
    "CREATE TABLE v.names (\"system_user\" text, json_scalar text)",
    "INSERT INTO v.names VALUES ('USER', 'USER')",
];

/// Constructs, in the places where an expression or a row source may stand.
const CONSTRUCTS: &[&str] = &[
    "JSON('1')",
    "JSON('1' WITH UNIQUE KEYS)",
    "JSON_SCALAR('1')",
    "JSON_SCALAR(name)",
    "JSON_SERIALIZE('1')",
    "JSON_EXISTS(jsonb '1', '$')",
    "JSON_EXISTS('1', '$')",
    "JSON_VALUE('1', '$')",
    "JSON_QUERY('1', '$')",
    "JSON_ARRAY('1')",
    "JSON_ARRAY(SELECT 1)",
    "JSON_ARRAY()",
    "JSON_OBJECT('a': 1)",
    "JSON_OBJECT('a' VALUE 1)",
    "JSON_OBJECT()",
    "JSON_ARRAYAGG(name)",
    "JSON_OBJECTAGG(name: id)",
    "name IS JSON",
    "name IS NOT JSON OBJECT",
    "MERGE_ACTION()",
    "SYSTEM_USER",
    "system_user",
];
const STATEMENTS: &[&str] = &[
    "SELECT {} FROM v.t",
    "SELECT id FROM v.t WHERE {} IS NULL",
    "SELECT id FROM v.t ORDER BY {}",
    "SELECT count(*) FILTER (WHERE {} IS NULL) FROM v.t",
    "SELECT 1 FROM v.t GROUP BY {}",
    "VALUES ({})",
    "SELECT id FROM v.t LIMIT (SELECT ({})::text::int FROM v.t)",
    "INSERT INTO v.t (id, name) SELECT 5, ({})::text FROM v.t",
    "INSERT INTO v.t (id, name) VALUES (5, ({})::text)",
    "UPDATE v.t SET name = ({})::text",
    "UPDATE v.t SET name = 'x' RETURNING {}",
    "DELETE FROM v.t WHERE ({})::text = 'x'",
    "COPY (SELECT {} FROM v.t) TO STDOUT",
    "DECLARE c CURSOR FOR SELECT {} FROM v.t",
    "EXPLAIN SELECT {} FROM v.t",
    "CREATE VIEW v.w AS SELECT {} AS x FROM v.t",
    "CREATE TABLE v.w AS SELECT {} AS x FROM v.t",
    "CREATE TABLE v.w (id int, x text DEFAULT ({})::text)",
    "CREATE TABLE v.w (name text CHECK ({} IS NULL))",
    "ALTER TABLE v.t ADD CHECK ({} IS NULL)",
    "CREATE INDEX ON v.t (({}))",
    "CREATE INDEX ON v.t (id) WHERE {} IS NULL",
    "CALL app.work(({})::text::int)",
];
/// Row sources and clauses of their own.
const WHOLE: &[&str] = &[
    "SELECT * FROM JSON_TABLE(jsonb '[1]', '$[*]' COLUMNS (a int PATH '$')) j",
    "MERGE INTO v.t USING v.t s ON t.id = s.id WHEN MATCHED THEN DELETE",
    "MERGE INTO v.t USING v.t s ON t.id = s.id WHEN MATCHED THEN DELETE RETURNING merge_action()",
    "UPDATE v.t SET id = 2 RETURNING old.id",
    "UPDATE v.t SET id = 2 RETURNING new.*",
    "UPDATE v.t SET id = 2 RETURNING WITH (OLD AS o) o.id",
    "SELECT 1_000",
    "SELECT 10_000_000_000_000",
    "SELECT 0xFFFFFFFFFFFFFFFFF",
];

#[test]
fn on_a_real_server() {
    let server = Server::start();
    let (ok, text) = server.run(USERS_OWN);
    assert!(ok, "{text}");
    let catalog = server.catalog();
    for version in [140_000, 150_000, 160_000, 170_000, 180_000] {
        constructs_are_refused(&catalog, version);
    }
    what_passes_is_what_was_judged(&server, &catalog);
}

fn constructs_are_refused(catalog: &Catalog, version: u32) {
    let mut catalog = catalog.clone();
    catalog.version = version;
    let none = MaskTable::default();
    for construct in CONSTRUCTS {
        for statement in STATEMENTS {
            let sql = statement.replace("{}", construct);
            if let Ok(plan) = plan(&sql, &catalog, &none) {
                panic!("{version}: {sql}\n{}", plan.text);
            }
        }
    }
    for sql in WHOLE {
        // RETURNING has `old` and `new` on 18, and numbers have underscores and hexadecimal digits from 16 on.
        let newer = (sql.contains("old.") || sql.contains("new.")) && version >= 180_000
            || sql.starts_with("SELECT 1")
            || sql.starts_with("SELECT 0x");
        if let Ok(plan) = plan(sql, &catalog, &none)
            && !newer
        {
            panic!("{version}: {sql}\n{}", plan.text);
        }
    }
}

/// Names that are no constructs of any grammar mean what the server takes them for.
fn what_passes_is_what_was_judged(server: &Server, catalog: &Catalog) {
    let none = MaskTable::default();
    // As columns, quoted or not.
    for sql in [
        "SELECT n.system_user FROM v.names n",
        "SELECT \"system_user\" FROM v.names",
        "SELECT json_scalar FROM v.names",
        "SELECT n.\"json_scalar\" FROM v.names n",
    ] {
        let Ok(plan) = plan(sql, catalog, &none) else { continue };
        let (_, before) = server.run(&[sql]);
        let (ok, after) = server.run(&[&plan.text]);
        assert!(ok && before == after, "{sql}\n{}\n{before}\n{after}", plan.text);
        assert!(plan.accesses.iter().any(|a| a.resource.path == ["v", "names"]), "{sql}: {:?}", plan.accesses);
    }
    // What is built in only on newer servers is here the user's function, and judged as one.
    for sql in ["SELECT any_value(name) FROM v.t", "SELECT json_object('{a,b}')", "SELECT 0x1F", "SELECT 1_000"] {
        let Ok(plan) = plan(sql, catalog, &none) else { continue };
        let (_, after) = server.run(&[&plan.text]);
        let function = plan.accesses.iter().any(|a| a.resource.kind == ResourceKind::Function);
        assert_eq!(after.contains("USER"), function, "{sql}\n{}\n{after}", plan.text);
    }
    // And what is no construct is the user's function, which a rule has to name.
    let own = plan("SELECT public.json_scalar('x')", catalog, &none).unwrap();
    assert!(own.accesses.iter().any(|a| a.resource.path == ["public", "json_scalar(text)"]), "{:?}", own.accesses);
}
