//! What takes minutes of waiting: the renewal of a sidecar's token and recordings whose pods are gone, which run beside all
//! other tests, and the renewal of the operator's CA, which is hurried here and so runs alone: sidecars that have a certificate for an hour hear of it late.
//!
//! Not run by `make test`: the feature `cluster` builds it, `make e2e` runs it.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "cluster_governed/agent.rs"]
mod agent;
#[path = "cluster_patience/ca.rs"]
mod ca;
#[path = "cluster_governed/database.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod database;
#[path = "cluster_governed/inside.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod inside;
#[path = "cluster_patience/kept.rs"]
mod kept;
#[path = "cluster_governed/node.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod node;
#[path = "cluster_patience/recordings.rs"]
mod recordings;
#[path = "cluster_governed/sink.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod sink;
#[path = "cluster_governed/store.rs"]
mod store;
#[path = "cluster_patience/token.rs"]
mod token;
