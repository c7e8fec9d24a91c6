//! pgbench and its log of transactions.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::postgres::{DATABASE, Programs};
use e2e::wait;

use crate::contestants::Entrance;
use crate::plan::{Case, Row};
use crate::run::Operations;

// What connecting and the last transactions may take beyond the seconds of the run.
const GRACE: Duration = Duration::from_secs(60);

/// Runs it; every transaction is logged, for the percentiles.
///
/// # Errors
/// When pgbench fails or any transaction does, with what pgbench says.
pub(crate) fn run(row: Row, entrance: Entrance, seconds: u32, scale: u32) -> Result<Operations> {
    let folder = tempfile::tempdir()?;
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let script = if row.case == Case::Tpcb { "tpcb-like" } else { "select-only" };
    let mut child = Command::new(Programs::find()?.client("pgbench"))
        // Without its VACUUM: no agent may do that.
        .args(["--no-vacuum", "--builtin", script, "--protocol", row.mode.name(), "--log"])
        .args(["--client", &row.clients.to_string(), "--jobs", &row.clients.min(2).to_string()])
        .args(["--time", &seconds.to_string(), "--scale", &scale.to_string()])
        .arg(format!("--log-prefix={}", folder.path().join("log").display()))
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", entrance.port.to_string())
        .env("PGUSER", entrance.user)
        .env("PGPASSWORD", entrance.password)
        .env("PGDATABASE", DATABASE)
        .env("PGSSLMODE", "disable")
        .env("PGGSSENCMODE", "disable")
        .stdin(Stdio::null())
        .stdout(File::create(&out)?)
        .stderr(File::create(&err)?)
        .spawn()
        .context("starting pgbench")?;
    let within = Duration::from_secs(u64::from(seconds)) + GRACE;
    let status = wait::until("pgbench to end", within, || Ok(child.try_wait()?));
    if status.is_err() {
        let _gone = child.kill();
        let _status = child.wait();
    }
    let said = || format!("pgbench said: {}", fs::read_to_string(&err).unwrap_or_default().trim_end());
    let status = status.with_context(said)?;
    if !status.success() {
        bail!("pgbench failed ({status})\n{}", said());
    }
    let text = fs::read_to_string(&out)?;
    // Its clock runs while it connects, and without a transaction it reports nothing.
    let tps = tps(&text).with_context(|| format!("no transaction in {seconds} s, connecting included"))?;
    let mut operations = Operations { tps, ..Operations::default() };
    if let Some(failed) = failed(&text) {
        bail!("{failed} transactions failed\n{}", said());
    }
    read_logs(folder.path(), &mut operations)?;
    Ok(operations)
}

/// The last line that has it: older versions print one with connecting before.
fn tps(text: &str) -> Option<f64> {
    let line = text.lines().rfind(|line| line.starts_with("tps = "))?;
    line.split_whitespace().nth(2)?.parse().ok()
}

fn failed(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("number of failed transactions: "))?;
    line.split_whitespace().next()?.parse().ok().filter(|count| *count > 0)
}

/// One file for each thread of pgbench.
fn read_logs(folder: &Path, operations: &mut Operations) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log.")) {
            for line in fs::read_to_string(&path)?.lines() {
                let (latency, end) =
                    transaction(line).with_context(|| format!("not a line of pgbench's log: {line}"))?;
                operations.latencies.push(latency);
                operations.ends.push(end);
            }
        }
    }
    Ok(())
}

/// `client transaction latency script seconds microseconds`: the latency in microseconds, and the end.
fn transaction(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split(' ').skip(2);
    let latency = fields.next()?.parse().ok()?;
    let (seconds, micros): (u64, u64) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((latency, seconds.checked_mul(1_000_000)?.checked_add(micros)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
number of transactions actually processed: 41
number of failed transactions: 3 (7.317%)
tps = 11.5 (including connections establishing)
tps = 12.25 (without initial connection time)
";

    #[test]
    fn the_report_is_read() {
        assert_eq!((tps(REPORT), failed(REPORT)), (Some(12.25), Some(3)));
        assert_eq!(failed("number of failed transactions: 0 (0.000%)\n"), None);
    }

    #[test]
    fn a_line_of_the_log_is_read() {
        assert_eq!(transaction("0 199 2241 0 1175850568 995598"), Some((2_241, 1_175_850_568_995_598)));
        assert_eq!(transaction("0 199 failed 0 1175850568 995598"), None);
    }
}
