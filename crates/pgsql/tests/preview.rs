//! What is found out before a statement runs: which are counted, that a count says what the statement then changes, and that
//! nothing of it changes anything. The server is the oracle.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    dead_code,
    reason = "test helpers; each file uses some of them"
)]

mod support;

use pgsql::preview::{count, estimate, explain};
use pgsql::{Catalog, Limits, MaskTable};
use support::{CANARY, Server, plan, rules};

const MASKS: &[(&str, &str, &str)] = &[
    ("public.users.email", "Partial", "Allow"),
    ("public.users.ssn", "Redact", "Allow"),
    ("public.base.secret", "Redact", "Allow"),
];

const SETUP: &str = "
CREATE TABLE public.many (id int PRIMARY KEY, kind int, note text);
INSERT INTO public.many SELECT n, n % 7, 'note ' || n FROM generate_series(1, 500) n;
CREATE TABLE public.guarded (id int);
INSERT INTO public.guarded SELECT generate_series(1, 10);
CREATE FUNCTION public.sees(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
CREATE POLICY p ON public.guarded USING (public.sees(1));
CREATE TABLE public.indexed (id int);
CREATE INDEX ON public.indexed ((public.sees(id)));
CREATE VIEW public.many_view AS SELECT id, kind FROM public.many;
INSERT INTO app.events SELECT n, '2020-01-01'::date + n, 's', 'o' FROM generate_series(1, 40) n;
INSERT INTO public.base SELECT n, 'b' FROM generate_series(1, 5) n;
INSERT INTO public.child SELECT n, 'c', 'x' FROM generate_series(1, 6) n;
ANALYZE;
";

/// Counted; the count has to be what the statement changes.
const COUNTED: &[&str] = &[
    "UPDATE many SET note = 'x' WHERE kind = 3",
    "UPDATE many SET note = 'x'",
    "UPDATE many AS m SET note = 'x' WHERE m.kind IN (1, 2) AND (m.note LIKE 'note 1%' OR m.id < 9)",
    "UPDATE public.many SET kind = kind + 1, note = (SELECT 'y') WHERE id BETWEEN 10 AND 19 RETURNING id",
    "DELETE FROM many WHERE id % 2 = 0",
    "DELETE FROM many",
    "DELETE FROM many WHERE false",
    "DELETE FROM many m WHERE EXISTS (SELECT 1 FROM many o WHERE o.id = m.id + 1 AND o.kind = 0)",
    "DELETE FROM many WHERE id = ANY (ARRAY(SELECT user_id FROM orders))",
    "DELETE FROM many WHERE (kind, id) IN (VALUES (1, 1), (2, 2), (9, 9))",
    "DELETE FROM many WHERE note = $$note 7$$ OR note = E'note\\x208'",
    "DELETE FROM many WHERE ((kind = 1) = true) AND (id > 4 OR (id < 2 AND kind = 9))",
    "DELETE FROM many WHERE id IS NOT NULL AND ctid IS NOT NULL AND tableoid <> 0",
    "DELETE FROM app.events WHERE day < '2020-01-20'",
    "DELETE FROM base WHERE id > 2",
    "DELETE FROM ONLY base WHERE id > 2",
    "DELETE FROM plain WHERE id IN (SELECT id FROM users WHERE email = 'x')",
    "UPDATE many SET note = 'x' WHERE id > (SELECT count(*) FROM users) ",
];

/// Not counted, and why; the planner is asked all the same.
const NOT_COUNTED: &[(&str, &str)] = &[
    ("UPDATE many SET note = 'x' FROM plain WHERE plain.id = many.id", "its FROM or USING brings other tables in"),
    ("DELETE FROM many USING plain WHERE plain.id = many.id", "its FROM or USING brings other tables in"),
    ("WITH w AS (SELECT 1 AS id) DELETE FROM many WHERE id IN (SELECT id FROM w)", "it begins with WITH"),
    ("DELETE FROM many WHERE random() < 0.5", "its condition says something else each time it is asked"),
    ("DELETE FROM many WHERE id IN (SELECT id FROM plain FOR UPDATE)", "its condition locks rows"),
    ("DELETE FROM many_view WHERE id = 1", "what it changes is not a table"),
    ("INSERT INTO many VALUES (1001, 1, 'x')", "only UPDATE and DELETE are counted"),
    ("SELECT * FROM many", "only UPDATE and DELETE are counted"),
];

/// Neither: planning alone could run code of users, or say nothing about it.
const UNSEEN: &[(&str, &str)] = &[
    ("DELETE FROM many WHERE sees(1)", "planning it could run functions, operators or types of users"),
    ("SELECT sees(4)", "planning it could run functions, operators or types of users"),
    ("DELETE FROM guarded WHERE id = 1", "planning it could run code of users that belongs to its tables"),
    ("DELETE FROM indexed WHERE id = 1", "planning it could run code of users that belongs to its tables"),
    ("WITH w AS (DELETE FROM plain RETURNING id) SELECT * FROM w", "a WITH of it changes data too"),
    (
        "WITH w AS (DELETE FROM plain RETURNING id) DELETE FROM many WHERE id IN (SELECT id FROM w)",
        "a WITH of it changes data too",
    ),
    ("EXPLAIN DELETE FROM many", "only SELECT, INSERT, UPDATE and DELETE are looked at"),
    ("BEGIN", "only SELECT, INSERT, UPDATE and DELETE are looked at"),
    ("COPY many TO STDOUT", "only SELECT, INSERT, UPDATE and DELETE are looked at"),
    ("DECLARE c CURSOR FOR SELECT * FROM many", "only SELECT, INSERT, UPDATE and DELETE are looked at"),
    ("TRUNCATE many", "only SELECT, INSERT, UPDATE and DELETE are looked at"),
    ("", "it is no statement"),
];

/// A digest of every table of users.
fn content(server: &Server) -> String {
    let tables = "many guarded indexed plain base child users orders";
    let each: Vec<String> = tables
        .split(' ')
        .map(|table| {
            format!("SELECT '{table}', count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM public.{table} t")
        })
        .collect();
    let (ok, text) = server.run(&[&format!(
        "{} UNION ALL SELECT 'events', count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM app.events t",
        each.join(" UNION ALL ")
    )]);
    assert!(ok, "{text}");
    text
}

#[test]
fn on_a_real_server() {
    let server = Server::start();
    let ran = server.psql(&["-v", "ON_ERROR_STOP=1", "-c", SETUP]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let catalog = server.catalog();
    let masks = MaskTable::build(&catalog, &rules(MASKS));
    let before = content(&server);
    what_is_counted_is_what_would_change(&server, &catalog, &masks);
    what_is_not_counted_says_why(&server, &catalog, &masks);
    assert_eq!(content(&server), before, "no preview changes anything");
}

/// Every form is tried, so that one that fails does not hide the others.
fn each<T: std::panic::RefUnwindSafe>(forms: &[T], case: impl Fn(&T) + std::panic::RefUnwindSafe) {
    let failed = forms.iter().filter(|form| std::panic::catch_unwind(|| case(form)).is_err()).count();
    assert_eq!(failed, 0, "see above");
}

fn what_is_counted_is_what_would_change(server: &Server, catalog: &Catalog, masks: &MaskTable) {
    let limits = Limits::default();
    each(COUNTED, |sql| {
        let plan = plan(sql, catalog, masks).unwrap_or_else(|why| panic!("{sql}: {why}"));
        assert!(plan.counts_changes(), "{sql}: {:?}", plan.no_preview);
        let counting = count(&plan, catalog, &limits).unwrap_or_else(|why| panic!("{sql}: {why}"));
        let (ok, counted) = server.run(&["BEGIN READ ONLY", &counting.text, "ROLLBACK"]);
        assert!(ok, "{sql}\n{}\n{counted}", counting.text);
        let (ok, changed) = server.run(&["\\set QUIET off", "BEGIN", &plan.text, "ROLLBACK"]);
        assert!(ok, "{sql}\n{changed}");
        let tag = changed.lines().find(|line| line.starts_with("UPDATE ") || line.starts_with("DELETE "));
        let tag = tag.unwrap_or_else(|| panic!("{sql}: {changed}"));
        assert_eq!(counted.trim(), tag.split(' ').next_back().unwrap(), "{sql}\n{}", counting.text);
        planned(server, sql, &explain(&plan, &limits).unwrap());
    });
}

/// The planner answers with a number, in a transaction that can change nothing.
fn planned(server: &Server, sql: &str, text: &str) {
    assert!(text.starts_with("EXPLAIN (FORMAT JSON) "), "{text}");
    let (ok, json) = server.run(&["BEGIN READ ONLY", text, "ROLLBACK"]);
    assert!(ok, "{sql}\n{text}\n{json}");
    let rows = estimate(&json).unwrap_or_else(|| panic!("{sql}\n{json}"));
    assert!(rows < 100_000, "{sql}: {rows}");
}

fn what_is_not_counted_says_why(server: &Server, catalog: &Catalog, masks: &MaskTable) {
    let limits = Limits::default();
    each(NOT_COUNTED, |(sql, why)| {
        let plan = plan(sql, catalog, masks).unwrap_or_else(|why| panic!("{sql}: {why}"));
        assert_eq!(count(&plan, catalog, &limits).unwrap_err(), *why, "{sql}");
        planned(server, sql, &explain(&plan, &limits).unwrap());
    });
    each(UNSEEN, |(sql, why)| {
        let plan = plan(sql, catalog, masks).unwrap_or_else(|why| panic!("{sql}: {why}"));
        assert_eq!(plan.no_preview, Some(*why), "{sql}");
        assert_eq!(explain(&plan, &limits).unwrap_err(), *why, "{sql}");
        assert_eq!(count(&plan, catalog, &limits).unwrap_err(), *why, "{sql}");
        assert!(!plan.counts_changes(), "{sql}");
    });
    // Parameters keep their numbers, and those that stand elsewhere are not needed.
    let plan = plan("UPDATE many SET note = $1, kind = $3 WHERE id > $2 AND id < $4", catalog, masks).unwrap();
    let counting = count(&plan, catalog, &limits).unwrap();
    assert_eq!(counting.params.into_iter().collect::<Vec<_>>(), [2, 4]);
    assert!(!counting.text.contains(CANARY));
}
