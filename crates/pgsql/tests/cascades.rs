//! Whatever the server changes because of a foreign key has an access of its own. The oracle is the server: the tables
//! whose rows are others afterwards.
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

use pgsql::catalog::{Action, RelationKind};
use pgsql::{Catalog, MaskTable, Plan};
use policy::operation::{Access, Fields, Verb};
use support::{Server, plan};

const TABLES: &[&str] = &[
    "CREATE SCHEMA k",
    // A chain: delete, then delete, then set null.
    "CREATE TABLE k.a (id int PRIMARY KEY, code text UNIQUE, note text)",
    "CREATE TABLE k.b (id int PRIMARY KEY, a int REFERENCES k.a ON DELETE CASCADE)",
    "CREATE TABLE k.c (id int PRIMARY KEY, b int REFERENCES k.b ON DELETE CASCADE)",
    "CREATE TABLE k.d (id int PRIMARY KEY, c int REFERENCES k.c ON DELETE SET NULL)",
    // Keys that change.
    "CREATE TABLE k.e (id int PRIMARY KEY, code text UNIQUE REFERENCES k.a (code) ON UPDATE CASCADE ON DELETE RESTRICT)",
    "CREATE TABLE k.f (id int PRIMARY KEY, code text DEFAULT 'z' REFERENCES k.e (code) ON UPDATE SET NULL)",
    "CREATE TABLE k.g (id int PRIMARY KEY, a int DEFAULT 9 REFERENCES k.a ON DELETE SET DEFAULT)",
    // Without an action.
    "CREATE TABLE k.h (id int PRIMARY KEY, a int REFERENCES k.a)",
    // Two columns, one of them set.
    "CREATE TABLE k.two (x int, y int, PRIMARY KEY (x, y))",
    "CREATE TABLE k.part_set (id int, x int, y int, FOREIGN KEY (x, y) REFERENCES k.two ON DELETE SET NULL (y))",
    // Itself.
    "CREATE TABLE k.tree (id int PRIMARY KEY, up int REFERENCES k.tree ON DELETE CASCADE)",
    // Partitions on both sides, one referred to directly.
    "CREATE TABLE k.p (id int PRIMARY KEY) PARTITION BY RANGE (id)",
    "CREATE TABLE k.p1 PARTITION OF k.p FOR VALUES FROM (0) TO (10)",
    "CREATE TABLE k.p2 PARTITION OF k.p FOR VALUES FROM (10) TO (20)",
    "CREATE TABLE k.q (id int, p int REFERENCES k.p ON DELETE CASCADE ON UPDATE CASCADE) PARTITION BY RANGE (id)",
    "CREATE TABLE k.q1 PARTITION OF k.q FOR VALUES FROM (0) TO (10)",
    "CREATE TABLE k.leaf (id int, p int REFERENCES k.p1 ON DELETE CASCADE)",
    // Children by inheritance.
    "CREATE TABLE k.base (id int PRIMARY KEY)",
    "CREATE TABLE k.child (PRIMARY KEY (id)) INHERITS (k.base)",
    "CREATE TABLE k.of_child (id int, c int REFERENCES k.child ON DELETE CASCADE)",
    // A key over a computed column, and a view.
    "CREATE TABLE k.gen (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED UNIQUE)",
    "CREATE TABLE k.of_gen (id int, t int REFERENCES k.gen (twice) ON DELETE CASCADE)",
    "CREATE VIEW k.view AS SELECT id, note FROM k.a",
    "INSERT INTO k.a VALUES (1, 'c1', 'n'), (2, 'c2', 'n'), (9, 'z', 'n')",
    "INSERT INTO k.b VALUES (1, 1)",
    "INSERT INTO k.c VALUES (1, 1)",
    "INSERT INTO k.d VALUES (1, 1)",
    "INSERT INTO k.e VALUES (1, 'c2'), (2, 'z')",
    "INSERT INTO k.f VALUES (1, 'c2')",
    "INSERT INTO k.g VALUES (1, 1)",
    "INSERT INTO k.h VALUES (1, 2)",
    "INSERT INTO k.two VALUES (1, 1), (5, 5)",
    "INSERT INTO k.part_set VALUES (1, 1, 1)",
    "INSERT INTO k.tree VALUES (1, NULL), (2, 1)",
    "INSERT INTO k.p VALUES (1), (2), (11)",
    "INSERT INTO k.q VALUES (1, 1), (2, 11)",
    "INSERT INTO k.leaf VALUES (1, 1)",
    "INSERT INTO k.base VALUES (1)",
    "INSERT INTO k.child VALUES (2)",
    "INSERT INTO k.of_child VALUES (1, 2)",
    "INSERT INTO k.gen VALUES (1), (5)",
    "INSERT INTO k.of_gen VALUES (1, 2)",
];

