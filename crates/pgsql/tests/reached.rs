//! A masked value is not found at the places that the database itself copies it to, derives from it or tells of it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    dead_code,
    reason = "test helpers; each file uses some of them"
)]

mod support;

use pgsql::{Catalog, MaskTable, Plan};
use policy::operation::Strictness;
use support::{CANARY, Server, plan, rules};

const MASKS: &[(&str, &str, &str)] = &[
    ("public.users.ssn", "Redact", "Allow"),
    ("public.people.ssn", "Partial", "Allow"),
    ("public.people.mail", "Partial", "Allow"),
    ("public.people.added", "Redact", "Allow"),
    ("app.contact.phone", "Redact", "Allow"),
    ("public.below.mail", "Redact", "Allow"),
    ("public.o_*.hid*", "Redact", "Allow"),
];

#[test]
fn on_a_real_server() {
    let server = Server::start();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/reached.sql");
    let ran = server.psql(&["-v", "ON_ERROR_STOP=1", "-f", file]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let catalog = server.catalog();
    let masks = MaskTable::build(&catalog, &rules(MASKS));
    let at = Place { server: &server, catalog: &catalog, masks: &masks };
    at.copies_and_derivations_are_redacted();
    at.views_through_functions_are_closed();
    at.views_over_parts_of_the_server_are_closed();
    at.changes_that_lose_a_mask_are_refused();
    at.user_casts_are_refused();
    at.errors_are_scrubbed();
    at.oracles_take_a_person();
    at.checks_of_the_server_take_a_person();
    at.functions_behind_views_take_a_person();
    at.partitions_of_masked_keys_tell_nothing();
    at.missing_values_stay_hidden();
    at.sources_stay_hidden();
    at.keys_are_told_of();
    if catalog.version >= 180_000 {
        virtual_columns_are_redacted(&server);
    }
}

/// PostgreSQL 18 computes them when they are read, which is after the mask or it shows what the mask hides.
fn virtual_columns_are_redacted(server: &Server) {
    let made = "CREATE TABLE folk (id int, mail text, domain text GENERATED ALWAYS AS (substr(mail, 1, 20)) VIRTUAL); \
                INSERT INTO folk VALUES (1, 'CANARY@example.com')";
    assert!(server.run(&[made]).0);
    let catalog = server.catalog();
    let masks = MaskTable::build(&catalog, &rules(&[("public.folk.mail", "Redact", "Allow")]));
    for sql in ["SELECT domain FROM folk", "SELECT * FROM folk", "SELECT id, f.domain || '' FROM folk f", "TABLE folk"]
    {
        let (ok, text) = server.run(&[&plan(sql, &catalog, &masks).unwrap().text]);
        assert!(ok && text.contains("[redacted]") && !text.contains(CANARY), "{sql}: {text}");
    }
}

struct Place<'a> {
    server: &'a Server,
    catalog: &'a Catalog,
    masks: &'a MaskTable,
}

