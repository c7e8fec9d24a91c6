//! What the process itself uses, under the names that every Prometheus client has for it: processor, memory, descriptors.
//!
//! Read from `/proc/self` at each scrape. What cannot be read or understood is left out, and never a wrong number.

use std::fmt::Write as _;
use std::fs;

/// `USER_HZ`: 100 on every architecture that we build for, whatever the kernel's own clock.
const TICKS: f64 = 100.0;

/// In the text format of Prometheus.
pub(crate) fn metrics() -> String {
    let mut text = String::new();
    let mut add = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            // Writing to a String cannot fail.
            _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
    };
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    add("process_cpu_seconds_total", "counter", "Processor time, of user and system.", processor(&stat));
    add("process_resident_memory_bytes", "gauge", "Resident memory.", resident(&status));
    add("process_open_fds", "gauge", "Open file descriptors.", descriptors());
    text
}

/// Fields 14 and 15 of the line, counted behind the name, which may hold anything.
fn processor(stat: &str) -> Option<f64> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok().map(f64::from);
    Some((ticks()? + ticks()?) / TICKS)
}

fn resident(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u32 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(f64::from(kibibytes) * 1024.0)
}

fn descriptors() -> Option<f64> {
    // The one that reads the folder is among them.
    let open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u32::try_from(open).ok().map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernel_s_words() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 900 0 0 0 250 50 0 0 20 0 3 0 100 9 9";
        assert_eq!(processor(stat), Some(3.0));
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t3\n"), Some(2_097_152.0));
        assert_eq!((processor("7 (a) S 1"), resident("VmRSS: much"), resident("")), (None, None, None));
    }

    #[test]
    fn tells_of_this_process() {
        let text = metrics();
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            line.split(' ').nth(1).unwrap().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0 && value("process_open_fds") >= 3.0, "{text}");
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }
}
