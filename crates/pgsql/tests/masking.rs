//! What a real server answers to planned statements: nothing masked, and nothing else when there are no masks.
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
use policy::operation::{ResourceKind, Strictness};
use support::{CANARY, Server, plan, rules};

/// Everything that holds a canary, in both methods.
const MASKS: &[(&str, &str, &str)] = &[
    ("public.users.email", "Partial", "Allow"),
    ("public.users.ssn", "Redact", "Allow"),
    ("public.users.born", "Redact", "Allow"),
    ("public.users.salary", "Redact", "Allow"),
    ("public.users.tags", "Partial", "Allow"),
    ("public.users.doc", "Redact", "Allow"),
    ("app.events.secret", "Redact", "Allow"),
    ("public.base.secret", "Redact", "Allow"),
    ("public.Odd*.select", "Redact", "Allow"),
    ("app.typed.*", "Redact", "Allow"),
    ("public.people.ssn", "Redact", "Allow"),
    ("public.people.mail", "Partial", "Allow"),
    ("public.people.added", "Redact", "Allow"),
    ("app.contact.phone", "Redact", "Allow"),
];

/// What must not come back. A partial mask keeps an e-mail's first letter and domain only.
const HIDDEN: &[&str] = &[CANARY, "777777.7", "1977", "1978", "424242", "4242.42", "1942", "42 days", "42.42"];

/// One server for all of it: a static one would outlive the test.
#[test]
fn on_a_real_server() {
    let server = Server::start();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/reached.sql");
    let ran = server.psql(&["-v", "ON_ERROR_STOP=1", "-f", file]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let catalog = server.catalog();
    no_statement_shows_what_a_mask_hides(&server, &catalog);
    without_masks_the_answer_is_the_same(&server, &catalog);
}

fn corpus() -> impl Iterator<Item = &'static str> {
    include_str!("data/canary.sql").lines().filter(|l| !l.is_empty() && !l.starts_with("--"))
}

/// What the agent knew before: the statement's own literals come back in outputs and errors.
fn own_words(sql: &str) -> bool {
    sql.contains(CANARY)
}

fn no_statement_shows_what_a_mask_hides(server: &Server, catalog: &Catalog) {
    let masks = MaskTable::build(catalog, &rules(MASKS));
    let (mut ran, mut refused, mut failed) = (0, Vec::new(), Vec::new());
    for sql in corpus() {
        let plan = match plan(sql, catalog, &masks) {
            Ok(plan) if plan.ceiling != Strictness::Deny => plan,
            Ok(_) => continue,
            Err(why) => {
                refused.push(format!("{sql}\n    {why}"));
                continue;
            }
        };
        if plan.accesses.iter().any(|a| a.resource.kind == ResourceKind::Function) {
            // The code of a function cannot be seen: a rule has to name it, and a person to approve it.
            assert_eq!(plan.ceiling, Strictness::RequireApproval, "{sql}");
            continue;
        }
        let mut statements = vec!["BEGIN", plan.text.as_str()];
        if let Effect::DeclareCursor { name } = &plan.effect {
            assert_eq!(name, "c");
            statements.push("FETCH ALL FROM c");
        }
        statements.push("ROLLBACK");
        let (ok, text) = server.run(&statements);
        // An error is replaced by our own text where it could hold a value.
        let shown = if ok || !plan.scrub { text.as_str() } else { "" };
        if !own_words(sql) {
            for hidden in HIDDEN {
                assert!(!shown.contains(hidden), "{sql}\n{}\n{text}", plan.text);
            }
        } else {
            // It may repeat its own word, but the predicate must not have matched.
            assert!(
                !shown.lines().any(|l| l.contains(CANARY) && !l.starts_with("LINE")),
                "{sql}\n{}\n{text}",
                plan.text
            );
        }
        if !ok {
            failed.push(format!("{sql}\n    {}\n    {text}", plan.text));
        }
        ran += 1;
    }
    println!("{ran} ran, of them {} with an error of the server; {} refused", failed.len(), refused.len());
    println!("--- failed\n{}\n--- refused\n{}", failed.join("\n"), refused.join("\n"));
    assert!(ran > 120, "{ran}");
}

/// Sequences move on when a transaction is rolled back, but a restart is rolled back too.
const RESTART: &str = "ALTER SEQUENCE public.users_id_seq RESTART WITH 1000";

fn without_masks_the_answer_is_the_same(server: &Server, catalog: &Catalog) {
    let masks = MaskTable::default();
    let mut same = 0;
    for sql in corpus() {
        let Ok(plan) = plan(sql, catalog, &masks) else { continue };
        // A name that the server would give to a function of a user is always the built-in one.
        if plan.ceiling == Strictness::Deny || sql == "SELECT lower(1)" {
            continue;
        }
        let wrap = |text| match &plan.effect {
            Effect::DeclareCursor { .. } => vec!["BEGIN", RESTART, text, "FETCH ALL FROM c", "ROLLBACK"],
            _ => vec!["BEGIN", RESTART, text, "ROLLBACK"],
        };
        let (ok_before, before) = server.run(&wrap(sql));
        let (ok_after, after) = server.run(&wrap(plan.text.as_str()));
        assert_eq!(ok_before, ok_after, "{sql}\n{}\n{before}\n{after}", plan.text);
        if ok_before && !sql.contains("ANALYZE") && !sql.starts_with("EXPLAIN") {
            assert_eq!(before, after, "{sql}\n{}", plan.text);
            same += 1;
        }
    }
    assert!(same > 120, "{same}");
}
