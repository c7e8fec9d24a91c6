//! What an installation goes through while agents work: rotations of the operator's CA and of a target's credential, an
//! upgrade from an earlier commit and back. Each counts what was refused and what broke, and keeps the counts in
//! docs/evidence.
//!
//! Not run by `make test` nor `make e2e`: `make rotate N=100` and `make upgrade FROM=COMMIT` do. A rotation is counted when
//! it is over, so a run that is ended goes on from there when it is run again and what ships is the same.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "cluster_governed/agent.rs"]
mod agent;
#[path = "cluster_governed/asked.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod asked;
#[path = "cluster_lifecycle/authority.rs"]
mod authority;
#[path = "cluster_lifecycle/credentials.rs"]
mod credentials;
#[path = "cluster_governed/database.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod database;
#[path = "cluster_governed/inside.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod inside;
#[path = "cluster_patience/kept.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod kept;
#[path = "cluster_lifecycle/load.rs"]
mod load;
#[path = "cluster_lifecycle/operators.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod operators;
#[path = "cluster_governed/sink.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod sink;
#[path = "cluster_lifecycle/upgrade.rs"]
mod upgrade;

use std::env;

use e2e::evidence;
use serde_json::{Value, json};

/// How many rotations are wanted.
fn wanted() -> u64 {
    env::var("N").map_or(100, |text| text.parse().unwrap())
}

/// Runs of one kind of rotation, as docs/evidence/rotate.json keeps them beside the others.
struct Runs {
    kind: &'static str,
    all: Vec<Value>,
}

// === impl Runs ===

impl Runs {
    fn before(kind: &'static str) -> Self {
        evidence::begin().unwrap();
        let kept = evidence::of_what_ships("rotate").and_then(|figures| figures[kind]["runs"].as_array().cloned());
        let runs = Self { kind, all: kept.unwrap_or_default() };
        println!("{kind}: {} rotations before", runs.sum("rotations"));
        runs
    }

    fn sum(&self, what: &str) -> u64 {
        self.all.iter().filter_map(|run| run[what].as_u64()).sum()
    }

    /// Writes what was seen, with this run so far in the place of its last word.
    fn keep(&mut self, first: bool, run: &Value) {
        if !first {
            self.all.pop();
        }
        self.all.push(run.clone());
        let mut figures = evidence::of_what_ships("rotate").unwrap_or_else(|| json!({}));
        let mut kind = json!({"runs": self.all});
        for what in run.as_object().unwrap().iter().filter(|(_, value)| value.is_u64()).map(|(what, _)| what) {
            // A maximum is none of a sum.
            if !what.starts_with("longest") {
                kind[what] = json!(self.sum(what));
            }
        }
        figures[self.kind] = kind;
        evidence::write("rotate", &figures).unwrap();
    }
}
