//! A store for programs that wait: a command that asks one thing and ends.

use std::io;
use std::ops::ControlFlow;

use recording::VerifyingKey;
use tokio::runtime::{Builder, Runtime};

use crate::audit::{Audit, AuditError, audit};
use crate::credentials::Credentials;
use crate::error::{ShelfError, StoreError};
use crate::id::RecordingId;
use crate::location::Location;
use crate::meta::Meta;
use crate::read::Stored;
use crate::search::{Found, Query};
use crate::store::{Recordings, Store};

/// A store, and what waits for it.
#[derive(Debug)]
pub struct Library {
    store: Store,
    runtime: Runtime,
}

#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no thread can be made: {0}")]
    Runtime(#[from] io::Error),
}

impl Library {
    /// # Errors
    /// As [`Store::open`].
    pub fn open(location: &Location, credentials: &Credentials) -> Result<Self, LibraryError> {
        let store = Store::open(location, credentials)?;
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { store, runtime })
    }

    /// All recordings, page by page.
    pub fn recordings(&self) -> Pages<'_> {
        Pages { library: self, pages: self.store.recordings() }
    }

    /// # Errors
    /// When nothing is known of it, or the store fails.
    pub fn meta(&self, id: &RecordingId) -> Result<Meta, ShelfError> {
        self.runtime.block_on(async { Ok(self.store.shelf(id).meta().await?.clone()) })
    }

    /// The recording, for reading. It works as long as this library lives.
    ///
    /// # Errors
    /// As [`Stored::open`].
    pub fn stored(&self, id: &RecordingId) -> Result<Stored, ShelfError> {
        self.runtime.block_on(Stored::open(self.store.shelf(id), self.runtime.handle().clone()))
    }

    /// # Errors
    /// As [`audit`].
    pub fn audit(&self, id: &RecordingId, witness: &VerifyingKey) -> Result<Audit, AuditError> {
        audit(&self.store.shelf(id), witness, self.runtime.handle())
    }

    /// In one recording, or in all: then a damaged one hides no other, and the first is told.
    ///
    /// # Errors
    /// As [`Store::search`] and [`crate::Shelf::search`].
    pub fn search(
        &self,
        id: Option<&RecordingId>,
        query: &Query,
        each: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<Option<(RecordingId, ShelfError)>, ShelfError> {
        self.runtime.block_on(async {
            match id {
                Some(id) => self.store.shelf(id).search(query, each).await.map(|_| None),
                None => self.store.search(query, each).await,
            }
        })
    }
}

/// Recordings of a library.
#[derive(Debug)]
pub struct Pages<'a> {
    library: &'a Library,
    pages: Recordings,
}

impl Iterator for Pages<'_> {
    type Item = Result<Vec<RecordingId>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.library.runtime.block_on(self.pages.next()).transpose()
    }
}
