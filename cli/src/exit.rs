//! Exit statuses, in one place, because scripts depend on them.

/// Done.
pub(crate) const DONE: u8 = 0;
/// It failed, or `lint` found an error.
pub(crate) const FAILED: u8 = 1;
/// It was asked for in a way that cannot be meant.
pub(crate) const USAGE: u8 = 2;
/// `simulate`: a statement needs an approval, and none is denied.
pub(crate) const NEEDS_APPROVAL: u8 = 3;
/// `simulate`: a statement is denied.
pub(crate) const DENIED: u8 = 4;
/// `verify`: there is no recording to verify. 10 to 17 are those of `recording::verify::Verdict::exit_code`.
pub(crate) const NO_RECORDING: u8 = 18;
/// `verify --store`: nothing is wrong in itself, but the witness did not countersign it for this pod.
pub(crate) const NOT_COUNTERSIGNED: u8 = 19;

pub(crate) const HELP: &str = "Exit status: 0 done; 1 failed, refused, or something is wrong; 2 wrong usage.
`simulate` and `verify` have further ones: see their --help.";

/// What the caller asked for cannot be meant.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

pub(crate) fn of(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<Usage>().is_some() { USAGE } else { FAILED }
}
