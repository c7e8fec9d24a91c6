//! PostgreSQL statements: parse, visit, resolve, classify, mask and render them, without IO.
//!
//! The PostgreSQL grammar itself (18.4, through `pg_raw_parse`) is the only authority. What it cannot parse, what the
//! reviewed field table of [`visit`] does not know, what cannot be resolved against the [`catalog`] and what does not
//! survive a render-and-parse round trip is refused. [`plan()`] is the one entry point.

mod bounded;
mod builtin;
pub mod catalog;
mod classify;
pub mod compare;
pub mod functions;
pub mod mask;
pub mod names;
pub mod outputs;
mod params;
pub mod parse;
pub mod plan;
pub mod preview;
pub mod refused;
pub mod render;
mod resolve;
mod row_calls;
pub mod settings;
mod substitute;
pub mod visit;

pub use catalog::{Catalog, CatalogError, Oid, SNAPSHOT};
pub use mask::MaskTable;
pub use params::check_types;
pub use parse::{Limits, Parsed, parse};
pub use plan::{Context, Effect, Plan, SettingParam, plan};
pub use refused::Refused;
