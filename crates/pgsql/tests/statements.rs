//! Texts of psql, drivers and frameworks pass as reads of catalogs, and the server answers the planned text the same.
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
use policy::operation::{ResourceKind, Strictness, Verb};
use support::{Server, plan, rules};

fn corpus(text: &'static str) -> impl Iterator<Item = String> {
    text.split(";;").map(|part| {
        let lines: Vec<&str> = part.lines().filter(|l| !l.starts_with("-- ")).collect();
        lines.join("\n").trim().trim_end_matches(';').to_owned()
    })
}

#[test]
fn on_a_real_server() {
    let server = Server::start();
    let catalog = server.catalog();
    // Masks must not get in the way of `\d`.
    let masks = MaskTable::build(&catalog, &rules(&[("public.users.email", "Redact", "Deny")]));
    let (psql, answered) = check(&server, &catalog, &masks, include_str!("data/psql.txt"), true);
    let (drivers, _) = check(&server, &catalog, &masks, include_str!("data/drivers.txt"), false);
    println!("{psql} texts of psql, {answered} of them answered without error; {drivers} of drivers");
    assert!(psql > 125 && answered > 100 && drivers > 15, "{psql} {answered} {drivers}");
}

/// What psql printed, without the place of an error in the text: a text of another version's psql may name a column
/// that this server has not, and then both forms have to fail alike.
fn placeless(said: &str) -> String {
    let place = |line: &&str| !(line.starts_with("LINE ") || line.trim() == "^");
    said.lines().filter(place).collect::<Vec<_>>().join("\n")
}

/// How many texts pass, and how many of these this server answers without an error.
fn check(server: &Server, catalog: &Catalog, masks: &MaskTable, text: &'static str, run: bool) -> (usize, usize) {
    let mut failures = Vec::new();
    let (mut passed, mut answered) = (0, 0);
    for sql in corpus(text).filter(|sql| !sql.is_empty()) {
        match plan(&sql, catalog, masks) {
            Err(why) => failures.push(format!("{sql}\n    {why}")),
            Ok(plan) => {
                assert_eq!(plan.ceiling, Strictness::Allow, "{sql}");
                for access in &plan.accesses {
                    let session = matches!(
                        (access.verb, access.resource.kind),
                        (Verb::Read, ResourceKind::Catalog)
                            | (Verb::Execute, ResourceKind::SessionSetting | ResourceKind::Transaction)
                    );
                    assert!(session, "{sql}: {access:?}");
                }
                if run {
                    let (fine, before) = server.run(&[&sql]);
                    let (_, after) = server.run(&[&plan.text]);
                    answered += usize::from(fine);
                    if placeless(&before) != placeless(&after) {
                        failures.push(format!("{sql}\n    {}\n{before}\n{after}", plan.text));
                    }
                }
                passed += 1;
            }
        }
    }
    assert!(failures.is_empty(), "{} failed\n{}", failures.len(), failures.join("\n---\n"));
    (passed, answered)
}
