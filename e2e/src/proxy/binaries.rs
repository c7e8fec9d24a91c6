//! Where the programs under test are. A test never skips because one has not been built: it fails and says how.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// The sidecar as it is shipped, but for optimisation.
pub const SIDECAR: &str = "agentaccess-sidecar";
/// The sidecar built with the feature `failpoints` (`scripts/build.sh`).
pub const FAILPOINTS: &str = "agentaccess-sidecar-failpoints";
/// The CLI.
pub const CLI: &str = "agentaccess";

/// The path of a program: in `AGENTACCESS_BIN_DIR`, else beside the folder of the running test.
///
/// # Errors
/// When it has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let folder = match env::var_os("AGENTACCESS_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        // target/debug/deps/TEST
        None => env::current_exe()?.parent().and_then(|deps| deps.parent()).context("where are we?")?.to_owned(),
    };
    let path = folder.join(name);
    if !path.exists() {
        bail!("{} has not been built; `scripts/build.sh` does it", path.display());
    }
    Ok(path)
}
