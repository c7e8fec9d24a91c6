//! Medians over rounds, as JSON for machines and as a table of ratios for people.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::plan::Row;
use crate::run::{Figures, median};

/// One round of a row: the same work by each way, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) direct: Figures,
    pub(crate) relay: Figures,
    pub(crate) ours: Figures,
    pub(crate) peer: Figures,
}

/// A row with all its rounds.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) row: Row,
    pub(crate) rounds: Vec<Round>,
}

pub(crate) const HEADING: [&str; 2] = [
    "                     direct  ratio to direct      ours/relay            added us      CPU us/operation      RSS",
    "case     mode      c    tps  relay  ours  peer   median (low..high)    p50    p99   relay   ours   peer    MiB",
];

// === impl Outcome ===

impl Outcome {
    /// One object of `results.json`.
    pub(crate) fn json(&self) -> Value {
        json!({
            "case": self.row.case.name(),
            "mode": self.row.mode.name(),
            "clients": self.row.clients,
            "direct_tps": rounded(self.of(|round| round.direct.tps), 10.0),
            "relay_tps": rounded(self.of(|round| round.relay.tps), 10.0),
            "ours_tps": rounded(self.of(|round| round.ours.tps), 10.0),
            "peer_tps": rounded(self.of(|round| round.peer.tps), 10.0),
            "added_p50_us": rounded(self.added(|figures| figures.p50), 1.0),
            "added_p99_us": rounded(self.added(|figures| figures.p99), 1.0),
            "cpu_us_per_op": rounded(self.of(|round| round.ours.cpu_us.unwrap_or(f64::NAN)), 10.0),
            "rss_mib": rounded(self.of(|round| round.ours.rss_mib.unwrap_or(f64::NAN)), 10.0),
        })
    }

    /// One line of the table.
    pub(crate) fn line(&self) -> String {
        let Row { case, mode, clients } = self.row;
        let (low, middle, high) = self.ours_to_relay();
        let cpu = |pick: fn(&Round) -> Figures| self.of(|round| pick(round).cpu_us.unwrap_or(f64::NAN));
        format!(
            "{:8} {:8} {clients:2} {:6.0}  {:5.2} {:5.2} {:5.2}   {middle:5.2}  ({low:4.2}..{high:4.2}) {:6.0} {:6.0}  \
             {:6.0} {:6.0} {:6.0} {:6.1}",
            case.name(),
            mode.name(),
            self.of(|round| round.direct.tps),
            self.of(|round| round.relay.tps / round.direct.tps),
            self.of(|round| round.ours.tps / round.direct.tps),
            self.of(|round| round.peer.tps / round.direct.tps),
            self.added(|figures| figures.p50),
            self.added(|figures| figures.p99),
            cpu(|round| round.relay),
            cpu(|round| round.ours),
            cpu(|round| round.peer),
            self.of(|round| round.ours.rss_mib.unwrap_or(f64::NAN)),
        )
    }

    fn of(&self, pick: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(pick))
    }

    /// What we add to a direct connection in the same round.
    fn added(&self, pick: impl Fn(&Figures) -> f64) -> f64 {
        self.of(|round| pick(&round.ours) - pick(&round.direct))
    }

    fn ours_to_relay(&self) -> (f64, f64, f64) {
        let ratios: Vec<f64> = self.rounds.iter().map(|round| round.ours.tps / round.relay.tps).collect();
        let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (low, median(ratios), high)
    }
}

/// Writes the list.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write(file: &Path, outcomes: &[Outcome]) -> Result<()> {
    let list: Vec<Value> = outcomes.iter().map(Outcome::json).collect();
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, format!("{:#}\n", Value::from(list))).with_context(|| file.display().to_string())
}

/// Without it no figure means anything.
pub(crate) fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
        line.map_or_else(|| "unknown".to_owned(), |value| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        text.lines().next().unwrap_or_default().to_owned()
    };
    format!(
        "machine: {}, {cores} cores, memory {}, Linux {}, load {}; {}",
        field(&read("/proc/cpuinfo"), "model name"),
        field(&read("/proc/meminfo"), "MemTotal"),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split(' ').next().unwrap_or_default(),
        version("pgbench"),
    )
}

// JSON has no NaN; serde makes it null, which says that it was not measured.
fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Case, Mode};

    fn figures(tps: f64, p50: f64) -> Figures {
        Figures { tps, p50, p99: 2.0 * p50, cpu_us: Some(tps / 100.0), rss_mib: Some(12.34) }
    }

    fn outcome() -> Outcome {
        let round = |direct, ours| Round {
            direct: figures(direct, 10.0),
            relay: figures(800.0, 11.0),
            ours: figures(ours, 15.0),
            peer: figures(700.0, 12.0),
        };
        let rounds = vec![round(1000.0, 600.0), round(2000.0, 400.0), round(1500.0, 720.0)];
        Outcome { row: Row { case: Case::Select, mode: Mode::Simple, clients: 8 }, rounds }
    }

    #[test]
    fn results_have_exactly_these_keys_with_medians() {
        let expected = json!({
            "case": "select", "mode": "simple", "clients": 8,
            "direct_tps": 1500.0, "relay_tps": 800.0, "ours_tps": 600.0, "peer_tps": 700.0,
            "added_p50_us": 5.0, "added_p99_us": 10.0, "cpu_us_per_op": 6.0, "rss_mib": 12.3,
        });
        assert_eq!(outcome().json(), expected);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        assert_eq!(outcome().ours_to_relay(), (0.5, 0.75, 0.9));
        assert!(outcome().line().contains("0.75  (0.50..0.90)"), "{}", outcome().line());
    }

    #[test]
    fn the_machine_has_a_kernel() {
        assert!(machine().contains("Linux "), "{}", machine());
    }
}
