//! Thousands of sidecars on the operator's two replicas, as processes with their own service account: what each needs, how
//! soon a change of a policy has reached all of them, and what one needs that is left alone with all. The API server, the
//! pods' objects, their tokens, the certificates and the streams are real; the far ends of the streams are all in this
//! process and put nothing in force.
//!
//! Not run by `make test` nor `make e2e`: `make scale` runs it and keeps the figures in docs/evidence/scale.json.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "cluster_scale/crowd.rs"]
mod crowd;
#[allow(dead_code, reason = "the other test uses the rest")]
#[path = "cluster_control/dialled.rs"]
mod dialled;
#[allow(dead_code, reason = "the other test uses the rest")]
#[path = "cluster_control/installed.rs"]
mod installed;
#[path = "cluster_scale/objects.rs"]
mod objects;

use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::evidence;
use e2e::usage::{self, Usage};
use serde_json::{Value, json};

use crowd::Crowd;
use dialled::Dialled;
use installed::{Installed, Program};
use objects::Place;

/// Most that a replica may hold while both are there, and what the chart lets one have that is alone.
const MEMORY_KIB: u64 = 256 << 10;
const ALONE_KIB: u64 = 512 << 10;
/// From the answer to a change to the last sidecar.
const CHANGE: Duration = Duration::from_secs(5);
const CHANGES: u32 = 10;
/// Most writes of a status in a second, of all objects.
const STATUSES: u64 = 20;
/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(60);

fn number(name: &str, default: usize) -> usize {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn quantile(sorted: &[Duration], percent: usize) -> Value {
    json!(sorted[(sorted.len() - 1) * percent / 100].as_millis())
}

fn spread(mut all: Vec<Duration>) -> Value {
    all.sort();
    json!({"p50": quantile(&all, 50), "p99": quantile(&all, 99), "last": quantile(&all, 100)})
}

/// Of all of them.
fn cpu(before: &[Usage], after: &[Usage]) -> Duration {
    before.iter().zip(after).map(|(before, after)| after.cpu - before.cpu).sum()
}

/// Statuses of policies and targets, as its metrics say.
fn written(metrics: &str) -> u64 {
    let counts = metrics.lines().filter(|line| line.starts_with("agentaccess_status_writes_total{"));
    counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_sidecars_hear_of_a_change_in_time() {
    evidence::begin().unwrap();
    let cluster = Cluster::connect().unwrap();
    let (pods, policies) = (number("PODS", 5_000), number("POLICIES", 500));
    let path = env::var_os("OPERATOR").map_or_else(|| Program::default().path, Into::into);
    let installed = Installed::start(&cluster, &Program { path, max_policy_age: "15m", log_level: "info" });
    let used = |pids: &[u32]| -> Vec<Usage> { pids.iter().map(|pid| usage::of(*pid).unwrap()).collect() };
    let beside = installed.beside();
    let both = [installed.pid(), beside.pid()];
    let empty = used(&both);

    let begun = Instant::now();
    let place = Arc::new(Place::make(pods, policies).await);
    let made = begun.elapsed();
    println!("{pods} pods and {policies} policies were made in {made:?}");
    let watched = used(&both);

    let begun = Instant::now();
    let replicas = [installed.dialled.clone(), Dialled { control: beside.control, ..installed.dialled.clone() }];
    let mut crowd = Crowd::enrol(&replicas, &place).await;
    let enrolled = begun.elapsed();
    println!("{pods} sidecars were let in and told in {enrolled:?}");
    let before = used(&both);
    tokio::time::sleep(IDLE).await;
    let after = used(&both);
    let idle = cpu(&before, &after).as_secs_f64() / IDLE.as_secs_f64();

    let mut changes = Vec::new();
    let writes = || written(&installed.metrics()) + written(&beside.metrics());
    let (before, said, begun) = (used(&both), writes(), Instant::now());
    for step in 1..=CHANGES {
        let answered = place.step(step).await;
        let told = crowd.told(step, Duration::from_secs(60)).await;
        let took: Vec<Duration> = told.into_iter().map(|at| at.saturating_duration_since(answered)).collect();
        assert_eq!(took.len(), pods);
        changes.push(spread(took));
        println!("change {step}: {} ms", changes[changes.len() - 1]);
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let (changed, said) = (used(&both), writes() - said);
    // Every pod takes the change up, so that what all the policies say of their pods changes as well, a moment later.
    let bound = STATUSES * (begun.elapsed().as_secs() + 1);
    let cost = cpu(&before, &changed) / CHANGES;

    // The other replica's sidecars come over at once.
    drop(beside);
    let killed = Instant::now();
    let answered = place.step(CHANGES + 1).await;
    let told = crowd.told(CHANGES + 1, Duration::from_secs(180)).await;
    assert_eq!(told.len(), pods);
    let back: Vec<Duration> = told.into_iter().map(|at| at.saturating_duration_since(killed)).collect();
    let alone = used(&both[..1])[0];
    println!("all {pods} heard {:?} after the change that followed the kill", answered.elapsed());

    let last = |one: &Value| one["last"].as_u64().unwrap();
    let slowest = changes.iter().map(last).max().unwrap();
    let most = |all: &[Usage], of: fn(&Usage) -> u64| all.iter().map(of).max().unwrap();
    let rss = |all: &[Usage]| most(all, |one| one.rss_kib) >> 10;
    let peak = most(&changed, |one| one.peak_kib);
    let figures = json!({
        "sidecars": pods, "policies": policies, "replicas": both.len(),
        "each_replica_at_most": {
            "memory_empty_mib": rss(&empty), "memory_with_objects_mib": rss(&watched),
            "memory_with_sidecars_mib": rss(&after), "memory_peak_mib": peak >> 10,
        },
        "both_replicas": {
            "cpu_idle_cores": (idle * 1000.0).round() / 1000.0,
            "cpu_of_a_change_s": (cost.as_secs_f64() * 100.0).round() / 100.0,
            "status_writes_of_all_changes": said,
        },
        "one_alone_with_all": {"memory_mib": alone.rss_kib >> 10, "memory_peak_mib": alone.peak_kib >> 10},
        "enrolled_s": enrolled.as_secs(),
        "change_to_all_ms": changes,
        "kill_of_a_replica_to_all_told_anew_ms": spread(back),
        "holds": {
            "memory": peak <= MEMORY_KIB, "memory_alone": alone.peak_kib <= MEMORY_KIB,
            "change": u128::from(slowest) <= CHANGE.as_millis(),
        },
    });
    evidence::write("scale", &figures).unwrap();
    println!("{figures:#}");
    assert!(peak <= MEMORY_KIB, "{} MiB", peak >> 10);
    assert!((1..=bound).contains(&said), "{said} statuses were written");
    assert!(alone.peak_kib <= ALONE_KIB, "{} MiB", alone.peak_kib >> 10);
    assert!(u128::from(slowest) <= CHANGE.as_millis(), "{slowest} ms");
}
