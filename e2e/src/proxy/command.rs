//! The real CLI beside a sidecar, and what approvers do with it.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{CLI, Sidecar, binary};
use crate::client::Output;
use crate::wait;

const PATIENCE: Duration = Duration::from_secs(20);

impl Sidecar {
    /// The CLI, run as the user with this uid where we may (as root), with our configuration.
    ///
    /// # Errors
    /// When the CLI has not been built or does not end in 20 s.
    pub fn cli(&self, uid: Option<u32>, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary(CLI)?);
        command.args(arguments).arg("--config").arg(self.config_file());
        self.cli_command(uid, command)
    }

    /// The same without `--config`, for commands that work on files.
    ///
    /// # Errors
    /// As [`Sidecar::cli`].
    pub fn cli_plain(&self, uid: Option<u32>, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary(CLI)?);
        command.args(arguments);
        self.cli_command(uid, command)
    }

    /// Approves this request as the user with this uid.
    ///
    /// # Errors
    /// When the CLI says no, with what it says.
    pub fn approve(&self, name: &str, uid: u32) -> Result<String> {
        self.decide(&["approve", name], uid)
    }

    /// Denies it.
    ///
    /// # Errors
    /// As [`Sidecar::approve`].
    pub fn deny(&self, name: &str, uid: u32) -> Result<String> {
        self.decide(&["deny", name], uid)
    }

    /// Waits until a request is open and gives its name: that of the file in `requests/` whose phase is Pending.
    ///
    /// # Errors
    /// When there is none in time.
    pub fn pending(&self, within: Duration) -> Result<String> {
        let folder = self.state.join("requests");
        wait::until("an approval request", within, || {
            let files = fs::read_dir(&folder).into_iter().flatten().flatten();
            Ok(files.map(|file| file.path()).find_map(|path| {
                let text = fs::read_to_string(&path).ok()?;
                let named = path.extension().is_some_and(|end| end == "yaml").then(|| path.file_stem())??;
                text.contains("phase: Pending").then(|| named.to_string_lossy().into_owned())
            }))
        })
        .with_context(|| self.log())
    }

    fn decide(&self, arguments: &[&str], uid: u32) -> Result<String> {
        let output = self.cli(Some(uid), arguments)?;
        if output.status != Some(0) {
            bail!("`agentaccess {}` failed: {}", arguments.join(" "), output.all());
        }
        Ok(output.stdout)
    }

    fn cli_command(&self, uid: Option<u32>, mut command: Command) -> Result<Output> {
        let scratch = tempfile::tempdir()?;
        let (out, err) = (scratch.path().join("out"), scratch.path().join("err"));
        command.stdin(Stdio::null()).stdout(fs::File::create(&out)?).stderr(fs::File::create(&err)?).current_dir("/");
        if let Some(uid) = uid.filter(|_| rustix::process::getuid().is_root()) {
            // The group of the sidecar may use its sockets (0660) and read nothing else.
            command.uid(uid).gid(rustix::process::getgid().as_raw());
        }
        let mut child = command.spawn().context("starting the CLI")?;
        let status = wait::until("the CLI to end", PATIENCE, || Ok(child.try_wait()?));
        if status.is_err() {
            let _gone = child.kill();
            let _status = child.wait();
        }
        let text = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Output { status: status?.code(), stdout: text(out)?, stderr: text(err)? })
    }
}
