//! The table of statement kinds: what each touches, its ceiling, its effect; or that it is refused.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    dead_code,
    reason = "test helpers; each file uses some of them"
)]

mod support;

use pgsql::mask::MaskMethod;
use pgsql::{Effect, MaskTable, Plan};
use policy::operation::{Access, Fields, ResourceKind, Strictness, Verb};
use support::{Server, plan, rules};

/// `verb kind path (fields) bounded`, in order, joined with `; `.
fn shown(accesses: &[Access]) -> String {
    let one = |a: &Access| {
        let fields = match (&a.resource.fields, a.resource.kind) {
            (Fields::Named(names), _) => format!("({})", names.iter().cloned().collect::<Vec<_>>().join(",")),
            (Fields::All, ResourceKind::Relation | ResourceKind::RelationStream) => "(*)".to_owned(),
            (Fields::All, _) => String::new(),
        };
        let bounded = match a.bounded {
            Some(true) => " bounded",
            Some(false) => " unbounded",
            None => "",
        };
        let indirect = if a.indirect { " indirect" } else { "" };
        format!("{:?} {:?} {}{fields}{bounded}{indirect}", a.verb, a.resource.kind, a.resource.path.join("."))
    };
    accesses.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// `SQL => ACTION | CEILING | ACCESSES`, or `SQL => refused: PART OF THE REASON`.
const TABLE: &str = include_str!("data/kinds.txt");

#[test]
fn on_a_real_server() {
    let server = Server::start();
    let catalog = server.catalog();
    let none = MaskTable::default();
    let mut wrong = Vec::new();
    let mut rows = 0;
    for line in TABLE.lines().filter(|l| !l.is_empty() && !l.starts_with("--")) {
        let (sql, expected) = line.split_once(" => ").unwrap();
        rows += 1;
        let got = match plan(sql, &catalog, &none) {
            Ok(p) => format!("{} | {:?} | {}", p.action, p.ceiling, shown(&p.accesses)),
            Err(why) => format!("refused: {why}"),
        };
        let fits = match expected.strip_prefix("refused: ") {
            Some(part) => got.starts_with("refused") && got.contains(part),
            None => got == expected,
        };
        if !fits {
            wrong.push(format!("{sql} => {got}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
    assert!(rows > 100, "{rows}");
    masks(&server);
    hidden_values(&server);
    masked_outputs(&server);
    bare_outputs_only(&server);
    schema_changes_beside_masks(&server);
    operators_of_users(&server);
    work_is_bounded(&server);
    reads_cover_what_the_server_opens(&server);
    a_catalog_survives_its_file(&server);
}

fn masks(server: &Server) {
    let catalog = server.catalog();
    // A column that does not exist closes its relation; families are masked as one.
    let table = MaskTable::build(&catalog, &rules(&[("public.plain.emial", "Redact", "Allow")]));
    assert_eq!(table.problems().len(), 1);
    assert!(plan("SELECT id FROM plain", &catalog, &table).is_err());
    assert!(plan("SELECT id FROM plain_view", &catalog, &table).is_err());
    assert!(plan("SELECT id FROM orders", &catalog, &table).is_ok());

    let table = MaskTable::build(&catalog, &rules(&[("app.events_2021.secret", "Redact", "Allow")]));
    for name in ["events", "events_2020", "events_2021"] {
        let oid = catalog.find("app", name).unwrap().oid;
        assert_eq!(table.relation(oid).unwrap().columns.len(), 1, "{name}");
        assert!(table.scrubbed(oid));
    }
    // A foreign key shows values of the other side in errors.
    let table = MaskTable::build(&catalog, &rules(&[("public.users.email", "Redact", "Allow")]));
    assert!(plan("INSERT INTO orders (id, user_id, total) VALUES (9, 99, 1)", &catalog, &table).unwrap().scrub);
    assert!(!plan("SELECT * FROM plain", &catalog, &table).unwrap().scrub);
    // Triggers that were put off run at COMMIT; nothing else may make them run.
    for commit in ["COMMIT", "END"] {
        assert!(plan(commit, &catalog, &table).unwrap().scrub, "{commit}");
        assert!(!plan(commit, &catalog, &MaskTable::default()).unwrap().scrub, "{commit}");
    }
    assert!(plan("SET CONSTRAINTS ALL IMMEDIATE", &catalog, &table).is_err());
    assert!(!plan("ROLLBACK", &catalog, &table).unwrap().scrub);
    let masked = plan("SELECT id FROM users", &catalog, &table).unwrap();
    assert_eq!(masked.masked, vec![(catalog.find("public", "users").unwrap().oid, vec![3])]);
    assert_eq!(masked.applied.len(), 1);
    // A view that reads a masked relation is reported once for each view.
    assert_eq!(table.problems().iter().filter(|p| p.denied.is_some()).count(), 3);
    // A duplicate in a unique masked column is an oracle.
    let insert = |sql| plan(sql, &catalog, &table).unwrap().ceiling;
    assert_eq!(insert("INSERT INTO users (name, email) VALUES ('a', 'b')"), Strictness::RequireApproval);
    assert_eq!(insert("INSERT INTO users (name) VALUES ('a')"), Strictness::Allow);
}

fn schema_changes_beside_masks(server: &Server) {
    let catalog = server.catalog();
    let none = MaskTable::default();
    let table = MaskTable::build(&catalog, &rules(&[("public.users.email", "Redact", "Allow")]));
    for sql in [
        "ALTER SCHEMA public RENAME TO p",
        "CREATE TABLE t (email text REFERENCES users (email))",
        "CREATE TABLE t (email text, FOREIGN KEY (email) REFERENCES users (email))",
        "ALTER TABLE plain ADD FOREIGN KEY (email) REFERENCES users (email)",
        "CREATE INDEX i ON plain (leak(id))",
        "CREATE TABLE t (a text DEFAULT leak(1))",
        "ALTER TABLE plain ALTER COLUMN name SET DEFAULT leak(1)",
        "CREATE TABLE t AS SELECT leak(id) FROM plain",
        "CREATE VIEW v AS SELECT leak(id) FROM plain",
    ] {
        assert!(plan(sql, &catalog, &none).is_ok(), "{sql}: {:?}", plan(sql, &catalog, &none));
        assert!(plan(sql, &catalog, &table).is_err(), "{sql}");
    }
    assert!(plan("CREATE TABLE t (id int REFERENCES plain (id))", &catalog, &table).is_ok());
    assert!(plan("CREATE VIEW v AS SELECT lower(name) FROM plain", &catalog, &table).is_ok());
    assert!(plan("ALTER SCHEMA pg_catalog RENAME TO p", &catalog, &none).is_err());
}

fn work_is_bounded(server: &Server) {
    let catalog = server.catalog();
    let none = MaskTable::default();
    let doubling = |steps: usize, from: fn(usize) -> String| {
        let ctes: Vec<String> = (1..=steps).map(|i| format!("c{i} AS (SELECT * FROM {})", from(i))).collect();
        format!("WITH c0 AS (SELECT * FROM plain), {} SELECT count(*) FROM c{steps}", ctes.join(", "))
    };
    let pair = |i: usize| format!("c{0}, c{0} a", i - 1);
    // 5 columns times 2^8 are still a query; the server allows 1664.
    assert!(plan(&doubling(8, pair), &catalog, &none).is_ok());
    let natural = |i: usize| format!("c{0} NATURAL JOIN c{0} a", i - 1);
    let joined = |i: usize| format!("(c{0} JOIN c{0} a ON true) AS j", i - 1);
    for (from, steps) in [(pair as fn(usize) -> String, 26), (natural, 26), (joined, 26), (pair, 200)] {
        let started = std::time::Instant::now();
        let refused = plan(&doubling(steps, from), &catalog, &none).unwrap_err().to_string();
        assert!(refused.contains("columns") || refused.contains("too complex"), "{refused}");
        assert!(started.elapsed().as_millis() < 100, "{:?}", started.elapsed());
    }
    let wide = format!("SELECT {} FROM {}", vec!["p1.id"; 1_000].join(", "), {
        (1..=300).map(|i| format!("users p{i}")).collect::<Vec<_>>().join(", ")
    });
    assert!(plan(&wide, &catalog, &none).is_ok(), "{:?}", plan(&wide, &catalog, &none));
}

/// Every form that the server makes operators of by their bare name.
fn operators_of_users(server: &Server) {
    let catalog = server.catalog();
    let with = |name: &str| {
        let mut catalog = catalog.clone();
        let operator = pgsql::catalog::Operator { schema: "public".to_owned(), name: name.to_owned(), extension: None };
        catalog.operators.push(operator);
        catalog
    };
    for (operator, sql) in [
        ("=", "SELECT id FROM plain WHERE name = 'x'"),
        ("=", "SELECT CASE name WHEN 'x' THEN 1 END FROM plain"),
        ("=", "SELECT 1 FROM plain JOIN users USING (id)"),
        ("=", "SELECT 1 FROM plain NATURAL JOIN users"),
        ("=", "SELECT 1 FROM plain NATURAL JOIN generate_series(1, 2) s"),
        ("=", "SELECT id FROM plain WHERE name IN ('x')"),
        ("<>", "SELECT id FROM plain WHERE name NOT IN ('x')"),
        ("=", "SELECT id FROM plain WHERE name IN (SELECT note FROM orders)"),
        ("=", "SELECT id FROM plain WHERE name = ANY ($1)"),
        ("=", "SELECT NULLIF(name, 'x') FROM plain"),
        ("=", "SELECT name IS DISTINCT FROM 'x' FROM plain"),
        ("=", "SELECT (id, name) = (1, 'x') FROM plain"),
        (">=", "SELECT id FROM plain WHERE name BETWEEN 'a' AND 'b'"),
        ("<", "SELECT id FROM plain WHERE name NOT BETWEEN 'a' AND 'b'"),
        ("=", "CREATE INDEX ON plain (id) WHERE CASE name WHEN 'x' THEN true END"),
        (">=", "CREATE INDEX ON plain (id) WHERE name BETWEEN 'a' AND 'b'"),
    ] {
        let none = MaskTable::default();
        assert!(plan(sql, &catalog, &none).is_ok(), "{sql}: {:?}", plan(sql, &catalog, &none));
        assert!(plan(sql, &with(operator), &none).is_err(), "{sql}");
    }
    let none = MaskTable::default();
    assert!(plan("SELECT CASE WHEN name LIKE 'x' THEN 1 END FROM plain", &with("="), &none).is_ok());
    assert!(plan("SELECT id FROM plain WHERE name OPERATOR(pg_catalog.=) 'x'", &with("="), &none).is_ok());
}

fn hidden_values(server: &Server) {
    let catalog = server.catalog();
    let table = MaskTable::build(&catalog, &rules(&[("public.users.email", "Redact", "Allow")]));
    let of = |sql: &str| -> Plan { plan(sql, &catalog, &table).unwrap() };
    for (sql, shown) in [
        ("UPDATE users SET email = 'a@b' WHERE id = 5", "UPDATE users SET email = '?' WHERE id = 5"),
        ("INSERT INTO users (name, email) VALUES ('n', 'a@b')", "INSERT INTO users (name, email) VALUES ('n', '?')"),
        ("SELECT id FROM users WHERE email = 'a@b' AND id = 5", "SELECT id FROM users WHERE email = '?' AND id = 5"),
        (
            "SELECT id FROM users WHERE lower(email) IN ('a', 'b') OR name = 'x'",
            "SELECT id FROM users WHERE lower(email) IN ('?', '?') OR name = 'x'",
        ),
        ("SELECT id FROM users WHERE name = 'x'", "SELECT id FROM users WHERE name = 'x'"),
        (
            "SELECT 1 FROM users u JOIN (VALUES ('a@b')) v(e) ON v.e = u.email",
            "SELECT '?' FROM users u JOIN (VALUES ('?')) v(e) ON v.e = u.email",
        ),
        (
            "SELECT 1 FROM (SELECT email AS e FROM users) s WHERE s.e = 'a@b'",
            "SELECT '?' FROM (SELECT email AS e FROM users) s WHERE s.e = '?'",
        ),
        (
            "CREATE INDEX i ON users (id) WHERE email = 'a@b'",
            "CREATE INDEX i ON users USING btree (id) WHERE email = '?'",
        ),
        (
            "SELECT 1 FROM (VALUES ((SELECT email FROM users))) v(e) WHERE v.e = 'a@b'",
            "SELECT '?' FROM (VALUES ((SELECT email FROM users))) v(e) WHERE v.e = '?'",
        ),
        ("SELECT email FROM users EXCEPT SELECT 'a@b'", "SELECT email FROM users EXCEPT SELECT '?'"),
    ] {
        assert_eq!(of(sql).display.as_str(), shown, "{sql}");
    }
    assert_eq!(of("SELECT id FROM users WHERE email = $2 AND id = $1").hidden_params, [2]);
    assert_eq!(of("INSERT INTO users (email, name) VALUES ($1, $2)").hidden_params, [1]);
    assert_eq!(of("UPDATE users SET email = $3 WHERE id = $1").params, 3);
    let jit = of("SELECT set_config('jit', $1, false)");
    assert_eq!(jit.checked_params.len(), 1);
    let none = pgsql::settings::TimeLimits::default();
    assert!(pgsql::settings::check_value(&jit.checked_params[0].setting, "off", &none).is_ok());
    assert!(pgsql::settings::check_value("client_encoding", "SJIS", &none).is_err());
    assert!(matches!(of("").effect, Effect::Empty) && matches!(of(" ; -- x").effect, Effect::Empty));
}

/// `p` and `r` for values that were masked so, `.` for others, `~` where positions are not known.
fn outputs(plan: &Plan, width: usize) -> String {
    let letter = |method| match method {
        None => '.',
        Some(MaskMethod::Partial) => 'p',
        Some(MaskMethod::Redact) => 'r',
    };
    plan.outputs.of(width).map(letter).collect()
}

fn masked_outputs(server: &Server) {
    let catalog = server.catalog();
    let masks = [("public.users.email", "Partial", "Allow"), ("public.users.salary", "Partial", "Allow")];
    let table = MaskTable::build(&catalog, &rules(&masks));
    for (sql, expected) in [
        ("SELECT id, email FROM users", ".p"),
        // Partial has no meaning for a number: nothing of it is left.
        ("SELECT salary, id, upper(email) || 'x', 1 FROM users", "r.p."),
        ("SELECT coalesce(email, salary::text) FROM users", "r"),
        ("SELECT id FROM users WHERE email = 'a'", "."),
        ("SELECT EXISTS (SELECT email FROM users), (SELECT email FROM users LIMIT 1)", ".p"),
        ("SELECT u.* FROM (SELECT id, email, 1 + 1, salary FROM users) u", ".p.r"),
        ("WITH w (a, b) AS (SELECT id, email || 'x' FROM users) SELECT b, a, w.* FROM w", "p..p"),
        ("SELECT id, email FROM plain UNION ALL SELECT id, email FROM users", ".p"),
        ("SELECT id, email FROM plain", ".."),
        ("WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n FROM r", "."),
        ("WITH RECURSIVE r (e) AS (SELECT email FROM users UNION SELECT e FROM r) SELECT e FROM r", "p"),
        // Common columns first, then those of the left side, then those of the right.
        ("SELECT * FROM (SELECT email, id FROM users) a JOIN (SELECT salary, id FROM users) b USING (id)", ".pr"),
        ("SELECT * FROM (SELECT email, id FROM users) a NATURAL JOIN (SELECT salary, id FROM users) b", ".pr"),
        ("SELECT 1, * FROM (SELECT id, email FROM users) a LEFT JOIN plain USING (email)", ".p....."),
        ("SELECT *, email FROM generate_series(1, 3), (SELECT email FROM users) u", ".pp"),
        ("TABLE plain", "....."),
        (
            "UPDATE plain SET flag = true FROM (SELECT id, email FROM users) a JOIN (SELECT id, salary FROM users) b USING (id) \
             WHERE plain.id = a.id RETURNING plain.id, a.*, b.salary",
            "..pr",
        ),
        ("INSERT INTO plain (id) VALUES (1) RETURNING id, name", ".."),
        ("COPY (SELECT id, email FROM users) TO STDOUT", ".p"),
        ("COPY users (email, id) TO STDOUT", "p."),
        ("DECLARE c CURSOR FOR SELECT id, email FROM users", ".p"),
    ] {
        let plan = plan(sql, &catalog, &table).unwrap_or_else(|why| panic!("{sql}: {why}"));
        assert_eq!(outputs(&plan, expected.len()), expected, "{sql}");
        assert_eq!(plan.outputs.any(), expected.contains(['p', 'r']), "{sql}");
        // The server's word on how many there are.
        if let Some(select) = plan.text.strip_prefix("SELECT") {
            let (ok, line) = server.run(&[&format!("SELECT{select} LIMIT 1")]);
            assert!(
                ok && (line.trim().is_empty() || line.trim().matches('|').count() + 1 == expected.len()),
                "{sql}: {line}"
            );
        }
    }
}

fn bare_outputs_only(server: &Server) {
    let catalog = server.catalog();
    let table = MaskTable::build(&catalog, &rules(&[("public.users.email", "Partial", "Deny")]));
    for sql in [
        "SELECT email FROM users",
        "SELECT id, email AS e FROM users ORDER BY id",
        "SELECT * FROM users WHERE id = 1",
        "SELECT u.* FROM users u ORDER BY name",
        "SELECT id FROM users ORDER BY 1",
        "SELECT id FROM users GROUP BY ROLLUP (1)",
        "COPY (SELECT email FROM users) TO STDOUT",
    ] {
        assert!(plan(sql, &catalog, &table).is_ok(), "{sql}: {:?}", plan(sql, &catalog, &table));
    }
    for sql in [
        "SELECT id FROM users WHERE email = 'x'",
        "SELECT lower(email) FROM users",
        "SELECT email || '' FROM users",
        "SELECT id FROM users ORDER BY email",
        "SELECT email FROM users ORDER BY 1",
        "SELECT email AS e FROM users ORDER BY e",
        "SELECT * FROM users ORDER BY 3",
        "SELECT DISTINCT email FROM users",
        "SELECT DISTINCT ON (email) id FROM users",
        "SELECT email FROM users GROUP BY 1",
        "SELECT email, count(*) FROM users GROUP BY email",
        "SELECT email FROM users GROUP BY ROLLUP (1)",
        "SELECT email AS e FROM users GROUP BY CUBE (e)",
        "SELECT email FROM users GROUP BY GROUPING SETS ((), (1))",
        "SELECT email FROM users GROUP BY GROUPING SETS (ROLLUP ((1, 1)))",
        "SELECT id, email FROM users GROUP BY (1, 2)",
        "SELECT email FROM users UNION SELECT 'x'",
        "SELECT s.email FROM (SELECT email FROM users) s",
        "SELECT u FROM users u",
        "SELECT 1 FROM users u JOIN plain p USING (email)",
        "SELECT 1 FROM users NATURAL JOIN plain",
        "SELECT (SELECT email FROM users LIMIT 1)",
        "SELECT * FROM (users u JOIN plain p ON true) AS j",
        "SELECT max(email) FROM users",
    ] {
        assert!(plan(sql, &catalog, &table).is_err(), "{sql}");
    }
}

/// Our relations contain those that the server opens, and no more columns are hidden than exist.
fn reads_cover_what_the_server_opens(server: &Server) {
    let catalog = server.catalog();
    let none = MaskTable::default();
    let mut compared = 0;
    for sql in include_str!("data/canary.sql").lines().filter(|l| !l.is_empty() && !l.starts_with("--")) {
        let Ok(plan) = plan(sql, &catalog, &none) else { continue };
        if !matches!(plan.action.as_str(), "SELECT" | "INSERT" | "UPDATE" | "DELETE") {
            continue;
        }
        let (ok, text) = server.run(&[&format!("EXPLAIN (VERBOSE, COSTS OFF) {sql}")]);
        if !ok {
            continue;
        }
        let ours: Vec<String> = plan.accesses.iter().map(|a| a.resource.path.join(".")).collect();
        for name in
            text.lines().filter_map(|l| l.split_once(" on ")).filter_map(|(_, rest)| rest.split_whitespace().next())
        {
            let Some((schema, relation)) = name.split_once('.') else { continue };
            let Some(relation) = catalog.find(schema, relation.trim_matches('"')) else { continue };
            let family: Vec<String> = catalog
                .closure(relation.oid, |r| &r.parents)
                .iter()
                .map(|o| catalog.relation(*o).unwrap().display())
                .collect();
            // A view's tables are its own.
            let viewed = ours.iter().any(|o| o.contains("_view") || o.contains("user_mat"));
            assert!(
                viewed || ours.contains(&relation.display()) || family.iter().any(|f| ours.contains(f)),
                "{sql}: the server opens {name}, we found {ours:?}"
            );
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
}

fn a_catalog_survives_its_file(server: &Server) {
    let catalog = server.catalog();
    let again = pgsql::Catalog::from_json(&catalog.to_json().unwrap()).unwrap();
    assert_eq!(again, catalog);
    assert_eq!(again.revision, server.catalog().revision);
    assert_eq!(again.find_in_path("users").unwrap().schema, "public");
    assert!(catalog.relations.values().any(|r| r.parents.len() == 1));
    assert_eq!(catalog.find("app", "typed").unwrap().column("w").unwrap().type_sql, "text");
    assert_eq!(catalog.find("app", "typed").unwrap().column("v").unwrap().type_sql, "app.mood");
    assert_eq!(catalog.find("app", "typed").unwrap().column("b").unwrap().type_sql, "character varying(12)");
    let _ = Verb::Read;
}
