//! The house rules that a machine can check: who imports whom, what has no IO, how long files are, which links hold.
//!
//! Each test gathers every violation and prints it as `file: rule`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "layout/dashboards.rs"]
mod dashboards;
#[path = "layout/imports.rs"]
mod imports;
#[path = "layout/links.rs"]
mod links;
#[path = "layout/manifests.rs"]
mod manifests;
#[path = "layout/proofs.rs"]
mod proofs;
#[path = "layout/purity.rs"]
mod purity;
#[path = "layout/sizes.rs"]
mod sizes;
#[path = "layout/source.rs"]
mod source;

/// Fails with the whole list.
#[track_caller]
fn none(violations: Vec<String>) {
    assert!(violations.is_empty(), "\n{} violations of the layout:\n  {}\n", violations.len(), violations.join("\n  "));
}
