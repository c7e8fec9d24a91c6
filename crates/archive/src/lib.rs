//! Recordings in a store: what the sidecars of pods wrote, kept after the pods are gone.
//!
//! A store is a directory or a bucket that speaks S3. Refused here: a segment that does not continue what is kept or
//! does not verify, a note that does not extend the last one that was countersigned, a second key for one pod.
//! Invariant: what was kept once is never changed; the one thing asked of the store for this is that an object which
//! exists is not created again ([`Store::probe`] tries it). Of two writers one loses, reads again and compares.

mod audit;
mod credentials;
mod error;
mod folder;
mod head;
mod id;
mod index;
mod library;
mod location;
mod meta;
mod pack;
pub mod read;
mod remembered;
mod search;
mod series;
mod shelf;
mod store;
mod trust;

pub use audit::{Audit, AuditError, Countersigned, audit};
pub use credentials::Credentials;
pub use error::{ShelfError, StoreError};
pub use id::{IdError, RecordingId};
pub use index::{Row, RowKind};
pub use library::{Library, LibraryError, Pages};
pub use location::{Location, LocationError};
pub use meta::Meta;
pub use search::{Found, Query};
pub use shelf::{Expired, MAX_LINES, MAX_SEGMENT, MAX_STRETCH, Shelf, Standing};
pub use store::{Recordings, Store};
pub use trust::{Authorities, NoAuthority, Trust};
