//! Client libraries of other languages, as `scripts/setup.sh test` put them below the target folder.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// `python3` with psycopg, asyncpg, pg8000 and SQLAlchemy.
///
/// # Errors
/// When the set-up has not been run.
pub fn python() -> Result<Command> {
    Ok(Command::new(place("python/bin/python3")?))
}

/// `node` that finds the package `pg`.
///
/// # Errors
/// When the set-up has not been run.
pub fn node() -> Result<Command> {
    let mut command = Command::new("node");
    command.env("NODE_PATH", place("node/node_modules")?);
    Ok(command)
}

/// `java` with pgjdbc on its class path; give it a source file (`java FILE.java`, JEP 330).
///
/// # Errors
/// When the set-up has not been run.
pub fn java() -> Result<Command> {
    let mut command = Command::new("java");
    command.arg("-cp").arg(place("java/postgresql.jar")?);
    Ok(command)
}

fn place(name: &str) -> Result<PathBuf> {
    let folder = match env::var_os("AGENTACCESS_DRIVERS_DIR") {
        Some(folder) => PathBuf::from(folder),
        // target/debug/deps/TEST
        None => env::current_exe()?.ancestors().nth(3).context("where are we?")?.join("drivers"),
    };
    let path = folder.join(name);
    if !path.exists() {
        bail!("{} is not there; `scripts/setup.sh test` fetches it", path.display());
    }
    Ok(path)
}
