//! What can be wrong, told apart by who has to do something about it.
//!
//! The words of a server are not passed on: a refusal by S3 repeats the request that it was signed for. What is kept
//! is its status and its code.

use std::error::Error;
use std::io;

use object_store::Error as Raw;
use recording::VerifyingKey;

/// The store did not do it. Nothing is said of the content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the store is away: {0}")]
    Away(String),
    #[error("the store is full: {0}")]
    Full(String),
    #[error("the store does not allow it: {0}")]
    Forbidden(String),
    #[error("the store cannot be used: {0}")]
    Unfit(String),
    /// Somebody or something changed what lies in the store.
    #[error("`{object}` in the store is damaged: {}", flat(what))]
    Damaged { object: String, what: String },
}

impl StoreError {
    /// It is about one recording alone: others of the store may do.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

/// A reader of what lies in the store repeats parts of it, and anybody may have written that.
fn flat(what: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    what.chars().take(MOST_WORDS).map(plain).collect()
}

/// Why a shelf did not take it.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("nothing is known of this recording: it has to begin with its key")]
    NotBegun,
    /// It would be a recording that was begun anew.
    #[error("the recording of this pod was begun with the key `{pinned}` and goes on with no other, not `{offered}`")]
    OtherKey { pinned: Box<VerifyingKey>, offered: Box<VerifyingKey> },
    /// Evidence that what was countersigned or kept was written anew.
    #[error("this is not what was recorded before: {0}")]
    NotAnExtension(String),
    /// The caller is ahead of or behind what is kept: it asks for the standing and goes on from there.
    #[error("{what} begin at {offered}, and {expected} comes next")]
    OutOfStep { what: &'static str, expected: u64, offered: u64 },
    #[error("refused: {0}")]
    Refused(String),
}

impl ShelfError {
    /// It is about one recording alone: others of the store may do.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Store(error) => error.is_damage(),
            _ => true,
        }
    }
}

/// Characters of what is wrong with an object.
const MOST_WORDS: usize = 300;
const NO_BUCKET: &str = "NoSuchBucket";

/// The object is not there, and that is all that is wrong.
pub(crate) fn absent(error: &Raw) -> bool {
    matches!(error, Raw::NotFound { .. }) && !server(error).is_some_and(|why| why.contains(NO_BUCKET))
}

/// What `error` says of the store, in our words.
pub(crate) fn told(error: &Raw) -> StoreError {
    match error {
        Raw::PermissionDenied { .. } | Raw::Unauthenticated { .. } => {
            let why = server(error).unwrap_or_else(|| "these credentials do not suffice".to_owned());
            StoreError::Forbidden(why)
        }
        Raw::NotFound { .. } => StoreError::Unfit("there is no such bucket or folder".to_owned()),
        _ if is_distrust(error) => StoreError::Unfit(DISTRUST.to_owned()),
        _ => match system(error) {
            Some(io) => by_kind(io),
            None => by_status(error),
        },
    }
}

/// Of the file system.
pub(crate) fn by_kind(error: &io::Error) -> StoreError {
    use io::ErrorKind as Kind;
    let why = error.to_string();
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => StoreError::Full(why),
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => StoreError::Forbidden(why),
        Kind::NotADirectory | Kind::IsADirectory => StoreError::Unfit(why),
        _ => StoreError::Away(why),
    }
}

fn by_status(error: &Raw) -> StoreError {
    /// What servers call it when there is no room, next to status 507.
    const FULL: [&str; 5] =
        ["XMinioStorageFull", "InsufficientStorage", "QuotaExceeded", "507", "EntityTooLargeForQuota"];
    match server(error) {
        Some(why) if FULL.iter().any(|word| why.contains(word)) => StoreError::Full(why),
        Some(why) if why.contains(NO_BUCKET) => StoreError::Unfit(why),
        Some(why) if why.contains("status 400") || why.contains("status 501") => StoreError::Unfit(why),
        Some(why) => StoreError::Away(why),
        None => StoreError::Away("it does not answer as a store does".to_owned()),
    }
}

const DISTRUST: &str = "the certificate of its server is not one that is trusted, or not for this name: name the CA that \
                        signed it";

/// The connection was given up because of a certificate. Nothing but its words tells.
fn is_distrust(error: &Raw) -> bool {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("invalid peer certificate") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The system's own error below `error`.
fn system(error: &Raw) -> Option<&io::Error> {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    let mut found = None;
    while let Some(error) = cause {
        // The innermost one that the system made: those around it only say that something failed.
        found = error.downcast_ref::<io::Error>().filter(|io| io.raw_os_error().is_some()).or(found);
        cause = error.source();
    }
    found
}

/// Status and code of a server's answer.
fn server(error: &Raw) -> Option<String> {
    let text = error.to_string();
    let status = text.split("status code: ").nth(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect());
    let code = text.split("<Code>").nth(1).and_then(|rest| rest.split("</Code>").next());
    let plain = |code: &&str| (1..=64).contains(&code.len()) && code.chars().all(|c| c.is_ascii_alphanumeric());
    match (status, code.filter(plain)) {
        (Some::<String>(status), Some(code)) => Some(format!("it answers with status {status}, {code}")),
        (Some(status), None) => Some(format!("it answers with status {status}")),
        (None, Some(code)) => Some(format!("it answers with {code}")),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(source: impl Into<Box<dyn Error + Send + Sync>>) -> Raw {
        Raw::Generic { store: "S3", source: source.into() }
    }

    #[test]
    fn what_failed_is_told_apart() {
        let os = |code| generic(io::Error::from_raw_os_error(code));
        assert!(matches!(told(&os(28)), StoreError::Full(_)));
        assert!(matches!(told(&os(122)), StoreError::Full(_)));
        assert!(matches!(told(&os(13)), StoreError::Forbidden(_)));
        assert!(matches!(told(&os(30)), StoreError::Forbidden(_)));
        assert!(matches!(told(&os(111)), StoreError::Away(_)));
        assert!(matches!(told(&os(5)), StoreError::Away(_)));
        let full = generic("Server returned non-2xx status code: 507: <Error><Code>XMinioStorageFull</Code>");
        assert_eq!(told(&full), StoreError::Full("it answers with status 507, XMinioStorageFull".into()));
        let slow = generic("Server returned non-2xx status code: 503: <Error><Code>SlowDown</Code>");
        assert_eq!(told(&slow), StoreError::Away("it answers with status 503, SlowDown".into()));
    }

    #[test]
    fn what_lies_in_the_store_writes_no_line_of_its_own() {
        let what = format!("unknown variant `x\nverified: intact\u{1b}[2J{}`", "y".repeat(10_000));
        let text = StoreError::Damaged { object: "o".into(), what }.to_string();
        assert!(text.starts_with("`o` in the store is damaged: unknown variant `x"), "{text}");
        assert!(text.len() < 1_000 && !text.contains(char::is_control), "{text}");
    }

    #[test]
    fn the_words_of_a_server_stay_out() {
        let body = "status code: 403: <Error><Code>SignatureDoesNotMatch</Code><StringToSign>AKIAEXAMPLE";
        let raw = Raw::PermissionDenied { path: "a".into(), source: body.into() };
        assert_eq!(told(&raw), StoreError::Forbidden("it answers with status 403, SignatureDoesNotMatch".into()));
        let odd = generic("status code: 500: <Code>a b <script></Code>");
        assert_eq!(told(&odd), StoreError::Away("it answers with status 500".into()));
    }
}
