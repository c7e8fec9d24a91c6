//! What the server says of rows, beside the rows: the words of an error show no more than the agent may read by itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use e2e::world::{self, CANARY, Policy, World};

const TABLES: &str = "
CREATE EXTENSION btree_gist;
CREATE TABLE whole (id int PRIMARY KEY, a int NOT NULL CHECK (a < 100), secret text DEFAULT 'CANARY-row');
INSERT INTO whole VALUES (1, 1), (2, 2);
CREATE TABLE uniq (id int PRIMARY KEY, a int, secret text DEFAULT 'CANARY-key', UNIQUE (a, secret));
INSERT INTO uniq VALUES (1, 1), (2, 2);
CREATE TABLE parent (a int, s text, PRIMARY KEY (a, s));
INSERT INTO parent VALUES (1, 'CANARY-parent');
CREATE TABLE child (id int PRIMARY KEY, a int, s text, FOREIGN KEY (a, s) REFERENCES parent);
INSERT INTO child VALUES (1, 1, 'CANARY-parent');
CREATE TABLE booked (id int, what text, EXCLUDE USING gist (what WITH =));
INSERT INTO booked VALUES (1, 'CANARY-booked');
CREATE VIEW few AS SELECT * FROM whole WHERE a < 10 WITH CHECK OPTION;
CREATE TABLE parted (a int, secret text DEFAULT 'CANARY-part') PARTITION BY RANGE (a);
CREATE TABLE parted1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
INSERT INTO parted VALUES (1);
";

/// Each with the code that the server answers with.
const VIOLATIONS: [(&str, &str); 9] = [
    ("UPDATE whole SET a = NULL WHERE id = 1", "23502"),
    ("UPDATE whole SET a = 500 WHERE id = 1", "23514"),
    ("INSERT INTO whole (id, a) VALUES (9, 500)", "23514"),
    ("UPDATE uniq SET a = 2 WHERE id = 1", "23505"),
    ("UPDATE child SET a = 9 WHERE id = 1", "23503"),
    ("DELETE FROM parent WHERE a = 1", "23503"),
    ("UPDATE few SET a = 50 WHERE id = 1", "44000"),
    ("UPDATE parted1 SET a = 50 WHERE a = 1", "23514"),
    ("INSERT INTO booked (id, what) SELECT 2, 'CANARY-' || 'booked'", "23P01"),
];

fn world(rules: &str) -> World {
    let server = world::server().unwrap();
    server.admin(TABLES).unwrap();
    server.admin("GRANT ALL ON ALL TABLES IN SCHEMA public TO agent_db").unwrap();
    let policy =
        Policy { approvals: String::new(), rules: format!("\n{rules}"), masks: String::new(), ..Policy::default() };
    let sidecar = world::sidecar(&server, &policy).unwrap();
    World { sidecar, server }
}

const CHANGES: &str =
    "          - {name: changes, action: Allow, verbs: [Insert, Update, Delete], relations: ['public.*']}\n";

/// Without a mask anywhere: the rule gives two columns, and the server's role may read all.
#[test]
fn an_error_quotes_no_column_that_no_rule_gives() {
    let some = "          - {name: some, action: Allow, verbs: [Select], relations: ['public.*'], columns: ['*.*.id', '*.*.a']}\n";
    let world = world(&format!("{CHANGES}{some}"));
    let (mut wire, mut native) = (world.agent().unwrap(), world.native().unwrap());
    for (sql, code) in VIOLATIONS {
        let direct = native.query(sql).unwrap();
        assert!(direct.contains(CANARY.as_bytes()), "{sql}: the server shows nothing that could leak: {direct:?}");
        let answer = wire.query(sql).unwrap();
        assert_eq!(answer.sqlstate(), code, "{sql}: {:?}", answer.fault);
        assert!(!answer.contains(CANARY.as_bytes()), "{sql}: {:?}", answer.fault);
        // What was violated is told all the same.
        assert_eq!(answer.fault.unwrap().message, direct.fault.unwrap().message, "{sql}");
    }
}

/// Who may read all of it is told what the server tells.
#[test]
fn an_error_quotes_what_the_agent_may_read() {
    let world = world(&format!(
        "{CHANGES}          - {{name: all, action: Allow, verbs: [Select], relations: ['public.*']}}\n"
    ));
    let (mut wire, mut native) = (world.agent().unwrap(), world.native().unwrap());
    for (sql, code) in VIOLATIONS {
        let (answer, direct) = (wire.query(sql).unwrap(), native.query(sql).unwrap());
        let detail = |answer: &e2e::wire::Answer| answer.fault.clone().unwrap().detail;
        assert_eq!(answer.sqlstate(), code, "{sql}: {:?}", answer.fault);
        // Whose row a view's check option quotes is not said.
        let expected = if code == "44000" { String::new() } else { detail(&direct) };
        assert_eq!(detail(&answer), expected, "{sql}");
    }
}
