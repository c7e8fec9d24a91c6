//! What a shelf says, in the codes of the contract and in words for metrics.

use archive::{ShelfError, StoreError};
use tonic::Status;

/// Characters of a reason: it goes into a log line of the sidecar.
const REASON: usize = 400;

/// The answer to the sidecar.
pub(super) fn status(error: &ShelfError) -> Status {
    let text: String = error.to_string().chars().take(REASON).collect();
    match error {
        ShelfError::Store(StoreError::Full(_)) => Status::resource_exhausted(text),
        ShelfError::Store(StoreError::Forbidden(_)) => Status::permission_denied(text),
        // Whoever keeps the store has to look; what is in the pods waits there.
        ShelfError::Store(StoreError::Away(_) | StoreError::Unfit(_)) => Status::unavailable(text),
        ShelfError::Store(StoreError::Damaged { .. }) => Status::data_loss(text),
        // It asks how far the recording has come, and goes on from there.
        ShelfError::NotBegun | ShelfError::OutOfStep { .. } => Status::aborted(text),
        ShelfError::OtherKey { .. } | ShelfError::NotAnExtension(_) | ShelfError::Refused(_) => {
            Status::failed_precondition(text)
        }
    }
}

/// For metrics.
pub(super) fn word(error: &ShelfError) -> &'static str {
    match error {
        ShelfError::Store(StoreError::Away(_)) => "away",
        ShelfError::Store(StoreError::Full(_)) => "full",
        ShelfError::Store(StoreError::Forbidden(_)) => "forbidden",
        ShelfError::Store(StoreError::Unfit(_)) => "unfit",
        ShelfError::Store(StoreError::Damaged { .. }) => "damaged",
        ShelfError::NotBegun | ShelfError::OutOfStep { .. } => "out_of_step",
        ShelfError::OtherKey { .. } | ShelfError::NotAnExtension(_) | ShelfError::Refused(_) => REFUSED,
    }
}

/// The recording is not the one that is known: somebody has to look.
pub(super) const REFUSED: &str = "refused";

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn what_a_sidecar_tries_again_and_what_it_shouts_about() {
        let store = |error| ShelfError::Store(error);
        for (error, code, says) in [
            (store(StoreError::Away("x".into())), Code::Unavailable, "away"),
            (store(StoreError::Unfit("x".into())), Code::Unavailable, "unfit"),
            (store(StoreError::Full("x".into())), Code::ResourceExhausted, "full"),
            (store(StoreError::Forbidden("x".into())), Code::PermissionDenied, "forbidden"),
            (store(StoreError::Damaged { object: "x".into(), what: "x".into() }), Code::DataLoss, "damaged"),
            (ShelfError::NotBegun, Code::Aborted, "out_of_step"),
            (ShelfError::NotAnExtension("x".into()), Code::FailedPrecondition, REFUSED),
            (ShelfError::Refused("x".into()), Code::FailedPrecondition, REFUSED),
        ] {
            assert_eq!((status(&error).code(), word(&error)), (code, says), "{error}");
            assert!(crate::metrics::RECORDING_ANSWERS.contains(&says), "{says}");
        }
        assert!(status(&ShelfError::Refused("x".repeat(9_000))).message().len() <= REASON);
    }
}
