//! A name after a dot is a column, or it is refused: as a call it would need no access and be on no list.
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

const STATEMENTS: &str = include_str!("data/calls.txt");

#[test]
fn on_a_real_server() {
    let server = Server::start();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/calls.sql");
    let ran = server.psql(&["-v", "ON_ERROR_STOP=1", "-f", file]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let catalog = server.catalog();
    let elsewhere = MaskTable::build(&catalog, &rules(&[("public.users.email", "Redact", "Allow")]));
    check(&server, &catalog, &[MaskTable::default(), elsewhere]);
}

fn check(server: &Server, catalog: &Catalog, masks: &[MaskTable]) {
    let mut wrong = Vec::new();
    let mut seen = [0, 0, 0];
    for line in STATEMENTS.lines().filter(|l| !l.is_empty() && !l.starts_with("--")) {
        let (call, refused) = (line.starts_with('!'), line.starts_with(['!', '-']));
        seen[if call { 0 } else { 1 + usize::from(!refused) }] += 1;
        let sql = line.trim_start_matches(['!', '-']);
        let answer = |text: &str| server.run(&["BEGIN", text, "ROLLBACK"]);
        let (ran, before) = answer(sql);
        if !ran {
            wrong.push(format!("not a statement: {sql}\n    {before}"));
        }
        let mut answers = std::collections::BTreeMap::new();
        for masks in masks {
            match plan(sql, catalog, masks) {
                Err(_) if refused => {}
                Err(why) => wrong.push(format!("{sql}\n    {why}")),
                Ok(plan) if refused => wrong.push(format!("passed: {sql}\n    {}", plan.text)),
                Ok(plan) => _ = answers.entry(plan.text).or_insert_with_key(|text| answer(text)),
            }
        }
        for (text, (ran, after)) in answers {
            if !ran || before != after {
                wrong.push(format!("{sql}\n    {text}\n    {before}\n    {after}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
    assert!(seen[0] > 80 && seen[1] > 3 && seen[2] > 40, "{seen:?}");
}
