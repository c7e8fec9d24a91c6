//! What the fuzz targets `classify` and `substitute` check, for any bytes. The corpus is replayed through the same
//! functions on the stable compiler.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a check fails by panicking")]

mod mixed;
mod panics;
mod sent;
mod undo;
mod world;

pub(crate) use panics::watch;
use pgsql::{Limits, MaskTable, Refused};
use world::{World, world};

/// Any text.
pub(crate) fn classify(data: &[u8]) {
    let Ok(sql) = std::str::from_utf8(data) else { return };
    _ = statement(sql);
}

/// Statements that are put together from others; see `mixed` for the bytes.
pub(crate) fn substitute(data: &[u8]) {
    let Some(sql) = mixed::text(data) else { return };
    // As a value it stands against a masked column only, wherever it stands; and no refusal quotes a value.
    let said = statement(&sql).unwrap_or_else(|refused| refused.to_string());
    assert!(!said.contains(mixed::HIDDEN), "{sql}\n{said}");
}

/// Without masks and with them. What is shown of one that is planned with masks.
fn statement(sql: &str) -> Result<String, Refused> {
    let world = world();
    if let Ok(plan) = planned(sql, world, &world.none) {
        sent::check(sql, &plan, world, &world.none);
        sent::again(sql, &plan, world);
    }
    let plan = planned(sql, world, &world.masks)?;
    sent::check(sql, &plan, world, &world.masks);
    Ok(plan.display.as_str().to_owned())
}

fn planned(sql: &str, world: &World, masks: &MaskTable) -> Result<pgsql::Plan, Refused> {
    let context = pgsql::Context { catalog: &world.catalog, masks, limits: Limits::default() };
    panics::ours();
    let plan = pgsql::plan(sql, &context);
    // What unwinds in the parser's crate is a refusal; ours never does.
    assert_eq!(panics::ours(), None, "{sql}");
    // Names may be long.
    plan.inspect_err(|refused| assert!(refused.to_string().len() <= 1024 + 2 * sql.len(), "{sql}\n{refused}"))
}
