//! The real sidecar, run standalone in a folder of its own, and the real CLI beside it.

mod approver;
mod binaries;

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

pub use binaries::{CLI, FAILPOINTS, SIDECAR, binary};

use crate::client::{Output, Psql};
use crate::objects::{self, NAMESPACE};
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
const CLI_TIME: Duration = Duration::from_secs(20);

/// One listener of `agentaccess.yaml`.
#[derive(Clone, Debug)]
pub struct Listener {
    /// An AccessTarget.
    pub target: String,
    /// Labels of the subject; its namespace is `local`.
    pub labels: Vec<(String, String)>,
    pub service_account: String,
    /// The whole `clientAuth`.
    pub auth: Value,
    /// `unix:` below the sidecar's folder, instead of a TCP port.
    pub unix: bool,
}

impl Listener {
    /// The agent proves itself as [`AGENT`] with SCRAM.
    pub fn scram(target: &str) -> Self {
        let auth =
            json!({"scram": {"username": AGENT, "passwordSecretRef": {"name": "agent-login", "key": "password"}}});
        Self::with(target, auth)
    }

    /// Any local process is the agent (`dangerTrustAnyPeer`).
    pub fn danger_trust_any_peer(target: &str) -> Self {
        Self::with(target, json!({"dangerTrustAnyPeer": true}))
    }

    /// A Unix socket; the peer must have this uid.
    pub fn unix(target: &str, uid: u32) -> Self {
        Self { unix: true, ..Self::with(target, json!({ "peerUid": uid })) }
    }

    fn with(target: &str, auth: Value) -> Self {
        Self {
            target: target.to_owned(),
            labels: vec![("app".to_owned(), "agent".to_owned())],
            service_account: "agent".to_owned(),
            auth,
            unix: false,
        }
    }
}

/// All that a sidecar is started with.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// YAML documents: targets and their Secrets ([`objects::target`]), policies. The Secret of [`Listener::scram`]
    /// is added.
    pub objects: String,
    pub listeners: Vec<Listener>,
    /// `maxBytes` of the recording, such as `10GiB`.
    pub recording_max: Option<String>,
    /// Members for `agentaccess.yaml` that replace what stands here, an object.
    pub config: Option<Value>,
    pub environment: Vec<(String, String)>,
    /// Where the state goes instead of a folder of its own, for a small file system.
    pub state: Option<PathBuf>,
    /// The build that kills itself at the point that `AGENTACCESS_FAILPOINT` names.
    pub failpoints: bool,
}

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

    // --- approvers ---

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
        let status = wait::until("the CLI to end", CLI_TIME, || Ok(child.try_wait()?));
        if status.is_err() {
            let _gone = child.kill();
            let _status = child.wait();
        }
        let text = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Output { status: status?.code(), stdout: text(out)?, stderr: text(err)? })
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

    fn config(&self, setup: &Setup) -> Value {
        let listeners: Vec<Value> = setup
            .listeners
            .iter()
            .zip(&self.ports)
            .enumerate()
            .map(|(n, (listener, port))| {
                let place = if listener.unix {
                    format!("unix:{}", self.unix_socket(n).display())
                } else {
                    format!("127.0.0.1:{port}")
                };
                let labels: serde_json::Map<_, _> =
                    listener.labels.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
                json!({
                    "target": listener.target, "listen": place, "clientAuth": listener.auth,
                    "subject": {
                        "namespace": NAMESPACE, "serviceAccount": listener.service_account, "labels": labels,
                    },
                })
            })
            .collect();
        let (approvers, shared) = approvers();
        let mut config = json!({
            "stateDir": self.state, "policies": "./policies", "listeners": listeners, "approvers": approvers,
            "metrics": {"listen": format!("127.0.0.1:{}", self.metrics)},
        });
        if let Some(members) = config.as_object_mut() {
            if shared {
                members.insert("dangerSharedUser".to_owned(), Value::Bool(true));
            }
            if let Some(most) = &setup.recording_max {
                members.insert("recording".to_owned(), json!({ "maxBytes": most }));
            }
            if let Some(Value::Object(more)) = &setup.config {
                members.extend(more.clone());
            }
        }
        config
    }
}

/// The approvers of a test: alice and bob, or ourselves when only root could be somebody else.
fn approvers() -> (Value, bool) {
    let me = rustix::process::getuid();
    if me.is_root() {
        (json!([{"name": "alice", "uid": ALICE}, {"name": "bob", "uid": BOB}]), false)
    } else {
        (json!([{"name": "me", "uid": me.as_raw()}]), true)
    }
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).with_context(|| path.display().to_string())
}
