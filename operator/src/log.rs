//! Diagnostics on standard error, and over OTLP where that is asked for. Only our own words: libraries may print what goes over the wire.

use otel::Telemetry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::config::LogFormat;

/// Sets up logging for the process; a second call does nothing. The lines over OTLP are the same.
pub fn init(format: LogFormat, level: LevelFilter, telemetry: &Telemetry) {
    let ours = Targets::new()
        .with_default(LevelFilter::OFF)
        .with_target("operator", level)
        .with_target("admin", level)
        .with_target("otel", level)
        .with_target("kube_lease_manager", level.min(LevelFilter::WARN));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let exported = otel::layer(telemetry).map(|layer| layer.with_filter(ours.clone()));
    let registry = tracing_subscriber::registry().with(exported);
    // An error means that logging is set up already.
    let _ = match format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_filter(ours)).try_init(),
        LogFormat::Text => registry.with(lines.with_ansi(false).with_filter(ours)).try_init(),
    };
}

/// A panic is told with its place only, since its text may quote what a user sent.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(event = "panic", place);
    }));
}
