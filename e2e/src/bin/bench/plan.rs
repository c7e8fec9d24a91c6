//! What is measured: which rows, how often, for how long; read from the environment before anything starts.

use std::env;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Connections at the same time.
pub(crate) const CLIENTS: [u32; 3] = [1, 8, 32];

/// The work of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// One row by primary key (pgbench -S).
    Select,
    /// A transaction of seven statements (pgbench's default).
    Tpcb,
    /// 50,000 rows with COPY TO STDOUT.
    Copy,
    /// The same rows with SELECT.
    Rows50k,
    /// With a mask on one of their columns.
    CopyMasked,
    Rows50kMasked,
    /// With detectors of all kinds, which find nothing.
    Rows50kDetected,
}

/// How a statement is sent, in pgbench's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Simple,
    Extended,
    Prepared,
}

/// One line of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) case: Case,
    pub(crate) mode: Mode,
    pub(crate) clients: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) rows: Vec<Row>,
    pub(crate) rounds: u32,
    /// Of each single run.
    pub(crate) seconds: u32,
    /// pgbench's scale: 100,000 accounts each.
    pub(crate) scale: u32,
}

// === impl Case, Mode ===

impl Case {
    const ALL: [Self; 7] = [
        Self::Select,
        Self::Tpcb,
        Self::Copy,
        Self::Rows50k,
        Self::CopyMasked,
        Self::Rows50kMasked,
        Self::Rows50kDetected,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Tpcb => "tpcb",
            Self::Copy => "copy",
            Self::Rows50k => "rows50k",
            Self::CopyMasked => "copy-masked",
            Self::Rows50kMasked => "rows50k-masked",
            Self::Rows50kDetected => "rows50k-detected",
        }
    }

    pub(crate) fn is_copy(self) -> bool {
        matches!(self, Self::Copy | Self::CopyMasked)
    }

    /// What the policy has besides its rule and a mask on a column that nobody reads, as YAML of its `postgres` block.
    pub(crate) fn nets(self) -> &'static str {
        match self {
            Self::CopyMasked | Self::Rows50kMasked => {
                "          - {name: note, columns: [public.bench_rows.note], method: Redact}\n"
            }
            Self::Rows50kDetected => {
                "        detectors:\n          - {name: all, find: [CardNumber, SocialSecurityNumber, EmailAddress, AccessToken]}\n"
            }
            Self::Select | Self::Tpcb | Self::Copy | Self::Rows50k => "",
        }
    }

    // COPY in the extended protocol is a thing that no driver does.
    fn has(self, mode: Mode) -> bool {
        !self.is_copy() || mode == Mode::Simple
    }
}

impl Mode {
    const ALL: [Self; 3] = [Self::Simple, Self::Extended, Self::Prepared];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Extended => "extended",
            Self::Prepared => "prepared",
        }
    }
}

// === impl Plan ===

impl Plan {
    /// `BENCH_ONLY`, `BENCH_ROUNDS`, `BENCH_SECONDS` and `BENCH_SCALE`.
    ///
    /// # Errors
    /// When one of them says something that cannot be run.
    pub(crate) fn from_environment() -> Result<Self> {
        let only = env::var("BENCH_ONLY").unwrap_or_default();
        Ok(Self {
            rows: rows(&only)?,
            rounds: number("BENCH_ROUNDS", 3)?,
            seconds: number("BENCH_SECONDS", 2)?,
            scale: number("BENCH_SCALE", 10)?,
        })
    }

    /// About how long all of it takes: the runs, half a second to connect for each, a sidecar's start for each row,
    /// and the tables.
    pub(crate) fn estimate(&self) -> Duration {
        let rows = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let run = Duration::from_secs(u64::from(self.seconds)) + Duration::from_millis(500);
        let row = run.saturating_mul(self.rounds).saturating_mul(4) + Duration::from_millis(500);
        row.saturating_mul(rows) + Duration::from_secs(10) + Duration::from_secs(u64::from(self.scale))
    }
}

/// All rows, less those that the filter leaves out: a comma-separated list of cases, modes and clients, where a
/// dimension of which nothing is named is whole.
fn rows(only: &str) -> Result<Vec<Row>> {
    let words: Vec<&str> = only.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    let clients = CLIENTS.map(|n| n.to_string());
    let (cases, modes) = (Case::ALL.map(Case::name), Mode::ALL.map(Mode::name));
    let clients: Vec<&str> = clients.iter().map(String::as_str).collect();
    let known = |word: &&str| cases.contains(word) || modes.contains(word) || clients.contains(word);
    if let Some(unknown) = words.iter().find(|word| !known(word)) {
        bail!("BENCH_ONLY: `{unknown}` is none of {}, {}, {}", cases.join(", "), modes.join(", "), clients.join(", "));
    }
    let wanted = |name: &str, all: &[&str]| words.contains(&name) || !words.iter().any(|word| all.contains(word));
    let mut rows = Vec::new();
    for case in Case::ALL.into_iter().filter(|case| wanted(case.name(), &cases)) {
        for mode in Mode::ALL.into_iter().filter(|mode| case.has(*mode) && wanted(mode.name(), &modes)) {
            let counts = CLIENTS.into_iter().filter(|count| wanted(&count.to_string(), &clients));
            rows.extend(counts.map(|clients| Row { case, mode, clients }));
        }
    }
    if rows.is_empty() {
        bail!("BENCH_ONLY=`{only}` leaves nothing to measure: copy has the simple mode only");
    }
    Ok(rows)
}

fn number<T: FromStr + PartialEq + From<u8> + Display>(name: &str, default: T) -> Result<T> {
    let Ok(text) = env::var(name) else { return Ok(default) };
    let number = text.parse().ok().filter(|number| *number != T::from(0));
    number.with_context(|| format!("{name}: `{text}` is no whole number above 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(only: &str) -> Vec<String> {
        let all = rows(only).unwrap();
        all.iter().map(|row| format!("{} {} {}", row.case.name(), row.mode.name(), row.clients)).collect()
    }

    #[test]
    fn everything_is_fifty_one_rows() {
        assert_eq!(rows("").unwrap().len(), 51);
    }

    #[test]
    fn a_filter_leaves_what_it_names() {
        assert_eq!(texts("select,simple,1"), ["select simple 1"]);
        assert_eq!(texts("copy"), ["copy simple 1", "copy simple 8", "copy simple 32"]);
        assert_eq!(texts("tpcb, prepared ,8,32"), ["tpcb prepared 8", "tpcb prepared 32"]);
    }

    #[test]
    fn a_filter_that_means_nothing_is_an_error() {
        assert!(rows("selects").unwrap_err().to_string().contains("`selects` is none of select, tpcb"));
        assert!(rows("copy,prepared").unwrap_err().to_string().contains("leaves nothing"));
    }
}
