//! Sidecars that are killed at random by the thousand, and at each failpoint a hundred times: `make kills`.
//!
//! Each round has a server and a recording of its own, and ends with the question of `e2e::crash`: did anything run without its
//! intent or its approval, and is the recording sound? The first finding ends the job. What was seen is kept after each
//! round in docs/evidence/kills.json, and the job goes on from there when what ships is the same.

use std::collections::BTreeMap;
use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use e2e::crash::{Crash, Judged, Moment, Work};
use e2e::evidence;
use e2e::random::Random;
use parking_lot::Mutex;
use serde_json::{Value, json};

const KILLS: u64 = 10_000;
/// At each failpoint.
const EACH: u64 = 100;
/// On one server and recording.
const ROUND: u64 = 100;
/// For each core: a round waits most of the time, for starts and people.
const WORKERS: usize = 3;
/// PostgreSQL is killed before one in so many.
const SERVERS: u64 = 10;
/// The failpoints, with how many times each operation passes one.
const POINTS: [(&str, u64); 8] = [
    ("after_decide", 1),
    ("before_intent", 1),
    ("after_intent", 1),
    ("between_intent_and_send", 1),
    ("mid_send", 7),
    ("before_outcome", 1),
    (CONSUMED, 1),
    (ROTATE, 1),
];
const CONSUMED: &str = "approval_consumed";
const ROTATE: &str = "mid_rotate";
const WORKS: [Work; 5] = [Work::Statements, Work::Pipelines, Work::Asked, Work::AskedInPipeline, Work::Bulk];

/// What was seen so far.
#[derive(Default)]
struct Seen {
    at_random: u64,
    servers: u64,
    at_points: BTreeMap<String, u64>,
    judged: Judged,
    /// What ended a round, and with it the job: its kills are not counted.
    failed: Vec<Value>,
}

/// One that found nothing.
struct Ended {
    sidecars: u64,
    servers: u64,
    judged: Judged,
}

/// The next thing to do.
#[derive(Debug)]
enum Round {
    Random,
    Point(&'static str, u64),
}

fn main() -> Result<()> {
    evidence::begin()?;
    let kills = match env::var("N") {
        Ok(n) => n.parse().context("N is a number of kills")?,
        Err(_) => KILLS,
    };
    let seen = Mutex::new(evidence::of_what_ships("kills").as_ref().map(Seen::of).unwrap_or_default());
    let failed = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS * thread::available_parallelism()?.get())
            .map(|_| {
                scope.spawn(|| {
                    let ended = rounds(&seen, kills, &failed);
                    failed.fetch_or(ended.is_err(), Ordering::Relaxed);
                    ended
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("a round panicked"))?)
    })
}

/// Until there is nothing left to do, or another has found something.
fn rounds(seen: &Mutex<Seen>, kills: u64, failed: &AtomicBool) -> Result<()> {
    while !failed.load(Ordering::Relaxed) {
        let Some(round) = seen.lock().next(kills) else { break };
        let ended = match round {
            Round::Random => {
                let seed = Random::seed()?;
                at_random(seed).with_context(|| format!("the round with the seed {seed}"))
            }
            Round::Point(point, step) => at_point(point, step).with_context(|| format!("kills at {point}")),
        };
        seen.lock().add(&round, ended)?;
    }
    Ok(())
}

// === impl Seen ===

impl Seen {
    fn of(kept: &Value) -> Self {
        let count = |place: &str| kept.pointer(place).and_then(Value::as_u64).unwrap_or_default();
        let size = |place: &str| usize::try_from(count(place)).unwrap_or_default();
        let points = POINTS.iter().map(|(point, _)| ((*point).to_owned(), count(&format!("/kills_at/{point}"))));
        Self {
            at_random: count("/kills_at_random"),
            servers: count("/postgres_killed"),
            at_points: points.collect(),
            judged: Judged {
                executed: size("/ran"),
                approved: size("/ran_with_approval"),
                interrupted: size("/interrupted"),
            },
            failed: kept.pointer("/failed_rounds").and_then(Value::as_array).cloned().unwrap_or_default(),
        }
    }

    fn next(&self, kills: u64) -> Option<Round> {
        let left = |point: &str| self.at_points.get(point).is_none_or(|times| *times < EACH);
        match POINTS.iter().find(|(point, _)| left(point)) {
            Some((point, step)) => Some(Round::Point(point, *step)),
            None => (self.at_random < kills).then_some(Round::Random),
        }
    }

    fn add(&mut self, round: &Round, ended: Result<Ended>) -> Result<()> {
        match &ended {
            Ok(Ended { sidecars, servers, judged }) => {
                match round {
                    Round::Random => self.at_random += sidecars,
                    Round::Point(point, _) => *self.at_points.entry((*point).to_owned()).or_default() += sidecars,
                }
                self.servers += servers;
                self.judged.executed += judged.executed;
                self.judged.approved += judged.approved;
                self.judged.interrupted += judged.interrupted;
                println!("{round:?}: {judged:?}; at random so far {}, at points {:?}", self.at_random, self.at_points);
            }
            Err(error) => self.failed.push(format!("{error:#}").into()),
        }
        evidence::write("kills", &self.figures())?;
        ended.map(drop)
    }

    fn figures(&self) -> Value {
        let Judged { executed, approved, interrupted } = self.judged;
        json!({
            "kills_at_random": self.at_random, "postgres_killed": self.servers, "kills_at": self.at_points,
            "ran": executed, "ran_with_approval": approved, "interrupted": interrupted, "failed_rounds": self.failed,
        })
    }
}

/// Kills at moments that the seed makes.
fn at_random(seed: u64) -> Result<Ended> {
    let mut random = Random::new(seed);
    let mut crash = Crash::new()?;
    let mut servers = 0;
    for time in 0..ROUND {
        let mut works = Vec::new();
        for _ in 0..3 {
            works.extend(WORKS.get(usize::try_from(random.below(5))?));
        }
        let server_before = (time % SERVERS == 0).then(|| Duration::from_micros(random.below(20_000)));
        servers += u64::from(server_before.is_some());
        let statements = u32::try_from(random.below(40))?;
        let after = Duration::from_micros(random.below(10_000));
        crash.at_any_moment(&works, &Moment { statements, after, server_before })?;
    }
    Ok(Ended { sidecars: ROUND, servers, judged: crash.judge()? })
}

fn at_point(point: &str, step: u64) -> Result<Ended> {
    let mut crash = Crash::new()?;
    let sidecars = match point {
        ROTATE => {
            crash.at_rotations(EACH)?;
            EACH + 3
        }
        CONSUMED => {
            for _ in 0..EACH / 2 {
                crash.at(point, 1, Work::Asked)?;
                crash.at(point, 1, Work::AskedInPipeline)?;
            }
            EACH
        }
        _ => {
            crash.at_passes(point, step, 20)?;
            40
        }
    };
    Ok(Ended { sidecars, servers: 0, judged: crash.judge()? })
}
