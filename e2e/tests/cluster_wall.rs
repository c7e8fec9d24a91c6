//! The second wall, on a real API server: every check of the chart's admission policies has an object that it lets pass
//! and one that it refuses, with the injection webhook deleted. A refusal names the field and what to do.
//!
//! Not run by `make test`: the feature `cluster` builds it, `make e2e` runs it.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "cluster_wall/agent.rs"]
mod agent;
#[path = "cluster_wall/approvals.rs"]
mod approvals;
#[path = "cluster_wall/changes.rs"]
mod changes;
#[path = "cluster_wall/definitions.rs"]
mod definitions;
#[path = "cluster_wall/namespaces.rs"]
mod namespaces;
#[path = "cluster_wall/owners.rs"]
mod owners;
#[path = "cluster_wall/pods.rs"]
mod pods;
#[path = "../../crds/tests/rules/table.rs"]
mod table;
