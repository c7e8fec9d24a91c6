//! Where the state directory is, and what lies in it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use recording::{FsStorage, Storage};
use serde_yaml::Value;

const CONFIG: &str = "agentaccess.yaml";
const VARIABLE: &str = "AGENTACCESS_STATE_DIR";
const DEFAULT: &str = "/var/lib/agentaccess";
/// A configuration is a page, not a book.
const LARGEST_CONFIG: u64 = 1 << 20;

#[derive(Args)]
pub(crate) struct Place {
    /// State directory of the sidecar [default: AGENTACCESS_STATE_DIR of the environment, else `stateDir` of the
    /// configuration, else /var/lib/agentaccess].
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Configuration of the sidecar [default: ./agentaccess.yaml if there is one].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    pub(crate) fn state_dir(&self) -> Result<PathBuf> {
        Ok(self.named_state_dir()?.unwrap_or_else(|| PathBuf::from(DEFAULT)))
    }

    /// The state directory if somebody named one; `None` where only the default is left.
    pub(crate) fn named_state_dir(&self) -> Result<Option<PathBuf>> {
        let variable = || std::env::var_os(VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from);
        match self.state_dir.clone().or_else(variable) {
            Some(dir) => Ok(Some(dir)),
            None => self.configured(),
        }
    }

    /// As if these had been given.
    pub(crate) fn of(state_dir: Option<PathBuf>, config: Option<PathBuf>) -> Self {
        Self { state_dir, config }
    }

    /// Whether somebody named a sidecar here on the command line.
    pub(crate) fn is_given(&self) -> bool {
        self.state_dir.is_some() || self.config.is_some()
    }

    /// Whether there could be a sidecar here: somebody named one, or one has its state in the default place.
    pub(crate) fn is_likely(&self) -> Result<bool> {
        Ok(self.named_state_dir()?.is_some() || Path::new(DEFAULT).exists())
    }

    /// Whether somebody gave a configuration.
    pub(crate) fn names_config(&self) -> bool {
        self.config.is_some()
    }

    /// The configuration for `check`; the sidecar says what is wrong with it.
    pub(crate) fn config(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(CONFIG))
    }

    /// Opens the recording of the state directory for reading.
    pub(crate) fn recordings(&self) -> Result<(PathBuf, FsStorage)> {
        let dir = self.state_dir()?.join("recordings");
        let storage = open_recordings(&dir)?;
        Ok((dir, storage))
    }

    fn configured(&self) -> Result<Option<PathBuf>> {
        let file = match &self.config {
            Some(file) => file.clone(),
            None if Path::new(CONFIG).exists() => PathBuf::from(CONFIG),
            None => return Ok(None),
        };
        let shown = file.display();
        let size = std::fs::metadata(&file).map(|m| m.len());
        let size = size.with_context(|| format!("cannot read the configuration `{shown}`: give --state-dir"))?;
        if size > LARGEST_CONFIG {
            bail!("`{shown}` is larger than 1 MiB, which no configuration is: give the right file with --config");
        }
        let text = std::fs::read_to_string(&file);
        let text = text.with_context(|| format!("cannot read the configuration `{shown}`: give --state-dir"))?;
        let value: Value = serde_yaml::from_str(&text).with_context(|| format!("`{shown}` is not valid YAML"))?;
        let Some(dir) = value.get("stateDir").and_then(Value::as_str) else {
            bail!("`{shown}` has no `stateDir`: add it, or give --state-dir");
        };
        // As the sidecar reads it: relative paths count from the folder of the file.
        Ok(Some(file.parent().unwrap_or(Path::new("")).join(dir)))
    }
}

/// # Errors
/// With what to do: a state directory that is not there and one of somebody else are the usual ones.
pub(crate) fn open_recordings(dir: &Path) -> Result<FsStorage> {
    let shown = dir.display();
    match FsStorage::open(dir) {
        Ok(storage) => Ok(storage),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            bail!("there is no recording in `{shown}`: give the state directory of the sidecar with --state-dir")
        }
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            bail!("the recording in `{shown}` may not be read by this user: run it as the user of the sidecar")
        }
        Err(e) => bail!("the recording in `{shown}` cannot be opened: {e}"),
    }
}

/// Whether there is any segment at all.
pub(crate) fn is_empty(storage: &dyn Storage) -> Result<bool> {
    Ok(recording::reader::segments(storage)?.is_empty())
}
