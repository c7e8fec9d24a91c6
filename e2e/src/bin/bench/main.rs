//! Four ways to one PostgreSQL, measured in turn: direct, a relay of bytes, the sidecar, pgbouncer.
//!
//! What counts are ratios within a round, where the noise of the machine is the same for all; absolute numbers say
//! something only beside the line that names the machine. A single failed operation by any way fails the whole:
//! a way that answers with errors is quick. `docs/benchmarks.md` says how to read it.

mod bulk;
mod contestants;
mod login;
mod pgbench;
mod plan;
mod report;
mod run;
mod usage;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use contestants::Ring;
use plan::{Case, Plan, Row};
use report::{Outcome, Round};

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that anyhow would add: the text says it.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let file = PathBuf::from(env::args_os().nth(1).context("usage: bench RESULTS.json (see scripts/bench.sh)")?);
    let plan = Plan::from_environment()?;
    let Plan { rounds, seconds, scale, .. } = plan;
    println!("{}", report::machine());
    println!(
        "{} rows, {rounds} rounds of direct, relay, ours, pgbouncer, {seconds} s each: about {} minutes",
        plan.rows.len(),
        plan.estimate().as_secs().div_ceil(60)
    );
    let ring = Ring::new(scale)?;
    for line in report::HEADING {
        println!("{line}");
    }
    let mut outcomes = Vec::new();
    for row in &plan.rows {
        let outcome = measure(&ring, *row, &plan)?;
        println!("{}", outcome.line());
        outcomes.push(outcome);
    }
    report::write(&file, &outcomes)?;
    println!("written: {}", file.display());
    Ok(())
}

fn measure(ring: &Ring, row: Row, plan: &Plan) -> Result<Outcome> {
    let sidecar = ring.sidecar(row.case).context("starting the sidecar")?;
    let run = |entrance| run::run(row, entrance, plan.seconds, plan.scale);
    let rounds = (0..plan.rounds).map(|_| {
        if row.case == Case::Tpcb {
            // What pgbench would do; each round begins with tables as small as the one before.
            ring.server.admin("VACUUM pgbench_branches; VACUUM pgbench_tellers; TRUNCATE pgbench_history")?;
        }
        let direct = run(ring.direct())?;
        let relay = run(ring.relay())?;
        let ours = run(contestants::ours(&sidecar)).with_context(|| tail(&sidecar.log()))?;
        let peer = run(ring.peer())?;
        Ok(Round { direct, relay, ours, peer })
    });
    Ok(Outcome { row, rounds: rounds.collect::<Result<_>>()? })
}

/// The last lines of the sidecar's log, which say why.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let last = lines.get(lines.len().saturating_sub(10)..).unwrap_or_default();
    format!("the sidecar's log ends with:\n{}", last.join("\n"))
}
