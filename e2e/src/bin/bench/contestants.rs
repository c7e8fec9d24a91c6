//! The server and the three ways to it, none with TLS, each with SCRAM for its clients.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::objects;
use e2e::postgres::{DATABASE, Options, Place, Server};
use e2e::process::Process;
use e2e::proxy::{AGENT, AGENT_PASSWORD, Listener, Setup, Sidecar};
use e2e::{ports, wait};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::plan::Case;

const ROLE: &str = "bench";
const PASSWORD: &str = "bench-password";
const START: Duration = Duration::from_secs(10);
/// Rows of `bench_rows`.
pub(crate) const ROWS: u32 = 50_000;

// No log of statements and connections: it would be the same work for all, and hide the difference.
const SETTINGS: [(&str, &str); 6] = [
    ("log_statement", "none"),
    ("log_connections", "off"),
    ("log_disconnections", "off"),
    ("shared_buffers", "256MB"),
    ("max_wal_size", "4GB"),
    ("synchronous_commit", "off"),
];

/// Where a client connects, and as whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entrance {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) user: &'static str,
    pub(crate) password: &'static str,
    /// The process in between.
    pub(crate) pid: Option<u32>,
}

/// The server with its tables, the relay and pgbouncer; the sidecar is started anew for each row of the results, so
/// that its memory is that row's own.
#[derive(Debug)]
pub(crate) struct Ring {
    relay: Helper,
    pgbouncer: Helper,
    pub(crate) server: Server,
}

/// A program with a port.
#[derive(Debug)]
struct Helper {
    // Ends before its folder goes.
    process: Process,
    port: u16,
    _folder: TempDir,
}

// === impl Ring ===

impl Ring {
    /// Starts what stays for all rows.
    ///
    /// # Errors
    /// When a program is missing or does not start.
    pub(crate) fn new(scale: u32) -> Result<Self> {
        let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let server = Server::start(Options { tls: false, settings, place: Place::Disk, ..Options::default() })?;
        fill(&server, scale)?;
        let relay = relay(server.port()).context("starting the relay")?;
        let pgbouncer = pgbouncer(&server).context("starting pgbouncer")?;
        Ok(Self { relay, pgbouncer, server })
    }

    pub(crate) fn direct(&self) -> Entrance {
        entrance("direct", self.server.port(), None)
    }

    pub(crate) fn relay(&self) -> Entrance {
        entrance("relay", self.relay.port, Some(self.relay.process.pid()))
    }

    pub(crate) fn peer(&self) -> Entrance {
        entrance("pgbouncer", self.pgbouncer.port, Some(self.pgbouncer.process.pid()))
    }

    /// A sidecar that allows all that is measured, and records it with durability Written.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn sidecar(&self, case: Case) -> Result<Sidecar> {
        let mut documents = objects::target_at("db", "127.0.0.1", self.server.port(), None, ROLE, PASSWORD);
        documents.push_str(POLICY);
        documents.push_str(case.nets());
        let listeners = vec![Listener::scram("db")];
        let recording_max = Some("20GiB".to_owned());
        Sidecar::start(&Setup { objects: documents, listeners, recording_max, ..Setup::default() })
    }
}

/// The way through the sidecar.
pub(crate) fn ours(sidecar: &Sidecar) -> Entrance {
    Entrance { name: "ours", port: sidecar.port(), user: AGENT, password: AGENT_PASSWORD, pid: sidecar.pid() }
}

fn entrance(name: &'static str, port: u16, pid: Option<u32>) -> Entrance {
    Entrance { name, port, user: ROLE, password: PASSWORD, pid }
}

const POLICY: &str = "---
apiVersion: agentaccess.dev/v1alpha1
kind: AgentAccessPolicy
metadata: {name: bench, namespace: local}
spec:
  podSelector: {}
  recording: {level: Statements, durability: Written}
  targets:
    - targetRef: {name: db}
      postgres:
        rules:
          - {name: all, action: Allow, verbs: [Select, Insert, Update, Delete],
             relations: [public.pgbench_accounts, public.pgbench_branches, public.pgbench_tellers,
                         public.pgbench_history, public.bench_rows]}
        masks:
          - {name: filler, columns: [public.pgbench_accounts.filler], method: Redact}
