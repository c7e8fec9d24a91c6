//! A real PostgreSQL server of the test's own: temporary folder, TLS, SCRAM-SHA-256, and a log that says what ran.
//!
//! Invariant: [`Server::executed`] is what the server wrote before it ran a statement (`log_statement=all`), so a
//! statement that is not in it did not reach the executor.

mod log;
mod place;
mod programs;
mod template;

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

pub use log::{Entry, Execution};
pub use place::Place;
pub use programs::Programs;

use crate::client::{Output, Psql};
use crate::process::Process;
use crate::tls::Authority;
use crate::{ports, wait};

/// The superuser, who comes in over the Unix socket only.
pub const SUPERUSER: &str = "postgres";
/// The database that every server has besides `postgres`.
pub const DATABASE: &str = "app";
const ADMIN: &str = "e2e-admin";

/// What kind of server; `Options::default()` has TLS and also takes plain connections.
#[derive(Clone, Debug)]
pub struct Options {
    /// Off: the server answers `N` to SSLRequest.
    pub tls: bool,
    /// Names in the server's certificate.
    pub names: Vec<String>,
    /// Lines for `postgresql.conf`, which come last and so win.
    pub settings: Vec<(String, String)>,
    /// Where `postgres` and `initdb` are; `None` takes those of [`Programs::find`].
    pub programs: Option<Programs>,
    /// Where its files are.
    pub place: Place,
}

impl Default for Options {
    fn default() -> Self {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        Self { tls: true, names, settings: Vec::new(), programs: None, place: Place::default() }
    }
}

/// A running server; dropping stops it and removes its folder.
#[derive(Debug)]
pub struct Server {
    // Fields drop in this order: the process ends before its folder goes.
    process: Option<Process>,
    folder: TempDir,
    programs: Programs,
    port: u16,
    authority: Authority,
}

// === impl Server ===

impl Server {
    /// Makes and starts a server, and waits until it takes connections.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start; the text ends with the server's log.
    pub fn start(options: Options) -> Result<Self> {
        let programs = match options.programs {
            Some(programs) => programs,
            None => Programs::find()?,
        };
        let folder = tempfile::Builder::new().prefix("agentaccess-pg-").tempdir_in(options.place.folder())?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        template::copy(&programs, &folder.path().join("data"))?;
        fs::create_dir(folder.path().join("socket"))?;
        fs::set_permissions(folder.path().join("socket"), fs::Permissions::from_mode(0o700))?;

        let names: Vec<&str> = options.names.iter().map(String::as_str).collect();
        let authority = Authority::new(&names)?;
        let mut server = Self { process: None, folder, programs, port: 0, authority };
        server.write_tls()?;
        for attempt in 1..=3 {
            server.port = ports::free()?;
            server.write_settings(options.tls, &options.settings)?;
            match server.start_again() {
                Ok(()) => break,
                // Another process took the port between the look and the bind.
                Err(error) if attempt < 3 && format!("{error:#}").contains("Address already in use") => {}
                Err(error) => return Err(error),
            }
        }
        Ok(server)
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// PEM of the CA that the server's certificate chains to.
    pub fn ca(&self) -> &str {
        &self.authority.ca
    }

    /// The same as a file, for `sslrootcert`.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The folder of the Unix socket, where the superuser needs no password.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The PostgreSQL programs that this server is of (`psql`, `pgbench`).
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// `psql` straight to this server over TCP, past any proxy.
    pub fn psql(&self, user: &str, password: &str) -> Psql {
        Psql::new(self.port).login(user, password).database(DATABASE)
    }

    // --- set-up ---

    /// Runs SQL as superuser in the database `app`; answers the rows, unaligned, one a line.
    ///
    /// # Errors
    /// When any statement fails.
    pub fn admin(&self, sql: &str) -> Result<String> {
        self.admin_in(DATABASE, sql)
    }

    /// The same in another database.
    ///
    /// # Errors
    /// When any statement fails.
    pub fn admin_in(&self, database: &str, sql: &str) -> Result<String> {
        let Output { status, stdout, stderr } = Psql::new(self.port)
            .program(self.programs.client("psql"))
            .env("PGHOST", self.socket().display().to_string())
            .env("PGAPPNAME", ADMIN)
            .login(SUPERUSER, "")
            .database(database)
            .tls("disable")
            .run(sql)?;
        if status != Some(0) {
            bail!("`{sql}` failed: {stderr}");
        }
        Ok(stdout.trim_end().to_owned())
    }

    /// Makes a login role without any right but the `grants`, each the part of GRANT before `TO`
    /// (`SELECT (id, name) ON customers`).
    ///
    /// # Errors
    /// When the role exists or a grant is not SQL.
    pub fn role(&self, name: &str, password: &str, grants: &[&str]) -> Result<()> {
        let secret = password.replace('\'', "''");
        let mut sql = format!(
            "CREATE ROLE \"{name}\" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS \
             PASSWORD '{secret}';\n"
        );
        for grant in grants {
            sql.push_str(&format!("GRANT {grant} TO \"{name}\";\n"));
        }
        self.admin(&sql).map(drop)
    }

    // --- life ---

    /// Ends the server as a crash would; its folder and port stay.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same port and data.
    ///
    /// # Errors
    /// When it does not take connections within 20 s.
    pub fn start_again(&mut self) -> Result<()> {
        self.stop();
        let mut command = self.programs.as_owner("postgres");
        command.arg("-D").arg(self.folder.path().join("data"));
        let mut process = Process::start(&mut command, &self.log_file(), self.folder.path(), Signal::QUIT)?;
        let started = wait::until("PostgreSQL to take connections", Duration::from_secs(20), || {
            if let Some(status) = process.ended()? {
                bail!("PostgreSQL ended: {status}");
            }
            // The last line of postmaster.pid is its state (pg_ctl waits for the same word).
            let state = fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap_or_default();
            Ok(state.lines().nth(7).is_some_and(|line| line.trim_end() == "ready").then_some(()))
        });
        started.with_context(|| self.log_text())?;
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).context("connecting to the new server")?;
        self.process = Some(process);
        Ok(())
    }

