//! `psql` as a person or an agent would run it, with a deadline and its output kept.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::postgres::Programs;
use crate::wait;

/// How a program ended, and what it wrote.
#[derive(Clone, Debug)]
pub struct Output {
    /// `None`: a signal ended it.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Both outputs, for assertions about what must not be in either.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// A psql that connects to 127.0.0.1 and knows nothing of the user's own settings.
#[derive(Clone, Debug)]
pub struct Psql {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: BTreeMap<String, String>,
    deadline: Duration,
}

// === impl Psql ===

impl Psql {
    pub fn new(port: u16) -> Self {
        let environment = [
            ("PGHOST", "127.0.0.1"),
            ("PGPORT", &port.to_string()),
            ("PGSSLMODE", "disable"),
            ("PGCONNECT_TIMEOUT", "10"),
            ("PSQLRC", "/dev/null"),
        ];
        Self {
            program: Programs::find().map_or_else(|_| PathBuf::from("psql"), |programs| programs.client("psql")),
            arguments: Vec::new(),
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            deadline: Duration::from_secs(30),
        }
    }

    #[must_use]
    pub fn program(mut self, program: PathBuf) -> Self {
        self.program = program;
        self
    }

    #[must_use]
    pub fn login(self, user: &str, password: &str) -> Self {
        self.env("PGUSER", user).env("PGPASSWORD", password)
    }

    #[must_use]
    pub fn database(self, name: &str) -> Self {
        self.env("PGDATABASE", name)
    }

    /// `disable`, `require`, `verify-full`, ...
    #[must_use]
    pub fn tls(self, mode: &str) -> Self {
        self.env("PGSSLMODE", mode)
    }

    /// verify-full against the CA in this file.
    #[must_use]
    pub fn trusting(self, ca: &Path) -> Self {
        self.tls("verify-full").env("PGSSLROOTCERT", ca.display().to_string())
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// How long [`Psql::run`] may take; 30 s unless told.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs a script from standard input, unaligned, tuples only, ending at the first error.
    ///
    /// # Errors
    /// When psql cannot be started or does not end in time. A failing statement is status 3, not an error.
    pub fn run(&self, script: &str) -> Result<Output> {
        self.clone().argument("-vON_ERROR_STOP=1").spawn(script)?.wait(self.deadline)
    }

    /// The same, going on after errors.
    ///
    /// # Errors
    /// As [`Psql::run`].
    pub fn run_on(&self, script: &str) -> Result<Output> {
        self.spawn(script)?.wait(self.deadline)
    }

    /// Starts it and does not wait, for a statement that is held.
    ///
    /// # Errors
    /// When psql cannot be started.
    pub fn spawn(&self, script: &str) -> Result<Running> {
        let folder = tempfile::tempdir()?;
        let file = |name: &str| folder.path().join(name);
        File::create(file("in"))?.write_all(script.as_bytes())?;
        let child = Command::new(&self.program)
            .args(["-X", "-q", "-A", "-t"])
            .args(&self.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder.path())
            .env("LC_ALL", "C.UTF-8")
            .envs(&self.environment)
            .stdin(Stdio::from(File::open(file("in"))?))
            .stdout(Stdio::from(File::create(file("out"))?))
            .stderr(Stdio::from(File::create(file("err"))?))
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        Ok(Running { child, folder })
    }
}

/// A psql under way; dropping kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    folder: TempDir,
}

// === impl Running ===

impl Running {
    pub fn stdout(&self) -> String {
        self.text("out")
    }

    /// What it wrote to standard error so far: NOTICEs come here while a statement is held.
    pub fn stderr(&self) -> String {
        self.text("err")
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until standard error has `part`, and gives all of it.
    ///
    /// # Errors
    /// When it does not come in time, with what did come.
    pub fn notice(&self, part: &str, within: Duration) -> Result<String> {
        wait::until(&format!("`{part}` on standard error"), within, || {
            Ok(Some(self.stderr()).filter(|text| text.contains(part)))
        })
        .with_context(|| self.stderr())
    }

    /// Ctrl-C: psql sends a CancelRequest.
    pub fn cancel(&mut self) {
        if self.running()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            let _gone = kill_process(pid, Signal::INT);
        }
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When it does not in time, with what it wrote.
    pub fn wait(mut self, within: Duration) -> Result<Output> {
        let child = &mut self.child;
        let status = wait::until("psql to end", within, || Ok(child.try_wait()?));
        let status = status.with_context(|| self.stderr())?.code();
        Ok(Output { status, stdout: self.stdout(), stderr: self.stderr() })
    }

    fn text(&self, name: &str) -> String {
        let bytes = fs::read(self.folder.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}
