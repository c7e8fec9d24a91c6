//! The real sidecar, run standalone in a folder of its own, and the real CLI beside it.

mod approver;
mod binaries;
mod command;
mod setup;

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

pub use binaries::{CLI, FAILPOINTS, SIDECAR, binary};
pub use setup::{Listener, Setup};

use crate::client::Psql;
use crate::objects;
use crate::postgres::DATABASE;
use crate::process::Process;
use crate::wire::Login;
use crate::{ports, wait};

/// The agent's login at a listener made by [`Listener::scram`].
pub const AGENT: &str = "agent";
/// Its password.
pub const AGENT_PASSWORD: &str = "agent-secret";
/// The uid of the approver `alice` when tests run as root.
pub const ALICE: u32 = 61_001;
/// The uid of the approver `bob` when tests run as root.
pub const BOB: u32 = 61_002;

const START: Duration = Duration::from_secs(20);

/// A running sidecar; dropping ends it and removes its folder.
#[derive(Debug)]
pub struct Sidecar {
    process: Option<Process>,
    folder: TempDir,
    state: PathBuf,
    ports: Vec<u16>,
    metrics: u16,
    /// Listens only when the test has not put something else in its place.
    metrics_expected: bool,
    environment: Vec<(String, String)>,
    program: PathBuf,
}

// === impl Sidecar ===

impl Sidecar {
    /// Writes the files, starts the sidecar and waits until each listener listens.
    ///
    /// # Errors
    /// When it ends or is not there within 20 s; the text ends with its log.
    pub fn start(setup: &Setup) -> Result<Self> {
        let mut sidecar = Self::prepare(setup)?;
        sidecar.start_again()?;
        Ok(sidecar)
    }

    /// Writes the files only, for a start that is to fail: see [`Sidecar::run_to_end`].
    ///
    /// # Errors
    /// When a file cannot be written or the binary has not been built.
    pub fn prepare(setup: &Setup) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("agentaccess-sidecar-").tempdir()?;
        // Approvers are other users: they have to reach the socket below.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let state = setup.state.clone().unwrap_or_else(|| folder.path().join("state"));
        let ports: Vec<u16> = setup.listeners.iter().map(|_| ports::free()).collect::<Result<_>>()?;
        let program = binary(if setup.failpoints { FAILPOINTS } else { SIDECAR })?;
        let environment = setup.environment.clone();
        let metrics = ports::free()?;
        let metrics_expected = setup.config.as_ref().is_none_or(|config| config.get("metrics").is_none());
        let sidecar = Self { process: None, folder, state, ports, metrics, metrics_expected, environment, program };
        fs::create_dir(sidecar.policies())?;
        sidecar.write("objects.yaml", &setup.objects)?;
        sidecar.write("agent.yaml", &objects::secret("agent-login", &[("password", AGENT_PASSWORD)]))?;
        write_private(&sidecar.config_file(), &format!("{:#}\n", sidecar.config(setup)))?;
        Ok(sidecar)
    }

    /// Starts it again on the same folder and ports, after [`Sidecar::kill9`] or [`Sidecar::stop`].
    ///
    /// # Errors
    /// As [`Sidecar::start`].
    pub fn start_again(&mut self) -> Result<()> {
        self.stop();
        let mut process = self.spawn()?;
        wait::until("the sidecar to listen", START, || {
            if let Some(status) = process.ended()? {
                bail!("the sidecar ended: {status}");
            }
            Ok(self.listening().then_some(()))
        })
        .with_context(|| self.log())?;
        self.process = Some(process);
        Ok(())
    }

    /// Runs a sidecar that is expected to end by itself, as after a bad configuration.
    ///
    /// # Errors
    /// When it still runs after 20 s.
    pub fn run_to_end(&mut self) -> Result<ExitStatus> {
        self.stop();
        self.spawn()?.wait(START).with_context(|| self.log())
    }

    /// Other variables for the next start, such as the failpoint.
    pub fn set_environment(&mut self, environment: &[(&str, &str)]) {
        self.environment = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    }

    /// Ends it with SIGKILL.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Ends it with SIGTERM, within 5 s.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Sends it any signal (SIGSTOP, SIGHUP, SIGTERM).
    pub fn signal(&mut self, signal: Signal) {
        if let Some(process) = &mut self.process {
            process.signal(signal);
        }
    }

    /// How it ended, if it did: a failpoint or SIGTERM ends it while the test looks elsewhere.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        self.process.as_mut().context("the sidecar is not running")?.wait(within).with_context(|| self.log())
    }

    // --- places ---

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The port of the first listener.
    pub fn port(&self) -> u16 {
        self.ports.first().copied().unwrap_or_default()
    }

    /// The port of each listener, in order; of no use for one on a Unix socket.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// The socket of a listener made by [`Listener::unix`].
    pub fn unix_socket(&self, listener: usize) -> PathBuf {
        self.folder.path().join(format!("listener-{listener}.sock"))
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    /// PEM of the CA that the listeners' certificates chain to.
    pub fn ca_file(&self) -> PathBuf {
        self.state.join("keys/ca.crt")
    }

    pub fn recordings(&self) -> PathBuf {
        self.state.join("recordings")
    }

    /// The folder of policies, targets and Secrets.
    pub fn policies(&self) -> PathBuf {
        self.folder.path().join("policies")
    }

    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("agentaccess.yaml")
    }

    /// Standard output and error of every run so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What the metrics endpoint says now, headers off.
    ///
    /// # Errors
    /// When it does not answer 200.
    pub fn metrics(&self) -> Result<String> {
        use std::io::{Read, Write};
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.metrics))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer from the metrics endpoint")?;
        if !head.starts_with("HTTP/1.1 200") {
            bail!("the metrics endpoint answered {head}");
        }
        Ok(body.to_owned())
    }

    // --- clients ---

    /// `psql` as the agent, to the first listener.
    pub fn psql(&self) -> Psql {
        Psql::new(self.port()).login(AGENT, AGENT_PASSWORD).database(DATABASE)
    }

    /// The agent's login for [`crate::wire::Wire::connect`].
    pub fn login(&self) -> Login {
        Login::new(AGENT, AGENT_PASSWORD, DATABASE)
    }

    /// Replaces or adds a file in the folder of policies, in one step, as a careful editor would.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let place = self.policies().join(name);
        let new = self.folder.path().join(format!("{name}.new"));
        write_private(&new, text)?;
        fs::rename(&new, &place).with_context(|| place.display().to_string())
    }

    // --- files and process ---

    fn spawn(&self) -> Result<Process> {
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--config").arg(self.config_file()).current_dir("/");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Process::start(&mut command, &self.log_file(), self.folder.path(), Signal::TERM)
    }

    fn listening(&self) -> bool {
        let mut listeners = self.ports.iter().enumerate();
        listeners.all(|(n, port)| ports::listening(*port) || self.unix_socket(n).exists())
            && (!self.metrics_expected || ports::listening(self.metrics))
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("sidecar.log")
    }
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).with_context(|| path.display().to_string())
}