    // --- the oracle ---

    /// All that the server has logged.
    pub fn log(&self) -> Vec<Entry> {
        log::entries(&self.log_text())
    }

    /// The log as it is in the file.
    pub fn log_text(&self) -> String {
        fs::read(self.log_file()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Each statement that the server ran, in order, with the backend and the application that asked.
    /// Statements of [`Server::admin`] are not among them.
    pub fn executions(&self) -> Vec<Execution> {
        let mut all = log::executions(&self.log());
        all.retain(|one| !(one.user == SUPERUSER && one.application == ADMIN));
        all
    }

    /// The texts of [`Server::executions`].
    pub fn executed(&self) -> Vec<String> {
        self.executions().into_iter().map(|one| one.text).collect()
    }

    /// How many of the statements that ran contain `part`.
    pub fn executed_with(&self, part: &str) -> usize {
        self.executed().iter().filter(|text| text.contains(part)).count()
    }

    /// Whether the bytes `part` came to the server at all: in a statement that ran, in one that failed before it ran,
    /// in a parameter, in anything that it logged.
    pub fn saw(&self, part: &str) -> bool {
        self.log().iter().any(|entry| entry.application != ADMIN && entry.text.contains(part))
    }

    // --- files ---

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn write_tls(&self) -> Result<()> {
        let file = |name: &str| self.folder.path().join(name);
        fs::write(file("ca.pem"), &self.authority.ca)?;
        fs::write(file("server.pem"), &self.authority.certificate)?;
        fs::write(file("server.key"), &self.authority.key)?;
        fs::set_permissions(file("server.key"), fs::Permissions::from_mode(0o600))?;
        self.programs.give(&file("server.key"))?;
        self.programs.give(&file("socket"))
    }

    fn write_settings(&self, tls: bool, extra: &[(String, String)]) -> Result<()> {
        let folder = self.folder.path();
        let at = |name: &str| quoted(&folder.join(name));
        let mut lines = vec![
            "listen_addresses = '127.0.0.1'".to_owned(),
            format!("port = {}", self.port),
            format!("unix_socket_directories = {}", at("socket")),
            format!("ssl = {}", if tls { "on" } else { "off" }),
            format!("ssl_cert_file = {}", at("server.pem")),
            format!("ssl_key_file = {}", at("server.key")),
            format!("log_line_prefix = '{}'", log::PREFIX),
        ];
        lines.extend(SETTINGS.lines().map(str::to_owned));
        lines.extend(extra.iter().map(|(name, value)| format!("{name} = '{}'", value.replace('\'', "''"))));
        lines.push(String::new());
        fs::write(folder.join("data/e2e.conf"), lines.join("\n"))?;
        self.programs.give(&folder.join("data/e2e.conf"))
    }
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "''"))
}

// Fast rather than safe: it has to survive a crash of its own, never power loss.
const SETTINGS: &str = "\
password_encryption = 'scram-sha-256'
fsync = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
shared_buffers = '16MB'
max_connections = 100
autovacuum = off
jit = off
logging_collector = off
log_destination = 'stderr'
log_statement = 'all'
log_connections = on
log_disconnections = on
log_timezone = 'UTC'
timezone = 'UTC'
lc_messages = 'C'";
