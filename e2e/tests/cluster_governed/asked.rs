//! One agent, and what it waits for people to say.

use std::time::Duration;

use e2e::cluster::{Answer, Cluster};
use e2e::wait;
use e2e::world::Policy;
use serde_json::Value;

use super::database::World;
use super::inside::Psql;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Asked {
    pub(crate) world: World,
    pub(crate) psql: Psql,
}

/// One statement that waits.
pub(crate) struct Held {
    mark: String,
    pub(crate) name: String,
}

// === impl Asked ===

impl Asked {
    /// `approval`: what the policy's approval `person` says beyond its name.
    pub(crate) fn new(approval: &str) -> Self {
        let policy = Policy::default();
        let approvals = policy.approvals.replace("{name: person, pendingTTL: 60s, holdFor: 15s}", approval);
        assert_ne!(approvals, policy.approvals);
        let world = World::new(&Policy { approvals, ..policy });
        let psql = world.psql();
        Self { world, psql }
    }

    pub(crate) fn hold(&mut self, id: u32) -> Held {
        self.hold_sql(&format!("DELETE FROM orders WHERE id = {id} RETURNING id"), &format!("= {id} "))
    }

    /// `part`: what only this statement's request shows.
    pub(crate) fn hold_sql(&mut self, sql: &str, part: &str) -> Held {
        let mark = self.psql.send(sql);
        let name = wait::until("the question", PATIENCE, || {
            let found = self.world.cluster.get(&["areq", "-n", &self.world.namespace.name])?;
            let mine = found["items"].as_array().unwrap().iter();
            let mut mine = mine.filter(|one| one["spec"]["statement"].as_str().unwrap().contains(part));
            Ok(mine.next().map(|one| one["metadata"]["name"].as_str().unwrap().to_owned()))
        })
        .unwrap();
        Held { mark, name }
    }

    pub(crate) fn decide(&self, who: &Cluster, held: &Held, words: &[&str]) -> Answer {
        decide(&self.world, who, held, words)
    }

    pub(crate) fn approve(&self, who: &str, held: &Held) -> Answer {
        approve(&self.world, who, held)
    }

    pub(crate) fn answer(&self, held: &Held) -> String {
        self.psql.until(&held.mark, PATIENCE * 3).unwrap_or_default()
    }

    pub(crate) fn deleted(&self) -> usize {
        self.world.server.executed_with("DELETE FROM")
    }

    pub(crate) fn status(&self, held: &Held) -> Value {
        self.world.cluster.get(&["areq", "-n", &self.world.namespace.name, &held.name]).unwrap()["status"].clone()
    }

    pub(crate) fn phase(&self, held: &Held, phase: &str) {
        wait::eventually(phase, PATIENCE, || self.status(held)["phase"] == phase).unwrap();
    }
}

pub(crate) fn decide(world: &World, who: &Cluster, held: &Held, words: &[&str]) -> Answer {
    let annotate = ["-n", &world.namespace.name, "annotate", "areq", &held.name];
    who.run(&[&annotate[..], words].concat(), None).unwrap()
}

pub(crate) fn approve(world: &World, who: &str, held: &Held) -> Answer {
    decide(world, &world.cluster.user(who), held, &["agentaccess.dev/decision=approve"])
}
