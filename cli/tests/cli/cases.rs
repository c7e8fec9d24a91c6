//! Case files against the committed policies and the committed catalog.

use std::fs;

use crate::common::{Ran, data, run};

const HEAD: &str = "target: orders-db
subject: {namespace: local, serviceAccount: support-agent, labels: {app: support-agent}}
";

fn test(cases: &str, more: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(data("orders.json"), folder.path().join("orders.json")).unwrap();
    let file = folder.path().join("cases.yaml");
    fs::write(&file, cases).unwrap();
    let (policies, file) = (data("policies").display().to_string(), file.display().to_string());
    run(&[&["test", "-f", &policies, &file], more].concat())
}

fn with_head(cases: &str) -> String {
    format!("{HEAD}catalog: orders.json\ncases:\n{cases}")
}

#[test]
fn cases_that_hold() {
    let cases = with_head(
        "
- {statement: select id from orders, expect: Allow, rule: support-agent/reads, masks: []}
- {name: masked, statement: select * from customers, expect: Allow, masks: [support-agent/ssn, support-agent/email]}
- {statement: delete from orders where id = 3, expect: RequireApproval, rule: support-agent/fixes}
- {statement: drop table orders, expect: Deny, rule: support-agent/no-ddl}
- {statement: insert into orders(id) values (1), expect: Deny}
- {statement: select 1, expect: Deny, subject: {namespace: local, serviceAccount: other}}
- {statement: nothing at all, expect: Deny, database: orders}
",
    );
    let ran = test(&cases, &[]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("  ok    masked\n") && ran.out.ends_with("7 cases as expected, 0 not\n"), "{}", ran.out);
}

#[test]
fn cases_that_do_not() {
    let cases = with_head(
        "
- {statement: select id from orders, expect: Deny}
- {statement: select id from orders, expect: Allow, rule: support-agent/other}
- {name: a <mask>, statement: select id from orders, expect: Allow, masks: [support-agent/email]}
- {statement: select 1, expect: Allow, target: nowhere}
- {statement: select 1, expect: Allow}
",
    );
    let folder = tempfile::tempdir().unwrap();
    let junit = folder.path().join("out.xml").display().to_string();
    let ran = test(&cases, &["--junit", &junit]);
    assert_eq!(ran.status, 1, "{}", ran.err);
    for part in [
        "  FAIL  select id from orders\n        expected Deny, and it is Allow: decided by support-agent/reads\n",
        "expected `support-agent/other` to decide, and it was decided by support-agent/reads",
        "expected the masks support-agent/email, and these apply: none",
        "there is no AccessTarget `local/nowhere`",
        "  ok    select 1\n1 case as expected, 4 not\n",
    ] {
        assert!(ran.out.contains(part), "{part:?} is not in\n{}", ran.out);
    }
    let xml = fs::read_to_string(&junit).unwrap();
    for part in [
        "<testsuites name=\"agentaccess\" tests=\"5\" failures=\"3\" errors=\"1\">",
        "<testcase name=\"a &lt;mask&gt;\"",
        "<failure message=\"expected Deny, and it is Allow",
        "<error message=\"there is no AccessTarget",
    ] {
        assert!(xml.contains(part), "{part:?} is not in\n{xml}");
    }
    let json: serde_json::Value = serde_json::from_str(&test(&cases, &["-o", "json"]).out).unwrap();
    assert_eq!((&json["passed"], &json["failed"]), (&1.into(), &4.into()));
    assert_eq!(json["cases"][3]["result"], "error");
    assert_eq!(json["cases"][0]["verdict"], "Allow");
}

#[test]
fn files_that_cannot_be_used_say_where_and_what_to_do() {
    for (cases, place, remedy) in [
        ("cases: [", "line 2", "`test --help` shows an example"),
        ("cases: []\n", "cases: there are 0", "write 1 to 10000"),
        ("casses: []\n", "unknown field `casses`", "shows an example"),
        ("cases: [{statement: select 1}]\n", "missing field `expect`", "shows an example"),
        ("cases: [{statement: select 1, expect: allow}]\n", "cases[0].expect", "expected one of `Allow`"),
        ("cases: [{statement: select 1, expect: Allow, ruel: a/b}]\n", "unknown field `ruel`", "expected one of"),
        ("cases: [{statement: select 1, expect: Allow}]\n", "cases[0].subject: is missing", "at the top for all cases"),
        (
            "subject: {namespace: a, serviceAccount: b}\ncases: [{statement: select 1, expect: Allow}]\n",
            "cases[0].target: is missing",
            "AccessTarget",
        ),
        (&format!("{HEAD}cases: [{{statement: ' ', expect: Allow}}]\n"), "cases[0].statement: is empty", "write one"),
        (
            &format!("{HEAD}cases: [{{statement: x, expect: Allow, rule: reads}}]\n"),
            "cases[0].rule: `reads` is not POLICY/NAME",
            "support-agent/reads",
        ),
    ] {
        let ran = test(cases, &[]);
        assert!(
            ran.status == 2 && ran.err.contains("cases.yaml") && ran.err.contains(place) && ran.err.contains(remedy),
            "{cases}: {} {}",
            ran.status,
            ran.err
        );
    }
    let policies = data("policies").display().to_string();
    let ran = run(&["test", "-f", &policies, "/none.yaml", "/tmp"]);
    assert!(
        ran.status == 2 && ran.err.contains("`/none.yaml`") && ran.err.contains("`/tmp`: is not a file"),
        "{}",
        ran.err
    );
    let ran = test(&format!("{HEAD}cases: [{{statement: select 1, expect: Allow}}]\n"), &["--state-dir", "/none"]);
    assert!(ran.status == 1 && ran.out.contains("/none/catalog/local.orders-db.orders.json"), "{}{}", ran.out, ran.err);
}

#[test]
fn the_example_of_the_help_holds() {
    let help = run(&["test", "--help"]).out;
    let lines = help.split("A case file:").nth(1).unwrap().lines();
    let example: String = lines
        .skip_while(|line| line.is_empty())
        .take_while(|line| line.starts_with("  "))
        .map(|line| format!("{}\n", line.strip_prefix("  ").unwrap()))
        .collect();
    let ran = test(&example, &[]);
    assert!(ran.status == 0 && ran.out.contains("3 cases as expected, 0 not"), "{}{}\n{example}", ran.out, ran.err);
}

#[test]
fn the_page_about_policies_holds() {
    let page = fs::read_to_string(data("../../../../docs/policies.md")).unwrap();
    let blocks: Vec<&str> = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let [policy, cases, detectors] = blocks[..] else { panic!("{} blocks of YAML", blocks.len()) };
    let ran = test(cases, &[]);
    assert!(ran.status == 0 && ran.out.contains("2 cases as expected"), "{}{}", ran.out, ran.err);
    let folder = tempfile::tempdir().unwrap();
    fs::copy(data("policies/target.yaml"), folder.path().join("target.yaml")).unwrap();
    // A part of a target, whose masks are the reader's own.
    let head = "apiVersion: agentaccess.dev/v1alpha1\nkind: AgentAccessPolicy\nmetadata: {name: net, namespace: local}\n\
                spec:\n  podSelector: {}\n  targets:\n    - targetRef: {name: orders-db}\n";
    let detectors = detectors.replace("masks: [...]", "rules: []\n        masks: []");
    for (name, text) in [("watch.yaml", policy.to_owned()), ("net.yaml", format!("{head}{detectors}"))] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let lint = run(&["lint", "-f", &folder.path().display().to_string()]);
    assert!(lint.status == 0 && lint.out.contains("3 objects, 0 errors"), "{}", lint.out);
}
