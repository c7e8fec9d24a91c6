//! Why something of the recording did not get away, in words that are few.

use recording::outgoing::OutgoingError;
use recording::prune::PruneError;
use tonic::{Code, Status};

use crate::control::why;

#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The operator has none, or is of a version that knows of none.
    #[error("the operator has no store of recordings")]
    NoStore,
    #[error("the operator is away: {0}")]
    Operator(String),
    #[error("the store is away: {0}")]
    Away(String),
    /// It is asked anew how far it has come.
    #[error("the operator wants something else next: {0}")]
    OutOfStep(String),
    #[error("the store is full: {0}")]
    Full(String),
    #[error("the store lets the operator not write: {0}")]
    Forbidden(String),
    #[error("this is not the recording of this pod that the operator knows: {0}")]
    Refused(String),
    #[error("the operator's answer is {0}")]
    Answer(&'static str),
    #[error("the recording: {0}")]
    Outgoing(#[from] OutgoingError),
    #[error(transparent)]
    Prune(#[from] PruneError),
}

impl Failed {
    pub(super) fn is_no_store(&self) -> bool {
        matches!(self, Self::NoStore)
    }

    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    /// Another attempt changes it only if something else changes before.
    pub(super) fn is_hopeless(&self) -> bool {
        matches!(self, Self::NoStore | Self::Refused(_) | Self::Outgoing(_) | Self::Prune(_))
    }

    /// A label.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::NoStore => "no_store",
            Self::Operator(_) | Self::Away(_) => "away",
            Self::OutOfStep(_) => "out_of_step",
            Self::Full(_) => "full",
            Self::Forbidden(_) => "forbidden",
            Self::Refused(_) => "refused",
            Self::Answer(_) => "answer",
            Self::Outgoing(_) => "unreadable",
            Self::Prune(_) => "not_removed",
        }
    }

    pub(super) fn late() -> Self {
        Self::Operator("no answer in time".to_owned())
    }
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        let text = why(&status);
        match status.code() {
            Code::Unimplemented => Self::NoStore,
            Code::ResourceExhausted => Self::Full(text),
            Code::Aborted => Self::OutOfStep(text),
            Code::PermissionDenied => Self::Forbidden(text),
            Code::FailedPrecondition | Code::InvalidArgument => Self::Refused(text),
            // It never got an answer: there is a reason of this side.
            _ if std::error::Error::source(&status).is_some() => Self::Operator(text),
            _ => Self::Away(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::SHIP_ERRORS;

    #[test]
    fn every_reason_is_counted_from_the_start() {
        let codes = [
            Code::Unimplemented,
            Code::ResourceExhausted,
            Code::Aborted,
            Code::PermissionDenied,
            Code::FailedPrecondition,
            Code::Unavailable,
        ];
        let of_calls = codes.map(|code| Failed::from(Status::new(code, "x")).word());
        assert_eq!(of_calls, ["no_store", "full", "out_of_step", "forbidden", "refused", "away"]);
        let prune = PruneError::Io { file: "f".to_owned(), source: std::io::ErrorKind::Other.into() };
        let here = [Failed::Answer("x"), OutgoingError::NoCheckpoint(1).into(), prune.into()];
        let words = of_calls.into_iter().chain(here.iter().map(Failed::word));
        assert!(words.into_iter().all(|word| SHIP_ERRORS.contains(&word)));
    }
}
