//! What the committed policies say to SQL, against a committed catalog.

use crate::common::{Ran, data, run};

fn simulate(more: &[&str]) -> Ran {
    let (policies, catalog) = (data("policies").display().to_string(), data("orders.json").display().to_string());
    let mut arguments = vec!["simulate", "-f", &policies, "--catalog", &catalog, "--target", "orders-db"];
    arguments.extend(more);
    run(&arguments)
}

const AGENT: [&str; 4] = ["--as", "local/support-agent", "--labels", "app=support-agent"];

#[test]
fn verdicts_rules_and_statuses() {
    let table: [(&str, i32, &str, &str, &str); 9] = [
        ("select id, status from orders", 0, "Allow", "support-agent/reads", "public.orders"),
        ("select email from customers", 0, "Allow", "support-agent/reads", "AS email"),
        ("begin", 0, "Allow", "builtin/session", "BEGIN"),
        ("delete from orders where id = 3", 3, "RequireApproval", "support-agent/fixes", "DELETE FROM public.orders"),
        ("update orders set total = 0", 4, "Deny", "support-agent/fixes", ""),
        ("drop table orders", 4, "Deny", "support-agent/no-ddl", ""),
        ("insert into orders(id) values (1)", 4, "Deny", "", ""),
        ("select 1; select 2", 4, "Deny", "", ""),
        ("select * from nothing_here", 4, "Deny", "", ""),
    ];
    for (sql, status, verdict, rule, sent) in table {
        let ran = simulate(&[&AGENT[..], &["-o", "json", sql]].concat());
        assert_eq!(ran.status, status, "{sql}: {}{}", ran.out, ran.err);
        let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(json["verdict"], verdict, "{sql}");
        let decided: Vec<&str> = json["decidedBy"].as_array().unwrap().iter().map(|r| r.as_str().unwrap()).collect();
        assert_eq!(decided, if rule.is_empty() { vec![] } else { vec![rule] }, "{sql}");
        match json["sent"].as_str() {
            Some(text) => assert!(!sent.is_empty() && text.contains(sent), "{sql}: {text}"),
            None => assert!(sent.is_empty(), "{sql}"),
        }
    }
}

#[test]
fn the_strictest_statement_gives_the_status() {
    let statements = ["select 1", "delete from orders where id = 3"];
    let ran = simulate(&[&AGENT[..], &statements].concat());
    assert_eq!(ran.status, 3, "{}", ran.out);
    let text = simulate(&[&AGENT[..], &["drop table orders", "select 1"]].concat());
    assert_eq!(text.status, 4);
    for expected in [
        "  verdict    Deny\n",
        "  decided by support-agent/no-ddl\n",
        "  matched    support-agent/no-ddl says Deny to Administer Object public.orders\n",
        "Schema changes go through migrations.",
        "  hint       ask whoever owns policy support-agent/no-ddl",
        "  sent       nothing\n",
    ] {
        assert!(text.out.contains(expected), "{expected:?} is not in\n{}", text.out);
    }
    let asked = simulate(&[&AGENT[..], &["update orders set total = 1 where id = 2"]].concat());
    assert!(asked.out.contains("waits up to 5s for 2 approvals, each with a reason (the request is open 900s)"));
}

#[test]
fn masks_are_named_and_hold_in_what_is_sent() {
    let ran = simulate(&[&AGENT[..], &["select * from customers"]].concat());
    assert!(ran.out.contains("  masked by  support-agent/email, support-agent/ssn\n"), "{}", ran.out);
    assert!(ran.out.contains("'[redacted]'::text AS ssn"), "{}", ran.out);
    let ran = simulate(&[&AGENT[..], &["select id from customers where ssn = '1'"]].concat());
    assert_eq!(ran.status, 4, "a predicate on a masked column tells its value");
}

#[test]
fn a_stranger_and_wrong_words() {
    let stranger = simulate(&["--as", "local/other", "--labels", "app=other", "select 1"]);
    assert_eq!(stranger.status, 4);
    assert!(stranger.out.contains("decided by no policy: none selects this subject"), "{}", stranger.out);
    assert_eq!(simulate(&["--as", "nobody", "select 1"]).status, 2);
    let ran = simulate(&[&AGENT[..], &["--database", "other", "select 1"]].concat());
    assert!(ran.status == 1 && ran.err.contains("has no database `other`; it has: orders"), "{}", ran.err);
    let policies = data("policies").display().to_string();
    let ran = run(&["simulate", "-f", &policies, "--as", "local/a", "--target", "nope", "select 1"]);
    assert!(ran.status == 1 && ran.err.contains("there are: local/orders-db"), "{}", ran.err);
    let ran =
        run(&["simulate", "-f", &policies, "--as", "local/a", "--target", "orders-db", "--state-dir", "/none", "x"]);
    assert!(ran.status == 1 && ran.err.contains("/none/catalog/local.orders-db.orders.json"), "{}", ran.err);
}
