//! What a process has used and holds, as `/proc` says.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

// USER_HZ: 100 on every Linux that is not an Alpha.
const TICK: Duration = Duration::from_millis(10);

/// One look at a process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time of all threads.
    pub cpu: Duration,
    pub rss_kib: u64,
    /// The most it ever was.
    pub peak_kib: u64,
    pub descriptors: usize,
}

/// # Errors
/// When there is no such process, or it has ended.
pub fn of(pid: u32) -> Result<Usage> {
    let read = |name: &str| {
        fs::read_to_string(format!("/proc/{pid}/{name}")).with_context(|| format!("process {pid} is gone"))
    };
    let (stat, status) = (read("stat")?, read("status")?);
    let kib = |name: &str| {
        let found = status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse().ok());
        found.with_context(|| format!("process {pid} has no {name} it has ended"))
    };
    Ok(Usage {
        cpu: cpu(&stat).with_context(|| format!("/proc/{pid}/stat is not as proc(5) says"))?,
        rss_kib: kib("VmRSS:")?,
        peak_kib: kib("VmHWM:")?,
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).with_context(|| format!("process {pid} is gone"))?.count(),
    })
}

/// proc(5), `stat`: utime and stime are fields 14 and 15; field 2 is the name in parentheses and may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut ticks = rest.split_whitespace().skip(11).map(|field| field.parse::<u32>().ok());
    Some(TICK * ticks.next()??.checked_add(ticks.next()??)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 99 1 2";
        assert_eq!(cpu(stat), Some(Duration::from_secs(3)));
    }

    #[test]
    fn our_own_process_has_memory_and_files() {
        let usage = of(std::process::id()).unwrap();
        assert!(usage.rss_kib > 100 && usage.peak_kib >= usage.rss_kib && usage.descriptors > 2, "{usage:?}");
        assert!(of(u32::MAX).is_err());
    }
}
