//! What a process has used, from `/proc`, sampled beside a run.
//!
//! Connecting is no part of an operation, so CPU is counted between two samples that lie inside the run, over the
//! operations that ended between them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use e2e::usage::{self, Usage};

const PAUSE: Duration = Duration::from_millis(50);

/// One look at a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Microseconds since 1970, as pgbench logs them.
    pub(crate) at: u64,
    /// User and system time of all threads.
    pub(crate) cpu: Duration,
    pub(crate) rss_kib: u64,
}

/// Runs `work` and looks at the process all the while.
///
/// # Errors
/// Those of `work`, or when the process is gone.
pub(crate) fn watch<T>(pid: Option<u32>, work: impl FnOnce() -> Result<T>) -> Result<(T, Vec<Sample>)> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut samples = Vec::new();
            let Some(pid) = pid else { return Ok(samples) };
            loop {
                samples.push(sample(pid)?);
                if done.load(Ordering::Acquire) {
                    return Ok(samples);
                }
                thread::sleep(PAUSE);
            }
        });
        let result = work();
        done.store(true, Ordering::Release);
        let samples: Result<Vec<Sample>> = watcher.join().ok().context("the watcher of a process panicked")?;
        // When both fail, the work says more.
        Ok((result?, samples?))
    })
}

/// Microseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// CPU microseconds for each of the operations, which are given by their ends. A run of so few operations that no two
/// samples have one between them is taken whole, with its connecting. `None`: nothing was measured.
pub(crate) fn cpu_per_operation(samples: &[Sample], ends: &[u64]) -> Option<f64> {
    let (begin, end) = (ends.iter().min()?, ends.iter().max()?);
    let inside: Vec<Sample> = samples.iter().filter(|sample| (*begin..=*end).contains(&sample.at)).copied().collect();
    if let (Some(first), Some(last)) = (inside.first(), inside.last()) {
        let between = ends.iter().filter(|at| (first.at..last.at).contains(*at)).count();
        if between > 0 {
            return per_operation(first, last, between);
        }
    }
    per_operation(samples.first()?, samples.last()?, ends.len())
}

fn per_operation(first: &Sample, last: &Sample, operations: usize) -> Option<f64> {
    let cpu = last.cpu.saturating_sub(first.cpu);
    Some(cpu.as_secs_f64() * 1e6 / f64::from(u32::try_from(operations).ok()?))
}

fn sample(pid: u32) -> Result<Sample> {
    let Usage { cpu, rss_kib, .. } = usage::of(pid)?;
    Ok(Sample { at: now(), cpu, rss_kib })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_counted_between_samples_inside_the_run() {
        let sample = |at, ms| Sample { at, cpu: Duration::from_millis(ms), rss_kib: 1 };
        // What connecting used, before 100, is not counted.
        let samples = [sample(50, 500), sample(110, 900), sample(150, 910), sample(190, 920), sample(250, 990)];
        let ends = [100, 120, 130, 140, 160, 200];
        assert_eq!(cpu_per_operation(&samples, &ends), Some(5_000.0));
        assert_eq!(cpu_per_operation(&samples, &[]), None);
        // One sample only inside: the whole, over both operations.
        assert_eq!(cpu_per_operation(&samples, &[100, 120]), Some(245_000.0));
    }
}
