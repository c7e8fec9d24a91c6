//! What a person sees of a statement: all of it but what stands against masked columns, or it cannot be approved.
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
use support::{Server, plan, rules};

#[test]
fn on_a_real_server() {
    let server = Server::start();
    let catalog = server.catalog();
    let masks = MaskTable::build(&catalog, &rules(&[("public.users.*", "Redact", "Allow")]));
    let some = MaskTable::build(&catalog, &rules(&[("public.users.ssn", "Redact", "Allow")]));
    long_statements_are_shown_whole_or_said_to_be_cut(&catalog);
    statements_are_shown_on_one_line(&catalog);
    constants_are_shown_or_said_to_be_hidden(&catalog, &some);
    parameters_are_shown_or_said_to_be_hidden(&catalog, &masks);
}

fn long_statements_are_shown_whole_or_said_to_be_cut(catalog: &Catalog) {
    let none = MaskTable::default();
    for (blanks, whole) in [(0, true), (4_300, true), (16_000, true), (17_000, false)] {
        let sql = format!("UPDATE plain SET name = 'typo' WHERE id = 1 {} OR true", " ".repeat(blanks));
        let shown = plan(&sql, catalog, &none).unwrap().display;
        assert_eq!(shown.is_whole(), whole, "{blanks}");
        assert_eq!(shown.as_str().ends_with("OR true"), whole, "{blanks}: {shown}");
        assert_eq!(shown.as_str().contains("⟪cut: it has"), !whole, "{blanks}: {shown}");
    }
    // Characters of several bytes are not torn.
    let sql = format!("SELECT '{}'", "é".repeat(16_000));
    assert!(!plan(&sql, catalog, &none).unwrap().display.is_whole());
}

/// Nothing that an agent writes looks like what stands around the statement.
fn statements_are_shown_on_one_line(catalog: &Catalog) {
    let none = MaskTable::default();
    let blank = "\n".repeat(60);
    let fake = format!("open'' WHERE id = 4713\nSubject:\n\tPod: a\nPhase: Pending{blank}");
    for (sql, expected) in [
        (format!("UPDATE plain SET name = '{fake}' WHERE id > 0"), "Pending ⟪60 blanks⟫ ␊' WHERE id > 0"),
        (format!("UPDATE plain SET name = $${fake}$$ WHERE id > 0"), "Pending ⟪60 blanks⟫ ␊$$ WHERE id > 0"),
        (format!("UPDATE plain SET name = 'x' /* {fake}*/ WHERE id > 0"), "Pending ⟪60 blanks⟫ ␊*/ WHERE id > 0"),
        (format!("SELECT id AS \"{fake}\" FROM plain"), "Pending ⟪60 blanks⟫ ␊\" FROM plain"),
        ("DELETE FROM plain -- all\r WHERE id = 1".to_owned(), "-- all␍ WHERE id = 1"),
        ("DELETE FROM plain -- all\n\tWHERE id = 1".to_owned(), "-- all␊␉WHERE id = 1"),
        ("DELETE FROM plain -- all\\nWHERE id = 1".to_owned(), "-- all\\nWHERE id = 1"),
        ("DELETE FROM plain -- all␊WHERE id = 1".to_owned(), "-- all\\u{240a}WHERE id = 1"),
    ] {
        let shown = plan(&sql, catalog, &none).unwrap().display;
        assert!(shown.is_whole() && !shown.as_str().chars().any(char::is_control), "{shown}");
        assert!(shown.as_str().ends_with(expected), "{shown}");
    }
}

fn constants_are_shown_or_said_to_be_hidden(catalog: &Catalog, masks: &MaskTable) {
    for (sql, whole, seen) in [
        ("UPDATE plain SET name = 'good' FROM users u WHERE plain.id = 2 AND u.ssn <> 'zz'", true, "'good'"),
        ("UPDATE plain SET name = 'evil' FROM users u WHERE plain.id = 2 AND u.ssn <> (SELECT 'zz')", false, ""),
        ("UPDATE plain SET name = $1 FROM users u WHERE u.ssn <> (SELECT $2)", false, ""),
        ("DELETE FROM plain WHERE name = 'good' AND id IN (SELECT id FROM users)", true, "'good'"),
        ("DELETE FROM plain WHERE name = 'evil' AND email IN (SELECT ssn FROM users)", false, ""),
        ("SELECT name FROM plain WHERE name = 'evil' AND email IN (SELECT ssn FROM users UNION SELECT 'x')", false, ""),
        ("INSERT INTO users (id, name, email, ssn) VALUES (9, 'good', 'e', 'hidden')", true, "'good'"),
        ("INSERT INTO users (id, name, email, ssn) SELECT 9, 'evil', 'e', 'hidden'", false, ""),
        ("DELETE FROM plain WHERE id = 1", true, "1"),
        // What only shares an expression with a masked column does not stand against it.
        ("UPDATE plain SET name = CASE WHEN u.ssn IS NULL THEN 'evil' ELSE 'evil' END FROM users u", false, ""),
        ("UPDATE plain SET name = substr('evil' || u.ssn, 1, 4) FROM users u WHERE plain.id = 2", false, ""),
        ("DELETE FROM plain USING users u WHERE plain.id + 0 * length(u.ssn) = 2", false, ""),
        ("DELETE FROM plain USING users u WHERE (plain.id = 2) = (u.ssn IS NULL)", false, ""),
        ("DELETE FROM plain USING users u WHERE (plain.id, u.ssn) = (2, 'x')", false, ""),
        ("INSERT INTO plain (id, name) VALUES (5, (SELECT 'evil' || ssn FROM users LIMIT 1))", false, ""),
        ("INSERT INTO plain (id, name) SELECT 5, 'good' FROM users WHERE ssn LIKE 'hidden'", true, "'good'"),
        ("DELETE FROM plain USING users u WHERE lower(u.ssn)::text IN ('zz', 'hidden') AND plain.id = 2", true, "2"),
        ("DELETE FROM plain USING users u WHERE 'hidden' = u.ssn AND u.ssn BETWEEN 'zz' AND 'zz'::text", true, "plain"),
        ("DELETE FROM plain USING users u WHERE u.ssn = ANY (ARRAY['zz', 'hidden']) AND u.ssn IS NOT NULL", true, ""),
        ("UPDATE users SET ssn = 'hidden', name = 'good' WHERE id = 4", true, "'good'"),
    ] {
        let shown = plan(sql, catalog, masks).unwrap().display;
        assert_eq!(shown.is_whole(), whole, "{sql}: {shown}");
        assert!(shown.as_str().contains(seen), "{sql}: {shown}");
        assert!(!["'hidden'", "'zz'"].iter().any(|word| shown.as_str().contains(word)), "{sql}: {shown}");
    }
}

fn parameters_are_shown_or_said_to_be_hidden(catalog: &Catalog, masks: &MaskTable) {
    for (sql, whole, hidden) in [
        ("UPDATE plain SET name = $1 FROM users u WHERE u.ssn = $2", true, vec![2]),
        ("UPDATE plain SET name = $1 FROM users u WHERE u.ssn = (SELECT $2)", false, vec![1, 2]),
        ("UPDATE plain SET name = $1 WHERE id = $2", true, vec![]),
    ] {
        let plan = plan(sql, catalog, masks).unwrap();
        assert_eq!((plan.display.is_whole(), plan.hidden_params), (whole, hidden), "{sql}");
    }
}
