//! A real server that speaks S3, of the test's own: moto, as `scripts/setup.sh test` put it below the target folder.
//!
//! It keeps objects in memory and looks at `If-None-Match`. It asks for no credentials until [`Server::guard`].

use std::env;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::Process;
use crate::tls::Authority;
use crate::{ports, wait};

/// The bucket that there is.
pub const BUCKET: &str = "recordings";

/// A running server; dropping stops it.
#[derive(Debug)]
pub struct Server {
    // The process ends before its folder goes.
    process: Option<Process>,
    folder: TempDir,
    port: u16,
    tls: Option<Authority>,
}

impl Server {
    /// Starts it and makes [`BUCKET`].
    ///
    /// # Errors
    /// When it is not installed or does not come up.
    pub fn start() -> Result<Self> {
        Self::begin(None)
    }

    /// The same behind TLS; its certificate is signed by the authority whose file is [`Server::authority`].
    ///
    /// # Errors
    /// When it is not installed or does not come up.
    pub fn start_tls() -> Result<Self> {
        Self::begin(Some(Authority::new(&["localhost", "127.0.0.1"])?))
    }

    fn begin(tls: Option<Authority>) -> Result<Self> {
        let mut server = Self { process: None, folder: tempfile::tempdir()?, port: ports::free()?, tls };
        if let Some(tls) = &server.tls {
            let parts = [("ca.crt", &tls.ca), ("server.crt", &tls.certificate), ("server.key", &tls.key)];
            parts.iter().try_for_each(|(name, pem)| std::fs::write(server.folder.path().join(name), pem))?;
        }
        server.run()?;
        Ok(server)
    }

    /// Where the certificate of the authority is, if there is one.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// `http://127.0.0.1:PORT`, or `https`.
    pub fn endpoint(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Where a store is in it.
    pub fn location(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?region=us-east-1&endpoint={}", self.endpoint())
    }

    /// From now on it asks for credentials and for the right to use them; it knows nobody.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn guard(&self) -> Result<()> {
        self.ask("POST", "/moto-api/reset-auth", "0").map(|_| ())
    }

    /// Ends it; what it held is gone.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same port, with an empty bucket.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn run(&mut self) -> Result<()> {
        let log = self.folder.path().join("moto.log");
        let mut command = Command::new(program()?);
        command.args(["-H", "127.0.0.1", "-p", &self.port.to_string()]);
        if self.tls.is_some() {
            command.arg("-c").arg(self.folder.path().join("server.crt"));
            command.arg("-k").arg(self.folder.path().join("server.key"));
        }
        let port = self.port;
        let process = self.process.insert(Process::start(&mut command, &log, self.folder.path(), Signal::TERM)?);
        let up = wait::until("moto to listen", Duration::from_secs(60), || {
            if let Some(status) = process.ended()? {
                bail!("moto ended: {status}");
            }
            Ok(ports::listening(port).then_some(()))
        });
        up.with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
        // Whoever comes over TLS finds the server without a bucket: nothing here speaks it.
        if self.tls.is_some() { Ok(()) } else { self.ask("PUT", &format!("/{BUCKET}"), "").map(|_| ()) }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n", self.port);
        write!(request, "Content-Length: {}\r\n\r\n{body}", body.len())?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if !answer.starts_with("HTTP/1.1 200") {
            bail!("{method} {path}: {answer}");
        }
        Ok(answer)
    }
}

/// Python of the folder that holds moto and the schemas of OCSF.
///
/// # Errors
/// When the set-up has not been run.
pub fn python() -> Result<Command> {
    Ok(Command::new(place("python3")?))
}

fn program() -> Result<PathBuf> {
    place("moto_server")
}

fn place(name: &str) -> Result<PathBuf> {
    let folder = match env::var_os("AGENTACCESS_STORE_DIR") {
        Some(folder) => PathBuf::from(folder),
        // target/debug/deps/TEST
        None => env::current_exe()?.ancestors().nth(3).context("where are we?")?.join("tools/store"),
    };
    let path = folder.join("bin").join(name);
    if !path.exists() {
        bail!("{} is not there; `scripts/setup.sh test` fetches it", path.display());
    }
    Ok(path)
}
