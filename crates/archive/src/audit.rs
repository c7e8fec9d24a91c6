//! Says whether a kept recording is what was written and countersigned, without trusting the store.
//!
//! What is trusted is the public key of the witness, from the caller. From it follows the key of the recording: the
//! witness bound it to the pod. A recording that was never countersigned is judged by the key that the store names,
//! and that is said.

use std::{fmt, io};

use recording::note::countersigned_head;
use recording::reader::ReadError;
use recording::verify::{Report, witnessed};
use recording::{Head, VerifyingKey};
use tokio::runtime::Handle;

use crate::error::{ShelfError, StoreError};
use crate::meta::Meta;
use crate::read::Stored;
use crate::shelf::Shelf;

/// What the witness says of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Countersigned {
    /// It countersigned this.
    Head(Head),
    /// There is no countersigned checkpoint. Whose key the recording has is not proven.
    Never,
    /// What stands in the store as countersigned was not signed by this witness, not for this pod, or not by its key.
    Forged,
}

impl fmt::Display for Countersigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(head) => write!(f, "countersigned up to {} entries", head.size),
            Self::Never => write!(f, "never countersigned"),
            Self::Forged => write!(f, "not countersigned by this witness for this pod"),
        }
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Audit {
    pub meta: Meta,
    pub countersigned: Countersigned,
    pub report: Report,
}

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl AuditError {
    /// It is about this recording alone: others of the store may do.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Shelf(error) => error.is_damage(),
            Self::Read(ReadError::Damaged { .. } | ReadError::Version { .. }) => true,
            Self::Read(ReadError::Io { source, .. }) => {
                let store = source.get_ref().and_then(|inner| inner.downcast_ref::<StoreError>());
                store.map_or(source.kind() == io::ErrorKind::NotFound, StoreError::is_damage)
            }
        }
    }
}

/// Verifies the recording of a shelf. Blocks: to be called from a thread that is not the runtime's.
///
/// # Errors
/// Only when it cannot be read; everything that is wrong with it is in the answer.
pub fn audit(shelf: &Shelf, witness: &VerifyingKey, runtime: &Handle) -> Result<Audit, AuditError> {
    // The head first: what is kept may grow meanwhile, never shrink.
    let (meta, newest) = runtime.block_on(async {
        let meta = shelf.meta().await?.clone();
        let newest = shelf.newest_head().await.map_err(ShelfError::from)?;
        Ok::<_, ShelfError>((meta, newest))
    })?;
    let countersigned = match newest {
        None => Countersigned::Never,
        Some((_, head)) => {
            let bound = meta.is_bound(shelf.id(), &head.binding, witness);
            let ours = countersigned_head(&head.note, &meta.key);
            match countersigned_head(&head.note, witness).filter(|head| bound && ours == Some(*head)) {
                Some(head) => Countersigned::Head(head),
                None => Countersigned::Forged,
            }
        }
    };
    let head = match countersigned {
        Countersigned::Head(head) => Some(head),
        Countersigned::Never | Countersigned::Forged => None,
    };
    let stored = runtime.block_on(Stored::open(shelf.clone(), runtime.clone()))?;
    let report = witnessed(&stored, &meta.key, Some(witness), head)?;
    Ok(Audit { meta, countersigned, report })
}