/// A statement and what it must say beside its own accesses: `verb table(columns)`.
const ROWS: &[(&str, &str)] = &[
    ("DELETE FROM k.a WHERE id = 1", "Update d(c); Update g(a); Delete b; Delete c"),
    ("DELETE FROM k.b", "Update d(c)!; Delete c!"),
    ("DELETE FROM k.b WHERE id = 1", "Update d(c); Delete c"),
    ("DELETE FROM k.view WHERE id = 1", "Update d(c); Update g(a); Delete a; Delete b; Delete c"),
    ("WITH x AS (DELETE FROM k.b WHERE id = 1 RETURNING id) SELECT 1 FROM x", "Update d(c); Delete c"),
    ("UPDATE k.a SET code = 'new' WHERE id = 2", "Update e(code); Update f(code)"),
    ("UPDATE k.a SET note = 'new' WHERE id = 2", ""),
    ("INSERT INTO k.a VALUES (2) ON CONFLICT (id) DO UPDATE SET code = 'q'", "Update e(code); Update f(code)"),
    ("SELECT id FROM k.a FOR UPDATE", ""),
    ("INSERT INTO k.a VALUES (3, 'c3', 'n')", ""),
    ("SELECT id FROM k.a", ""),
    ("DELETE FROM k.h WHERE id = 1", ""),
    ("DELETE FROM k.two WHERE x = 1", "Update part_set(y)"),
    ("UPDATE k.two SET x = 2 WHERE x = 5", ""),
    ("DELETE FROM k.tree WHERE id = 1", "Delete tree"),
    ("DELETE FROM k.p WHERE id = 1", "Delete leaf; Delete p1; Delete p2; Delete q; Delete q1"),
    ("DELETE FROM k.p1 WHERE id = 1", "Delete leaf; Delete q; Delete q1"),
    ("DELETE FROM k.p2 WHERE id = 11", "Delete q; Delete q1"),
    ("UPDATE k.p SET id = 3 WHERE id = 11", "Update p1(id); Update p2(id); Update q(p); Update q1(p)"),
    ("UPDATE k.p2 SET id = 12 WHERE id = 11", "Update q(p); Update q1(p)"),
    ("DELETE FROM k.base WHERE id = 2", "Delete of_child"),
    ("DELETE FROM k.gen WHERE id = 1", "Delete of_gen"),
    ("UPDATE k.gen SET id = 7 WHERE id = 5", ""),
    ("EXPLAIN DELETE FROM k.a WHERE id = 1", ""),
    ("EXPLAIN ANALYZE DELETE FROM k.a WHERE id = 1", "Update d(c); Update g(a); Delete b; Delete c"),
    (
        "TRUNCATE k.a CASCADE",
        "Administer b; Administer c; Administer d; Administer e; Administer f; Administer g; Administer h",
    ),
    ("TRUNCATE k.p CASCADE", "Administer leaf; Administer p1; Administer p2; Administer q; Administer q1"),
    ("TRUNCATE k.d", ""),
];

