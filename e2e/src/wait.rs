//! Waiting for a condition, never for a while: each wait has a deadline and says what it waited for.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(10);

/// Asks `probe` until it has an answer.
///
/// # Errors
/// When `within` has passed without an answer, naming `what`, or at once when `probe` itself fails.
pub fn until<T>(what: &str, within: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {within:?} for {what}, in vain");
        }
        thread::sleep(PAUSE);
    }
}

/// Waits until `condition` holds.
///
/// # Errors
/// When it does not hold `within` that time; the text names `what`.
pub fn eventually(what: &str, within: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    until(what, within, || Ok(condition().then_some(())))
}
