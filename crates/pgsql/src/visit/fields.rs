//! The reviewed table: one row per field of every node of the grammar, grouped by what the nodes are for.
//!
//! A new node type does not compile (the `match` in [`super::table`] has no default arm); a new field fails the unit
//! test that compares these rows with the printed form of each node.

mod expression;
mod json;
mod name;
mod never;
mod object;
mod query;
mod server;
mod session;
mod table;