#[test]
fn on_a_real_server() {
    let server = Server::start();
    let (ok, text) = server.run(TABLES);
    assert!(ok, "{text}");
    let catalog = server.catalog();
    the_snapshot_has_the_actions(&catalog);
    let (mut wrong, mut changing) = (Vec::new(), 0);
    for (sql, expected) in ROWS {
        let plan = plan(sql, &catalog, &MaskTable::default()).unwrap_or_else(|why| panic!("{sql}: {why}"));
        let got = beside(&plan);
        if got != *expected {
            wrong.push(format!("{sql}\n  {got}\n  {expected}"));
        }
        let changed = changed_by(&server, &catalog, &plan);
        changing += changed.len();
        let said: BTreeSet<&str> = plan.accesses.iter().filter_map(written).collect();
        // A partition or child by its parent's name is the parent's row.
        let of_parent = |name: &str| {
            let relation = catalog.find("k", name).unwrap();
            catalog
                .closure(relation.oid, |r| &r.parents)
                .iter()
                .any(|o| said.contains(&*catalog.relation(*o).unwrap().name))
        };
        for name in changed {
            assert!(
                said.contains(name.as_str()) || of_parent(&name),
                "{sql}: the server changed {name}, we said {said:?}"
            );
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
    assert!(changing > 40, "{changing}");
    before_15_a_row_that_moves_is_deleted(&catalog);
    partitions_are_reached_through_their_parent(&server);
}

/// Rows that a parent's name shows or changes are those of its partitions.
fn partitions_are_reached_through_their_parent(server: &Server) {
    let deeper = "CREATE TABLE k.p3 PARTITION OF k.p FOR VALUES FROM (20) TO (40) PARTITION BY RANGE (id); \
                  CREATE TABLE k.p31 PARTITION OF k.p3 FOR VALUES FROM (20) TO (30)";
    assert!(server.run(&[deeper]).0);
    let catalog = server.catalog();
    for (sql, verb) in [
        ("SELECT * FROM k.p", Verb::Read),
        ("SELECT count(*) FROM k.p", Verb::Read),
        ("COPY (SELECT id FROM k.p) TO STDOUT", Verb::Read),
        ("SELECT 1 WHERE EXISTS (SELECT 1 FROM k.p)", Verb::Read),
        ("EXPLAIN SELECT id FROM k.p", Verb::Read),
        ("INSERT INTO k.p VALUES (3)", Verb::Create),
        ("UPDATE k.p SET id = 3 WHERE id = 1", Verb::Update),
        ("DELETE FROM k.p WHERE id = 1", Verb::Delete),
        ("COPY k.p FROM STDIN", Verb::Create),
        ("TRUNCATE k.p", Verb::Administer),
        ("LOCK TABLE k.p", Verb::Administer),
        ("ALTER TABLE k.p ADD COLUMN x int", Verb::Administer),
    ] {
        let plan = plan(sql, &catalog, &MaskTable::default()).unwrap_or_else(|why| panic!("{sql}: {why}"));
        for name in ["p1", "p2", "p3", "p31"] {
            let found = plan.accesses.iter().find(|a| a.verb == verb && a.resource.path == ["k", name]);
            let found = found.unwrap_or_else(|| panic!("{sql}: {name} {:?}", plan.accesses));
            assert!(found.indirect, "{sql}: {found:?}");
        }
    }
    // By its own name it is no less than it was, and a sibling is nothing to it.
    let plan = plan("SELECT id FROM k.p1", &catalog, &MaskTable::default()).unwrap();
    assert!(plan.accesses.iter().all(|a| a.resource.path[1] != "p2" && !a.indirect), "{:?}", plan.accesses);
}

fn written(access: &Access) -> Option<&str> {
    (access.verb != Verb::Read).then_some(access.resource.path.get(1)?.as_str())
}

/// The indirect changes, `!` after those that nothing bounds.
fn beside(plan: &Plan) -> String {
    let one = |a: &Access| {
        let fields = match &a.resource.fields {
            Fields::Named(names) => format!("({})", names.iter().cloned().collect::<Vec<_>>().join(",")),
            Fields::All => String::new(),
        };
        let bounded = if a.bounded == Some(false) { "!" } else { "" };
        format!("{:?} {}{fields}{bounded}", a.verb, a.resource.path[1])
    };
    let mut changes: Vec<&Access> = plan.accesses.iter().filter(|a| a.indirect && a.verb != Verb::Read).collect();
    changes.sort_by_key(|a| (a.verb, a.resource.path.clone()));
    changes.into_iter().map(one).collect::<Vec<_>>().join("; ")
}

/// The tables whose own rows differ after the statement ran.
fn changed_by(server: &Server, catalog: &Catalog, plan: &Plan) -> BTreeSet<String> {
    let names: Vec<&str> = catalog
        .relations
        .values()
        .filter(|r| r.schema == "k" && r.kind == RelationKind::Table)
        .map(|r| r.name.as_str())
        .collect();
    let rows: Vec<String> = names
        .iter()
        .map(|name| {
            format!(
                "SELECT '{name} ' || coalesce(string_agg(zz::text, ' ' ORDER BY zz::text), '') FROM ONLY k.{name} zz"
            )
        })
        .collect();
    let mut statements = vec!["BEGIN"];
    statements.extend(rows.iter().map(String::as_str));
    statements.push(&plan.text);
    statements.extend(rows.iter().map(String::as_str));
    statements.push("ROLLBACK");
    let (ok, text) = server.run(&statements);
    assert!(ok, "{}\n{text}", plan.text);
    let lines: Vec<&str> = text.lines().filter(|l| names.contains(&l.split(' ').next().unwrap_or_default())).collect();
    let (before, after) = lines.split_at(names.len());
    names.iter().enumerate().filter(|(i, _)| before[*i] != after[*i]).map(|(_, name)| (*name).to_owned()).collect()
}

fn the_snapshot_has_the_actions(catalog: &Catalog) {
    let key = |name: &str| catalog.find("k", name).unwrap().references[0].clone();
    assert_eq!((key("b").on_delete, key("b").on_update), (Action::Cascade, Action::None));
    assert_eq!((key("d").on_delete, key("f").on_update), (Action::SetNull, Action::SetNull));
    assert_eq!((key("e").on_delete, key("e").on_update), (Action::Restrict, Action::Cascade));
    assert_eq!(key("g").on_delete, Action::SetDefault);
    assert_eq!((key("part_set").columns, key("part_set").set_columns), (vec![2, 3], Some(vec![3])));
    assert_eq!(key("b").set_columns, None);
}

fn before_15_a_row_that_moves_is_deleted(catalog: &Catalog) {
    let mut old = catalog.clone();
    old.version = 140_000;
    let none = MaskTable::default();
    let moved = plan("UPDATE k.p SET id = 3 WHERE id = 11", &old, &none).unwrap();
    assert_eq!(
        beside(&moved),
        "Update p1(id); Update p2(id); Update q(p); Update q1(p); Delete leaf; Delete q; Delete q1"
    );
    assert_eq!(beside(&plan("UPDATE k.b SET id = 3 WHERE id = 1", &old, &none).unwrap()), "");
}
