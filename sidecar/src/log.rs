//! Diagnostics on standard error, and over OTLP where that is asked for; the durable record is the recording. No secret and no statement is ever logged.

use otel::Telemetry;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::time::SystemTime;

use crate::config::{LogFormat, LogLevel};

/// Target of the lines that tell heads of the recording: they are written at every level, since somebody keeps them.
pub const HEADS: &str = "agentaccess::heads";

/// Sets up logging for the process; a second call does nothing. The lines over OTLP are the same.
pub fn init(format: LogFormat, level: LogLevel, telemetry: &Telemetry) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    // Only our own words: libraries may print what goes over the wire.
    let ours = tracing_subscriber::filter::Targets::new()
        .with_default(LevelFilter::OFF)
        .with_target("sidecar", level)
        .with_target("agentaccess", level)
        .with_target("admin", level)
        .with_target("otel", level)
        .with_target(HEADS, LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_timer(SystemTime).with_target(false);
    use tracing_subscriber::prelude::*;
    let exported = otel::layer(telemetry).map(|layer| layer.with_filter(ours.clone()));
    let registry = tracing_subscriber::registry().with(exported);
    // An error means that logging is set up already.
    let _ = match format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_filter(ours)).try_init(),
        LogFormat::Text => registry.with(lines.with_ansi(false).with_filter(ours)).try_init(),
    };
}

/// A panic is told with its place only, since its text may quote data; that of the recording ends the process, since
/// nothing may go on without it.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(event = "panic", place);
        if std::thread::current().name() == Some("recording") {
            std::process::abort();
        }
    }));
}