impl Place<'_> {
    fn ok(&self, sql: &str) -> Plan {
        plan(sql, self.catalog, self.masks).unwrap_or_else(|why| panic!("{sql}: {why}"))
    }

    fn refused(&self, sql: &str, part: &str) {
        let why = match plan(sql, self.catalog, self.masks) {
            Ok(plan) => panic!("{sql}: {}", plan.text),
            Err(why) => why.to_string(),
        };
        assert!(why.contains(part), "{sql}: {why}");
    }

    fn problem(&self, part: &str) {
        assert!(self.masks.problems().iter().any(|p| p.text.contains(part)), "{part}: {:?}", self.masks.problems());
    }

    fn copies_and_derivations_are_redacted(&self) {
        for sql in [
            "SELECT * FROM people",
            "SELECT domain FROM people",
            "SELECT p FROM people p",
            "SELECT * FROM boxes",
            "SELECT one, many FROM boxes",
            "SELECT * FROM cards",
            "SELECT c, cs FROM cards",
            "SELECT (one).ssn, (many[1]).ssn FROM boxes",
            "SELECT (c).phone FROM cards",
        ] {
            let (ok, text) = self.server.run(&[&self.ok(sql).text]);
            assert!(ok && !text.contains(CANARY) && !text.contains("CANA"), "{sql}: {text}");
        }
        let (_, text) = self.server.run(&[&self.ok("SELECT domain, twice FROM people").text]);
        assert_eq!(text.trim(), "[redacted]|2");
        self.problem("public.people.domain is computed from a masked column");
        for column in ["boxes.one", "boxes.many", "cards.c", "cards.cs"] {
            self.problem(&format!("public.{column} holds rows"));
        }
    }

    fn views_through_functions_are_closed(&self) {
        for view in ["peeking", "peeking2", "peeking_mat"] {
            self.refused(&format!("SELECT * FROM {view}"), "is closed");
            self.problem(&format!("view public.{view} reads through a function"));
        }
        self.ok("SELECT * FROM quiet_view");
        // Without masks there is nothing to hide.
        assert!(plan("SELECT * FROM peeking", self.catalog, &MaskTable::default()).is_ok());
    }

    /// A rule for the table that the function reads is never asked: somebody has to look.
    fn functions_behind_views_take_a_person(&self) {
        let none = MaskTable::default();
        for (sql, expected) in [
            ("SELECT * FROM peeking", Strictness::RequireApproval),
            ("SELECT id FROM quiet WHERE EXISTS (SELECT 1 FROM peeking2)", Strictness::RequireApproval),
            ("SELECT one FROM peeking_mat", Strictness::RequireApproval),
            ("COPY (SELECT it FROM peeking2) TO STDOUT", Strictness::RequireApproval),
            ("SELECT * FROM quiet_view", Strictness::Allow),
            ("SELECT * FROM checked_view", Strictness::Allow),
            ("INSERT INTO quiet (id) VALUES (1)", Strictness::Allow),
            ("INSERT INTO checked (id) VALUES (1)", Strictness::RequireApproval),
            ("INSERT INTO checked_view (id) VALUES (1)", Strictness::RequireApproval),
            ("INSERT INTO indexed (id) VALUES (1)", Strictness::RequireApproval),
            ("INSERT INTO domained (id) VALUES (1)", Strictness::RequireApproval),
            ("INSERT INTO defaulted (id) VALUES (1) RETURNING t", Strictness::RequireApproval),
            ("INSERT INTO quiet (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET t = DEFAULT", Strictness::Allow),
            ("UPDATE checked SET t = 'x' WHERE id = 1", Strictness::RequireApproval),
            ("UPDATE defaulted SET t = 'x' WHERE id = 1", Strictness::Allow),
            ("UPDATE defaulted SET t = DEFAULT WHERE id = 1 RETURNING t", Strictness::RequireApproval),
            ("UPDATE defaulted SET (id, t) = ROW (1, DEFAULT) WHERE id = 1", Strictness::RequireApproval),
            ("SELECT id FROM checked WHERE id = 1 FOR UPDATE", Strictness::Allow),
            // What refers to it gets a default, which is code.
            ("DELETE FROM checked WHERE id = 1", Strictness::RequireApproval),
            ("DELETE FROM quiet WHERE id = 1", Strictness::Allow),
            ("INSERT INTO domain_default (id) VALUES (1) RETURNING t", Strictness::RequireApproval),
            ("UPDATE domain_default SET t = DEFAULT WHERE id = 1", Strictness::RequireApproval),
            // Planning computes defaults, and what is constant.
            ("EXPLAIN INSERT INTO checked (id) VALUES (1)", Strictness::RequireApproval),
            ("EXPLAIN (VERBOSE) INSERT INTO defaulted (id) VALUES (1)", Strictness::RequireApproval),
            ("EXPLAIN (VERBOSE) UPDATE defaulted SET t = DEFAULT", Strictness::RequireApproval),
            ("EXPLAIN INSERT INTO quiet (id) VALUES (1)", Strictness::Allow),
            ("SELECT attname FROM telling_stats", Strictness::RequireApproval),
            ("SELECT it FROM telling_text", Strictness::RequireApproval),
            ("SELECT word FROM telling_words", Strictness::RequireApproval),
            ("SELECT * FROM telling_nothing", Strictness::Allow),
            ("SELECT to_json(m) FROM moods", Strictness::RequireApproval),
            ("SELECT j FROM mood_view", Strictness::RequireApproval),
        ] {
            assert_eq!(plan(sql, self.catalog, &none).unwrap().ceiling, expected, "{sql}");
        }
    }

    /// A view over statistics shows values of columns, and what takes a query as text shows anything.
    fn views_over_parts_of_the_server_are_closed(&self) {
        for view in ["telling_stats", "telling_text", "telling_words", "mood_view"] {
            self.refused(&format!("SELECT * FROM {view}"), "is closed");
        }
        self.ok("SELECT * FROM telling_nothing");
    }

    /// A change that moves a masked column away from its mask, or lets what a view showed stay without what closes it.
    fn changes_that_lose_a_mask_are_refused(&self) {
        for (sql, part) in [
            ("ALTER TABLE top ADD COLUMN mail text", "shape of `public.top`"),
            ("ALTER TABLE top RENAME COLUMN id TO x", "shape of `public.top`"),
            ("CREATE OR REPLACE VIEW made_of AS SELECT 1 AS id, 'x' AS ssn", "which may show masked columns"),
            ("CREATE OR REPLACE VIEW plain_front AS SELECT 2 AS one", "of which others are made"),
            ("CREATE VIEW quiet AS SELECT 1 AS id", "a name that `public.quiet` has"),
            ("CREATE MATERIALIZED VIEW quiet AS SELECT 1 AS id", "a name that `public.quiet` has"),
            ("CREATE OR REPLACE VIEW quiet AS SELECT 1 AS id", "a name that `public.quiet` has"),
            ("ALTER TABLE keyed RENAME TO quiet", "a name that `public.quiet` has"),
            ("ALTER TYPE app.contact RENAME TO other", "a type that holds columns"),
            ("ALTER FUNCTION app.peek() RENAME TO harmless", "a new name for code"),
            ("DROP SCHEMA app CASCADE", "CASCADE of something that is not a table"),
            ("DROP TYPE app.mood CASCADE", "CASCADE of something that is not a table"),
        ] {
            self.refused(sql, part);
        }
        self.ok("CREATE OR REPLACE VIEW plain_alone AS SELECT 2 AS one");
        self.ok("CREATE VIEW new_one AS SELECT 1 AS id");
        let paths = |sql: &str| {
            let mut all: Vec<String> = self.ok(sql).accesses.iter().map(|a| a.resource.path.join(".")).collect();
            all.sort();
            all.dedup();
            all
        };
        assert_eq!(paths("ALTER TABLE quiet RENAME TO loud"), ["public.loud", "public.quiet"]);
        assert_eq!(paths("DROP VIEW plain_front CASCADE"), ["public.plain_behind", "public.plain_front"]);
        assert_eq!(paths("DROP TRIGGER tell ON quiet"), ["public.quiet"]);
        assert_eq!(paths("COMMENT ON COLUMN quiet.t IS 'x'"), ["public.quiet"]);
        // The server finds a bare name in any schema that it searches, and only of relations we know in which.
        let mut two = self.catalog.clone();
        two.search_path = vec!["app".to_owned(), "public".to_owned()];
        let none = MaskTable::default();
        for sql in ["DROP TYPE mood", "DROP INDEX quiet_pkey", "ALTER TYPE mood ADD VALUE 'x'", "DROP FUNCTION peek()"]
        {
            let why = plan(sql, &two, &none).map(|plan| plan.text).unwrap_err().to_string();
            assert!(why.contains("without its schema"), "{sql}: {why}");
        }
        assert!(plan("DROP TYPE app.mood", &two, &none).is_ok() && plan("DROP TABLE quiet", &two, &none).is_ok());
    }

    fn user_casts_are_refused(&self) {
        self.refused("SELECT 'a'::app.cast_mood::text", "user cast");
        for sql in ["SELECT m::text FROM moods", "SELECT m || '' FROM moods", "SELECT id FROM moods"] {
            self.refused(sql, "user cast");
        }
        self.problem("public.moods.m has the type app.cast_mood");
        self.ok("SELECT 'ok'::app.mood::text");
    }

    fn errors_are_scrubbed(&self) {
        for relation in ["checked", "indexed", "guarded", "defaulted", "domained", "keyed"] {
            assert!(self.ok(&format!("INSERT INTO {relation} (id) VALUES (1)")).scrub, "{relation}");
            assert!(self.ok(&format!("SELECT id FROM {relation}")).scrub, "{relation}");
        }
        for view in ["keyed_view", "checked_view"] {
            assert!(self.ok(&format!("INSERT INTO {view} (id) VALUES (1)")).scrub, "{view}");
        }
        assert!(!self.ok("INSERT INTO quiet (id) VALUES (1)").scrub);
        assert!(!self.ok("INSERT INTO quiet_view (id) VALUES (1)").scrub);
    }

    fn oracles_take_a_person(&self) {
        for sql in [
            "INSERT INTO people (id, ssn) VALUES (2, 'x')",
            "INSERT INTO people (id, mail) VALUES (2, 'x')",
            "INSERT INTO visits (id, who) VALUES (2, 'x')",
            "UPDATE visits SET who = 'x' WHERE id = 1",
            "UPDATE people SET tenant = 3 WHERE id = 1",
        ] {
            assert_eq!(self.ok(sql).ceiling, Strictness::RequireApproval, "{sql}");
        }
        for sql in ["INSERT INTO people (id, added) VALUES (2, 'x')", "INSERT INTO visits (id, note) VALUES (2, 'x')"] {
            assert_eq!(self.ok(sql).ceiling, Strictness::Allow, "{sql}");
        }
    }

    /// Whether a write passes tells of the masked value of the same row.
    fn checks_of_the_server_take_a_person(&self) {
        for (relation, asked, free) in [
            ("o_check", "seen", "id hid note"),
            ("o_gen", "seen", "id hid note"),
            ("o_through", "seen", "id hid note"),
            ("o_index", "seen", "id hid note"),
            ("o_partial", "seen", "id hid note"),
            ("o_policy", "seen", "id hid note"),
            ("o_other", "seen", "id note"),
            ("o_own", "hid", "id seen note"),
            ("o_part", "seen", "id hid note"),
            // Which rows are in this one tells of them.
            ("o_part1", "id seen hid note", ""),
            ("o_keys", "seen", "id hid note"),
            ("o_whole", "id seen note", "hid"),
            ("o_both", "hid hid2", "id note"),
            ("o_none", "", "id seen hid note"),
            ("o_rows", "id seen note", ""),
            ("o_calls", "seen", "id note"),
            // By other names, and by keys.
            ("o_view", "a b", ""),
            ("o_parent", "code", "note"),
            ("o_child", "code", "id hid"),
            // By moving the row.
            ("o_pu", "v hid", "id note"),
            ("o_pu1", "v hid", "id note"),
            ("o_pc", "v", "id hid note"),
            ("o_pn", "v", "id hid note"),
            ("o_pf", "v hid", "id note"),
            ("o_sub", "v", "id hid note"),
            ("o_free", "", "id hid v note"),
        ] {
            let asked = asked.split_whitespace().map(|c| (c, Strictness::RequireApproval));
            let free = free.split_whitespace().map(|c| (c, Strictness::Allow));
            for (column, expected) in asked.chain(free) {
                let sql = format!("UPDATE {relation} SET {column} = NULL WHERE {} = 1", key(relation));
                assert_eq!(self.ok(&sql).ceiling, expected, "{sql}");
            }
        }
        for (sql, expected) in [
            // All of a new row is the agent's own, unless others are looked at.
            ("INSERT INTO o_check (id, seen) VALUES (2, 3)", Strictness::Allow),
            ("INSERT INTO o_both (hid, hid2) VALUES (2, 3)", Strictness::Allow),
            ("INSERT INTO o_check (id, seen) VALUES (1, 3) ON CONFLICT (id) DO NOTHING", Strictness::Allow),
            (
                "INSERT INTO o_check (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET seen = 3",
                Strictness::RequireApproval,
            ),
            ("INSERT INTO o_other (id, seen) VALUES (2, 3)", Strictness::RequireApproval),
            ("INSERT INTO o_own (id, hid) VALUES (2, 3)", Strictness::RequireApproval),
            ("INSERT INTO o_own (id, seen) VALUES (2, 3)", Strictness::Allow),
            ("INSERT INTO o_view (a) VALUES (2)", Strictness::RequireApproval),
            ("DELETE FROM o_parent WHERE id = 1", Strictness::RequireApproval),
            ("DELETE FROM o_check WHERE id = 1", Strictness::Allow),
            ("SELECT id FROM o_other WHERE id = 1 FOR UPDATE", Strictness::Allow),
        ] {
            assert_eq!(self.ok(sql).ceiling, expected, "{sql}");
        }
    }

    fn partitions_of_masked_keys_tell_nothing(&self) {
        for sql in [
            "UPDATE o_keyed SET id = id WHERE id = 1 RETURNING id, tableoid::int",
            "UPDATE o_keyed SET id = id WHERE tableoid = 5 RETURNING id",
            "UPDATE o_keyed k SET id = k.tableoid::int WHERE id = 1",
            "DELETE FROM o_keyed WHERE id = 1 RETURNING o_keyed.tableoid::int",
            "DELETE FROM o_keyed WHERE ctid = '(0,1)'",
            "INSERT INTO o_keyed VALUES (1, 'x') RETURNING tableoid::int",
            "WITH d AS (DELETE FROM o_keyed WHERE id = 1 RETURNING tableoid) SELECT 1 FROM d",
            "SELECT id, tableoid::int FROM o_keyed",
        ] {
            self.refused(sql, "system column");
        }
        for (sql, expected) in [
            ("SELECT id FROM o_keyed_a", Strictness::RequireApproval),
            ("SELECT count(*) FROM o_keyed_b1", Strictness::RequireApproval),
            ("SELECT 1 FROM people WHERE EXISTS (SELECT 1 FROM o_keyed_a)", Strictness::RequireApproval),
            ("COPY o_keyed_a TO STDOUT", Strictness::RequireApproval),
            ("UPDATE o_keyed_a SET id = 3 WHERE id = 1", Strictness::RequireApproval),
            ("DELETE FROM o_keyed_b WHERE id = 1", Strictness::RequireApproval),
            ("INSERT INTO o_keyed_a VALUES (1, 'CANARY-a') ON CONFLICT DO NOTHING", Strictness::Allow),
            ("SELECT id FROM o_keyed", Strictness::Allow),
            ("UPDATE o_keyed SET id = 3 WHERE id = 1", Strictness::Allow),
            ("DELETE FROM o_keyed WHERE id = 1", Strictness::Allow),
            ("SELECT id FROM o_free1", Strictness::Allow),
            ("DELETE FROM o_free WHERE id = 1 RETURNING tableoid", Strictness::Allow),
        ] {
            assert_eq!(self.ok(sql).ceiling, expected, "{sql}");
        }
    }

    fn missing_values_stay_hidden(&self) {
        for sql in [
            "SELECT attmissingval FROM pg_attribute",
            "SELECT a.attmissingval::text FROM pg_catalog.pg_attribute a",
            "SELECT pg_attribute.attmissingval FROM pg_attribute",
            "SELECT pg_catalog.pg_attribute.attmissingval FROM pg_catalog.pg_attribute",
            "SELECT * FROM pg_attribute",
            "SELECT a.* FROM pg_attribute a",
            "SELECT a FROM pg_attribute a",
            "SELECT row_to_json(pg_attribute) FROM pg_attribute",
            "SELECT (a).attmissingval FROM pg_attribute a",
            "SELECT 1 FROM pg_class c NATURAL JOIN pg_attribute a",
            "SELECT j FROM (pg_class c JOIN pg_attribute a ON true) j",
            "SELECT s FROM (SELECT * FROM pg_attribute) s",
            "TABLE pg_attribute",
            "SELECT 1 FROM pg_attribute ORDER BY attmissingval",
            "SELECT 1 FROM pg_attribute WHERE attmissingval::text ~ 'C'",
            "WITH a AS (TABLE pg_attribute) SELECT 1 FROM a",
        ] {
            self.refused(sql, "attmissingval");
        }
        self.refused("SELECT z FROM pg_attribute AS a (b, c, z)", "other names");
        self.ok("SELECT attname, atttypid FROM pg_attribute a WHERE a.attnum > 0");
        assert!(plan("SELECT * FROM pg_attribute", self.catalog, &MaskTable::default()).is_ok());
    }

    /// A function may hold the key of what a column holds.
    fn sources_stay_hidden(&self) {
        for sql in [
            "SELECT prosrc FROM pg_proc",
            "SELECT p.prosqlbody::text FROM pg_catalog.pg_proc p",
            "SELECT * FROM pg_proc",
            "SELECT p FROM pg_proc p",
            "SELECT to_json(pg_proc) FROM pg_proc",
            "SELECT (p).prosrc FROM pg_proc p",
            "SELECT 1 FROM pg_proc WHERE prosrc ~ 'C'",
            "WITH a AS (TABLE pg_proc) SELECT 1 FROM a",
            "SELECT routine_definition FROM information_schema.routines",
            "SELECT * FROM information_schema.routines",
        ] {
            self.refused(sql, "source");
        }
        self.refused("SELECT z FROM pg_proc AS a (b, c, z)", "other names");
        self.ok("SELECT proname, p.prorettype FROM pg_proc p WHERE p.pronargs > 0");
        self.ok("SELECT routine_name FROM information_schema.routines");
        assert!(plan("SELECT prosrc FROM pg_proc", self.catalog, &MaskTable::default()).is_ok());
    }

    fn keys_are_told_of(&self) {
        self.problem("column public.visits.who references masked public.people.ssn and is not masked");
        assert!(self.ok("SELECT who FROM visits").applied.is_empty());
    }
}

fn key(relation: &str) -> &str {
    if relation == "o_view" { "a" } else { "id" }
}
