//! The operator's command line.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use operator::config::Config;
use operator::{log, run};
use otel::{Resource, Telemetry};

fn main() -> ExitCode {
    let config = Config::parse();
    log::quiet_panics();
    match start(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("agentaccess-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(config: Config) -> Result<()> {
    // The one provider, before any library looks for a default.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let resource = Resource {
        service: "agentaccess-operator",
        version: env!("CARGO_PKG_VERSION"),
        namespace: Some(config.namespace.clone()),
        pod: Some(config.identity.clone()),
        container: Some("operator"),
        ..Resource::default()
    };
    let destination = config.otel().context("--otel-endpoint")?;
    let telemetry = Telemetry::open(destination.as_ref(), resource)?;
    log::init(config.log_format, config.log_level, &telemetry);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let done = runtime.block_on(run::run(config, telemetry));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    done
}
