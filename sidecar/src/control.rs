//! In a pod: the interfaces of `outside` fed from the operator, over `control`.
//!
//! Nothing here widens anything: without a word from the operator the last snapshot counts until it is too old, and
//! then everything is denied.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

pub mod approvals;
pub mod away;
pub mod feed;
mod granted;
pub mod identity;
pub mod line;
mod report;
pub mod shipping;
pub mod snapshot;

/// Between two attempts: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// A reason in a log line or an error, in characters.
const REASON: usize = 500;

fn longer(pause: Duration) -> Duration {
    pause.saturating_mul(2).min(LAST_PAUSE)
}

/// A status with what led to it: of a connection that fails only the last part says why.
fn why(status: &tonic::Status) -> String {
    let mut text = format!("{} ({:?})", status.message(), status.code());
    let mut source = status.source();
    while let Some(error) = source {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text.chars().take(REASON).collect()
}
