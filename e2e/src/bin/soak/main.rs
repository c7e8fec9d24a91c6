//! Mixed traffic through one sidecar for many minutes: what it holds, and whether it grows slower. See scripts/soak.sh.
//!
//! Sessions come and go, statements are allowed, masked, refused, rolled back and copied, every answer is looked at, policies
//! are loaded anew and old segments are pruned, as in a life. It fails when an answer is not as it must be.

mod drift;
mod traffic;

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::postgres::{Options, Place};
use e2e::usage::{self, Usage};
use e2e::world::{self, POLICY_FILE, Policy};
use e2e::{evidence, recorded};
use serde_json::{Value, json};

use drift::{median, quantile, slope};
use traffic::{Agent, Heard};

/// Connections at a time.
const AGENTS: u64 = 16;
/// What the first minutes need to fill caches and pools; no figure is of them.
const WARM: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_secs(10);
/// Policies are written anew so often.
const RELOAD: Duration = Duration::from_secs(30);
/// Old segments are removed so often.
const PRUNE: Duration = Duration::from_secs(300);

/// One look, and what was heard since the one before.
struct Sample {
    minutes: f64,
    usage: Usage,
    latencies: Vec<Duration>,
}

fn main() -> Result<()> {
    let minutes: u32 = env::args().nth(1).context("usage: soak MINUTES (see scripts/soak.sh)")?.parse()?;
    evidence::begin()?;
    let server = world::server_with(Options { place: Place::Disk, ..Options::default() })?;
    let mut sidecar = world::sidecar(&server, &Policy::default())?;
    let pid = sidecar.pid().context("the sidecar has ended")?;
    let (stop, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(Heard::default()));
    let agents: Vec<_> = (0..AGENTS)
        .map(|number| {
            let agent = Agent::new(number, &sidecar, &stop, &heard);
            thread::spawn(move || agent.run())
        })
        .collect();

    let (begun, whole) = (Instant::now(), WARM + Duration::from_secs(60) * minutes);
    let (mut reloaded, mut pruned) = (begun, begun);
    let mut samples = Vec::new();
    while begun.elapsed() < whole && !stop.load(Ordering::Relaxed) {
        thread::sleep(LOOK);
        let sample =
            Sample { minutes: begun.elapsed().as_secs_f64() / 60.0, usage: usage::of(pid)?, latencies: heard.take() };
        if begun.elapsed() > WARM {
            samples.push(sample);
        }
        if reloaded.elapsed() > RELOAD {
            reloaded = Instant::now();
            let rule =
                format!("{{name: turn-{}, action: Allow, verbs: [Select], relations: [public.loads]}}", samples.len());
            sidecar.write(POLICY_FILE, &Policy::default().rule(&rule).yaml())?;
        }
        if pruned.elapsed() > PRUNE {
            pruned = Instant::now();
            let removed = sidecar.cli(None, &["recordings", "prune", "--before", "3m", "--yes"])?;
            ensure!(removed.status == Some(0), "{}", removed.all());
        }
    }
    stop.store(true, Ordering::Relaxed);
    for agent in agents {
        agent.join().ok().context("an agent panicked")??;
    }
    let figures = figures(minutes, &samples, &heard)?;
    println!("{figures:#}");
    let folder = sidecar.recordings();
    sidecar.stop();
    let verified = sidecar.verify(&folder, None)?;
    ensure!(verified.status == recorded::INTACT, "{}", verified.text);
    evidence::write("soak", &figures)
}

fn figures(minutes: u32, samples: &[Sample], heard: &Heard) -> Result<Value> {
    let first = samples.first().context("nothing was measured")?;
    let last = samples.last().context("nothing was measured")?;
    let mib = |kib: u64| f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0;
    let rss: Vec<(f64, f64)> = samples.iter().map(|one| (one.minutes / 60.0, mib(one.usage.rss_kib))).collect();
    let p99: Vec<(f64, f64)> = samples
        .iter()
        .filter_map(|one| Some((one.minutes / 60.0, quantile(&one.latencies, 99)?.as_secs_f64() * 1e6)))
        .collect();
    let third = samples.len() / 3;
    let of = |part: &[Sample]| {
        median(&part.iter().filter_map(|one| quantile(&one.latencies, 99)).collect::<Vec<_>>())
            .map(|one| one.as_micros())
    };
    let (early, late) =
        (of(samples.get(..third).unwrap_or_default()), of(samples.get(2 * third..).unwrap_or_default()));
    let round = |value: f64| (value * 100.0).round() / 100.0;
    Ok(json!({
        "minutes": minutes, "connections_at_a_time": AGENTS,
        "counts": heard.counts(),
        "rss_mib": {"first": round(mib(first.usage.rss_kib)), "last": round(mib(last.usage.rss_kib)),
            "peak": round(mib(last.usage.peak_kib)), "slope_mib_per_hour": slope(&rss).map(round)},
        "descriptors": {"first": first.usage.descriptors, "last": last.usage.descriptors,
            "most": samples.iter().map(|one| one.usage.descriptors).max()},
        "p99_us": {"first_third": early, "last_third": late, "slope_us_per_hour": slope(&p99).map(round)},
        "cpu_cores": round((last.usage.cpu - first.usage.cpu).as_secs_f64() / ((last.minutes - first.minutes) * 60.0)),
    }))
}
