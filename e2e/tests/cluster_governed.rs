//! Pods of agents on a real cluster with the chart installed, as their users meet them.
//!
//! Not run by `make test`: the feature `cluster` builds it, `make e2e` runs it.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "cluster_governed/admission.rs"]
mod admission;
#[path = "cluster_governed/agent.rs"]
mod agent;
#[path = "cluster_governed/approvals.rs"]
mod approvals;
#[path = "cluster_governed/asked.rs"]
mod asked;
#[path = "cluster_governed/broken.rs"]
mod broken;
#[path = "cluster_governed/by_cli.rs"]
mod by_cli;
#[path = "cluster_governed/bypass.rs"]
mod bypass;
#[path = "cluster_governed/dashboards.rs"]
mod dashboards;
#[path = "cluster_governed/database.rs"]
mod database;
#[path = "cluster_governed/ended.rs"]
mod ended;
#[path = "cluster_governed/escape.rs"]
mod escape;
#[path = "cluster_governed/failure.rs"]
mod failure;
#[path = "cluster_governed/grants.rs"]
mod grants;
#[path = "cluster_governed/hosts.rs"]
mod hosts;
#[path = "cluster_governed/identity.rs"]
mod identity;
#[path = "cluster_governed/impact.rs"]
mod impact;
#[path = "cluster_governed/injection.rs"]
mod injection;
#[path = "cluster_governed/inside.rs"]
mod inside;
#[path = "cluster_governed/latency.rs"]
mod latency;
#[path = "cluster_governed/life.rs"]
mod life;
#[path = "cluster_governed/live.rs"]
mod live;
#[path = "cluster_governed/metrics.rs"]
mod metrics;
#[path = "cluster_governed/node.rs"]
mod node;
#[path = "cluster_governed/prometheus.rs"]
mod prometheus;
#[path = "cluster_governed/quickstart.rs"]
mod quickstart;
#[path = "cluster_governed/rights.rs"]
mod rights;
#[path = "cluster_governed/sink.rs"]
mod sink;
#[path = "cluster_governed/status.rs"]
mod status;
#[path = "cluster_governed/watched.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod watched;
#[path = "cluster_governed/webhooks.rs"]
mod webhooks;
