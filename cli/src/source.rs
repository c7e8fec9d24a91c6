//! Where a recording is read from: the state directory of a sidecar, or a store.
//!
//! Refused: credentials in a location; they come from a folder or the environment, and nothing of them is repeated.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use archive::{Credentials, Library, Location, RecordingId, ShelfError};
use clap::Args;
use recording::Storage;

use crate::exit::Usage;
use crate::place::Place;
use crate::screen::line;

/// How many recordings are named when one has to be chosen.
const NAMED: usize = 10;

#[derive(Args)]
pub(crate) struct FromStore {
    /// Read from a store of recordings: file:///FOLDER, or s3://BUCKET/PREFIX?region=REGION&endpoint=URL.
    #[arg(long, value_name = "LOCATION")]
    store: Option<String>,
    /// Folder with the files accessKeyId, secretAccessKey and, if there is one, sessionToken [default: what the
    /// environment says, as every tool for AWS reads it].
    #[arg(long, value_name = "DIR", requires = "store")]
    store_credentials: Option<PathBuf>,
    /// Which recording of the store [default: where one is needed, the only one].
    #[arg(long, value_name = "NAMESPACE/POD-UID", requires = "store")]
    recording: Option<String>,
}

/// A recording to read. The store ends after what reads from it.
pub(crate) struct Source {
    pub(crate) storage: Box<dyn Storage>,
    /// Where it is, for people.
    pub(crate) shown: String,
    _library: Option<Library>,
}

impl FromStore {
    pub(crate) fn is_given(&self) -> bool {
        self.store.is_some()
    }

    fn location(&self) -> Result<Option<Location>> {
        let parse = |text: &String| text.parse().map_err(|error| Usage(format!("--store: {error}")).into());
        self.store.as_ref().map(parse).transpose()
    }

    /// Where the store is on this machine, if it is there.
    pub(crate) fn folder(&self) -> Result<Option<PathBuf>> {
        Ok(self.location()?.and_then(|location| location.as_folder().map(Path::to_owned)))
    }

    /// The store, when one was named.
    pub(crate) fn library(&self) -> Result<Option<Library>> {
        let Some(location) = self.location()? else { return Ok(None) };
        let credentials = match &self.store_credentials {
            Some(folder) => Credentials::Folder(folder.clone()),
            None if location.is_remote() => Credentials::Environment,
            None => Credentials::None,
        };
        Ok(Some(Library::open(&location, &credentials).with_context(|| location.to_string())?))
    }

    /// The recording that was named.
    pub(crate) fn named(&self) -> Result<Option<RecordingId>> {
        let parse = |text: &String| text.parse().map_err(|error| Usage(format!("--recording: {error}")).into());
        self.recording.as_ref().map(parse).transpose()
    }

    pub(crate) fn is_named(&self) -> bool {
        self.recording.is_some()
    }

    /// What was named, or all there are.
    pub(crate) fn chosen(&self, library: &Library) -> Result<Vec<RecordingId>> {
        match self.named()? {
            Some(id) => Ok(vec![id]),
            None => Ok(library.recordings().collect::<Result<Vec<_>, _>>()?.concat()),
        }
    }

    /// One recording: of the store if one was named, else of the state directory.
    pub(crate) fn source(&self, place: &Place) -> Result<Source> {
        let Some(library) = self.library()? else {
            let (dir, storage) = place.recordings()?;
            return Ok(Source { storage: Box::new(storage), shown: dir.display().to_string(), _library: None });
        };
        let id = self.only(&library)?;
        let storage = library.stored(&id).map_err(|error| unread(&id, error))?;
        Ok(Source { storage: Box::new(storage), shown: id.to_string(), _library: Some(library) })
    }

    /// The recording that was named, or the only one.
    fn only(&self, library: &Library) -> Result<RecordingId> {
        if let Some(id) = self.named()? {
            return Ok(id);
        }
        let mut first = Vec::new();
        for page in library.recordings() {
            first.extend(page?);
            if first.len() > NAMED {
                break;
            }
        }
        if let [only] = first.as_slice() {
            return Ok(only.clone());
        }
        if first.is_empty() {
            bail!("the store holds no recording");
        }
        let more = if first.len() > NAMED { ", and more" } else { "" };
        let names: Vec<String> = first.iter().take(NAMED).map(|id| line(&id.to_string())).collect();
        Err(Usage(format!("the store holds several recordings: choose with --recording: {}{more}", names.join(", "))))?
    }
}

/// Why a recording that was named cannot be read.
pub(crate) fn unread(id: &RecordingId, error: ShelfError) -> anyhow::Error {
    match error {
        ShelfError::NotBegun => anyhow!("the store holds no recording `{id}`: see `sessions ls --store`"),
        error => anyhow::Error::new(error).context(format!("recording `{id}` cannot be read")),
    }
}
