//! One run: a row of the results through one entrance.

use anyhow::{Context, Result, bail};

use crate::contestants::Entrance;
use crate::plan::{Case, Row};
use crate::usage::{self, Sample};
use crate::{bulk, pgbench};

/// What one run gave, before anything is compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) tps: f64,
    /// Microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Of the process in between; nothing for direct.
    pub(crate) cpu_us: Option<f64>,
    /// The most that it had.
    pub(crate) rss_mib: Option<f64>,
}

/// Operations that ended well.
#[derive(Clone, Debug, Default)]
pub(crate) struct Operations {
    /// Of each, in microseconds.
    pub(crate) latencies: Vec<u64>,
    /// Of each, in microseconds since 1970.
    pub(crate) ends: Vec<u64>,
    /// Per second.
    pub(crate) tps: f64,
}

/// Runs it for so many seconds.
///
/// # Errors
/// When any operation fails, naming the row and the entrance.
pub(crate) fn run(row: Row, entrance: Entrance, seconds: u32, scale: u32) -> Result<Figures> {
    let Row { case, mode, clients } = row;
    let context = || format!("{} {} with {clients} clients, {}", case.name(), mode.name(), entrance.name);
    let (operations, samples) = usage::watch(entrance.pid, || match case {
        Case::Select | Case::Tpcb => pgbench::run(row, entrance, seconds, scale),
        Case::Copy | Case::Rows50k | Case::CopyMasked | Case::Rows50kMasked | Case::Rows50kDetected => {
            bulk::run(row, entrance, seconds)
        }
    })
    .with_context(context)?;
    figures(operations, &samples).with_context(context)
}

fn figures(operations: Operations, samples: &[Sample]) -> Result<Figures> {
    let Operations { mut latencies, ends, tps } = operations;
    if latencies.is_empty() || tps <= 0.0 {
        bail!("no operation ended: more seconds are needed (BENCH_SECONDS)");
    }
    latencies.sort_unstable();
    let most = samples.iter().map(|sample| sample.rss_kib).max().and_then(|kib| u32::try_from(kib).ok());
    Ok(Figures {
        tps,
        p50: percentile(&latencies, 50),
        p99: percentile(&latencies, 99),
        cpu_us: usage::cpu_per_operation(samples, &ends),
        rss_mib: most.map(|kib| f64::from(kib) / 1024.0),
    })
}

/// Nearest rank, of sorted values.
fn percentile(sorted: &[u64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).and_then(|value| u32::try_from(*value).ok()).map_or(f64::NAN, f64::from)
}

/// The middle one; of an even number the mean of the two.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = values.into_iter().collect();
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    match (all.get(middle.wrapping_sub(1)), all.get(middle)) {
        (Some(below), Some(above)) if all.len().is_multiple_of(2) => f64::midpoint(*below, *above),
        (_, Some(value)) => *value,
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 99)), (100.0, 198.0));
        assert_eq!((percentile(&[7], 50), percentile(&[7], 99)), (7.0, 7.0));
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median([4.0, 1.0]), 2.5);
        assert!(median([]).is_nan());
    }
}
