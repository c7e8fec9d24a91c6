//! What a statement is said to touch must contain what the server touches: PostgreSQL's own regression SQL, classified as the
//! sidecar does it, run as it would be sent, and compared with the locks that the server holds at its end.
//!
//! A miss is a relation that the server locked and no access names. What calls functions of users is counted apart: it takes a
//! person, because their code cannot be seen.

mod corpus;
mod server;

use std::collections::{BTreeMap, BTreeSet};

use e2e::evidence;
use pgsql::{Catalog, Context, Limits, MaskTable};
use policy::operation::{Access, ResourceKind, Strictness};
use serde_json::json;

use server::{Session, Target, Used};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The tables that all files start from.
const SET_UP: &str = "test_setup";

/// What became of the statements.
#[derive(Debug, Default)]
struct Seen {
    statements: u64,
    refused: BTreeMap<String, u64>,
    failed: u64,
    unseen_code: u64,
    compared: u64,
    touching: u64,
    sequences: u64,
    keys: u64,
    policies: u64,
    looked_up: u64,
    changed: Vec<String>,
    /// Relations that DDL locks besides those it names.
    beyond: Vec<String>,
    misses: Vec<String>,
}

fn main() -> Result<()> {
    evidence::begin()?;
    let only: Vec<String> = std::env::args().skip(1).collect();
    let corpus = corpus::read()?;
    let target = Target::start()?;
    let mut seen = Seen::default();
    let set_up = corpus.get(SET_UP).cloned().unwrap_or_default();
    for (name, statements) in corpus.iter().filter(|(name, _)| only.is_empty() || only.contains(name)) {
        let mut session = target.session(name, &set_up)?;
        let before = seen.misses.len();
        for sql in statements {
            one(&mut session, sql, name, &mut seen)?;
        }
        let misses = seen.misses.get(before..).unwrap_or_default();
        println!("{name}: {} statements, {} misses", statements.len(), misses.len());
        misses.iter().for_each(|text| println!("{text}"));
    }
    for text in seen.changed.iter().chain(&seen.beyond) {
        println!("{text}");
    }
    let version = target.version()?;
    let figures = json!({
        "server": version, "files": corpus.len(), "statements": seen.statements, "refused": seen.refused.values().sum::<u64>(),
        "failed": seen.failed, "with_code_of_users": seen.unseen_code, "compared": seen.compared,
        "of_them_touch_relations": seen.touching, "fail_only_as_sent": seen.changed.len(),
        "sequences_of_columns": seen.sequences, "keys_looked_up": seen.keys, "read_by_row_policies": seen.policies, "locked_and_not_read": seen.looked_up, "beside_what_ddl_names": seen.beyond.len(),
        "misses": seen.misses.len(),
    });
    println!("{figures:#}");
    if only.is_empty() {
        let major = version.split('.').next().unwrap_or_default();
        evidence::write(&format!("differential-{major}"), &figures)?;
    }
    match seen.misses.len() {
        0 => Ok(()),
        misses => Err(format!("{misses} misses").into()),
    }
}

fn one(session: &mut Session, sql: &str, file: &str, seen: &mut Seen) -> Result<()> {
    seen.statements += 1;
    let masks = MaskTable::default();
    let catalog = session.catalog()?;
    let plan = catalog
        .as_deref()
        .map(|catalog: &Catalog| pgsql::plan(sql, &Context { catalog, masks: &masks, limits: Limits::default() }));
    let plan = match plan {
        Some(Ok(plan)) if plan.ceiling != Strictness::Deny && !plan.text.is_empty() => plan,
        other => {
            let why = match other {
                Some(Err(refused)) => refused.code.sqlstate(),
                Some(Ok(_)) => "denied",
                None => "no catalog",
            };
            *seen.refused.entry(why.to_owned()).or_default() += 1;
            session.run(sql)?;
            return Ok(());
        }
    };
    let Some(touched) = session.touched(&plan.text)? else {
        // What fails as it is sent and not as it was written is no miss, but a difference.
        match session.run(sql)? {
            true => seen.changed.push(format!("{file}: fails only as sent: {sql}\n    {}", plan.text)),
            false => seen.failed += 1,
        }
        return Ok(());
    };
    let named: BTreeSet<&[String]> = plan.accesses.iter().map(|access| access.resource.path.as_slice()).collect();
    let code = |access: &Access| match access.resource.kind {
        ResourceKind::Function | ResourceKind::Code => true,
        _ => match (&catalog, access.resource.path.as_slice()) {
            (Some(catalog), [schema, name]) => {
                catalog.find(schema, name).is_some_and(|relation| relation.triggers || relation.rules)
            }
            _ => false,
        },
    };
    if plan.accesses.iter().any(code) {
        seen.unseen_code += 1;
        return Ok(());
    }
    seen.compared += 1;
    seen.touching += u64::from(!touched.is_empty());
    let of_sequences = ["nextval", "setval", "currval", "lastval"].iter().any(|name| sql.contains(name));
    let reads = touched.iter().any(|one| one.used != Used::Not);
    for one in touched.iter().filter(|one| !named.contains(one.path.as_slice())) {
        let whose = |owner: &String| named.iter().any(|path| path.last() == Some(owner));
        let text = || format!("{file}: {} in {sql}\n    as {}\n    named {named:?}", one.path.join("."), plan.text);
        match one.kind.as_str() {
            // The number that a column has by itself, by what owns the sequence or by its default.
            "S" if one.owner.as_ref().is_some_and(whose) || !of_sequences => seen.sequences += 1,
            // The server looks whether a key is there, as it does for everybody who may insert, and whether anybody
            // still refers to one that goes, as for everybody who may delete. What it changes then is named.
            "r" | "p" if one.referenced.iter().any(whose) => seen.keys += 1,
            "r" | "p" if one.used != Used::Changed && one.references.iter().any(whose) => seen.keys += 1,
            // Row policies are the database's own, and read what they need.
            _ if one.policies.iter().any(whose) => seen.policies += 1,
            // Every definition takes a person, who sees the whole statement.
            _ if plan.ceiling != Strictness::Allow => seen.beyond.push(text()),
            // A definition is looked up (`pg_get_viewdef`), and no row.
            "v" if !reads => seen.looked_up += 1,
            "r" | "p" | "m" if one.used == Used::Not => seen.looked_up += 1,
            _ => seen.misses.push(text()),
        }
    }
    Ok(())
}
