//! Where telemetry goes, as the configuration says it: `otel: {endpoint: https://HOST:PORT, ca: FILE}`.

use std::path::Path;

use otel::{Destination, NotADestination};

use super::Problems;
use super::file::OtelEntry;

/// No CA is longer.
const LARGEST_CA: u64 = 64 << 10;

pub(super) fn destination(entry: &OtelEntry, base: &Path, problems: &mut Problems) -> Option<Destination> {
    let ca = match entry.ca.as_ref().map(|file| read(&base.join(file))).transpose() {
        Ok(ca) => ca,
        Err(text) => {
            problems.add("otel.ca", text);
            return None;
        }
    };
    match Destination::new(&entry.endpoint, ca.as_deref(), entry.insecure) {
        Ok(destination) => Some(destination),
        Err(error) => {
            let field = match error {
                NotADestination::Ca | NotADestination::NoCa => "otel.ca",
                NotADestination::Both => "otel.insecure",
                NotADestination::Address | NotADestination::Clear | NotADestination::NoEndpoint => "otel.endpoint",
            };
            problems.add(field, error.to_string());
            None
        }
    }
}

fn read(file: &Path) -> Result<String, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("`{}`: {error}", file.display());
    match std::fs::metadata(file) {
        Ok(found) if found.len() > LARGEST_CA => Err(wrong(&"is larger than 64KiB, which no CA is")),
        Ok(_) => std::fs::read_to_string(file).map_err(|error| wrong(&error)),
        Err(error) => Err(wrong(&error)),
    }
}
