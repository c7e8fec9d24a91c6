//! The sidecar's command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use crds::pod::{ENV_NAME, PROXY};
use otel::{Destination, Telemetry};
use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask};
use sidecar::config::{Config, LogFormat, LogLevel};
use sidecar::control::line::{Operator, Roots};
use sidecar::fence::install::install;
use sidecar::fence::probe::Nonce;
use sidecar::fence::ruleset::Fence;
use sidecar::fence::verify::Verify;
use sidecar::proxy::Settings;
use sidecar::{log, names, proxy, standalone, tls};

const SERVICE: &str = "agentaccess-sidecar";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Governs what AI agents do to databases: policy, approval, masking, recording.
#[derive(Parser)]
#[command(name = "agentaccess-sidecar", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM.
    Run {
        #[arg(long, default_value = "agentaccess.yaml")]
        config: PathBuf,
        /// Overrides `log.format` of the configuration.
        #[arg(long)]
        log_format: Option<LogFormat>,
    },
    /// Look for everything that is wrong: configuration, permissions, keys, ports, targets, credentials.
    Check {
        #[arg(long, default_value = "agentaccess.yaml")]
        config: PathBuf,
    },
    /// In a pod, behind its fence: serve until SIGTERM what the operator says.
    Proxy {
        /// What `verify` knows this sidecar by.
        #[arg(long)]
        nonce: Nonce,
        /// `https://HOST:PORT` of the operator.
        #[arg(long)]
        operator: Operator,
        /// Certificates that the operator's must chain to: base64 of DER, with commas between them.
        #[arg(long)]
        roots: Roots,
        /// Where traces and log lines go, as OTLP over gRPC: `https://HOST:PORT`. None: nowhere.
        #[arg(long)]
        otel_endpoint: Option<String>,
        /// PEM of the CA that its certificate chains to, in base64.
        #[arg(long, requires = "otel_endpoint")]
        otel_ca: Option<String>,
        /// It is `http://HOST:PORT`: in clear.
        #[arg(long, requires = "otel_endpoint")]
        otel_insecure: bool,
        /// Where the folders of the pod are; another root than `/` is for tests.
        #[arg(long, default_value = "/")]
        root: PathBuf,
    },
    /// In a pod, before its other containers: fence its network, so that only the sidecar's user gets out.
    Init {
        /// The user that only the sidecar runs as.
        #[arg(long)]
        user: u32,
        /// TCP ports of the agent that may be dialled from outside.
        #[arg(long, value_delimiter = ',')]
        inbound: Vec<u16>,
        /// The sidecar's own ports that may be.
        #[arg(long, value_delimiter = ',')]
        own: Vec<u16>,
        /// Make the sidecar's own `/etc/hosts` and `/etc/resolv.conf` here.
        #[arg(long)]
        names: Option<PathBuf>,
    },
    /// In a pod, after the sidecar started and before the agent does: prove that the fence holds.
    Verify {
        /// The user that only the sidecar runs as.
        #[arg(long)]
        user: u32,
        /// Given to the sidecar of this pod too, which answers with it.
        #[arg(long)]
        nonce: Nonce,
        /// How long the sidecar may take to begin, in seconds.
        #[arg(long, default_value_t = 0)]
        wait: u16,
    },
    /// Print the version.
    Version,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = harden().and_then(|()| match arguments.command {
        Command::Run { config, log_format } => run(load(config)?, log_format),
        Command::Proxy { nonce, operator, roots, otel_endpoint, otel_ca, otel_insecure, root } => {
            let environment = |name: &str| std::env::var(name).ok();
            let otel = Destination::of_arguments(otel_endpoint.as_deref(), otel_ca.as_deref(), otel_insecure);
            let otel = otel.context("--otel-endpoint")?;
            proxy(Settings::new(nonce, operator, roots, &root, environment)?, otel.as_ref())
        }
        Command::Check { config } => check(&load(config)?),
        Command::Init { user, inbound, own, names } => {
            names.map_or(Ok(()), |folder| names::keep(Path::new("/etc"), &folder))?;
            Ok(install(&Fence { user, inbound, own })?)
        }
        Command::Verify { user, nonce, wait } => {
            let count = Verify { user, nonce, wait: Duration::from_secs(wait.into()) }.run()?;
            println!("the fence holds: {count} probes");
            Ok(())
        }
        Command::Version => {
            println!("agentaccess-sidecar {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("agentaccess-sidecar: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// No core dump and no debugger may show a secret, and no file is made for others by accident.
fn harden() -> Result<()> {
    umask(Mode::from_raw_mode(0o077));
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).context("cannot switch core dumps off")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("cannot switch debugging off")?;
    log::quiet_panics();
    Ok(())
}

/// A session has two descriptors, and many a container begins with 1,024: what may be had is taken. Where it is not given, a
/// connection beyond it waits until another ends.
fn take_descriptors() {
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
}

fn load(path: PathBuf) -> Result<Config> {
    Ok(Config::load(&path, rustix::process::geteuid().as_raw())?)
}

fn run(config: Config, log_format: Option<LogFormat>) -> Result<()> {
    tls::install_provider();
    let resource = otel::Resource { service: SERVICE, version: VERSION, ..otel::Resource::default() };
    let telemetry = Telemetry::open(config.otel.as_ref(), resource)?;
    log::init(log_format.unwrap_or(config.log.format), config.log.level, &telemetry);
    let runtime = runtime(config.threads)?;
    let done = runtime.block_on(standalone::run::run(config, telemetry));
    // What still blocks, a disk for example, must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(done?)
}

fn proxy(settings: Settings, otel: Option<&Destination>) -> Result<()> {
    tls::install_provider();
    let resource = otel::Resource {
        service: SERVICE,
        version: VERSION,
        namespace: Some(settings.pod.namespace().to_owned()),
        pod: std::env::var(ENV_NAME).ok(),
        pod_uid: Some(settings.pod.uid().to_owned()),
        container: Some(PROXY),
    };
    let telemetry = Telemetry::open(otel, resource)?;
    log::init(LogFormat::Json, LogLevel::Info, &telemetry);
    let runtime = runtime(1)?;
    let done = runtime.block_on(proxy::run(settings, telemetry));
    // What still blocks, a look-up of a name for example, must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(done?)
}

fn check(config: &Config) -> Result<()> {
    let findings = runtime(1)?.block_on(standalone::check::check(config));
    let mut wrong = 0;
    for finding in &findings {
        match &finding.result {
            Ok(text) => println!("ok    {}: {text}", finding.what),
            Err(text) => {
                wrong += 1;
                println!("WRONG {}: {text}", finding.what);
            }
        }
    }
    if wrong > 0 {
        bail!("{}: {wrong} of {} checks failed", config.file.display(), findings.len());
    }
    Ok(())
}

fn runtime(threads: usize) -> Result<tokio::runtime::Runtime> {
    take_descriptors();
    // One thread is fastest on small machines; the recording has a thread of its own.
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build().context("cannot start the runtime")
}