";

fn fill(server: &Server, scale: u32) -> Result<()> {
    let output = Command::new(server.programs().client("pgbench"))
        .args(["--initialize", "--quiet", "--scale", &scale.to_string(), DATABASE])
        .env("PGHOST", server.socket())
        .env("PGPORT", server.port().to_string())
        .env("PGUSER", e2e::postgres::SUPERUSER)
        .output()
        .context("starting pgbench")?;
    if !output.status.success() {
        bail!("pgbench --initialize failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    server.role(ROLE, PASSWORD, &["SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"])?;
    server.admin(&format!(
        "CREATE TABLE bench_rows AS SELECT n AS id, 'name ' || n AS name, md5(n::text) AS note, n % 97 AS amount \
         FROM generate_series(1, {ROWS}) n; \
         GRANT SELECT ON bench_rows TO \"{ROLE}\";"
    ))?;
    server.admin("VACUUM ANALYZE").map(drop)
}

fn relay(target: u16) -> Result<Helper> {
    let program = std::env::current_exe()?.with_file_name("relay");
    let (port, folder) = (ports::free()?, tempfile::tempdir()?);
    let mut command = Command::new(&program);
    command.args([port.to_string(), target.to_string()]);
    Helper::start(command, port, folder)
}

fn pgbouncer(server: &Server) -> Result<Helper> {
    let (port, folder) = (ports::free()?, tempfile::Builder::new().prefix("agentaccess-bench-").tempdir()?);
    let users = folder.path().join("users");
    let settings = folder.path().join("pgbouncer.ini");
    private(&users, &format!("\"{ROLE}\" \"{PASSWORD}\"\n"))?;
    private(
        &settings,
        &format!(
            "[databases]\n{DATABASE} = host=127.0.0.1 port={} user={ROLE} password={PASSWORD}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = scram-sha-256\nauth_file = {}\npool_mode = session\nmax_client_conn = 200\n\
             default_pool_size = 64\nlog_connections = 0\nlog_disconnections = 0\nlog_stats = 0\n",
            server.port(),
            users.display()
        ),
    )?;
    let mut command = Command::new(pgbouncer_program()?);
    command.arg(&settings).current_dir("/");
    if rustix::process::getuid().is_root() {
        // It refuses root. The server's files belong to somebody who is not.
        let owner = fs::metadata(server.socket())?;
        for path in [folder.path(), &users, &settings] {
            chown(path, Some(owner.uid()), Some(owner.gid())).with_context(|| path.display().to_string())?;
        }
        command.uid(owner.uid()).gid(owner.gid());
    }
    Helper::start(command, port, folder)
}

/// On `PATH`, where Debian puts programs of the system, or where `scripts/setup.sh bench` unpacks it.
fn pgbouncer_program() -> Result<PathBuf> {
    let unpacked = std::env::var_os("AGENTACCESS_PGBOUNCER").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = installed.map(|folder| folder.join("pgbouncer")).chain(unpacked).find(|path| path.exists());
    found.context("pgbouncer is not installed; `scripts/setup.sh bench` fetches it")
}

fn private(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}

// === impl Helper ===

impl Helper {
    fn start(mut command: Command, port: u16, folder: TempDir) -> Result<Self> {
        let log = folder.path().join("log");
        let mut process = Process::start(&mut command, &log, folder.path(), Signal::TERM)?;
        let listening = wait::until("its port to listen", START, || {
            if let Some(status) = process.ended()? {
                bail!("it ended: {status}");
            }
            Ok(ports::listening(port).then_some(()))
        });
        listening.with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        Ok(Self { process, port, _folder: folder })
    }
}
