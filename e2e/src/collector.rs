//! The OpenTelemetry Collector's own receiver, as `scripts/setup.sh test` built it below the target folder.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::Process;
use crate::{ports, wait};

const START: Duration = Duration::from_secs(20);

/// A running receiver; what it got is in a file.
#[derive(Debug)]
pub struct Collector {
    process: Option<Process>,
    port: u16,
    folder: TempDir,
    tls: bool,
}

/// One span or log line as it arrived.
#[derive(Clone, Debug)]
pub struct Record {
    /// The span, or the log record, in OTLP's JSON.
    pub json: Value,
    /// The attributes of whose it is.
    pub resource: Value,
}

impl Record {
    /// An attribute as text.
    pub fn get(&self, name: &str) -> Option<String> {
        attribute(self.json.get("attributes")?, name)
    }

    /// The same of the resource.
    pub fn of_resource(&self, name: &str) -> Option<String> {
        attribute(&self.resource, name)
    }

    /// A member as text: `name`, `traceId`.
    pub fn text(&self, name: &str) -> String {
        self.json.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

fn attribute(all: &Value, name: &str) -> Option<String> {
    let named = |one: &&Value| one.get("key").and_then(Value::as_str) == Some(name);
    let value = all.as_array()?.iter().find(named)?.get("value")?.as_object()?.values().next()?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

// === impl Collector ===

impl Collector {
    /// In clear.
    ///
    /// # Errors
    /// When it has not been built, or is not there in time.
    pub fn start() -> Result<Self> {
        Self::with(None)
    }

    /// Over TLS with this certificate and key, both PEM.
    ///
    /// # Errors
    /// As [`Collector::start`].
    pub fn start_tls(certificate: &str, key: &str) -> Result<Self> {
        Self::with(Some((certificate, key)))
    }

    fn with(tls: Option<(&str, &str)>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("agentaccess-collector-").tempdir()?;
        if let Some((certificate, key)) = tls {
            fs::write(folder.path().join("certificate"), certificate)?;
            fs::write(folder.path().join("key"), key)?;
        }
        let mut collector = Self { process: None, port: ports::free()?, folder, tls: tls.is_some() };
        collector.start_again()?;
        Ok(collector)
    }

    /// On the same port, with the same file.
    ///
    /// # Errors
    /// As [`Collector::start`].
    pub fn start_again(&mut self) -> Result<()> {
        self.stop();
        let mut command = Command::new(program()?);
        command.arg(format!("127.0.0.1:{}", self.port)).arg(self.file());
        if self.tls {
            command.arg(self.folder.path().join("certificate")).arg(self.folder.path().join("key"));
        }
        let log = self.folder.path().join("log");
        let process = Process::start(&mut command, &log, self.folder.path(), Signal::TERM)?;
        self.process = Some(process);
        let port = self.port;
        wait::eventually("the collector to listen", START, || ports::listening(port))
            .with_context(|| fs::read_to_string(&log).unwrap_or_default())
    }

    /// Ends it; what it got stays.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Lets it hang, or go on: its connections stay open.
    pub fn hang(&mut self, hang: bool) {
        if let Some(process) = &mut self.process {
            process.signal(if hang { Signal::STOP } else { Signal::CONT });
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// All bytes that it wrote down.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        match fs::read(self.file()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            read => Ok(read?),
        }
    }

    /// # Errors
    /// When the file cannot be read, or holds something else.
    pub fn spans(&self) -> Result<Vec<Record>> {
        self.records("resourceSpans", "scopeSpans", "spans")
    }

    /// # Errors
    /// As [`Collector::spans`].
    pub fn logs(&self) -> Result<Vec<Record>> {
        self.records("resourceLogs", "scopeLogs", "logRecords")
    }

    fn records(&self, resources: &str, scopes: &str, records: &str) -> Result<Vec<Record>> {
        let bytes = self.bytes()?;
        let mut found = Vec::new();
        // A line that is still being written has no end yet.
        for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            let batch: Value = serde_json::from_slice(line)?;
            for whose in list(&batch, resources) {
                let resource = whose.pointer("/resource/attributes").cloned().unwrap_or_default();
                let records = list(whose, scopes).flat_map(|scope| list(scope, records));
                found.extend(records.map(|json| Record { json: json.clone(), resource: resource.clone() }));
            }
        }
        Ok(found)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("telemetry.jsonl")
    }
}

fn program() -> Result<PathBuf> {
    let path = match env::var_os("AGENTACCESS_COLLECTOR") {
        Some(path) => PathBuf::from(path),
        // target/debug/deps/TEST
        None => env::current_exe()?.ancestors().nth(3).context("where are we?")?.join("tools/collector/collector"),
    };
    if !path.exists() {
        bail!("{} is not there; `scripts/setup.sh test` builds it", path.display());
    }
    Ok(path)
}
